"""A model in several processes: each computes a part of the rows of a generation, an encoding or a training pass.

A small model gains less from threads than from processes (`rarft.system.cores`), so this process and its helper
processes share the work. Each helper has a copy of the model, whose weights are in shared memory. Before every use,
this process writes its current weights there. A model with `load_copy` is not trained; its helpers load the weights
themselves.
"""

from __future__ import annotations

import copy
import io
import itertools
import logging
import math
import multiprocessing
import pickle
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
import torch.multiprocessing  # registers how tensors in shared memory are sent
from transformers import GenerationConfig

from rarft.models.families import is_whole, plan_of, without_lora
from rarft.models.settings import Settings
from rarft.system.cores import threads
from rarft.system.processes import Helper, helpers

if TYPE_CHECKING:
    from rarft.models.video_model import VideoModel

log = logging.getLogger(__name__)
T = TypeVar("T")
LEAST = 16  # with fewer rows, one process does all the work

Function = Callable[..., Any]  # a function of a module, whose first argument is the VideoModel


def processes_of(video_model: VideoModel) -> int:
    """The number of processes that share the work of a model.

    It is 1 in a process that may not start others, and in a distributed run, which has processes of its own. It is also
    1 for weights that are sharded or of several types, and after copies could not be made. Hooks of the model would not
    run in helpers, so a model with hooks has 1 process, too."""
    model = video_model.model
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if distributed or multiprocessing.current_process().daemon or model in _failed or not is_whole(model):
        return 1
    hooked = any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    return 1 if hooked or len({p.dtype for p in model.parameters()}) > 1 else plan_of(video_model).processes


def can_split(video_model: VideoModel, mixed_precision: str = "no") -> bool:
    """Whether a training pass that is split into parts gives the same gradients. This needs a model without dropout,
    and helpers that read the weights of this process.

    mixed_precision: accelerate's setting if the pass relies on its autocast; "no" if the pass sets its own precision.
    """
    model = without_lora(video_model.model)
    dropout = any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in video_model.model.modules())
    dropout |= getattr(model.config.get_text_config(), "attention_dropout", 0.0) > 0
    return mixed_precision == "no" and video_model.load_copy is None and not (video_model.model.training and dropout)


def shares(video_model: VideoModel, lengths: Sequence[float], *, each: int = 1) -> list[list[int]]:
    """Which rows each process computes: a list of indices for each process, in ascending order.

    Long and short rows are distributed evenly, so that the parts take about the same time. There is one list if the
    model runs in one process or there are few rows.

    Args:
        lengths: the lengths of the rows, in any unit.
        each: the number of completions of each row.
    """
    count = min(processes_of(video_model), len(lengths)) if len(lengths) * each >= LEAST else 1
    return [sorted(part) for part in _dealt(sorted(range(len(lengths)), key=lambda row: -lengths[row]), count)]


def batches(video_model: VideoModel, lengths: Sequence[float], size: int) -> list[list[list[int]]]:
    """Which batches of at most `size` rows each process takes.

    All processes get about as many rows. If each gets several batches, the rows of a batch have similar lengths."""
    count = min(processes_of(video_model), len(lengths)) if len(lengths) >= LEAST else 1
    rounds = math.ceil(len(lengths) / (size * max(1, count)))
    if len(lengths) >= 3 * LEAST * count:
        rounds = max(2, rounds)  # two batches of similar lengths take less time than a larger one of all lengths
    if rounds < 2:
        return [[part] for part in shares(video_model, lengths)]
    longest_first = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    size = math.ceil(len(lengths) / (rounds * count))
    return _dealt([longest_first[begin : begin + size] for begin in range(0, len(lengths), size)], count)


def _dealt(items: list[T], count: int) -> list[list[T]]:
    """Deal items out to `count` parts in turns, alternately forwards and backwards."""
    parts: list[list[T]] = [[] for _ in range(max(1, count))]
    for place, item in enumerate(items):
        turn, number = divmod(place, len(parts))
        parts[number if turn % 2 == 0 else -1 - number].append(item)
    return parts


def run_parts(video_model: VideoModel, function: Function, parts: Sequence[tuple]) -> list[Any]:
    """The results of `function(video_model, *part)`. This process computes the first part, and helpers the others."""
    with _lock:
        copies = _copies_of(video_model, len(parts) - 1)
        for one, part in zip(copies, parts[1:], strict=False):
            one.start(video_model, function, part)
        with threads(plan_of(video_model).threads):
            own = [function(video_model, *part) for part in (parts[:1] if copies else parts)]
        return [*own, *(one.helper.result() for one in copies)]


