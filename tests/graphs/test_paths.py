"""Path statistics on graphs small enough to enumerate by hand."""

from __future__ import annotations

import numpy as np
import pytest

from archcast.graphs.graph import ComputationGraph, GraphBatch, Node
from archcast.graphs.paths import LivePaths, longest_distance


def graph(ops: str, edges: list[tuple[int, int]]) -> ComputationGraph:
    """A graph of shapeless nodes: `ops` by name, edges as (source, target)."""
    nodes = tuple(Node(op) for op in ops.split())
    return ComputationGraph(nodes, np.asarray(edges, dtype=np.int64).reshape(-1, 2).T)


# Paths: 0-1-2-4-5, 0-1-3-4-5 and 0-1-4-5.
DIAMOND = graph("Input Conv Gemm MaxPool Add Output", [(0, 1), (1, 2), (1, 3), (2, 4), (3, 4), (1, 4), (4, 5)])


def paths_of(*graphs: ComputationGraph, count: str = "") -> LivePaths:
    """Live paths; with `count`, only the ops named in it count."""
    batch = GraphBatch.from_graphs(graphs)
    flags = np.asarray([node.op in count.split() for node in batch.nodes])
    return LivePaths(batch, flags if count else None)


def ones(paths: LivePaths) -> np.ndarray:
    return np.ones((len(paths.nodes), 1))


def test_longest_shortest_and_mean_path() -> None:
    paths = paths_of(DIAMOND)
    assert paths.longest(ones(paths)).item() == 5
    assert paths.shortest(ones(paths)).item() == 4
    assert paths.mean(ones(paths)).item() == pytest.approx((5 + 5 + 4) / 3)
    assert paths.total(ones(paths)).item() == 6


