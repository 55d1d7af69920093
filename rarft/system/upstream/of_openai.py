"""The HTTP library that the installed openai is built on: httpx up to its version 2, httpx2 from 3 on.

A transport of ours has to be one of its classes, and openai documents no name for it: it is what
`openai.DefaultHttpxClient` derives from. Instead: the library that its release notes name."""

from __future__ import annotations

import importlib
from typing import Any

from openai import DefaultHttpxClient

_base: type = next(base for base in DefaultHttpxClient.__mro__ if base.__name__ == "Client")
httpx: Any = importlib.import_module(_base.__module__.partition(".")[0])
