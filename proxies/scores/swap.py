"""SWAP (Peng et al., "SWAP-NAS: sample-wise activation patterns for ultra-fast NAS", ICLR 2024)."""

from __future__ import annotations

import math

import torch

from archcast.proxies.passes import Passes
from archcast.proxies.proxy import NodeValues, Proxy

_MEAN_PARAMS, _SPREAD = 1e6, 1e6
"""mu and sigma of the regularisation, in parameters; the paper sets them to the size one looks for."""


def nodes(passes: Passes) -> NodeValues:
    """Distinct patterns among the units of each activation."""
    return {value: float(patterns.sum()) for value, patterns in passes.sample_patterns.items()}


def score(passes: Passes, _nodes: NodeValues) -> float:
    return float(torch.stack(list(passes.sample_patterns.values())).any(dim=0).sum())


def regularised(passes: Passes, values: NodeValues) -> float:
    size = sum(passes.tape.sizes)
    return score(passes, values) * math.exp(-((size - _MEAN_PARAMS) ** 2) / (_SPREAD**2))


_FORMULA = "number of distinct sample-wise patterns: for each unit, on which of the samples it is active"
PROXIES = (
    Proxy(
        name="swap",
        paper="Peng et al., ICLR 2024",
        formula=_FORMULA,
        sign=1,
        unit="patterns",
        invariances="positive scale of any activation",
        reads="inputs",
        cost="fast",
        nodes=nodes,
        score=score,
    ),
    Proxy(
        name="swap_reg",
        paper="Peng et al., ICLR 2024",
        formula=f"{_FORMULA}, times exp(-((params - mu) / sigma)^2), mu = sigma = 1 M parameters",
        sign=1,
        unit="patterns",
        invariances="positive scale of any activation",
        reads="inputs",
        cost="full",
        score=regularised,
    ),
)
