"""How a network of a related system is trained, and the classes that share it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from rarft.models import count
from rarft.related.features import Batch, FeatureBank, in_batches
from rarft.related.protocol import Answer, System
from rarft.schema import Group, Sample
from rarft.system.progress import progress

STEPS = 1500  # of training
BATCH_SIZE, RATE = 32, 1e-3


class Learner(ABC):
    """A network that is trained on batches of examples.

    After `fit`: `network` is trained, `parameters` are its parameters, and `losses` has the loss of each step.
    """

    network: Any
    losses: list[float]

    def __init__(self, *, steps: int = STEPS, seed: int = 0):
        """steps: of training. seed: of the first weights and of the batches."""
        self.steps, self.seed = steps, seed

    @abstractmethod
    def build(self, examples: Sequence[Any], bank: FeatureBank) -> nn.Module:
        """The network before training on these examples."""

    @abstractmethod
    def batches(self, examples: Sequence[Any], rng: np.random.Generator) -> Iterator[list[Any]]:
        """Batches without an end."""

    @abstractmethod
    def loss(self, batch: list[Any], bank: FeatureBank) -> Tensor:
        """The loss of a batch: a scalar."""

    def fit(self, examples: Sequence[Any], bank: FeatureBank) -> None:
        """Train a new network."""
        torch.manual_seed(self.seed)
        self.network = self.build(examples, bank)
        self.parameters = count(self.network)
        batches = self.batches(examples, np.random.default_rng(self.seed))
        self.losses = optimize(self.network, lambda: self.loss(next(batches), bank), self.steps, type(self).__name__)


class SampleLearner(Learner, System):
    """A system that learns from groups and answers one query at a time."""

    def batches(self, examples: Sequence[Group], rng: np.random.Generator) -> Iterator[list[Sample]]:
        """Batches of `BATCH_SIZE` samples. A group gives its relevant sample and, if it has any, one irrelevant one,
        drawn anew. Groups come in random order, each once before any comes again."""
        waiting: list[int] = []
        while True:
            samples: list[Sample] = []
            while len(samples) < BATCH_SIZE:
                waiting = waiting or rng.permutation(len(examples)).tolist()
                group = examples[waiting.pop()]
                samples.append(group.relevant)
                if group.irrelevant:
                    samples.append(group.irrelevant[int(rng.integers(len(group.irrelevant)))])
            yield samples

    def loss(self, batch: list[Sample], bank: FeatureBank) -> Tensor:
        """The loss of samples."""
        return self.batch_loss(bank.batch(batch), batch, bank)

    @abstractmethod
    def batch_loss(self, batch: Batch, samples: Sequence[Sample], bank: FeatureBank) -> Tensor:
        """The loss of samples and their tensors: a scalar."""

    @abstractmethod
    def batch_answers(self, batch: Batch, samples: Sequence[Sample], bank: FeatureBank) -> list[Answer]:
        """The answers to samples, from their tensors."""

    @torch.inference_mode()
    def answer(self, samples: Sequence[Sample], bank: FeatureBank) -> list[Answer]:
        """Answer samples in batches."""
        return [a for part in in_batches(samples) for a in self.batch_answers(bank.batch(part), part, bank)]


def optimize(module: nn.Module, loss_of_batch: Callable[[], Tensor], steps: int, desc: str = "") -> list[float]:
    """Train a module by AdamW, one cycle of the rate, gradients clipped at 1. Returns the loss of each step."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=0.01)
    schedule = OneCycleLR(optimizer, max_lr=RATE, total_steps=steps, pct_start=max(0.1, 2 / steps))
    module.train()
    losses = []
    for _ in progress(range(steps), total=steps, desc=desc):
        value = loss_of_batch()
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(value.item())
    module.eval()
    return losses
