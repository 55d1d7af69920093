"""The four rewards of RA-RFT, in three variants: one function per reward and variant, `REWARDS[variant][name]`.

official  what the released code computes, quirks included; kept to reproduce and to learn from
paper     the formulae of the text: raw IoU, raw cosines, no reward for NIL
robust    the default: the same aims without the holes (each is an exercise in chapters 04 to 07)

Every reward has TRL's signature, `reward(completions, **columns) -> list[float | None]`, and takes completions as
strings or as message lists; None says that the reward does not apply to a row, which has no reference. The columns
that it needs are named in its arguments; rows of both relevances may be mixed. Let D be the duration, cos the cosine of
the sentence encoder; see each function for its formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rarft.rewards import official, paper, robust
from rarft.rewards.encoder import SentenceEncoder
from rarft.system.errors import InputError
from rarft.system.plugins import load_callable

Reward = Callable[..., list[float | None]]

NAMES = ("format", "refuse_iou", "explain", "correction")
REWARDS: dict[str, dict[str, Reward]] = {
    variant: {name: getattr(module, f"{name}_reward") for name in NAMES}
    for variant, module in (("official", official), ("paper", paper), ("robust", robust))
}
VARIANTS = tuple(REWARDS)


def make_rewards(
    variant: str = "robust", names: Sequence[str] = NAMES, encoder: SentenceEncoder | None = None
) -> list[Reward]:
    """The named rewards as functions for `GRPOTrainer(reward_funcs=…)`, in the order of `names`.

    Args:
        names: of the four rewards; or `module:function`, a reward of your own with the same signature.
        encoder: for explain and correction; the paper's by default.

    Raises InputError for an unknown variant or name, or a module or function that is not there.
    """
    if variant not in REWARDS:
        raise InputError(f"unknown reward variant {variant!r}; choose one of {', '.join(VARIANTS)}")
    return [load_callable(name, "reward") if ":" in name else _bound(variant, name, encoder) for name in names]


def _bound(variant: str, name: str, encoder: SentenceEncoder | None) -> Reward:
    if name not in REWARDS[variant]:
        raise InputError(f"unknown reward {name}; choose from {', '.join(NAMES)}, or give your own as module:function")
    function = REWARDS[variant][name]

    def reward(completions: list, **columns: Any) -> list[float | None]:
        return function(completions, **{**columns, "encoder": encoder})

    reward.__name__ = name
    return reward
