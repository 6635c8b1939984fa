"""Predictor heads of GENNAPE on frozen embeddings: one perceptron per fuzzy cluster, summed by membership.

    s(z) = sum over clusters c of u_c(z) f_c(z)

Without clusters there is one head. Heads predict a standardised target, or which of two networks is better.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import sqrt

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from archcast.encoders.fuzzy import FuzzyClusters
from benchmarks.baselines.contract import FloatArray, train

_HIDDEN = 128
_REFERENCES = 64


class Heads(nn.Module):
    """C perceptrons with two hidden layers side by side: `[B, D]` inputs, `[B, C]` memberships -> `[B]`."""

    def __init__(self, inputs: int, heads: int) -> None:
        super().__init__()
        sizes = (inputs, _HIDDEN, _HIDDEN, 1)
        pairs = list(pairwise(sizes))
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(heads, a, b) * sqrt(2 / a)) for a, b in pairs])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(heads, 1, b)) for _, b in pairs])

    def forward(self, inputs: Tensor, memberships: Tensor) -> Tensor:
        rows = inputs[None].expand(len(self.weights[0]), -1, -1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            rows = torch.baddbmm(bias, functional.relu(rows) if layer else rows, weight)
        return (rows.squeeze(2).T * memberships).sum(dim=1)


class Head:
    """A trained soft ensemble on embeddings.

    Args:
        width: columns of the embeddings.
        clusters: of the training embeddings, or None for a single head.
        pairwise: predict which of two networks is better instead of a number.
    """

    def __init__(self, width: int, clusters: FuzzyClusters | None, *, pairwise: bool = False) -> None:
        self.clusters, self.pairwise = clusters, pairwise
        self.heads = Heads(width * (1 + pairwise), 1 if clusters is None else len(clusters))

    def memberships(self, embeddings: Tensor) -> Tensor:
        """`[B, C]`; ones without clusters."""
        if self.clusters is None:
            return embeddings.new_ones(len(embeddings), 1)
        return self.clusters.torch_memberships(embeddings)

    def fit(
        self, embeddings: Tensor, target: Tensor, space: Tensor,
        steps: int, learning_rate: float, rng: np.random.Generator,
    ) -> None:  # fmt: skip
        """Train, or train on. `[n]` targets and numbers of spaces; networks of one space are compared in pairs."""
        shares = self.memberships(embeddings)
        loss = self._pair_loss if self.pairwise else self._value_loss
        train(self.heads, loss(embeddings, shares, target, space, rng), steps, learning_rate, weight_decay=1e-4)

    def _value_loss(
        self, embeddings: Tensor, shares: Tensor, target: Tensor, _: Tensor, rng: np.random.Generator
    ) -> Callable[[int], Tensor]:
        def loss(_: int) -> Tensor:
            rows = torch.from_numpy(rng.integers(len(target), size=min(128, 4 * len(target))))
            return functional.mse_loss(self.heads(embeddings[rows], shares[rows]), target[rows])

        return loss

    def _pair_loss(
        self, embeddings: Tensor, shares: Tensor, target: Tensor, space: Tensor, rng: np.random.Generator
    ) -> Callable[[int], Tensor]:
        def loss(_: int) -> Tensor:
            one, two = torch.from_numpy(rng.integers(len(target), size=(2, 256)))
            fair = (space[one] == space[two]) & (target[one] != target[two])
            one, two = one[fair], two[fair]
            better = (target[one] > target[two]).to(embeddings.dtype)
            logits = self.compare(embeddings[one], embeddings[two], (shares[one] + shares[two]) / 2)
            return functional.binary_cross_entropy_with_logits(logits, better) if len(one) else logits.sum() * 0

        return loss

    def compare(self, one: Tensor, two: Tensor, shares: Tensor) -> Tensor:
        """Logit that the first is the better one; the opposite if they change places."""
        there, back = torch.cat([one, two], dim=1), torch.cat([two, one], dim=1)
        result: Tensor = self.heads(there, shares) - self.heads(back, shares)
        return result

    @torch.inference_mode()
    def scores(self, embeddings: Tensor) -> FloatArray:
        """`[G]`: the predicted target, or the mean probability to be better than members spread over the pool."""
        shares = self.memberships(embeddings)
        if not self.pairwise:
            return np.asarray(self.heads(embeddings, shares).double().numpy())
        chosen = np.unique(np.linspace(0, len(embeddings) - 1, min(_REFERENCES, len(embeddings))).astype(np.int64))
        total = torch.zeros(len(embeddings))
        for row in chosen.tolist():
            other, theirs = embeddings[row].expand_as(embeddings), shares[row].expand_as(shares)
            total += self.compare(embeddings, other, (shares + theirs) / 2).sigmoid()
        return np.asarray((total / len(chosen)).double().numpy())
