"""Silent nodes, visits and depths against enumeration of all paths, and against `LivePaths`."""

from __future__ import annotations

import numpy as np
import pytest

from archcast.datasets.spaces import SPACES
from archcast.encoders.node_paths import NodePaths
from archcast.graphs.graph import ComputationGraph, GraphBatch
from archcast.graphs.nodes import plain
from archcast.graphs.paths import LivePaths

SHAPE = (1, 8, 4, 4)


def random_graph(seed: int, size: int = 9) -> ComputationGraph:
    rng = np.random.default_rng(seed)
    edges = [(i, j) for j in range(1, size) for i in range(j) if rng.random() < 0.35]
    ops = [
        "Input",
        *rng.choice(["Relu", "Add", "Zero", "Constant"], size - 3, p=[0.4, 0.3, 0.2, 0.1]),
        "Output",
        "Output",
    ]
    return ComputationGraph(tuple(plain(op, SHAPE) for op in ops), np.asarray(edges).reshape(-1, 2).T)


def all_paths(graph: ComputationGraph, starts: set[int]) -> list[list[int]]:
    """Every path from `starts` to an output that leads through no `Zero`."""
    onward = {i: graph.edge_index[1][graph.edge_index[0] == i].tolist() for i in range(len(graph))}
    complete, open_ = [], [[start] for start in starts if graph.ops[start] != "Zero"]
    while open_:
        path = open_.pop()
        if graph.ops[path[-1]] == "Output":
            complete.append(path)
        open_ += [[*path, node] for node in onward[path[-1]] if graph.ops[node] != "Zero"]
    return complete


@pytest.mark.parametrize("seed", range(30))
def test_against_all_paths(seed: int) -> None:
    graph = random_graph(seed)
    paths = NodePaths.of(GraphBatch.from_graphs([graph]))
    sources = {i for i in range(len(graph)) if i not in graph.edge_index[1]}
    on_any = {node for path in all_paths(graph, sources) for node in path}
    assert set(np.flatnonzero(paths.audible)) == on_any
    from_input = all_paths(graph, {0})
    expected = [sum(node in path for path in from_input) / max(len(from_input), 1) for node in sorted(on_any)]
    np.testing.assert_allclose(paths.visits, expected, atol=1e-12)
    np.testing.assert_array_equal(paths.live, np.asarray(expected) > 0)


def test_depth_counts_the_longest_way() -> None:
    ops = ("Input", "Relu", "Gelu", "Add", "Output")
    edges = np.asarray([(0, 1), (1, 2), (0, 3), (2, 3), (3, 4)]).T
    paths = NodePaths.of(GraphBatch.from_graphs([ComputationGraph(tuple(plain(op, SHAPE) for op in ops), edges)]))
    np.testing.assert_allclose(paths.depth, np.asarray([[0, 4], [1, 3], [2, 2], [3, 1], [4, 0]]) / 4)


def test_against_live_paths_on_cells() -> None:
    space = SPACES["nasbench201"]
    rng = np.random.default_rng(0)
    batch = space.stamp([space.sample(rng) for _ in range(50)])
    mine, live = NodePaths.of(batch), LivePaths(batch)
    np.testing.assert_array_equal(np.flatnonzero(mine.audible)[mine.live], live.nodes)
    np.testing.assert_allclose(mine.visits[mine.live], live.visits, rtol=1e-9)


def test_no_graphs() -> None:
    assert NodePaths.of(GraphBatch.from_graphs([])).depth.shape == (0, 2)
