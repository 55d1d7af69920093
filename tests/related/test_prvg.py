"""Paragraphs: how they are made, what a sentence reads of the others, and the loss on attention."""

import numpy as np
import pytest
import torch

from rarft.related.moments.data import query_groups
from rarft.related.signals.prvg import (
    PRVG,
    attention_loss,
    contaminate,
    paragraph_batch,
    paragraphs_of,
    sorted_by_start,
)
from rarft.schema import Group
from rarft.world.dataset import make_world


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    clips = make_world(tmp_path_factory.mktemp("train"), "train", 6)
    return query_groups(clips, negatives="all", queries=4)


@pytest.fixture(scope="module")
def system(groups, bank):
    made = PRVG(steps=6)
    made.fit(groups, bank)
    return made


def test_attention_loss_does_not_ask_how_attention_is_spread():
    rng = np.random.default_rng(0)
    for _ in range(500):
        attention = rng.dirichlet(np.ones(8), (3, 2))
        inside = rng.random((3, 8)) < 0.4
        inside[:, 0] = True
        paid = [[attention[i, k][inside[i]].sum() for k in range(2)] for i in range(3)]
        expected = -np.log(paid).mean()
        found = attention_loss(torch.from_numpy(attention), torch.from_numpy(inside))
        assert float(found) == pytest.approx(expected, abs=1e-9)


def test_paragraphs_keep_their_sentences_apart(groups, bank):
    firsts = [group.relevant for group in groups]
    asked = paragraph_batch([firsts[:3], firsts[4:5], firsts[8:12]], bank)
    assert asked.places.tolist() == [[0, 1, 2, -1], [3, -1, -1, -1], [4, 5, 6, 7]]
    assert asked.firsts.tolist() == [0, 3, 4]


def test_a_paragraph_is_answered_alike_alone_and_among_others(system, groups, bank):
    paragraphs = [[group.relevant for group in groups[i : i + n]] for i, n in ((0, 4), (4, 1), (8, 3))]
    together = system.answer_paragraphs(paragraphs, bank)
    for paragraph, answers in zip(paragraphs, together, strict=True):
        [alone] = system.answer_paragraphs([paragraph], bank)
        assert len(answers) == len(paragraph)
        for one, other in zip(alone, answers, strict=True):
            assert one.refusal == pytest.approx(other.refusal, abs=1e-4)
            assert one.span == pytest.approx(other.span, abs=0.02)


def test_a_sentence_reads_the_others(system, groups, bank):
    [[alone], [first, _]] = system.answer_paragraphs(
        [[groups[0].relevant], [groups[0].relevant, groups[1].relevant]], bank
    )
    assert alone != first


def test_paragraphs_are_in_order_and_name_no_segment_twice(groups):
    made = paragraphs_of([*groups, *groups[::-1]])
    assert len(made) == len({group.video for group in groups})
    for paragraph in made:
        spans = [group.relevant.spans[0] for group in paragraph]
        assert spans == sorted(set(spans)) and len({group.video for group in paragraph}) == 1
    assert paragraphs_of(groups[:1]) == []


def test_contamination_changes_one_sentence(groups):
    rng = np.random.default_rng(0)
    four = sorted_by_start(groups[:4])
    assert [group.relevant.spans[0] for group in four] == sorted(group.relevant.spans[0] for group in groups[:4])
    for wrong in range(4):
        made = contaminate(four, wrong, rng)
        assert [sample.relevant for sample in made] == [number != wrong for number in range(4)]
        assert made[wrong] in four[wrong]
    assert contaminate([Group(group.relevant) for group in four], 0, rng) is None
