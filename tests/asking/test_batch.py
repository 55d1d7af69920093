import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from rarft.asking import Answer, LocalAsker, infer_all, read_questions
from rarft.asking.server import ServerAsker
from rarft.models.vision_cache import readable_groups
from rarft.schema import Crop, Group
from rarft.system.errors import InputError, ServerError
from rarft.video import GuardedReader, read_video


class Saying:
    """An asker that gives an answer to every query, then raises the error if there is one."""

    def __init__(self, answer, error=None):
        self.answer, self.error = answer, error

    def ask(self, crops, queries):
        for _ in queries:
            yield self.answer
            if self.error:
                raise self.error


NOBODY = SimpleNamespace(ask=lambda crops, queries: iter(pytest.fail("asked") for _ in queries))


@pytest.fixture
def questions(world, tmp_path):
    rows = [{"video": str(c.path), "query": list(c.group)[i % 2].query, "id": i} for i, c in enumerate(world[:4])]
    rows.insert(2, {"video": str(tmp_path / "gone.mp4"), "query": "the red ring grows"})
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_answers_come_in_order_go_on_after_a_kill_and_a_bad_video_is_named(base, questions, tmp_path):
    asked = read_questions(questions)
    asker = LocalAsker(base.with_cache(in_memory=3), batch_size=3, scored=False)
    counts = infer_all(asker, asked, tmp_path / "a.jsonl")
    cache = asker.video_model.cache
    assert counts == {"answered": 4, "errors": 1, "kept": 0} and cache.encoded == 4
    assert len(cache._memory) == 3, "memory does not grow with the list"
    whole = (tmp_path / "a.jsonl").read_text()
    rows = [json.loads(line) for line in whole.splitlines()]
    assert [row.get("id") for row in rows] == [0, 1, None, 2, 3] and "gone.mp4" in rows[2]["error"]
    alone = base.generate([read_video(asked[4]["video"])], [asked[4]["query"]])[0]
    assert rows[4]["completion"] == alone
    (tmp_path / "a.jsonl").write_text("".join(whole.splitlines(keepends=True)[:2]) + '{"video": "ha')
    counts = infer_all(asker, asked, tmp_path / "a.jsonl")
    assert counts["kept"] == 2 and (tmp_path / "a.jsonl").read_text() == whole
    with pytest.raises(ValueError, match="line 1"):
        infer_all(asker, asked[1:], tmp_path / "a.jsonl")


def test_errors_can_be_tried_again(base, questions, tmp_path):
    asked, output = read_questions(questions), tmp_path / "a.jsonl"
    asker = LocalAsker(base, batch_size=3, scored=False)
    infer_all(asker, asked[:4], output)
    before = output.read_text().splitlines()
    assert infer_all(asker, asked[:4], output, retry=True) == {"answered": 0, "errors": 1, "kept": 3}
    assert output.read_text().splitlines() == before
    shutil.copyfile(asked[0]["video"], asked[2]["video"])  # it was away for a moment
    assert infer_all(asker, asked[:4], output) == {"answered": 0, "errors": 0, "kept": 4}
    assert infer_all(asker, asked, output, retry=True) == {"answered": 2, "errors": 0, "kept": 3}
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert "error" not in rows[2] and rows[2]["verdict"] and [row.get("id") for row in rows] == [0, 1, None, 2, 3]
    assert [json.dumps(rows[n], ensure_ascii=False) for n in (0, 1, 3)] == [before[n] for n in (0, 1, 3)]


SECONDS = [[1], True, "1", -1, float("nan"), float("inf"), 10**400, {"s": 1}]
WRONG = [
    ({}, "'video' is missing"),
    ({"video": "a.mp4"}, "'query' is missing"),
    *(({"video": video, "query": "q"}, "'video'") for video in ("", "  ", 5, None, ["a.mp4"])),
    *(({"video": "a.mp4", "query": query}, "'query'") for query in ("", " \n", 5, True, None, ["q"])),
    *(({"video": "a.mp4", "query": "q", "start": value}, "'start'") for value in SECONDS),
    *(({"video": "a.mp4", "query": "q", "end": value}, "'end'") for value in SECONDS),
    *(({"video": "a.mp4", "query": "q", **part}, "'start'.*'end'") for part in ({"start": 3, "end": 2}, {"end": 0})),
    *(({"video": "a.mp4", "query": "q", name: "mine"}, f"'{name}'.*rename") for name in ("answer", "error", "note")),
    (5, "an object"),
    ([], "an object"),
]


