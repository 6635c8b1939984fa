"""The network of ParZC: `Mixer`, a mixer over segments of node-wise statistics with Bayesian linear layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from archcast.predictor.heads.bayesian import BayesianLinear

if TYPE_CHECKING:
    from archcast.predictor.heads.parzc import ParZCConfig


class Residual(nn.Module):
    """`x + f(norm(x))`, f two linear maps with a GELU between; over the last axis, or over segments."""

    def __init__(self, width: int, hidden: int, dropout: float, *, over: int = 0) -> None:
        super().__init__()
        mixed = over or width
        self.over = over
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Sequential(
            nn.Linear(mixed, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, mixed), nn.Dropout(dropout)
        )

    def forward(self, segments: Tensor) -> Tensor:
        """`[b, segments, width]` -> the same shape."""
        normal = self.norm(segments)
        mixed = self.mix(normal.transpose(1, 2)).transpose(1, 2) if self.over else self.mix(normal)
        result: Tensor = segments + mixed
        return result


class Mixer(nn.Module):
    """`[b, inputs]` rows of statistics -> `[b]` scores.

    Linear to `segments * segment` numbers, cut into segments; a Bayesian linear map of each to `width`; `depth` pairs
    of residual maps; the mean over segments; a Bayesian linear map; two linear maps without bias.
    """

    def __init__(self, inputs: int, config: ParZCConfig) -> None:
        super().__init__()
        self.config = config
        width, noisy = config.width, config.variant == "released"
        self.project = nn.Linear(inputs, config.segments * config.segment)
        self.embed = BayesianLinear(config.segment, width, rho=config.rho, noisy=noisy)
        self.blocks = nn.Sequential(*[layer for _ in range(config.depth) for layer in _block(config)])
        self.norm = nn.LayerNorm(width)
        self.head = BayesianLinear(width, width, rho=config.rho, noisy=noisy)
        self.first = nn.Linear(width, max(width // 2, 1), bias=False)
        self.dropout = nn.Dropout(0.1)
        self.last = nn.Linear(max(width // 2, 1), 1, bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        segments = self.project(rows).reshape(len(rows), self.config.segments, self.config.segment)
        mixed = self.norm(self.blocks(self.embed(segments))).mean(dim=1)
        result: Tensor = self.last(self.dropout(self.first(self.head(mixed)))).squeeze(1)
        return result

    def kl(self) -> Tensor:
        """Mean KL divergence of the weights of both Bayesian layers from their prior."""
        layers = (self.embed, self.head)
        return torch.stack([layer.kl(self.config.prior) for layer in layers]).mean()


def _block(config: ParZCConfig) -> tuple[Residual, Residual]:
    """One block: the paper mixes segments, then channels; the released code mixes channels twice."""
    width, dropout = config.width, config.dropout
    if config.variant == "released":
        return Residual(width, 4 * width, dropout), Residual(width, max(width // 2, 1), dropout)
    tokens = Residual(width, max(config.segments // 2, 1), dropout, over=config.segments)
    return tokens, Residual(width, 4 * width, dropout)
