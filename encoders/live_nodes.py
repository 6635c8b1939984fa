"""The live nodes of a batch with everything the tabular features ask of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.roles import ROLES, NodeColumns
from archcast.graphs.graph import GraphBatch
from archcast.graphs.paths import LivePaths

FloatArray = NDArray[np.float64]

PATH_ROLES: Final = ("convk", "conv1", "depthwise", "linear", "mixing", "recurrent", "graph", "pool", "join")
PATH_COLUMNS: Final = (*PATH_ROLES, "weighted", "log_width", "log_fan_in", "log_macs")
"""What each live node adds to the statistics of a path."""

MOVES: Final = ("spatial", "point", "pool", "skip")
"""What a step along a path can be: an operation that looks around, one that does not, a pool, or a skip edge."""

_SPATIAL = ("convk", "depthwise", "mixing", "recurrent", "graph")
_POINT = ("conv1", "linear")


_ENERGY_LIMIT: Final = 1e200  # energies can double at every join of a very deep network


class Signal(NamedTuple):
    """Where the energy of a signal flows at initialisation (see `signal_features`).

    Attributes:
        energy: `[M]` what comes into each node.
        shares: `[E]` the share of each edge in what its target gets.
        visits: `[M]` how often a walk back from the output meets each node.
    """

    energy: FloatArray
    shares: FloatArray
    visits: FloatArray


@dataclass(frozen=True)
class LiveNodes:
    """The live part of each graph (see `LivePaths`), a row per live node.

    Attributes:
        paths: nodes and edges, and statistics over paths.
        columns: numbers per distinct node of the batch.
        kinds: `[M]` the distinct node each live node is.
        role: `[M]` position in `ROLES`; a node that counts only because paths meet in it is a join.
        weights: `[M, len(PATH_COLUMNS)]` float32.
        moves: `[M, len(MOVES)]` float32, which move each node is (skips are edges, so their column is zero).
        skips: `[E]` edges that carry a value past other operations: into a join, from a node that others read too.
        necks: `[M]` nodes that every path leads through.
        sums: `[M]` additions and subtractions.
    """

    paths: LivePaths
    columns: NodeColumns
    kinds: NDArray[np.int64]
    role: NDArray[np.int64]
    weights: NDArray[np.float32]
    moves: NDArray[np.float32]
    skips: NDArray[np.bool_]
    necks: NDArray[np.bool_]
    sums: NDArray[np.bool_]

    @classmethod
    def of(cls, batch: GraphBatch, columns: NodeColumns) -> LiveNodes:
        paths = LivePaths(batch, columns.role >= 0)
        kinds = batch.kinds[paths.nodes]
        role = columns.role[kinds]
        role = np.where(role < 0, ROLES.index("join"), role)
        is_role = np.eye(len(ROLES), dtype=np.float32)[role]
        one_hot = is_role[:, [ROLES.index(name) for name in PATH_ROLES]]
        weighted = columns.weighted[kinds]
        log_macs = weighted * np.log1p(columns.macs[kinds])
        rest = (weighted, columns.log_width[kinds], columns.log_fan_in[kinds], log_macs)
        weights = np.column_stack([one_hot, *rest]).astype(np.float32)
        moves = np.zeros((len(role), len(MOVES)), dtype=np.float32)
        for move, names in (("spatial", _SPATIAL), ("point", _POINT), ("pool", ("pool",))):
            moves[:, MOVES.index(move)] = is_role[:, [ROLES.index(name) for name in names]].sum(axis=1)
        necks = paths.visits > 1 - 1e-6
        sums = np.asarray([node.op in ("Add", "Sub") for node in batch.nodes], dtype=bool)[kinds]
        return cls(paths, columns, kinds, role, weights, moves, _skips(paths, role), necks, sums)

    @property
    def operations(self) -> NDArray[np.bool_]:
        """`[M]` nodes that work on what they get, other than pools."""
        found: NDArray[np.bool_] = (self.moves[:, MOVES.index("spatial")] + self.moves[:, MOVES.index("point")]) > 0
        return found

    @cached_property
    def signal(self) -> Signal:
        """The flow of energy: an operation puts out 1, a sum adds up, any other join averages."""
        paths, size = self.paths, len(self.role)
        fan_in = np.maximum(np.bincount(paths.targets, minlength=size), 1)
        averaged = np.where(self.sums, 1.0, 1.0 / fan_in)
        sources = self.operations | (self.role == ROLES.index("input"))
        marks = np.ones((size, 1))
        energy = paths.levels.nearest(marks, sources, _ENERGY_LIMIT, edge_weights=averaged[paths.targets])[:, 0]
        energy = np.where(energy > 0, energy, 1.0)  # inputs
        sent = np.where(sources, 1.0, energy)[paths.sources]
        shares = sent / np.bincount(paths.targets, sent, minlength=size)[paths.targets]
        outputs = self.count(self.role == ROLES.index("output"))
        start = paths.is_output / np.maximum(outputs, 1)[paths.graph]
        return Signal(energy, shares, paths.walk_back(start, shares))

    def column(self, name: str) -> NDArray[np.float32]:
        """One named column of `weights`."""
        result: NDArray[np.float32] = self.weights[:, PATH_COLUMNS.index(name)]
        return result

    def count(self, flags: NDArray[np.bool_]) -> FloatArray:
        """`[G]` number of flagged live nodes of each graph."""
        return np.bincount(self.paths.graph[flags], minlength=self.paths.size).astype(np.float64)

    def largest(self, values: NDArray[np.generic]) -> FloatArray:
        """`[G]` largest of `values` `[M]` in each graph, at least 0."""
        result = np.zeros(self.paths.size)
        np.maximum.at(result, self.paths.graph, values)
        return result


def _skips(paths: LivePaths, role: NDArray[np.int64]) -> NDArray[np.bool_]:
    fan_out = np.bincount(paths.sources, minlength=len(role))
    joins = role == ROLES.index("join")
    result: NDArray[np.bool_] = (
        joins[paths.targets] & (joins | (role == ROLES.index("input")) | (fan_out > 1))[paths.sources]
    )
    return result
