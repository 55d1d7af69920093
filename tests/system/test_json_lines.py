"""One policy for all JSON Lines files: what is damaged is named with file, line and field, and no row is lost."""

import json
import logging

import pytest

from coursekit.widgets import annotate
from rarft.asking import Answer, infer_all, read_questions
from rarft.asking.dataset import open_dataset
from rarft.asking.llm import LLM
from rarft.asking.writer import PREDICTION, read_rows
from rarft.evaluation import read_predictions
from rarft.hivtg.build import build
from rarft.hivtg.editors import Rejected
from rarft.hivtg.official import read_released
from rarft.schema import Sample, Span
from rarft.system.errors import InputError
from rarft.system.files import TEXT, json_lines
from rarft.video import read_video
from rarft.world.dataset import draw_clip, story_to_json

ROW = '{"a": "é"}'
FIELDS = {"a": TEXT}


@pytest.mark.parametrize(
    "end, rows, after",
    [
        ("", 2, ""),
        (ROW, 3, ROW + "\n"),  # a kill between a row and its end: nothing is missing
        (ROW + "\r\n\n  \n", 3, ROW + "\r\n\n  \n"),
        ("{", 2, ""),
        (ROW[:7], 2, ""),
        (ROW.encode()[:8], 2, ""),  # in the middle of a letter
    ],
)
def test_only_a_last_line_that_was_cut_short_is_taken_off(end, rows, after, tmp_path, caplog):
    path, whole = tmp_path / "x.jsonl", f"\ufeff{ROW}\n{ROW}\n".encode()
    end, after = (text.encode() if isinstance(text, str) else text for text in (end, after))
    path.write_bytes(whole + end)
    with caplog.at_level(logging.WARNING):
        assert len(list(json_lines(path, FIELDS, resume=True))) == rows
    assert path.read_bytes() == whole + after
    assert [f"{path}, line 3" in message for message in caplog.messages] == ([True] if end and not after else [])


def test_a_file_that_is_only_read_is_never_changed(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(f"{ROW}\n{ROW[:5]}")
    with pytest.raises(InputError, match="x.jsonl, line 2: not JSON"):
        list(json_lines(path, FIELDS))
    assert path.read_text() == f"{ROW}\n{ROW[:5]}"
    with pytest.raises(FileNotFoundError, match="gone.jsonl"):
        list(json_lines(tmp_path / "gone.jsonl"))
    assert list(json_lines(tmp_path / "gone.jsonl", resume=True)) == []


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    "line, message",
    [
        ('{"a": "b"', "not JSON"),
        ('{"a": "b"} {"a": "c"}', "not JSON"),
        ("5", "an object with 'a' was expected, got 5"),
        ("null", "an object"),
        ("{}", "'a' is missing; a text was expected"),
        ('{"a": [1]}', r"'a' is \[1\]"),
        (b'{"a": "\xff"}', "not UTF-8"),
        ("a note of mine", "not JSON"),
    ],
)
def test_any_other_damage_is_named_and_left_alone(line, message, resume, tmp_path):
    path = tmp_path / "x.jsonl"
    line = line if isinstance(line, bytes) else line.encode()
    for text in (line + b"\n" + ROW.encode() + b"\n", *([line] if not line.startswith(b'{"') else [])):
        path.write_bytes(ROW.encode() + b"\n" + text)
        with pytest.raises(InputError, match=f"x.jsonl, line 2: .*{message}"):
            list(json_lines(path, FIELDS, resume=resume))
        assert path.read_bytes() == ROW.encode() + b"\n" + text


SAMPLES = [Sample("v.mp4", query, [Span(1, 2)], duration=9.0) for query in ("one", "two", "three")]
QUESTIONS = [{"video": "v.mp4", "query": sample.query} for sample in SAMPLES]


class NoEditor:
    def edit(self, sample, edits, others):
        raise Rejected("no")


def the_world(path):
    story = draw_clip(0, "train", 0)[0]
    (path.parent / "clips").mkdir(exist_ok=True)
    row = {"video": "clips/v.mp4", "timestamp": [1, 2], "GRPO": [{"q": "q", "r": True, "a": "1 to 2"}]}
    (path.parent / "clips" / "v.mp4").write_text("a video")
    (path.parent / "hi_vtg.json").write_text(json.dumps([row] * 3))
    return [story_to_json(story)] * 3


def answered(questions):
    return [{**question, "verdict": "refuses", "completion": "x"} for question in questions]


