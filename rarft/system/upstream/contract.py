"""What our overrides rely on, as a table, and the check of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version

from rarft.system.errors import RarftError


class UpstreamChangedError(RarftError, ImportError):
    """An installed version of transformers or TRL no longer has what an override of ours relies on."""


@dataclass(frozen=True)
class Method:
    """A method or function of upstream that we override or call, with the parameters that we name.

    override: what of ours depends on it, and so has to be changed when it moves.
    """

    package: str
    owner: object
    name: str
    parameters: tuple[str, ...]
    override: str

    def problem(self) -> str | None:
        """What is wrong with it; None if nothing is."""
        function = getattr(self.owner, self.name, None)
        where = f"{getattr(self.owner, '__name__', self.owner)}.{self.name}"
        if not callable(function):
            return f"{where} is gone"
        missing = [name for name in self.parameters if name not in inspect.signature(function).parameters]
        return f"{where} has no parameter {', '.join(missing)} any more" if missing else None


def check(methods: Iterable[Method]) -> None:
    """Raises UpstreamChangedError that names the package, its version, what is gone, and the override to change."""
    for method in methods:
        problem = method.problem()
        if problem:
            raise UpstreamChangedError(
                f"{method.package} {version(method.package)}: {problem}; {method.override} relies on it. "
                f"Install the version of requirements.lock, or change that override."
            )


def check_attributes(package: str, owner: object, names: Iterable[str], override: str) -> None:
    """Check attributes of an object that upstream has built. Raises UpstreamChangedError."""
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        raise UpstreamChangedError(
            f"{package} {version(package)}: {type(owner).__name__} has no {', '.join(missing)} any more; "
            f"{override} relies on it. Install the version of requirements.lock, or change that override."
        )
