"""The command line: one subcommand for each thing that the library does. `python -m rarft COMMAND --help`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rarft.files import BASE
from rarft.response import READINGS

if TYPE_CHECKING:
    from rarft.schema import Sample


def main(arguments: list[str] | None = None) -> None:
    """Parse and run. Errors that a user can mend are printed without a traceback; the exit status is 1."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not getattr(options, "config", None):  # a recipe's fields may follow --config
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.recipe_fields = rest
    if getattr(options, "threads", None):
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    try:
        sys.exit(options.run(options))
    except (ValueError, FileNotFoundError, ConnectionError) as error:
        print(f"rarft {options.command}: {error}", file=sys.stderr)
        sys.exit(1)
    except RuntimeError as error:
        from rarft.course.build import ChapterError

        if not isinstance(error, ChapterError):
            raise
        print(f"rarft {options.command}: {error}", file=sys.stderr)
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rarft", description="Learning to refuse: train, ask, measure.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        sub.set_defaults(run=run)
        return sub

    command("doctor", _doctor, "Check this machine and say how to mend what is missing.")

    world = command("world", _world, "Write a folder of world videos with their truth and HI-VTG rows.")
    world.add_argument("--out", required=True, type=Path, help="folder to write")
    world.add_argument("--split", default="train", choices=("align", "train", "test"))
    world.add_argument("--clips", type=int, default=200)
    world.add_argument("--seed", type=int, default=0)
    world.add_argument("--processes", type=int, default=None, help="all cores by default")

    lint = command("lint", _lint, "Find label errors in HI-VTG files; exit status 1 if there are errors.")
    lint.add_argument("files", nargs="+", type=Path)
    lint.add_argument("--source", nargs="*", type=Path, default=[], help="source annotations: TVGBench, RaTSG Charades-STA, or any that build-hivtg reads")
    lint.add_argument("--fix", action="store_true", help="write NAME.fixed.json and NAME.fixes.json into --out")
    lint.add_argument("--out", type=Path, help="folder for the corrected copies; beside the files by default")
    lint.add_argument("--json", type=Path, help="write all findings here")

    build = command("build-hivtg", _build_hivtg, "Make hard-irrelevant queries from grounding annotations.")
    build.add_argument("data", type=Path, help="a folder from `world`; or Charades-STA, ActivityNet, QVHighlights, TVGBench or JSON Lines annotations")
    build.add_argument("--out", required=True, type=Path, help="JSON Lines file; a run that was stopped goes on")
    build.add_argument("--model", help="annotations: the chat model that edits; for a world folder none is needed")
    build.add_argument("--url", default="http://localhost:8000/v1", help="its OpenAI-compatible server; the key is read from OPENAI_API_KEY")
    build.add_argument("--verify", action="store_true", help="ask the model again whether each edit could be true")
    build.add_argument("--price", type=float, nargs=2, metavar=("IN", "OUT"), help="of a million tokens read and written: costs are printed before and after")
    build.add_argument("--concurrency", type=int, default=8, help="questions at a time")
    build.add_argument("--limit", type=int, default=None, help="the first so many queries; all by default")
    build.add_argument("--seed", type=int, default=0)

    shuffle = command("build-ss", _build_ss, "Make simply-shuffled queries from grounding annotations.")
    shuffle.add_argument("data", type=Path, help="annotations, as for build-hivtg")
    shuffle.add_argument("--out", required=True, type=Path, help="JSON file")
    shuffle.add_argument("--seed", type=int, default=0)

    statistics = command("statistics", _statistics, "Count, and measure how far the text gives irrelevant queries away.")
    statistics.add_argument("files", nargs="+", type=Path, help="HI-VTG or SS-VTG files")
    statistics.add_argument("--similarity", action="store_true", help="also how near irrelevant queries are, by embeddings")

    train = command("train", _train, "Train: `base` makes data/base, `rarft` runs RA-RFT from it on the world.")
    train.add_argument("recipe", choices=("base", "rarft"))
    train.add_argument("--config", type=Path, help="rarft: a YAML recipe, see rarft/recipe.py; its fields may follow as --field value")
    train.add_argument("--out", type=Path, help="folder for the model, the log and checkpoints; a recipe's own output_dir by default")
    train.add_argument("--data", type=Path, help="folder of world videos, made if missing; build/world by default, a recipe names its own")
    train.add_argument("--model", help="rarft: where to start; the shipped base, or the recipe's, by default")
    train.add_argument("--variant", choices=("official", "paper", "robust"), help="rarft: rewards; robust, or the recipe's, by default")
    train.add_argument("--steps", type=int, help="rarft: the course's or the recipe's own number by default")
    train.add_argument("--seed", type=int, help="0, or the recipe's, by default")
    train.add_argument("--resume", action="store_true", help="continue from the last checkpoint in --out")
    train.add_argument("--threads", type=int, default=None)

    infer = command("infer", _infer, "Ask when something happens in a video, or in many.")
    infer.add_argument("--model", default=str(BASE), help="a folder, a preset (rarft/presets.py) or a hub name")
    infer.add_argument("--video", type=Path, help="one video, with --query")
    infer.add_argument("--query", help="what to look for")
    infer.add_argument("--questions", type=Path, help="instead: JSON Lines with video and query (and start, end) in each")
    infer.add_argument("--out", type=Path, help="with --questions: JSON Lines of answers; a run that was stopped goes on")
    infer.add_argument("--batch", type=int, default=16, help="with --questions: how many at a time")
    _add_model_options(infer)
    infer.add_argument("--server", help="ask an OpenAI-compatible server (vLLM) instead, e.g. http://localhost:8000/v1; --model is its name there, the key is read from OPENAI_API_KEY")
    infer.add_argument("--settings", help="with --server: the model folder or preset whose settings to ask with; --model by default")
    infer.add_argument("--json", action="store_true", help="print one JSON object")

    evaluate = command("evaluate", _evaluate, "Measure a model on world clips, a released HI-VTG file or grounding annotations.")
    evaluate.add_argument("--model", default=str(BASE))
    evaluate.add_argument("--data", type=Path, help="a folder from `world`, a released file, or annotations of Charades-STA, ActivityNet Captions, QVHighlights or TVGBench")
    evaluate.add_argument("--predictions", type=Path, help="instead of --model and --data: a prediction file of the released evaluator, to be scored")
    evaluate.add_argument("--videos", type=Path, help="files: the folder that holds the videos")
    evaluate.add_argument("--out", required=True, type=Path, help="folder for predictions.jsonl and report.json, .md, .html")
    evaluate.add_argument("--limit", type=int, default=None, help="the first so many queries; all by default")
    evaluate.add_argument("--processes", type=int, default=1)
    evaluate.add_argument("--batch", type=int, default=64, help="questions at a time")
    _add_model_options(evaluate)
    evaluate.add_argument("--reading", default="strict", choices=READINGS, help="how completions are read; official: tags in any case, else the whole text")
    evaluate.add_argument("--similarity", default=None, help="sentence encoder for explanations and corrections, such as all-mpnet-base-v2, the paper's; all-MiniLM-L6-v2 by default")
    evaluate.add_argument("--against", type=Path, help="predictions.jsonl of another model on the same data: compared sample by sample")
    evaluate.add_argument("--judge", help="name of a chat model that judges the refusals; none by default")
    evaluate.add_argument("--judge-url", default="http://localhost:8000/v1", help="its OpenAI-compatible server; the key is read from OPENAI_API_KEY")

    course = command("course", _course, "Build the course: run the chapters, write site, student edition, report.")
    course.add_argument("action", choices=("build",))
    course.add_argument("--scale", default=os.environ.get("SCALE", "full"), choices=("full", "smoke"))
    course.add_argument("--only", nargs="*", help="chapter numbers, e.g. 04 09")
    course.add_argument("--fresh", action="store_true", help="run chapters again that ran already")
    return parser


