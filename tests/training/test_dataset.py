"""Which prompts a training set holds."""

import pytest

from rarft.training import refusal_dataset


@pytest.fixture
def groups(world):
    return [clip.group for clip in world]


def kinds(groups, **options):
    rows = refusal_dataset(groups, "plain", epochs=40, **options)
    return [not rows[index]["spans"] for index in range(len(rows))]


def test_one_half_gives_each_video_one_prompt_of_either_kind(groups):
    irrelevant = kinds(groups)
    assert irrelevant == [False, True] * (40 * len(groups))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0])
def test_any_other_share_is_met_and_repeatable(groups, share):
    irrelevant = kinds(groups, irrelevant_share=share)
    assert len(irrelevant) == 80 * len(groups)
    assert sum(irrelevant) / len(irrelevant) == pytest.approx(share, abs=0.03)
    assert irrelevant == kinds(groups, irrelevant_share=share)


def test_a_share_outside_of_zero_to_one_is_named(groups):
    with pytest.raises(ValueError, match="irrelevant_share is 1.5"):
        refusal_dataset(groups, "plain", irrelevant_share=1.5)
