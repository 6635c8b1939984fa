"""A toy space for all heads: features, graphs and statistics of nodes of networks whose quality is their size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archcast.datasets.spaces import get_space
from archcast.predictor.heads.networks import Networks

FloatArray = NDArray[np.float64]


def toy_specs(count: int, seed: int) -> list[str]:
    """Random chains of eight blocks: 0 is none, 1 a narrow one, 2 a wide one."""
    codes = np.random.default_rng(seed).integers(0, 3, (count, 8))
    return ["".join(map(str, code)) for code in codes]


def toy_networks(specs: list[str], seed: int = 0, features: bool = True) -> Networks:
    """Their one-hot codes, graphs, and two invented statistics of every layer, in very different units."""
    graphs = get_space("nas-bench-macro").stamp(specs)
    rng = np.random.default_rng(seed)
    params = graphs.column(np.asarray([node.params for node in graphs.nodes], np.float64))
    layer = params > 0
    snip = np.where(layer, np.sqrt(params) * np.exp(rng.normal(0, 0.1, len(params))), np.nan)
    flow = np.where(layer, 1e9 * params, np.nan)
    codes = np.asarray([[int(digit) for digit in spec] for spec in specs])
    rows = (codes[:, :, None] == np.arange(3)).reshape(len(specs), -1).astype(np.float64)
    return Networks(rows if features else rows[:, :0], 0, graphs, {"snip": snip, "synflow": flow})


def toy_space(count: int, seed: int) -> tuple[Networks, FloatArray]:
    """`count` networks; more blocks and wider ones are better, with noise."""
    specs = toy_specs(count, seed)
    sizes = np.asarray([sum(map(int, spec)) for spec in specs], np.float64)
    noise = np.random.default_rng(seed + 100).normal(0, 0.5, count)
    return toy_networks(specs, seed), sizes + noise
