"""Statistics of graphs: sizes, depth by kind of path, widths, path counts, activation memory.

All graphs of a batch are handled together. Totals see the whole graph; what is named `live_*`, the depths,
widths, path counts and shares see its live part: the nodes on a path from an input to an output that leads
through no `Zero` (see `archcast.graphs.paths.LivePaths`).
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.graphs.graph import ComputationGraph, GraphBatch, Node
from archcast.graphs.paths import LivePaths
from archcast.graphs.vocabulary import OP_CLASSES

FloatArray = NDArray[np.float64]

DEPTHS: Final = ("nodes", "convs", "spatial_convs", "weighted")
"""What a path is measured by: all its nodes (input and output aside), convolutions, convolutions with a kernel
above 1, and operations that multiply (convolution, linear, attention, recurrent and graph layers)."""

_CHUNK: Final = 1024  # graphs per pass: large enough to amortise a level, small enough for the cache
_WEIGHTED: Final = frozenset({"conv", "linear", "attention", "recurrent", "graph"})


def statistics(batch: GraphBatch) -> dict[str, NDArray[Any]]:
    """One array `[G]` per statistic.

    - `params`, `unused_params`, `macs`, `nodes`, `edges`, `activation_memory` (sum of output elements over all nodes)
      and, except the second, their `live_*` part (`live_edges` between live nodes);
    - `depth_<kind>_longest`, `_shortest`, `_mean` for each kind of `DEPTHS`, the mean over all paths;
    - `log_paths`: natural log of the number of input-to-output paths;
    - `width_mean`, `_min`, `_max`, `_first`, `_last`: log2 of the channels the live weighted nodes put out;
    - `share_<class>`: share of each op class among the live nodes, input and output aside.

    A graph without a live path has 0 everywhere but in its totals.
    """
    if len(batch) <= _CHUNK:
        return _statistics(batch)
    parts = [_statistics(batch[start : start + _CHUNK]) for start in range(0, len(batch), _CHUNK)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _statistics(batch: GraphBatch) -> dict[str, NDArray[Any]]:
    paths = LivePaths(batch)
    kinds = batch.kinds[paths.nodes]
    counts = _counts(batch.nodes)[kinds]
    result = _totals(batch, paths)
    for name, values in (
        ("longest", paths.longest(counts)), ("shortest", paths.shortest(counts)), ("mean", paths.mean(counts)),
    ):  # fmt: skip
        for column, kind in enumerate(DEPTHS):
            result[f"depth_{kind}_{name}"] = _finite(values[:, column])
    result["log_paths"] = _finite(paths.log_sum(np.zeros((len(kinds), 1)))[:, 0])
    result.update(_widths(batch.nodes, paths, kinds))
    classes = np.asarray([node.op_class for node in batch.nodes], dtype=str)
    inside = np.maximum(paths.total(counts[:, :1])[:, 0], 1)
    for name in OP_CLASSES:
        if name != "io":
            of_class = (classes == name)[kinds].astype(np.float64)
            result[f"share_{name}"] = paths.total(of_class[:, None])[:, 0] / inside
    return result


def graph_statistics(graph: ComputationGraph) -> dict[str, float]:
    """The statistics of one graph."""
    return {name: values[0].item() for name, values in statistics(GraphBatch.from_graphs([graph])).items()}


def _totals(batch: GraphBatch, paths: LivePaths) -> dict[str, NDArray[Any]]:
    elements = np.asarray([prod(node.shape) for node in batch.nodes], dtype=np.int64)
    macs = np.asarray([node.macs for node in batch.nodes], dtype=np.int64)
    params = np.asarray([node.params for node in batch.nodes], dtype=np.int64)
    live = np.zeros(len(batch.kinds), dtype=np.int64)
    live[paths.nodes] = 1
    per_edge = live[batch.edge_index].prod(axis=0)
    edges = np.bincount(batch.graph_of_node[batch.edge_index[1]], per_edge, minlength=len(batch)).astype(np.int64)

    def total(values: NDArray[np.int64], mask: NDArray[np.int64] | int) -> NDArray[Any]:
        return batch.sum_per_graph(batch.column(values) * mask)

    ones = np.ones(len(batch.nodes), dtype=np.int64)
    return {
        "params": batch.params, "unused_params": batch.unused_params, "macs": batch.macs, "nodes": np.diff(batch.ptr),
        "edges": np.diff(batch.edge_ptr), "activation_memory": total(elements, 1), "live_params": total(params, live),
        "live_macs": total(macs, live), "live_nodes": total(ones, live), "live_edges": edges,
        "live_activation_memory": total(elements, live),
    }  # fmt: skip


def _counts(nodes: tuple[Node, ...]) -> FloatArray:
    """`[D, len(DEPTHS)]` what each distinct node adds to each depth."""
    rows = [
        (
            node.op_class != "io",
            node.op_class == "conv",
            node.op_class == "conv" and prod(node.get("kernel", (1,))) > 1,
            node.op_class in _WEIGHTED,
        )
        for node in nodes
    ]
    return np.asarray(rows, dtype=np.float64).reshape(len(nodes), len(DEPTHS))


def _channels(node: Node) -> int:
    """Channels a weighted node puts out; 0 for any other."""
    if node.op_class not in _WEIGHTED:
        return 0
    for name in ("out_channels", "out_features"):
        if node.get(name):
            return int(node.get(name))
    if node.op == "Attention":
        return int(node.get("heads", 1) * node.get("head_width", 1))
    if node.get("hidden_size"):
        return int(node.get("hidden_size") * node.get("directions", 1))
    return int(node.shape[-1]) if node.shape else 1


def _widths(nodes: tuple[Node, ...], paths: LivePaths, kinds: NDArray[np.int64]) -> dict[str, FloatArray]:
    channels = np.asarray([_channels(node) for node in nodes], dtype=np.float64)[kinds]
    rows = np.flatnonzero(channels > 0)
    graph, width = paths.graph[rows], np.log2(channels[rows])
    number = np.bincount(graph, minlength=paths.size)
    largest, smallest = np.full(paths.size, -np.inf), np.full(paths.size, np.inf)
    np.maximum.at(largest, graph, width)
    np.minimum.at(smallest, graph, width)
    first, last = np.zeros(paths.size), np.zeros(paths.size)
    last[graph] = width  # nodes stand in topological order: the last assignment stays
    first[graph[::-1]] = width[::-1]
    mean = np.bincount(graph, width, minlength=paths.size) / np.maximum(number, 1)
    return {
        "width_mean": mean, "width_min": _finite(smallest), "width_max": _finite(largest),
        "width_first": first, "width_last": last,
    }  # fmt: skip


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, 0.0)
