"""A tenth of the assaults of benchmarks/faults, seeded: what they found once stays fixed."""

import sys

import pytest
from bs4 import BeautifulSoup

from coursekit import ROOT
from rarft.system.errors import VideoError
from rarft.video import read_video

FOLDER = ROOT / "benchmarks" / "faults"


@pytest.fixture(scope="module", autouse=True)
def importable():
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def test_damaged_videos():
    import videos

    found = videos.read_all(120, seed=1, limit=5)
    assert not found["faults"] and not found["connections"] and not found["processes_left"]
    assert found["worst"]["seconds"] < 8 and found["worst"]["megabytes"] < videos.MEGABYTES
    kinds = found["outcomes"]
    assert kinds["whole"]["frames"] >= 13 and "frames" in kinds["times"] and len(kinds) >= 10


def test_a_file_with_frames_and_no_times_is_named(tmp_path):
    import damaged_videos

    path = next(p for _, p in damaged_videos.damaged_ones(tmp_path, 0) if p.name == "damaged_50.mp4")
    with pytest.raises(VideoError, match=path.name):
        read_video(path)


def test_generated_completions():
    import texts

    faults: dict[str, str] = {}
    assert texts.completions(4000, 1, faults) == 0 and not faults


def test_generated_rows():
    import texts

    faults: dict[str, str] = {}
    assert texts.rows(4000, 1, faults) > 1000 and not faults


def test_the_assault_notices_what_is_wrong(monkeypatch):
    """A reader that raises, and one that returns nonsense, do not pass."""
    import texts
    import videos

    def broken(*_, **__):
        raise KeyError("q")

    monkeypatch.setattr(texts, "read_released", broken)
    monkeypatch.setattr(texts, "parse_response", broken)
    faults: dict[str, str] = {}
    texts.rows(50, 0, faults)
    texts.completions(200, 0, faults)
    assert any("read_released: KeyError" in name for name in faults)
    assert any("parse_response" in name for name in faults)
    clip = read_video(next((ROOT / "data" / "samples").rglob("*.mp4")))
    assert videos.wrong_with(clip) == ""
    object.__setattr__(clip, "duration", float("inf"))
    object.__setattr__(clip, "seconds", clip.seconds[::-1])
    assert videos.wrong_with(clip) == "times, duration"


def test_hostile_texts_in_pages_and_tables(tmp_path):
    """Without a browser: what is made holds no element that a text made; .ci/run opens the pages."""
    import pages

    written = {make: make(tmp_path).read_text() for make in (pages.report, pages.marks, pages.widgets)}
    found = pages.tables(tmp_path)
    assert found["tables"] == 1 and found["rows"] == 2 + len(pages.ATTACKS) + 3 and len(found["numbers_of_cells"]) == 1
    assert not found["markup"]
    for make, page in written.items():
        made = BeautifulSoup(page, "html.parser")
        assert not made.find_all(["script", "iframe", "svg", "base", "link", "plaintext"]), make.__name__
        assert not [tag for tag in made.find_all(True) if any(name.startswith("on") for name in tag.attrs)]
        assert all(image["src"].startswith("data:") for image in made.find_all("img"))
        assert make is pages.widgets or 'http-equiv="Content-Security-Policy"' in page
