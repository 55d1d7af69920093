"""Tables out of the runs of `experiment.py`: figures with their spread over seeds, thresholds, votes, paired tests.

python benchmarks/experiment_tables.py    # makes them again out of data/results/experiment.json, and README's table
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from rarft import metrics
from rarft.schema import Verdict
from rarft.system.files import write_json, write_text

RESULTS = Path(__file__).parents[1] / "data" / "results" / "experiment.json"
README, BEGIN, END = Path(__file__).parents[1] / "README.md", "<!-- experiment -->", "<!-- end -->"
WEATHERS = ("calm", "rough", "storm")
HARD = ("bound", "absent", "order")
VERDICTS = {verdict.value[0]: verdict.value for verdict in Verdict}
OURS = "GRPO, + correction (RA-RFT)"
REINFORCED = {"cold start alone": OURS, "short cold start alone": "RA-RFT after the short cold start"}
IN_STORMS = {OURS: "RA-RFT, in storms", "SFT on HI-VTG": "SFT on HI-VTG, in storms"}
BUDGET = 0.05  # of relevant queries that a threshold may refuse


def floats(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], float)


def figures(said: dict, kinds: np.ndarray, unseen: np.ndarray, refused: np.ndarray | None = None) -> dict[str, float]:
    """The figures of one run in one weather. refused: decisions (n,) in place of what the answers do."""
    verdict = np.array([VERDICTS[letter] for letter in said["verdict"]])
    if refused is not None:
        verdict = np.where(refused, Verdict.REFUSES.value, np.where(verdict == "refuses", "unreadable", verdict))
    relevant, hard = kinds == "relevant", np.isin(kinds, HARD)
    both = relevant | hard
    iou, sure = np.nan_to_num(floats(said["iou"])), floats(said["refusal_probability"])
    known = both & ~np.isnan(sure)
    row = {
        "f1": metrics.relevance_f1(relevant[both], verdict[both])["f1"],
        "auroc": metrics.auroc(hard[known], sure[known]),
        "fpr95": metrics.fpr_at_tpr(hard[known], sure[known]),
        "ra_iou": float(metrics.ra_iou(relevant[both], verdict[both], iou[both]).mean()),
        "miou": float(np.where(verdict == "grounds", iou, 0.0)[relevant].mean()),
        "miou_unseen": float(np.where(verdict == "grounds", iou, 0.0)[relevant & unseen].mean()),
        "over_refusal": float((verdict == "refuses")[relevant].mean()),
        "rt_iou": metrics.mean(floats(said["rt_iou"])[hard]),
    }
    row |= {f"refused_{k}": float((verdict == "refuses")[kinds == k].mean()) for k in (*HARD, "shuffled")}
    for name in ("explanation_true", "correction_true"):
        row[name] = metrics.mean(floats(said[name])[hard])
    return row


def threshold(said: dict, kinds: np.ndarray) -> float:
    """The lowest limit on the probability of refusing that at most BUDGET of the relevant queries lie above."""
    sure = np.sort(np.nan_to_num(floats(said["refusal_probability"])[kinds == "relevant"], nan=1.0))
    return float(sure[len(sure) - 1 - int(BUDGET * len(sure))])


def spread(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation over seeds of each figure; NaN values are left out."""
    found = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows if not np.isnan(row[name])])
        if len(values):
            deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            found[name] = {"mean": float(values.mean()), "sd": deviation, "seeds": len(values)}
    return found


