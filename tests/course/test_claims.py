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
TRAINED = [arm for arm in ARMS if arm != "base" and "in storms" not in arm]


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


@pytest.mark.parametrize("arm, end", [(RA_RFT, "RA-RFT, in storms"), ("SFT on HI-VTG", "SFT on HI-VTG, in storms")])
def test_training_in_storms_is_not_enough(arm, end):
    found = TABLES["in_storms"][arm]["storm"]
    assert found["low"] <= 0 <= found["high"] and found["seeds"] >= 5
    assert mean(end, "over_refusal", "storm") > 0.1
    gain = mean(end, "miou", "storm") - mean(arm, "miou", "storm")
    assert 0 < gain < 2 * max(ARMS[row]["storm"]["miou"]["sd"] for row in (arm, end))


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
USUAL, FLAT = "as it is", "frac_reward_zero_std"
SCRAMBLED = "frames in random order, "
SIGHTED = [name for name in BROKEN if not name.startswith(SCRAMBLED)]
UNEVEN = [name for name in SIGHTED if name.endswith("0 % irrelevant")]
EVEN = [name for name in SIGHTED if name not in [*UNEVEN, "before"]]


def figure(run, name):
    return BROKEN[run]["figures"][name]


def mean_of(run, curve):
    values = BROKEN[run]["curves"][curve]
    return sum(values) / len(values)


def test_nothing_breaks():
    assert len(SIGHTED) == 16
    for run in SIGHTED:
        assert abs(figure(run, "f1") - figure("before", "f1")) < 0.04 and figure(run, "over_refusal") < 0.1, run
    for run in ("KL weight 0.04", "KL weight 0.1", "no division by the spread", "all tokens trained"):
        assert abs(figure(run, "f1") - figure(USUAL, "f1")) < 0.02, run


def test_a_difference_in_reward_is_not_yet_a_lesson():
    flat = [mean_of(run, FLAT) for run in ("groups of 2", "groups of 4", USUAL, "groups of 16")]
    assert all(after < 0.75 * before for before, after in zip(flat, flat[1:], strict=False))
    assert 1.7 < mean_of("temperature 0.5", FLAT) / mean_of(USUAL, FLAT) < 2
    assert mean_of("temperature 1.5", FLAT) < 0.02 and mean_of("90 % irrelevant", FLAT) < 0.05
    same_rewards = [run for run in EVEN if run != "temperature 1.5"]
    assert mean_of("temperature 1.5", "reward") < min(mean_of(run, "reward") for run in same_rewards) - 0.5


def test_a_filter_made_before_the_run_ages():
    assert 0.75 < mean_of("prompts whose answers differ", FLAT) / mean_of(USUAL, FLAT) < 1


def test_what_is_not_sampled_is_not_learned():
    assert figure("temperature 0.5", "explanation_true") < 0.3 * figure("before", "explanation_true")
    assert min(SIGHTED, key=lambda run: figure(run, "explanation_true")) == "temperature 0.5"


def test_an_uneven_mix_does_not_win_grounding_back():
    begun = figure("before", "miou") + 0.015
    assert len(UNEVEN) == 4 and max(figure(run, "miou") for run in UNEVEN) < begun
    assert sum(figure(run, "miou") > begun for run in EVEN) >= 0.75 * len(EVEN)
    assert min(SIGHTED, key=lambda run: figure(run, "f1")) == "10 % irrelevant"


def test_the_hole_of_chapter_07_is_not_found():
    begun, *runs = [name for name in BROKEN if name.startswith(SCRAMBLED)]
    assert begun == f"{SCRAMBLED}before" and len(runs) == 6
    assert 0.35 < figure(begun, "over_refusal") < 0.45 and figure(begun, "miou") < 0.1
    for run in runs:
        assert 0.35 < figure(run, "over_refusal") < 0.55 and figure(run, "miou") < 0.2, run
    pairs = [(run, run.replace("robust", "official without explain")) for run in runs if "robust" in run]
    higher = [figure(robust, "over_refusal") - figure(official, "over_refusal") for robust, official in pairs]
    assert min(higher) < 0 < max(higher)


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


