import json
import shutil

import pytest
import torch

from rarft.inference import LocalModel, infer_all, read_questions
from rarft.models import VisionCache, generate
from rarft.models.vision_cache import readable_groups
from rarft.schema import Crop
from rarft.video import read_video


@pytest.fixture
def questions(world, tmp_path):
    rows = [{"video": str(c.path), "query": c.samples[i % 2].query, "id": i} for i, c in enumerate(world[:4])]
    rows.insert(2, {"video": str(tmp_path / "gone.mp4"), "query": "the red ring grows"})
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_answers_come_in_order_go_on_after_a_kill_and_a_bad_video_is_named(base, questions, tmp_path):
    model, processor = base
    asked = read_questions(questions)
    cache = VisionCache(model, processor)
    counts = infer_all(LocalModel(model, processor, cache), asked, tmp_path / "a.jsonl", batch_size=3)
    assert counts == {"answered": 4, "errors": 1, "kept": 0} and cache.encoded == 4
    assert not cache._memory, "memory does not grow with the list"
    whole = (tmp_path / "a.jsonl").read_text()
    rows = [json.loads(line) for line in whole.splitlines()]
    assert [row.get("id") for row in rows] == [0, 1, None, 2, 3] and "gone.mp4" in rows[2]["error"]
    alone = generate(model, processor, [read_video(asked[4]["video"])], [asked[4]["query"]])[0]
    assert rows[4]["completion"] == alone
    (tmp_path / "a.jsonl").write_text("".join(whole.splitlines(keepends=True)[:2]) + '{"video": "ha')
    counts = infer_all(LocalModel(model, processor, cache), asked, tmp_path / "a.jsonl", batch_size=3)
    assert counts["kept"] == 2 and (tmp_path / "a.jsonl").read_text() == whole
    with pytest.raises(ValueError, match="line 1"):
        infer_all(LocalModel(model, processor, cache), asked[1:], tmp_path / "a.jsonl")


def test_errors_can_be_tried_again(base, questions, tmp_path):
    model, processor = base
    asked, output = read_questions(questions), tmp_path / "a.jsonl"
    answer = LocalModel(model, processor, VisionCache(model, processor))
    infer_all(answer, asked[:4], output, batch_size=3)
    before = output.read_text().splitlines()
    assert infer_all(answer, asked[:4], output, retry=True) == {"answered": 0, "errors": 1, "kept": 3}
    assert output.read_text().splitlines() == before
    shutil.copyfile(asked[0]["video"], asked[2]["video"])  # it was away for a moment
    assert infer_all(answer, asked[:4], output) == {"answered": 0, "errors": 0, "kept": 4}
    assert infer_all(answer, asked, output, retry=True) == {"answered": 2, "errors": 0, "kept": 3}
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert "error" not in rows[2] and rows[2]["verdict"] and [row.get("id") for row in rows] == [0, 1, None, 2, 3]
    assert [json.dumps(rows[n], ensure_ascii=False) for n in (0, 1, 3)] == [before[n] for n in (0, 1, 3)]


def test_bad_questions_are_named(tmp_path):
    path = tmp_path / "q.jsonl"
    for text, message in (('{"video": "a.mp4"}', "line 1.*'query'"), ("{", "line 1: not JSON"), ("[1]", "'video'")):
        path.write_text(text + "\n")
        with pytest.raises(ValueError, match=message):
            read_questions(path)


def test_features_leave_the_memory_and_come_back_from_disk(base, world, tmp_path):
    model, processor = base
    cache = VisionCache(model, processor, folder=tmp_path, in_memory=2)
    videos = [Crop(str(c.path)) for c in world[:4]]
    first = cache.get(videos)
    again = cache.get(videos + videos[:1])
    assert cache.encoded == 4 and len(cache._memory) == 2 and again[0] is again[4]
    assert all((a.embeds == b.embeds).all() for a, b in zip(first, again, strict=False))
    numbers = max(sum(tensor.nbytes for tensor in (f.embeds, *f.deepstack)) for f in first)
    assert all(file.stat().st_size < numbers + 10_000 for file in tmp_path.iterdir())  # not those of its whole batch


def test_without_a_folder_what_left_the_memory_is_encoded_again(base, world):
    model, processor = base
    cache = VisionCache(model, processor, in_memory=2)
    videos = [Crop(str(c.path)) for c in world[:3]]
    first = cache.get(videos)
    assert cache.encoded == 3 and len(cache._memory) == 2
    (again,) = cache.get(videos[:1])
    assert cache.encoded == 4 and torch.allclose(again.embeds, first[0].embeds, atol=1e-4)


def test_groups_with_broken_videos_are_left_out_or_stop(base, world, tmp_path, caplog):
    model, processor = base
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    import dataclasses

    groups = [list(c.samples) for c in world[:3]]
    groups[1] = [dataclasses.replace(s, video=str(empty)) for s in groups[1]]
    cache = VisionCache(model, processor)
    assert readable_groups(groups, cache, on_bad_video="skip") == [groups[0], groups[2]]
    assert "empty.mp4" in caplog.text and "1 of 3" in caplog.text
    for policy, message in (("stop", "empty.mp4"), ("ignore", "choose stop or skip")):
        with pytest.raises(ValueError, match=message):
            readable_groups(groups, cache, on_bad_video=policy)
    with pytest.raises(ValueError, match="none of 1"):
        readable_groups(groups[1:2], cache, on_bad_video="skip")
