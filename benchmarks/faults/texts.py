"""Generated completions and rows through everything that reads text: no exception but the named ones, in linear time.

    python benchmarks/faults/texts.py --count 1000000       # half an hour on one core

Completions are put together from tags (whole, broken, nested), times in many notations, words, and characters that
break programs: unpaired surrogates, digits of other scripts, zero-width and right-to-left marks, control characters.
Each goes through the reader in both readings, the format and refuse-IoU rewards in every variant, and the metrics; one
in two hundred through the rewards with an encoder. Rows have any JSON type in any field and go through the readers of
every annotation format and the linter. Writes data/results/faults.json, key "texts".
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from table import keep

from rarft.evaluation import Answer, Prediction, scores, summary
from rarft.hivtg.annotations import read_annotations
from rarft.hivtg.lint import lint
from rarft.hivtg.official import read_released, write_released
from rarft.reading.completion import READINGS, parse_response
from rarft.rewards import NAMES, make_rewards
from rarft.schema import Sample, Span
from rarft.system.errors import InputError

VARIANTS = ("official", "paper", "robust")
PIECES = (
    *(f"<{slash}{tag}>" for tag in ("think", "answer", "correction", "correct") for slash in ("", "/")),
    "<ANSWER>",
    "</Answer>",
    "<answer",
    "answer>",
    "< answer >",
    "<<answer>>",
    "<|im_end|>",
    "</s>",
    "NIL",
    "nil.",
    "vanilla",
    "3 to 8",
    "3.5s to 8.25s",
    "5. to 15",
    "00:03 - 00:08",
    "[(3, 8)]",
    '{"start": 3, "end": 8}',
    "from 3 to",
    "8 to 3",
    "-5 to 15",
    "1e9 to 1e400",
    "9" * 400 + " to 3",
    "1 min 5 s to 1 min 9 s",
    "٣ to ٨",
    "三 to 八",
    "３ ｔｏ ８",
    "½ to ¾",
    "² to ³",
    "no such segment",
    "nobody opens the door",
    "the red ring grows",
    "2 to 3 people",
    "什么都没有",
    "لا أحد",
    "kein Mensch",
    "\ud800",
    "\udfff\ud800",
    "\u200b",
    "\u202e",
    "\ufeff",
    "\x00",
    "\x1b[31m",
    "\u2028",
    "\x85",
    "\t",
    "\n",
    "\r\n",
    " ",
    "",
    "<script>alert(1)</script>",
    "| a | b |",
    "$x$",
    "`",
    "\\",
    '"',
    "'",
    "🦀",
    "e\u0301",
    "ﷺ",
    "İ",
    "ß",
    "{",
    "}",
    "(",
    "[",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    3,
    3.5,
    1e308,
    float("nan"),
    float("inf"),
    10**400,
    "",
    " ",
    "a",
    "\ud800",
    "3",
    [],
    [1],
    [1, 2],
    [2, 1],
    ["a", "b"],
    [None, 2],
    [[1, 2]],
    {},
    {"a": 1},
    [{}],
    "Object/ObjectExistence",
    ["Object/ObjectExistence"],
    "hard",
    "<answer>x</answer>",
)
FIELDS = (
    "video",
    "query_text",
    "timestamp",
    "duration",
    "think",
    "GRPO",
    "PRO",
    "video_start",
    "video_end",
    "q",
    "a",
    "r",
    "c",
    "difficulty",
    "hardness_level",
    "q_origin",
    "query",
    "span",
    "vid",
    "relevant_windows",
    "path",
    "question",
    "answer",
    "start",
    "end",
    "sentences",
    "timestamps",
)


def completion(rng: np.random.Generator) -> str:
    return "".join(PIECES[i] for i in rng.integers(0, len(PIECES), int(rng.integers(0, 14))))


def well_formed(rng: np.random.Generator) -> str:
    think, answer, correction = completion(rng), completion(rng), completion(rng)
    return f"<think>{think}</think><answer>{answer}</answer><correction>{correction}</correction>"


def a_row(rng: np.random.Generator) -> Any:
    """A row of a released file with a few of its fields replaced; sometimes anything at all."""
    if rng.random() < 0.05:
        return VALUES[int(rng.integers(len(VALUES)))]
    items = [{"q": "the red ring grows", "a": "<answer>3 to 8</answer>", "r": True, "difficulty": "original"}]
    items.append({"q": "it shrinks", "a": "no", "r": False, "c": ["Object/ObjectExistence"], "difficulty": "hard"})
    row: dict[str, Any] = {"video": "a.mp4", "query_text": "the red ring grows", "timestamp": [3, 8], "duration": 12.0}
    row |= {"think": "<think>x</think>", "GRPO": items}
    for _ in range(int(rng.integers(1, 4))):
        where = row if rng.random() < 0.5 else items[int(rng.integers(2))]
        value = VALUES[int(rng.integers(len(VALUES)))]
        where[FIELDS[int(rng.integers(len(FIELDS)))]] = value if rng.random() < 0.7 else completion(rng)
        if rng.random() < 0.1 and where:
            del where[list(where)[int(rng.integers(len(where)))]]
    return row


def through_the_rewards(texts: list[str], rng: np.random.Generator, names: tuple[str, ...]) -> int:
    """Every variant of the rewards on a batch; returns how many values were no finite number (or None)."""
    count = len(texts)
    spans = [[] if i % 2 else [[3.0, 8.0]] for i in range(count)]
    columns = {
        "spans": spans,
        "duration": [12.0] * count,
        "query": ["the red ring grows"] * count,
        "answer": ["no such segment: it shrinks"] * count,
        "contrast": ["3 to 8"] * count,
        "correction": ["NIL" if span else "the red ring shrinks" for span in spans],
    }
    bad = 0
    for variant in VARIANTS:
        for reward in make_rewards(variant, list(names)):
            values = reward(texts, **columns)
            bad += len(values) != count or not all(value is None or np.isfinite(value) for value in values)
    return bad


def complain(faults: dict[str, str], place: str, case: Any, error: BaseException) -> None:
    faults.setdefault(f"{place}: {type(error).__name__}: {str(error)[:80]}", repr(case)[:300])


def completions(count: int, seed: int, faults: dict[str, str]) -> int:
    rng, batch, odd = np.random.default_rng(seed), 200, 0
    samples = [Sample("a.mp4", "q", [] if i % 2 else [Span(3, 8)], duration=12.0) for i in range(batch)]
    for number in range(0, count, batch):
        texts = [well_formed(rng) if i % 4 == 0 else completion(rng) for i in range(batch)]
        for reading in READINGS:
            for text in texts:
                try:
                    parse_response(text, reading)
                except Exception as error:
                    complain(faults, f"parse_response, {reading}", text, error)
        try:
            odd += through_the_rewards(texts, rng, tuple(NAMES[:2]))
            if number % (200 * batch) == 0:
                odd += through_the_rewards(texts, rng, tuple(NAMES))
            summary(scores([Prediction(sample, Answer(text)) for sample, text in zip(samples, texts, strict=True)]))
        except Exception as error:
            complain(faults, "rewards and metrics", texts, error)
    return odd


def rows(count: int, seed: int, faults: dict[str, str]) -> int:
    """Files of 50 rows each; returns how many samples were read of them."""
    rng, read = np.random.default_rng(seed), 0
    with tempfile.TemporaryDirectory() as name:
        path, lines = Path(name) / "rows.json", Path(name) / "rows.jsonl"
        for _ in range(0, count, 50):
            made = [a_row(rng) for _ in range(50)]
            path.write_text(json.dumps(made))
            lines.write_text("".join(json.dumps(row) + "\n" for row in made))
            jobs: dict[str, Callable[[], Any]] = {
                "read_released": lambda: read_released(path),
                "read_released, lines": lambda: read_released(lines),
                "read_annotations": lambda: list(read_annotations(path, lambda problem: None)),
                "read_annotations, lines": lambda: list(read_annotations(lines, lambda problem: None)),
                "lint": lambda: lint(path),
                "write_released": lambda made=made: write_released(made, Path(name) / "again.json"),
            }
            for place, job in jobs.items():
                try:
                    found = job()
                    read += len(found.samples) if place == "read_released" else 0
                except InputError:
                    pass  # the file as a whole is none of ours: named
                except Exception as error:
                    complain(faults, place, made, error)
    return read


PATTERNS = (
    "<think>",
    "<answer>",
    "</answer>",
    "<answer></answer>",
    "3 to ",
    "to 3 ",
    "1 ",
    "9",
    "a ",
    " ",
    "no ",
    "(",
    "[(",
    "3 to 8 ",
    "<",
    "00:",
    "-",
    "from 3 ",
    "\u0301",
    "|im_end|>",
    '{"start": 3,',
    "nil",
    ".",
    "<correction>NIL",
)


def _seconds(read: Callable[[str], Any], text: str) -> float:
    """Processor time, the least of three times. Without Python's cyclic collector, which looks at all tokens again and
    again as they become more: with it, ten times as much text takes up to 19 times as long."""
    took = []
    gc.disable()
    for _ in range(3):
        begin = time.process_time()
        read(text)
        took.append(time.process_time() - begin)
    gc.enable()
    return max(1e-3, min(took))


def growth(faults: dict[str, str], sizes: tuple[int, int] = (30_000, 300_000)) -> dict[str, float]:
    """How much more processor time ten times as much text takes, at worst, by what reads it."""
    rewards = [reward for variant in VARIANTS for reward in make_rewards(variant, list(NAMES[:2]))]
    one = {
        "spans": [[[3.0, 8.0]]],
        "duration": [12.0],
        "query": ["q"],
        "answer": ["a"],
        "correction": ["c"],
        "contrast": ["b"],
    }
    readers = {f"parse_response, {reading}": lambda text, r=reading: parse_response(text, r) for reading in READINGS}
    readers["rewards"] = lambda text: [reward([text], **one) for reward in rewards]
    worst = {}
    for name, read in readers.items():
        for pattern in PATTERNS:
            took = []
            for size in sizes:
                text = (
                    f"<think>x</think><answer>{pattern * (size // len(pattern))}</answer><correction>NIL</correction>"
                )
                took.append(_seconds(read, text))
            times = took[1] / took[0]
            if times > worst.get(name, (0.0, ""))[0]:
                worst[name] = (round(times, 1), pattern)
            if times > 20:
                faults[f"{name}: not linear"] = f"{pattern!r}: {took[0]:.2f} s, then {took[1]:.2f} s"
    return {name: times for name, (times, _) in worst.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--count", type=int, default=1_000_000, help="of completions; a fifth as many rows; 0: long texts only"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begin = time.perf_counter()
    if options.count:
        faults: dict[str, str] = {}
        odd = completions(options.count, options.seed, faults)
        read = rows(options.count // 5, options.seed, faults)
        found = {"completions": options.count, "rows": options.count // 5, "seed": options.seed, "samples_read": read}
        found |= {"rewards_that_are_no_number": odd, "faults": faults}
        keep("texts", {**found, "minutes": round((time.perf_counter() - begin) / 60, 1)})
    slow: dict[str, str] = {}
    keep("long texts", {"ten_times_as_long_takes": growth(slow), "faults": slow})


if __name__ == "__main__":
    main()
