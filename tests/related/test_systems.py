"""What every related system has to keep to, on the shipped clips and the shipped base's features."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rarft.related import Answer, FeatureBank, measure
from rarft.related.moments import (
    VTGGPT,
    ConstantBaseline,
    Cycle,
    Evidential,
    PhraseAlignment,
    QueryOnlyBaseline,
    UniVTG,
    order_pairs,
    query_groups,
    timeline_captions,
)
from rarft.related.signals import PRVG
from rarft.schema import Group, Span
from rarft.system.errors import InputError
from rarft.world.dataset import kind_of, make_world, shuffled_samples
from rarft.world.language import parse
from rarft.world.truth import happens, spans_of

STEPS = 6
SYSTEMS = {
    "UniVTG": lambda: UniVTG(steps=STEPS),
    "UniVTG, saliency": lambda: UniVTG(refuse_by="saliency", steps=STEPS),
    "cycle": lambda: Cycle(steps=STEPS),
    "evidential": lambda: Evidential(steps=STEPS),
    "evidential, original": lambda: Evidential(regulariser="original", refuse_by="aleatoric", steps=STEPS),
    "phrases": lambda: PhraseAlignment(steps=STEPS),
    "PRVG": lambda: PRVG(steps=STEPS),
    "query only": QueryOnlyBaseline,
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("train"), "train", 8)


@pytest.fixture(scope="module", params=SYSTEMS)
def fitted(request, clips, bank):
    system = SYSTEMS[request.param]()
    system.fit(query_groups(clips, negatives="all", queries=2), bank)
    return system


def asked(clips):
    return [sample for clip in clips for sample in clip.group]


def test_answers_lie_in_the_video_and_scores_in_0_1(fitted, clips, bank):
    samples = asked(clips)
    for sample, answer in zip(samples, fitted.answer(samples, bank), strict=True):
        assert 0 <= answer.span.start <= answer.span.end <= sample.duration
        assert 0 <= answer.refusal <= 1
    assert fitted.parameters > 0


def test_nothing_but_video_and_query_is_read(fitted, clips, bank):
    samples = asked(clips)
    hidden = [replace(s, spans=[Span(0.0, 1.0)], answer="", correction="", categories=[], extra={}) for s in samples]
    assert fitted.answer(samples, bank) == fitted.answer(hidden, bank)


def test_a_query_is_answered_alike_alone_and_among_others(fitted, clips, bank):
    samples = asked(clips)
    together = fitted.answer(samples, bank)
    for sample, answer in list(zip(samples, together, strict=True))[::7]:
        [alone] = fitted.answer([sample], bank)
        assert alone.refusal == pytest.approx(answer.refusal, abs=1e-4)
        assert alone.span == pytest.approx(answer.span, abs=0.02)


@pytest.mark.parametrize("name", ["UniVTG", "phrases"])
def test_the_same_seed_gives_the_same_system(name, clips, bank):
    groups = query_groups(clips, negatives="shuffled", queries=1)
    first, second = SYSTEMS[name](), SYSTEMS[name]()
    first.fit(groups, bank)
    torch.randn(5)
    second.fit(groups, bank)
    assert first.losses == second.losses


@pytest.mark.parametrize("make", [UniVTG, Cycle, Evidential, PhraseAlignment, PRVG])
@pytest.mark.parametrize("negatives", ["none", "all"])
def test_training_lowers_the_loss(make, negatives, clips, bank):
    system = make(steps=25)
    system.fit(query_groups(clips, negatives=negatives, queries=1), bank)
    assert np.mean(system.losses[-5:]) < np.mean(system.losses[:5])


@pytest.mark.parametrize("make", [Cycle, PhraseAlignment])
def test_explanations_and_corrections_are_of_the_worlds_language(make, clips, bank):
    system = make(steps=STEPS)
    system.fit(query_groups(clips, negatives="all", queries=2), bank)
    for sample, answer in zip(asked(clips), system.answer(asked(clips), bank), strict=True):
        assert answer.explanation.startswith("no such segment : ") and " not " in answer.explanation
        assert parse(answer.correction) is not None and parse(answer.correction) != parse(sample.query)


@pytest.mark.parametrize("make", [UniVTG, Cycle, Evidential, PhraseAlignment, PRVG, QueryOnlyBaseline])
def test_queries_of_another_language_can_be_learned_and_asked(make, clips, bank):
    def plain(sample, number):
        return replace(sample, query=f"person {number} opens the door with a key")

    groups = [
        Group(plain(clip.group.relevant, n), (plain(clip.group.irrelevant[0], n),)) for n, clip in enumerate(clips)
    ]
    system = make() if make is QueryOnlyBaseline else make(steps=3)
    system.fit(groups, bank)
    for answer in system.answer([group.relevant for group in groups], bank):
        assert 0 <= answer.refusal <= 1 and answer.correction is None
        assert answer.explanation is None or answer.explanation.startswith("not ")


def test_one_vector_a_step_is_the_mean_of_its_regions(clips, bank):
    mean = FeatureBank(bank.video_model, regions=False)
    for sample in asked(clips)[::4]:
        [regions], [one] = bank.videos([sample]), mean.videos([sample])
        assert regions.shape[1:] == (4, bank.video_size) and one.shape[1:] == (1, bank.video_size)
        assert torch.allclose(regions.mean(1, keepdim=True), one, atol=1e-5)
        assert len(one) == sample.duration


def test_a_sample_without_a_duration_is_named(clips, bank):
    with pytest.raises(InputError, match="00000.mp4: its duration"):
        bank.batch([replace(asked(clips)[0], duration=None)])


def test_a_video_with_too_many_steps_is_named(clips, bank, monkeypatch):
    monkeypatch.setattr("rarft.related.features.LONGEST", 5)
    with pytest.raises(InputError, match="00000.mp4: more than 5 steps.*fps"):
        bank.batch(asked(clips)[:1])


def test_unknown_settings_are_errors(clips):
    with pytest.raises(InputError, match="none, shuffled, all"):
        query_groups(clips, negatives="some")
    with pytest.raises(InputError, match="original, geom"):
        Evidential(regulariser="l2")


@pytest.mark.parametrize("negatives, length", [("none", 1), ("shuffled", 2), ("all", 5)])
def test_groups_have_the_negatives_of_their_setting(clips, negatives, length):
    groups = query_groups(clips, negatives=negatives, queries=3)
    assert len(groups) == 3 * len(clips)
    stories = [clip.story for clip in clips for _ in range(3)]
    for group, story in zip(groups, stories, strict=True):
        assert 1 + len(group.irrelevant) == length and len({sample.video for sample in group}) == 1
        assert group.relevant.spans == spans_of(story, parse(group.relevant.query))
        assert not any(happens(story, sample.query) for sample in group.irrelevant)


def test_order_pairs_differ_in_the_order_alone(clips):
    pairs = order_pairs(clips)
    assert len(pairs) >= len(clips) // 2
    stories = {str(clip.path): clip.story for clip in clips}
    for right, turned in pairs:
        query, other, story = parse(right.query), parse(turned.query), stories[right.video]
        assert spans_of(story, query) == right.spans and not turned.spans and not happens(story, turned.query)
        assert query.order[1] == other.order[1] and query.order[0] != other.order[0]
        assert replace(query, order=None) == replace(other, order=None) and kind_of(right) == "relevant"


def test_an_order_holds_if_its_events_come_in_that_order(clips, bank):
    """With a network that knows when everything happens, as the stories tell."""
    stories = {str(clip.path): clip.story for clip in clips}
    samples = [sample for pair in order_pairs(clips) for sample in pair]
    system, sentences = PhraseAlignment(), []

    def when(batch, phrases, mask):
        times = torch.zeros(batch.steps.shape)
        for row, (sample, action) in enumerate(sentences.pop(0)):
            query, story = parse(sample.query), stories[sample.video]
            actor = next(a for a in story.actors if (a.colour, a.shape) == (query.colour, query.shape))
            event = next(e for e in actor.events if e.action == (action or query.action))
            times[row, int((event.start + event.end) / 2 / float(batch.step_seconds[row]))] = 1.0
        return times

    system.network = SimpleNamespace(when=when)
    sentences += [[(s, None) for s in samples], [(s, parse(s.query).order[1]) for s in samples]]
    plain = replace(samples[0], query="the red ring grows")
    holds = system.order_presence([*samples, plain], bank).tolist()
    assert holds[:-1] == [1.0 if sample.relevant else -1.0 for sample in samples] and holds[-1] > 1


def vtg_gpt(clips, **options):
    crops = {clip.group.relevant.crop: clip for clip in clips}
    captions = {crop: timeline_captions(c.group.relevant.think, c.story.duration) for crop, c in crops.items()}
    return VTGGPT(captions, **options)


def test_vtg_gpt_grounds_by_captions_and_its_scaled_score_refuses_nothing(clips, bank):
    samples = asked(clips)
    scaled, raw = vtg_gpt(clips).answer(samples, bank), vtg_gpt(clips, scaled=False).answer(samples, bank)
    assert [answer.refusal for answer in scaled] == [0.0] * len(samples)
    assert [answer.span for answer in scaled] == [answer.span for answer in raw]
    kinds = [kind_of(sample) for sample in samples]
    assert measure(samples, raw, kinds, 0.5)["miou"] > 0.5
    others = shuffled_samples(clips, np.random.default_rng(0))
    theirs = [answer.refusal for answer in vtg_gpt(clips, scaled=False).answer(others, bank)]
    mine = [answer.refusal for answer, kind in zip(raw, kinds, strict=True) if kind == "relevant"]
    assert np.mean(theirs) > np.mean(mine)


def test_a_second_without_a_caption_does_not_stretch_the_scale(clips, bank):
    """It was -1 once: all other seconds then scored nearly 1, and the answer was the whole video."""
    sample = asked(clips)[0]
    whole, gap = vtg_gpt(clips), vtg_gpt(clips)
    gap.captions = {crop: [*said[:-1], []] for crop, said in gap.captions.items()}
    known = whole.similarity(sample, bank)[:-1]
    assert gap.similarity(sample, bank) == pytest.approx([*known, known.min()])
    gap.captions = {crop: [[] for _ in said] for crop, said in gap.captions.items()}
    assert set(gap.similarity(sample, bank)) == {-1.0}


def test_measures_of_an_oracle_and_of_always_refusing(clips, bank):
    samples = asked(clips) + shuffled_samples(clips, np.random.default_rng(0))
    kinds, stories = (
        [kind_of(s) for s in samples],
        [c.story for c in clips for _ in c.group] + [c.story for c in clips],
    )
    oracle = [
        Answer(
            s.spans[0] if s.relevant else Span(0.0, 1.0), float(not s.relevant), s.answer or None, s.correction or None
        )
        for s in samples
    ]
    figures = measure(samples, oracle, kinds, 0.5, stories)
    assert figures["miou"] == figures["f1"] == figures["ra_iou"] == figures["auroc"] == figures["R@0.7"] == 1
    assert figures["explanation_true"] == figures["correction_true"] == 1
    assert figures["over_refusal"] == figures["fpr95_shuffled"] == 0
    always = measure(samples, ConstantBaseline(1.0).answer(samples, bank), kinds, 0.5)
    assert always["over_refusal"] == 1 and always["auroc"] == 0.5 and always["fpr95_shuffled"] == 1
    assert always["ra_iou"] == pytest.approx(np.mean([not s.relevant for s in asked(clips)]))
