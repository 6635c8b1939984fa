"""Measured statistics of nodes as inputs: one row per network for ParZC, one row per node for graph encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archcast.errors import DataError
from archcast.predictor.heads.networks import Networks
from archcast.proxies.signed_log import signed_log

FloatArray = NDArray[np.float64]

_CONSTANT = 1e9  # spread of a statistic that is the same everywhere: it stays 0
_CLIP = 6.0  # standard deviations, as in `archcast.encoders.graph_tensors.standardised`


def require(networks: Networks, names: Sequence[str], head: str) -> None:
    """Refuse networks without graphs or without one of the statistics.

    Raises:
        DataError: what is missing, and how to get it.
    """
    absent = [name for name in names if name not in networks.nodes]
    if networks.graphs is None or absent:
        missing = ", ".join(absent) or "graphs"
        raise DataError(f"{head} reads {missing} of every node; measure them (archcast.proxies.measure) and pass nodes")


def layer_counts(networks: Networks, names: Sequence[str]) -> NDArray[np.int64]:
    """`[n]` how many nodes of each network have any of the statistics: its layers."""
    assert networks.graphs is not None
    return networks.graphs.sum_per_graph(_is_layer(networks.nodes, names).astype(np.int64))


def layer_rows(networks: Networks, names: Sequence[str], length: int) -> NDArray[np.float32]:
    """`[n, S * length]` statistics of the layers of each network, one statistic after another.

    Each statistic is scaled to 0..1 inside each network, (x - min) / (max - min), and padded with zeros on the right; a
    missing value is 0, layers after the `length`-th are left out. So what is left of a statistic is its profile
    over the depth: whether one network has more of it than another cannot be seen.
    """
    graphs = networks.graphs
    assert graphs is not None
    layer = np.flatnonzero(_is_layer(networks.nodes, names))
    owner = graphs.graph_of_node[layer]
    place = np.arange(len(layer)) - np.searchsorted(owner, np.arange(len(graphs)))[owner]
    fits = place < length
    result = np.zeros((len(graphs), len(names), length), np.float32)
    for column, name in enumerate(names):
        values = np.asarray(networks.nodes[name], np.float64)[layer]
        result[owner[fits], column, place[fits]] = _within(values, owner, len(graphs))[fits]
    return result.reshape(len(graphs), -1)


@dataclass(frozen=True)
class NodeScale:
    """sign(x) log(1 + |x| / unit), standardised by the nodes of the labelled networks.

    Attributes:
        unit: `[S]` 5 % quantile of |x| among what is neither 0 nor missing.
        center, spread: `[S]` mean and standard deviation of the logarithms.
    """

    unit: FloatArray
    center: FloatArray
    spread: FloatArray

    @classmethod
    def fit(cls, networks: Networks, names: Sequence[str]) -> NodeScale:
        """From the nodes of labelled networks."""
        columns = []
        for name in names:
            values = np.asarray(networks.nodes[name], np.float64)
            values = values[np.isfinite(values)]
            sizes = np.abs(values[values != 0])
            unit = float(np.quantile(sizes, 0.05)) if len(sizes) else 1.0
            logs = signed_log(values, unit) if len(values) else np.zeros(1)
            columns.append((unit, logs.mean(), logs.std() if logs.std() > 1e-9 else _CONSTANT))
        units, centers, spreads = np.asarray(columns, np.float64).reshape(-1, 3).T
        return cls(units, centers, spreads)

    def __call__(self, networks: Networks, names: Sequence[str]) -> NDArray[np.float32] | None:
        """`[N, S]` of the nodes of any networks, NaN where not measured; None without statistics."""
        if not names:
            return None
        columns = [
            signed_log(np.asarray(networks.nodes[name], np.float64), float(unit))
            for name, unit in zip(names, self.unit, strict=True)
        ]
        logs = np.stack(columns, axis=1)
        scaled = (np.where(np.isfinite(logs), logs, np.nan) - self.center) / self.spread
        return np.clip(scaled, -_CLIP, _CLIP).astype(np.float32)


def _is_layer(nodes: Mapping[str, NDArray[np.floating]], names: Sequence[str]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.any([np.isfinite(nodes[name]) for name in names], axis=0)
    return found


def _within(values: FloatArray, owner: NDArray[np.int64], count: int) -> FloatArray:
    """Values scaled to 0..1 inside their network; 0 where missing or all equal."""
    known = np.isfinite(values)
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, owner[known], values[known])
    np.maximum.at(high, owner[known], values[known])
    span = (high - low)[owner]
    scaled = np.divide(values - low[owner], span, out=np.zeros(len(values)), where=known & (span > 0))
    return np.asarray(np.nan_to_num(scaled))