@pytest.mark.parametrize("row, message", WRONG, ids=lambda part: str(part)[:60])
def test_bad_questions_are_named_before_any_work(row, message, tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"video": "a.mp4", "query": "q"}) + "\n\n" + json.dumps(row) + "\n")
    with pytest.raises(InputError, match=f"q.jsonl, line 3: .*{message}"):
        read_questions(path)
    with pytest.raises(InputError, match=f"question 2: .*{message}"):
        infer_all(NOBODY, [{"video": "a.mp4", "query": "q"}, row], tmp_path / "a.jsonl")
    assert not (tmp_path / "a.jsonl").exists()


def test_good_questions_are_kept_as_they_are(tmp_path):
    rows = [
        {"video": "a.mp4", "query": " q ", "start": None, "end": 1e-9, "id": [float("inf")]},
        {"video": "b", "query": "q", "start": 0, "end": 2**31},
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_questions(tmp_path / "q.jsonl") == rows


def test_what_shows_when_a_video_is_read_is_an_error_in_its_line(base, world, tmp_path):
    good = {"video": str(world[0].path), "query": world[0].group.relevant.query}
    bad = [
        {**good, "video": name}
        for name in ("a\0b.mp4", "a\ud800.mp4", "x" * 5000, str(tmp_path), "https://x.org/a.mp4")
    ]
    bad += [{**good, "start": 1e300}, {**good, "start": 500, "end": 501}]
    asked = [good, *bad, {**good, "query": "the <|video_pad|> ring </s> grows"}, good]
    rows = []
    with GuardedReader() as reader:
        for asker in (
            LocalAsker(base.with_cache(reader=reader), batch_size=4),
            ServerAsker("m", "http://127.0.0.1:9/v1", reader=reader),
        ):
            output = tmp_path / f"{len(rows)}.jsonl"
            given = asked if isinstance(asker, LocalAsker) else bad
            counts = infer_all(asker, given, output)
            assert counts == {"answered": len(given) - len(bad), "errors": len(bad), "kept": 0}
            assert infer_all(NOBODY, given, output)["kept"] == len(given), "nothing is asked twice"
            rows.append([json.loads(line) for line in output.read_text(errors="surrogatepass").splitlines()])
    assert [row["error"] for row in rows[0][1:-2]] == [row["error"] for row in rows[1]]
    assert all("the decoder crashed" not in row["error"] for row in rows[1])
    assert rows[0][0]["completion"] == rows[0][-1]["completion"] and rows[0][-2]["verdict"]


def test_rows_of_another_list_are_named_and_stay(tmp_path):
    questions = [{"video": "a.mp4", "query": str(number), "score": float("nan")} for number in range(3)]
    asker, output = Saying(Answer("<answer> no </answer>")), tmp_path / "a.jsonl"
    infer_all(asker, questions, output)
    before = output.read_text()
    assert infer_all(asker, questions, output)["kept"] == 3, "a NaN is the same NaN"
    for others in (questions[:2], questions[::-1]):
        for retry in (False, True):
            with pytest.raises(InputError, match="a.jsonl, line [13]: answers another question"):
                infer_all(asker, others, output, retry=retry)
    asked = tmp_path / "q.jsonl"
    asked.write_text("".join(json.dumps(question) + "\n" for question in questions))
    with pytest.raises(InputError, match="line 1: the field 'verdict' is missing"):
        infer_all(asker, questions, asked)  # --out is the list itself
    assert output.read_text() == before


def test_a_server_that_goes_while_errors_are_tried_again_takes_no_answer_with_it(tmp_path):
    questions = [{"video": "a.mp4", "query": str(number)} for number in range(3)]
    output = tmp_path / "a.jsonl"
    infer_all(Saying(Answer(error="busy")), questions, output)
    with pytest.raises(ServerError):
        infer_all(Saying(Answer("x"), ServerError("gone")), questions, output, retry=True)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert ["error" in row for row in rows] == [False, True, True]


def test_features_leave_the_memory_and_come_back_from_disk(base, world, tmp_path):
    cache = base.with_cache(folder=tmp_path, in_memory=2).cache
    videos = [Crop(str(c.path)) for c in world[:4]]
    first = cache.get(videos)
    again = cache.get(videos + videos[:1])
    assert cache.encoded == 4 and len(cache._memory) == 2 and again[0] is again[4]
    assert all((a.embeds == b.embeds).all() for a, b in zip(first, again, strict=False))
    numbers = max(sum(tensor.nbytes for tensor in (f.embeds, *f.deepstack)) for f in first)
    assert all(file.stat().st_size < numbers + 10_000 for file in tmp_path.iterdir())  # not those of its whole batch


def test_without_a_folder_what_left_the_memory_is_encoded_again(base, world):
    cache = base.with_cache(in_memory=2).cache
    videos = [Crop(str(c.path)) for c in world[:3]]
    first = cache.get(videos)
    assert cache.encoded == 3 and len(cache._memory) == 2
    (again,) = cache.get(videos[:1])
    assert cache.encoded == 4 and torch.allclose(again.embeds, first[0].embeds, atol=1e-4)


def test_groups_with_broken_videos_are_left_out_or_stop(base, world, tmp_path, caplog):
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    import dataclasses

    groups = [c.group for c in world[:3]]
    groups[1] = Group.of(dataclasses.replace(s, video=str(empty)) for s in groups[1])
    cache = base.cache
    assert readable_groups(groups, cache, on_bad_video="skip") == [groups[0], groups[2]]
    assert "empty.mp4" in caplog.text and "1 of 3" in caplog.text
    for policy, message in (("stop", "empty.mp4"), ("ignore", "choose stop or skip")):
        with pytest.raises(ValueError, match=message):
            readable_groups(groups, cache, on_bad_video=policy)
    with pytest.raises(ValueError, match="none of 1"):
        readable_groups(groups[1:2], cache, on_bad_video="skip")


@pytest.mark.parametrize("name", ["video_start", "video_end", "clip_start", "clip_end"])
def test_a_part_in_the_words_of_a_data_set_is_not_ignored(tmp_path, name):
    (tmp_path / "q.jsonl").write_text(json.dumps({"video": "v.mp4", "query": "q", name: 3}) + "\n")
    with pytest.raises(InputError, match=f"line 1: the field '{name}' is not read here; write 'start' and 'end'"):
        read_questions(tmp_path / "q.jsonl")


def test_an_asker_says_which_weights_and_which_sampling_it_asks(base):
    """Without this, a second evaluation in the same folder would report the answers of the first model."""
    plain, slow = LocalAsker(base), LocalAsker(base.with_cache(fps=1.0))
    assert plain.about["model"] == base.model.name_or_path and plain.about["fps"] == 2.0
    changed = slow.with_change(lambda clip: clip)
    assert slow.about["fps"] == slow.video_model.cache.video["fps"] == changed.video_model.cache.video["fps"] == 1.0
    base.model.get_input_embeddings().weight.data[7] += 1
    trained = LocalAsker(base).about["model"]
    assert trained.startswith(f"{plain.about['model']}, weights ") and trained == LocalAsker(base).about["model"]
    base.add_lora(rank=1)
    assert LocalAsker(base).about["model"] not in (trained, plain.about["model"])


def test_retried_rows_are_written_together(tmp_path, monkeypatch):
    questions = [{"video": f"{n}.mp4", "query": "q"} for n in range(20)]
    infer_all(Saying(Answer(error="cut")), questions[:15], tmp_path / "a.jsonl")
    written = []
    monkeypatch.setattr("rarft.asking.writer._rewrite", lambda path, rows, form: written.append(list(rows)) or 0)
    infer_all(Saying(Answer("<answer>1 to 2</answer>")), questions, tmp_path / "a.jsonl", retry=True)
    assert [len(rows) for rows in written] == [15] and not any("error" in row for row in written[0])
