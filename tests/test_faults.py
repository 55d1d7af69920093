"""A tenth of the assaults of benchmarks/faults, seeded: what they found once stays fixed."""

import sys

import pytest

from rarft.course import ROOT

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

    from rarft.video import read_video

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
