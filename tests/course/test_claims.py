"""The sentences of chapters 11 and 12 and README's table follow from the results files."""

import importlib.util
import json

import pytest

from rarft.course import ROOT

EXPERIMENT = json.loads((ROOT / "data" / "results" / "experiment.json").read_text())
TABLES = EXPERIMENT["tables"]
ARMS, REINFORCED = TABLES["arms"], TABLES["reinforcement"]
RA_RFT, AFTER_SHORT = "GRPO, + correction (RA-RFT)", "RA-RFT after the short cold start"
WEATHERS = ("calm", "rough", "storm")
TRAINED = [arm for arm in ARMS if arm != "base"]


def mean(arm, figure, weather="rough"):
    return ARMS[arm][weather][figure]["mean"]


def test_a_threshold_does_not_do_it():
    assert TABLES["threshold"]["base"]["rough"]["f1"]["mean"] < 0.55 < 0.9 < mean(RA_RFT, "f1")
    assert TABLES["votes"]["base"]["f1"]["mean"] < 0.55


@pytest.mark.parametrize("weather", WEATHERS)
def test_reinforcement_repairs_a_weak_start(weather):
    found = REINFORCED["short cold start alone"][weather]
    assert found["low"] > 0 and found["seeds_won"] == found["seeds"] >= 5


def test_reinforcement_nearly_makes_up_for_demonstrations_and_adds_little_to_them():
    assert mean(AFTER_SHORT, "f1") > mean("cold start alone", "f1") - 0.03
    found = REINFORCED["cold start alone"]["rough"]
    assert found["low"] <= 0 <= found["high"]


def test_it_decides_better_and_does_not_write_better():
    assert mean("short cold start alone", "explanation_true") < 0.5 and mean(AFTER_SHORT, "explanation_true") < 0.5
    assert mean("cold start alone", "explanation_true") > 0.6


def test_supervised_fine_tuning_does_as_well():
    found = TABLES["against_ours"]["SFT on HI-VTG"]["rough"]
    assert found["low"] <= 0 <= found["high"]
    assert mean("SFT on HI-VTG", "miou") >= mean(RA_RFT, "miou")


@pytest.mark.parametrize(
    "arm", ["GRPO, relevant queries only", "GRPO, format + refuse-IoU", "GRPO, + explain", "RA-RFT, official rewards"]
)
def test_no_reward_stands_out(arm):
    found = TABLES["against_ours"][arm]["rough"]
    assert found["low"] <= 0 <= found["high"] and found["seeds"] >= 5


def test_shuffled_negatives_teach_to_refuse_and_not_to_say_why():
    shuffled, shown = "SFT on shuffled negatives", "SFT on HI-VTG"
    assert mean(shuffled, "refused_absent") > mean(shown, "refused_absent") - 0.05
    assert 0 < mean(shown, "refused_bound") - mean(shuffled, "refused_bound") < 0.1
    assert mean(shuffled, "explanation_true") < mean(shown, "explanation_true") - 0.15


def test_whoever_learns_to_refuse_pays_in_a_storm():
    assert mean("base", "over_refusal", "storm") == 0
    for arm in (arm for arm in TRAINED if mean(arm, "refused_absent") > 0.5):
        assert mean(arm, "over_refusal", "storm") > mean(arm, "over_refusal"), arm


def test_a_limit_gives_up_refusing():
    calibrated = TABLES["calibrated_at_storm"][RA_RFT]
    assert calibrated["over_refusal"]["mean"] <= 0.05 and calibrated["f1"]["mean"] < 0.55


def test_the_table_of_the_readme_is_that_of_the_results():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "experiment_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    readme = (ROOT / "README.md").read_text()
    assert module.with_table(readme, module.readme_table(EXPERIMENT)) == readme


BROKEN = json.loads((ROOT / "data" / "results" / "failures.json").read_text())["runs"]
USUAL = "as it is"
MOSTLY_IRRELEVANT = [name for name in BROKEN if name.endswith("90 % irrelevant")]


def figure(run, name):
    return BROKEN[run]["figures"][name]


def mean_of(run, curve):
    values = BROKEN[run]["curves"][curve]
    return sum(values) / len(values)


def test_nothing_breaks():
    assert len(BROKEN) >= 9
    for run in BROKEN:
        assert abs(figure(run, "f1") - figure("before", "f1")) < 0.04 and figure(run, "over_refusal") < 0.1, run


def test_only_an_even_mix_wins_back_grounding():
    begun, mostly_relevant = figure("before", "miou"), "10 % irrelevant"
    uneven = [*MOSTLY_IRRELEVANT, mostly_relevant]
    even = [run for run in BROKEN if run not in [*uneven, "before"]]
    assert len(MOSTLY_IRRELEVANT) == 3 and len(even) >= 5
    assert max(figure(run, "miou") for run in uneven) < begun + 0.015 < min(figure(run, "miou") for run in even)
    trained = [run for run in BROKEN if run != "before"]
    assert max(trained, key=lambda run: mean_of(run, "frac_reward_zero_std")) == mostly_relevant
    assert min(BROKEN, key=lambda run: figure(run, "f1")) == mostly_relevant


def test_a_difference_in_reward_is_not_yet_a_lesson():
    flat = "frac_reward_zero_std"
    assert 1.7 < mean_of("groups of 2", flat) / mean_of(USUAL, flat) < 2.5
    assert mean_of("temperature 1.5", flat) < 0.02
    assert mean_of("90 % irrelevant", flat) < 0.05
    alike = ["KL weight 0.04", "KL weight 0.1", "groups of 2", USUAL]
    assert mean_of("temperature 1.5", "reward") < min(mean_of(run, "reward") for run in alike) - 0.5


AT_SIZE = json.loads((ROOT / "data" / "results" / "step_at_size.json").read_text())
SEVEN, THREE = (AT_SIZE[f"qwen2.5-vl-{size}b"] for size in (7, 3))


def seconds(row, part):
    return min(row["parts"][part]["seconds"]) - row["parts"][part].get("prefill", 0)


def test_naming_kernels_takes_longer_than_running_them():
    assert seconds(THREE, "sampling") > seconds(SEVEN, "sampling") > 2 * seconds(SEVEN, "sampling, graph")
    assert seconds(SEVEN, "sampling, graph") > 2 * SEVEN["sampling_floor_seconds"]


@pytest.mark.parametrize("row", [SEVEN, THREE])
def test_checkpoints_trade_time_for_memory(row):
    parts = row["parts"]
    assert 1.2 < seconds(row, "training, checkpoints") / seconds(row, "training") < 1.45
    assert parts["training, checkpoints"]["peak_gb"] < parts["training"]["peak_gb"] / 2


@pytest.mark.parametrize("row", [SEVEN, THREE])
def test_vision_takes_longest(row):
    assert sum(row["parts"]["vision"].values()) > seconds(row, "sampling")
    assert sum(row["parts"]["vision"].values()) > seconds(row, "training")
