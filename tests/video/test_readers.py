"""decord and torchcodec, chosen in place of PyAV: the same frames to the byte at the same times, or an error.

torchcodec was run with 0.12 on torch 2.13 and FFmpeg 5.1; these tests skip it where it does not load."""

import sys

import numpy as np
import pytest

from rarft.cli import main
from rarft.schema import Crop
from rarft.system.errors import InputError
from rarft.training.recipe import read_recipe
from rarft.video import GuardedReader, VideoError, read_video
from rarft.video.readers import READERS, check_reader


@pytest.fixture(params=[name for name in READERS if name != "pyav"])
def reader(request):
    try:
        return check_reader(request.param)
    except InputError as error:
        pytest.skip(str(error))


FILES = {
    "mp4": ("mp4", "libx264", {"frames": 90}),
    "mp4, uneven": ("mp4", "libx264", {"even": False, "movflags": "faststart"}),
    "mkv": ("matroska", "libx265", {"sound": 1}),
    "webm": ("webm", "libvpx", {}),
    "avi": ("avi", "mpeg4", {}),
    "flv": ("flv", "libx264", {}),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("options", [{}, {"fps": 10}, {"start": 1.0, "end": 1.9, "fps": 4}, {"factor": 16}])
def test_frames_and_times_are_those_of_pyav(reader, name, options, written):
    container, codec, choices = FILES[name]
    path = written("video", container, codec, **choices)
    ours, theirs = read_video(path, **options), read_video(path, **options, reader=reader)
    np.testing.assert_array_equal(theirs.frames, ours.frames)
    np.testing.assert_array_equal(theirs.seconds, ours.seconds)
    assert theirs.duration == ours.duration


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)])
def test_quarter_turns(reader, matrix, written, matrix_put):
    path = matrix_put(written("video.mp4"), matrix)
    np.testing.assert_array_equal(read_video(path, reader=reader).frames, read_video(path).frames)


def test_a_guarded_reader_uses_the_library_and_says_where_it_is(reader, written):
    said = []
    path = written("video.mp4", frames=90)
    read_video(path, reader=reader, start=6.0, on_frames=lambda *progress: said.append(progress))
    assert said[-1] == (6, 6)
    with GuardedReader(reader=reader) as guarded:
        np.testing.assert_array_equal(guarded(path).frames, read_video(path).frames)


DIFFERENT = {
    "mirrored": ("mp4", "libx264", (-1, 0, 0, 1), "without the mirroring", ("decord", "torchcodec")),
    "turned by 89.5 degrees": ("mp4", "libx264", (0.0087, 1, -1, 0.0087), "as it is stored", ("decord",)),
    "ts": ("mpegts", "libx264", None, "in another order|late", ("decord", "torchcodec")),
    "webm, live": ("webm", "libvpx", {"live": "1"}, "broken metadata", ("decord",)),
    "avi without times": ("avi", "libx264", None, "late|no more frames", ("decord", "torchcodec")),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_video_that_a_library_shows_differently_is_an_error(reader, name, written, matrix_put):
    container, codec, change, reason, libraries = DIFFERENT[name]
    path = written("video", container, codec, **(change if isinstance(change, dict) else {}))
    if isinstance(change, tuple):
        matrix_put(path, change)
    if reader in libraries:
        with pytest.raises(VideoError, match=f"video: {reader} does not read .*{reason}.*choose the reader pyav"):
            read_video(path, reader=reader)
    else:
        np.testing.assert_array_equal(read_video(path, reader=reader).frames, read_video(path).frames)


def test_a_cut_file_is_the_same_error(reader, written):
    path = written("video.mp4", movflags="faststart")
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(VideoError, match="is cut"):
        read_video(path, reader=reader)


def test_features_of_different_readers_are_kept_apart(reader, base, tmp_path, written):
    crop = Crop(str(written("video.mp4")))
    folder = tmp_path / "features"
    for number, one in enumerate((read_video, GuardedReader(), GuardedReader(reader=reader))):
        base.with_cache(folder=folder, reader=one).cache.fill([crop])
        assert len(list(folder.iterdir())) == (1, 1, 2)[number]
        if number:
            one.close()


RECIPE = ["--train_data", "x.json", "--output_dir", "out", "--model_name_or_path", "m", "--use_cpu", "--bf16", "false"]
USES = {
    "read_video": lambda name: read_video("video.mp4", reader=name),
    "GuardedReader": lambda name: GuardedReader(reader=name),
    "recipe": lambda name: read_recipe([*RECIPE, "--reader", name]),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", ["decord", "torchcodec"])
def test_a_reader_that_is_not_installed_is_an_error_before_any_work(use, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=f"the reader {name} needs the package {name}: pip install {name}"):
        USES[use](name)
    with pytest.raises(InputError, match="'opencv' is unknown; choose one of pyav, decord, torchcodec"):
        USES[use]("opencv")


COMMANDS = {
    "infer": ["--video", "no.mp4", "--query", "q"],
    "evaluate": ["--data", "no.json", "--out", "out"],
    "demo": [],
    "reproduce": ["hi-charades", "--data", "no"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_take_a_reader(command, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(SystemExit):
        main([command, *COMMANDS[command], "--reader", "decord"])
    assert "argument --reader: the reader decord needs the package decord" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert read_recipe(RECIPE)[0].reader == "pyav"
