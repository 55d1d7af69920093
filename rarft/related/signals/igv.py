"""IGV: invariant grounding for questions about videos (Li et al., CVPR 2022, arXiv 2206.02349).

Mechanism: a mask, learned from nothing but answers, splits the video into what causes the answer and the rest. Three
losses say what that means: the causal part alone must answer; the rest alone must not (its answer is to be uniform);
and with the rest of *another* video in place of its own, the answer must stay what it was.

Kept: the hard mask by Gumbel-softmax, the three losses, complements swapped within the batch. Scaled down: cells (the
regions of each step) for clips, one predictor of attention over them. Ours: a budget for the size of the mask, without
which it hardly chooses, and an entry "nothing" for attention to go to, without which the rest cannot say that it
does not know.

Does it refuse? Whom the question asks about can be in neither shot. Nobody trains that; the doubt is how much attention
goes to "nothing", or how sure the answer is (`refuse_by`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from rarft.related.bank import Bank
from rarft.related.moments.blocks import STEPS, WIDTH, Content, Pooled, in_batches, optimise, parameters_of
from rarft.related.signals.shortcut import ANSWERS, Question

BUDGET = 0.5  # share of the cells that the mask may take without a price


class Asked(NamedTuple):
    """video (B, T, R, D), steps (B, T), words (B, W, E), word_mask (B, W); shot (B, T), 0 or 1."""

    video: Tensor
    steps: Tensor
    words: Tensor
    word_mask: Tensor
    shot: Tensor


class Told(NamedTuple):
    """logits (B, answers); attention (B, 1 + N) to N cells, of which the first entry is "nothing"."""

    logits: Tensor
    attention: Tensor


class Answers(NamedTuple):
    """odds (N, answers); doubt (N,) in [0, 1]; shots (N, 2): how much attention goes to each shot."""

    odds: Tensor
    doubt: Tensor
    shots: Tensor


class _Network(nn.Module):
    def __init__(self, video_size: int, word_size: int, answers: int):
        super().__init__()
        self.content = Content(video_size)
        self.query = Pooled(word_size)
        self.mask = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 2))
        self.look = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 1))
        self.nothing = nn.Parameter(torch.zeros(WIDTH))
        self.answer = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, answers))

    def read(self, asked: Asked) -> tuple[Tensor, Tensor]:
        """Cells (B, N, WIDTH), N = T · R, and the question (B, WIDTH)."""
        return self.content(asked.video, asked.steps).flatten(1, 2), self.query(asked.words, asked.word_mask)

    def meet(self, cells: Tensor, query: Tensor) -> Tensor:
        """Cells that have met the question: (B, N, 2 WIDTH)."""
        return torch.cat([cells, cells * query[:, None] * WIDTH**0.5], -1)

    def causal(self, met: Tensor) -> Tensor:
        """1 for the cells that the mask keeps, else 0, (B, N); in training it is drawn, with a gradient."""
        logits = self.mask(met)
        if self.training:
            return F.gumbel_softmax(logits, hard=True)[..., 1]
        return (logits[..., 1] > logits[..., 0]).float()

    def told(self, met: Tensor, kept: Tensor, query: Tensor) -> Told:
        """The answer from the cells that `kept` (B, N), 0 or 1, leaves."""
        scores = self.look(met).squeeze(-1)
        scores = torch.cat([torch.zeros_like(scores[:, :1]), scores], 1)
        weight = torch.cat([torch.ones_like(kept[:, :1]), kept], 1)
        attention = weight * (scores - scores.amax(1, keepdim=True)).exp()
        attention = attention / attention.sum(1, keepdim=True)
        seen = torch.cat([self.nothing.expand(len(met), 1, -1), met[..., :WIDTH]], 1)
        pooled = torch.einsum("bn,bnd->bd", attention, seen)
        return Told(self.answer(torch.cat([pooled, query], -1)), attention)


class IGV:
    """Answers questions about a video; `invariant=False` is the same network without a mask, trained on answers alone.

    refuse_by: "nothing" or "certainty".
    """

    def __init__(
        self,
        *,
        invariant: bool = True,
        refuse_by: str = "nothing",
        budget: float | None = BUDGET,
        steps: int = STEPS,
        seed: int = 0,
    ):
        self.invariant, self.refuse_by, self.budget = invariant, refuse_by, budget
        self.steps, self.seed = steps, seed

    def fit(self, asked: Sequence[Question], bank: Bank, batch_size: int = 64) -> None:
        """Learn from questions that have an answer."""
        torch.manual_seed(self.seed)
        rng = np.random.default_rng(self.seed)
        self.network = _Network(bank.video_size, bank.word_size, len(ANSWERS))
        self.parameters = parameters_of(self.network)

        def loss_of_batch() -> Tensor:
            drawn = [asked[i] for i in rng.choice(len(asked), min(batch_size, len(asked)), replace=False)]
            return self._loss(as_tensors(drawn, bank), torch.tensor([question.answer for question in drawn]))

        desc = "IGV" if self.invariant else "without a mask"
        self.losses = optimise(self.network, loss_of_batch, steps=self.steps, desc=desc)

    def _loss(self, asked: Asked, answers: Tensor) -> Tensor:
        cells, query = self.network.read(asked)
        met, there = self.network.meet(cells, query), existing(asked)
        if not self.invariant:
            return F.cross_entropy(self.network.told(met, there, query).logits, answers)
        causal = self.network.causal(met) * there
        rest = there - causal
        from_causal = self.network.told(met, causal, query).logits
        from_rest = self.network.told(met, rest, query).logits
        # Every video gets the rest of the one before it in the batch, which is a random one.
        swapped = self.network.meet(torch.cat([cells, cells.roll(1, 0)], 1), query)
        mixed = self.network.told(swapped, torch.cat([causal, rest.roll(1, 0)], 1), query).logits
        loss = F.cross_entropy(from_causal, answers) + not_knowing(from_rest) + disagreement(mixed, from_causal)
        if self.budget is not None:
            share = causal.sum(1) / there.sum(1)
            loss = loss + 4 * (share - self.budget).clamp(min=0).square().mean()
        return loss

    @torch.inference_mode()
    def answer(self, asked: Sequence[Question], bank: Bank) -> Answers:
        """Of a question nothing is read but its shots and its words."""
        found = []
        for part in in_batches(asked):
            batch = as_tensors(part, bank)
            cells, query = self.network.read(batch)
            met, there = self.network.meet(cells, query), existing(batch)
            kept = self.network.causal(met) * there if self.invariant else there
            told = self.network.told(met, kept, query)
            odds = told.logits.softmax(1)
            doubt = told.attention[:, 0] if self.refuse_by == "nothing" else 1 - odds.amax(1)
            shots = [
                (told.attention[:, 1:].unflatten(1, batch.video.shape[1:3]).sum(2) * (batch.shot == n)).sum(1)
                for n in (0, 1)
            ]
            found.append(Answers(odds, doubt, torch.stack(shots, 1)))
        return Answers(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def existing(asked: Asked) -> Tensor:
    """1 for the cells of the steps that exist, else 0: (B, N)."""
    return asked.steps.repeat_interleave(asked.video.shape[2], 1).float()


def not_knowing(logits: Tensor) -> Tensor:
    """Cross-entropy against the uniform answer, less its smallest value: 0 where all answers are equally likely."""
    return -math.log(logits.shape[1]) - logits.log_softmax(1).mean()


def disagreement(logits: Tensor, wanted: Tensor) -> Tensor:
    """KL(wanted || logits), with no gradient to `wanted`."""
    return F.kl_div(logits.log_softmax(1), wanted.detach().log_softmax(1), log_target=True, reduction="batchmean")


def as_tensors(asked: Sequence[Question], bank: Bank) -> Asked:
    """Questions as padded tensors: the two shots one after the other."""
    firsts, seconds = (bank.videos([question.shots[number] for question in asked]) for number in (0, 1))
    videos = [torch.cat(shots) for shots in zip(firsts, seconds, strict=True)]
    shot = [torch.cat([torch.zeros(len(a)), torch.ones(len(b))]) for a, b in zip(firsts, seconds, strict=True)]
    words = [torch.from_numpy(w) for w in bank.encoder.words([question.shots[0].query for question in asked])]
    return Asked(
        pad_sequence(videos, batch_first=True),
        pad_sequence([torch.ones(len(v), dtype=torch.bool) for v in videos], batch_first=True),
        pad_sequence(words, batch_first=True),
        pad_sequence([torch.ones(len(w), dtype=torch.bool) for w in words], batch_first=True),
        pad_sequence(shot, batch_first=True, padding_value=-1),
    )
