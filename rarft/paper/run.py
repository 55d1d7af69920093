"""An experiment of the paper, from its files to its table, in three phases that can each resume.

`OUT` has experiment.json (the plan), checked.json (the state of the videos), test.json and training.json (the rows that
are used), styles/ (the prompts of a clone, if one was given), features/ (shared by all phases, since the tower is
frozen), base/, training/, after/, and at the end result.json and table.md.

Training follows the released script (`rarft.paper.official`), unless a recipe or a field changes a setting. The plan
and the table list each difference.
"""

from __future__ import annotations

import gc
import logging
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rarft.asking.asker import load_asker
from rarft.asking.dataset import first_videos, open_dataset, read_samples
from rarft.evaluation.run import evaluate_file
from rarft.evaluation.scoring import OFFICIAL_RT_IOU
from rarft.hivtg.official import group_samples, iter_rows, write_released
from rarft.metrics import OFFICIAL_SPLITS
from rarft.models.load import settings_of
from rarft.models.settings import Settings
from rarft.paper.estimate import estimate, in_words
from rarft.paper.inventory import Inventory, take_inventory
from rarft.paper.official import (
    ALWAYS_DIFFERENT,
    INFERENCE_TOKENS,
    OURS,
    PROMPTS_A_STEP,
    SETTINGS,
    differences,
    write_wordings,
)
from rarft.paper.table import DataSet, Experiment
from rarft.schema import Sample
from rarft.system.errors import InputError, RarftError
from rarft.system.files import RECIPES, read_json, write_json, write_text
from rarft.system.machine import machine
from rarft.system.processes import close_helpers
from rarft.training.recipe import as_arguments, read_fields, read_recipe, run_recipe
from rarft.video import GuardedReader
from rarft.video.find import base_name
from rarft.video.readers import PYAV

log = logging.getLogger(__name__)

ACCUMULATION = "--gradient_accumulation_steps"
ASKED = "experiment.json"
MEASURED = RECIPES.parent / "data" / "results" / "step_at_size.json"  # in a clone, but not in a wheel
SHOWN = 10  # names of videos in a message; all are in checked.json


@dataclass(frozen=True)
class Plan:
    """What to run, and where.

    base: the short name of the base, for its published figures. model: the weights, a hub name or a folder.
    data: the folder of annotation files and videos. out: the folder for everything that is written.
    recipe: the YAML file. fields: further recipe fields in command-line form.
    gpus: 0 for one process on CPUs; otherwise a number that divides the prompts of a step equally.
    launch: the configuration of `accelerate launch`, for more than one GPU.
    limit: only the first N videos of test and training; all by default.
    skip_missing: go on without videos that are missing or cannot be read. reader: the library that decodes.
    official_clone: a clone of the release, whose prompts are used. batch, max_new_tokens: of the evaluation.

    Raises InputError for a number of GPUs that cannot give the paper's number of prompts per step.
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
                f"--gpus {self.gpus}: a step has {PROMPTS_A_STEP} prompts, which this number of GPUs cannot share "
                f"equally; use {able}, or set {ACCUMULATION} yourself"
            )

    def parts(self) -> dict[str, DataSet]:
        """The test and training data sets, by these names."""
        return {"test": self.experiment.test, "training": self.experiment.training}

    def rows(self, part: str) -> Path:
        """The file of the rows that are used."""
        return self.out / f"{part}.json"

    def videos(self, part: str) -> Path:
        """The folder of the videos of a data set."""
        return self.data / self.parts()[part].videos

    def styles(self) -> dict[str, str]:
        """The prompt styles of training and inference: names in `rarft.prompts`, or files with a clone's prompts."""
        if self.official_clone is None:
            return OURS
        return {name: str((self.out / "styles" / f"{name}.json").resolve()) for name in OURS}

    def recipe_fields(self) -> list[str]:
        """Arguments of `read_recipe`: the recipe's file, official settings that it does not set, and the plan's own."""
        style = {"prompt_style": self.styles()["training"]}
        named = read_fields(self.recipe)
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
        return ["--config", str(self.recipe), *as_arguments(fields), *self.fields]


# -- before the run ----------------------------------------------------------------------------------------------------


def prepare(plan: Plan) -> str:
    """Check the files, estimate the cost, and write what the phases read. Returns a summary to show before the run.

    Raises MissingFileError for a missing annotation file; InputError for missing or unreadable videos, unless the plan
    skips them, and if `out` has another experiment."""
    _asked(plan)
    if plan.official_clone:
        write_wordings(plan.official_clone, plan.out / "styles")  # first: the settings name these files
    settings = read_settings_of(plan)
    files = {part: plan.data / data.file for part, data in plan.parts().items()}
    samples = {part: first_videos(read_samples(path), plan.limit) for part, path in files.items()}
    # Videos are checked again each time, because missing ones may have been added meanwhile.
    videos = {part: take_inventory(asked, plan.videos(part), reader=plan.reader) for part, asked in samples.items()}
    write_json(plan.out / "checked.json", {part: asdict(found) for part, found in videos.items()})
    if any(found.bad() for found in videos.values()) and not plan.skip_missing:
        raise InputError(_what_is_missing(plan, videos))
    for part, path in files.items():
        rows = [row for row in iter_rows(path) if isinstance(row, dict) and row.get("video") in videos[part].found]
        if not rows:
            raise InputError(f"{plan.videos(part)}: none of the videos of {path} can be used")
        write_released(rows, plan.rows(part))
    figures = _estimate(plan, settings, samples["training"], videos)
    return "\n".join([*how_it_differs(plan, settings), "", _what_was_found(videos), "", in_words(figures)])


