"""The sentences of chapters 11 and 12 and README's table follow from the results files."""

import importlib.util
import json

import pytest

from coursekit import ROOT

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


STEP = json.loads((ROOT / "data" / "results" / "grpo_step.json").read_text())["measured"]


def test_answers_share_less_the_more_they_differ():
    base, cold_start, paper = (row["sampled"]["shared"] for row in STEP.values())
    shared = [row["tokens"] / row["distinct_tokens"] for row in (base, cold_start, paper)]
    assert shared[0] > shared[1] > 4 and shared[2] == 1
    assert base["distinct_completions"] < cold_start["distinct_completions"] < cold_start["completions"]
    assert paper["distinct_completions"] == paper["completions"]
    assert all(row["speedup"] > 2.5 for row in STEP.values())


RELATED = json.loads((ROOT / "data" / "results" / "related.json").read_text())


def related(system, figure, negatives="none", reading="", features="regions", weather="rough"):
    """The mean over seeds of one row of chapter 13's table."""
    key = (system, negatives, reading, features)
    runs = [r for r in RELATED["rows"] if (r["system"], r["negatives"], r["reading"], r["features"]) == key]
    assert runs, key
    values = [run["figures"][weather][figure] for run in runs if figure in run["figures"][weather]]
    return sum(values) / len(values)


BOTH = "RA-RFT and phrases"
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
    heads = [r for r in RELATED["rows"] if r["parameters"] and r["system"] != BOTH]
    assert max(row["figures"]["rough"]["miou"] for row in heads) < 0.85


def test_a_reason_is_worth_more_than_a_correction_if_only_one_phrase_is_named():
    phrases = {f: related("phrase alignment", f, "all") for f in ("explanation_true", "correction_true")}
    others = [r for r in RELATED["rows"] if r["system"] not in ("phrase alignment", "sub-questions", BOTH)]
    assert phrases["explanation_true"] > max(r["figures"]["rough"]["explanation_true"] or 0 for r in others)
    assert phrases["correction_true"] < 0.3


def test_in_a_storm_the_model_that_refuses_loses_most():
    def lost(row, figure):
        return row["figures"]["rough"][figure] - row["figures"]["storm"][figure]

    heads = [r for r in RELATED["rows"] if r["parameters"] and r["system"] not in (BOTH, "query only")]
    assert max(lost(row, "miou") for row in heads) < 0.08
    [trained] = [r for r in RELATED["rows"] if r["system"] == "build/rarft/model"]
    assert (
        0.15 < lost(trained, "miou") < 0.25 and related("data/base", "miou", features="tokens", weather="storm") > 0.9
    )
    phrases = [r for r in RELATED["rows"] if r["system"] == "phrase alignment" and r["features"] == "regions"]
    assert lost(trained, "auroc") > max(lost(row, "auroc") for row in phrases)


def test_more_negatives_are_not_always_better():
    for system, reading in (("UniVTG", "foreground"), ("cycle", ""), ("phrase alignment", "")):
        found = [related(system, "miou", negatives, reading) for negatives in SETTINGS]
        assert found[0] > max(found[1:])
    gain = {
        f: related("UniVTG", f, "shuffled", "foreground") - related("UniVTG", f, "none", "foreground") for f in WRONG
    }
    assert gain["auroc_shuffled"] > 0.1 > abs(gain["auroc_bound"])


def test_an_order_is_a_relation():
    coins = [r for r in RELATED["rows"] if r["system"].startswith(("UniVTG", "cycle", "VTG-GPT", "data/base"))]
    told = [r["figures"]["rough"]["auroc_turned"] for r in coins if "auroc_turned" in r["figures"]["rough"]]
    assert len(told) > 10 and max(told) < 0.6
    for negatives in SETTINGS:
        assert related("phrase alignment", "auroc_turned", negatives) > 0.98
    assert 0.9 < related("build/rarft/model", "auroc_turned", features="tokens") < 0.98


def test_two_doubts_tell_more_than_one():
    parts = (("build/rarft/model", "none", "tokens"), ("phrase alignment", "all", "regions"))
    for weather in ("calm", "rough"):
        alone = [related(s, "auroc", n, features=f, weather=weather) for s, n, f in parts]
        assert related(BOTH, "auroc", "all", weather=weather) > max(alone)
    assert related(BOTH, "miou", "all") == related("build/rarft/model", "miou", features="tokens")


def test_who_sees_everything_needs_only_logic():
    for figure in ("miou", *WRONG, "auroc_turned", "f1"):
        alone = related("sub-questions", figure, features="captions")
        trained = [
            r["figures"]["rough"].get(figure) or 0 for r in RELATED["rows"] if r["parameters"] and r["system"] != BOTH
        ]
        assert alone > 0.98 and (alone >= max(trained) or figure == "auroc_turned")
        assert alone > related("build/rarft/model", figure, features="tokens")


