"""The canonical form: dead nodes, folded constants, fused decompositions."""

from __future__ import annotations

import time
from math import prod

import pytest

from archcast.graphs.builder import GraphBuilder
from archcast.graphs.canonical import canonicalise
from archcast.graphs.graph import AttributeValue, ComputationGraph, Node
from archcast.graphs.nodes import attributed, concat, conv, gemm, matmul, normalization, plain, pool_node, recurrent

SHAPE = (1, 8, 16)
IMAGE = (1, 8, 16, 16)


class Build(GraphBuilder):
    """A builder with a short form for plain nodes."""

    def op(self, name: str, *inputs: int, params: int = 0, **attributes: AttributeValue) -> int:
        shape = self.shape(inputs[0]) if inputs else SHAPE
        return self.add(Node(name, attributes, shape, params), *inputs)

    def finish(self, value: int) -> ComputationGraph:
        self.output(value)
        return canonicalise(self.build())


def inner(graph: ComputationGraph) -> list[str]:
    return [op for op in graph.ops if op not in ("Input", "Output")]


def test_dead_nodes_leave_their_parameters_behind() -> None:
    build = Build()
    value = build.input(SHAPE)
    build.op("Relu", build.add(gemm(SHAPE, 4), value))
    graph = build.finish(build.op("Tanh", value))
    assert inner(graph) == ["Tanh"]
    assert graph.unused_params == 16 * 4 + 4
    assert graph.params == 16 * 4 + 4


def test_unread_inputs_stay() -> None:
    build = Build()
    build.input(SHAPE)
    graph = build.finish(build.op("Tanh", build.input(SHAPE)))
    assert graph.ops.count("Input") == 2


def test_constants_are_folded_and_hand_on_their_parameters() -> None:
    build = Build()
    value = build.input(SHAPE)
    table = build.op("Tanh", build.op("Mul", build.op("Constant", params=5), params=7))
    graph = build.finish(build.op("Add", build.op("Add", value, table), table))
    assert inner(graph) == ["Add", "Add"]
    assert [node.params for node in graph.nodes] == [0, 12, 0, 0]


def test_a_constant_output_stays() -> None:
    build = Build()
    build.input(SHAPE)
    graph = build.finish(build.op("Tanh", build.op("Constant", params=5)))
    assert inner(graph) == ["Constant", "Tanh"]
    assert graph.params == 5


def test_random_values_are_not_constants() -> None:
    build = Build()
    build.input(SHAPE)
    graph = build.finish(build.op("Tanh", build.op("Random")))
    assert inner(graph) == ["Random", "Tanh"]


def test_canonical_form_is_idempotent() -> None:
    build = Build()
    value = build.input(SHAPE)
    once = build.finish(build.op("Mul", value, build.op("Sigmoid", value)))
    twice = canonicalise(once)
    assert once.nodes == twice.nodes
    assert once.edge_index.tolist() == twice.edge_index.tolist()


def swish(build: Build, x: int) -> int:
    return build.op("Mul", x, build.op("Sigmoid", x))


def mish(build: Build, x: int) -> int:
    return build.op("Mul", x, build.op("Tanh", build.op("Softplus", x)))


def hard_swish(build: Build, x: int) -> int:
    clipped = build.op("Clip", build.op("Add", x), min=0.0, max=6.0)
    return build.op("Div", build.op("Mul", x, clipped))


def hard_swish_by_gate(build: Build, x: int) -> int:
    return build.op("Mul", x, build.op("Div", build.op("Clip", build.op("Add", x), min=0.0, max=6.0)))


def hard_sigmoid(build: Build, x: int) -> int:
    return build.op("Div", build.op("Clip", build.op("Add", x), min=0.0, max=6.0))


def relu(build: Build, x: int) -> int:
    return build.op("Clip", x, min=0.0)


def gelu_erf(build: Build, x: int) -> int:
    shifted = build.op("Add", build.op("Erf", build.op("Div", x)))
    return build.op("Mul", build.op("Mul", x, shifted))


def gelu_half_first(build: Build, x: int) -> int:
    shifted = build.op("Add", build.op("Erf", build.op("Div", x)))
    return build.op("Mul", build.op("Mul", x), shifted)


def gelu_half_inside(build: Build, x: int) -> int:
    return build.op("Mul", x, build.op("Mul", build.op("Add", build.op("Erf", build.op("Mul", x)))))


