"""Nothing but a video container reaches a demuxer, so that no playlist can open an address or another file.

What proves it is the error, which comes before FFmpeg is asked. FFmpeg is also limited to files: the listener
would notice if both were gone.
"""

import os
import socket
import threading

import av
import numpy as np
import pytest

from rarft.video import VideoError, read_video
from rarft.video.container import container_of
from rarft.world.render import write_video


@pytest.fixture
def listener():
    """An address, and what has connected to it."""
    server = socket.create_server(("127.0.0.1", 0))
    connections = []

    def accept():
        while True:
            try:
                connections.append(server.accept()[1])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    yield f"127.0.0.1:{server.getsockname()[1]}", connections
    server.close()


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://{address}/a.ts\n#EXT-X-ENDLIST\n",
    "hls after a mark": "\ufeff#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:5,\nhttp://{address}/a.ts\n",
    "concat": "ffconcat version 1.0\nfile 'http://{address}/a.mp4'\n",
    "local": "ffconcat version 1.0\nfile '{folder}/secret.mp4'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    "<Representation><BaseURL>http://{address}/a.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "rtsp redirect": "[Reference]\nRef1=http://{address}/a.asf\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".avi"])
def test_a_playlist_is_refused_and_nothing_is_opened(name, suffix, tmp_path, listener):
    address, connections = listener
    write_video(np.zeros((8, 64, 64, 3), np.uint8), tmp_path / "secret.mp4")
    path = tmp_path / f"video{suffix}"
    path.write_text(PLAYLISTS[name].format(address=address, folder=tmp_path), encoding="utf-8")
    with pytest.raises(VideoError, match=f"video{suffix}: not a video container"):
        read_video(path)
    assert not connections


def test_pipes_folders_pictures_and_texts_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "text.mp4").write_text("a film about cats")
    (tmp_path / "picture.mp4").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    for name, reason in (
        ("pipe.mp4", "not a regular file"),
        ("text.mp4", "not a video container"),
        ("picture.mp4", "not a video container"),
        ("loop.mp4", "no such file"),
    ):
        with pytest.raises(VideoError, match=f"{name}: {reason}"):
            read_video(tmp_path / name)


def test_a_name_that_looks_like_a_protocol_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(np.zeros((8, 64, 64, 3), np.uint8), tmp_path / "plain.mp4").rename("concat:plain.mp4|x")
    assert len(read_video("concat:plain.mp4|x").frames) == 4


@pytest.mark.parametrize(
    "suffix, codec",
    [
        (".mp4", "libx264"),
        (".mov", "libx264"),
        (".mkv", "libx264"),
        (".ts", "libx264"),
        (".flv", "libx264"),
        (".3gp", "libx264"),
        (".avi", "mpeg4"),
        (".avi", "libx264"),  # keeps no times of frames; the decoder works them out
        (".webm", "libvpx-vp9"),
        (".mpg", "mpeg2video"),
        (".wmv", "msmpeg4v3"),
    ],
)
def test_what_videos_come_in_is_let_through(suffix, codec, tmp_path):
    path = tmp_path / f"video{suffix}"
    formats = {".wmv": "asf", ".mpg": "mpeg", ".ts": "mpegts", ".mkv": "matroska"}
    with av.open(str(path), "w", format=formats.get(suffix)) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for level in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 4 * level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert container_of(path)
    clip = read_video(path)
    assert len(clip.frames) in (3, 4)
    np.testing.assert_allclose(clip.frames.mean((1, 2, 3)), 4 * np.rint(25 * clip.seconds), atol=8)
