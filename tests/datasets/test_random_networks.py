"""Random networks are what a torch module of the same layers is captured as, canonical, and reproducible."""

from __future__ import annotations

import subprocess
import sys
from math import isqrt, prod
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from archcast.datasets.random_draws import DIMENSIONS, Draws
from archcast.datasets.random_networks import FAMILIES, family_of, random_network, random_pool
from archcast.errors import ConfigError, UnknownNameError
from archcast.graphs.canonical import canonicalise
from archcast.graphs.capture import capture
from archcast.graphs.graph import ComputationGraph, Node
from archcast.graphs.hashing import graph_hashes

COUNT = 300


@pytest.fixture(scope="module")
def networks() -> list[ComputationGraph]:
    return [random_network(0, index) for index in range(COUNT)]


def layer(node: Node, classes_last: int) -> nn.Module | None:
    """The torch layer that holds the weights of a node."""
    get: Any = node.get
    if node.op == "Conv":
        return nn.Conv2d(
            get("in_channels"), get("out_channels"), get("kernel"), get("stride"), get("padding"), get("dilation"),
            get("groups"), get("bias"),
        )  # fmt: skip
    if node.op == "Gemm":
        return nn.Linear(get("in_features"), get("out_features"), bias=get("bias"))
    if node.op == "Gather":
        return nn.Embedding(get("entries"), get("width"))
    if node.op == "BatchNormalization":
        return nn.BatchNorm2d(get("channels"))
    if node.op == "GroupNormalization":
        return nn.GroupNorm(get("groups", 1), get("channels"))
    if node.op in ("LayerNormalization", "RMSNormalization"):
        return (nn.LayerNorm if node.op.startswith("Layer") else nn.RMSNorm)(get("channels"))
    if node.params and node.op in ("Add", "Mul", "Concat"):
        shapes = {"Add": node.shape[1:], "Mul": (classes_last,), "Concat": (1, 1, classes_last)}
        holder = nn.Module()
        holder.value = nn.Parameter(torch.zeros(shapes[node.op]))
        return holder
    return None


ACTIVATIONS: dict[str, Any] = {
    "Relu": F.relu, "Swish": F.silu, "Gelu": F.gelu, "HardSwish": F.hardswish, "Elu": F.elu, "Mish": F.mish,
    "Clip": F.relu6, "LeakyRelu": lambda x: F.leaky_relu(x, 0.1), "Sigmoid": torch.sigmoid,
    "HardSigmoid": F.hardsigmoid, "Zero": lambda x: x * 0, "Output": lambda x: x,
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul,
}  # fmt: skip


