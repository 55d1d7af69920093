import numpy as np
import pytest

from rarft.evaluation import Answer, CategoryClassifier, Prediction
from rarft.world.dataset import draw_clip, group_of
from rarft.world.judge import agreement_by_category, claimed_categories, world_judge


@pytest.fixture(scope="module")
def references():
    return [sample for index in range(150) for sample in group_of(f"{index}.mp4", *draw_clip(5, "test", index))]


def refusing(sample, answer=None):
    said = f"<think>a</think><answer>{answer or sample.answer}</answer><correction>{sample.correction}</correction>"
    return Prediction(sample, Answer(said))


def test_it_learns_the_categories_of_refusals_it_has_not_seen(references, encoder):
    judge = CategoryClassifier.fit(references, encoder)
    assert judge.agreement() > 0.6
    new = [s for index in range(40) for s in group_of("x.mp4", *draw_clip(6, "test", index)) if not s.relevant]
    right = [len(judge(refusing(s).response) & {c.value for c in s.categories}) > 0 for s in new]
    assert np.mean(right) > 0.8
    assert judge(refusing(new[0], "3 to 9").response) == set()


def test_too_few_references_are_an_error(references, encoder):
    with pytest.raises(ValueError, match="at least"):
        CategoryClassifier.fit(references[:10], encoder)


def test_agreement_with_the_exact_judge(world, encoder):
    samples = [s for c in world for s in c.group]
    stories = [c.story for c in world for _ in c.group]
    predictions = [refusing(s) if not s.relevant else refusing(s, "1 to 3") for s in samples]
    half = next(i for i, s in enumerate(samples) if not s.relevant)
    predictions[half] = refusing(samples[half], "no such segment : I do not know")
    predictions = world_judge(predictions, stories)
    found = agreement_by_category(predictions, claimed_categories, encoder)
    assert found["all"]["n"] == 12 and found["all"]["categories"] == 1.0 and found["all"]["explanations"] == 1.0
    assert sum(g["n"] for name, g in found.items() if name != "all") == sum(len(s.categories) for s in samples)
