"""Questions with a planted shortcut, and the losses of a model that is to see through it."""

import numpy as np
import pytest
import torch

from rarft.related.signals.igv import IGV, invariance_loss, question_batch, uniformity_loss
from rarft.related.signals.shortcut import ANSWERS, draw_absent_questions, draw_questions, has_actor, scene_by_rule
from rarft.system.errors import InputError
from rarft.world.dataset import make_world
from rarft.world.scenes import SCENES


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("shots"), "align", 40)


def stories_of(question, clips):
    stories = {str(clip.path): clip.story for clip in clips}
    return [stories[shot.video] for shot in question.shots]


def actor_of(question, story):
    *_, colour, shape, _ = question.shots[0].query.split()
    return next((a for a in story.actors if (a.colour, a.shape) == (colour, shape)), None)


@pytest.mark.parametrize("rule", [0, 1, 2, 3])
def test_the_answer_is_in_the_asked_shot_and_the_other_scene_follows_the_rule(rule, clips):
    made = draw_questions(clips, 60, rule=rule)
    for question in made:
        asked, other = stories_of(question, clips)[:: 1 if question.asked == 0 else -1]
        action = actor_of(question, asked).events[0].action
        assert ANSWERS[question.answer] == action and actor_of(question, other) is None
        assert other.settings[0].scene == scene_by_rule(action, rule)
    assert {question.asked for question in made} == {0, 1}


def test_no_two_rules_agree_anywhere():
    for action in ANSWERS:
        assert {scene_by_rule(action, rule) for rule in range(4)} == set(SCENES)


def test_without_a_rule_the_other_scene_tells_nothing(clips):
    made = draw_questions(clips, 2000, rule=None)
    guessed = [scene_by_rule(ANSWERS[q.answer], 0) == stories_of(q, clips)[1 - q.asked].settings[0].scene for q in made]
    assert 0.18 < np.mean(guessed) < 0.32
    follow = draw_questions(clips, 2000, rule=0, share=0.6)
    guessed = [
        scene_by_rule(ANSWERS[q.answer], 0) == stories_of(q, clips)[1 - q.asked].settings[0].scene for q in follow
    ]
    assert 0.6 < np.mean(guessed) < 0.8


def test_an_absent_actor_is_in_neither_shot(clips):
    for question in draw_absent_questions(clips, 50):
        assert question.answer is None and question.asked is None
        assert not any(actor_of(question, story) for story in stories_of(question, clips))
        assert question.shots[0].video != question.shots[1].video


def test_clips_without_an_actor_in_its_place_are_named(clips):
    moving = [c for c in clips if all(a.events[0].action not in ANSWERS for a in c.story.actors)]
    with pytest.raises(InputError, match="more clips"):
        draw_questions(moving[:1], 3)


def test_not_knowing_is_0_for_a_uniform_answer_only():
    rng = np.random.default_rng(0)
    for _ in range(300):
        logits = torch.from_numpy(rng.normal(size=(3, 4)) * rng.choice([0.0, 0.1, 3.0]))
        odds = logits.softmax(1).numpy()
        expected = np.mean([np.sum(0.25 * (np.log(0.25) - np.log(row))) for row in odds])
        assert float(uniformity_loss(logits)) == pytest.approx(expected, abs=1e-9)
    assert float(uniformity_loss(torch.full((2, 4), 7.0))) == pytest.approx(0, abs=1e-6)


def test_disagreement_is_the_divergence_from_what_is_wanted():
    rng = np.random.default_rng(1)
    for _ in range(300):
        p, q = (torch.from_numpy(rng.normal(size=(5, 4))) for _ in range(2))
        wanted, found = q.softmax(1).numpy(), p.softmax(1).numpy()
        expected = (wanted * np.log(wanted / found)).sum(1).mean()
        assert float(invariance_loss(p, q)) == pytest.approx(expected, abs=1e-9)


def test_a_question_is_answered_alike_alone_and_among_others(clips, bank):
    system = IGV(steps=5)
    asked = draw_questions(clips, 30)
    system.fit(asked, bank)
    together = system.answer(asked, bank)
    for i in (0, 11, 29):
        alone = system.answer([asked[i]], bank)
        assert torch.allclose(alone.probabilities[0], together.probabilities[i], atol=1e-5)
        assert torch.allclose(alone.shots[0], together.shots[i], atol=1e-5)
    assert (together.refusals >= 0).all() and (together.refusals <= 1).all()


def test_what_the_mask_leaves_out_cannot_change_the_answer(clips, bank):
    system = IGV(steps=5)
    asked = draw_questions(clips, 12)
    system.fit(asked, bank)
    batch = question_batch(asked, bank)
    cells, query = system.network.read(batch)
    kept = (torch.rand(cells.shape[:2]) < 0.5).float()
    other = torch.where(kept[..., None].bool(), cells, torch.randn_like(cells))
    logits = [system.network.predict(system.network.meet(seen, query), kept, query).logits for seen in (cells, other)]
    assert torch.allclose(*logits, atol=1e-6)
    nothing = system.network.predict(system.network.meet(cells, query), torch.zeros_like(kept), query)
    assert torch.allclose(nothing.attention[:, 0], torch.ones(len(asked)))


def test_shows_compares_colour_and_shape_together(clips):
    story = clips[0].story
    assert has_actor(story, story.actors[0]) and has_actor(story, story.actors[1])
