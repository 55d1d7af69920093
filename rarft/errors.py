"""Errors that a user can fix. The command line prints them as one line; anything else keeps its traceback.

Each is also the built-in error that it resembles, so that callers can catch either.
"""


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
    """A process that does a part of the work was killed."""
