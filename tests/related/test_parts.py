"""Losses, segments, thresholds and captions of the related systems, against rules that are stated a second time."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from rarft.metrics import temporal_iou
from rarft.related import choose_threshold
from rarft.related.features import Batch
from rarft.related.moments import timeline_captions
from rarft.related.moments.blocks import TEMPERATURE, foreground_of, generalised_iou, segments_of
from rarft.related.moments.evidential import NIG, nig_loss, regulariser
from rarft.related.moments.phrase_alignment import neighbour_of, phrases_of
from rarft.related.moments.univtg import saliency_loss
from rarft.schema import Span
from rarft.world.completions import grounding_completion
from rarft.world.dataset import draw_clip
from rarft.world.language import paraphrases, parse
from rarft.world.timelines import runs, timeline
from rarft.world.truth import spans_of


def batch_of(spans, relevant, lengths):
    size, longest = len(spans), max(lengths)
    return Batch(
        video=torch.zeros(size, longest, 1, 2),
        steps=torch.arange(longest)[None] < torch.tensor(lengths)[:, None],
        words=torch.zeros(size, 3, 2),
        word_mask=torch.ones(size, 3, dtype=torch.bool),
        step_seconds=torch.ones(size),
        spans=torch.tensor(spans, dtype=torch.float32),
        relevant=torch.tensor(relevant),
    )


def drawn_batch(rng, size=5):
    lengths = rng.integers(3, 12, size).tolist()
    starts = [rng.uniform(0, n - 1) for n in lengths]
    spans = [(s, rng.uniform(s + 0.05, n)) for s, n in zip(starts, lengths, strict=True)]
    relevant = [bool(rng.random() < 0.7) for _ in lengths]
    return batch_of([s if r else (0.0, 0.0) for s, r in zip(spans, relevant, strict=True)], relevant, lengths)


def test_foreground_is_the_steps_whose_middle_lies_in_the_segment():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        batch = drawn_batch(rng)
        found = foreground_of(batch)
        for i, (start, end) in enumerate(batch.spans.tolist()):
            inside = {n for n in range(int(batch.steps[i].sum())) if start <= n + 0.5 < end}
            if not inside:
                inside = {int((start + end) / 2)}
            expected = inside if batch.relevant[i] else set()
            assert set(np.flatnonzero(found[i])) == expected


def test_generalised_iou_is_the_iou_less_what_the_hull_wastes():
    rng = np.random.default_rng(1)
    a, b = np.sort(rng.uniform(0, 10, (20000, 2)), 1), np.sort(rng.uniform(0, 10, (20000, 2)), 1)
    found = generalised_iou(torch.tensor(a), torch.tensor(b)).numpy()
    for (s, e), (u, v), value in zip(a, b, found, strict=True):
        gap = max(0.0, max(s, u) - min(e, v))
        assert value == pytest.approx(temporal_iou(Span(s, e), Span(u, v)) - gap / (max(e, v) - min(s, u)), abs=1e-5)


def test_a_step_proposes_the_segment_around_its_middle():
    assert segments_of(torch.tensor([[[0.5, 0.5], [1.5, 0.0]]])).tolist() == [[[0.0, 1.0], [0.0, 1.5]]]


def test_saliency_loss_is_infonce_within_and_across_videos():
    rng = np.random.default_rng(2)
    torch.manual_seed(2)
    compared = 0
    for _ in range(300):
        batch = drawn_batch(rng)
        steps = torch.nn.functional.normalize(torch.randn(*batch.steps.shape, 8), dim=-1)
        queries = torch.nn.functional.normalize(torch.randn(len(batch.relevant), 8), dim=-1)
        inside = foreground_of(batch)
        within, moments, rows = [], [], []
        for i in range(len(queries)):
            scores = [math.exp(float(steps[i, n] @ queries[i]) / TEMPERATURE) for n in range(int(batch.steps[i].sum()))]
            outside = sum(s for n, s in enumerate(scores) if not inside[i, n])
            within += [-math.log(s / (s + outside)) for n, s in enumerate(scores) if inside[i, n]]
            if batch.relevant[i]:
                moment = steps[i][inside[i]].sum(0)
                moments.append(moment / moment.norm())
                rows.append(i)
        if not rows or not all(len(set(inside[i, : batch.steps[i].sum()].tolist())) == 2 for i in rows):
            continue  # a segment that fills its video has nothing to stand out from
        across = []
        for i, moment in zip(rows, moments, strict=True):
            scores = {j: math.exp(float(moment @ queries[j]) / TEMPERATURE) for j in rows}
            across.append(-math.log(scores[i] / sum(scores.values())))
        assert float(saliency_loss(steps, queries, batch)) == pytest.approx(np.mean(within) + np.mean(across), rel=1e-3)
        compared += 1
    assert compared > 100


def test_saliency_of_a_segment_that_fills_its_video_is_finite_with_its_gradient():
    batch = batch_of([(0.0, 3.0), (1.0, 2.0)], [True, True], [3, 3])
    steps, queries = torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 8)
    loss = saliency_loss(torch.nn.functional.normalize(steps, dim=-1), queries, batch)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(steps.grad).all()


def drawn_nig(rng, size=64):
    columns = [rng.uniform(0, 1, (size, 2)), *(rng.uniform(0.05, 3, (size, 2)) for _ in range(3))]
    gamma, nu, alpha, beta = (torch.tensor(c) for c in columns)
    return NIG(gamma, nu, alpha + 1, beta)


def test_the_evidential_likelihood_is_that_of_a_student_distribution():
    rng = np.random.default_rng(3)
    for _ in range(200):
        predicted = drawn_nig(rng)
        true = torch.tensor(rng.uniform(0, 1, (64, 2)))
        gamma, nu, alpha, beta = (value.numpy() for value in predicted)
        scale = np.sqrt(beta * (1 + nu) / (nu * alpha))
        expected = -student.logpdf(true.numpy(), df=2 * alpha, loc=gamma, scale=scale).mean()
        assert float(nig_loss(predicted, true)) == pytest.approx(expected, rel=1e-6)


def test_geom_asks_for_evidence_where_the_error_is_small_and_the_original_only_forbids_it():
    error = torch.tensor([[0.0, 0.0], [0.4, 0.4]])
    true = torch.full((2, 2), 0.5)

    def loss(evidence, kind):
        alpha = torch.tensor([[evidence[0]] * 2, [evidence[1]] * 2])
        return float(regulariser(NIG(true - error, torch.ones(2, 2), alpha, torch.ones(2, 2)), true, kind))

    assert loss((5.0, 2.0), "geom") < loss((2.0, 5.0), "geom")
    assert loss((9.0, 2.0), "original") == loss((2.0, 2.0), "original") < loss((2.0, 9.0), "original")


def test_uncertainties_of_a_known_distribution():
    found = NIG(*(torch.tensor([[v, v]]) for v in (0.5, 2.0, 3.0, 4.0)))
    assert (found.aleatoric[0, 0], found.epistemic[0, 0], found.evidence[0, 0]) == (2.0, 1.0, 7.0)


def test_the_threshold_is_the_best_of_all():
    rng = np.random.default_rng(4)
    for _ in range(40):
        relevant = (rng.random(30) < 0.5).tolist()
        scores = (rng.random(30) * 0.6 + 0.4 * (1 - np.array(relevant))).round(1).tolist()

        def f1(limit, relevant=relevant, scores=scores):
            parts = []
            for label in (True, False):
                said = [(score <= limit) == label for score in scores]
                hit = sum(s and r == label for s, r in zip(said, relevant, strict=True))
                total = sum(said) + sum(r == label for r in relevant)
                parts.append(2 * hit / total if total else 0.0)
            return sum(parts) / 2

        best = max(f1(limit) for limit in scores)
        assert f1(choose_threshold(relevant, scores)) == pytest.approx(best)


def test_equal_scores_refuse_nothing():
    assert choose_threshold([True, False, False], [0.5, 0.5, 0.5]) == 0.5


def test_runs_are_those_of_a_plain_loop():
    rng = np.random.default_rng(5)
    for _ in range(2000):
        above = rng.random(rng.integers(1, 12)) < 0.5
        expected, start = [], None
        for i, value in enumerate([*above, False]):
            if value and start is None:
                start = i
            if not value and start is not None:
                expected.append((start, i))
                start = None
        assert [(first, end) for value, first, end in runs(above.tolist()) if value] == expected


def stories(count):
    return [draw_clip(3, "train", index)[:2] for index in range(count)]


def test_captions_say_of_each_second_what_the_story_shows():
    for story, _ in stories(50):
        captions = timeline_captions(timeline(story), story.duration)
        for second, said in enumerate(captions):
            scene = next(s.scene for s in story.settings if s.start <= second < s.end)
            doing = [next(e.action for e in a.events if e.start <= second < e.end) for a in story.actors]
            assert len(said) == 2
            for text, actor, action in zip(said, story.actors, doing, strict=True):
                assert text.startswith(f"the {actor.colour} {actor.shape} with")
                assert text.endswith(f"{actor.size} {action} on the {scene}")


def test_captions_know_nothing_of_the_query_that_a_thought_was_about():
    for story, query in stories(50):
        thought = grounding_completion(story, query).split("<think>")[1].split("</think>")[0].strip()
        assert timeline_captions(thought, story.duration) == timeline_captions(timeline(story), story.duration)


def test_a_broken_timeline_gives_no_captions():
    assert timeline_captions("what ?", 3) == [[], [], []]


def test_rewritten_queries_mean_the_same():
    for story, query in stories(200):
        said = paraphrases(query.sentence())
        assert query.sentence() in said and len(said) == len(set(said))
        assert {spans_of(story, parse(text))[0] for text in said} == {spans_of(story, query)[0]}
    assert paraphrases("a person opens the door") == ["a person opens the door"]


def test_phrases_are_the_words_of_their_query():
    rng = np.random.default_rng(6)
    for index in range(300):
        _, query, edits = draw_clip(int(rng.integers(9)), "test", index)
        for slots in (query, *(edit.query for edit in edits.values())):
            phrases = slots.phrases()
            assert list(phrases) == slots.filled
            assert phrases_of(slots.sentence()) == [p for slot, p in phrases.items() if slot != "order"]
            neighbour = neighbour_of(slots.sentence())
            assert (neighbour is None) == (slots.order is None)
            if neighbour:
                assert neighbour[0] == slots.order[0] and len(neighbour[1]) == 3
            for slot, phrase in phrases.items():
                plural = phrase + "s" if slot == "part" and slots.count != "one" else phrase
                assert plural in slots.sentence(), (slot, phrase, slots.sentence())
    assert phrases_of("a person opens the door with a key") == ["a person opens the door", "with a key"]