def _add_model_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--fps", type=float, default=None, help="frames a second; the model's own by default")
    command.add_argument("--max-pixels", type=int, default=None, help="budget for all frames of a video; the model's own by default")
    command.add_argument("--max-new-tokens", type=int, default=None, help="of an answer; the model's own by default")
    command.add_argument("--style", default=None, help="of the prompts: a name of rarft/prompts.py, or a JSON file; the model's own by default")
    command.add_argument("--device", default="auto", help="cpu, cuda, …; auto takes a GPU where there is one")
    command.add_argument("--dtype", default="auto", help="bfloat16, float32, …; auto is the checkpoint's on a GPU, float32 on a CPU")


def _changes(options) -> dict:
    """What the command line says of how a model is asked; see `rarft.settings.Settings`."""
    names = ("fps", "max_pixels", "max_new_tokens", "style")
    return {name: getattr(options, name) for name in names}


def _doctor(_) -> int:
    from rarft.doctor import doctor

    return 0 if doctor() else 1


def _world(options) -> int:
    from rarft.world.dataset import make_world

    world = make_world(options.out, options.split, options.clips, seed=options.seed, processes=options.processes)
    print(f"{len(world)} clips, {sum(len(clip.samples) for clip in world)} queries in {options.out}")
    return 0


def _lint(options) -> int:
    from rarft.files import write_json
    from rarft.hivtg.lint import fix, lint, table

    reports = []
    for path in options.files:
        report = lint(path, options.source)
        reports.append(report)
        print(table(report))
        if options.fix:
            fixed, log = fix(path, report, options.out)
            print(f"  corrected: {fixed}, changes: {log}\n{table(lint(fixed, options.source))}")
    if options.json:
        write_json(options.json, [report.to_json() for report in reports])
    return int(any(report.failed for report in reports))