def tables(stored: dict[str, Any]) -> dict[str, Any]:
    """All tables of the stored runs, as JSON types."""
    kinds = {name: np.array([q["kind"] for q in queries]) for name, queries in stored["queries"].items()}
    unseen = {name: np.array([q["unseen"] for q in queries]) for name, queries in stored["queries"].items()}
    arms = list(dict.fromkeys(run["arm"] for run in stored["runs"]))
    runs = {arm: [run for run in stored["runs"] if run["arm"] == arm] for arm in arms}

    def rows(arm: str, weather: str, decide=None) -> list[dict[str, float]]:
        return [
            figures(run["said"][weather], kinds[weather], unseen[weather], decide(run, weather) if decide else None)
            for run in runs[arm]
        ]

    def limited(validation: str):
        def decide(run: dict, weather: str) -> np.ndarray:
            limit = threshold(run["said"][validation], kinds[validation])
            return np.nan_to_num(floats(run["said"][weather]["refusal_probability"]), nan=1.0) > limit

        return decide

    def voted(run: dict, weather: str) -> np.ndarray:
        votes, relevant = np.array(run["votes"]["validation_rough"]), kinds["validation_rough"] == "relevant"
        ordered = np.sort(votes[relevant])
        return np.array(run["votes"][weather]) > ordered[len(ordered) - 1 - int(BUDGET * len(ordered))]

    def pairs(ends: dict[str, str]) -> dict[str, dict[str, dict[str, float]]]:
        return {
            start: {weather: paired(runs[end], runs[start], kinds[weather], weather) for weather in WEATHERS}
            for start, end in ends.items()
            if start in runs and end in runs and all(same_seeds(runs[end], runs[start]))
        }

    return {
        "arms": {arm: {weather: spread(rows(arm, weather)) for weather in WEATHERS} for arm in arms},
        "threshold": {
            arm: {weather: spread(rows(arm, weather, limited("validation_rough"))) for weather in WEATHERS}
            for arm in arms
        },
        "calibrated_at_storm": {arm: spread(rows(arm, "storm", limited("validation_storm"))) for arm in arms},
        "votes": {arm: spread(rows(arm, "rough", voted)) for arm in arms if "votes" in runs[arm][0]},
        "against_ours": {
            arm: {weather: paired(runs[OURS], runs[arm], kinds[weather], weather) for weather in WEATHERS}
            for arm in arms
            if arm != OURS and OURS in runs and all(same_seeds(runs[OURS], runs[arm]))
        },
        "reinforcement": pairs(REINFORCED),
        "in_storms": pairs(IN_STORMS),
    }


def same_seeds(ours: list[dict], others: list[dict]) -> tuple[list[dict], list[dict]]:
    """The runs of two arms that share their seeds; the base, which no seed changes, goes with all of them."""
    if others[0].get("arm") == "base":
        return ours, others
    seeds = {run["seed"] for run in ours} & {run["seed"] for run in others}
    first, second = ([run for run in runs if run["seed"] in seeds] for runs in (ours, others))
    return first, second


def paired(ours: list[dict], others: list[dict], kinds: np.ndarray, weather: str) -> dict[str, float]:
    """Share of relevant and hard-irrelevant queries whose relevance is told rightly, ours minus the other's, over the
    seeds that both have: each clip's mean over its queries and over seeds, a 95 % bootstrap interval over clips, whose
    queries fail together; and how many of the seeds went our way."""
    both = (kinds == "relevant") | np.isin(kinds, HARD)
    clip = np.cumsum(kinds[both] == "relevant") - 1  # the queries of a clip follow each other, the relevant one first

    def right(run: dict) -> np.ndarray:
        verdict = np.array([VERDICTS[letter] for letter in run["said"][weather]["verdict"]])[both]
        return np.bincount(clip, metrics.is_right(kinds[both] == "relevant", verdict)) / np.bincount(clip)

    ours, others = same_seeds(ours, others)
    a, b = (np.mean([right(run) for run in runs], 0) for runs in (ours, others))
    theirs = {run["seed"]: right(run).mean() for run in others}
    return {
        **{name: float(value) for name, value in metrics.paired_difference(b, a).items()},
        "seeds": len(ours),
        "seeds_won": sum(bool(right(run).mean() > theirs.get(run["seed"], b.mean())) for run in ours),
    }


def readme_table(stored: dict[str, Any]) -> str:
    """The table of README.md: rough weather, means over seeds with their standard deviation."""
    columns = {"f1": "F1", "miou": "mIoU", "over_refusal": "over-refusal"}
    columns |= {"explanation_true": "explanation true", "correction_true": "correction happens"}

    def cell(found: dict[str, float] | None) -> str:
        if found is None:
            return "–"
        return f"{found['mean']:.2f}" + (f" ± {found['sd']:.2f}" if found["seeds"] > 1 else "")

    lines = [f"| | seeds | {' | '.join(columns.values())} |", "|---" * (len(columns) + 2) + "|"]
    for arm, weathers in stored["tables"]["arms"].items():
        row = weathers["rough"]
        lines.append(f"| {arm} | {row['f1']['seeds']} | {' | '.join(cell(row.get(name)) for name in columns)} |")
    return "\n".join([*lines, "", f"{stored['clips']} held-out clips, {stored['steps']} steps; {stored['machine']}."])


def with_table(readme: str, table: str) -> str:
    """A README whose table, between two comments, is this one."""
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    stored = json.loads(RESULTS.read_text(encoding="utf-8"))
    stored["tables"] = tables(stored)
    write_json(RESULTS, stored)
    write_text(README, with_table(README.read_text(encoding="utf-8"), readme_table(stored)))
