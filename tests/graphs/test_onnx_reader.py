"""Reading ONNX models: layers, parameters, views, constants, control flow, old and new opsets."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx.helper as make
import pytest
from onnx import TensorProto

from archcast.graphs.graph import ComputationGraph
from archcast.graphs.nodes import batch_norm, conv, gemm, pool
from archcast.graphs.onnx_reader import read_onnx

FLOAT = TensorProto.FLOAT


def weight(name: str, *shape: int, kind: int = FLOAT) -> onnx.TensorProto:
    values = np.linspace(0.1, 1.0, max(int(np.prod(shape)), 1)).reshape(shape)
    return onnx.numpy_helper.from_array(values.astype(make.tensor_dtype_to_np_dtype(kind)), name)


def ints(name: str, *values: int) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.asarray(values, dtype=np.int64), name)


def model(
    nodes: list[onnx.NodeProto],
    initializers: list[onnx.TensorProto] | None = None,
    *,
    shape: tuple[int | str, ...] = (1, 3, 16, 16),
    output: str = "y",
    opset: int = 17,
    **options: Any,
) -> onnx.ModelProto:
    graph = make.make_graph(
        nodes,
        "net",
        [make.make_tensor_value_info("x", FLOAT, shape)],
        [make.make_tensor_value_info(output, FLOAT, None)],
        initializers or [],
    )
    imports = [make.make_opsetid("", opset), make.make_opsetid("custom", 1)]
    return make.make_model(graph, opset_imports=imports, **options)


def inner(graph: ComputationGraph) -> list[str]:
    return [op for op in graph.ops if op not in ("Input", "Output")]


def test_layers_equal_the_shared_constructors() -> None:
    nodes = [
        make.make_node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        make.make_node("BatchNormalization", ["c", "s", "t", "m", "v"], ["n"]),
        make.make_node("Relu", ["n"], ["r"]),
        make.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        make.make_node("Flatten", ["p"], ["f"]),
        make.make_node("Gemm", ["f", "fw", "fb"], ["y"], transB=1),
    ]
    tensors = [weight("w", 8, 3, 3, 3), weight("b", 8), weight("fw", 10, 128), weight("fb", 10)]
    graph = read_onnx(model(nodes, tensors + [weight(name, 8) for name in "stmv"]))
    wide = (1, 8, 8, 8)
    assert graph.nodes[1] == conv((1, 3, 16, 16), 8, 3, stride=2, padding=1, bias=True)
    assert graph.nodes[2] == batch_norm(wide)
    assert graph.nodes[4] == pool("MaxPool", wide, 2)
    assert graph.nodes[5] == gemm((1, 128), 10)
    assert graph.unused_params == 0  # running statistics are not parameters
    assert graph.name == "net"


@pytest.mark.parametrize("padding", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_automatic_padding(padding: str) -> None:
    nodes = [make.make_node("Conv", ["x", "w"], ["y"], auto_pad=padding, strides=[2, 2])]
    node = read_onnx(model(nodes, [weight("w", 8, 3, 3, 3)])).nodes[1]
    expected = {"SAME_UPPER": (0, 0, 1, 1), "SAME_LOWER": (1, 1, 0, 0), "VALID": (0, 0)}
    assert node.get("padding") == expected[padding]
    assert node.shape[2:] == ((7, 7) if padding == "VALID" else (8, 8))


@pytest.mark.parametrize("route", ["plain", "transpose", "identity", "dequantize", "bias first"])
def test_matmul_and_bias_become_one_gemm(route: str) -> None:
    tensors, nodes, name = [weight("b", 6)], [], "w"
    if route == "transpose":
        tensors.append(weight("w", 6, 16))
        nodes.append(make.make_node("Transpose", ["w"], ["wt"]))
        name = "wt"
    elif route == "dequantize":
        tensors += [weight("w", 16, 6, kind=TensorProto.INT8), weight("scale")]
        nodes.append(make.make_node("DequantizeLinear", ["w", "scale"], ["wf"]))
        name = "wf"
    else:
        tensors.append(weight("w", 16, 6))
        if route == "identity":
            nodes.append(make.make_node("Identity", ["w"], ["wi"]))
            name = "wi"
    nodes.append(make.make_node("MatMul", ["x", name], ["m"]))
    nodes.append(make.make_node("Add", ["b", "m"] if route == "bias first" else ["m", "b"], ["y"]))
    graph = read_onnx(model(nodes, tensors, shape=(1, 5, 16)))
    assert inner(graph) == ["Gemm"]
    assert graph.nodes[1] == gemm((1, 5, 16), 6)


def test_a_product_read_twice_keeps_its_bias_apart() -> None:
    nodes = [
        make.make_node("MatMul", ["x", "w"], ["m"]),
        make.make_node("Add", ["m", "b"], ["a"]),
        make.make_node("Mul", ["a", "m"], ["y"]),
    ]
    graph = read_onnx(model(nodes, [weight("w", 16, 6), weight("b", 6)], shape=(1, 5, 16)))
    assert inner(graph) == ["Gemm", "Add", "Mul"]
    assert [node.params for node in graph.nodes[1:3]] == [96, 6]


def test_shared_weights_count_once_and_unread_ones_as_unused() -> None:
    nodes = [make.make_node("MatMul", ["x", "w"], ["m"]), make.make_node("MatMul", ["m", "w"], ["y"])]
    graph = read_onnx(model(nodes, [weight("w", 16, 16), weight("spare", 7)], shape=(1, 5, 16)))
    assert [node.params for node in graph.nodes] == [0, 256, 0, 0]
    assert (graph.unused_params, graph.params) == (7, 263)


def test_constants_are_not_parameters_but_weights_in_constant_nodes_are() -> None:
    nodes = [
        make.make_node("Constant", [], ["w"], value=weight("", 4, 3, 1, 1)),
        make.make_node("Constant", [], ["k"], value=weight("", 4, 16, 16)),
        make.make_node("Conv", ["x", "w"], ["c"]),
        make.make_node("Mul", ["c", "k"], ["y"]),
    ]
    graph = read_onnx(model(nodes))
    assert [node.params for node in graph.nodes] == [0, 12, 0, 0]


def test_views_and_neutral_operations_vanish() -> None:
    nodes = [
        make.make_node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
        make.make_node("Reshape", ["a", "shape"], ["b"]),
        make.make_node("Dropout", ["b"], ["c"]),
        make.make_node("Cast", ["c"], ["d"], to=TensorProto.FLOAT16),
        make.make_node("Mul", ["d", "one"], ["e"]),
        make.make_node("Add", ["e", "zero"], ["f"]),
        make.make_node("Relu", ["f"], ["y"]),
    ]
    numbers = [onnx.numpy_helper.from_array(np.asarray(v, np.float16), n) for n, v in (("one", 1), ("zero", 0))]
    assert inner(read_onnx(model(nodes, [ints("shape", 1, -1), *numbers]))) == ["Relu"]


def test_product_with_zero_is_zero() -> None:
    zero = onnx.numpy_helper.from_array(np.zeros((), np.float32), "zero")
    assert inner(read_onnx(model([make.make_node("Mul", ["x", "zero"], ["y"])], [zero]))) == ["Zero"]


def test_shape_arithmetic_is_folded_for_an_open_batch() -> None:
    nodes = [
        make.make_node("Conv", ["x", "w"], ["c"]),
        make.make_node("Shape", ["c"], ["s"]),
        make.make_node("Gather", ["s", "zero"], ["n"]),
        make.make_node("Unsqueeze", ["n", "axis"], ["u"]),
        make.make_node("Concat", ["u", "rest"], ["target"], axis=0),
        make.make_node("Reshape", ["c", "target"], ["f"]),
        make.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    zero = onnx.numpy_helper.from_array(np.asarray(0, np.int64), "zero")
    tensors = [weight("w", 4, 3, 1, 1), weight("m", 1024, 10), zero, ints("axis", 0), ints("rest", -1)]
    graph = read_onnx(model(nodes, tensors, shape=("batch", 3, 16, 16)))
    assert inner(graph) == ["Conv", "Gemm"]
    assert graph.nodes[2].shape == (1, 10)


@pytest.mark.parametrize("axes_as_input", [False, True])
def test_mean_over_space_is_global_average_pool(axes_as_input: bool) -> None:
    if axes_as_input:
        mean = model([make.make_node("ReduceMean", ["x", "axes"], ["y"])], [ints("axes", 2, 3)], opset=18)
    else:
        mean = model([make.make_node("ReduceMean", ["x"], ["y"], axes=[-1, -2])], opset=13)
    assert inner(read_onnx(mean)) == ["GlobalAveragePool"]


def test_embedding_and_index() -> None:
    nodes = [
        make.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        make.make_node("Gather", ["table", "i"], ["e"]),
        make.make_node("Gather", ["e", "first"], ["y"], axis=1),
    ]
    first = onnx.numpy_helper.from_array(np.asarray(0, np.int64), "first")
    graph = read_onnx(model(nodes, [weight("table", 50, 8), first], shape=(1, 7)))
    assert inner(graph) == ["Gather", "Slice"]
    assert (graph.nodes[1].params, graph.nodes[1].shape, graph.nodes[2].shape) == (400, (1, 7, 8), (1, 8))


def test_split_gives_one_slice_per_used_part() -> None:
    nodes = [
        make.make_node("Split", ["x"], ["a", "b", "c"], axis=1),
        make.make_node("Add", ["a", "c"], ["y"]),
    ]
    graph = read_onnx(model(nodes, opset=11))
    assert inner(graph) == ["Slice", "Slice", "Add"]
    assert graph.nodes[1].shape == (1, 1, 16, 16)


def test_clip_of_old_and_new_opsets() -> None:
    bounds = [onnx.numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in (("lo", 0.0), ("hi", 6.0))]
    old = read_onnx(model([make.make_node("Clip", ["x"], ["y"], min=0.0, max=6.0)], opset=6))
    new = read_onnx(model([make.make_node("Clip", ["x", "lo", "hi"], ["y"])], bounds, opset=13))
    assert old.nodes == new.nodes
    assert dict(new.nodes[1].attributes) == {"min": 0.0, "max": 6.0}


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrence(op: str, gates: int) -> None:
    nodes = [
        make.make_node(op, ["x", "w", "r", "b"], ["s", "h"], hidden_size=6, direction="bidirectional"),
        make.make_node("Relu", ["h"], ["y"]),
    ]
    tensors = [weight("w", 2, gates * 6, 8), weight("r", 2, gates * 6, 6), weight("b", 2, gates * 12)]
    graph = read_onnx(model(nodes, tensors, shape=(20, 1, 8)))
    assert inner(graph) == [op, "Slice", "Relu"]  # the last state stays a part of the sequence
    assert graph.params == 2 * gates * 6 * (8 + 6 + 2)
    assert graph.macs == 20 * 2 * gates * 6 * (8 + 6)


def test_if_with_a_known_condition_is_followed() -> None:
    yes = make.make_graph(
        [make.make_node("Relu", ["x"], ["t"])], "t", [], [make.make_tensor_value_info("t", FLOAT, None)]
    )
    no = make.make_graph(
        [make.make_node("Tanh", ["x"], ["e"])], "e", [], [make.make_tensor_value_info("e", FLOAT, None)]
    )
    nodes = [
        make.make_node("Constant", [], ["cond"], value=onnx.numpy_helper.from_array(np.asarray(True))),
        make.make_node("If", ["cond"], ["y"], then_branch=yes, else_branch=no),
    ]
    assert inner(read_onnx(model(nodes))) == ["Relu"]


def test_control_flow_counts_the_parameters_inside() -> None:
    body = [make.make_node("Add", ["x", "inside"], ["t"])]
    value = [make.make_tensor_value_info("t", FLOAT, [1, 3, 16, 16])]
    branch = make.make_graph(body, "t", [], value, [weight("inside", 3, 1, 1)])
    nodes = [
        make.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        make.make_node("Cast", ["sum"], ["cond"], to=TensorProto.BOOL),
        make.make_node("If", ["cond"], ["y"], then_branch=branch, else_branch=branch),
    ]
    graph = read_onnx(model(nodes))
    assert inner(graph) == ["ReduceSum", "If"]
    assert graph.nodes[2].params in (3, 6)  # both branches hold a tensor of that name


def test_functions_are_expanded() -> None:
    imports = [make.make_opsetid("", 17)]
    function = make.make_function("custom", "Twice", ["a"], ["b"], [make.make_node("Add", ["a", "a"], ["b"])], imports)
    called = model([make.make_node("Twice", ["x"], ["y"], domain="custom")], functions=[function])
    assert inner(read_onnx(called)) == ["Add"]


def test_unknown_operations_are_counted_and_keep_the_shape_alive() -> None:
    nodes = [
        make.make_node("Strange", ["x"], ["s"], domain="custom"),
        make.make_node("Conv", ["s", "w"], ["c"]),
        make.make_node("NoSuchOp", ["c"], ["y"]),
    ]
    graph = read_onnx(model(nodes, [weight("w", 8, 3, 3, 3)]))
    assert graph.unknown_ops == {"custom.Strange": 1, "NoSuchOp": 1}
    assert graph.nodes[2].shape == (1, 8, 14, 14)


def test_unsorted_nodes_are_sorted() -> None:
    nodes = [make.make_node("Tanh", ["r"], ["y"]), make.make_node("Relu", ["x"], ["r"])]
    assert inner(read_onnx(model(nodes))) == ["Relu", "Tanh"]


def test_input_shape_fills_open_sizes() -> None:
    open_model = model([make.make_node("Relu", ["x"], ["y"])], shape=("batch", 3, "height", "width"))
    assert read_onnx(open_model, input_shape=(8, 3, 20, 30)).nodes[0].shape == (1, 3, 20, 30)
    assert read_onnx(open_model, input_shape=[(8, 3, 20, 30)]).nodes[0].shape == (1, 3, 20, 30)
    assert read_onnx(open_model, dynamic=4).nodes[0].shape == (1, 3, 4, 4)


def test_the_model_in_memory_is_left_as_it_was() -> None:
    before = model([make.make_node("Conv", ["x", "w"], ["y"])], [weight("w", 64, 3, 9, 9)], shape=("n", 3, 16, 16))
    content = before.SerializeToString()
    read_onnx(before)
    assert before.SerializeToString() == content


def test_large_weights_are_skipped_and_files_read_fast(tmp_path: Path) -> None:
    nodes = [make.make_node("MatMul", ["x", "w"], ["y"])]
    path = tmp_path / "large.onnx"
    onnx.save(model(nodes, [weight("w", 4000, 3000)], shape=(1, 4000)), path)
    read_onnx(path)
    start = time.process_time()
    graph = read_onnx(path)
    assert time.process_time() - start < 0.05  # 48 MB of weights are not touched
    assert (graph.params, graph.name) == (12_000_000, "large")


def test_external_data_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    net = model([make.make_node("MatMul", ["x", "w"], ["y"])], [weight("w", 64, 64)], shape=(1, 64))
    onnx.save(net, path, save_as_external_data=True, location="net.data", size_threshold=0)
    (tmp_path / "net.data").write_bytes(b"")  # present, but not the weights
    assert read_onnx(path).params == 4096


@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_torch_and_onnx_give_the_same_graph(tmp_path: Path, dynamo: bool) -> None:
    torch = pytest.importorskip("torch")
    from archcast.graphs.capture import capture

    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU())
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

        def forward(self, image: Any) -> Any:
            hidden = self.stem(image)
            hidden = hidden + hidden * torch.sigmoid(self.pool(hidden))
            return self.head(nn.functional.gelu(self.norm(self.pool(hidden).flatten(1))))

    net, path = Net().eval(), tmp_path / "net.onnx"
    for parameter in net.parameters():
        nn.init.uniform_(parameter)  # exporters merge equal tensors
    options: dict[str, Any] = {"dynamo": True, "optimize": False, "verbose": False} if dynamo else {
        "dynamo": False, "training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False
    }  # fmt: skip
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.randn(1, 3, 16, 16),), str(path), **options)
    direct, exported = capture(net, (1, 3, 16, 16)), read_onnx(path)
    assert sorted(direct.ops) == sorted(exported.ops)
    assert (direct.params, direct.macs) == (exported.params, exported.macs)
    assert direct.hash() == exported.hash()
