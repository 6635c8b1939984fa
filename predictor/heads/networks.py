"""`Networks`, what every head sees, and `Head`, what every head is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from archcast.errors import DataError
from archcast.graphs.graph import GraphBatch

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Networks:
    """Some networks as numbers. A head uses the part it is made for.

    Attributes:
        features: `[n, F]` one row per network; the last `measured` columns are measured statistics.
        measured: how many.
        graphs: the networks themselves, for heads that read graphs.
        nodes: measured statistic -> `[N]` its value at every node of `graphs`, NaN where there is none.
    """

    features: FloatArray
    measured: int = 0
    graphs: GraphBatch | None = None
    nodes: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.graphs is None:
            if self.nodes:
                raise DataError("statistics of nodes came without graphs; give the graphs that were measured")
            return
        if len(self.graphs) != len(self.features):
            raise DataError(f"{len(self.graphs)} graphs for {len(self.features)} rows of features; give one row each")
        for name, values in self.nodes.items():
            if len(values) != len(self.graphs.kinds):
                raise DataError(f"{name}: {len(values)} values for {len(self.graphs.kinds)} nodes; give one per node")

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Networks:
        """The networks at `rows`, in that order."""
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows, dtype=np.int64)
        if self.graphs is None:
            return Networks(self.features[rows], self.measured)
        starts, counts = self.graphs.ptr[rows], np.diff(self.graphs.ptr)[rows]
        first = np.cumsum(counts) - counts
        at = np.arange(counts.sum()) + np.repeat(starts - first, counts)
        nodes = {name: values[at] for name, values in self.nodes.items()}
        return Networks(self.features[rows], self.measured, self.graphs.take(rows), nodes)


class Head(Protocol):
    """A fitted regressor from networks to normal scores. Its class has `fit(networks, targets, *, seed)`."""

    def predict(self, networks: Networks) -> FloatArray:
        """`[m]` scores, higher is better."""
        ...
