"""The settings of the released training script, how a run differs from it, and the prompts in a user's clone of it.

Source: JINSUBY/RA-RFT, scripts/train_rarft.sh, main_rarft.py and src/time_r1/rl/timer1_trainer_rarft.py, as of
2026-05-12. Only its behaviour is described: no code or text is copied, and a clone is read, never run.
"""

from __future__ import annotations

import ast
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rarft.prompts import Style
from rarft.schema import without_surrogates
from rarft.system.errors import InputError
from rarft.system.files import read_json, read_text, write_json

PROMPTS_A_STEP = 8  # one on each of eight GPUs
INFERENCE_TOKENS = 512  # for an answer; training allows fewer
# Fields of a recipe. Learning rate, schedule, beta and top-k are not in the script: they are the defaults of the
# libraries that can run it (TRL 0.19 to 0.27; in TRL 0.18 beta was 0.04).
SETTINGS: dict[str, Any] = {
    "variant": "official",
    "rewards": ["format", "refuse_iou", "explain", "correction"],  # the release adds up the last two in one function
    "num_generations": 8,
    "per_device_train_batch_size": 8,  # one group per pass, like a process there: `bnpo` averages over a pass
    "loss_type": "bnpo",  # clipped, the mean over all tokens of a process; the script's `use_grpo` is TRL's "grpo"
    "epsilon": 0.2,
    "scale_rewards": "group",
    "num_iterations": 1,
    "beta": 0.0,
    "use_bias_correction_kl": False,
    "max_completion_length": 200,
    "temperature": 1.0,
    "top_k": 50,  # of transformers' GenerationConfig
    "num_train_epochs": 3,
    "max_steps": -1,
    "learning_rate": 1e-6,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "data_seed": 42,
    "bf16": True,
    "gradient_checkpointing": True,
    "use_peft": False,
}
ALWAYS_DIFFERENT = (
    "the merger behind the vision tower is frozen, as the tower is; the release trains it",
    "log-probabilities and sampling have the same positions; the release's differ unless a video has exactly 2 frames "
    "a second",
    "an epoch draws an irrelevant query for each video; the release draws one place in the list for all videos of a "
    "step",
    "prompts are never cut; the release sets max_prompt_length to 8192 and does not use it",
    "answers come from transformers, in the checkpoint's number type; the release's from vLLM, in float16",
)


def differences(settings: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields that differ from the release: field → (value in this run, value in the release).

    Args:
        settings: the values of all fields of a recipe.
    """
    return {name: (settings[name], ours) for name, ours in SETTINGS.items() if settings[name] != ours}


# -- wordings ----------------------------------------------------------------------------------------------------------

TRAINER, INFERENCE = Path("src/time_r1/rl/timer1_trainer_rarft.py"), Path("inference.py")
MARK = "[EVENT]"  # where the query goes
LARGEST = 1_000_000  # bytes of a file; the released files have at most 38,000
OURS = {"training": "ra-rft", "inference": "ra-rft-inference"}  # the same structure, in this library's words


def wordings(clone: Path) -> dict[str, Style]:
    """The prompts for training and inference from a clone of the release. Its files are parsed, not run.

    Raises MissingFileError, or InputError, which names the file and the constant.
    """
    return {
        "training": Style(_template(clone / TRAINER, "QUESTION_TEMPLATE_RARFT"), video_first=False),
        "inference": Style(
            _template(clone / INFERENCE, "QUESTION_TEMPLATE"), system=_constant(clone / INFERENCE, "SYSTEM_PROMPT")
        ),
    }


def write_wordings(clone: Path, folder: Path) -> None:
    """Write each of `wordings` to NAME.json. Raises InputError if the folder already has other prompts."""
    for name, style in wordings(clone).items():
        path = folder / f"{name}.json"
        if path.exists() and read_json(path) != asdict(style):
            raise InputError(f"{path}: made from a clone with another wording than {clone}; change --out")
        write_json(path, asdict(style))


def _template(path: Path, name: str) -> str:
    text = _constant(path, name)
    if MARK not in text or "{query}" in text:
        raise InputError(f"{path}: the constant {name} should have {MARK} where the query goes, and no {{query}}")
    return text.replace(MARK, "{query}")


def _constant(path: Path, name: str) -> str:
    """The string literal that a module assigns to a name at its top level."""
    found = [node for node in _module(path).body if _assigns(node, name)]
    if not found:
        raise InputError(f"{path}: no constant {name} at the top level; is it a clone of JINSUBY/RA-RFT?")
    last = found[-1]
    try:
        value = None if isinstance(last, ast.AugAssign) else ast.literal_eval(last.value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        value = None
    if not isinstance(value, str) or not value.strip():
        raise InputError(
            f"{path}, line {last.lineno}: the constant {name} is not a literal text, and no code is run to get it"
        )
    return without_surrogates(value)


def _module(path: Path) -> ast.Module:
    if path.is_file() and path.stat().st_size > LARGEST:
        raise InputError(f"{path}: more than {LARGEST:,} bytes; the released file is far smaller")
    try:
        return ast.parse(read_text(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not Python that can be parsed ({error})") from error


def _assigns(node: ast.stmt, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and any(
        isinstance(target, ast.Name) and target.id == name for target in targets
    )
