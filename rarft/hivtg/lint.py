"""Find label errors in HI-VTG files, and fix those for which the source annotations have the truth.

Each check is a function of a row; a finding has a code, a severity and a place. Errors change what a model is
trained or scored on; warnings are worth knowing.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rarft.hivtg.official import LEVELS, ReleasedFile, iter_rows, read_released, read_row, write_released
from rarft.hivtg.rows import LEVEL_KEYS
from rarft.hivtg.sources import SourceVideo, normalise, read_sources
from rarft.metrics import mean, temporal_iou
from rarft.rewards.official import first_span
from rarft.schema import Category, Difficulty, Span
from rarft.system.files import write_json
from rarft.video.find import video_id

TOLERANCE = 0.06  # seconds: released times are rounded to one decimal
KNOWN = {category.value for category in Category}


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a row; `fix` is the right value where it is known."""

    code: str
    severity: str  # "error" or "warning"
    row: int
    item: int | None  # position in GRPO, None for the row
    message: str
    fix: Any = None


@dataclass
class LintReport:
    """Findings of a file, and what a model that says the truth would score against its labels, where known."""

    path: str
    rows: int
    findings: list[Finding] = field(default_factory=list)
    perfect_miou: float | None = None

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(f.code for f in self.findings))

    @property
    def failed(self) -> bool:
        return any(f.severity == "error" for f in self.findings)

    def to_json(self) -> dict:
        """Plain JSON types."""
        findings = [asdict(f) for f in self.findings]
        return {
            "path": self.path,
            "rows": self.rows,
            "counts": self.counts,
            "perfect_miou": self.perfect_miou,
            "findings": findings,
        }


def lint(path: str | Path, sources: Sequence[str | Path] = ()) -> LintReport:
    """Check a released file. With source annotations, labels and durations are checked against them."""
    videos = read_sources(list(sources))
    report = LintReport(str(path), 0)
    scores = []
    ids = set()
    for number, row in enumerate(iter_rows(path)):
        report.rows += 1
        read = ReleasedFile(str(path), [], [])
        row = read_row(read, number, row)
        for problem in read.problems:
            report.findings.append(
                Finding("unreadable", "error", problem.row, None, f"{problem.field}: {problem.message}")
            )
        if row is None:
            continue
        ids.add(video_id(row["video"]))
        source = videos.get(video_id(row["video"]))
        report.findings += _row_findings(number, row, source)
        for item in filter(None, row["GRPO"]):
            truth = _truth(row, item, source)
            label = _label(row, item)
            if truth and label:
                scores.append(max(temporal_iou(label, t) for t in truth))
    report.perfect_miou = mean(scores) if scores else None
    known = len(ids & videos.keys())
    if sources and 2 * known < len(ids):
        message = f"the source annotations have {known} of the {len(ids)} videos; are they of this data set?"
        report.findings.append(Finding("source-mismatch", "error", 0, None, message))
    return report


def _row_findings(number: int, row: dict, source: SourceVideo | None) -> Iterator[Finding]:
    yield from _time_findings(number, row, source)
    for position, item in enumerate(row["GRPO"]):
        if item is not None:
            yield from _label_findings(number, position, row, item, source)
            yield from _text_findings(number, position, row, item, source)


def _time_findings(number: int, row: dict, source: SourceVideo | None) -> Iterator[Finding]:
    duration, label = row.get("duration"), row.get("timestamp")
    whole = row.get("video_start") is None and row.get("video_end") is None
    if whole and source and source.duration and duration and abs(duration - source.duration) > 1:
        yield Finding(
            "wrong-duration",
            "error",
            number,
            None,
            f"{duration} s, the source says {source.duration} s",
            source.duration,
        )
    if not label:
        return
    if label[0] < 0:
        yield Finding("start-before-zero", "error", number, None, f"starts at {label[0]} s")
    if label[0] >= label[1]:
        yield Finding("empty-span", "error", number, None, f"{label[0]} to {label[1]} is empty or reversed")
    if duration and label[0] > duration:
        yield Finding("start-beyond-duration", "error", number, None, f"starts at {label[0]} s of {duration} s")
    if duration and label[1] > duration:
        yield Finding("end-beyond-duration", "error", number, None, f"ends at {label[1]} s of {duration} s")