def _annotations(path: Path) -> Iterator[Sample]:
    from rarft.hivtg.annotations import read_annotations

    return read_annotations(path, lambda problem: print(f"left out: {problem}", file=sys.stderr))


def _build_hivtg(options) -> int:
    from rarft.hivtg.build import build
    from rarft.hivtg.editors import PROMPT, LLMEditor, WorldEditor

    if options.data.is_dir():
        from rarft.files import lines_of
        from rarft.hivtg.official import read_released
        from rarft.world.dataset import story_from_json

        samples = [s for s in read_released(options.data / "hi_vtg.json").samples if s.relevant]
        lines = lines_of(options.data / "stories.jsonl")
        stories = {s.video: story_from_json(json.loads(lines[s.extra["row"]])) for s in samples}
        editor, llm = WorldEditor(stories, options.seed), None
    else:
        if not options.model:
            raise ValueError("these annotations need a chat model to edit them: --model NAME --url http://…/v1")
        from rarft.encoder import default_encoder

        samples = _annotations(options.data)
        llm = _llm(options.model, options.url, options.out.with_name(f"{options.out.name}.replies.jsonl"))
        editor = LLMEditor(llm, default_encoder(), verify=options.verify)
        count = sum(1 for _ in islice(_annotations(options.data), options.limit))
        questions = 3 * count * (1 + options.verify)
        tokens = questions * len(PROMPT) // 4  # of English text, four characters are about a token
        print(f"up to {questions:,} questions, about {tokens:,} tokens of instructions, before retries{_cost(options.price, tokens, 0)}")
    counts = build(islice(samples, options.limit), editor, options.out, concurrency=options.concurrency if llm else 1)
    if not counts["rows"] + counts["without_edits"] + counts["skipped"]:
        raise ValueError(f"{options.data}: no annotation that can be used")
    print(json.dumps({**counts, **(llm.usage if llm else {})}))
    if llm and options.price:
        print(f"spent{_cost(options.price, llm.usage['prompt_tokens'], llm.usage['completion_tokens'])}")
    return 0


def _cost(price: list[float] | None, read: int, written: int) -> str:
    return "" if price is None else f": {(read * price[0] + written * price[1]) / 1e6:.2f} at your prices"


def _build_ss(options) -> int:
    from rarft.encoder import default_encoder
    from rarft.hivtg.official import rows_of, write_released
    from rarft.hivtg.shuffle import shuffled_queries

    samples = list(_annotations(options.data))
    if not samples:
        raise ValueError(f"{options.data}: no annotation that can be used")
    pairs = zip(samples, shuffled_queries(samples, default_encoder(), seed=options.seed), strict=True)
    print(f"{len(samples)} rows in {write_released(rows_of([list(pair) for pair in pairs]), options.out)}")
    return 0


def _statistics(options) -> int:
    from rarft.encoder import default_encoder
    from rarft.hivtg.official import read_released
    from rarft.hivtg.statistics import statistics

    encoder = default_encoder() if options.similarity else None
    found = {str(path): statistics(read_released(path).samples, encoder) for path in options.files}
    print(json.dumps(found, indent=2))
    return 0


def _llm(model: str, url: str, cache: Path):
    from rarft.llm import LLM

    return LLM(model, url, api_key=os.environ.get("OPENAI_API_KEY", "none"), cache=cache)


RECIPE_FIELDS = {"out": "output_dir", "model": "model_name_or_path", "variant": "variant", "steps": "max_steps", "seed": "seed"}


def _train(options) -> int:
    """Every option is used or refused: none is dropped in silence."""
    if options.recipe == "base":
        _refuse(options, ("config", "model", "variant", "steps", "resume"), "`train base` has no such option")
    if options.config:
        from rarft.recipe import run_recipe

        _refuse(options, ("data",), "a recipe's data is --train_data")
        given = {field: getattr(options, name) for name, field in RECIPE_FIELDS.items() if getattr(options, name) is not None}
        changes = [text for field, value in given.items() for text in (f"--{field}", str(value))]
        run_recipe(["--config", str(options.config), *changes, *options.recipe_fields], resume=options.resume)
        return 0
    if options.out is None:
        raise ValueError("--out FOLDER is missing")
    options.data = options.data or Path("build/world")
    if options.recipe == "base":
        from rarft.base import make_base

        make_base(options.data, options.out, seed=options.seed or 0)
        return 0
    _train_on_world(options)
    return 0