def _asked(plan: Plan) -> dict[str, Any]:
    """The values that identify an experiment. Raises InputError if `out` has another one."""
    asked = {name: value for name, value in asdict(plan).items() if name not in ("data", "out", "batch")}
    asked["experiment"] = plan.experiment.name
    asked = {name: str(value) if isinstance(value, Path) else value for name, value in asked.items()}
    asked["fields"] = list(plan.fields)
    path = plan.out / ASKED
    before = {"reader": PYAV, **read_json(path)} if path.exists() else asked
    changed = [f"{name} {before.get(name)!r}" for name, value in asked.items() if before.get(name) != value]
    if changed:
        raise InputError(f"{plan.out}: holds a run with {', '.join(changed)}; delete the folder or change --out")
    return asked


def read_settings_of(plan: Plan) -> dict[str, Any]:
    """All recipe fields as the training will use them, and `prompts`, the number of prompts per step."""
    # Read with use_cpu, so that a plan can be made on a machine without GPUs.
    run, model, config = read_recipe([*plan.recipe_fields(), "--use_cpu", "true"])
    prompts = config.generation_batch_size // config.num_generations * max(1, plan.gpus)
    return {**vars(model), **vars(config), **vars(run), "prompts": prompts}


def how_it_differs(plan: Plan, settings: dict[str, Any]) -> list[str]:
    """Lines with the rewards and prompts of a run, and its differences from the released script."""
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


def _what_is_missing(plan: Plan, videos: dict[str, Inventory]) -> str:
    lines = []
    for part, found in videos.items():
        if found.missing:
            total = len(found.missing) + len(found.found) + len(found.unreadable)
            names = [base_name(video) for video in found.missing]
            lines.append(f"{plan.videos(part)}: {len(names)} of {total} videos are not there: {_some(names)}")
        lines += [f"cannot be read: {reason}" for reason in list(found.unreadable.values())[:SHOWN]]
    listed = plan.out / "checked.json"
    return "\n".join([*lines, f"all names are in {listed}; --skip-missing goes on without these videos"])


def _what_was_found(videos: dict[str, Inventory]) -> str:
    lines = []
    for part, found in videos.items():
        lines.append(f"{part}: {len(found.found)} videos, {len(found.bad())} missing or unreadable and left out")
        if found.doubts:
            lines.append(f"  {len(found.doubts)} differences between files and their rows: {_some(found.doubts, '; ')}")
    return "\n".join(lines)


def _some(names: Sequence[str], between: str = ", ") -> str:
    return between.join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")


def _estimate(
    plan: Plan, settings: dict[str, Any], training: list[Sample], videos: dict[str, Inventory]
) -> dict[str, float]:
    bad = videos["training"].bad()
    groups = [group for group in group_samples(training) if group.video not in bad]
    prompts, steps = settings["prompts"], settings["max_steps"]
    if steps <= 0:  # each epoch asks a relevant and an irrelevant query about each video
        steps = math.ceil(math.ceil(2 * len(groups) / prompts) * settings["num_train_epochs"])
    return estimate(
        plan.base,
        settings_of(plan.model) or Settings(),
        [video for part in videos.values() for video in part.found.values()],
        steps=steps,
        prompts=prompts,
        gpus=plan.gpus,
        lora_rank=settings["lora_r"] if settings["use_peft"] else None,
        measured=read_json(MEASURED) if MEASURED.exists() else None,
    )


# -- the run -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Phase:
    """A part of the run. ends_with: the file it writes last. command: the equivalent shell command. run: does it."""

    name: str
    ends_with: Path
    command: Sequence[str]
    run: Callable[[], None]


def phases(plan: Plan) -> list[Phase]:
    """The phases: evaluate the base, train, evaluate again."""
    training = plan.out / "training"
    return [
        _measuring(plan, "base", plan.model),
        Phase("training", training / "log.json", _training_command(plan), partial(_train, plan)),
        _measuring(plan, "after", str(training), against=plan.out / "base" / "predictions.jsonl"),
    ]