def _label(row: dict, item: dict) -> Span | None:
    value = item.get("timestamp") or row.get("timestamp")
    return Span(*map(float, value)) if item.get("r") and value else None


def _truth(row: dict, item: dict, source: SourceVideo | None) -> list[Span]:
    """What the source says, in seconds from the start of the part that the row is about."""
    found = source.spans.get(normalise(item.get("q", "")), []) if source and item.get("r") else []
    begin = row.get("video_start") or 0.0
    return [Span(span.start - begin, span.end - begin) for span in found]


def _label_findings(number: int, position: int, row: dict, item: dict, source: SourceVideo | None) -> Iterator[Finding]:
    label, truth = _label(row, item), _truth(row, item, source)
    if label is None:
        return
    yield from _disagreements(number, position, row, item, label)
    earlier = [other for other in row["GRPO"][:position] if other and other["r"]]
    if not truth:
        if earlier and "timestamp" not in item:
            yield Finding("shared-span", "warning", number, position, "a second relevant query has no span of its own")
        return
    assert source is not None  # truth comes from it
    windows = source.windows.get(normalise(item["q"]), 1)
    if windows > max(1, len(row.get("relevant_windows") or [])):
        yield Finding(
            "truncated-windows", "warning", number, position, f"the annotation has {windows} windows, this row has one"
        )
    if any(_near(label, t) for t in truth):
        return
    right = list(truth[0])
    crop = source.crops.get(normalise(item["q"])) if row.get("video_start") is None else None
    if crop and abs(label.end - (crop.end + truth[0].end - crop.start)) < TOLERANCE:
        message = f"ends at {label.end} = clip end + answer end; clip start + answer end is {right[1]:g}"
        yield Finding("wrong-end", "error", number, position, message, right)
    elif earlier and "timestamp" not in item:
        yield Finding(
            "inherited-span", "error", number, position, f"has the first query's span; its own is {truth[0]}", right
        )
    else:
        yield Finding("differs-from-source", "warning", number, position, f"{label}; the source says {truth[0]}")


def _disagreements(number: int, position: int, row: dict, item: dict, label: Span) -> Iterator[Finding]:
    """A label is written up to three times: as numbers, in the answer, and in TVGBench's prompt for captions."""
    texts = {"answer-disagrees": item.get("a")}
    if "timestamp" not in item:
        texts["prompt-disagrees"] = (row.get("PRO") or {}).get("prompt")
    for code, text in texts.items():
        said = first_span(text or "")
        if said and not _near(said, label):
            yield Finding(code, "error", number, position, f"the text says {said}, the timestamp {label}")


def _near(a: Span, b: Span) -> bool:
    return abs(a.start - b.start) < TOLERANCE and abs(a.end - b.end) < TOLERANCE


def _text_findings(number: int, position: int, row: dict, item: dict, source: SourceVideo | None) -> Iterator[Finding]:
    def finding(code: str, severity: str, message: str) -> Finding:
        return Finding(code, severity, number, position, message)

    answer = item.get("a") or ""
    if not re.sub(r"<[^>]*>", "", answer).strip():
        yield finding("empty-answer", "warning", "the answer is empty")
    if any(answer.count(f"<{tag}>") != answer.count(f"</{tag}>") for tag in ("answer", "correct", "correction")):
        yield finding("malformed-tags", "error", f"a tag is not closed: {answer[:60]!r}")
    if item.get("r"):
        return
    categories = item.get("c") or []
    for name in categories:
        if name not in KNOWN:
            yield finding("unknown-category", "error", f"{name!r} is none of the eleven")
    level = next((LEVELS.get(item[key]) for key in LEVEL_KEYS if item.get(key)), None)
    if categories and level and len(categories) <= 3 and level is not Difficulty.from_edits(len(categories)):
        yield finding("category-count", "warning", f"{len(categories)} categories, but {level.value}")
    original = normalise(row.get("query_text") or "")
    said = normalise(re.sub(r"<correct.*", "", re.sub(r"</?answer>", "", answer)))
    if original and said.endswith(original):
        yield finding("leaked-original", "warning", "the refusal ends with the original query")
    if source and normalise(item["q"]) in source.spans:
        yield finding("irrelevant-is-annotated", "error", "this query is annotated as happening in the same video")