def gelu_tanh(build: Build, x: int) -> int:
    cubic = build.op("Add", x, build.op("Mul", build.op("Pow", x)))
    shifted = build.op("Add", build.op("Tanh", build.op("Mul", cubic)))
    return build.op("Mul", build.op("Mul", x), shifted)


def glu(build: Build, x: int) -> int:
    left, right = build.add(plain("Slice", (1, 8, 8)), x), build.add(plain("Slice", (1, 8, 8)), x)
    return build.op("Mul", left, build.op("Sigmoid", right))


def padded_pool(build: Build, _: int) -> int:
    image = build.input(IMAGE)
    pad = build.add(plain("Pad", (1, 8, 18, 18)), image)
    window = pool_node("AveragePool", IMAGE, kernel=(3, 3), stride=(1, 1), padding=(0, 0), dilation=(1, 1))
    return build.add(window, pad)


def whole_pool(build: Build, _: int) -> int:
    image = build.input(IMAGE)
    window = pool_node("AveragePool", (1, 8, 1, 1), kernel=(16, 16), stride=(16, 16), padding=(0, 0), dilation=(1, 1))
    return build.add(window, image)


def roll_both_axes(build: Build, x: int) -> int:
    for axis in (1, 2):
        parts = [(1, 3, 16), (1, 5, 16)] if axis == 1 else [(1, 8, 9), (1, 8, 7)]
        halves = [build.add(plain("Slice", part), x) for part in parts]
        x = build.add(concat(tuple(parts), axis), *halves)
    return x


def slice_of_slice(build: Build, x: int) -> int:
    return build.add(plain("Slice", (1, 4, 8)), build.add(plain("Slice", (1, 4, 16)), x))


DECOMPOSED = {
    swish: "Swish", mish: "Mish", hard_swish: "HardSwish", hard_swish_by_gate: "HardSwish",
    hard_sigmoid: "HardSigmoid", relu: "Relu", gelu_erf: "Gelu", gelu_half_first: "Gelu", gelu_half_inside: "Gelu",
    gelu_tanh: "Gelu", glu: "Glu", padded_pool: "AveragePool", whole_pool: "GlobalAveragePool",
    roll_both_axes: "Roll", slice_of_slice: "Slice",
}  # fmt: skip


@pytest.mark.parametrize("write", DECOMPOSED, ids=lambda write: write.__name__)
def test_decompositions_become_the_operation(write) -> None:  # type: ignore[no-untyped-def]
    build = Build()
    value = build.input(SHAPE)
    graph = build.finish(write(build, build.op("Exp", value)))
    assert [op for op in inner(graph) if op != "Exp"] == [DECOMPOSED[write]]


def test_gelu_keeps_its_kind() -> None:
    for write, attributes in ((gelu_erf, {}), (gelu_tanh, {"approximate": "tanh"})):
        build = Build()
        assert dict(build.finish(write(build, build.input(SHAPE))).nodes[1].attributes) == attributes


def test_padding_moves_into_the_pool() -> None:
    build = Build()
    graph = build.finish(padded_pool(build, build.input(SHAPE)))
    pool = next(node for node in graph.nodes if node.op == "AveragePool")
    assert pool.get("padding") == (1, 1)


@pytest.mark.parametrize("write", [swish, mish, gelu_erf, hard_swish], ids=lambda write: write.__name__)
def test_a_value_read_elsewhere_is_not_fused_away(write) -> None:  # type: ignore[no-untyped-def]
    build = Build()
    value = build.input(SHAPE)
    written = write(build, build.op("Exp", value))
    for index in range(2, written):
        build.output(index)
    before = len(build)
    graph = build.finish(written)
    assert len(graph) == before + 1


def layer_norm(build: Build, x: int, *, centred: bool, params: int) -> int:
    mean_shape = (1, 8, 1)
    if centred:
        x = build.op("Sub", x, build.add(Node("ReduceMean", {"axes": (2,)}, mean_shape), x))
    square = build.op("Pow", x)
    variance = build.add(Node("ReduceMean", {"axes": (2,)}, mean_shape), square)
    scaled = build.op("Div", x, build.op("Sqrt", build.op("Add", variance)))
    if params:
        scaled = build.op("Mul", scaled, params=params)
    return build.op("Add", scaled, params=params) if params and centred else scaled


