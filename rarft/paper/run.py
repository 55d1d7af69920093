"""An experiment of the paper from its files to its table: the commands in their order, each of which resumes by itself.

`OUT` holds experiment.json (what was asked for), checked.json, the rows that are used (test.json, training.json),
styles/ (the wordings of a clone, if one was given), features/ (shared by all stages, for the tower is frozen), base/,
training/, after/, and at the end result.json and table.md.

Training follows the released script (`rarft.paper.official`), unless a recipe or a field says otherwise. The
plan and the table name each difference.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from rarft.asking.dataset import read_samples
from rarft.evaluation.scoring import OFFICIAL_RT_IOU
from rarft.hivtg.official import group_samples, iter_rows, write_released
from rarft.metrics import OFFICIAL_SPLITS
from rarft.models.load import settings_of
from rarft.models.settings import Settings
from rarft.paper.check import Checked, check_videos
from rarft.paper.estimate import estimate, in_words
from rarft.paper.official import (
    ALWAYS_DIFFERENT,
    INFERENCE_TOKENS,
    OURS,
    PROMPTS_A_STEP,
    SETTINGS,
    arguments,
    differences,
    write_wordings,
)
from rarft.paper.table import DataSet, Experiment
from rarft.schema import Sample
from rarft.system.errors import InputError
from rarft.system.files import RECIPES, read_json, read_text, write_json, write_text
from rarft.system.machine import machine
from rarft.training.recipe import read_recipe
from rarft.video.find import base_name
from rarft.video.readers import PYAV

ACCUMULATION = "--gradient_accumulation_steps"
ASKED = "experiment.json"
MEASURED = RECIPES.parent / "data" / "results" / "step_at_size.json"  # of a clone; a wheel does not bring it
SHOWN = 10  # names of videos in a message; all are in checked.json


@dataclass(frozen=True)
class Plan:
    """What is run, and where.

    base: the short name whose published figures are compared. model: the weights, of the hub or of a folder.
    gpus: 0 is one process on CPUs; else a number that shares out the prompts of a step equally.
    launch: the configuration of `accelerate launch`, for more than one GPU.
    limit: the first so many videos of test and training; all by default. skip_missing: go on without the videos that
    are not there or cannot be read. reader: the library that decodes. official_clone: a folder, for its wordings.
    max_new_tokens: of an answer in evaluation. fields: further ones of the recipe.

    Raises InputError for a number of GPUs that would make steps of another size than the paper's.
    """

    experiment: Experiment
    base: str
    model: str
    data: Path
    out: Path
    recipe: Path
    gpus: int
    launch: Path
    limit: int | None = None
    skip_missing: bool = False
    batch: int = 64
    reader: str = PYAV
    official_clone: Path | None = None
    max_new_tokens: int = INFERENCE_TOKENS
    fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.gpus and PROMPTS_A_STEP % self.gpus and ACCUMULATION not in self.fields:
            able = ", ".join(str(n) for n in range(1, PROMPTS_A_STEP + 1) if PROMPTS_A_STEP % n == 0)
            raise InputError(
                f"--gpus {self.gpus}: a step has {PROMPTS_A_STEP} prompts, which so many GPUs cannot share out; use "
                f"{able}, or set {ACCUMULATION} yourself"
            )

    def parts(self) -> dict[str, DataSet]:
        """The two data sets by what they are for."""
        return {"test": self.experiment.test, "training": self.experiment.training}

    def rows(self, part: str) -> Path:
        """The annotation file of those rows that are used."""
        return self.out / f"{part}.json"

    def videos(self, part: str) -> Path:
        return self.data / self.parts()[part].videos

    def styles(self) -> dict[str, str]:
        """The prompts of training and inference: names of `rarft.prompts`, or files with a clone's wordings."""
        if self.official_clone is None:
            return OURS
        return {name: str((self.out / "styles" / f"{name}.json").resolve()) for name in OURS}

    def recipe_fields(self) -> list[str]:
        """The recipe's file, the official settings that it leaves open, and all fields that differ from it."""
        style = {"prompt_style": self.styles()["training"]}
        named = fields_of(self.recipe)
        official = {name: value for name, value in {**SETTINGS, **style}.items() if name not in named}
        fields = {
            **official,
            **(style if self.official_clone else {}),
            "train_data": self.rows("training"),
            "videos": self.videos("training"),
            "model_name_or_path": self.model,
            "output_dir": self.out / "training",
            "features": self.out / "features",
            "reader": self.reader,
            "gradient_accumulation_steps": max(1, PROMPTS_A_STEP // max(1, self.gpus)),
            **({} if self.gpus else {"dtype": "float32", "bf16": False, "use_cpu": True}),
        }
        return ["--config", str(self.recipe), *arguments(fields), *self.fields]


@dataclass(frozen=True)
class Stage:
    """A command, and the file that it writes last."""

    name: str
    command: Sequence[str]
    ends_with: Path


def stages(plan: Plan) -> list[Stage]:
    """The base is measured, then trained, then measured again."""
    python = [sys.executable, "-m"]
    rarft = [*python, "rarft"]
    asking = ["--data", plan.rows("test"), "--videos", plan.videos("test"), "--features", plan.out / "features"]
    asking += ["--processes", max(1, plan.gpus), "--batch", plan.batch, "--reader", plan.reader]
    asking += ["--style", plan.styles()["inference"], "--max-new-tokens", plan.max_new_tokens]
    before, training, after = (plan.out / name for name in ("base", "training", "after"))
    launch = rarft
    if plan.gpus > 1:
        launch = [*python, "accelerate.commands.launch", "--config_file", str(plan.launch)]
        launch += ["--num_processes", str(plan.gpus), "-m", "rarft"]
    against = ["--against", before / "predictions.jsonl"]
    return [
        _stage("base", [*rarft, "evaluate", "--model", plan.model, *asking, "--out", before], before / "report.json"),
        _stage("training", [*launch, "train", "rarft", "--resume", *plan.recipe_fields()], training / "log.json"),
        _stage(
            "after",
            [*rarft, "evaluate", "--model", training, *asking, *against, "--out", after],
            after / "report.json",
        ),
    ]


def _stage(name: str, command: Sequence[object], ends_with: Path) -> Stage:
    return Stage(name, [str(part) for part in command], ends_with)


def prepare(plan: Plan) -> str:
    """Check that everything is there, estimate what the run will cost, and write what the stages read. Returns what a
    user should know before the first stage.

    Raises MissingFileError for an annotation file that is not there; InputError for missing or unreadable videos,
    unless the plan skips them, and if `out` holds another experiment."""
    _asked(plan)
    if plan.official_clone:
        write_wordings(plan.official_clone, plan.out / "styles")  # first: the settings name these files
    settings = read_settings_of(plan)
    files = {part: plan.data / data.file for part, data in plan.parts().items()}
    samples = {part: _first_videos(read_samples(path), plan.limit) for part, path in files.items()}
    checked = _checked(plan, samples)
    if any(found.bad() for found in checked.values()) and not plan.skip_missing:
        raise InputError(_what_is_missing(plan, checked))
    for part, path in files.items():
        rows = [row for row in iter_rows(path) if isinstance(row, dict) and row.get("video") in checked[part].found]
        if not rows:
            raise InputError(f"{plan.videos(part)}: none of the videos of {path} can be used")
        write_released(rows, plan.rows(part))
    figures = _estimate(plan, settings, samples["training"], checked)
    return "\n".join([*how_it_differs(plan, settings), "", _what_was_found(checked), "", in_words(figures)])


def read_settings_of(plan: Plan) -> dict[str, Any]:
    """Every field of the recipe as the training stage will have it, and `prompts`, the number of prompts a step."""
    # Read as for CPUs, so that a plan can be made on a machine without the GPUs.
    run, model_config, config = read_recipe([*plan.recipe_fields(), "--use_cpu", "true"])
    prompts = config.generation_batch_size // config.num_generations * max(1, plan.gpus)
    return {**vars(model_config), **vars(config), **vars(run), "prompts": prompts}


def how_it_differs(plan: Plan, settings: dict[str, Any]) -> list[str]:
    """Lines that name the rewards and wordings of a run, and what differs from the released script."""
    found = {**differences(settings), "prompts": (settings["prompts"], PROMPTS_A_STEP)}
    found["max_new_tokens in evaluation"] = (plan.max_new_tokens, INFERENCE_TOKENS)
    changed = [f"{name} {ours} (release: {theirs})" for name, (ours, theirs) in found.items() if ours != theirs]
    return [
        f"rewards: {settings['variant']}: {' + '.join(settings['rewards'])}",
        f"wording of training: {_wording(plan, settings['prompt_style'])}",
        f"wording of evaluation: {_wording(plan, plan.styles()['inference'])}",
        f"settings that differ from the release: {'; '.join(changed) or 'none'}",
        *(f"differs in every run: {sentence}" for sentence in ALWAYS_DIFFERENT),
    ]


def _wording(plan: Plan, style: str) -> str:
    if style in OURS.values():
        return f"{style}, the release's structure in this library's words; --official-clone FOLDER takes the release's"
    return f"{style}, from {plan.official_clone}" if style in plan.styles().values() else f"{style}, not the release's"


def fields_of(recipe: Path) -> set[str]:
    """The names in a recipe; none in a file that is not a recipe, for which `read_recipe` raises the error."""
    try:
        fields = yaml.safe_load(read_text(recipe))
    except (yaml.YAMLError, RecursionError):
        return set()
    return set(fields) if isinstance(fields, dict) else set()


def _first_videos(samples: list[Sample], limit: int | None) -> list[Sample]:
    kept = set(list(dict.fromkeys(sample.video for sample in samples))[:limit])
    return [sample for sample in samples if sample.video in kept]


def _asked(plan: Plan) -> dict[str, Any]:
    """What makes two runs the same experiment. Raises InputError if `out` holds another one."""
    asked = {name: value for name, value in asdict(plan).items() if name not in ("experiment", "data", "out", "batch")}
    asked = {"experiment": plan.experiment.name, **{name: _plain(value) for name, value in asked.items()}}
    path = plan.out / ASKED
    before = {"reader": PYAV, **read_json(path)} if path.exists() else asked
    changed = [f"{name} {before.get(name)!r}" for name, value in asked.items() if before.get(name) != value]
    if changed:
        raise InputError(f"{plan.out}: holds a run with {', '.join(changed)}; delete the folder or change --out")
    return asked


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


def _checked(plan: Plan, samples: dict[str, list[Sample]]) -> dict[str, Checked]:
    """Videos are looked at anew each time: a folder may have been completed meanwhile."""
    checked = {part: check_videos(asked, plan.videos(part), reader=plan.reader) for part, asked in samples.items()}
    write_json(plan.out / "checked.json", {part: asdict(found) for part, found in checked.items()})
    return checked


def _what_is_missing(plan: Plan, checked: dict[str, Checked]) -> str:
    lines = []
    for part, found in checked.items():
        if found.missing:
            total = len(found.missing) + len(found.found) + len(found.unreadable)
            names = [base_name(video) for video in found.missing]
            lines.append(f"{plan.videos(part)}: {len(names)} of {total} videos are not there: {_some(names)}")
        lines += [f"cannot be read: {reason}" for reason in list(found.unreadable.values())[:SHOWN]]
    listed = plan.out / "checked.json"
    return "\n".join([*lines, f"all names are in {listed}; --skip-missing goes on without these videos"])


def _what_was_found(checked: dict[str, Checked]) -> str:
    lines = []
    for part, found in checked.items():
        lines.append(f"{part}: {len(found.found)} videos, {len(found.bad())} missing or unreadable and left out")
        if found.doubts:
            lines.append(f"  {len(found.doubts)} times a file is not as its rows say: {_some(found.doubts, '; ')}")
    return "\n".join(lines)


def _some(names: Sequence[str], between: str = ", ") -> str:
    return between.join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")


def _estimate(
    plan: Plan, settings: dict[str, Any], training: list[Sample], checked: dict[str, Checked]
) -> dict[str, float]:
    bad = checked["training"].bad()
    groups = [group for group in group_samples(training) if group.video not in bad]
    prompts, steps = settings["prompts"], settings["max_steps"]
    if steps <= 0:  # each epoch asks a relevant and an irrelevant query about each video
        steps = math.ceil(math.ceil(2 * len(groups) / prompts) * settings["num_train_epochs"])
    return estimate(
        plan.base,
        settings_of(plan.model) or Settings(),
        [video for part in checked.values() for video in part.found.values()],
        steps=steps,
        prompts=prompts,
        gpus=plan.gpus,
        lora_rank=settings["lora_r"] if settings["use_peft"] else None,
        measured=read_json(MEASURED) if MEASURED.exists() else None,
    )


def run_stages(plan: Plan) -> None:
    """Run what is not done yet. Raises InputError that names the stage which failed, and how to go on."""
    write_json(plan.out / ASKED, _asked(plan))
    for stage in stages(plan):
        if stage.ends_with.exists():
            print(f"{stage.name}: done")
            continue
        print(f"{stage.name}: {' '.join(stage.command)}", flush=True)
        status = subprocess.run(stage.command).returncode
        if status != 0:
            raise InputError(f"the stage {stage.name!r} ended with status {status}; the same command goes on there")


def result(plan: Plan) -> str:
    """The table of what was measured beside what was published; written to table.md and result.json."""
    reports = {name: read_json(plan.out / folder / "report.json") for name, folder in _ROWS.items()}
    rows = {name: next(iter(report["rows"].values())) for name, report in reports.items()}
    published = plan.experiment.published.get(plan.base, {})
    table = result_table(rows, published)
    log = read_json(plan.out / "training" / "log.json")
    part = f", the first {plan.limit} videos" if plan.limit else ""
    weights = plan.base if plan.model == plan.base else f"weights of {plan.model} in place of {plan.base}: a rehearsal"
    trained = how_it_differs(plan, read_settings_of(plan))
    about = f"{plan.experiment.title}{part}; {weights}; {machine()}"
    write_json(
        plan.out / "result.json",
        {
            "about": about,
            "trained": trained,
            "asked": read_json(plan.out / ASKED),
            "published": published,
            "rows": rows,
            "after_against_base": reports["after RA-RFT"]["paired"],
            "judge_of_categories": reports["base"]["offline_judge"],
            "training_seconds": next((row["train_runtime"] for row in log if "train_runtime" in row), None),
            "steps": max((row.get("step", 0) for row in log), default=0),
        },
    )
    table = "\n\n".join([table, about, "\n".join(f"- {line}" for line in trained)])
    write_text(plan.out / "table.md", f"{table}\n")
    return table


_ROWS = {"base": "base", "after RA-RFT": "after"}
_MORE = {"ra_iou": "RA-IoU", "miou": "mIoU, relevant", "over_refusal": "over-refusal"}


def result_table(rows: dict[str, dict], published: Any) -> str:
    """In percent, as the paper has it, with 95 % intervals of the queries where there are any. A published figure
    is next to one that is computed in the same way, and each judge of categories has its own columns."""
    judges = dict.fromkeys(n.removeprefix(OFFICIAL_RT_IOU) for row in rows.values() for n in row if _is_official(n))
    columns = {"f1": "F1, here", "f1 published": "F1, published"}
    columns |= {f"{OFFICIAL_RT_IOU}{j}": f"RT-IoU, {OFFICIAL_SPLITS} splits, judge: {j}" for j in judges}
    columns |= {"rt_iou published": "RT-IoU, published, judge: a language model"}
    columns |= {f"rt_iou_{j}": f"RT-IoU, mean of irrelevant queries, judge: {j}" for j in judges}
    columns |= _MORE
    lines = ["| | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for number, (name, row) in enumerate(rows.items()):
        theirs = {f"{figure} published": values[number] / 100 for figure, values in published.items()}
        cells = [_percent({**row, **theirs}, figure) for figure in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _is_official(figure: str) -> bool:
    return figure.startswith(OFFICIAL_RT_IOU)


def _percent(row: dict, figure: str) -> str:
    value, around = row.get(figure), row.get("intervals", {}).get(figure)
    if value is None:
        return "–"
    return f"{100 * value:.1f}" + (f" [{100 * around[0]:.1f}, {100 * around[1]:.1f}]" if around else "")
