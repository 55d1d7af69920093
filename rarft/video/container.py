"""Which container a file is, read from its first bytes, before any demuxer sees it.

FFmpeg goes by content, whatever the name says. A text file named `video.mp4` that is a playlist (HLS,
DASH, SDP, a concat script) can make it open what the list names: other local files, or addresses on the network. So a
data set could reach into the network of whoever trains on it. Only files that *are* a container are let through.
"""

from __future__ import annotations

from pathlib import Path

from rarft.errors import VideoError

# The first box of an ISO base media file (mp4, mov, 3gp): its type stands behind its size.
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"uuid")
_BEGINNINGS = {
    b"\x1a\x45\xdf\xa3": "Matroska or WebM",
    b"FLV\x01": "FLV",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "ASF (wmv)",
    b"OggS": "Ogg",
    b"\x00\x00\x01\xba": "MPEG program stream",
    b"\x00\x00\x01\xb3": "MPEG video",
}
_PACKETS = ((0, 188), (4, 192))  # of an MPEG transport stream: offset of the first, distance to the next


def container_of(path: Path) -> str | None:
    """The name of a file's container, or None if it is none that videos come in: a text, a picture, a playlist."""
    with open(path, "rb") as file:
        head = file.read(400)
    if head[4:8] in _BOXES:
        return "ISO base media (mp4, mov)"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "AVI"
    for beginning, name in _BEGINNINGS.items():
        if head.startswith(beginning):
            return name
    for first, step in _PACKETS:
        if head[first : first + 1] == b"\x47" and head[first + step : first + step + 1] == b"\x47":
            return "MPEG transport stream"
    return None


def check_container(path: Path) -> None:
    """Raises VideoError if a path is no regular file that can be read, or if its content is no video container."""
    try:
        _check(path)
    except OSError as error:  # no permission, a name that is too long, a disk that fails
        raise VideoError(f"{path}: cannot be read: {error.strerror or error}") from error


def _check(path: Path) -> None:
    if not path.exists():
        raise VideoError(f"{path}: no such file; check the path, or the video folder that was given")
    if path.is_dir():
        raise VideoError(f"{path}: a folder, not a video file")
    if not path.is_file():
        raise VideoError(f"{path}: not a regular file (a pipe, a socket or a device)")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes); copy or download it again")
    if container_of(path) is None:
        raise VideoError(
            f"{path}: not a video container (mp4, mov, mkv, webm, avi, flv, wmv, mpg, ts, ogg): its first bytes are "
            "those of a text, a playlist, a picture, or of a damaged file"
        )
