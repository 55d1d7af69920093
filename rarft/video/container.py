"""Which container a file is, and whether all of it is there, read from its bytes before any demuxer sees it.

FFmpeg goes by content, whatever the name says. A text file named `video.mp4` that is a playlist (HLS, DASH, SDP, a
concat script) can make it open what the list names: other local files, or addresses on the network. So a data set could
reach into the network of whoever trains on it. Only files that *are* a container are let through.

FFmpeg reads a cut file as a shorter video, without an error. So the sizes that a container states are compared with the
file's. Sources: ISO/IEC 14496-12 (boxes), RFC 8794 (EBML), OpenDML AVI 1.02, Adobe's FLV 10.1, ASF 01.20.03.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rarft.system.errors import VideoError

# Types of boxes in an ISO base media file (mp4, mov, 3gp): those that a file may begin with, and others.
_FIRST_BOXES = b"ftyp moov mdat free skip wide pnot styp moof uuid".split()
_BOXES = [*_FIRST_BOXES, *b"sidx mfra meta udta emsg prft ssix mfro".split()]
GET_IT_AGAIN = "copy or download it again; ffmpeg -i IN -c copy OUT.mkv keeps what can still be read"


def _at(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(max(0, place))
    return file.read(count)


def _end_of_boxes(file: BinaryIO) -> int:
    """The end of the last box; or of the fragments that an index (sidx) lists, which may be missing as a whole."""
    end = listed = 0
    while len(head := _at(file, end, 16)) >= 8:
        size, kind = struct.unpack(">I4s", head[:8])
        if size == 1 and len(head) == 16:
            size = int.from_bytes(head[8:])
        if size < 8 or kind not in _BOXES:  # up to the end of the file, or not a box
            break
        if kind == b"sidx":
            listed = max(listed, end + size + _listed_by(_at(file, end, size)))
        end += size
    return max(end, listed)


def _listed_by(sidx: bytes) -> int:
    """How many bytes after their index the fragments end."""
    wide = sidx[8:9] == b"\1"
    first = int.from_bytes(sidx[28:36] if wide else sidx[24:28])
    entries = sidx[40:] if wide else sidx[32:]
    return first + sum(int.from_bytes(entries[i : i + 4]) & 0x7FFFFFFF for i in range(0, len(entries), 12))


def _end_of_segment(file: BinaryIO) -> int:
    """The end of a Matroska file's one segment, which follows the EBML header."""
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


def _end_of_chunks(file: BinaryIO) -> int:
    """The end of the last RIFF chunk; long AVIs have several."""
    end = 0
    while (head := _at(file, end, 8))[:4] == b"RIFF" and 0 < (size := int.from_bytes(head[4:], "little")) < 2**32 - 16:
        end += 8 + size + size % 2
    return end - 8  # some writers count the head's own bytes, too


def _size_of_flv(file: BinaryIO) -> int:
    """What the metadata say, if the last tag is not whole: a copy of a stream may have the metadata of another file."""
    end = file.seek(0, 2)
    length = int.from_bytes(_at(file, end - 4, 4))
    if 11 < length < end and int.from_bytes(_at(file, end - 4 - length + 1, 3)) == length - 11:
        return 0
    _, found, number = _at(file, 0, 4096).partition(b"\0\x08filesize\0")
    return int(struct.unpack(">d", number[:8])[0]) if found and len(number) >= 8 else 0


def _end_of_asf(file: BinaryIO) -> int:
    """The end of the header and of the data after it, whose size is 0 in a live stream."""
    begin = int.from_bytes(_at(file, 16, 8), "little")
    return begin + int.from_bytes(_at(file, begin + 16, 8), "little")


class Container(NamedTuple):
    """A format of video files.

    beginning: a regular expression of a file's first bytes.
    promise: the bytes of a whole file by what its container states; 0 if it states nothing. None where none ever does.
    states_length: whether the header states how many seconds the data last, even if some of the data is missing.
    """

    name: str
    beginning: bytes
    promise: Callable[[BinaryIO], int] | None = None
    states_length: bool = False


CONTAINERS = (
    Container("ISO base media (mp4, mov)", rb".{4}(%s)" % b"|".join(_FIRST_BOXES), _end_of_boxes),
    Container("AVI", rb"RIFF.{4}AVI ", _end_of_chunks, states_length=True),
    Container("Matroska or WebM", rb"\x1a\x45\xdf\xa3", _end_of_segment, states_length=True),
    Container("FLV", rb"FLV\x01", _size_of_flv, states_length=True),
    Container("ASF (wmv)", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _end_of_asf, states_length=True),
    Container("Ogg", rb"OggS"),
    Container("MPEG program stream", rb"\x00\x00\x01\xba"),
    Container("MPEG video", rb"\x00\x00\x01\xb3"),
    # packets of 188 bytes, or of 192 with a time before each
    Container("MPEG transport stream", rb"\x47.{187}\x47|.{4}\x47.{191}\x47"),
)


def container_of(path: Path) -> Container | None:
    """A file's container, or None if it is not one that videos come in: a text, a picture, a playlist."""
    with open(path, "rb") as file:
        head = file.read(400)
    return next((one for one in CONTAINERS if re.match(one.beginning, head, re.DOTALL)), None)


def promised_bytes(path: Path) -> int:
    """How many bytes a whole file has by what its container states; 0 if it states nothing (MPEG, Ogg, live).

    A file that is longer has something else after the video, and is whole."""
    container = container_of(path)
    with open(path, "rb") as file:
        return container.promise(file) if container and container.promise else 0


def check_container(path: Path) -> None:
    """Raises VideoError if a path is not a regular file that can be read, if its content is not a video container, or
    if a part of it is missing."""
    try:
        problem = _problem(path)
    except OSError as error:  # no permission, a name that is too long, a disk that fails
        problem = f"cannot be read: {error.strerror or error}"
    if problem:
        raise VideoError(f"{path}: {problem}")


def _problem(path: Path) -> str | None:
    if not path.exists():
        return "no such file; check the path, or the video folder that was given"
    if path.is_dir():
        return "a folder, not a video file"
    if not path.is_file():
        return "not a regular file (a pipe, a socket or a device)"
    size = path.stat().st_size
    if size == 0:
        return "the file is empty (0 bytes); copy or download it again"
    if container_of(path) is None:
        return (
            "not a video container (mp4, mov, mkv, webm, avi, flv, wmv, mpg, ts, ogg): its first bytes are those of a "
            "text, a playlist, a picture, or of a damaged file"
        )
    promised = promised_bytes(path)
    if size < promised:
        return f"the file is cut: its container promises {promised} bytes, and it has {size}; {GET_IT_AGAIN}"
    return None