class Refusing:
    def ask(self, crops, queries):
        yield from (Answer("x") for _ in queries)


def annotated(path, world):
    box = annotate(read_video(world[0].path), world[0].group.relevant, path)
    query, answer, categories, button, message = box.children[1:]
    query.value, answer.value, categories.value = "the blue ring", "there is no blue ring", (categories.options[-1][1],)
    button.click()
    if "not saved" in message.value:
        raise InputError(message.value)


# Name of the file, good rows, a field that each has to hold, and what reads it.
ANSWERS = answered(QUESTIONS)
EDITED = [{**question, "timestamp": [1, 2], "query_text": question["query"]} for question in QUESTIONS]
READERS = {
    "predictions": ("p.jsonl", ANSWERS, "completion", lambda path: read_predictions(path, SAMPLES)),
    "resumed predictions": (
        "p.jsonl",
        ANSWERS,
        "completion",
        lambda path: read_rows(path, QUESTIONS, PREDICTION, resume=True),
    ),
    "questions": ("q.jsonl", QUESTIONS, "query", read_questions),
    "answers": ("a.jsonl", ANSWERS, "completion", lambda path: infer_all(Refusing(), QUESTIONS, path)),
    "replies": ("r.jsonl", [{"key": k, "reply": {}} for k in "abc"], "reply", lambda p: LLM("m", "http://x", cache=p)),
    "built rows": ("b.jsonl", EDITED, "timestamp", lambda path: build(SAMPLES, NoEditor(), path)),
    "rejected": ("b.rejected.jsonl", EDITED, "query", lambda path: build(SAMPLES, NoEditor(), path.with_name("b"))),
    "stories": ("stories.jsonl", the_world, "actors", lambda path: open_dataset(path.parent).judges),
    "released": ("rows.jsonl", EDITED, None, read_released),
}


@pytest.mark.parametrize("name", READERS)
def test_every_reader_names_the_line_and_loses_nothing(name, tmp_path):
    file, rows, field, read = READERS[name]
    path = tmp_path / file
    rows = rows(path) if callable(rows) else rows
    lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines))
    read(path)
    damages = [lines[1][:-3], lines[1] + "}"]
    if field:
        without = {key: value for key, value in rows[1].items() if key != field}
        damages += ["5", "[]", json.dumps(without), json.dumps({**rows[1], field: 5})]
    for damage in damages:
        text = "\n".join([lines[0], damage, lines[2]]) + "\n"
        path.write_text(text)
        with pytest.raises(InputError, match=f"{file}, line 2") as error:
            read(path)
        assert path.read_text() == text, "not touched"
        if field and damage in damages[-2:]:
            assert field in str(error.value) or "another question" in str(error.value)


def test_the_widget_joins_no_line_that_was_cut_short(tmp_path, world):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"video": "a')
    annotated(path, world)
    assert len(read_released(path).rows) == 1
    path.write_text("a note of mine\n")
    with pytest.raises(InputError, match="line 1"):
        annotated(path, world)
    assert path.read_text() == "a note of mine\n"


def test_a_world_with_fewer_stories_than_rows_is_named(tmp_path):
    rows = the_world(tmp_path / "stories.jsonl")
    (tmp_path / "stories.jsonl").write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(InputError, match="1 stories, but hi_vtg.json has 3 rows"):
        _ = open_dataset(tmp_path).judges


def test_a_rejection_is_written_after_the_row_of_its_sample(tmp_path, monkeypatch):
    """A rejection marks its sample as done: on disk before the row, a kill between the two would lose the row."""
    written = []

    class File(list):
        def __init__(self, path):
            self.name = path.name

        def __enter__(self):
            return self

        __exit__ = flush = lambda *_: None

        def write(self, text):
            written.append(self.name)

        def writelines(self, lines):
            written.extend(self.name for _ in lines)

    class OneEdit(NoEditor):
        def edit(self, sample, edits, others):
            if edits > 1:
                raise Rejected("no")
            from rarft.hivtg.editors import Proposal
            from rarft.schema import Category

            return Proposal(f"{sample.query} dogs", "no dogs are there", (Category.COUNTING,))

    monkeypatch.setattr("rarft.hivtg.build.open_to_append", File)
    build(SAMPLES, OneEdit(), tmp_path / "b")
    assert written == ["b"] * 3 + ["b.rejected.jsonl"] * 6
