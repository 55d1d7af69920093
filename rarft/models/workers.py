"""A model in several processes: each takes a part of the rows of a generation, an encoding or a training pass.

A small model gains almost nothing from threads (`rarft.system.cores`), so this process and its helpers share the work.
Each helper has a copy of the model. Before every use the weights are copied into shared memory, which the copies read.
"""

from __future__ import annotations

import io
import itertools
import logging
import math
import pickle
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.multiprocessing  # registers how tensors in shared memory are sent
from transformers import GenerationConfig

from rarft.models.families import is_whole, without_lora
from rarft.models.settings import Settings
from rarft.system.cores import Plan, plan_for, set_threads
from rarft.system.errors import WorkerError
from rarft.system.processes import Helper, helpers

if TYPE_CHECKING:
    from rarft.models.video_model import VideoModel

log = logging.getLogger(__name__)
T = TypeVar("T")
LEAST = 16  # rows that are worth a second process

Function = Callable[..., Any]  # a function of a module, whose first argument is the VideoModel


def plan_of(video_model: VideoModel) -> Plan:
    """How a model uses the cores, see `rarft.system.cores.plan_for`."""
    parameters = sum(p.numel() for p in video_model.model.parameters())
    return plan_for(parameters, video_model.model.device.type, processes=video_model.processes)


def processes_of(video_model: VideoModel) -> int:
    """The number of processes that share the work of a model.

    It is 1 in a distributed run, which has processes of its own, for weights of several types, and for a model with
    hooks, which would not see the passes of helpers."""
    model = video_model.model
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    hooked = any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    if distributed or hooked or _failed or not is_whole(model) or len({p.dtype for p in model.parameters()}) > 1:
        return 1
    return plan_of(video_model).processes


def can_split(model: torch.nn.Module, mixed_precision: str = "no") -> bool:
    """Whether a training pass gives the same gradients in parts: in the precision of the weights, without dropout."""
    dropout = any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in model.modules())
    attention = getattr(without_lora(model).config.get_text_config(), "attention_dropout", 0.0)
    return mixed_precision == "no" and not (model.training and (dropout or attention))


def shares(video_model: VideoModel, lengths: Sequence[float], *, each: int = 1) -> list[list[int]]:
    """Which rows each process takes: a list of indices for each process, in ascending order.

    Each process gets rows of all lengths, since the longest row of a part decides how long the part takes. There is one
    list if the model runs in one process or the rows are few.

    Args:
        lengths: of the rows, in any unit.
        each: how many answers a row stands for.
    """
    count = min(processes_of(video_model), len(lengths)) if len(lengths) * each >= LEAST else 1
    return [sorted(part) for part in _dealt(sorted(range(len(lengths)), key=lambda row: -lengths[row]), count)]


def batches(video_model: VideoModel, lengths: Sequence[float], size: int) -> list[list[list[int]]]:
    """Which batches of at most `size` rows each process takes. The rows of a batch have similar lengths, and all
    processes have about as many rows."""
    longest_first = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    count = min(processes_of(video_model), len(lengths)) if len(lengths) >= LEAST else 1
    rounds = max(1, math.ceil(len(lengths) / (size * max(1, count))))
    size = math.ceil(len(lengths) / (rounds * max(1, count))) or 1
    return _dealt([longest_first[begin : begin + size] for begin in range(0, len(lengths), size)], count)


def _dealt(items: list[T], count: int) -> list[list[T]]:
    """Items dealt out to `count` parts in turns, forwards and backwards."""
    parts: list[list[T]] = [[] for _ in range(max(1, count))]
    for place, item in enumerate(items):
        turn, number = divmod(place, len(parts))
        parts[number if turn % 2 == 0 else -1 - number].append(item)
    return parts


def run_parts(video_model: VideoModel, function: Function, parts: Sequence[tuple]) -> list[Any]:
    """The results of `function(video_model, *part)`. This process computes the first part, helpers the others."""
    with _lock:
        copies = _copies_of(video_model, len(parts) - 1)
        for copy, part in zip(copies, parts[1:], strict=False):
            copy.start(video_model, function, part)
        own = [function(video_model, *part) for part in (parts[:1] if copies else parts)]
        return [*own, *(copy.helper.result() for copy in copies)]


