"""Which container a file is, and whether all of it is there, read from its bytes before any demuxer sees it.

FFmpeg goes by content, whatever the name says. A text file named `video.mp4` that is a playlist (HLS,
DASH, SDP, a concat script) can make it open what the list names: other local files, or addresses on the network. So a
data set could reach into the network of whoever trains on it. Only files that *are* a container are let through.

FFmpeg reads a cut file as a shorter video, without an error. So the sizes that a container states are compared with the
file's. Sources: ISO/IEC 14496-12 (boxes), RFC 8794 (EBML), OpenDML AVI 1.02, Adobe's FLV 10.1, ASF 01.20.03.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from rarft.system.errors import VideoError

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
_BOXES_BEHIND = (b"sidx", b"mfra", b"meta", b"udta", b"emsg", b"prft", b"ssix", b"mfro")
GET_IT_AGAIN = "copy or download it again; ffmpeg -i IN -c copy OUT.mkv keeps what can still be read"
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


def promised_bytes(path: Path) -> int:
    """How many bytes a whole file has by what its container states; 0 if it states nothing (MPEG, Ogg, live).

    A file that is longer has something else behind the video, and is whole."""
    promise = _PROMISES.get(container_of(path) or "")
    with open(path, "rb") as file:
        return promise(file) if promise else 0


def states_length(path: Path) -> bool:
    """Whether a container's header states how many seconds its data last, even if some of the data is missing."""
    return container_of(path) in ("Matroska or WebM", "AVI", "FLV", "ASF (wmv)")


def _of_boxes(file: BinaryIO) -> int:
    """The end of the last box; or of the fragments that an index (sidx) lists, which may be missing as a whole."""
    end = listed = 0
    while len(head := _at(file, end, 64)) >= 8:
        size, kind = struct.unpack(">I4s", head[:8])
        if size == 1 and len(head) >= 16:
            size = int.from_bytes(head[8:16])
        if size < 8 or kind not in _BOXES + _BOXES_BEHIND:  # up to the end of the file, or no box
            break
        if kind == b"sidx":
            listed = max(listed, end + size + _listed_by(_at(file, end, size)))
        end += size
    return max(end, listed)


def _listed_by(sidx: bytes) -> int:
    """How far the fragments reach behind their index."""
    wide = sidx[8:9] == b"\1"
    first = int.from_bytes(sidx[28:36] if wide else sidx[24:28])
    entries = sidx[40:] if wide else sidx[32:]
    return first + sum(int.from_bytes(entries[i : i + 4]) & 0x7FFFFFFF for i in range(0, len(entries), 12))


def _of_segment(file: BinaryIO) -> int:
    """The end of a Matroska file's one segment, which stands behind the EBML header."""
    end = 0
    for kind in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):
        head = _at(file, end, 12)
        if head[:4] != kind or not head[4:5].strip(b"\0"):
            return 0
        width = 9 - head[4].bit_length()  # of the size, whose first byte says so
        largest = (1 << 7 * width) - 1
        size = int.from_bytes(head[4 : 4 + width]) & largest
        if size == largest:  # unknown: a live stream
            return 0
        end += 4 + width + size
    return end


def _of_chunks(file: BinaryIO) -> int:
    """The end of the last RIFF chunk; long AVIs have several."""
    end = 0
    while (head := _at(file, end, 8))[:4] == b"RIFF" and 0 < (size := int.from_bytes(head[4:], "little")) < 2**32 - 16:
        end += 8 + size + size % 2
    return end - 8  # some writers count the head's own bytes, too


def _of_flv(file: BinaryIO) -> int:
    """What the metadata say, if the last tag is not whole: a copy of a stream may have the metadata of another file."""
    end = file.seek(0, 2)
    length = int.from_bytes(_at(file, end - 4, 4))
    if 11 < length < end and int.from_bytes(_at(file, end - 4 - length + 1, 3)) == length - 11:
        return 0
    _, found, number = _at(file, 0, 4096).partition(b"\0\x08filesize\0")
    return int(struct.unpack(">d", number[:8])[0]) if found and len(number) >= 8 else 0


def _of_asf(file: BinaryIO) -> int:
    """The end of the header and the data, which comes behind it with a size of 0 in a live stream."""
    begin = int.from_bytes(_at(file, 16, 8), "little")
    return begin + int.from_bytes(_at(file, begin + 16, 8), "little")


def _at(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(max(0, place))
    return file.read(count)


_PROMISES: dict[str, Callable[[BinaryIO], int]] = {
    "ISO base media (mp4, mov)": _of_boxes,
    "Matroska or WebM": _of_segment,
    "AVI": _of_chunks,
    "FLV": _of_flv,
    "ASF (wmv)": _of_asf,
}


def check_container(path: Path) -> None:
    """Raises VideoError if a path is no regular file that can be read, if its content is no video container, or if a
    part of it is missing."""
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
    size, promised = path.stat().st_size, promised_bytes(path)
    if size < promised:
        raise VideoError(
            f"{path}: the file is cut: its container promises {promised} bytes, and it has {size}; {GET_IT_AGAIN}"
        )
