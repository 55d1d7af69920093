"""Every command, every option, fed what it cannot take: exit status not 0, one sentence that names it, no traceback."""

import json
import os
import subprocess
import sys

import pytest

from coursekit import sample_world
from rarft.cli import main, make_parser
from rarft.system.files import BASE

NUMBERS = ("", "x", "nan", "inf", "-1", "1e400", "9" * 30, "0x10", "²")
# Options whose smallest value is 0, so that 0 itself is no fault.
FROM_ZERO = {"--seed", "--port", "--gpus", "--start", "--price"}
NEEDED = {  # what a command has to be given before an option is looked at
    "world": ["--out", "x"],
    "infer": ["--video", "x.mp4", "--query", "q"],
    "evaluate": ["--out", "x", "--data", "x"],
    "build-hivtg": ["x.json", "--out", "x"],
    "build-ss": ["x.json", "--out", "x"],
    "train": ["rarft"],
    "rehearse": ["x.json", "--videos", "x"],
    "reproduce": ["human"],
    "course": ["grade"],
}


def numeric_options():
    """Every option of every command that takes a number, and how many."""
    commands = next(action for action in make_parser()._actions if action.dest == "command").choices
    for name, command in commands.items():
        for action in command._actions:
            kind = getattr(action.type, "__name__", "")
            if kind in ("int", "float", "number", "above_zero", "not_negative"):
                yield name, action.option_strings[0], kind, action.nargs or 1


def failed(arguments, capsys):
    """What a command that cannot work says; an exception other than the end of the program fails the test."""
    with pytest.raises(SystemExit) as ended:
        main([str(part) for part in arguments])
    said = capsys.readouterr()
    assert ended.value.code in (1, 2), said.out
    assert "Traceback" not in said.err
    return said.out + said.err


def test_no_option_takes_any_number_at_all():
    assert not [option for option in numeric_options() if option[2] in ("int", "float")]
    assert len(list(numeric_options())) > 25


