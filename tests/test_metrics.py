import dataclasses

import numpy as np
import pytest

from rarft import metrics
from rarft.evaluation import (
    Answer,
    Prediction,
    by_group,
    intervals,
    markdown,
    read_predictions,
    reference_predictions,
    report,
    scores,
    summary,
)
from rarft.schema import Span
from rarft.system.errors import InputError
from rarft.world.judge import claimed_categories, timeline_accuracy, world_judge


def test_temporal_iou():
    assert metrics.temporal_iou(Span(0, 10), Span(5, 15)) == pytest.approx(1 / 3)
    assert metrics.temporal_iou(Span(0, 4), Span(4, 8)) == 0
    assert metrics.temporal_iou(Span(5, 5), Span(5, 5)) == 0
    assert metrics.temporal_iou(Span(9, 2), Span(0, 10)) == 0


def test_f1_and_ra_iou_by_hand():
    relevant, verdicts = [True, True, False, False], ["grounds", "refuses", "refuses", "grounds"]
    halves = {"f1": 0.5, "f1_relevant": 0.5, "f1_irrelevant": 0.5, "accuracy": 0.5}
    assert metrics.relevance_f1(relevant, verdicts) == halves
    np.testing.assert_allclose(metrics.ra_iou(relevant, verdicts, [0.4, 0, 0, 0]), [0.4, 0, 1, 0])


def test_what_cannot_be_read_is_never_right():
    relevant, verdicts = [True, True, False, False], ["grounds", "unreadable", "refuses", "unreadable"]
    found = metrics.relevance_f1(relevant, verdicts)
    assert found == pytest.approx({"f1": 2 / 3, "f1_relevant": 2 / 3, "f1_irrelevant": 2 / 3, "accuracy": 0.5})
    np.testing.assert_allclose(metrics.ra_iou(relevant, verdicts, [0.4, 0.9, 0, 0]), [0.4, 0, 1, 0])


@pytest.mark.parametrize(
    "text", ["", "<think> cut off at the token limit", "4.2 to 9.6", "<ANSWER>4.2 to 9.6</ANSWER>"]
)
def test_a_model_that_says_nothing_readable_gets_nothing(text, world, encoder):
    samples = [s for clip in world for s in clip.group]
    predictions = [Prediction(s, Answer(text)) for s in samples]
    row = summary(scores(predictions, encoder=encoder, categories={"exact": claimed_categories}))
    zero = (
        "f1",
        "accuracy",
        "ra_iou",
        "miou",
        "refused",
        "over_refusal",
        "rt_iou_exact",
        "explanation_similarity",
        "correction_similarity",
    )
    assert row["unreadable"] == 1 and not any(row[name] for name in zero)


def test_nothing_is_scored_against_an_empty_reference(world, encoder):
    wrong = next(s for clip in world for s in clip.group if not s.relevant)
    bare = dataclasses.replace(wrong, answer="", correction="", categories=[])
    [prediction] = reference_predictions([wrong], "oracle")
    values = scores([Prediction(bare, prediction.answer)], encoder=encoder, categories={"exact": claimed_categories})
    for name in ("explanation_similarity", "correction_similarity", "rt_iou_exact"):
        assert np.isnan(values[name][0])


def test_rt_iou_does_not_depend_on_splits_and_leaves_unknown_truth_out():
    values = [metrics.rt_iou({"a"}, {"a", "b"}), metrics.rt_iou({"a", "b"}, {"b"}), metrics.rt_iou(set(), {"a"})]
    assert values[:2] == [0.5, 0.5] and np.isnan(values[2])
    assert metrics.mean(values) == 0.5


OTHER = float("nan")  # a relevant item, which has no categories
# Pairs of a relevant and an irrelevant item. The 27 Jaccard indices sum to 23/3, as those of the 54 published items do.
PUBLISHED_SUM = [value for j in (*[1.0] * 7, 2 / 3, *[0.0] * 19) for value in (OTHER, j)]


@pytest.mark.parametrize(
    "jaccards, splits, figure",
    [
        (PUBLISHED_SUM, 27, 0.284),  # a pair in each part: as if each irrelevant item counted once
        (PUBLISHED_SUM, 1, 0.284),
        (PUBLISHED_SUM, 54, 0.142),  # the parts of relevant items count as zeros
        (PUBLISHED_SUM, 1000, 0.142),  # parts hold one item at least
        ([0.5, OTHER, OTHER, OTHER], 2, 0.25),
        ([0.5, OTHER, OTHER, OTHER], 1, 0.5),
        ([1.0, 0.0, OTHER, 1.0], 2, 0.75),  # the two irrelevant items of one part share its weight
        ([1.0, 0.0, OTHER, 1.0], 1, 2 / 3),
        ([1.0, OTHER, 0.0, 0.0, 0.0], 2, 0.3),  # parts of three and two items
        ([OTHER, OTHER], 27, OTHER),
        ([], 27, OTHER),
    ],
)
def test_the_official_merge_depends_on_its_splits(jaccards, splits, figure):
    assert metrics.official_rt_iou(jaccards, splits) == pytest.approx(figure, abs=5e-4, nan_ok=True)
    if splits == 27:
        assert metrics.official_rt_iou(jaccards) == pytest.approx(figure, abs=5e-4, nan_ok=True)


