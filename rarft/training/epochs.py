"""Which rows an epoch asks, and in which order, so that a resumed run asks the same as an uninterrupted one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """The rows of an epoch in random order, repeated as GRPO needs them.

    It gives the same order as TRL's `RepeatSampler` for the same seed, with three differences. The rows of epoch e are
    those from e * rows on, so that epochs can ask different ones. The order depends only on the seed and the number of
    the epoch; TRL's depends on how many passes the process has made, and a resumed process begins with the first. No
    row is left out: TRL drops rows that do not fill a step; here the last step of an epoch is filled from the beginning
    of the epoch's order.
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
        for _ in range(epoch + 1 if self.shuffle else 0):  # the earlier draws are those of the earlier epochs
            order = torch.randperm(self.rows, generator=generator)
        return order.tolist()
