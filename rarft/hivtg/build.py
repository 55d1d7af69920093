"""Ordinary grounding annotations → HI-VTG rows: for each query one hard-irrelevant query at each difficulty.

Source: RA-RFT, the section on HI-VTG. The generating code was never released; the format is the release's own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice, repeat
from pathlib import Path

from rarft.hivtg.editors import Editor, Proposal, Rejected, check_proposal
from rarft.hivtg.index import AnnotationIndex
from rarft.hivtg.official import rows_of
from rarft.hivtg.rows import SPAN
from rarft.schema import Difficulty, Group, Sample, seconds
from rarft.system.files import NAME, json_lines, open_to_append
from rarft.system.progress import progress

EDITS = (1, 2, 3)


def build(samples: Iterable[Sample], editor: Editor, output: str | Path, *, concurrency: int = 1) -> Counter[str]:
    """Write a row of HI-VTG for each relevant sample, a JSON line each as they come, in constant memory.

    Samples that `output` holds already are skipped, so that a run that was killed resumes. A sample keeps the
    difficulties that worked; every rejected edit is kept in OUTPUT.rejected.jsonl with its reason.

    Returns counts: rows, edits, rejected, skipped, without_edits.
    """
    output = Path(output)
    rejected_path = output.with_name(f"{output.name}.rejected.jsonl")
    with AnnotationIndex() as index:
        total = index.add(samples)
        for path, query in ((output, "query_text"), (rejected_path, "query")):
            kept = json_lines(path, {"video": NAME, query: NAME, "timestamp": SPAN}, resume=True)
            index.mark_done(
                _key(row["video"], row[query], row["timestamp"], row.get("video_start"), row.get("video_end"))
                for _, row in kept
            )
        todo = (s for s in index if not index.is_done(_key(s.video, s.query, s.spans[0], s.start, s.end)))
        counts: Counter[str] = Counter()
        with (
            open_to_append(output) as rows,
            open_to_append(rejected_path) as rejections,
            ThreadPoolExecutor(concurrency) as pool,
            progress(total=total, desc="rows") as bar,
        ):
            for batch in _batches(todo, 16 * concurrency):
                known = [index.of_video(sample.video) for sample in batch]
                reasons: list[str] = []
                for sample, near, (made, refused) in zip(
                    batch, known, pool.map(_edit, batch, repeat(editor), known), strict=True
                ):
                    if made:
                        timeline = think(other for other in near if other.crop == sample.crop)
                        group = Group(replace(sample, think=sample.think or timeline), tuple(made))
                        rows.write(_line(rows_of([group])[0]))
                    reasons += map(_line, refused)
                    counts.update(rows=bool(made), edits=len(made), rejected=len(refused), without_edits=not made)
                    bar.update()
                rows.flush()  # first: a rejection marks its sample as done
                rejections.writelines(reasons)
                rejections.flush()
    counts["skipped"] = total - counts["rows"] - counts["without_edits"]
    return counts


def think(known: Iterable[Sample]) -> str:
    """A timeline out of a video's annotations, as the release writes it: `<timestep>2 to 5.5</timestep> what
    happens`."""
    spans = sorted((span, sample.query) for sample in known for span in sample.spans)
    return "\n".join(f"<timestep>{seconds(s.start)} to {seconds(s.end)}</timestep> {query}" for s, query in spans)


def _edit(sample: Sample, editor: Editor, known: Sequence[Sample]) -> tuple[list[Sample], list[dict]]:
    others = [other.query for other in known if other.query != sample.query]
    made, refused = [], []
    for edits in EDITS:
        try:
            proposal = editor.edit(sample, edits, others)
            check_proposal(sample, proposal, edits, others)
        except Rejected as reason:
            refused.append(_rejection(sample, edits, reason))
        else:
            made.append(edited_sample(sample, proposal))
    return made, refused


def edited_sample(sample: Sample, proposal: Proposal) -> Sample:
    """The irrelevant sample that a proposal makes of a relevant one; a category stands for an edit."""
    return replace(
        sample,
        query=proposal.query,
        spans=[],
        answer=proposal.answer,
        correction=sample.query,
        categories=list(proposal.categories),
        difficulty=Difficulty.from_edits(len(proposal.categories)),
    )


def _rejection(sample: Sample, edits: int, reason: Rejected) -> dict:
    proposal = reason.proposal
    return {
        "video": sample.video,
        "query": sample.query,
        "timestamp": list(sample.spans[0]),
        "video_start": sample.start,
        "video_end": sample.end,
        "edits": edits,
        "reason": str(reason),
        "proposal": None if proposal is None else {"query": proposal.query, "answer": proposal.answer},
    }


def _batches(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    rest = iter(samples)
    while batch := list(islice(rest, size)):
        yield batch


def _key(video: str, query: str, span: Sequence[float], start: float | None, end: float | None) -> str:
    return json.dumps([video, query, *map(float, span), start, end])


def _line(row: dict) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
