"""Broken and hostile ONNX models: each gives a specific error that names the next step, none crashes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.helper as make
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from archcast.errors import ArchcastError, GraphError, MissingDataError, NetworkError
from archcast.graphs.onnx_reader import read_onnx

FLOAT = TensorProto.FLOAT


def relu(*shape: int | str) -> onnx.ModelProto:
    return net([make.make_node("Relu", ["x"], ["y"])], shape=shape or (1, 3, 8, 8))


def net(
    nodes: list[onnx.NodeProto],
    initializers: list[onnx.TensorProto] | None = None,
    shape: tuple[int | str, ...] | None = (1, 3, 8, 8),
) -> onnx.ModelProto:
    inputs = [make.make_tensor_value_info("x", FLOAT, shape)]
    outputs = [make.make_tensor_value_info("y", FLOAT, None)]
    return make.make_model(
        make.make_graph(nodes, "net", inputs, outputs, initializers or []), opset_imports=[make.make_opsetid("", 17)]
    )


def bare(name: str, dims: list[int]) -> onnx.TensorProto:
    """A tensor that claims a shape and holds no data."""
    return onnx.TensorProto(name=name, data_type=FLOAT, dims=dims)


def external(location: str | None) -> onnx.ModelProto:
    tensor = bare("w", [3, 3])
    tensor.data_location = TensorProto.EXTERNAL
    if location is not None:
        tensor.external_data.add(key="location", value=location)
    return net([make.make_node("MatMul", ["x", "w"], ["y"])], [tensor], shape=(1, 3))


def ints(name: str, *values: int) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.asarray(values, dtype=np.int64), name)


def typed(attribute: str, value: object, op: str = "Conv") -> onnx.ModelProto:
    node = make.make_node(op, ["x", "w"] if op == "Conv" else ["x"], ["y"])
    node.attribute.append(make.make_attribute(attribute, value))
    return net([node], [bare("w", [4, 3, 3, 3])])


def without_outputs() -> onnx.ModelProto:
    model = relu()
    del model.graph.output[:]
    return model


def without_type() -> onnx.ModelProto:
    model = relu()
    model.graph.input[0].type.Clear()
    model.graph.input[0].type.tensor_type.elem_type = FLOAT
    return model


def nested_attribute_without_type() -> onnx.ModelProto:
    model = relu()
    model.graph.node[0].attribute.add(name="mystery")
    return model


MODELS: dict[str, tuple[Callable[[], onnx.ModelProto], type[ArchcastError], str]] = {
    "no graph": (onnx.ModelProto, NetworkError, "holds no graph"),
    "cycle": (
        lambda: net([make.make_node("Add", ["x", "b"], ["a"]), make.make_node("Relu", ["a"], ["b"]),
                     make.make_node("Relu", ["b"], ["y"])]),
        GraphError, "cyclic",
    ),
    "own output": (lambda: net([make.make_node("Add", ["x", "y"], ["y"])]), GraphError, "cyclic"),
    "missing initializer": (lambda: net([make.make_node("Conv", ["x", "w"], ["y"])]), NetworkError, "nothing makes it"),
    "missing output": (lambda: net([make.make_node("Relu", ["x"], ["z"])]), NetworkError, "'y' is read but nothing"),
    "name made twice": (
        lambda: net([make.make_node("Relu", ["x"], ["y"]), make.make_node("Tanh", ["x"], ["y"])]),
        NetworkError, "made twice",
    ),
    "no outputs": (without_outputs, NetworkError, "no outputs"),
    "open size": (lambda: relu("batch", 3, "height", 8), NetworkError, "input_shape="),
    "no shape": (without_type, NetworkError, "has no shape"),
    "zero size": (lambda: relu(1, 0, 8, 8), NetworkError, "at least 1"),
    "negative size": (lambda: relu(1, -5, 8, 8), NetworkError, "at least 1"),
    "overflowing input": (lambda: relu(1, 2**31, 2**31, 2**31), NetworkError, "no real tensor"),
    "overflowing initializer": (
        lambda: net([make.make_node("Conv", ["x", "w"], ["y"])], [bare("w", [2**40, 3, 3, 3])]),
        NetworkError, "no real tensor",
    ),
    "negative initializer": (
        lambda: net([make.make_node("Conv", ["x", "w"], ["y"])], [bare("w", [-4, 3, 3, 3])]),
        NetworkError, "no real tensor",
    ),
    "huge repeat": (
        lambda: net([make.make_node("Tile", ["x", "n"], ["y"])], [ints("n", 1, 2**40, 1, 1)]),
        NetworkError, "too large",
    ),
    "huge expand": (
        lambda: net([make.make_node("Expand", ["x", "n"], ["y"])], [ints("n", 2**30, 3, 8, 8)]),
        NetworkError, "too large",
    ),
    "huge padding": (
        lambda: net([make.make_node("Pad", ["x", "n"], ["y"])], [ints("n", 0, 0, 2**40, 0, 0, 0, 0, 0)]),
        NetworkError, "too large",
    ),
    "text for a stride": (lambda: typed("strides", "two"), NetworkError, "'strides' should be a list of integers"),
    "list for a group": (lambda: typed("group", [1, 2]), NetworkError, "'group' should be an integer"),
    "text for alpha": (lambda: typed("alpha", "x", "LeakyRelu"), NetworkError, "'alpha' should be a number"),
    "number for a mode": (lambda: typed("approximate", 3, "Gelu"), NetworkError, "'approximate' should be a string"),
    "typeless attribute": (nested_attribute_without_type, NetworkError, "broken attribute"),
    "missing input": (lambda: net([make.make_node("Conv", ["x"], ["y"])]), NetworkError, "lacks its input 1"),
    "external path upwards": (lambda: external("../secrets.bin"), NetworkError, "outside the model's folder"),
    "absolute external path": (lambda: external("/etc/passwd"), NetworkError, "outside the model's folder"),
    "external without a path": (lambda: external(None), NetworkError, "names no file"),
}  # fmt: skip


@pytest.mark.parametrize("case", MODELS)
def test_broken_models_are_refused(case: str) -> None:
    build, error, message = MODELS[case]
    with pytest.raises(error) as caught:
        read_onnx(build())
    assert message in str(caught.value)


FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "text": (b"this is not a model, whatever its name says\n" * 20, "not an ONNX file"),
    "random bytes": (bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)), "not an ONNX file"),
    "truncated": (relu().SerializeToString()[:-9], "truncated"),
    "truncated in the weights": (
        net([make.make_node("MatMul", ["x", "w"], ["y"])],
            [onnx.numpy_helper.from_array(np.ones((300, 300), np.float32), "w")]).SerializeToString()[:90_000],
        "truncated",
    ),
    "a zip": (b"PK\x03\x04" + bytes(200), "not an ONNX file"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_broken_files_are_refused(case: str, tmp_path: Path) -> None:
    content, message = FILES[case]
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(NetworkError, match=r"net\.onnx") as caught:
        read_onnx(path)
    assert message in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="does not exist"):
        read_onnx(tmp_path / "none.onnx")
    with pytest.raises(MissingDataError, match="is a folder"):
        read_onnx(tmp_path)


def test_missing_external_data(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(external("weights.bin"), path)
    with pytest.raises(MissingDataError, match=r"weights\.bin"):
        read_onnx(path)
    (tmp_path / "weights.bin").write_bytes(bytes(36))
    assert read_onnx(path).params == 9


def test_external_data_behind_a_link_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(36))
    (folder / "weights.bin").symlink_to(tmp_path / "outside.bin")
    onnx.save(external("weights.bin"), folder / "net.onnx")
    with pytest.raises(NetworkError, match="links outside"):
        read_onnx(folder / "net.onnx")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 8), "has 4 dimensions"),
        ([(1, 3, 8, 8), (1, 3)], "gives 2"),
        ((1, 3, 0, 8), "at least 1"),
        ((1, 4, 8, 8), "is fixed to 3 on axis 1"),
    ],
)
def test_input_shapes_that_do_not_fit(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(NetworkError) as caught:
        read_onnx(relu("batch", 3, "height", 8), input_shape=shape)
    assert message in str(caught.value)


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_a_graph_or_one_of_our_errors(tmp_path: Path, content: bytes) -> None:
    assert_refused_or_read(tmp_path / "net.onnx", content)


@given(st.integers(0, 10**6), st.integers(0, 255))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_changed_byte_gives_a_graph_or_one_of_our_errors(tmp_path: Path, position: int, value: int) -> None:
    nodes = [
        make.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        make.make_node("Reshape", ["c", "s"], ["r"]),
        make.make_node("MatMul", ["r", "m"], ["y"]),
    ]
    weights = [np.ones((4, 3, 3, 3), np.float32), np.ones((64, 5), np.float32)]
    tensors = [onnx.numpy_helper.from_array(array, name) for array, name in zip(weights, "wm", strict=True)]
    content = bytearray(net(nodes, [*tensors, ints("s", 1, -1)]).SerializeToString())
    content[position % len(content)] = value
    assert_refused_or_read(tmp_path / "net.onnx", bytes(content))


def assert_refused_or_read(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        nodes = len(read_onnx(path, dynamic=2))
    except ArchcastError as error:
        nodes = len(str(error))
    assert nodes > 0
