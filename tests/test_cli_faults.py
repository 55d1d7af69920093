"""Every command, every option, fed what it cannot take: exit status not 0, one sentence that names it, no traceback."""

import json

import pytest

from rarft.cli import _parser, main
from rarft.course import sample_world
from rarft.files import BASE

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
    commands = next(action for action in _parser()._actions if action.dest == "command").choices
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
def test_numbers_that_are_none(command, option, kind, count, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (*NUMBERS, *(() if option in FROM_ZERO else ("0",)), *(("1.5",) if kind == "number" else ())):
        given = [f"{option}={number}"] if count == 1 else [option, *[number] * count]
        said = failed([command, *NEEDED.get(command, []), *given], capsys)
        assert option in said, (number, said)
    assert not list(tmp_path.iterdir())


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
def test_files_that_are_none(command, files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in files:
        said = failed([*command, name], capsys)
        assert name.removesuffix(".json") in said, (name, said)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.json*"))


def test_a_byte_order_mark_and_carriage_returns_change_nothing(tmp_path, capsys):
    clip = sample_world()[0]
    rows = [{"video": str(clip.path), "query": sample.query} for sample in clip.samples]
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


def test_a_query_with_an_unpaired_surrogate_is_answered_and_written(tmp_path, capsys):
    row = {"video": str(sample_world()[0].path), "query": "the red ring \ud800 grows"}
    (tmp_path / "q.jsonl").write_text(json.dumps(row) + "\n")
    for _ in range(2):  # and read again
        with pytest.raises(SystemExit) as ended:
            main(["infer", "--questions", str(tmp_path / "q.jsonl"), "--out", str(tmp_path / "a.jsonl")])
        assert ended.value.code == 0, capsys.readouterr().err
    (line,) = (tmp_path / "a.jsonl").read_text().splitlines()
    assert json.loads(line)["query"] == row["query"]


def test_outputs_that_cannot_be(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    for out in ("file", "file/below"):
        said = failed(["world", "--out", out, "--clips", "1", "--processes", "1"], capsys)
        assert "file" in said and (tmp_path / "file").read_text() == "mine"