LONG = json.loads((ROOT / "data" / "results" / "long_video.json").read_text())
WEATHERS = ("calm", "rough", "storm")


def long_video(way, figure, weather="rough", model="build/rarft/model"):
    """A figure of one row of chapter 14's table."""
    [row] = [r for r in LONG["rows"] if (r["way"], r["weather"], r["model"]) == (way, weather, model)]
    return row["figures"][figure]


def test_a_rate_for_a_clip_is_not_a_rate_for_a_video():
    for looks in LONG["looks"]:
        one, *_, all_of_them = looks["chances"]
        if looks["model"] == "build/rarft/model":
            assert one["answered"] < 0.15 and 0.8 < all_of_them["answered"] < all_of_them["independent"]
    assert long_video("every window", "f1_own") < 0.6 < 0.85 < long_video("every window", "f1")


def test_what_is_not_shown_cannot_be_refused():
    for weather in WEATHERS:
        assert long_video("whole video", "miou", weather) < 0.01
        assert long_video("whole video", "over_refusal_own", weather) > 0.6
        assert abs(long_video("whole video", "auroc_edited", weather) - 0.5) < 0.1


def test_retrieval_loses_what_it_does_not_bring():
    for weather in WEATHERS:
        assert long_video("nearest 1", "over_refusal_own", weather) > 0.3
        three, five, windows = (long_video(w, "miou", weather) for w in ("nearest 3", "nearest 5", "every window"))
        assert three >= five and three > windows
        for other in ("nearest 5", "every window"):
            assert long_video("nearest 3", "f1_own", weather) >= long_video(other, "f1_own", weather)


def test_similarity_finds_and_does_not_doubt():
    rows = [r for r in LONG["retrieval"] if r["versions"] == "the query"]
    assert min(r["r3"] for r in rows) > 0.85 and max(r["auroc_edited"] for r in rows) < 0.6
    assert max(r["auroc_edited"] for r in LONG["retrieval"]) < 0.66
    for looks in LONG["looks"]:
        drift = looks["drift"]
        if looks["model"] == "build/rarft/model" and looks["weather"] == "rough":
            assert (
                drift["drifted_that_happen"] < 0.1
                and drift["refused_drifted"] > 0.8 > 0.1 > drift["refused_paraphrases"]
            )


def test_one_no_is_enough():
    for weather in WEATHERS:
        graph = long_video("graph and sub-questions", "f1_own", weather)
        assert graph > max(long_video(w, "f1_own", weather) for w in ("nearest 1", "nearest 3", "every window"))
    base = {w: long_video(w, "f1_own", model="data/base") for w in ("nearest 3", "graph and sub-questions")}
    assert base["nearest 3"] < 0.4 < 0.95 < base["graph and sub-questions"]


def test_a_system_sees_as_well_as_its_captioner():
    read = {r["weather"]: r["parts_read"] for r in LONG["retrieval"]}
    assert read["storm"] < 0.6 < 0.95 < min(read["calm"], read["rough"])
    refused = {
        way: long_video(way, "over_refusal_own", "storm")
        for way in ("graph and sub-questions", "nearest 3", "sub-questions alone")
    }
    assert max(refused, key=refused.get) == "graph and sub-questions"
    assert (
        long_video("sub-questions alone", "f1_own") > 0.98 > 0.95 > long_video("sub-questions alone", "f1_own", "storm")
    )


def test_a_router_saves_what_its_labels_can_tell_it_to_save():
    for weather in WEATHERS:
        ways = {row["way"]: row for row in LONG["routes"] if row["weather"] == weather}
        router, near, graph = ways["router"], ways["nearest 3"], ways["graph and sub-questions"]
        assert near["right"] < router["right"] < graph["right"]
        assert router["looks"] < 0.67 * near["looks"] and router["to_graph and sub-questions"] < 0.1


def test_enriched_queries_find_first_more_often_and_miss_more_often():
    for weather in WEATHERS:
        rows = {r["versions"]: r for r in LONG["retrieval"] if r["weather"] == weather and r["captions"][0] == "a"}
        plain = rows.pop("the query")
        for name, row in rows.items():
            assert row["r3"] <= plain["r3"]
            assert name in ("paraphrases", "drifted, all") or row["r1"] > plain["r1"]


IGV = json.loads((ROOT / "data" / "results" / "igv.json").read_text())
PRVG = json.loads((ROOT / "data" / "results" / "prvg.json").read_text())
INVERSION = json.loads((ROOT / "data" / "results" / "inversion.json").read_text())


def igv(way, share, figure, features="regions"):
    """The mean over seeds of one row of chapter 15's first tables."""
    runs = [r for r in IGV["rows"] if (r["way"], r["share"], r["features"]) == (way, share, features)]
    return sum(run[figure] for run in runs) / len(runs)