def differentiate_parts(video_model: VideoModel, function: Function, parts: Sequence[tuple]) -> list[tuple]:
    """As `run_parts`, for a function that returns a tuple of tensors, through which gradients reach the weights.

    A helper keeps the graph of its part. In the backward pass it gets the gradients of its outputs, and its gradients
    of the weights are added to those of this process.
    """
    with _lock:
        copies = _copies_of(video_model, len(parts) - 1)
        passes = [
            _Pass(copy, copy.start(video_model, function, part, differentiate=True))
            for copy, part in zip(copies, parts[1:], strict=False)
        ]
        # Autograd goes back through what was created last first: it starts the helpers (`_Outputs`), goes through the
        # part of this process, and then waits for the helpers (`_Gradients`).
        trained = [p for p in video_model.model.parameters() if p.requires_grad]
        handles = [_Gradients.apply(one, *trained) for one in passes]
        own = [function(video_model, *part) for part in (parts[:1] if copies else parts)]
        return [*own, *(_Outputs.apply(one, handle) for one, handle in zip(passes, handles, strict=True))]


class _Pass:
    """A forward and a backward pass of a copy. number: of the call."""

    def __init__(self, copy: Copy, number: int):
        self.copy, self.number = copy, number


class _Gradients(torch.autograd.Function):
    """Backward: wait for a helper's gradients of the weights."""

    @staticmethod
    def forward(ctx, one: _Pass, *trained: torch.Tensor):
        ctx.one = one
        return trained[0].new_zeros(())

    @staticmethod
    def backward(ctx, _):
        ctx.one.copy.helper.result()
        return None, *(gradient.clone() for gradient in ctx.one.copy.gradients)


class _Outputs(torch.autograd.Function):
    """Forward: wait for a helper's outputs. Backward: start its backward pass."""

    @staticmethod
    def forward(ctx, one: _Pass, handle: torch.Tensor):
        ctx.one = one
        return one.copy.helper.result()

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor):
        ctx.one.copy.helper.send(_go_back, ctx.one.copy.number, ctx.one.number, gradients)
        return None, gradients[0].new_zeros(())


# -- in this process ---------------------------------------------------------------------------------------------------


class Copy:
    """A copy of a model in a helper. gradients: of each trained parameter, in shared memory."""

    numbers = itertools.count()

    def __init__(self, video_model: VideoModel, helper: Helper, load: Callable[[], VideoModel] | None, threads: int):
        """load: makes the copy in the helper; None copies the weights of this process before each use."""
        model = video_model.model
        self.helper, self.number, self.weights = helper, next(self.numbers), None
        if load is not None:
            helper.send(_load, self.number, load, threads, _forgotten)
        else:
            parameters = list(model.parameters())
            trained = [p for p in parameters if p.requires_grad]
            with torch.inference_mode(False):  # a training pass may use what a generation has made
                weights, gradients = shared_memory_for(parameters), shared_memory_for(trained)
            self.weights, self.gradients = views(weights, parameters), views(gradients, trained)
            content = dumps_without_patches((model, video_model.processor))
            helper.send(_receive, self.number, content, weights, gradients, threads, _forgotten, shared=True)
        helper.result()

    def start(self, video_model: VideoModel, function: Function, part: tuple, *, differentiate: bool = False) -> int:
        """Start a function on the copy, with the weights as they are now. Returns the number of the call."""
        if self.weights is not None:
            with torch.no_grad():
                torch._foreach_copy_(self.weights, [p.detach() for p in video_model.model.parameters()])
        model, call = video_model.model, next(self.numbers)
        state = (video_model.settings, without_lora(model).generation_config, model.training)
        self.helper.send(_call, self.number, call, function, part, state, differentiate)
        return call


_copies: weakref.WeakKeyDictionary[torch.nn.Module, tuple[Any, list[Copy]]] = weakref.WeakKeyDictionary()
_forgotten: list[int] = []  # copies of models that are gone
_failed: list[str] = []  # why no helper could be started
_lock = threading.RLock()