def differentiate_parts(video_model: VideoModel, function: Function, parts: Sequence[tuple]) -> list[tuple]:
    """Like `run_parts`, for a function that returns a tuple of tensors that a backward pass goes through.

    A helper keeps the autograd graph of its part. In the backward pass it receives the gradients of its outputs and
    computes those of the weights, which autograd adds to the gradients of this process.
    """
    with _lock:
        copies = _copies_of(video_model, len(parts) - 1)
        passes = [
            _Pass(one, one.start(video_model, function, part, differentiate=True))
            for one, part in zip(copies, parts[1:], strict=False)
        ]
        # Autograd runs the backward functions of later operations first. It starts the helpers (`_Outputs`), runs the
        # backward pass of this process's own part, and then waits for the helpers (`_Gradients`).
        trained = [p for p in video_model.model.parameters() if p.requires_grad]
        handles = [_Gradients.apply(one, *trained) for one in passes]
        with threads(plan_of(video_model).threads):
            own = [function(video_model, *part) for part in (parts[:1] if copies else parts)]
        return [*own, *(_Outputs.apply(one, handle) for one, handle in zip(passes, handles, strict=True))]


class _Pass(NamedTuple):
    """A forward and a backward pass of a copy. number: of the call."""

    copy: Copy
    number: int


class _Gradients(torch.autograd.Function):
    """Backward: wait for a helper's gradients of the weights."""

    @staticmethod
    def forward(ctx, one: _Pass, *trained: torch.Tensor):
        ctx.one = one
        return trained[0].new_zeros(())

    @staticmethod
    def backward(ctx, _):
        touched = ctx.one.copy.helper.result()
        gradients = zip(ctx.one.copy.gradients, touched, strict=True)
        return None, *(gradient.clone() if used else None for gradient, used in gradients)


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
    """A copy of a model in a helper. gradients: those of the trained parameters, in shared memory."""

    numbers = itertools.count()

    def __init__(self, helper: Helper, threads_there: int):
        self.helper, self.threads, self.number = helper, threads_there, next(self.numbers)

    def load(self, load: Callable[[], VideoModel]) -> None:
        """Begin to load the model in the helper. `helper.result` waits for it."""
        self.helper.send(_load, self.number, load, self.threads)

    def receive(self, video_model: VideoModel, weights: torch.Tensor) -> None:
        """Begin to copy the model to the helper. weights: shared memory that will hold its parameters."""
        trained = [p for p in video_model.model.parameters() if p.requires_grad]
        gradients = shared_memory_for(trained)
        self.gradients = views(gradients, trained)
        content = dumps_without_patches((video_model.model, video_model.processor))
        self.helper.send(_receive, self.number, content, weights, gradients, self.threads, shared=True)

    def start(self, video_model: VideoModel, function: Function, part: tuple, *, differentiate: bool = False) -> int:
        """Start a function on the copy. Returns the number of the call."""
        model, call = video_model.model, next(self.numbers)
        state = (video_model.settings, without_lora(model).generation_config, model.training)
        forgotten, self.helper.forgotten = self.helper.forgotten, []
        self.helper.send(_call, self.number, call, function, part, state, differentiate, forgotten)
        return call


class Copies:
    """The copies of a model, and its weights in shared memory. made_for: the model's state when they were made."""

    def __init__(self, made_for: Any):
        self.made_for, self.copies = made_for, list[Copy]()
        self.weights: torch.Tensor | None = None

    def add(self, video_model: VideoModel, running: Sequence[Helper]) -> None:
        """Make copies in these helpers, in all of them at the same time."""
        model, threads_there, added = video_model.model, plan_of(video_model).threads, []
        with torch.inference_mode(False):  # a training pass cannot use inference tensors
            if self.weights is None and video_model.load_copy is None:
                self.weights = shared_memory_for(list(model.parameters()))
            for helper in running:
                added.append(Copy(helper, threads_there))
                if self.weights is None:
                    added[-1].load(video_model.load_copy(len(self.copies) + len(added)))
                else:
                    added[-1].receive(video_model, self.weights)
        for one in added:
            one.helper.result()
            weakref.finalize(model, _forget, one)
        self.copies += added

    def publish(self, model: torch.nn.Module) -> None:
        """Copy the current weights into shared memory."""
        if self.weights is not None:
            parameters = list(model.parameters())
            with torch.no_grad():
                torch._foreach_copy_(views(self.weights, parameters), [p.detach() for p in parameters])


_copies: weakref.WeakKeyDictionary[torch.nn.Module, Copies] = weakref.WeakKeyDictionary()
_failed: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()  # models that cannot be copied
_lock = threading.RLock()


