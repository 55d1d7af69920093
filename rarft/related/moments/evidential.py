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
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rarft.related.features import Batch, FeatureBank, Scalar, in_batches
from rarft.related.moments.blocks import WIDTH, Fusion, centres, two_layers
from rarft.related.moments.training import SampleLearner
from rarft.related.protocol import Answer
from rarft.schema import Group, Sample, Span
from rarft.system.errors import InputError

REGULARISERS = ("original", "geom")
REGULARISATION, NO_EVIDENCE = 0.1, 0.1  # weights of the regulariser, and of the evidence of irrelevant queries
Borders = Float[Tensor, "batch 2"]  # numbers of the start and the end


class NIG(NamedTuple):
    """Normal-inverse-gamma distributions of start and end, as shares of the video."""

    gamma: Borders
    nu: Borders
    alpha: Borders
    beta: Borders

    @property
    def evidence(self) -> Borders:
        """2ν + α, as if that many observations had been made."""
        return 2 * self.nu + self.alpha

    @property
    def aleatoric(self) -> Borders:
        """The expected variance of the data."""
        return self.beta / (self.alpha - 1)

    @property
    def epistemic(self) -> Borders:
        """The variance of the mean."""
        return self.beta / (self.nu * (self.alpha - 1))


def nig_loss(predicted: NIG, true: Borders) -> Scalar:
    """Negative log-likelihood of true borders: of a Student distribution with 2α degrees of freedom."""
    gamma, nu, alpha, beta = predicted
    omega = 2 * beta * (1 + nu)
    return (
        0.5 * torch.log(torch.pi / nu)
        - alpha * torch.log(omega)
        + (alpha + 0.5) * torch.log(nu * (true - gamma) ** 2 + omega)
        + torch.lgamma(alpha)
        - torch.lgamma(alpha + 0.5)
    ).mean()


def regulariser(predicted: NIG, true: Borders, kind: str) -> Scalar:
    """The original regulariser or Geom; errors and evidence of Geom are scaled to [0, 1] within the batch."""
    error, evidence = (true - predicted.gamma).abs(), predicted.evidence
    if kind == "original":
        return (error * evidence).mean()
    return ((_scale(error) + _scale(evidence) - 1) ** 2).mean()


def _scale(values: Tensor) -> Tensor:
    low, high = values.min(), values.max()
    return (values - low) / (high - low).clamp(min=1e-6)


class _Network(nn.Module):
    def __init__(self, bank: FeatureBank):
        super().__init__()
        self.fusion = Fusion(bank)
        self.pointer = nn.Linear(WIDTH, 2)
        self.head = two_layers(2 * WIDTH + 2, 8)

    def forward(self, batch: Batch) -> NIG:
        """The distributions of the borders of each segment."""
        steps = self.fusion(batch, batch.words, batch.word_mask)
        weights = self.pointer(steps).masked_fill(~batch.steps[..., None], -torch.inf).softmax(1)
        # Where the two pointers point, as shares of the video, and what is there: a border is read off both.
        at = torch.einsum("btk,t->bk", weights, centres(steps.shape[1])) / batch.steps.sum(1)[:, None]
        pooled = torch.einsum("btk,btd->bkd", weights, steps).flatten(1)
        shift, nu, alpha, beta = self.head(torch.cat([pooled, at], 1)).chunk(4, 1)
        return NIG(
            at + 0.5 * shift.tanh(), F.softplus(nu) + 1e-4, F.softplus(alpha) + 1 + 1e-4, F.softplus(beta) + 1e-6
        )


class Evidential(SampleLearner):
    """Segments with uncertainty. regulariser: "original" or "geom". refuse_by: "epistemic" or "aleatoric"."""

    def __init__(self, *, regulariser: str = "geom", refuse_by: str = "epistemic", **training: int):
        """training: steps and seed, see `Learner`. Raises InputError for another regulariser."""
        if regulariser not in REGULARISERS:
            raise InputError(f"unknown regulariser {regulariser!r}; choose one of {', '.join(REGULARISERS)}")
        super().__init__(**training)
        self.regulariser, self.refuse_by = regulariser, refuse_by

    def build(self, examples: Sequence[Group], bank: FeatureBank) -> nn.Module:
        """A transformer over video and query, with two pointers."""
        return _Network(bank)

    def batch_loss(self, batch: Batch, samples: Sequence[Sample], bank: FeatureBank) -> Tensor:
        """Likelihood, regulariser and error of relevant queries, evidence of irrelevant ones."""
        predicted, loss = self.network(batch), torch.zeros(())
        if batch.relevant.any():
            some = NIG(*(value[batch.relevant] for value in predicted))
            true = (batch.spans / batch.steps.sum(1)[:, None])[batch.relevant]
            loss = nig_loss(some, true) + REGULARISATION * regulariser(some, true, self.regulariser)
            loss = loss + (some.gamma - true).abs().mean()
        if not batch.relevant.all():
            loss = loss + NO_EVIDENCE * torch.log(predicted.evidence[~batch.relevant]).mean()
        return loss

    @torch.inference_mode()
    def predicted(self, samples: Sequence[Sample], bank: FeatureBank) -> NIG:
        """The distributions of the borders of each sample's segment."""
        parts = [self.network(bank.batch(part)) for part in in_batches(samples)]
        return NIG(*(torch.cat(values) for values in zip(*parts, strict=True)))

    def batch_answers(self, batch: Batch, samples: Sequence[Sample], bank: FeatureBank) -> list[Answer]:
        """The segment between the two means; refused by an uncertainty."""
        found = self.network(batch)
        width = getattr(found, self.refuse_by).mean(1)
        answers = []
        for borders, refusal, sample in zip(found.gamma.tolist(), (width / (1 + width)).tolist(), samples, strict=True):
            start, end = sorted(min(max(border, 0.0), 1.0) * float(sample.duration or 0) for border in borders)
            answers.append(Answer(Span(round(start, 2), round(end, 2)), refusal))
        return answers