def _measuring(plan: Plan, name: str, model: str, **more: Path) -> Phase:
    asking = {
        "data": plan.rows("test"),
        "videos": plan.videos("test"),
        "features": plan.out / "features",
        "processes": plan.gpus or None,
        "batch": plan.batch,
        "reader": plan.reader,
        "style": plan.styles()["inference"],
        "max_new_tokens": plan.max_new_tokens,
        **more,
        "out": plan.out / name,
    }
    command = [*_python("rarft"), "evaluate", "--model", model]
    command += as_arguments({name.replace("_", "-"): value for name, value in asking.items() if value is not None})
    return Phase(name, plan.out / name / "report.json", command, partial(_evaluate, model, **asking))


def _evaluate(
    model: str,
    data: Path,
    videos: Path,
    out: Path,
    *,
    processes: int | None,
    reader: str,
    batch: int,
    features: Path,
    style: str,
    max_new_tokens: int,
    against: Path | None = None,
) -> None:
    changes = {"style": style, "max_new_tokens": max_new_tokens}
    test_set = open_dataset(data, videos)
    with GuardedReader(reader=reader) as guarded:
        asker = load_asker(model, guarded, processes=processes, batch_size=batch, features=features, changes=changes)
        print(evaluate_file(asker, test_set, out, against=against))
    close_helpers()  # the next phase needs the memory of their GPUs
    print(f"page: {out / 'report.html'}")


def _training_command(plan: Plan) -> list[str]:
    launch = _python("rarft")
    if plan.gpus > 1:
        launch = [*_python("accelerate.commands.launch"), "--config_file", str(plan.launch)]
        launch += ["--num_processes", str(plan.gpus), "-m", "rarft"]
    return [*launch, "train", "rarft", "--resume", *plan.recipe_fields()]


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _train(plan: Plan) -> None:
    if plan.gpus <= 1:
        run_recipe(read_recipe(plan.recipe_fields()), resume=True)
        return
    status = subprocess.run(_training_command(plan)).returncode
    if status != 0:
        raise InputError(f"accelerate launch ended with status {status}")


def run_phases(plan: Plan) -> None:
    """Run the phases that are not done yet. Raises InputError, which names the phase that failed and how to resume."""
    write_json(plan.out / ASKED, _asked(plan))
    for phase in phases(plan):
        if phase.ends_with.exists():
            print(f"{phase.name}: done")
            continue
        print(f"{phase.name}: {' '.join(phase.command)}", flush=True)
        failed = f"the phase {phase.name!r} failed; the same command goes on there"
        try:
            phase.run()
        except RarftError as error:
            raise InputError(f"{failed}: {error}") from error
        except Exception:
            log.error(failed)
            raise
        gc.collect()  # a trainer and its model refer to each other; the next phase needs their memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


# -- the result --------------------------------------------------------------------------------------------------------


def result(plan: Plan) -> str:
    """The table of measured and published figures. Also writes table.md and result.json."""
    base, after = (read_json(plan.out / name / "report.json") for name in ("base", "after"))
    rows = {name: next(iter(report["rows"].values())) for name, report in (("base", base), ("after RA-RFT", after))}
    published = plan.experiment.published.get(plan.base, {})
    history = read_json(plan.out / "training" / "log.json")
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
            "after_against_base": after["paired"],
            "judge_of_categories": base["offline_judge"],
            "training_seconds": next((row["train_runtime"] for row in history if "train_runtime" in row), None),
            "steps": max((row.get("step", 0) for row in history), default=0),
        },
    )
    table = "\n\n".join([result_table(rows, published), about, "\n".join(f"- {line}" for line in trained)])
    write_text(plan.out / "table.md", f"{table}\n")
    return table


def result_table(rows: dict[str, dict], published: Any) -> str:
    """A table in percent, as in the paper, with 95 % intervals if there are any. A published figure is next to the one
    that is computed in the same way, and each judge of categories has its own columns."""
    figures = dict.fromkeys(figure for row in rows.values() for figure in row)
    judges = [figure.removeprefix(OFFICIAL_RT_IOU) for figure in figures if figure.startswith(OFFICIAL_RT_IOU)]
    columns = {"f1": "F1, here", "f1 published": "F1, published"}
    columns |= {f"{OFFICIAL_RT_IOU}{j}": f"RT-IoU, {OFFICIAL_SPLITS} splits, judge: {j}" for j in judges}
    columns |= {"rt_iou published": "RT-IoU, published, judge: a language model"}
    columns |= {f"rt_iou_{j}": f"RT-IoU, mean of irrelevant queries, judge: {j}" for j in judges}
    columns |= {"ra_iou": "RA-IoU", "miou": "mIoU, relevant", "over_refusal": "over-refusal"}
    lines = ["| | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for number, (name, row) in enumerate(rows.items()):
        theirs = {f"{figure} published": values[number] / 100 for figure, values in published.items()}
        cells = [_percent({**row, **theirs}, figure) for figure in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _percent(row: dict, figure: str) -> str:
    value, around = row.get(figure), row.get("intervals", {}).get(figure)
    if value is None:
        return "–"
    return f"{100 * value:.1f}" + (f" [{100 * around[0]:.1f}, {100 * around[1]:.1f}]" if around else "")
