"""The arithmetic of `archcast.predictor.in_context` in torch, for several pools at once: B pools of equal sizes.

Importing this module imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from archcast.predictor.in_context import ANCHOR_COLUMNS, CARRIES_OVER, COLUMN_STEP, GROUP_OF

if TYPE_CHECKING:
    from archcast.predictor.in_context import Described

Parameters = Mapping[str, Tensor]

_TINY = 1e-12
_LEAST_SPREAD = 1e-3
_LEAST_LOG_NOISE = -9.0  # below, kernels of equal networks cannot be decomposed


@dataclass(frozen=True, eq=False)
class Members:
    """Some networks of each of B pools.

    Attributes:
        rows: `[B, N, F]` standardised features.
        gate: `[B, F]` how much each column varies in the pool.
        prior: `[B, N]`.
        measured: `[B, N, P]` standardised statistics; columns of zeros where there are none.
        hidden: `[B, K]` true for sources a pool must not hear; None where it may hear all.
    """

    rows: Tensor
    gate: Tensor
    prior: Tensor
    measured: Tensor
    hidden: Tensor | None = None

    @classmethod
    def of(cls, described: Sequence[Described], hidden: Tensor | None = None) -> Members:
        """Pools of equal sizes."""
        rows, gate, prior, measured = (
            torch.from_numpy(np.stack([getattr(pool, name) for pool in described]))
            for name in ("rows", "gate", "prior", "measured")
        )
        return cls(rows, gate, prior, measured, hidden)

    def part(self, start: int, stop: int | None) -> Members:
        """Members `start` to `stop` of every pool."""
        kept = slice(start, stop)
        return Members(self.rows[:, kept], self.gate, self.prior[:, kept], self.measured[:, kept], self.hidden)


def zero_shot(weights: Parameters, members: Members) -> Tensor:
    """`[B, N]` scores without labels."""
    tokens = _columns_say(weights, members, members.prior, None)
    return _zero_shot(weights, members, tokens[0], *_trust(weights, members))


@dataclass(frozen=True, eq=False)
class Context:
    """The labelled members of B pools, and what follows from them.

    Attributes:
        members: `[B, n]`.
        share: `[B]` t.
        mixture: `[B, K]` w_k.
        column_weights: `[B, F]` v_j.
        roots: `[B, F]` square roots of q_j.
        center, spread: `[B, 1]` of the zero-shot scores of the labelled members.
        solved: `[M, L, B, n]` weights of the kernels' columns, M = 2 where something was measured.
        level: `[B, 1]` mean of the labels beside the mean function.
        joint: whether measured statistics count.
    """

    members: Members
    share: Tensor
    mixture: Tensor
    column_weights: Tensor
    roots: Tensor
    center: Tensor
    spread: Tensor
    solved: Tensor
    level: Tensor
    joint: bool

    @classmethod
    def of(cls, weights: Parameters, members: Members, targets: Tensor, use_measured: bool = True) -> Context:
        """Condition on `targets` `[B, n]`; measured statistics are left out unless `use_measured`."""
        mixture, share = _trust(weights, members)
        column_weights, own = _columns_say(weights, members, members.prior, targets)
        raw = _zero_shot(weights, members, column_weights, mixture, share)
        center, spread = raw.mean(1, keepdim=True), raw.std(1, keepdim=True, correction=0).clamp(min=_LEAST_SPREAD)
        logs = weights["group"][torch.from_numpy(GROUP_OF)] + weights["own"] + own
        varies = members.gate > 0
        relevance = torch.exp(logs) * members.gate.clamp(min=1e-4) ** weights["gate power"] * varies
        roots = (relevance / relevance.sum(1, keepdim=True).clamp(min=_TINY) + _TINY).sqrt()
        joint = use_measured and members.measured.shape[2] > 0
        none = torch.zeros(0, dtype=roots.dtype)
        bare = cls(members, share, mixture, column_weights, roots, center, spread, none, none, joint)
        scores = bare.zero_shot(weights, members)
        residual = targets - bare.mean(weights, scores)
        level = residual.mean(1, keepdim=True)
        solved = _condition(weights, bare.kernels(weights, members, scores, scores), residual - level)
        return replace(bare, solved=solved, level=level)

    def scores(self, weights: Parameters, members: Members) -> Tensor:
        """`[B, m]` scores of other members of the same pools."""
        known, asked = (self.zero_shot(weights, part) for part in (self.members, members))
        smooth = torch.einsum("flbmn,flbn->bm", self.kernels(weights, members, asked, known), self.solved)
        return smooth + self.mean(weights, asked) + self.level

    def zero_shot(self, weights: Parameters, members: Members) -> Tensor:
        """`[B, m]` s in units of its spread among the labelled members."""
        raw = _zero_shot(weights, members, self.column_weights, self.mixture, self.share)
        return ((raw - self.center) / self.spread).clamp(-4, 4)

    def mean(self, weights: Parameters, scores: Tensor) -> Tensor:
        """`[B, m]` the mean function."""
        return self._by_share(weights["mean"])[:, None] * scores

    def kernels(self, weights: Parameters, members: Members, scores: Tensor, known: Tensor) -> Tensor:
        """`[M, L, B, m, n]` covariances with the labelled members, without and with measured statistics."""
        lengths = torch.exp(weights["log lengths"])
        distance = _distances(members.rows * self.roots[:, None], self.members.rows * self.roots[:, None])
        strength = self._by_share(torch.exp(weights["log linear"]))[:, None, None]
        smooth = torch.stack([_matern(distance / length) for length in lengths])
        smooth = smooth + strength * scores[:, :, None] * known[:, None, :]
        if not self.joint:
            return smooth[None]
        count = (self.members.measured.square().sum(1) > 0).sum(1).clamp(min=1)[:, None, None]
        apart = _distances(members.measured, self.members.measured) / count.sqrt()
        return torch.stack([smooth, smooth + torch.stack([_matern(apart / length) for length in lengths])])

    def _by_share(self, pair: Tensor) -> Tensor:
        """`[B]` the first of two numbers where no source is alike, the second where one is."""
        return pair[0] * (1 - self.share) + pair[1] * self.share


def _trust(weights: Parameters, members: Members) -> tuple[Tensor, Tensor]:
    """`[B, K]` weights of the experts, which sum to 1 or are 0, and `[B]` how alike the nearest source is."""
    sources, count = weights["gates"], len(members.gate)
    if not len(sources):
        return torch.zeros(count, 0, dtype=sources.dtype), torch.zeros(count, dtype=sources.dtype)
    carried = torch.from_numpy(CARRIES_OVER > 0)
    alike = _correlations(members.gate[:, carried], sources[:, carried]).clamp(min=0)
    heard = torch.ones_like(alike) if members.hidden is None else (~members.hidden).to(alike)
    near = (alike + _TINY) ** weights["sharpness"] * heard
    trust = near * torch.exp(weights["reliability"])
    return trust / trust.sum(1, keepdim=True).clamp(min=_TINY), near.max(1).values


def _zero_shot(weights: Parameters, members: Members, columns: Tensor, mixture: Tensor, share: Tensor) -> Tensor:
    relative = members.rows * members.gate[:, None]
    expert = torch.einsum("bnf,bf->bn", relative, mixture @ weights["experts"])
    whisper = torch.einsum("bnf,bf->bn", relative, columns)
    part = (weights["experts share"] * share)[:, None]
    return (1 - part) * members.prior + part * expert + share[:, None] * whisper


def _columns_say(weights: Parameters, members: Members, prior: Tensor, targets: Tensor | None) -> list[Tensor]:
    """`[B, F]` v_j and u_j, by a set network over columns."""
    rows, gate = members.rows, members.gate
    units = _unit(rows)
    anchors = torch.einsum("bnf,bna->bfa", units, units[:, :, ANCHOR_COLUMNS]) / rows.shape[1]
    to_prior = torch.einsum("bnf,bn->bf", units, _unit(prior[:, :, None])[:, :, 0]) / rows.shape[1]
    nothing = torch.zeros_like(gate)
    to_labels, size = nothing, nothing
    if targets is not None:
        to_labels = torch.einsum("bnf,bn->bf", units, _unit(targets[:, :, None])[:, :, 0]) / rows.shape[1]
        size = nothing + (math.log(rows.shape[1]) - 3)
    mixture, _ = _trust(weights, members)
    evidence = torch.log1p(to_labels.square() * rows.shape[1])
    experts = 10 * mixture @ weights["experts"]
    told = torch.stack(
        [gate, (gate > 0).to(gate), to_prior, experts, experts.abs(), to_labels, to_labels.abs(), evidence, size], -1
    )
    groups = weights["token group"][torch.from_numpy(GROUP_OF)].expand(len(gate), -1, -1)
    tokens = torch.cat([anchors, told, groups], -1)
    hidden = torch.relu(tokens @ weights["token in"].T + weights["token in bias"])
    pooled = (hidden * gate[:, :, None]).sum(1) / gate.sum(1)[:, None].clamp(min=1e-6)
    both = torch.cat([hidden, pooled[:, None].expand_as(hidden)], -1)
    mixed = torch.relu(both @ weights["token mix"].T + weights["token mix bias"]) @ weights["token out"].T
    return [COLUMN_STEP * mixed[..., 0], mixed[..., 1].clamp(-3, 3)]


def _condition(weights: Parameters, kernels: Tensor, residual: Tensor) -> Tensor:
    """`[M, L, B, n]` kernel weights of `[M, L, B, n, n]`, averaged over noises and lengths by their likelihood."""
    size = residual.shape[1]
    noises = torch.exp(weights["log noises"].clamp(min=_LEAST_LOG_NOISE))[:, None, None, None]
    noises = noises * torch.eye(size, dtype=kernels.dtype)
    factor = torch.linalg.cholesky(kernels[:, :, None] + noises)
    right = residual[:, :, None].expand(*factor.shape[:-1], 1)
    solved = torch.cholesky_solve(right, factor)[..., 0]
    amplitude = (solved * residual).sum(-1) / size
    likelihood = -size / 2 * torch.log(amplitude.clamp(min=1e-9))
    likelihood = likelihood - torch.log(torch.diagonal(factor, dim1=-2, dim2=-1)).sum(-1)
    logs = likelihood * torch.exp(weights["log temperature"]) + weights["log shares"][: len(kernels), :, :, None]
    shares = torch.softmax(logs.flatten(0, 2), 0).reshape(logs.shape)
    return (shares[..., None] * solved).sum(2)


def _unit(values: Tensor) -> Tensor:
    """`[B, n, c]` columns of zero mean and unit spread, zeros where all are equal."""
    centred = values - values.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + _LEAST_SPREAD**2).sqrt()


def _correlations(left: Tensor, right: Tensor) -> Tensor:
    """`[B, K]` Pearson correlations of the rows of `[B, c]` and `[K, c]`."""
    left, right = (part - part.mean(1, keepdim=True) for part in (left, right))
    lengths = left.square().sum(1)[:, None] * right.square().sum(1)[None]
    return left @ right.T / lengths.sqrt().clamp(min=1e-9)


def _distances(left: Tensor, right: Tensor) -> Tensor:
    """`[B, m, n]` Euclidean distances."""
    squares = left.square().sum(-1)[:, :, None] + right.square().sum(-1)[:, None, :]
    return (squares - 2 * left @ right.transpose(1, 2)).clamp(min=1e-10).sqrt()


def _matern(distance: Tensor) -> Tensor:
    scaled = math.sqrt(3) * distance
    return (1 + scaled) * torch.exp(-scaled)
