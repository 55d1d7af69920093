"""The shapes in annotations are checked at each call while tests run: tests/conftest.py installs the hook."""

import pytest
import torch
from jaxtyping import TypeCheckError

from rarft.related.features import Batch, pad
from rarft.related.moments.blocks import PooledQuery, generalised_iou, segments_of
from rarft.related.moments.evidential import NIG, nig_loss
from rarft.related.moments.univtg import saliency_of
from rarft.related.signals.igv import uniformity_loss
from rarft.related.signals.prvg import attention_loss


def numbers(*shape):
    return torch.zeros(*shape)


WRONG = {
    "a third border": lambda: segments_of(numbers(2, 5, 3)),
    "two numbers of segments": lambda: generalised_iou(numbers(3, 2), numbers(4, 2)),
    "a mask of another query": lambda: PooledQuery(6)(numbers(2, 4, 6), numbers(2, 5).bool()),
    "a mask of numbers": lambda: PooledQuery(6)(numbers(2, 4, 6), numbers(2, 4)),
    "a query too many": lambda: saliency_of(numbers(2, 5, 8), numbers(3, 8)),
    "borders without a batch": lambda: nig_loss(NIG(*[numbers(3, 2)] * 4), numbers(2)),
    "attention without layers": lambda: attention_loss(numbers(3, 5), numbers(3, 5).bool()),
    "logits without a batch": lambda: uniformity_loss(numbers(4)),
    "a batch of two sizes": lambda: Batch(
        video=numbers(2, 5, 4, 8),
        steps=numbers(2, 5).bool(),
        words=numbers(2, 3, 6),
        word_mask=numbers(2, 3).bool(),
        step_seconds=numbers(2),
        spans=numbers(3, 2),
        relevant=numbers(2).bool(),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_shape_is_an_error(name):
    with pytest.raises(TypeCheckError):
        WRONG[name]()


def test_right_shapes_pass():
    assert segments_of(numbers(2, 5, 2)).shape == (2, 5, 2)
    assert generalised_iou(numbers(2), numbers(2)).shape == ()
    rows, exists = pad([numbers(2, 3), numbers(4, 3)])
    assert rows.shape == (2, 4, 3) and exists.sum(1).tolist() == [2, 4]