def test_each_column_is_its_own_statistic() -> None:
    paths = paths_of(DIAMOND)
    weights = np.eye(6)
    np.testing.assert_array_equal(paths.longest(weights)[0], [1, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(paths.shortest(weights)[0], [1, 1, 0, 0, 1, 1])
    np.testing.assert_allclose(paths.mean(weights)[0], [1, 1, 1 / 3, 1 / 3, 1, 1])


def test_log_sum_counts_and_weighs_paths() -> None:
    paths = paths_of(DIAMOND)
    assert np.exp(paths.log_sum(0 * ones(paths))).item() == pytest.approx(3)
    doubled = np.log([1.0, 1, 2, 5, 1, 1])[:, None]  # a path through node 2 counts double, through node 3 five-fold
    assert np.exp(paths.log_sum(doubled)).item() == pytest.approx(2 + 5 + 1)


def test_edges_can_cost() -> None:
    paths = paths_of(DIAMOND)
    skip = (paths.sources == 1) & (paths.targets == 4)
    toll = (skip, np.asarray([10.0]))
    assert paths.longest(ones(paths), toll).item() == 14
    assert paths.shortest(ones(paths), toll).item() == 5


def test_visits_are_shares_of_all_paths() -> None:
    # Two diamonds in a row: 3 x 2 paths; an edge past the second one adds 3 more.
    ops = "Input Add Gemm Conv Add Gemm Add Output"
    edges = [(0, 1), (1, 2), (1, 3), (1, 4), (2, 4), (3, 4), (4, 5), (4, 6), (5, 6), (4, 7), (6, 7)]
    paths = paths_of(graph(ops, edges))
    assert np.exp(paths.log_sum(0 * ones(paths))).item() == pytest.approx(9)
    np.testing.assert_allclose(paths.visits, [1, 1, 1 / 3, 1 / 3, 1, 1 / 3, 2 / 3, 1])
    into_output = paths.targets == 7
    assert paths.edge_visits[into_output].sum() == pytest.approx(1)


def test_walk_back_goes_where_the_shares_lead() -> None:
    paths = paths_of(DIAMOND)
    share = {(2, 4): 0.2, (3, 4): 0.5, (1, 4): 0.3}
    shares = np.asarray([share.get(edge, 1.0) for edge in zip(paths.sources, paths.targets, strict=True)])
    np.testing.assert_allclose(paths.walk_back(paths.is_output.astype(float), shares), [1, 1, 0.2, 0.5, 1, 1])


def test_visits_of_very_many_paths_stay_finite() -> None:
    # 2,000 diamonds in a row have 2^2000 paths, more than a float can hold.
    edges = [pair for a in range(0, 4000, 2) for pair in ((a, a + 1), (a + 1, a + 2), (a, a + 2))]
    paths = paths_of(graph(" ".join(["Input", *["Conv", "Add"] * 1999, "Conv", "Output"]), edges))
    assert paths.log_sum(0 * ones(paths)).item() == pytest.approx(2000 * np.log(2))
    np.testing.assert_allclose(paths.visits[:-1:2], 1, rtol=1e-6)
    np.testing.assert_allclose(paths.visits[1:-1:2], 0.5, rtol=1e-6)


def test_zero_kills_its_branch_and_what_hangs_on_it_alone() -> None:
    # 1 -> Zero -> Conv -> Add is dead, and so is the Conv nobody reads.
    dead = graph("Input Conv Zero Conv Conv Add Output", [(0, 1), (1, 2), (2, 3), (1, 4), (1, 5), (3, 5), (5, 6)])
    paths = paths_of(dead)
    np.testing.assert_array_equal(paths.nodes, [0, 1, 5, 6])
    assert paths.longest(ones(paths)).item() == paths.shortest(ones(paths)).item() == 4


def test_uncounted_nodes_with_one_live_input_become_edges() -> None:
    normalised = graph(
        "Input Conv BatchNormalization Relu Zero Add Output",
        [(0, 1), (1, 2), (2, 3), (1, 4), (3, 5), (4, 5), (5, 6)],
    )
    paths = paths_of(normalised, count="Input Conv Output")
    assert [normalised.ops[node] for node in paths.nodes] == ["Input", "Conv", "Output"]
    np.testing.assert_array_equal(np.stack([paths.sources, paths.targets]), [[0, 1], [1, 2]])


def test_uncounted_nodes_where_paths_meet_stay() -> None:
    paths = paths_of(DIAMOND, count="Input Conv Gemm MaxPool Output")
    assert len(paths.nodes) == 6


def test_graphs_without_a_path_from_input_to_output() -> None:
    no_output = graph("Input Conv", [(0, 1)])
    apart = graph("Input Conv Output", [(0, 1)])
    lonely, empty = graph("Input", []), graph("", [])
    paths = paths_of(no_output, apart, lonely, empty, DIAMOND)
    assert paths.longest(ones(paths)).ravel().tolist() == [-np.inf] * 4 + [5]
    assert paths.shortest(ones(paths)).ravel().tolist() == [np.inf] * 4 + [4]
    assert paths.total(ones(paths)).ravel().tolist() == [0, 0, 0, 0, 6]
    np.testing.assert_allclose(paths.mean(ones(paths)).ravel(), [0, 0, 0, 0, 14 / 3])


def test_several_inputs_and_outputs() -> None:
    # Paths: 0-2-4, 1-2-4, 0-2-3, 1-2-3.
    paths = paths_of(graph("Input Input Add Output Output", [(0, 2), (1, 2), (2, 3), (2, 4)]))
    assert paths.longest(ones(paths)).item() == 3
    np.testing.assert_allclose(paths.visits, [0.5, 0.5, 1, 0.5, 0.5])


def test_nearest_looks_through_nodes_that_do_not_stop_it() -> None:
    # Add 3 sums Convs 1 and 2; Add 4 adds Conv 1 again: the pool sees Conv 1 twice and Conv 2 once.
    nested = graph("Input Conv Conv Add Add MaxPool Output",
                   [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (1, 4), (4, 5), (5, 6)])  # fmt: skip
    paths = paths_of(nested)
    stops = np.asarray([op in ("Conv", "MaxPool") for op in nested.ops])
    marks = np.zeros((7, 2))
    marks[1], marks[2], marks[5] = (1, 0), (0, 1), (7, 7)
    nearest = paths.levels.nearest(marks, stops)
    np.testing.assert_array_equal(nearest[[3, 4, 5, 6]], [[1, 1], [2, 1], [2, 1], [7, 7]])
    np.testing.assert_array_equal(nearest[[0, 1, 2]], 0)
    np.testing.assert_array_equal(paths.levels.nearest(marks, stops, limit=1.5)[5], [1.5, 1])
    halved = paths.levels.nearest(marks, stops, edge_weights=np.full(len(paths.sources), 0.5))
    np.testing.assert_array_equal(halved[5], [0.25 + 0.125, 0.125])


def test_longest_distance_of_a_graph_with_a_shortcut() -> None:
    sources, targets = np.asarray([[0, 1], [1, 2], [0, 2], [2, 4], [3, 4]]).T
    np.testing.assert_array_equal(longest_distance(sources, targets, 5), [0, 1, 2, 0, 3])


def test_a_batch_equals_its_graphs_one_by_one() -> None:
    chain = graph("Input Conv Output", [(0, 1), (1, 2)])
    together = paths_of(DIAMOND, chain, DIAMOND)
    alone = [paths_of(one) for one in (DIAMOND, chain, DIAMOND)]
    for name in ("longest", "shortest", "mean", "log_sum", "total"):
        expected = [getattr(paths, name)(ones(paths)).item() for paths in alone]
        np.testing.assert_allclose(getattr(together, name)(ones(together)).ravel(), expected)
