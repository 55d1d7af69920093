"""Errors that a user can fix. The command line prints them as one line; anything else keeps its traceback.

Each is also the built-in error that it resembles, so that callers can catch either.
"""

import errno
import re

_NO_MEMORY = re.compile(
    r"(can't|cannot) allocate memory|bad_alloc|can't start new thread|failed to map segment", re.IGNORECASE
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, the system, torch or a GPU says that memory has run out."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, which need not be loaded here
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or bool(_NO_MEMORY.search(str(error)))
    )


class RarftError(Exception):
    """The base of all of them; the message names the file or the field, and the fix."""


class InputError(RarftError, ValueError):
    """A file, a row, a field or an option that cannot be used."""


class MissingFileError(RarftError, FileNotFoundError):
    """A file or a folder that is not there."""


class ServerError(RarftError, ConnectionError):
    """A server that cannot answer any question: none there, no such model, a wrong key."""


class VideoError(InputError):
    """A video that cannot be used; the message names the file, the cause and the fix."""


class BadReplyError(RarftError, RuntimeError):
    """No usable reply of a language model after all attempts."""


class ChapterError(RarftError, RuntimeError):
    """A chapter failed; the message names the chapter, the cell and the error."""


class WorkerError(RarftError, RuntimeError):
    """A process that does a part of the work ended before its time."""
