"""The errors of the library, and errors that the machine causes.

    Exception
    ├── RarftError ............................ the user can fix it
    │   ├── InputError (ValueError)
    │   │   └── VideoError
    │   ├── MissingFileError (FileNotFoundError)
    │   ├── ServerError (ConnectionError)
    │   ├── BadReplyError (RuntimeError)
    │   ├── WorkerError (RuntimeError)
    │   ├── UpstreamChangedError (ImportError)
    │   └── ChapterError (RuntimeError)
    ├── out of memory or disk ................. `machine_fault` recognises it
    └── any other ............................. a bug

Each RarftError is also the built-in error in brackets, so that callers can catch either. The command line prints the
first two kinds as one line and exits with status 1. A bug keeps its traceback.
"""

import errno
import re


class RarftError(Exception):
    """The base class. A message names the file or the field, and the fix; the command line prints it and stops."""


class InputError(RarftError, ValueError):
    """A file, a row, a field or an option cannot be used. Commands stop, most of them before any work."""


class VideoError(InputError):
    """A video cannot be used. `evaluate` and `train` stop or skip it; `infer --questions` writes the error as a row."""


class MissingFileError(RarftError, FileNotFoundError):
    """A file or a folder does not exist. Commands stop."""


class ServerError(RarftError, ConnectionError):
    """A server cannot answer any question: no connection, an unknown model, a wrong key. Commands stop."""


class BadReplyError(RarftError, RuntimeError):
    """A language model gave no usable reply in all attempts. Commands record it for that question and go on."""


class WorkerError(RarftError, RuntimeError):
    """A worker process ended too early. Commands stop; what is already written stays."""


class UpstreamChangedError(RarftError, ImportError):
    """The installed transformers or TRL lacks a name that an override of this library needs. Commands stop early."""


class ChapterError(RarftError, RuntimeError):
    """A chapter failed in the named cell. `course build` stops."""


_NO_MEMORY = re.compile(
    r"(can't|cannot) allocate memory|bad_alloc|can't start new thread|failed to map segment", re.IGNORECASE
)
# How safetensors and torch, which have their own errors, report a full disk.
_FULL_DISK = re.compile(r"No space left on device|inline_container.* unexpected pos|PytorchStreamWriter failed writing")
_DISK = {"ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "ENOTDIR", "EISDIR", "EEXIST"}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, the system, torch or a GPU reports that memory has run out."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's; torch may not be loaded here
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or bool(_NO_MEMORY.search(str(error)))
    )


def machine_fault(error: BaseException) -> str | None:
    """The message for an error caused by the machine's memory or disk; None for any other error."""
    reason = " ".join(str(error).split())[:300]
    if is_out_of_memory(error):
        return f"out of memory ({reason}): use smaller batches, fewer pixels or fewer processes"
    if _FULL_DISK.search(reason):
        return f"the disk is full ({reason})"
    is_of_disk = isinstance(error, OSError) and errno.errorcode.get(error.errno or 0) in _DISK
    return reason if is_of_disk else None