def test_layer_normalization() -> None:
    build = Build()
    graph = build.finish(layer_norm(build, build.input(SHAPE), centred=True, params=16))
    assert graph.nodes[1] == normalization("LayerNormalization", SHAPE, 32, 16)


def test_rms_normalization() -> None:
    build = Build()
    graph = build.finish(layer_norm(build, build.op("Exp", build.input(SHAPE)), centred=False, params=16))
    assert graph.nodes[2] == normalization("RMSNormalization", SHAPE, 16, 16)


def test_group_normalization() -> None:
    build = Build()
    value = build.input(IMAGE)
    inside = build.add(normalization("InstanceNormalization", (1, 2, 1024), 0, 2), value)
    scaled = build.add(Node("Mul", {}, IMAGE, 8), inside)
    graph = build.finish(build.add(Node("Add", {}, IMAGE, 8), scaled))
    assert graph.nodes[1] == normalization("GroupNormalization", IMAGE, 16, 8, 2)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("scaled", ["no", "scores", "query and key"])
def test_attention(masked: bool, scaled: str) -> None:
    heads, wide = (1, 4, 10, 16), (1, 10, 64)
    build = Build()
    value, mask = build.input(wide), build.input((1, 1, 10, 10))
    query, key, mixed = (build.add(gemm(wide, 64), value) for _ in range(3))
    if scaled == "query and key":
        query, key = build.op("Mul", query), build.op("Mul", key)
    scores = build.add(matmul(heads, (1, 4, 10, 10)), query, key)
    scores = build.op("Div", scores) if scaled == "scores" else scores
    scores = build.op("Add", scores, mask) if masked else scores
    weights = build.add(attributed("Softmax", (1, 4, 10, 10), axis=3), scores)
    graph = build.finish(build.add(matmul((1, 4, 10, 10), heads), weights, mixed))
    assert inner(graph) == ["Gemm", "Gemm", "Gemm", "Attention"]
    node = graph.nodes[-2]
    assert dict(node.attributes) == {"heads": 4, "head_width": 16}
    assert node.macs == 2 * 4 * 10 * 10 * 16
    assert graph.inputs_of(len(graph) - 2).tolist() == [2, 3, 4] + ([1] if masked else [])


def test_stacked_recurrence() -> None:
    build = Build()
    value = build.input((20, 1, 8))
    for width in (8, 32, 32):
        node = recurrent(
            "LSTM", (20, 1, 32), input_size=width, hidden_size=16, layers=1, directions=2, bias=True, steps=20, params=9
        )
        value = build.add(node, value)
    graph = build.finish(value)
    assert inner(graph) == ["LSTM"]
    assert graph.nodes[1].get("layers") == 3
    assert graph.nodes[1].get("input_size") == 8
    assert graph.params == 27
    whole = recurrent(
        "LSTM", (1, 20, 32), input_size=8, hidden_size=16, layers=3, directions=2, bias=True, steps=20, params=27
    )
    assert graph.nodes[1] == whole


def test_squeeze_and_excitation_is_left_alone() -> None:
    build = Build()
    value = build.input(IMAGE)
    gate = build.op(
        "Sigmoid", build.add(conv((1, 8, 1, 1), 8, 1), build.add(plain("GlobalAveragePool", (1, 8, 1, 1)), value))
    )
    assert inner(build.finish(build.op("Mul", value, gate))) == ["GlobalAveragePool", "Conv", "Sigmoid", "Mul"]


def test_two_thousand_nodes_are_fast() -> None:
    build = Build()
    value = build.input(IMAGE)
    for _ in range(250):
        hidden = build.add(conv(IMAGE, 8, 3, padding=1), value)
        hidden = (
            layer_norm(build, swish(build, hidden), centred=True, params=8)
            if len(build) < 800
            else swish(build, hidden)
        )
        value = build.op("Add", value, build.add(conv(IMAGE, 8, 1), hidden))
    while len(build) < 2000:
        value = build.op("Relu", value)
    build.output(value)
    graph = build.build()
    times = []
    for _ in range(3):
        start = time.process_time()
        canonicalise(graph)
        times.append(time.process_time() - start)
    assert min(times) < 0.05  # about 10 ms on a quiet core
    assert prod(canonicalise(graph).nodes[-1].shape) == prod(IMAGE)