def fix(path: str | Path, report: LintReport, folder: str | Path | None = None) -> tuple[Path, Path]:
    """Write a corrected copy, `NAME.fixed.json`, and a log of every change, `NAME.fixes.json`.

    folder: where to; beside the file by default.
    """
    path = Path(path)
    target = Path(folder or path.parent) / path.name
    rows = copy.deepcopy(read_released(path).rows)
    changes = []
    for finding in report.findings:
        if finding.fix is None:
            continue
        row = rows[finding.row]
        if finding.code == "wrong-duration":
            holder, key = row, "duration"
        elif finding.code == "inherited-span":
            holder, key = row["GRPO"][finding.item], "timestamp"
        else:
            holder, key = row, "timestamp"
        old = holder.get(key)
        changes.append(
            {"row": finding.row, "item": finding.item, "code": finding.code, "key": key, "old": old, "new": finding.fix}
        )
        holder[key] = finding.fix
        if finding.code == "wrong-end" and old:
            changes += _rewrite_texts(row, finding, Span(old[0], old[1]), Span(*finding.fix))
    fixed = write_released(rows, target.with_suffix(".fixed.json"))
    return fixed, write_json(target.with_suffix(".fixes.json"), changes)


_PAIR = re.compile(r"(\d+(?:\.\d+)?)(\s+to\s+)(\d+(?:\.\d+)?)")


def _rewrite_texts(row: dict, finding: Finding, old: Span, new: Span) -> list[dict]:
    """Write a repaired segment into the row's texts too, with as many decimals as each had. Returns the changes."""
    places = [(row["GRPO"][finding.item], "a", f"GRPO[{finding.item}].a"), (row, "think", "think")]
    if isinstance(row.get("PRO"), dict):
        places.append((row["PRO"], "prompt", "PRO.prompt"))

    def written(match: re.Match) -> str:
        if not _near(Span(float(match[1]), float(match[3])), old):
            return match[0]
        start, end = (
            f"{value:.{len(text.partition('.')[2])}f}" for value, text in ((new.start, match[1]), (new.end, match[3]))
        )
        return start + match[2] + end

    changes = []
    for holder, key, name in places:
        before = holder.get(key)
        if isinstance(before, str) and (after := _PAIR.sub(written, before)) != before:
            changes.append(
                {
                    "row": finding.row,
                    "item": finding.item,
                    "code": finding.code,
                    "key": name,
                    "old": before,
                    "new": after,
                }
            )
            holder[key] = after
    return changes


def table(report: LintReport) -> str:
    """A readable summary: a line a code, with the first place."""
    lines = [f"{report.path}: {report.rows} rows"]
    for code, count in sorted(report.counts.items(), key=lambda item: -item[1]):
        first = next(f for f in report.findings if f.code == code)
        place = f"row {first.row}" + (f", GRPO[{first.item}]" if first.item is not None else "")
        lines.append(f"  {first.severity:7s} {code:24s} {count:5d}   first: {place}: {first.message}")
    if report.perfect_miou is not None:
        lines.append(f"  a perfect model would score mIoU {report.perfect_miou:.3f} against these labels")
    return "\n".join(lines)
