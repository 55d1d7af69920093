"""The rows of each epoch and their order, the same in a resumed run as in an uninterrupted one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """The rows of an epoch in random order, repeated as GRPO needs them.

    For the same seed the order is that of TRL's `RepeatSampler`, with three differences. Epoch e uses the rows from
    e * rows on, so epochs can use different rows. The order depends only on the seed and the number of the epoch; TRL's
    depends on how many epochs the process has run, which starts again from 0 after a resume. No row is left out: TRL
    drops rows that do not fill a step, while here the last step is filled from the beginning of the epoch's order.
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
            rows: the number of rows of one epoch.
            prompts: the number of distinct rows in a batch; each is yielded `generations` times in a row.
            passes: how often a batch is yielded before the next one.
            epoch: returns the number of the epoch; called when an epoch begins.
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
        for _ in range(epoch + 1 if self.shuffle else 0):  # earlier draws belong to earlier epochs
            order = torch.randperm(self.rows, generator=generator)
        return order.tolist()