@pytest.mark.parametrize("command, option, kind, count", numeric_options())
def test_numbers_that_are_refused(command, option, kind, count, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (*NUMBERS, *(() if option in FROM_ZERO else ("0",)), *(("1.5",) if kind == "number" else ())):
        given = [f"{option}={number}"] if count == 1 else [option, *[number] * count]
        said = failed([command, *NEEDED.get(command, []), *given], capsys)
        assert option in said, (number, said)
    assert not list(tmp_path.iterdir())


CLIP = sample_world()[0]
SAMPLES = CLIP.path.parents[1]
ROWS = SAMPLES / "hi_vtg.json"
NOBODY = "http://127.0.0.1:9/v1"  # nothing listens there
ONE = ["infer", "--video", CLIP.path, "--query", CLIP.group.relevant.query]
ASKED = ["evaluate", "--data", SAMPLES, "--limit", "2", "--out", "out"]
PLAN = ["reproduce", "human", "--data", "folder"]
STAND_INS = ["rehearse", ROWS, "--processes", "1"]
# What a command has been given, the option, and what it cannot be; `file`, `folder` and `pipe` are there.
TEXTS = [
    (ONE, "--model", ("x/y", "folder", "file")),
    (["infer", "--query", "q"], "--video", ("x", "folder", "pipe")),
    (ONE, "--style", ("x", "folder", "file")),
    (ONE, "--reader", ("x", "opencv")),
    (ASKED, "--reader", ("x",)),
    (["demo"], "--reader", ("x",)),
    (["reproduce", "human"], "--reader", ("x",)),
    (ONE, "--device", ("x", "cuda:99", "meta")),
    (ONE, "--dtype", ("x", "int8")),
    (ONE, "--server", ("x", "ftp://x/v1", NOBODY)),
    ([*ONE, "--server", NOBODY], "--settings", ("x/y", "folder")),
    (["infer", "--questions", "questions"], "--out", ("folder", "pipe", "file/x")),
    (["infer", "--out", "out"], "--questions", ("x", "folder")),
    (["evaluate", "--out", "out"], "--data", ("x", "folder", "file", "pipe")),
    (["evaluate", "--out", "out"], "--predictions", ("x", "folder")),
    (["evaluate", "--out", "out", "--data", ROWS], "--videos", ("x", "folder", "file")),
    (["evaluate", "--data", SAMPLES], "--out", ("file", "pipe", "file/x")),
    (ASKED, "--model", ("x/y", "folder")),
    (ASKED, "--features", ("file", "pipe")),
    (ASKED, "--server", ("x", "ftp://x/v1", NOBODY)),
    ([*ASKED, "--server", NOBODY], "--settings", ("x/y", "folder")),
    (ASKED, "--style", ("x",)),
    (ASKED, "--device", ("x",)),
    (ASKED, "--dtype", ("x",)),
    (ASKED, "--similarity", ("x/y",)),
    (ASKED, "--against", ("x", "folder", "file")),
    (ASKED, "--judge-function", ("x", "os:nothing", "nothing:x", ":", "os:sep")),
    ([*ASKED, "--judge", "m"], "--judge-url", ("x", NOBODY)),
    ([*ASKED, "--judge-url", NOBODY], "--judge", ("m",)),
    (["lint", ROWS], "--source", ("x", "folder", "file")),
    (["lint", ROWS, "--fix"], "--out", ("file", "file/x")),
    (["lint", ROWS], "--out", ("folder",)),
    (["lint", ROWS], "--json", ("folder", "file/x")),
    (["world", "--clips", "1"], "--out", ("file", "pipe", "file/x")),
    (["build-hivtg", SAMPLES], "--out", ("folder", "pipe", "file/x")),
    (["build-hivtg", "annotations.jsonl", "--out", "out", "--model", "m"], "--url", ("x", "ftp://x/v1", NOBODY)),
    (["build-hivtg", "annotations.jsonl", "--out", "out", "--url", NOBODY], "--model", ("m",)),
    (["build-ss", ROWS], "--out", ("folder", "pipe", "file/x")),
    (STAND_INS, "--videos", ("file", "pipe", "file/x")),
    ([*STAND_INS, "--videos", "folder"], "--model", ("file", "file/x")),
    ([*STAND_INS, "--videos", "folder"], "--preset", ("x",)),
    (["reproduce", "human"], "--base", ("x",)),
    (["reproduce", "human"], "--data", ("x", "file", "folder")),
    (PLAN, "--out", ("file", "file/x")),
    (PLAN, "--config", ("x", "folder")),
    (PLAN, "--launch", ("x", "folder")),
    (PLAN, "--official-clone", ("x", "file", "folder")),
    (["train", "rarft"], "--config", ("x", "folder", "file")),
    (["train", "base"], "--out", ("file", "pipe", "file/x")),
    (["train", "rarft", "--steps", "1", "--out", "out"], "--data", ("file", "file/x")),
    (["train", "rarft", "--steps", "1", "--out", "out", "--data", SAMPLES], "--model", ("x/y", "folder")),
    (["demo"], "--model", ("x/y", "folder")),
    (["demo"], "--data", ("x", "folder", "file")),
    (["demo", "--data", ROWS], "--videos", ("x", "file")),
    (["demo"], "--device", ("x",)),
    (["course", "build"], "--only", ("99", "x")),
    (["course", "grade", "folder"], "--out", ("file", "file/x")),
]
# A query may be any text; an address to listen on fails as the system says; weights are looked at after the files.
ANY = {("infer", "--query"), ("demo", "--host"), ("reproduce", "--model")}


def test_every_option_that_takes_a_text_is_fed():
    commands = next(action for action in make_parser()._actions if action.dest == "command").choices
    texts = {
        (name, action.option_strings[0])
        for name, command in commands.items()
        for action in command._actions
        if action.option_strings and action.nargs != 0 and not action.choices
    } - {(name, option) for name, option, *_ in numeric_options()}
    assert texts - ANY == {(str(before[0]), option) for before, option, _ in TEXTS}


@pytest.mark.parametrize("before, option, values", TEXTS, ids=lambda part: part if isinstance(part, str) else "")
def test_texts_that_are_refused(before, option, values, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine\n")
    os.mkfifo(tmp_path / "pipe")
    row = {"video": str(CLIP.path), "query": "the red ring grows"}
    (tmp_path / "questions").write_text(json.dumps(row))
    (tmp_path / "annotations.jsonl").write_text(json.dumps({**row, "duration": 9, "span": [1, 2]}) + "\n")
    for value in values:
        said = failed([*before, option, value], capsys)
        assert option in said or value.partition("/")[0] in said, (value, said)
    for given in ([option, ""], [f"{option}="]):
        assert f"an empty argument: {option}" in failed([*before, *given], capsys)
    assert (tmp_path / "file").read_text() == "mine\n" and not list((tmp_path / "folder").iterdir())
    assert not (tmp_path / "out" / "report.json").exists()
    if option not in ("--judge", "--judge-url", "--server"):  # whether a server answers shows when it is asked
        assert not (tmp_path / "out" / "predictions.jsonl").exists(), "nothing is asked in vain"


@pytest.fixture
def files(tmp_path):
    """Files that are not what they should be, by name; none of them is a video, a question or an annotation."""
    contents = {
        "empty": b"",
        "blank": b"\n\n",
        "text": b"hello\n",
        "latin": "{'é'}".encode("latin-1"),
        "half": b'[{"video": "a.mp4", ',
        "number": b"7",
        "null": b"null",
        "deep": b"[" * 200_000,
        "rows": b"[1, null, []]",
        "digits": b"[" + b"9" * 5000 + b"]",
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_bytes(content)
    (tmp_path / "folder.json").mkdir()
    return [*(f"{name}.json" for name in contents), "folder.json", "missing.json"]


@pytest.mark.parametrize(
    "command",
    [
        ["infer", "--out", "out", "--questions"],
        ["infer", "--query", "q", "--video"],
        ["evaluate", "--out", "out", "--videos", ".", "--data"],
        ["evaluate", "--out", "out", "--predictions"],
        ["lint"],
        ["statistics"],
        ["build-hivtg", "--out", "out", "--model", "m", "--url", "http://127.0.0.1:9/v1"],
        ["build-ss", "--out", "out"],
        ["rehearse", "--videos", "out", "--processes", "1"],
        ["train", "rarft", "--out", "out", "--config"],
    ],
    ids=lambda command: " ".join(command[:1] + command[-1:]),
)
def test_files_that_are_refused(command, files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in files:
        said = failed([*command, name], capsys)
        assert name.removesuffix(".json") in said, (name, said)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.json*"))


@pytest.mark.parametrize("part, said", [(("9", "2"), "'start' (9.0) to 'end' (2.0)"), (("3", "3"), "'start'")])
def test_a_part_of_a_video_that_is_empty(part, said, capsys):
    assert said in failed([*ONE, "--start", part[0], "--end", part[1]], capsys)


def test_the_list_of_questions_that_fail(tmp_path, capsys):
    """Each line of a list of kinds of faults, named before any work; what can be asked gets an answer."""
    good = {"video": str(CLIP.path), "query": CLIP.group.relevant.query}
    rows = [good, {**good, "query": "the <|video_pad|> ring grows"}, {**good, "start": 99}, good]
    asked, out = tmp_path / "q.jsonl", tmp_path / "a.jsonl"
    for bad in ([1], True):
        asked.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {**good, "start": bad}]))
        assert "q.jsonl, line 5: the field 'start' is" in failed(["infer", "--questions", asked, "--out", out], capsys)
        assert not out.exists()
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SystemExit, match="0"):
        main(["infer", "--questions", str(asked), "--out", str(out)])
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert ["error" in row for row in found] == [False, False, True, False]


