"""The HTTP library of the installed openai: httpx up to openai 2, httpx2 from openai 3 on.

Our transport has to derive from one of its classes, but openai does not document which library it uses. It is found as
the base of `openai.DefaultHttpxClient`. Instead: the library in openai's release notes."""

from __future__ import annotations

import importlib
from typing import Any

from openai import DefaultHttpxClient

_base: type = next(base for base in DefaultHttpxClient.__mro__ if base.__name__ == "Client")
httpx: Any = importlib.import_module(_base.__module__.partition(".")[0])