def _refuse(options, names: tuple[str, ...], reason: str) -> None:
    given = [f"--{name}" for name in names if getattr(options, name)]
    if given:
        raise ValueError(f"{', '.join(given)}: {reason}")


def _train_on_world(options) -> None:
    from rarft.files import write_json
    from rarft.models import open_model
    from rarft.rewards import make_rewards
    from rarft.settings import save_settings
    from rarft.train import grpo_config, train_rarft
    from rarft.vision_cache import VisionCache
    from rarft.world.dataset import make_world

    model, processor, settings = open_model(options.model or BASE)
    groups = [clip.samples for clip in make_world(options.data / "train", "train", 600)]
    changes = {"seed": options.seed or 0, "save_strategy": "steps", "save_steps": 20, "save_total_limit": 2}
    if options.steps:
        changes["max_steps"] = options.steps
    config = grpo_config(options.out, **changes)
    save_settings(options.out, settings.changed(max_new_tokens=config.max_completion_length))
    trainer = train_rarft(
        model,
        processor,
        groups,
        config,
        rewards=make_rewards(options.variant or "robust"),
        resume=options.resume,
        vision_cache=VisionCache(model, processor, **settings.video),
    )
    trainer.save_model(str(options.out))
    processor.save_pretrained(str(options.out))
    write_json(options.out / "log.json", trainer.state.log_history)


def _infer(options) -> int:
    many = options.questions is not None
    if many == (options.video is not None) or (many and options.out is None) or (not many and not options.query):
        raise ValueError("give --video and --query, or --questions and --out")
    from rarft.inference import infer_all, read_questions
    from rarft.watchdog import GuardedReader

    questions = read_questions(options.questions) if many else [{"video": str(options.video), "query": options.query}]
    reader = GuardedReader()
    try:
        answer = _answerer(options, reader)
        if many:
            print(json.dumps(infer_all(answer, questions, options.out, batch_size=options.batch)))
            return 0
        [found] = answer(questions)
    finally:
        reader.close()
    if "error" in found:
        raise ValueError(found["error"])
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
    elif found["verdict"] == "grounds":
        print(f"found: {', '.join(f'{start:g} to {end:g} s' for start, end in found['spans'])}")
    elif found["verdict"] == "refuses":
        print(f"refused: {found['answer']}\ncorrection: {found['correction']}")
    else:
        print(f"unreadable: the model gave neither a segment nor a refusal: {found['completion']!r}")
    return 0


def _answerer(options, reader):
    """The model that `infer` asks: a server's, or one in this process."""
    from rarft.models import open_model, settings_of
    from rarft.settings import Settings

    if options.server:
        from rarft.remote import RemoteModel

        settings = (settings_of(options.settings or options.model) or Settings()).changed(**_changes(options))
        return RemoteModel(
            options.model,
            options.server,
            api_key=os.environ.get("OPENAI_API_KEY", "none"),
            style=settings.style or "instruct",
            max_new_tokens=settings.max_new_tokens,
            reader=reader,
            **settings.video,
        )
    from rarft.inference import LocalModel
    from rarft.vision_cache import VisionCache

    opened = open_model(options.model, device=options.device, dtype=options.dtype, changes=_changes(options))
    model, processor, settings = opened
    return LocalModel(model, processor, VisionCache(model, processor, reader=reader, batch_size=options.batch, **settings.video))


def _evaluate(options) -> int:
    from rarft.encoder import MINILM
    from rarft.reporting import evaluate_file, evaluate_predictions

    if (options.data is None) == (options.predictions is None):
        raise ValueError("give --data, or --predictions of a model that has answered already")
    llm = _llm(options.judge, options.judge_url, options.out / "judge.jsonl") if options.judge else None
    judges = {"llm": llm, "similarity": options.similarity or MINILM}
    if options.predictions:
        print(evaluate_predictions(options.predictions, options.out, **judges))
    else:
        names = ("videos", "limit", "processes", "device", "dtype", "against", "reading")
        chosen = {name: getattr(options, name) for name in names}
        chosen |= {"batch_size": options.batch, "changes": _changes(options)}
        print(evaluate_file(options.model, options.data, options.out, **chosen, **judges))
    print(f"page: {options.out / 'report.html'}")
    return 0


def _course(options) -> int:
    from rarft.course.build import build_course

    build_course(options.scale, options.only, options.fresh)
    return 0
