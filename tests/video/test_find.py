"""A data set's names, found on this disk as other people store them."""

import os
import time

import pytest

from rarft.video import find, find_video
from rarft.video.find import video_id


@pytest.mark.parametrize(
    "there, name, found",
    [
        ("x.mp4", "x.mp4", "x.mp4"),
        ("x.mp4", "/disk/of/the/authors/x.mp4", "x.mp4"),
        ("x.mp4 y.mp4", "x.avi", "x.mp4"),
        ("x.MP4", "x", "x.MP4"),
        ("x.Mp4", "x.mp4", "x.Mp4"),
        ("x.webm", "x.mp4", "x.webm"),
        ("x.mp4", r"C:\videos\x.mp4", "x.mp4"),
        ("x.webm", r"C:\videos\x", "x.webm"),
        ("sub/x.mp4", r"sub\x.mp4", "sub/x.mp4"),
        ("sub/x.mp4", "sub/x", "sub/x.mp4"),
        ("sub/x.webm", "sub/x.mp4", "sub/x.webm"),
        ("x/ x.mp4", "x", "x.mp4"),
        ("x.mp4/ x.webm", "x.mp4", "x.webm"),
        ("x.mp4/", "x.mp4", None),
        ("x x.mp4", "x", "x"),  # as written
        ("x.webm x.mp4", "x", "x.mp4"),  # in the order of VIDEO_SUFFIXES
        ("x.avi x.MKV x.mkv", "x.mp4", "x.MKV"),
        ("x.mp4 x.MKV", "x.mkv", "x.MKV"),
        ("x.mp4.mkv x.mkv", "x.mp4", "x.mp4.mkv"),
        ("N_60.0_210.0.mp4 N_60.0.mp4", "N_60.0_210.0", "N_60.0_210.0.mp4"),
        ("N_60.0_210.mp4", "N_60.0_210.0", None),
        ("x.txt x.json", "x", None),
        ("x.txt", "x.mp4", None),
        ("x.mp4", "", None),
        ("x.mp4", "y" * 5000, None),
        ("x.mp4", "a\0b", None),
    ],
)
def test_a_video_is_found_as_others_store_it(there, name, found, tmp_path):
    for file in there.split():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).mkdir() if file.endswith("/") else (tmp_path / file).touch()
    assert find_video(tmp_path, name) == (tmp_path / found if found else None)
    assert find_video(tmp_path / "none", name) is None


def test_an_absolute_path_is_itself(tmp_path):
    (tmp_path / "x.mp4").touch()
    assert find_video("elsewhere", str(tmp_path / "x.mp4")) == tmp_path / "x.mp4"
    assert find_video("elsewhere", str(tmp_path / "x.avi")) == tmp_path / "x.mp4"


def test_a_folder_is_listed_once_for_many_ids_and_again_when_it_changes(tmp_path, monkeypatch):
    for number in range(50):
        (tmp_path / f"{number}.mkv").touch()
    listed = []
    monkeypatch.setattr(find.os, "scandir", lambda folder, scan=os.scandir: listed.append(folder) or scan(folder))
    past = time.time() - 60
    os.utime(tmp_path, (past, past))
    assert all(find_video(tmp_path, str(number)) for number in range(50)) and not find_video(tmp_path, "new")
    assert len(listed) == 1
    (tmp_path / "new.mkv").touch()
    assert find_video(tmp_path, "new")
    (tmp_path / "newer.mkv").touch()
    assert find_video(tmp_path, "newer"), "a change within the same tick of the file system"


def test_ids():
    assert [video_id(name) for name in (r"C:\v\x.MP4", "/v/N_60.0_210.0", "x.txt")] == ["x", "N_60.0_210.0", "x.txt"]
