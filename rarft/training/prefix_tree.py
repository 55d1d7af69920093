"""A training pass that computes once what completions share: their prompt, and any prefix common to several of them.

The completions of a prompt form a prefix tree whose root is the last token of the prompt. `pack` makes one row of the
prompt and the tokens of this tree. In its attention mask, each token attends to the prompt, to the tokens before it in
its own completions, and to itself. The forward pass over this row is an ordinary one, so gradient checkpointing, LoRA,
FSDP and DeepSpeed work unchanged. (Prefix Grouper, Liu et al. 2025, shares the prompt in this way.)

A position predicts one token. Where completions diverge, their last common token must predict several next tokens, so
the row repeats that token for each next token but the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch


class Packed(NamedTuple):
    """B rows of L tokens: a prompt with its completions in each row.

    input_ids: (B, L).
    labels: (B, L). As in an ordinary row, the label at position i + 1 is the token that position i predicts.
    attention_mask: (B, 1, L, L), whether a token attends to another one.
    after: (B, L), the distance of a completion token from the last token of its prompt; 0 within prompts and padding.
    source: (N, C), for each token of the completions, its index among the B * (L - 1) predictions; -1 for padding.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    attention_mask: torch.Tensor
    after: torch.Tensor
    source: torch.Tensor

    def positions(self, prompts: torch.Tensor) -> torch.Tensor:
        """Positions of the prompts' tokens (..., B, P) → of all tokens (..., B, L)."""
        width = self.input_ids.shape[1] - prompts.shape[-1]
        return torch.cat([prompts, prompts[..., -1:].expand(*prompts.shape[:-1], width)], -1) + self.after

    def unpack(self, predictions: torch.Tensor) -> torch.Tensor:
        """A value for each prediction (B, L - 1) → for each token of the completions (N, C); 0 for padding."""
        return predictions.flatten()[self.source.clamp(min=0)].masked_fill(self.source < 0, 0)


def pack(
    groups: Sequence[Sequence[int]], input_ids: torch.Tensor, attention_mask: torch.Tensor, completion: int
) -> Packed:
    """Pack prompts with their completions.

    Args:
        groups: the indices of the rows that share a prompt; groups may differ in size.
        input_ids, attention_mask: (N, P + completion) of left-padded prompts and right-padded completions.
        completion: the number of tokens of the completion part.
    """
    prompt = input_ids.shape[1] - completion
    ids, real = input_ids.cpu().numpy(), attention_mask.cpu().numpy().astype(bool)
    trees = [Tree(ids[group[0], prompt - 1], [ids[i, prompt:][real[i, prompt:]] for i in group]) for group in groups]
    before, width = prompt - 1, prompt - 1 + max(len(tree.tokens) for tree in trees)
    shape = len(groups), width
    packed, labels, after = np.zeros(shape, np.int64), np.full(shape, -100), np.zeros(shape, np.int64)
    mask = np.tile(np.eye(width, dtype=bool), (len(groups), 1, 1))  # a padding row without any key would give NaN
    source = np.full((len(ids), completion), -1)
    for number, (group, tree) in enumerate(zip(groups, trees, strict=True)):
        end = before + len(tree.tokens)
        packed[number, :before], packed[number, before:end] = ids[group[0], :before], tree.tokens
        labels[number, before + 1 : end], after[number, before:end] = tree.predicted[:-1], tree.depths
        mask[number, :before, :before] |= np.tri(before, dtype=bool) & real[group[0], :before]
        mask[number, before:end, :before] = real[group[0], :before]
        mask[number, before:end, before:end] = tree.attends()
        for row, predictors in zip(group, tree.predictors, strict=True):
            source[row, real[row, prompt:]] = number * (width - 1) + before + np.array(predictors, int)
    tensors = (torch.from_numpy(part).to(input_ids.device) for part in (packed, labels, mask[:, None], after, source))
    return Packed(*tensors)


class Tree:
    """A prefix tree of completions, whose nodes are tokens. The root comes first, and parents come before children.

    tokens, depths: the token and the depth of each node.
    parents: the index of each node's parent; -1 for the root and its repetitions.
    predicted: the token that each node predicts; -100 for none.
    predictors: for each completion, the nodes that predict its tokens.
    """

    def __init__(self, root: int, completions: Sequence[Sequence[int]]):
        self.tokens, self.depths, self.parents, self.predicted = [int(root)], [0], [-1], [-100]
        self.predictors: list[list[int]] = []
        children: dict[tuple[int, int], tuple[int, int]] = {}  # (node, next token) → (predicting node, child)
        for completion in completions:
            node, path = 0, []
            for token in map(int, completion):
                if (node, token) not in children:
                    children[node, token] = self._grow(node, token)
                predictor, node = children[node, token]
                path.append(predictor)
            self.predictors.append(path)

    def _grow(self, node: int, token: int) -> tuple[int, int]:
        """Add a child to a node, or to its repetition if the node predicts a token already. Returns both."""
        predictor = node
        if self.predicted[node] != -100:
            predictor = self._add(self.tokens[node], self.parents[node], self.depths[node])
        self.predicted[predictor] = token
        return predictor, self._add(token, predictor, self.depths[node] + 1)

    def _add(self, token: int, parent: int, depth: int) -> int:
        self.tokens.append(token)
        self.depths.append(depth)
        self.parents.append(parent)
        self.predicted.append(-100)
        return len(self.tokens) - 1

    def attends(self) -> np.ndarray:
        """The attention mask of the nodes: each attends to its ancestors and to itself."""
        mask = np.eye(len(self.tokens), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                mask[node] |= mask[parent]
        return mask