def _copies_of(video_model: VideoModel, count: int) -> list[Copy]:
    """`count` copies with the current weights; none, after a warning, if they cannot be made."""
    if count == 0:
        return []
    model = video_model.model
    made_for = _state_of(video_model)
    try:
        running = helpers(count)
        known = _copies.get(model)
        if known is None or known.made_for != made_for:
            for one in known.copies if known else ():
                _forget(one)
            known = _copies[model] = Copies(made_for)
        known.copies = [c for c, helper in zip(known.copies, running, strict=False) if c.helper is helper]
        known.add(video_model, running[len(known.copies) : count])
    except Exception as error:  # for example no shared memory, or a class that only this process can import
        _failed.add(model)
        log.warning("no worker processes (%s): one process does all the work", error)
        return []
    known.publish(model)
    return known.copies[:count]


def _forget(one: Copy) -> None:
    """Make the helper drop a copy at its next call."""
    one.helper.forgotten.append(one.number)


def _state_of(video_model: VideoModel) -> Any:
    """What must be equal in a copy and its model, besides the values of the parameters."""
    model = video_model.model
    parameters = [(name, p.shape, p.dtype, p.device, p.requires_grad) for name, p in model.named_parameters()]
    buffers = [(name, b.cpu().numpy().tobytes()) for name, b in model.named_buffers() if b.dtype != torch.bfloat16]
    lora = [
        (layer.merged_adapters, layer.active_adapters, layer.disable_adapters, dict(layer.scaling))
        for layer in model.modules()
        if hasattr(layer, "merged_adapters")  # a layer of peft
    ]
    return parameters, buffers, copy.deepcopy(lora), id(video_model.processor), plan_of(video_model).threads


def shared_memory_for(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Shared memory with room for all these tensors, one after another, filled with zeros."""
    dtype = tensors[0].dtype if tensors else torch.float32
    return torch.zeros(sum(t.numel() for t in tensors), dtype=dtype).share_memory_()


def views(memory: torch.Tensor, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The parts of `shared_memory_for(tensors)`, in the shapes of the tensors."""
    return [part.view(t.shape) for part, t in zip(memory.split([t.numel() for t in tensors]), tensors, strict=True)]


def dumps_without_patches(value: Any) -> bytes:
    """Pickle modules without a `forward` that was set on the instance. TRL sets one, which cannot be pickled."""
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


class _Here(NamedTuple):
    """A copy, and the gradients of its trained parameters in shared memory."""

    video_model: VideoModel
    gradients: list[torch.Tensor]


_here: dict[int, _Here] = {}  # copy number → copy
_graphs: dict[int, tuple[int, tuple[torch.Tensor, ...]]] = {}  # copy number → call, outputs without backward


def _load(number: int, load: Callable[[], VideoModel], threads_here: int) -> None:
    _here[number] = _Here(load(), [])
    torch.set_num_threads(threads_here)


def _receive(number: int, content: bytes, weights: torch.Tensor, gradients: torch.Tensor, threads_here: int) -> None:
    from rarft.models.video_model import VideoModel  # which imports this module

    model, processor = pickle.loads(content)
    parameters = list(model.parameters())
    for parameter, weight in zip(parameters, views(weights, parameters), strict=True):
        parameter.data = weight
    trained = [p for p in parameters if p.requires_grad]
    _here[number] = _Here(VideoModel(model, processor), views(gradients, trained))
    torch.set_num_threads(threads_here)


def _call(
    number: int,
    call: int,
    function: Function,
    part: tuple,
    state: tuple[Settings, GenerationConfig, bool],
    differentiate: bool,
    forgotten: Sequence[int],
) -> Any:
    for old in forgotten:
        _here.pop(old, None)
        _graphs.pop(old, None)
    video_model = _here[number].video_model
    video_model.settings, without_lora(video_model.model).generation_config, training = state
    video_model.model.train(training)
    with torch.set_grad_enabled(differentiate):
        outputs = function(video_model, *part)
    if not differentiate:
        return outputs
    _graphs[number] = call, outputs
    return tuple(output.detach() for output in outputs)


def _go_back(number: int, call: int, gradients: tuple[torch.Tensor, ...]) -> list[bool]:
    """Run the backward pass of a call. Returns whether each trained parameter has a gradient."""
    of_call, outputs = _graphs.pop(number, (None, ()))
    if of_call != call:
        raise RuntimeError("a helper keeps one forward pass at a time, and allows one backward pass through it")
    model, kept = _here[number]
    model.model.zero_grad()
    learned = [(output, g) for output, g in zip(outputs, gradients, strict=True) if output.requires_grad]
    torch.autograd.backward(*zip(*learned, strict=True))
    trained = [p.grad for p in model.model.parameters() if p.requires_grad]
    for shared, gradient in zip(kept, trained, strict=True):
        if gradient is not None:
            shared.copy_(gradient)
    return [gradient is not None for gradient in trained]