def test_the_official_merge_needs_a_split():
    with pytest.raises(InputError, match="at least 1, got 0"):
        metrics.official_rt_iou([1.0], 0)


def test_without_true_categories_the_official_figure_rewards_being_wrong(world):
    bare = [dataclasses.replace(s, categories=[]) for clip in world for s in clip.group if not s.relevant]
    rows = report({"m": reference_predictions(bare, "never refuse")}, categories={"exact": claimed_categories})
    assert rows["never refuse"]["official_rt_iou_exact"] == 1 and rows["oracle"]["official_rt_iou_exact"] == 0
    assert np.isnan(rows["never refuse"]["rt_iou_exact"]) and np.isnan(rows["oracle"]["rt_iou_exact"])


def test_each_judge_of_categories_has_columns_of_its_own(world):
    samples = [s for clip in world for s in clip.group]
    judges = {"exact": claimed_categories, "silent": lambda prediction: set()}
    row = summary(scores(reference_predictions(samples, "oracle"), categories=judges))
    assert (row["rt_iou_exact"], row["rt_iou_silent"], row["official_rt_iou_silent"]) == (1, 0, 0)
    assert "rt_iou" not in row


def test_reference_rows_on_a_balanced_set(world):
    samples = [s for clip in world for s in clip.group]
    rows = report({"oracle again": reference_predictions(samples, "oracle")}, categories={"exact": claimed_categories})
    assert rows["always refuse"]["ra_iou"] == 0.5 and rows["always refuse"]["f1"] == pytest.approx(1 / 3)
    assert rows["never refuse"]["refused"] == 0 and rows["never refuse"]["over_refusal"] == 0
    oracle = rows["oracle"]
    assert (oracle["f1"], oracle["miou"], oracle["ra_iou"], oracle["rt_iou_exact"], oracle["format"]) == (1, 1, 1, 1, 1)
    assert rows["oracle again"]["f1"] == 1
    table = markdown(rows, ["n", "f1", "miou"])
    assert "| always refuse | 24 | 0.333 [" in table


def test_the_exact_judge(world, encoder):
    samples = [s for clip in world for s in clip.group]
    stories = [clip.story for clip in world for _ in clip.group]
    oracle, refusing = (reference_predictions(samples, n) for n in ("oracle", "always refuse"))
    oracle, refusing = (world_judge(predictions, stories) for predictions in (oracle, refusing))
    good, bad = (
        summary(scores(p, encoder=encoder, categories={"exact": claimed_categories})) for p in (oracle, refusing)
    )
    assert (good["explanation_true"], good["explanation_complete"], good["correction_true"]) == (1, 1, 1)
    assert (bad["explanation_true"], bad["correction_true"], bad["rt_iou_exact"]) == (0, 0, 0)
    assert good["explanation_similarity"] == pytest.approx(1, abs=1e-4)
    assert bad["explanation_similarity"] < 0.5
    assert timeline_accuracy(samples[0].think, samples[0].think) == 1
    assert timeline_accuracy(samples[0].think, samples[-1].think) < 0.9


def test_groups_and_intervals(world):
    samples = [s for clip in world for s in clip.group]
    half = reference_predictions(samples, "oracle")
    half[1] = Prediction(samples[1], reference_predictions(samples, "never refuse")[1].answer)
    values = scores(half)
    groups = by_group(half, values)
    assert sum(g["n"] for g in groups["difficulty"].values()) == 12
    assert min(g["refused"] for g in groups["difficulty"].values()) < 1
    low, high = intervals(values)["f1"]
    assert low < metrics.relevance_f1(values["relevant"], values["verdict"])["f1"] <= high


def test_paired_difference_and_risk_coverage():
    better = metrics.paired_difference(np.zeros(200), np.r_[np.ones(40), np.zeros(160)])
    assert better["difference"] == pytest.approx(0.2) and better["low"] > 0 and better["p"] == 0
    coverage, risk = metrics.risk_coverage([0.9, 0.1, 0.5], [1, 0, 1])
    np.testing.assert_allclose(coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(risk, [0, 0, 1 / 3])
    assert metrics.auroc([True, False], [0.9, 0.1]) == 1 and np.isnan(metrics.auroc([True], [1.0]))


def test_stored_predictions_of_other_samples_are_refused(tmp_path, world):
    samples = [s for clip in world for s in clip.group]
    path = tmp_path / "p.jsonl"
    path.write_text('{"video": "x", "query": "y", "completion": "z"}\n')
    with pytest.raises(ValueError, match="line 1"):
        read_predictions(path, samples)


def test_fpr_at_tpr_is_the_lowest_that_any_threshold_reaches():
    rng = np.random.default_rng(0)
    for _ in range(300):
        truth, score = rng.random(30) < 0.5, rng.integers(0, 12, 30) / 12  # many ties
        if truth.all() or not truth.any():
            continue
        wanted = rng.choice([0.5, 0.8, 0.95, 1.0])
        reached = [np.mean(score[~truth] >= t) for t in {*score, 2.0} if np.mean(score[truth] >= t) >= wanted - 1e-12]
        assert metrics.fpr_at_tpr(truth, score, wanted) == pytest.approx(min(reached))
    assert np.isnan(metrics.fpr_at_tpr([True], [1.0]))
