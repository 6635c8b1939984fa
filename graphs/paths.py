"""Path statistics over a whole `GraphBatch` at once.

A dynamic programme over a directed acyclic graph visits nodes level by level (level = longest distance
from a source). All graphs of a batch share the levels, so one array operation serves the nodes of a level in
every graph, and each statistic is one column.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from archcast.graphs.graph import GraphBatch, IntArray

Reduction = Literal["max", "min", "logsum"]
Toll = tuple[NDArray[np.bool_], NDArray[Any]]

_REDUCE: dict[str, np.ufunc] = {"max": np.maximum, "min": np.minimum, "logsum": np.logaddexp}
_IDENTITY: dict[str, float] = {"max": -np.inf, "min": np.inf, "logsum": -np.inf}


class Levels:
    """The nodes and edges of a batch sorted by level, ready for dynamic programmes.

    Args:
        sources: `[E]` where each edge starts.
        targets: `[E]` where each edge ends.
        size: number of nodes N.
    """

    def __init__(self, sources: IntArray, targets: IntArray, size: int) -> None:
        self.level = longest_distance(sources, targets, size)
        self.order = np.argsort(self.level, kind="stable")  # position -> node
        self.rank = rank = np.empty(size, dtype=np.int64)  # node -> position
        rank[self.order] = np.arange(size)
        self._edge_order = np.argsort(rank[targets], kind="stable")
        self._sources = rank[sources[self._edge_order]]
        self._ends = ends = rank[targets[self._edge_order]]
        depth = int(self.level.max(initial=-1)) + 1
        node_bounds = np.searchsorted(self.level[self.order], np.arange(depth + 1))
        edge_bounds = np.searchsorted(ends, node_bounds)
        starts = np.searchsorted(ends, np.arange(size))
        self._steps = [
            (node_bounds[i], node_bounds[i + 1], edge_bounds[i], edge_bounds[i + 1],
             starts[node_bounds[i] : node_bounds[i + 1]] - edge_bounds[i])
            for i in range(1, depth)
        ]  # fmt: skip

    def accumulate(
        self,
        weights: NDArray[Any],
        reduction: Reduction,
        toll: Toll | None = None,
        rows: IntArray | slice = slice(None),
    ) -> NDArray[Any]:
        """`value[v] = weight[v] + reduce(value[u] + toll on u -> v over u -> v)`, column by column.

        Args:
            weights: `[N, K]`. Nodes without inputs start at their weight.
            reduction: `max` longest path, `min` shortest, `logsum` log of the sum of exp over paths.
            toll: `[E]` flags of the edges that cost something, and `[K]` what each of them adds.
            rows: the nodes whose values are asked for; default all.

        Returns:
            `[rows, K]` values in the original node order.
        """
        reduce = _REDUCE[reduction]
        value = weights[self.order]
        charged = np.zeros(0, np.int64) if toll is None else np.flatnonzero(toll[0][self._edge_order])
        bounds = np.searchsorted(charged, [(first, last) for _, _, first, last, _ in self._steps])
        for (start, stop, first, last, offsets), (low, high) in zip(self._steps, bounds, strict=True):
            incoming = value.take(self._sources[first:last], axis=0)
            if toll is not None and high > low:
                incoming[charged[low:high] - first] += toll[1]
            if len(offsets) != last - first:
                incoming = reduce.reduceat(incoming, offsets, axis=0)
            value[start:stop] += incoming
        result: NDArray[Any] = value[self.rank[rows]]
        return result

    def nearest(
        self,
        marks: NDArray[Any],
        stops: NDArray[np.bool_],
        limit: float = np.inf,
        edge_weights: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """What the nearest stops upstream of each node bear, summed over the routes that lead to them.

        `value[v] = sum(mark[u] if stop[u] else value[u] over u -> v)`, column by column, at most `limit`.

        Args:
            marks: `[N, K]`, read at stops.
            stops: `[N]` flags.
            limit: no value grows beyond it.
            edge_weights: `[E]` factors of what runs along each edge; default 1.

        Returns:
            `[N, K]` values in the original node order.
        """
        passed = np.where(stops[:, None], marks, 0)[self.order]
        value = np.zeros_like(passed)
        through = ~stops[self.order]
        factor = None if edge_weights is None else edge_weights[self._edge_order, None].astype(marks.dtype)
        for start, stop, first, last, offsets in self._steps:
            incoming = passed.take(self._sources[first:last], axis=0)
            if factor is not None:
                incoming *= factor[first:last]
            if len(offsets) != last - first:
                incoming = np.add.reduceat(incoming, offsets, axis=0)
            value[start:stop] = np.minimum(incoming, limit)
            onward = start + np.flatnonzero(through[start:stop])
            passed[onward] = value[onward]
        result: NDArray[Any] = value[self.rank]
        return result

    def spread(self, start: NDArray[np.bool_], passable: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """`[N]` nodes reached from `start` along edges, through `passable` nodes only."""
        value, open_ = start[self.order], passable[self.order]
        for first, last, edge, edge_end, offsets in self._steps:
            incoming = value[self._sources[edge:edge_end]]
            if len(offsets) != edge_end - edge:
                incoming = np.logical_or.reduceat(incoming, offsets)
            value[first:last] = (value[first:last] | incoming) & open_[first:last]
        return np.asarray(value[self.rank])

    def spread_back(self, start: NDArray[np.bool_], passable: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """`[N]` nodes from which `start` is reached along edges, through `passable` nodes only."""
        value, open_ = start[self.order], passable[self.order]
        for _, _, edge, edge_end, _ in reversed(self._steps):
            sources = self._sources[edge:edge_end]
            value[sources[value[self._ends[edge:edge_end]]]] = True
            value[sources] &= open_[sources]
        return np.asarray(value[self.rank])


def longest_distance(sources: IntArray, targets: IntArray, size: int) -> IntArray:
    """`[N]` longest distance of each node from any node without inputs (Kahn's algorithm, a frontier at a time)."""
    remaining = np.bincount(targets, minlength=size)
    by_source = np.argsort(sources, kind="stable")
    heads = targets[by_source]
    begin = np.searchsorted(sources[by_source], np.arange(size + 1))
    level = np.zeros(size, dtype=np.int64)
    frontier = np.flatnonzero(remaining == 0)
    depth = 0
    while len(frontier):
        level[frontier] = depth
        depth += 1
        counts = begin[frontier + 1] - begin[frontier]
        shift = np.repeat(begin[frontier] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        reached = heads[np.arange(counts.sum()) + shift]
        if len(reached) == 0:
            break
        reached.sort()
        first = np.flatnonzero(np.concatenate([[True], reached[1:] != reached[:-1]]))
        nodes = reached[first]
        remaining[nodes] -= np.diff(np.append(first, len(reached)))
        frontier = nodes[remaining[nodes] == 0]
    return level


class LivePaths:
    """The part of each graph that carries signal, and statistics over its input-to-output paths.

    A node is *live* if some path from an `Input` to an `Output` leads through it and no `Zero` node. Live nodes
    that do not `count` and have one live input (normalisations, activations, a sum of which all other
    terms are zero) are contracted into the edge they stand on.

    Args:
        batch: the graphs.
        count: `[len(batch.nodes)]` which distinct nodes are kept even with a single input; default all.

    Attributes:
        nodes: `[M]` positions in `batch.kinds` of the nodes that remain, in topological order.
        graph: `[M]` the graph each of them belongs to.
        sources, targets: `[E]` the edges between them, as positions in `nodes`.
    """

    def __init__(self, batch: GraphBatch, count: NDArray[np.bool_] | None = None) -> None:
        ops = np.asarray([node.op for node in batch.nodes])
        ends = (ops == "Input") | (ops == "Output") | (ops == "Zero")
        counted = batch.column(ends if count is None else ends | count)
        if count is None:
            counted[:] = True
        sources, targets = batch.edge_index
        nodes, sources, targets = _contract(np.arange(len(batch.kinds)), sources, targets, counted)
        kinds = batch.kinds[nodes]
        live = _live(kinds, ops, sources, targets)
        nodes, sources, targets = _restrict(live, nodes, sources, targets)
        self.nodes, self.sources, self.targets = _contract(nodes, sources, targets, counted[nodes])
        self.graph = batch.graph_of_node[self.nodes]
        self.size = len(batch)
        self.is_output = (ops == "Output")[batch.kinds[self.nodes]]
        self.levels = Levels(self.sources, self.targets, len(self.nodes))

    def longest(self, weights: NDArray[Any], toll: Toll | None = None) -> NDArray[Any]:
        """`[G, K]` largest sum of `weights` `[M, K]` (and the toll of edges) along a path; -inf if there is none."""
        return self._at_output(weights, "max", toll)

    def shortest(self, weights: NDArray[Any], toll: Toll | None = None) -> NDArray[Any]:
        """`[G, K]` smallest sum of `weights` `[M, K]` (and the toll of edges) along a path; inf if there is none."""
        return self._at_output(weights, "min", toll)

    def log_sum(self, weights: NDArray[Any]) -> NDArray[Any]:
        """`[G, K]` log of the sum over all paths of exp(sum of `weights` along the path); -inf without a path."""
        return self._at_output(weights, "logsum", None)

    def mean(self, weights: NDArray[Any]) -> NDArray[Any]:
        """`[G, K]` sum of `weights` along a path, averaged over all paths; 0 without a path."""
        return self.total(weights * self.visits[:, None])

    def total(self, weights: NDArray[Any]) -> NDArray[Any]:
        """`[G, K]` sum of `weights` `[M, K]` over all live nodes of each graph."""
        result = np.zeros((self.size, weights.shape[1]))
        starts = np.flatnonzero(np.diff(self.graph, prepend=-1))  # nodes are sorted by graph
        if len(starts):
            result[self.graph[starts]] = np.add.reduceat(weights, starts, axis=0, dtype=np.float64)
        return result

    def _at_output(self, weights: NDArray[Any], reduction: Reduction, toll: Toll | None) -> NDArray[Any]:
        rows = np.flatnonzero(self.is_output)
        value = self.levels.accumulate(weights, reduction, toll, rows)
        result = np.full((self.size, weights.shape[1]), _IDENTITY[reduction], dtype=value.dtype)
        _REDUCE[reduction].at(result, self.graph[rows], value)
        return result

    @cached_property
    def log_paths(self) -> NDArray[np.float64]:
        """`[M]` natural logarithm of the number of paths from the inputs to each node."""
        values: NDArray[np.float64] = self.levels.accumulate(np.zeros((len(self.nodes), 1)), "logsum")[:, 0]
        return values

    @cached_property
    def edge_shares(self) -> NDArray[np.float64]:
        """`[E]` the paths into v split over its inputs u in proportion to the number of paths into u."""
        share: NDArray[np.float64] = np.exp(self.log_paths[self.sources] - self.log_paths[self.targets])
        return share

    @property
    def edge_visits(self) -> NDArray[np.float64]:
        """`[E]` probability that a path drawn uniformly among all input-to-output paths runs along each edge."""
        return self.visits[self.targets] * self.edge_shares

    @cached_property
    def visits(self) -> NDArray[np.float64]:
        """`[M]` probability that a path drawn uniformly among all input-to-output paths leads through each node."""
        outputs = np.flatnonzero(self.is_output)
        graph, paths = self.graph[outputs], self.log_paths[outputs]
        peak = np.full(self.size, -np.inf)
        np.maximum.at(peak, graph, paths)
        weight = np.exp(paths - peak[graph])
        start = np.zeros(len(self.nodes))
        start[outputs] = weight / np.bincount(graph, weight, minlength=self.size)[graph]
        return self.walk_back(start, self.edge_shares)

    def walk_back(self, start: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """`[M]` probability that a walk against the edges meets each node.

        Args:
            start: `[M]` probability that the walk starts at a node.
            shares: `[E]` probability that it goes from the target of an edge to its source.
        """
        visits = start.copy()
        edges, bounds = self._edges_backwards
        sources, targets, shares = self.sources[edges], self.targets[edges], shares[edges]
        for first, last in pairwise(bounds):
            np.add.at(visits, sources[first:last], visits[targets[first:last]] * shares[first:last])
        return visits

    @cached_property
    def _edges_backwards(self) -> tuple[IntArray, IntArray]:
        """Edges by falling level of their target, and where each level starts."""
        level = self.levels.level[self.targets]
        order = np.argsort(-level, kind="stable")
        return order, np.concatenate([[0], np.flatnonzero(np.diff(level[order])) + 1, [len(order)]])


def _contract(
    nodes: IntArray, sources: IntArray, targets: IntArray, counted: NDArray[np.bool_]
) -> tuple[IntArray, IntArray, IntArray]:
    """Replace every uncounted node with exactly one input by an edge."""
    size = len(nodes)
    through = ~counted & (np.bincount(targets, minlength=size) == 1)
    stands_for = np.arange(size)
    passing = through[targets]
    stands_for[targets[passing]] = sources[passing]
    while np.any(through[stands_for]):  # pointer jumping: log2(longest chain) rounds
        stands_for = stands_for[stands_for]
    return _restrict(~through, nodes, stands_for[sources], targets)


def _restrict(
    keep: NDArray[np.bool_], nodes: IntArray, sources: IntArray, targets: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """The sub-graph of the nodes in `keep`, renumbered."""
    number = np.cumsum(keep) - 1
    edges = keep[sources] & keep[targets]
    return nodes[keep], number[sources[edges]], number[targets[edges]]


def _live(kinds: IntArray, ops: NDArray[Any], sources: IntArray, targets: IntArray) -> NDArray[np.bool_]:
    levels = Levels(sources, targets, len(kinds))
    fed = levels.spread((ops == "Input")[kinds], (ops != "Zero")[kinds])
    return levels.spread_back((ops == "Output")[kinds] & fed, fed)
