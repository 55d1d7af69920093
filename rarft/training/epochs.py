"""Which rows an epoch asks, and in which order, so that a resumed run asks those of an undisturbed one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """The rows of an epoch in random order, repeated as GRPO needs them.

    As TRL's `RepeatSampler`, and the same order for the same seed, but for three things. The rows of epoch e are those
    from e * rows on, so that epochs can ask different ones. The order of an epoch depends on the seed and its number
    alone; TRL's is that of the n-th pass of a process, and a resumed process starts with the first. No row is left out:
    TRL drops what does not fill a step, and here the last step of an epoch begins the epoch's order anew.
    """

    def __init__(
        self,
        rows: int,
        *,
        prompts: int,
        generations: int,
        passes: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        epoch: Callable[[], int] = lambda: 0,
    ):
        """
        Args:
            rows: of one epoch.
            prompts: different rows that are sampled from together; each is yielded `generations` times in a row.
            passes: how often such a batch is yielded before the next one.
            epoch: the number of the epoch that begins, asked for at its start.
        """
        self.rows, self.prompts, self.generations, self.passes = rows, prompts, generations, passes
        self.seed, self.shuffle, self.epoch = seed, shuffle, epoch

    def __len__(self) -> int:
        return -(-self.rows // self.prompts) * self.prompts * self.generations * self.passes

    def __iter__(self) -> Iterator[int]:
        epoch = self.epoch()
        order = self._order(epoch)
        for begin in range(0, self.rows, self.prompts):
            batch = [order[place % self.rows] for place in range(begin, begin + self.prompts)]
            for _ in range(self.passes):
                for row in batch:
                    yield from [epoch * self.rows + row] * self.generations

    def _order(self, epoch: int) -> list[int]:
        order = torch.arange(self.rows)
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(epoch + 1 if self.shuffle else 0):  # the draws before it are those of the epochs before it
            order = torch.randperm(self.rows, generator=generator)
        return order.tolist()
