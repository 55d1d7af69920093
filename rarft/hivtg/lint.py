"""Find label errors in HI-VTG files, and fix those for which the source annotations have the truth.

A finding has a code, a severity and a place. Errors change what a model is trained or scored on; warnings are worth
knowing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rarft.hivtg.official import DIFFICULTIES, ReleasedFile, iter_rows, write_released
from rarft.hivtg.rows import DIFFICULTY_KEYS, span_of
from rarft.hivtg.sources import SourceVideo, normalise, read_sources
from rarft.metrics import best_iou, mean
from rarft.schema import Category, Difficulty, Span
from rarft.system.files import write_json
from rarft.video.find import video_id

TOLERANCE = 0.06  # seconds: released times are rounded to one decimal
WARNINGS = (
    "category-count",
    "differs-from-source",
    "empty-answer",
    "leaked-original",
    "shared-span",
    "truncated-windows",
)


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a row; `fix` is the right value where it is known."""

    code: str
    message: str
    row: int = 0
    item: int | None = None  # position in GRPO, None for the row
    fix: Any = None

    @property
    def severity(self) -> str:
        """ "error" or "warning"."""
        return "warning" if self.code in WARNINGS else "error"


@dataclass
class LintReport:
    """Findings of a file, and what a model that says the truth would score against its labels, where known."""

    path: str
    rows: int
    findings: list[Finding] = field(default_factory=list)
    perfect_miou: float | None = None

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings by code."""
        return dict(Counter(f.code for f in self.findings))

    @property
    def failed(self) -> bool:
        """Whether there is an error."""
        return any(f.severity == "error" for f in self.findings)

    def to_json(self) -> dict:
        """Plain JSON types."""
        findings = [{**asdict(f), "severity": f.severity} for f in self.findings]
        return {**asdict(self), "counts": self.counts, "findings": findings}


def lint(path: str | Path, sources: Sequence[str | Path] = ()) -> LintReport:
    """Check a released file. With source annotations, labels and durations are checked against them."""
    videos = read_sources(list(sources))
    report = LintReport(str(path), 0)
    scores = []
    ids = set()
    for number, row in enumerate(iter_rows(path)):
        report.rows += 1
        read = ReleasedFile(str(path))
        row = read.add(number, row)
        for problem in read.problems:
            report.findings.append(Finding("unreadable", f"{problem.field}: {problem.message}", number))
        if row is None:
            continue
        ids.add(video_id(row["video"]))
        source = videos.get(video_id(row["video"]), SourceVideo())
        report.findings += (replace(finding, row=number) for finding in _row_findings(row, source))
        for item in filter(None, row["GRPO"]):
            truth, label = _truth(row, item, source), _label(row, item)
            if truth and label:
                scores.append(best_iou([label], truth))
    report.perfect_miou = mean(scores) if scores else None
    known = len(ids & videos.keys())
    if sources and 2 * known < len(ids):
        message = f"the source annotations have {known} of the {len(ids)} videos; are they of this data set?"
        report.findings.append(Finding("source-mismatch", message))
    return report


def _row_findings(row: dict, source: SourceVideo) -> Iterator[Finding]:
    yield from _time_findings(row, source)
    for position, item in enumerate(row["GRPO"]):
        if item is not None:
            for finding in (*_label_findings(row, position, source), *_text_findings(row, item, source)):
                yield replace(finding, item=position)


def _time_findings(row: dict, source: SourceVideo) -> Iterator[Finding]:
    duration, label = row.get("duration"), row.get("timestamp")
    whole = row.get("video_start") is None and row.get("video_end") is None
    if whole and source.duration and duration and abs(duration - source.duration) > 1:
        message = f"{duration} s, the source says {source.duration} s"
        yield Finding("wrong-duration", message, fix=source.duration)
    if not label:
        return
    start, end = label
    if start < 0:
        yield Finding("start-before-zero", f"starts at {start} s")
    if start >= end:
        yield Finding("empty-span", f"{start} to {end} is empty or reversed")
    if duration and start > duration:
        yield Finding("start-beyond-duration", f"starts at {start} s of {duration} s")
    if duration and end > duration:
        yield Finding("end-beyond-duration", f"ends at {end} s of {duration} s")


def _label(row: dict, item: dict) -> Span | None:
    value = item.get("timestamp") or row.get("timestamp")
    return Span(*map(float, value)) if item.get("r") and value else None


def _truth(row: dict, item: dict, source: SourceVideo) -> list[Span]:
    """What the source says, in seconds from the start of the part that the row is about."""
    found = source.spans.get(normalise(item["q"]), []) if item.get("r") else []
    begin = row.get("video_start") or 0.0
    return [Span(span.start - begin, span.end - begin) for span in found]


def _label_findings(row: dict, position: int, source: SourceVideo) -> Iterator[Finding]:
    item = row["GRPO"][position]
    label, truth = _label(row, item), _truth(row, item, source)
    if label is None:
        return
    yield from _disagreements(row, item, label)
    shared = "timestamp" not in item and any(other and other["r"] for other in row["GRPO"][:position])
    if not truth:
        if shared:
            yield Finding("shared-span", "a second relevant query has no span of its own")
        return
    sentence = normalise(item["q"])
    windows = source.windows.get(sentence, 1)
    if windows > max(1, len(row.get("relevant_windows") or [])):
        yield Finding("truncated-windows", f"the annotation has {windows} windows, this row has one")
    if any(_near(label, t) for t in truth):
        return
    right = truth[0]
    crop = source.crops.get(sentence) if row.get("video_start") is None else None
    if crop and abs(label.end - (crop.end + right.end - crop.start)) < TOLERANCE:
        message = f"ends at {label.end} = clip end + answer end; clip start + answer end is {right.end:g}"
        yield Finding("wrong-end", message, fix=list(right))
    elif shared:
        yield Finding("inherited-span", f"has the first query's span; its own is {right}", fix=list(right))
    else:
        yield Finding("differs-from-source", f"{label}; the source says {right}")


def _disagreements(row: dict, item: dict, label: Span) -> Iterator[Finding]:
    """A label is written up to three times: as numbers, in the answer, and in TVGBench's prompt for captions."""
    texts = {"answer-disagrees": item.get("a")}
    if "timestamp" not in item:
        texts["prompt-disagrees"] = (row.get("PRO") or {}).get("prompt")
    for code, text in texts.items():
        said = Span.first_in(text or "")
        if said and not _near(said, label):
            yield Finding(code, f"the text says {said}, the timestamp {label}")