def _copies_of(video_model: VideoModel, count: int) -> list[Copy]:
    """`count` copies; none, with a warning, where helpers cannot be started."""
    model, threads = video_model.model, plan_of(video_model).threads
    made_for = ([(name, p.shape, p.requires_grad) for name, p in model.named_parameters()], threads)
    known, copies = _copies.get(model, (None, []))
    try:
        running = helpers(count) if count else []
        copies = [c for c, helper in zip(copies, running, strict=False) if c.helper is helper and known == made_for]
        for number in range(len(copies), count):
            load = video_model.load_copy(number + 1) if video_model.load_copy else None
            copies.append(Copy(video_model, running[number], load, threads))
            weakref.finalize(model, _forgotten.append, copies[-1].number)
    except (OSError, RuntimeError, WorkerError) as error:
        _failed.append(str(error))
        log.warning("no worker processes (%s): one process does all the work", error)
        return []
    if count:
        _copies[model] = made_for, copies
    return copies[:count]


def shared_memory_for(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Shared memory with room for all these tensors, one after another, filled with zeros."""
    dtype = tensors[0].dtype if tensors else torch.float32
    return torch.zeros(sum(t.numel() for t in tensors), dtype=dtype).share_memory_()


def views(memory: torch.Tensor, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The parts of `shared_memory_for(tensors)`, in the shapes of the tensors."""
    return [part.view(t.shape) for part, t in zip(memory.split([t.numel() for t in tensors]), tensors, strict=True)]


def dumps_without_patches(value: Any) -> bytes:
    """Pickle modules without a `forward` that was set on the object. TRL sets one, and it cannot be pickled."""
    file = io.BytesIO()
    _Pickler(file).dump(value)
    return file.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, torch.nn.Module) or "forward" not in value.__dict__:
            return NotImplemented
        make, arguments, state, *rest = value.__reduce_ex__(2)
        return make, arguments, {name: part for name, part in state.items() if name != "forward"}, *rest


# -- in a helper -------------------------------------------------------------------------------------------------------

_here: dict[int, VideoModel] = {}  # the copies, by number
_graphs: dict[int, tuple[int, tuple[torch.Tensor, ...]]] = {}  # the call and outputs whose backward pass is to come


def _load(number: int, load: Callable[[], VideoModel], threads: int, forgotten: Sequence[int]) -> None:
    _forget(forgotten)
    _here[number] = load()
    set_threads(threads)


def _receive(
    number: int,
    content: bytes,
    weights: torch.Tensor,
    gradients: torch.Tensor,
    threads: int,
    forgotten: Sequence[int],
) -> None:
    from rarft.models.video_model import VideoModel  # which imports this module

    _forget(forgotten)
    model, processor = pickle.loads(content)
    parameters = list(model.parameters())
    trained = [p for p in parameters if p.requires_grad]
    for parameter, weight in zip(parameters, views(weights, parameters), strict=True):
        parameter.data = weight
    for parameter, gradient in zip(trained, views(gradients, trained), strict=True):
        parameter.grad = gradient  # backward passes add to it in place
    _here[number] = VideoModel(model, processor)
    set_threads(threads)


def _forget(numbers: Sequence[int]) -> None:
    for number in numbers:
        _here.pop(number, None)
        _graphs.pop(number, None)


def _call(
    number: int,
    call: int,
    function: Function,
    part: tuple,
    state: tuple[Settings, GenerationConfig, bool],
    differentiate: bool,
) -> Any:
    video_model = _here[number]
    video_model.settings, without_lora(video_model.model).generation_config, training = state
    video_model.model.train(training)
    with torch.set_grad_enabled(differentiate):
        outputs = function(video_model, *part)
    if not differentiate:
        return outputs
    _graphs[number] = call, outputs
    return tuple(output.detach() for output in outputs)


def _go_back(number: int, call: int, gradients: tuple[torch.Tensor, ...]) -> None:
    of_call, outputs = _graphs.pop(number)
    if of_call != call:
        raise RuntimeError("another forward pass came between a forward and its backward pass")
    _here[number].model.zero_grad(set_to_none=False)
    learned = [(output, g) for output, g in zip(outputs, gradients, strict=True) if output.requires_grad]
    torch.autograd.backward(*zip(*learned, strict=True))