class Rebuilt(nn.Module):
    """The layers of a graph as a module. Inputs are brought into the shape a layer needs by views, which leave no node.

    Nothing but ops, attributes, edges and the kind of each shape is used, so that sizes that contradict each other are
    errors of torch.
    """

    def __init__(self, graph: ComputationGraph) -> None:
        super().__init__()
        self.nodes = graph.nodes
        self.sources = [graph.inputs_of(index).tolist() for index in range(len(graph))]
        scaled = [node.shape[1] if len(node.shape) == 4 else node.shape[-1] for node in graph.nodes]
        self.made: list[Any] = [layer(node, width) for node, width in zip(graph.nodes, scaled, strict=True)]
        self.layers = nn.ModuleList(made for made in self.made if made is not None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values: list[torch.Tensor] = [x]
        cuts: dict[int, int] = {}
        for index, node in list(enumerate(self.nodes))[1:]:
            inputs = [values[source] for source in self.sources[index]]
            if node.op == "Slice":
                (source,) = self.sources[index]
                part = cuts.get(source, 0)
                cuts[source] = part + 1
                values.append(cut(inputs[0], node, part))
            else:
                values.append(self.run(index, node, inputs))
            assert tuple(values[-1].shape) == node.shape, node
        return values[-1]

    def run(self, index: int, node: Node, inputs: list[torch.Tensor]) -> Any:
        own = self.made[index]
        x = inputs[0]
        if node.op == "Conv":
            side = isqrt(x.numel() // node.get("in_channels"))
            return own(x.reshape(1, node.get("in_channels"), side, side))
        if node.op == "Gemm":
            return own(x.reshape(*node.shape[:-1], node.get("in_features")))
        if node.op == "Gather":
            return own(x)
        if own is not None and node.op.endswith("Normalization"):
            return own(x.reshape(node.shape))
        if node.op in ("MaxPool", "AveragePool"):
            function = F.max_pool2d if node.op == "MaxPool" else F.avg_pool2d
            side = isqrt(x.numel() // node.shape[1])
            return function(
                x.reshape(1, node.shape[1], side, side), node.get("kernel"), node.get("stride"), node.get("padding")
            )
        if node.op == "GlobalAveragePool":
            return F.adaptive_avg_pool2d(x, 1)
        if node.op == "ReduceMean":
            return x.mean(node.get("axes"))
        if node.op == "Glu":
            return F.glu(x)
        if node.op == "Attention":
            query, key, value = (t.reshape(*node.shape[:2], -1, node.get("head_width")) for t in inputs)
            return F.scaled_dot_product_attention(query, key, value, is_causal=node.get("causal", False))
        if node.op == "Concat":
            if own is not None:
                return torch.cat([own.value, x], 1)
            parts = [t.reshape(1, -1, *node.shape[2:]) for t in inputs]
            return torch.cat(parts, 1)
        weights = [] if own is None else [own.value]
        if node.op == "Mul" and own is not None and len(node.shape) == 4:
            weights = [own.value.reshape(-1, 1, 1)]
        whole = [t.reshape(node.shape) if t.numel() == prod(node.shape) else t for t in inputs]
        return ACTIVATIONS[node.op](*whole, *weights)


def cut(value: torch.Tensor, node: Node, part: int) -> torch.Tensor:
    """A half of the channels or width, a third cut into heads, or the first token."""
    shape = node.shape
    if len(shape) == 2:
        return value[:, 0]
    if value.dim() == len(shape) and value.numel() == 2 * prod(shape):
        return value.chunk(2, 1 if value.dim() == 4 else -1)[part]
    return value.reshape(3, *shape).unbind(0)[part]


@pytest.mark.parametrize("family", FAMILIES)
def test_captured_module_of_the_same_layers_is_the_same_graph(networks: list[ComputationGraph], family: str) -> None:
    keys = [f"0/network/{index}" for index in range(COUNT)]
    chosen = [g for g, key in zip(networks, keys, strict=True) if family_of(Draws(key, key)) == family][:8]
    assert len(chosen) >= 4
    for graph in chosen:
        with torch.device("meta"):
            module = Rebuilt(graph)
        captured = capture(module, graph.shapes[0])
        assert sum(p.numel() for p in module.parameters()) == graph.params, graph.name
        assert [node.key for node in captured.nodes] == [node.key for node in graph.nodes], graph.name
        assert captured.hash() == graph.hash()
        assert captured.macs == graph.macs


def test_networks_are_canonical_and_nothing_is_dead(networks: list[ComputationGraph]) -> None:
    for graph in networks:
        again = canonicalise(graph)
        assert again.nodes == graph.nodes
        assert np.array_equal(again.edge_index, graph.edge_index)
        assert graph.unused_params == 0
        assert not graph.unknown_ops


def test_networks_are_all_different_and_span_magnitudes(networks: list[ComputationGraph]) -> None:
    assert len({graph.hash() for graph in networks}) == COUNT
    sizes = np.log10([graph.macs for graph in networks])
    assert sizes.max() - sizes.min() > 4
    assert len({op for graph in networks for op in graph.ops}) >= 30
    assert {shape[-1] for shape in (graph.shapes[0] for graph in networks)} >= {16, 32, 64, 224, 256}


def test_a_network_follows_from_seed_and_index_alone() -> None:
    code = "from archcast.datasets.random_networks import random_network; print(random_network(5, 11).hash())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == random_network(5, 11).hash()
    assert random_network(5, 11).hash() != random_network(6, 11).hash()


def test_a_larger_pool_begins_with_the_smaller_one() -> None:
    small, large = random_pool(7, 24), random_pool(7, 48)
    assert small.varied == large.varied
    assert graph_hashes(large.graphs)[: len(small.graphs)] == graph_hashes(small.graphs)


def test_pools_vary_in_a_few_dimensions_and_hold_no_network_twice() -> None:
    pools = [random_pool(seed, 24) for seed in range(40)]
    assert len({pool.family for pool in pools}) >= 7
    assert {len(pool.varied) for pool in pools} >= {1, 2, 6}
    for pool in pools:
        assert len(set(graph_hashes(pool.graphs))) == len(pool.graphs) >= 2
        assert pool.name in pool.graphs.names[0]


@pytest.mark.parametrize("seed", range(6))
def test_what_does_not_vary_is_the_same_for_all(seed: int) -> None:
    def pool(*varied: str) -> list[ComputationGraph]:
        return list(random_pool(seed, 6, varied).graphs)

    assert len({(graph.shapes[0], graph.shapes[-1]) for graph in pool("width", "topology")}) == 1
    assert len({tuple(sorted(graph.ops)) for graph in pool("kernel")}) == 1
    assert len({graph.shapes[0] for graph in pool("depth", "operations", "style")}) == 1
    assert pool("width")[0].nodes[0] == pool("topology")[0].nodes[0]


def test_draws_do_not_depend_on_order() -> None:
    first, second = Draws("a", "b", ["width"]), Draws("a", "c", ["width"])
    assert first.number("depth", 1) == second.number("depth", 1)
    assert first.number("width", 1) != second.number("width", 1)
    numbers = [first.number("width", place) for place in range(2000)]
    assert 0.47 < float(np.mean(numbers)) < 0.53
    assert {len(first.subset("depth", DIMENSIONS, 3, place)) for place in range(200)} == set(range(3, 9))


def test_wrong_arguments_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match="give 0 or more"):
        random_network(-1, 0)
    with pytest.raises(ConfigError, match="how many networks"):
        random_pool(0, 0)
    with pytest.raises(UnknownNameError, match="there are width"):
        random_pool(0, 4, ["colour"])