RELATED = json.loads((ROOT / "data" / "results" / "related.json").read_text())


def related(system, figure, negatives="none", reading="", features="regions", weather="rough"):
    """The mean over seeds of one row of chapter 13's table."""
    key = (system, negatives, reading, features)
    runs = [r for r in RELATED["rows"] if (r["system"], r["negatives"], r["reading"], r["features"]) == key]
    assert runs, key
    return sum(run["figures"][weather][figure] for run in runs) / len(runs)


WRONG = ("auroc_shuffled", "auroc_absent", "auroc_bound")
SETTINGS = ("none", "shuffled", "all")


def test_who_has_never_been_shown_a_wrong_query_does_not_know_one():
    for figure in WRONG:
        assert related("UniVTG", figure, reading="foreground") < 0.6
        for kind in ("geom", "original"):
            for width in ("epistemic", "aleatoric"):
                assert related(f"evidential, {kind}", figure, reading=width) < 0.6


def test_contrast_is_a_negative_in_disguise():
    assert related("UniVTG", "auroc_shuffled", reading="saliency") > 0.9
    assert min(related(system, "auroc_shuffled") for system in ("cycle", "phrase alignment")) > 0.9


def test_a_whole_sentence_score_cannot_bind():
    for negatives in SETTINGS:
        assert related("UniVTG", "auroc_bound", negatives, "saliency") < 0.65
        assert min(related(s, "auroc_bound", negatives) for s in ("cycle", "phrase alignment")) > 0.75


def test_one_vector_a_second_is_not_enough():
    for system in ("cycle", "phrase alignment"):
        bound, shuffled = (
            related(system, figure, "all") - related(system, figure, "all", features="one vector")
            for figure in ("auroc_bound", "auroc_shuffled")
        )
        assert bound > 0.1 and bound > 2 * shuffled


def test_scaling_costs_vtg_gpt_everything():
    for figure in WRONG:
        assert related("VTG-GPT", figure, reading="scaled", features="captions") == 0.5
        before = related("VTG-GPT", figure, reading="before scaling", features="captions")
        assert before > max(related("UniVTG", figure, negatives, "foreground") for negatives in SETTINGS)


def test_finding_and_refusing_are_two_skills():
    for figure in WRONG:
        assert related("cycle", figure) > related("UniVTG", figure, reading="saliency")
    assert related("cycle", "miou") < related("UniVTG", "miou", reading="saliency")
    assert (
        related("data/base", "miou", features="tokens") > 0.95 > 0.7 > related("data/base", "auroc", features="tokens")
    )
    trained = {f: related("build/rarft/model", f, features="tokens") for f in ("miou", *WRONG)}
    assert min(trained.values()) > 0.9
    heads = [r for r in RELATED["rows"] if r["features"] in ("regions", "one vector")]
    assert max(row["figures"]["rough"]["miou"] for row in heads) < 0.85


def test_a_reason_is_worth_more_than_a_correction_if_only_one_phrase_is_named():
    phrases = {f: related("phrase alignment", f, "all") for f in ("explanation_true", "correction_true")}
    others = [r for r in RELATED["rows"] if r["system"] != "phrase alignment"]
    assert phrases["explanation_true"] > max(r["figures"]["rough"]["explanation_true"] or 0 for r in others)
    assert phrases["correction_true"] < 0.3


def test_more_negatives_are_not_always_better():
    for system, reading in (("UniVTG", "foreground"), ("cycle", ""), ("phrase alignment", "")):
        found = [related(system, "miou", negatives, reading) for negatives in SETTINGS]
        assert found[0] > max(found[1:])
    gain = {
        f: related("UniVTG", f, "shuffled", "foreground") - related("UniVTG", f, "none", "foreground") for f in WRONG
    }
    assert gain["auroc_shuffled"] > 0.1 > abs(gain["auroc_bound"])


def test_queries_of_order_are_too_few_for_a_column():
    assert RELATED["queries"]["rough"]["order"] < 20 <= min(RELATED["queries"]["rough"][k] for k in ("bound", "absent"))
