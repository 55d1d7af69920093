"""`rarft evaluate --server`: the same report from a model behind a server, which may fail in the middle."""

import json

import pytest

from coursekit import ROOT
from rarft.cli import main
from rarft.models.load import settings_of
from rarft.system.files import BASE

DATA = str(ROOT / "data" / "samples")
REFUSAL = "<think> - </think><answer> no such segment </answer><correction> NIL </correction>"


def evaluate(capsys, *arguments):
    """Exit status of the command, and what it said."""
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "--data", DATA, *map(str, arguments)])
    return end.value.code, "".join(capsys.readouterr())


def rows_of(out):
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def test_a_server_is_evaluated_and_asked_the_rest_after_it_failed(serve, tmp_path, capsys):
    answered = []

    def reply(messages):
        answered.append(messages)
        return REFUSAL if len(answered) != 4 else 401

    server, out = serve(reply), tmp_path / "out"
    asked = ["--server", server.url, "--model", "mine", "--settings", BASE, "--limit", 6]
    asked += ["--batch", 1, "--out", out]
    status, said = evaluate(capsys, *asked)
    assert status == 1 and server.url in said and len(rows_of(out)) == 3
    status, said = evaluate(capsys, *asked)
    assert status == 0 and len(server.asked) == 7, "nothing is asked twice"
    assert [row["completion"] for row in rows_of(out)] == [REFUSAL] * 6
    assert all(row["refusal_probability"] is None for row in rows_of(out))
    report = json.loads((out / "report.json").read_text())
    assert report["model"] == "mine" and report["rows"]["mine"]["refused"] == 1
    assert "auroc" not in report["rows"]["mine"] and "rt_iou_exact" in report["rows"]["mine"]
    kept = json.loads((out / "asked.json").read_text())
    assert (kept["server"], kept["max_new_tokens"]) == (server.url, settings_of(BASE).max_new_tokens)
    assert evaluate(capsys, *asked, "--fps", 1)[0] == 1
    status, said = evaluate(capsys, "--limit", 6, "--out", out)
    assert status == 1 and f"server '{server.url}'" in said, "another model's answers are not mixed with them"


def test_probes_are_sent_to_the_server(serve, tmp_path, capsys):
    server = serve(lambda messages: REFUSAL)
    asked = ["--server", server.url, "--model", "mine", "--limit", 4, "--probes", "--out", tmp_path]
    assert evaluate(capsys, *asked)[0] == 0 and len(server.asked) == 5 * 4
    frames = [messages[-1]["content"][0]["video_url"]["url"] for messages in server.asked]
    assert len(set(frames[:4])) == 2 and not set(frames[:4]) & set(frames[8:12]), "blank videos are others"
    assert list(json.loads((tmp_path / "report.json").read_text())["probes"])[:2] == ["as it is", "blank"]


@pytest.mark.parametrize("option", ["--processes 2", "--features x", "--device cpu", "--dtype float32"])
def test_options_of_a_local_model_do_not_go_with_a_server(option, tmp_path, capsys):
    asked = ["--server", "http://127.0.0.1:9/v1", "--model", "mine", "--out", tmp_path / "out"]
    status, said = evaluate(capsys, *asked, *option.split())
    assert status == 1 and option.split()[0] in said and "--server" in said and not (tmp_path / "out").exists()


def test_settings_go_with_a_server(tmp_path, capsys):
    status, said = evaluate(capsys, "--settings", BASE, "--out", tmp_path / "out")
    assert status == 1 and "--settings: only with --server" in said
