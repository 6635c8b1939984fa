"""Layers whose weights are distributions: `BayesianLinear`, and `LastLayer`, the closed form for a single output."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

FloatArray = NDArray[np.float64]


class BayesianLinear(nn.Module):
    """A linear map without bias whose weights are independent normals (Blundell et al., ICML 2015).

        y = (mean + softplus(rho) * e) x,   e ~ N(0, 1), one draw for the whole batch

    Args:
        noisy: draw e in evaluation mode too; otherwise e = 0 there.
    """

    def __init__(self, inputs: int, outputs: int, *, rho: float = -5.0, noisy: bool = False) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.empty(outputs, inputs))
        self.rho = nn.Parameter(torch.full((outputs, inputs), rho))
        self.noisy = noisy
        nn.init.kaiming_uniform_(self.mean, a=math.sqrt(5))

    @property
    def deviation(self) -> Tensor:
        """`[outputs, inputs]` standard deviations."""
        return functional.softplus(self.rho)

    def forward(self, rows: Tensor) -> Tensor:
        weight: Tensor = self.mean
        if self.training or self.noisy:
            weight = weight + self.deviation * torch.randn_like(self.mean)
        return functional.linear(rows, weight)

    def kl(self, prior: float) -> Tensor:
        """Mean over weights of KL(N(mean, deviation^2) || N(0, prior^2)), in nats."""
        variance = self.deviation**2
        return (
            math.log(prior) - self.deviation.log() + (variance + self.mean**2) / (2 * prior**2) - 0.5
        ).mean()  # fmt: skip


@dataclass(frozen=True)
class LastLayer:
    """Bayesian linear regression: the exact posterior of a last layer, which is what a variational one approaches.

        t = w'x + noise,  w ~ N(0, I / a),  noise ~ N(0, 1 / b)
        w | data ~ N(m, S),  S = (a I + b X'X)^-1,  m = b S X't

    a and b maximise the evidence p(t | X, a, b) (MacKay, 1992; Bishop, "Pattern Recognition and Machine Learning",
    2006, section 3.5.2). Rows are standardised by the training rows first.

    Attributes:
        center, scale: `[d]` standardisation of rows.
        mean: `[d]` m.
        root: `[d, d]` R with R R' = S.
        offset: mean of the targets.
        noise: standard deviation of the noise.
    """

    center: FloatArray
    scale: FloatArray
    mean: FloatArray
    root: FloatArray
    offset: float
    noise: float

    @classmethod
    def fit(cls, rows: FloatArray, targets: FloatArray, iterations: int = 60) -> LastLayer:
        """From `[n, d]` rows and `[n]` targets."""
        center, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
        standard, offset = (rows - center) / scale, float(targets.mean())
        wanted = targets - offset
        values, vectors = np.linalg.eigh(standard.T @ standard)
        values = np.maximum(values, 0)
        projected = vectors.T @ (standard.T @ wanted)
        total = float(wanted @ wanted)
        a, b = 1.0, 1 / max(total / len(wanted), 1e-9)
        for _ in range(iterations):
            weights = b * projected / (a + b * values)
            known = float((b * values / (a + b * values)).sum())  # effective number of weights that the data decide
            error = max(total - 2 * float(weights @ projected) + float(values @ weights**2), 1e-9)
            a = float(np.clip(known / max(float(weights @ weights), 1e-12), 1e-6, 1e6))
            b = float(np.clip(max(len(wanted) - known, 1.0) / error, 1e-6, 1e6))
        weights = b * projected / (a + b * values)
        return cls(center, scale, vectors @ weights, vectors / np.sqrt(a + b * values), offset, b**-0.5)

    def __call__(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`[m]` posterior means and `[m]` variances of targets, noise included, of `[m, d]` rows."""
        standard = (rows - self.center) / self.scale
        return standard @ self.mean + self.offset, ((standard @ self.root) ** 2).sum(axis=1) + self.noise**2
