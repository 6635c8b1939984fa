"""Where each node stands on the paths of its graph: which nodes are silent, how often paths visit the others, how deep.

A node is *silent* if it is `Zero`, if all its inputs are silent, or if no output is reached from it but through
silent nodes. The rest is *live* if an `Input` leads to it; what is neither starts at constants (a table of relative
positions, say).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from archcast.graphs.graph import GraphBatch, IntArray
from archcast.graphs.paths import Levels

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class NodePaths:
    """N nodes of a batch, M of them not silent.

    Attributes:
        audible: `[N]` flags of the nodes that are not silent.
        live: `[M]` flags.
        visits: `[M]` probability that a path drawn uniformly among all from an input to an output leads through the
            node; 0 if it is not live.
        depth: `[M, 2]` edges of the longest path from a node without inputs, and of the longest to an output, over the
            longest of the graph.
    """

    audible: NDArray[np.bool_]
    live: NDArray[np.bool_]
    visits: FloatArray
    depth: FloatArray

    @classmethod
    def of(cls, batch: GraphBatch) -> NodePaths:
        is_input, is_output, is_zero = (
            batch.column(np.asarray([node.op == op for node in batch.nodes], dtype=bool))
            for op in ("Input", "Output", "Zero")
        )
        sources, targets = batch.edge_index
        size = len(batch.kinds)
        levels = Levels(sources, targets, size)
        fed = levels.spread((levels.level == 0) & ~is_zero, ~is_zero)
        audible = levels.spread_back(is_output & fed, fed)
        if not audible.all():
            number, edges = np.cumsum(audible) - 1, audible[sources] & audible[targets]
            sources, targets, size = number[sources[edges]], number[targets[edges]], int(audible.sum())
            levels = Levels(sources, targets, size)
        graph, outputs = batch.graph_of_node[audible], np.flatnonzero(is_output[audible])
        start = np.where((levels.level == 0) & ~is_input[audible], -np.inf, 0.0)
        log_paths = levels.accumulate(start[:, None], "logsum")[:, 0]
        visits, behind = _walk_back(levels.level, sources, targets, log_paths, _ends(graph, outputs, log_paths))
        longest = np.ones(len(batch))  # of a graph without edges every depth is 0
        np.maximum.at(longest, graph, levels.level)
        depth = np.column_stack([levels.level, behind]) / longest[graph][:, None]
        return cls(audible, log_paths > -np.inf, visits, depth)


def _ends(graph: IntArray, outputs: IntArray, log_paths: FloatArray) -> FloatArray:
    """`[M]` probability that a path ends at a node: outputs share by the number of paths that lead to them."""
    start = np.zeros(len(graph))
    outputs = outputs[log_paths[outputs] > -np.inf]
    if len(outputs):
        owner, paths = graph[outputs], log_paths[outputs]
        peak = np.full(int(owner.max()) + 1, -np.inf)
        np.maximum.at(peak, owner, paths)
        weight = np.exp(paths - peak[owner])
        start[outputs] = weight / np.bincount(owner, weight)[owner]
    return start


def _walk_back(
    level: IntArray, sources: IntArray, targets: IntArray, log_paths: FloatArray, visits: FloatArray
) -> tuple[FloatArray, IntArray]:
    """Visits of all nodes from those at the ends of paths, and the edges of the longest path to an output."""
    behind = np.zeros(len(level), np.int64)
    with np.errstate(invalid="ignore"):  # -inf - -inf: no path leads along the edge
        shares = np.nan_to_num(np.exp(log_paths[sources] - log_paths[targets]), nan=0.0)
    order = np.argsort(-level[targets], kind="stable")
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(level[targets[order]])) + 1, [len(order)]])
    sources, targets, shares = sources[order], targets[order], shares[order]
    for first, last in pairwise(bounds.tolist()):
        near, far = sources[first:last], targets[first:last]
        np.add.at(visits, near, visits[far] * shares[first:last])
        np.maximum.at(behind, near, behind[far] + 1)
    return visits, behind
