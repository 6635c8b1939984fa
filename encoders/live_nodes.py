"""The live nodes of a batch with everything the tabular features ask of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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
