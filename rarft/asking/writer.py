"""Write answers to a JSON Lines file, one line per question as the answers come. An interrupted run can resume.

There are two formats. `rarft infer` writes the parsed answer; an evaluation writes the completion and refusal score.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rarft.asking.answer import Answer
from rarft.asking.asker import Asker
from rarft.schema import Crop, is_finite_number
from rarft.system.errors import InputError, VideoError
from rarft.system.files import TEXT, Field, checked_row, json_lines, open_to_append, short_json, write_text
from rarft.system.progress import progress

Row = Mapping[str, Any]  # has `video` and `query`, and may have `start`, `end` and keys of the user
PROBABILITY = Field(
    "a number from 0 to 1, or null,", lambda value: value is None or (is_finite_number(value) and 0 <= value <= 1)
)


@dataclass(frozen=True)
class RowFormat:
    """What a line has besides its question: an answer in this format, or only an `error`.

    fields: the fields of an answer, checked when a line is read. contents: an answer → the fields to write.
    ascii: whether non-ASCII characters are escaped.
    """

    fields: Mapping[str, Field]
    contents: Callable[[Answer], dict[str, Any]]
    ascii: bool

    def row(self, question: Row, answer: Answer) -> Row:
        """A question with its answer."""
        return {**question, **({"error": answer.error} if answer.error is not None else self.contents(answer))}

    def line(self, row: Row) -> str:
        """A row as text."""
        return json.dumps(row, ensure_ascii=self.ascii) + "\n"


INFERENCE = RowFormat({"verdict": TEXT, "completion": TEXT}, Answer.to_json, ascii=False)
PREDICTION = RowFormat(
    {"completion": TEXT, "refusal_probability": PROBABILITY},
    lambda answer: {"completion": answer.completion, "refusal_probability": answer.refusal_score},
    ascii=True,
)


REWRITE_EVERY = 64  # replaced rows: each time the whole file is written


def answer_in(row: Row) -> Answer:
    """The answer in a row of either format."""
    return Answer(row.get("completion", ""), row.get("refusal_probability"), row.get("error"), row.get("note"))


def ask_all(
    asker: Asker,
    questions: Sequence[Row],
    path: Path | None,
    form: RowFormat,
    *,
    retry: bool,
    stop: bool = False,
    desc: str = "ask",
) -> tuple[list[Row], list[int]]:
    """Ask the questions that a file has no answer to yet, and append the answers as they come.

    Args:
        path: the file; None keeps the rows only in memory.
        form: the format of the rows.
        retry: ask again where the file has an error, and replace that row.
        stop: raise VideoError for the first answer with an error. The file then has the answers before it.

    Returns all rows, and the indices of the new ones. Raises InputError as `read_rows` does, before asking anything.
    """
    rows = read_rows(path, questions, form, resume=True, retry=retry) if path else []
    todo = [i for i in range(len(questions)) if i >= len(rows) or (retry and "error" in rows[i])]
    if path:
        open_to_append(path).close()  # fail on an unwritable file before anything is asked
    asked = asker.ask([Crop.of(questions[i]) for i in todo], [questions[i]["query"] for i in todo])
    bar = progress(total=len(questions), initial=len(questions) - len(todo), desc=desc)
    kept, replaced = len(rows), 0  # rows in the file; those that have a new answer, which it has not yet
    try:
        with closing(asked), bar:
            for place, answer in zip(todo, asked, strict=True):
                if stop and answer.error is not None:
                    raise VideoError(answer.error)
                rows[place : place + 1] = [form.row(questions[place], answer)]
                if path and place >= kept:
                    if replaced:
                        replaced = _rewrite(path, rows[:-1], form)
                    with open_to_append(path) as file:
                        file.write(form.line(rows[place]))
                else:
                    replaced += 1
                    if path and replaced == REWRITE_EVERY:
                        replaced = _rewrite(path, rows, form)
                bar.update()
    finally:
        if path and replaced:
            _rewrite(path, rows, form)
    return rows, todo


def _rewrite(path: Path, rows: Sequence[Row], form: RowFormat) -> int:
    """Write the file anew. Returns 0: as many rows are not in it."""
    write_text(path, "".join(map(form.line, rows)))
    return 0


def read_rows(
    path: str | Path, questions: Sequence[Row], form: RowFormat, *, resume: bool = False, retry: bool = True
) -> list[Row]:
    """Read a file of answers, one row for each of the first questions.

    Args:
        resume: this run appends to the file, see `rarft.system.files.json_lines`.
        retry: errors will be asked again. A row with an error may then name its video by another path or ending, since
            a video that was missing may have been found under another one.

    Raises InputError, which names the line and the field, for a row of another question or one that is not an answer.
    """
    rows: list[Row] = []
    for place, row in json_lines(path, {}, resume=resume):
        if len(rows) == len(questions):
            raise InputError(f"{place}: answers another question; there are only {len(questions)}. {_OTHER_FILE}")
        question = questions[len(rows)]
        for name in dict.fromkeys((*question, "start", "end")):
            value, wanted = row.get(name), question.get(name)
            if json.dumps(value) != json.dumps(wanted) and not (
                retry and name == "video" and "error" in row and _was_missing(str(value), wanted)
            ):
                what = f"its {name!r} is {short_json(value)} instead of {short_json(wanted)}"
                raise InputError(f"{place}: answers another question: {what}. {_OTHER_FILE}")
        rows.append(checked_row(row, {"error": TEXT} if "error" in row else form.fields, place))
    return rows


_OTHER_FILE = "Delete the file or choose another --out"


def _was_missing(name: str, found: str) -> bool:
    return Path(name).name in (Path(found).name, Path(found).stem)