def prvg(ordered, figure, negatives):
    """The same of its table of paragraphs."""
    runs = [r for r in PRVG["rows"] if (r["ordered"], r["negatives"]) == (ordered, negatives)]
    return sum(run[figure] for run in runs) / len(runs)


def arms(arm, figure, weather="rough"):
    """Of its last table: one figure for each seed, by seed."""
    return {r["seed"]: r["figures"][weather][figure] for r in INVERSION["rows"] if r["arm"] == arm}


def arm(name, figure, weather="rough"):
    values = arms(name, figure, weather).values()
    return sum(values) / len(values)


def test_a_mask_bets_on_what_predicts_better():
    for share in (0.7, 0.8):
        assert min(igv("plain", share, figure) for figure in ("none", "other")) > 0.95
    runs = {(r["way"], r["seed"]): r for r in IGV["rows"] if (r["share"], r["features"]) == (0.9, "regions")}
    for seed in {seed for _, seed in runs}:
        for figure in ("none", "other", "asked shot, none"):
            assert runs["IGV", seed][figure] > runs["plain", seed][figure]
    for figure in ("none", "other"):
        assert igv("IGV", 1.0, figure) < igv("plain", 1.0, figure) - 0.2
    always = [r for r in IGV["rows"] if (r["share"], r["features"]) == (1.0, "regions")]
    assert max(r["other"] for r in always if r["way"] == "IGV") < 0.25
    assert sum(r["other"] < 0.5 for r in always if r["way"] == "plain") == 1


def test_without_a_budget_the_mask_hardly_chooses():
    free = {r["share"]: r for r in IGV["rows"] if r["way"] == "IGV, no budget"}
    plain = {r["share"]: r for r in IGV["rows"] if (r["way"], r["features"], r["seed"]) == ("plain", "regions", 0)}
    assert set(free) == set(plain)
    for share, row in free.items():
        for figure in ("none", "other"):
            assert -0.02 < row[figure] - plain[share][figure] < 0.1


def test_what_cannot_be_seen_cannot_be_the_cause():
    for row in (r for r in IGV["rows"] if r["features"] == "one vector"):
        assert row["other"] < 0.5 < 0.7 < row["same"]


def test_attention_to_nothing_is_a_better_doubt_than_certainty():
    for share in (0.7, 0.8, 0.9):
        assert igv("IGV", share, "auroc nothing") > igv("plain", share, "auroc nothing")
        for way in ("plain", "IGV"):
            assert igv(way, share, "auroc nothing") > igv(way, share, "auroc certainty")
    assert igv("IGV", 0.7, "auroc nothing") > 0.95 and igv("IGV", 1.0, "auroc nothing") < 0.6


def test_neighbours_tell_a_sentence_its_place_and_nothing_else():
    for negatives in ("none", "all"):
        alone, together, turned = (prvg(True, name, negatives) for name in ("alone", "in order", "reversed"))
        assert together > alone + 0.02 and alone - turned > 2 * (together - alone)
        any_order = [prvg(False, name, negatives) for name in ("alone", "in order", "reversed")]
        assert max(any_order) - min(any_order) < 0.01
        for ordered in (True, False):
            for wrong in ("edited", "shuffled"):
                assert abs(prvg(ordered, wrong, negatives) - prvg(ordered, "in order", negatives)) < 0.01


def test_a_wrong_sentence_stands_out_among_right_ones():
    for ordered in (True, False):
        for kind in ("edited", "shuffled"):
            assert prvg(ordered, f"auroc {kind}", "none") < 0.5
            assert prvg(ordered, f"auroc {kind}", "all") > prvg(ordered, f"auroc {kind} alone", "all") + 0.03
    assert max(prvg(ordered, "auroc edited", "all") for ordered in (True, False)) < 0.65


def test_grounding_alone_forgets_the_words():
    before, after, kept = (arms(n, "actions") for n in ("cold start", "RA-RFT", "RA-RFT, inverse tasks"))
    assert len(before) >= 2
    for seed in before:
        assert min(before[seed], kept[seed]) > after[seed]
    for figure in ("f1", "miou"):
        assert abs(arm("RA-RFT", figure) - arm("RA-RFT, inverse tasks", figure)) < 0.03


def test_no_label_is_needed_to_refuse():
    start, trained = arms("cold start", "f1"), arms("RA-RFT", "f1")
    assert all(0 < trained[seed] - start[seed] < 0.05 for seed in trained)
    for name in ("consistency and format alone", "RA-RFT, consistency"):
        assert abs(arm("RA-RFT", "f1") - arm(name, "f1")) < 0.02


def test_what_no_reward_asks_for_can_be_lost():
    corrected = arms("consistency and format alone", "correction_true").values()
    assert min(corrected) < 0.05 and max(corrected) > 0.6
