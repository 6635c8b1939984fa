"""The tabular features of networks small enough to work out by hand, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest

from archcast.datasets.spaces import get_space
from archcast.encoders import features
from archcast.encoders.features import FEATURE_NAMES, encode, feature_column
from archcast.graphs.graph import AttributeValue, ComputationGraph, GraphBatch, Node

SIDE = 8


def conv(kernel: int, channels: int = 4, groups: int = 1) -> Node:
    attributes: dict[str, AttributeValue] = {
        "kernel": (kernel, kernel),
        "in_channels": channels,
        "out_channels": channels,
        "groups": groups,
    }
    weights = channels * channels // groups * kernel**2
    return Node("Conv", attributes, (1, channels, SIDE, SIDE), weights, weights * SIDE**2)


MAP = (1, 4, SIDE, SIDE)
KINDS = {
    "in": Node("Input", {}, MAP), "out": Node("Output", {}, MAP), "c3": conv(3), "c1": conv(1), "dw": conv(3, groups=4),
    "pool": Node("MaxPool", {"kernel": (3, 3)}, MAP), "add": Node("Add", {}, MAP), "cat": Node("Concat", {}, MAP),
    "bn": Node("BatchNormalization", {"channels": 4}, MAP, 8), "relu": Node("Relu", {}, MAP),
    "zero": Node("Zero", {}, MAP), "odd": Node("Unknown", {"name": "mystery"}, ()),
}  # fmt: skip


def graph(kinds: str, edges: list[tuple[int, int]]) -> ComputationGraph:
    """A network of the `KINDS` named in `kinds`, edges as (source, target)."""
    nodes = tuple(KINDS[kind] for kind in kinds.split())
    return ComputationGraph(nodes, np.asarray(edges, dtype=np.int64).reshape(-1, 2).T)


def chain(kinds: str) -> ComputationGraph:
    return graph(kinds, [(i, i + 1) for i in range(len(kinds.split()) - 1)])


# A 3x3 convolution, then three ways to the sum: a 1x1 convolution, a pool, and nothing.
BLOCK = graph("in c3 c1 pool add out", [(0, 1), (1, 2), (1, 3), (2, 4), (3, 4), (1, 4), (4, 5)])
ODD = [
    graph("", []), graph("in", []), graph("out", []), chain("in c3"), chain("c3 out"), graph("in c3 out", []),
    chain("in out"), chain("in zero out"), chain("in odd out"),
    graph("in in add out out", [(0, 2), (1, 2), (2, 3), (2, 4)]),
]  # fmt: skip


def of(network: ComputationGraph) -> dict[str, float]:
    return dict(zip(FEATURE_NAMES, encode([network])[0].tolist(), strict=True))


@pytest.fixture(scope="module")
def cells() -> GraphBatch:
    space = get_space("nasbench201")
    rng = np.random.default_rng(0)
    return space.stamp([space.sample(rng) for _ in range(24)])


def test_names_are_unique_and_label_the_columns() -> None:
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    row = encode([BLOCK])
    assert row.shape == (1, len(FEATURE_NAMES))
    assert row.dtype == np.float32
    assert feature_column(row, "total/count_pool") == [1]
    assert encode([]).shape == (0, len(FEATURE_NAMES))


@pytest.mark.parametrize(("name", "value"), [
    ("total/log_params", np.log1p(16 * 9 + 16)), ("total/log_macs", np.log1p((16 * 9 + 16) * 64)),
    ("total/count_convk", 1), ("total/count_conv1", 1), ("total/count_join", 1), ("total/share_pool", 1 / 4),
    ("total/mean_kernel", 2), ("total/max_log_width", np.log(4)), ("total/input_side", 8), ("total/live", 1),
    ("path/longest convk", 1), ("path/longest weighted", 2), ("path/shortest conv1", 0), ("path/shortest weighted", 1),
    ("path/mean conv1", 1 / 3), ("path/mean weighted", 4 / 3), ("path/mean skip", 1 / 3), ("path/log_paths", np.log(3)),
    ("stage0/convk", 1), ("stage0/pool", 1), ("stage1/weighted", 0), ("stage0/kernel", 2),
])  # fmt: skip
def test_totals_paths_and_stages(name: str, value: float) -> None:
    assert of(BLOCK)[name] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("name", "value"), [
    ("fewest pool", 0), ("fewest spatial", 1), ("fewest point+pool+skip", 1), ("fewest point+pool", 0),
    ("shortest|fewest pool", 2),  # the convolution, then the 1x1 convolution or the skip
    ("shortest|fewest spatial", 2),
    ("shortest|fewest pool+skip", 2),
    ("most pool|fewest others", 1), ("most spatial|fewest others", 1), ("most point+skip|fewest others", 1),
    ("most spatial+point|fewest others", 2), ("most spatial+point+pool+skip|fewest others", 2),
])  # fmt: skip
def test_paths_under_soft_bans(name: str, value: float) -> None:
    assert of(BLOCK)[f"path/{name}"] == value


@pytest.mark.parametrize(("name", "value"), [
    ("edge/convk>conv1", 1), ("edge/conv1>join", 1), ("edge/convk>join", 1), ("edge/input>convk", 1),
    ("edge/join_inputs_mean", 3), ("edge/join_inputs_max", 3), ("edge/fan_out_max", 3), ("edge/fan_out_mean", 7 / 5),
    ("edge/skips", 1),
    ("edge/necks", 4),  # input, 3x3 convolution, sum, output
    ("edge/neck_in point", 1 / 4), ("edge/neck_in skip", 1 / 4), ("edge/neck_out pool", 1 / 4),
    ("motif/neck>spatial", 1), ("motif/spatial>point", 1), ("motif/spatial>pool", 1), ("motif/neck>pool", 1),
    ("motif/point>neck", 1), ("motif/pool>neck", 1), ("motif/spatial>neck", 1), ("motif/pool>point", 0),
    ("motif/neck>spatial>point", 1), ("motif/spatial>pool>neck", 1), ("motif/neck>spatial>neck", 1),
    ("motif/spatial>point>pool", 0),
    ("motif/mean spatial>point", 1 / 3), ("motif/mean pool>neck", 1 / 3), ("motif/mean neck>spatial", 1),
])  # fmt: skip
def test_edges_and_motifs(name: str, value: float) -> None:
    assert of(BLOCK)[name] == pytest.approx(value, rel=1e-6)


def test_motifs_look_through_joins() -> None:
    # Two pools and a 3x3 convolution are summed, concatenated with a projection, and read by a 1x1 convolution.
    edges = [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4), (0, 5), (4, 6), (5, 6), (6, 7), (7, 8)]
    row = of(graph("in pool pool c3 add c1 cat c1 out", edges))
    assert row["motif/pool>neck"] == 2  # the concatenation is where the block ends
    assert (row["motif/spatial>neck"], row["motif/point>neck"]) == (1, 2)  # the last 1x1 convolution meets the output
    assert row["motif/neck>pool>neck"] == 2
    assert row["motif/mean pool>neck"] == pytest.approx(2 / 4)
    assert row["motif/pool>point"] == 0  # the neck lies between


def test_the_place_of_a_pool_in_a_block_matters() -> None:
    first, last = chain("in pool c3 out"), chain("in c3 pool out")
    same = [name for name in FEATURE_NAMES if name.startswith(("total/", "path/"))]
    assert [of(first)[name] for name in same] == [of(last)[name] for name in same]
    assert (of(first)["motif/pool>neck"], of(last)["motif/pool>neck"]) == (0, 1)
    assert (of(first)["motif/pool>spatial"], of(last)["motif/pool>spatial"]) == (1, 0)


def test_signal_follows_energy() -> None:
    row = of(BLOCK)  # all three inputs of the sum carry energy 1
    for name in ("conv1", "pool", "skip"):
        assert row[f"signal/{name}"] == pytest.approx(1 / 3)
    assert row["signal/convk"] == pytest.approx(1)
    assert row["signal/visits_mean"] == pytest.approx((1 + 1 / 3) / 2)
    assert row["signal/log_energy_max"] == pytest.approx(np.log(3))
    assert row["signal/log_energy_mean"] == pytest.approx(0)


@pytest.mark.parametrize(("shortcuts", "energy", "convolutions"), [(1, 3, 1 / 2 + 1 / 3), (2, 7, 1 / 3 + 1 / 7)])
def test_several_shortcuts_drown_the_operations_beside_them(shortcuts: int, energy: float, convolutions: float) -> None:
    # Two blocks, each the sum of a 3x3 convolution and one or two pools (energies 1 + 1, 2 + 1; 2 + 1, 6 + 1).
    block = ["c3", *["pool"] * shortcuts, "add"]
    edges = []
    for start in (0, len(block)):
        end = start + len(block)
        edges += [pair for node in range(start + 1, end) for pair in ((start, node), (node, end))]
    row = of(graph(" ".join(["in", *block, *block, "out"]), [*edges, (2 * len(block), 2 * len(block) + 1)]))
    assert row["signal/convk"] == pytest.approx(convolutions)
    assert row["signal/log_energy_max"] == pytest.approx(np.log(energy))


def test_concatenations_average_energy() -> None:
    row = of(graph("in c3 c3 cat c1 out", [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (4, 5)]))
    assert row["signal/log_energy_max"] == 0
    assert row["signal/convk"] == pytest.approx(1)


def test_normalisations_and_activations_do_not_lengthen_paths() -> None:
    plain, dressed = of(chain("in c3 c1 out")), of(chain("in c3 bn relu c1 bn relu out"))
    for name in FEATURE_NAMES:
        if name.startswith(("path/", "edge/", "motif/", "signal/")):
            assert dressed[name] == plain[name], name
    assert (dressed["total/activations"], dressed["total/normalizations"]) == (2, 2)


def test_depthwise_convolutions_are_a_role_of_their_own() -> None:
    row = of(chain("in dw c1 out"))
    assert (row["total/count_depthwise"], row["total/count_convk"], row["path/longest depthwise"]) == (1, 0, 1)
    assert row["motif/spatial>point"] == 1


def test_dead_branches_change_sizes_only() -> None:
    # The second network has a pool, and a sum of it times zero and the convolution.
    plain = chain("in c3 out")
    dead = graph("in c3 pool zero add out", [(0, 1), (0, 2), (2, 3), (1, 4), (3, 4), (4, 5)])
    for name in FEATURE_NAMES:
        if name.startswith(("path/", "edge/", "motif/", "signal/")) or "live" in name:
            assert of(dead)[name] == of(plain)[name], name
    assert of(dead)["total/log_nodes"] > of(plain)["total/log_nodes"]


def test_order_of_nodes_and_of_inputs_does_not_matter(cells: GraphBatch) -> None:
    rng = np.random.default_rng(1)
    np.testing.assert_allclose(encode(_shuffled(one, rng) for one in cells), encode(cells), rtol=1e-5, atol=1e-5)


def _shuffled(network: ComputationGraph, rng: np.random.Generator) -> ComputationGraph:
    """The same network with its nodes in another topological order and its edges in any order."""
    sources, targets = network.edge_index
    place = np.full(len(network), -1)
    missing = np.bincount(targets, minlength=len(network))
    ready = [int(node) for node in np.flatnonzero(missing == 0)]
    for position in range(len(network)):
        node = ready.pop(int(rng.integers(len(ready))))
        place[node] = position
        for target in targets[sources == node]:
            missing[target] -= 1
            if missing[target] == 0:
                ready.append(int(target))
    nodes = tuple(network.nodes[node] for node in np.argsort(place))
    return ComputationGraph(nodes, place[network.edge_index[:, rng.permutation(len(sources))]])


def test_a_batch_equals_its_graphs_one_by_one(cells: GraphBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [*cells, *ODD, BLOCK]
    together = encode(networks)
    np.testing.assert_allclose(np.concatenate([encode([one]) for one in networks]), together, rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(features, "_CHUNK", 5)
    np.testing.assert_allclose(encode(networks), together, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("network", ODD, ids=[" ".join(network.ops) or "empty" for network in ODD])
def test_odd_graphs_have_finite_features(network: ComputationGraph) -> None:
    assert np.isfinite(encode([network])).all()


def test_graphs_without_a_path_are_not_alive() -> None:
    assert of(chain("in out"))["total/live"] == 1
    for network in (graph("", []), chain("in c3"), chain("in zero out")):
        row = of(network)
        assert row["total/live"] == 0
        assert not any(
            value for name, value in row.items() if name.startswith(("path/", "edge/", "motif/", "signal/", "stage"))
        )


def test_very_deep_and_very_branchy_networks_stay_finite() -> None:
    deep = chain(" ".join(["in", *["c3"] * 3000, "out"]))
    assert of(deep)["path/longest convk"] == of(deep)["path/fewest spatial"] == 3000
    nested = [pair for node in range(2, 300) for pair in ((node - 1, node), (node - 2, node))]  # Fibonacci many paths
    branchy = of(graph(" ".join(["in", "c3", *["add"] * 298, "out"]), [(0, 1), *nested, (299, 300)]))
    assert np.isfinite(list(branchy.values())).all()
    assert branchy["path/log_paths"] == pytest.approx(299 * np.log((1 + 5**0.5) / 2), rel=0.01)


def test_distinct_cells_have_distinct_features(cells: GraphBatch) -> None:
    hashes = {one.hash() for one in cells}
    assert len(np.unique(encode(cells), axis=0)) == len(hashes)


def test_capacity_is_a_concave_sum_over_layers_of_what_the_signal_reaches() -> None:
    elements = 4.0 * SIDE**2
    conv3, conv1 = 4 * 4 * 9 * 1.0, 4 * 4 * 1.0
    values = of(BLOCK)
    assert values["capacity/log_all P0.2 E0.2"] == pytest.approx(
        np.log1p((conv3 * elements) ** 0.2 + (conv1 * elements) ** 0.2), rel=1e-5
    )
    # The sum gets energy 1 from the 1x1 convolution, the pool and the skip each: a third of it is the convolution's.
    assert values["capacity/log_signal P0.2 E0.2"] == pytest.approx(
        np.log1p((conv3 * elements) ** 0.2 + (conv1 * elements) ** 0.2 / 3), rel=1e-5
    )
    assert of(chain("in pool out"))["capacity/log_all P0.2 E0.2"] == 0.0
