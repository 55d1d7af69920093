"""IGV: invariant grounding for questions about videos (Li et al., CVPR 2022, arXiv 2206.02349).

Mechanism: a mask, learned from nothing but answers, splits the video into what causes the answer and the rest. Three
losses say what that means: the causal part alone must answer; the rest alone must not (its answer is to be uniform);
and with the rest of *another* video in place of its own, the answer must stay what it was.

Kept: the hard mask by Gumbel-softmax, the three losses, complements swapped within the batch. Scaled down: cells (the
regions of each step) for clips, one predictor of attention over them. Ours: a budget for the size of the mask, without
which it hardly chooses, and an entry "nothing" for attention to go to, without which the rest cannot say that it
does not know.

Does it refuse? The actor of the question can be in neither shot. Nothing trains that; the refusal score is how much
attention goes to "nothing", or how unsure the answer is (`refuse_by`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from rarft.related.features import FeatureBank, Scalar, in_batches, pad
from rarft.related.moments.blocks import WIDTH, Content, PooledQuery, two_layers
from rarft.related.moments.training import Learner
from rarft.related.signals.shortcut import ANSWERS, TwoShotQuestion

BUDGET = 0.5  # share of the cells that the mask may take without a price
QUESTIONS = 64  # of a batch in training


class QuestionBatch(NamedTuple):
    """Questions as tensors, the two shots of each one after the other."""

    video: Float[Tensor, "batch steps regions video_size"]
    steps: Bool[Tensor, "batch steps"]  # true where a step exists
    words: Float[Tensor, "batch words word_size"]
    word_mask: Bool[Tensor, "batch words"]
    shot: Float[Tensor, "batch steps"]  # 0 or 1

    @property
    def cells(self) -> Float[Tensor, "batch cells"]:
        """1 for the cells (regions of steps) that exist, else 0."""
        return self.steps.repeat_interleave(self.video.shape[2], 1).float()


class Prediction(NamedTuple):
    """Logits of the answers; attention to "nothing", the first entry, and to each cell."""

    logits: Float[Tensor, "batch answers"]
    attention: Float[Tensor, "batch cells+1"]


class Predictions(NamedTuple):
    """What is read off the predictions for N questions."""

    probabilities: Float[Tensor, "questions answers"]
    refusals: Float[Tensor, " questions"]  # refusal scores in [0, 1]
    shots: Float[Tensor, "questions 2"]  # how much attention goes to each shot


class _Network(nn.Module):
    def __init__(self, bank: FeatureBank):
        super().__init__()
        self.content = Content(bank.video_size)
        self.query = PooledQuery(bank.word_size)
        self.mask = two_layers(2 * WIDTH, 2)
        self.look = two_layers(2 * WIDTH, 1)
        self.nothing = nn.Parameter(torch.zeros(WIDTH))
        self.answer = two_layers(2 * WIDTH, len(ANSWERS))

    def read(self, asked: QuestionBatch) -> tuple[Float[Tensor, "batch cells hidden"], Float[Tensor, "batch hidden"]]:
        """The cells of each video, and the question."""
        return self.content(asked.video, asked.steps).flatten(1, 2), self.query(asked.words, asked.word_mask)

    def meet(
        self, cells: Float[Tensor, "batch cells hidden"], query: Float[Tensor, "batch hidden"]
    ) -> Float[Tensor, "batch cells 2*hidden"]:
        """Cells that have met the question."""
        return torch.cat([cells, cells * query[:, None] * WIDTH**0.5], -1)

    def causal(self, met: Float[Tensor, "batch cells twice_hidden"]) -> Float[Tensor, "batch cells"]:
        """1 for the cells that the mask keeps, else 0; in training it is drawn, with a gradient."""
        logits = self.mask(met)
        if self.training:
            return F.gumbel_softmax(logits, hard=True)[..., 1]
        return (logits[..., 1] > logits[..., 0]).float()

    def predict(
        self,
        met: Float[Tensor, "batch cells twice_hidden"],
        kept: Float[Tensor, "batch cells"],
        query: Float[Tensor, "batch hidden"],
    ) -> Prediction:
        """The answer from the cells that are kept: 1, or else 0."""
        scores = self.look(met).squeeze(-1)
        scores = torch.cat([torch.zeros_like(scores[:, :1]), scores], 1)
        weight = torch.cat([torch.ones_like(kept[:, :1]), kept], 1)
        attention = weight * (scores - scores.amax(1, keepdim=True)).exp()
        attention = attention / attention.sum(1, keepdim=True)
        seen = torch.cat([self.nothing.expand(len(met), 1, -1), met[..., :WIDTH]], 1)
        pooled = torch.einsum("bn,bnd->bd", attention, seen)
        return Prediction(self.answer(torch.cat([pooled, query], -1)), attention)


class IGV(Learner):
    """Answers questions about a video."""

    def __init__(
        self, *, invariant: bool = True, refuse_by: str = "nothing", budget: float | None = BUDGET, **training: int
    ):
        """invariant: False for the same network without a mask, trained on answers alone. refuse_by: "nothing" or
        "certainty". budget: see `BUDGET`; None for no limit. training: steps and seed, see `Learner`."""
        super().__init__(**training)
        self.invariant, self.refuse_by, self.budget = invariant, refuse_by, budget

    def build(self, examples: Sequence[TwoShotQuestion], bank: FeatureBank) -> nn.Module:
        """A mask over cells and a predictor."""
        return _Network(bank)

    def batches(self, examples: Sequence[TwoShotQuestion], rng: np.random.Generator) -> Iterator[list[TwoShotQuestion]]:
        """Batches of questions that have an answer."""
        while True:
            yield [examples[i] for i in rng.choice(len(examples), min(QUESTIONS, len(examples)), replace=False)]

    def loss(self, batch: list[TwoShotQuestion], bank: FeatureBank) -> Tensor:
        """The three losses, and the price of a mask beyond its budget."""
        asked, answers = question_batch(batch, bank), torch.tensor([question.answer for question in batch])
        cells, query = self.network.read(asked)
        met, there = self.network.meet(cells, query), asked.cells
        if not self.invariant:
            return F.cross_entropy(self.network.predict(met, there, query).logits, answers)
        causal = self.network.causal(met) * there
        rest = there - causal
        from_causal = self.network.predict(met, causal, query).logits
        from_rest = self.network.predict(met, rest, query).logits
        # Every video gets the rest of the one before it in the batch, which is a random one.
        swapped = self.network.meet(torch.cat([cells, cells.roll(1, 0)], 1), query)
        mixed = self.network.predict(swapped, torch.cat([causal, rest.roll(1, 0)], 1), query).logits
        loss = F.cross_entropy(from_causal, answers) + uniformity_loss(from_rest) + invariance_loss(mixed, from_causal)
        if self.budget is not None:
            share = causal.sum(1) / there.sum(1)
            loss = loss + 4 * (share - self.budget).clamp(min=0).square().mean()
        return loss

    @torch.inference_mode()
    def answer(self, asked: Sequence[TwoShotQuestion], bank: FeatureBank) -> Predictions:
        """Of a question nothing is read but its shots and its words."""
        parts = [self._answer(question_batch(part, bank)) for part in in_batches(asked)]
        return Predictions(*(torch.cat(values) for values in zip(*parts, strict=True)))

    def _answer(self, asked: QuestionBatch) -> Predictions:
        cells, query = self.network.read(asked)
        met, there = self.network.meet(cells, query), asked.cells
        kept = self.network.causal(met) * there if self.invariant else there
        logits, attention = self.network.predict(met, kept, query)
        probabilities = logits.softmax(1)
        refusals = attention[:, 0] if self.refuse_by == "nothing" else 1 - probabilities.amax(1)
        per_step = attention[:, 1:].unflatten(1, asked.video.shape[1:3]).sum(2)
        shots = [(per_step * (asked.shot == number)).sum(1) for number in (0, 1)]
        return Predictions(probabilities, refusals, torch.stack(shots, 1))


def uniformity_loss(logits: Float[Tensor, "batch answers"]) -> Scalar:
    """Cross-entropy against the uniform answer, less its smallest value: 0 where all answers are equally likely."""
    return -math.log(logits.shape[1]) - logits.log_softmax(1).mean()


def invariance_loss(logits: Float[Tensor, "batch answers"], wanted: Float[Tensor, "batch answers"]) -> Scalar:
    """KL(wanted || logits), with no gradient to `wanted`."""
    return F.kl_div(logits.log_softmax(1), wanted.detach().log_softmax(1), log_target=True, reduction="batchmean")


def question_batch(asked: Sequence[TwoShotQuestion], bank: FeatureBank) -> QuestionBatch:
    """Questions as padded tensors."""
    firsts, seconds = (bank.videos([question.shots[number] for question in asked]) for number in (0, 1))
    pairs = list(zip(firsts, seconds, strict=True))
    shot, _ = pad([torch.cat([torch.zeros(len(first)), torch.ones(len(second))]) for first, second in pairs])
    video, words = pad([torch.cat(pair) for pair in pairs]), pad(bank.words([q.shots[0].query for q in asked]))
    return QuestionBatch(*video, *words, shot)