def _near(a: Span, b: Span) -> bool:
    return abs(a.start - b.start) < TOLERANCE and abs(a.end - b.end) < TOLERANCE


def _text_findings(row: dict, item: dict, source: SourceVideo) -> Iterator[Finding]:
    answer = item.get("a") or ""
    if not re.sub(r"<[^>]*>", "", answer).strip():
        yield Finding("empty-answer", "the answer is empty")
    if any(answer.count(f"<{tag}>") != answer.count(f"</{tag}>") for tag in ("answer", "correct", "correction")):
        yield Finding("malformed-tags", f"a tag is not closed: {answer[:60]!r}")
    if item.get("r"):
        return
    categories = item.get("c") or []
    for name in categories:
        if name not in set(Category):
            yield Finding("unknown-category", f"{name!r} is not one of the eleven")
    level = next((DIFFICULTIES.get(item[key]) for key in DIFFICULTY_KEYS if item.get(key)), None)
    if categories and level and len(categories) <= 3 and level is not Difficulty.from_edits(len(categories)):
        yield Finding("category-count", f"{len(categories)} categories, but {level.value}")
    original = normalise(row.get("query_text") or "")
    said = normalise(re.sub(r"<correct.*", "", re.sub(r"</?answer>", "", answer)))
    if original and said.endswith(original):
        yield Finding("leaked-original", "the refusal ends with the original query")
    if normalise(item["q"]) in source.spans:
        yield Finding("irrelevant-is-annotated", "this query is annotated as happening in the same video")


def fix(path: str | Path, report: LintReport, folder: str | Path | None = None) -> tuple[Path, Path]:
    """Write a corrected copy, `NAME.fixed.json`, and a log of every change, `NAME.fixes.json`.

    folder: where to; the file's own by default.
    """
    path = Path(path)
    target = Path(folder or path.parent) / path.name
    rows = list(iter_rows(path))
    changes = []
    for finding in report.findings:
        if finding.fix is None:
            continue
        row = rows[finding.row]
        holder = row["GRPO"][finding.item] if finding.code == "inherited-span" else row
        key = "duration" if finding.code == "wrong-duration" else "timestamp"
        edits = [(holder, key, key, finding.fix)]
        old = span_of(row.get(key))
        if finding.code == "wrong-end" and old:
            edits += _text_edits(row, finding.item, old, Span(*finding.fix))
        for holder, key, name, new in edits:
            place = {"row": finding.row, "item": finding.item, "code": finding.code, "key": name}
            changes.append({**place, "old": holder.get(key), "new": new})
            holder[key] = new
    fixed = write_released(rows, target.with_suffix(".fixed.json"))
    return fixed, write_json(target.with_suffix(".fixes.json"), changes)


def _text_edits(row: dict, item: int | None, old: Span, new: Span) -> Iterator[tuple[dict, str, str, str]]:
    """A repaired segment belongs into the row's texts, too, with as many decimals as each had. For each text that
    changes: its holder and key, its name in the log, and the new text."""

    def written(match: re.Match) -> str:
        if not _near(Span(float(match[1]), float(match[3])), old):
            return match[0]
        start, end = (
            f"{value:.{len(text.partition('.')[2])}f}" for value, text in zip(new, match.group(1, 3), strict=True)
        )
        return start + match[2] + end

    pro = row["PRO"] if isinstance(row.get("PRO"), dict) else {}
    for holder, key, name in (
        (row["GRPO"][item], "a", f"GRPO[{item}].a"),
        (row, "think", "think"),
        (pro, "prompt", "PRO.prompt"),
    ):
        before = holder.get(key)
        if isinstance(before, str):
            after = re.sub(r"(\d+(?:\.\d+)?)(\s+to\s+)(\d+(?:\.\d+)?)", written, before)
            if after != before:
                yield holder, key, name, after


def table(report: LintReport) -> str:
    """A readable summary: a line per code, with the first place."""
    lines = [f"{report.path}: {report.rows} rows"]
    for code, count in sorted(report.counts.items(), key=lambda item: -item[1]):
        first = next(f for f in report.findings if f.code == code)
        place = f"row {first.row}" + (f", GRPO[{first.item}]" if first.item is not None else "")
        lines.append(f"  {first.severity:7s} {code:24s} {count:5d}   first: {place}: {first.message}")
    if report.perfect_miou is not None:
        lines.append(f"  a perfect model would score mIoU {report.perfect_miou:.3f} against these labels")
    return "\n".join(lines)
