"""Evidential grounding: a segment with two kinds of uncertainty (Beyond Uncertainty, arXiv 2408.16272, after deep
evidential regression, Amini et al., NeurIPS 2020).

Mechanism: for each border the network gives the four numbers of a normal-inverse-gamma distribution, (γ, ν, α, β): γ
is the border, β / (α - 1) the noise of the data (aleatoric), β / (ν (α - 1)) what the network does not know
(epistemic). Trained by the likelihood of the true border, plus a regulariser on evidence where the error is large.
The *original* one is |error| · evidence; the paper's *Geom* pulls (normalised error, normalised evidence) onto the
line from (0, 1) to (1, 0), so that evidence is asked for where the error is small and not only forbidden where it is
large.

Kept: the distribution, both regularisers, both uncertainties. Scaled down: regression from one pooled vector instead
of a detector's queries; no reconstruction of masked words.

Does it refuse? Uncertainty says how exactly a border is known *if there is one*. Nothing makes it large for a query
that does not happen, unless negatives are shown with the wish for no evidence at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rarft.related.bank import Bank, Batch
from rarft.related.moments.blocks import STEPS, WIDTH, Fusion, in_batches, parameters_of, train
from rarft.related.protocol import Answer, System
from rarft.schema import Group, Sample, Span
from rarft.system.errors import InputError

REGULARISERS = ("original", "geom")
WEIGHT = {"original": 0.1, "geom": 0.1}
NO_EVIDENCE = 0.1  # weight of the evidence of irrelevant queries


class NIG(NamedTuple):
    """Normal-inverse-gamma distributions, each (B, 2): of start and end, as shares of the video."""

    gamma: Tensor
    nu: Tensor
    alpha: Tensor
    beta: Tensor

    @property
    def evidence(self) -> Tensor:
        """2ν + α, as if so many observations had been made."""
        return 2 * self.nu + self.alpha

    @property
    def aleatoric(self) -> Tensor:
        return self.beta / (self.alpha - 1)

    @property
    def epistemic(self) -> Tensor:
        return self.beta / (self.nu * (self.alpha - 1))


def nig_loss(predicted: NIG, true: Tensor) -> Tensor:
    """Negative log-likelihood of true borders (B, 2): of a Student distribution with 2α degrees of freedom."""
    gamma, nu, alpha, beta = predicted
    omega = 2 * beta * (1 + nu)
    return (
        0.5 * torch.log(torch.pi / nu)
        - alpha * torch.log(omega)
        + (alpha + 0.5) * torch.log(nu * (true - gamma) ** 2 + omega)
        + torch.lgamma(alpha)
        - torch.lgamma(alpha + 0.5)
    ).mean()


def regulariser(predicted: NIG, true: Tensor, kind: str) -> Tensor:
    """The original regulariser or Geom; errors and evidence of Geom are scaled to [0, 1] within the batch."""
    error, evidence = (true - predicted.gamma).abs(), predicted.evidence
    if kind == "original":
        return (error * evidence).mean()
    return ((_scaled(error) + _scaled(evidence) - 1) ** 2).mean()


def _scaled(values: Tensor) -> Tensor:
    low, high = values.min(), values.max()
    return (values - low) / (high - low).clamp(min=1e-6)


class _Network(nn.Module):
    def __init__(self, video_size: int, word_size: int):
        super().__init__()
        self.fusion = Fusion(video_size, word_size)
        self.pointer = nn.Linear(WIDTH, 2)
        self.head = nn.Sequential(nn.Linear(2 * WIDTH + 2, WIDTH), nn.GELU(), nn.Linear(WIDTH, 8))

    def forward(self, batch: Batch) -> NIG:
        steps = self.fusion(batch.video, batch.steps, batch.words, batch.word_mask).steps
        weights = self.pointer(steps).masked_fill(~batch.steps[..., None], -torch.inf).softmax(1)
        # Where the two pointers point, as shares of the video, and what is there: a border is read off both.
        length = batch.steps.sum(1)[:, None]
        at = torch.einsum("btk,t->bk", weights, torch.arange(steps.shape[1]) + 0.5) / length
        pooled = torch.einsum("btk,btd->bkd", weights, steps).flatten(1)
        shift, nu, alpha, beta = self.head(torch.cat([pooled, at], 1)).chunk(4, 1)
        return NIG(
            at + 0.5 * shift.tanh(), F.softplus(nu) + 1e-4, F.softplus(alpha) + 1 + 1e-4, F.softplus(beta) + 1e-6
        )


class Evidential(System):
    """Segments with uncertainty. regulariser: "original" or "geom". refuse_by: "epistemic" or "aleatoric".

    Raises InputError for another regulariser.
    """

    def __init__(self, *, regulariser: str = "geom", refuse_by: str = "epistemic", steps: int = STEPS, seed: int = 0):
        if regulariser not in REGULARISERS:
            raise InputError(f"unknown regulariser {regulariser!r}; choose one of {', '.join(REGULARISERS)}")
        self.regulariser, self.refuse_by, self.steps, self.seed = regulariser, refuse_by, steps, seed

    def fit(self, groups: Sequence[Group], bank: Bank) -> None:
        torch.manual_seed(self.seed)
        self.network = _Network(bank.video_size * bank.grid, bank.word_size)
        self.parameters = parameters_of(self.network)
        self.losses = train(self.network, self._loss, groups, bank, steps=self.steps, seed=self.seed, desc="evidential")

    def _loss(self, batch: Batch, _: list[Sample]) -> Tensor:
        predicted, loss = self.network(batch), torch.zeros(())
        if batch.relevant.any():
            some = NIG(*(value[batch.relevant] for value in predicted))
            true = (batch.spans / batch.steps.sum(1)[:, None])[batch.relevant]
            loss = nig_loss(some, true) + WEIGHT[self.regulariser] * regulariser(some, true, self.regulariser)
            loss = loss + (some.gamma - true).abs().mean()
        if not batch.relevant.all():
            loss = loss + NO_EVIDENCE * torch.log(predicted.evidence[~batch.relevant]).mean()
        return loss

    @torch.inference_mode()
    def predicted(self, samples: Sequence[Sample], bank: Bank) -> NIG:
        """The distributions of the borders of each sample's segment."""
        parts = [self.network(bank.batch(part)) for part in in_batches(samples)]
        return NIG(*(torch.cat(values) for values in zip(*parts, strict=True)))

    def answer(self, samples: Sequence[Sample], bank: Bank) -> list[Answer]:
        found = self.predicted(samples, bank)
        width = getattr(found, self.refuse_by).mean(1)
        answers = []
        for (start, end), doubt, sample in zip(
            found.gamma.tolist(), (width / (1 + width)).tolist(), samples, strict=True
        ):
            start, end = sorted((min(max(start, 0.0), 1.0), min(max(end, 0.0), 1.0)))
            length = float(sample.duration or 0)
            answers.append(Answer(Span(round(start * length, 2), round(end * length, 2)), doubt))
        return answers