def test_a_byte_order_mark_and_carriage_returns_change_nothing(tmp_path, capsys):
    clip = sample_world()[0]
    rows = [{"video": str(clip.path), "query": sample.query} for sample in clip.group]
    lines = [json.dumps(row) for row in rows]
    for name, text in (("plain", "\n".join(lines)), ("marked", "\ufeff" + "\r\n".join(lines) + "\r\n")):
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        with pytest.raises(SystemExit) as ended:
            main(
                [
                    "infer",
                    "--model",
                    str(BASE),
                    "--questions",
                    str(tmp_path / name),
                    "--out",
                    str(tmp_path / f"{name}.out"),
                ]
            )
        assert ended.value.code == 0, capsys.readouterr().err
    assert (tmp_path / "plain.out").read_text() == (tmp_path / "marked.out").read_text()


def test_a_query_with_an_unpaired_surrogate_is_answered_and_written(tmp_path):
    """In a process of its own: pytest-xdist cannot send what is logged here from process to process."""
    row = {"video": str(CLIP.path), "query": "the red ring \ud800 grows"}
    (tmp_path / "q.jsonl").write_text(json.dumps(row) + "\n")
    asked = ["infer", "--questions", str(tmp_path / "q.jsonl"), "--out", str(tmp_path / "a.jsonl")]
    twice = f"""
import contextlib
from rarft.cli import main
if __name__ == "__main__":
    with contextlib.suppress(SystemExit):
        main({asked!r})
    main({asked!r})  # what was written is read again
"""
    (tmp_path / "twice.py").write_text(twice)
    done = subprocess.run([sys.executable, tmp_path / "twice.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "a.jsonl").read_text().splitlines()
    assert json.loads(line)["query"] == row["query"]


def test_outputs_that_cannot_be(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    for out in ("file", "file/below"):
        said = failed(["world", "--out", out, "--clips", "1", "--processes", "1"], capsys)
        assert "file" in said and (tmp_path / "file").read_text() == "mine"
