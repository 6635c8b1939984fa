"""Shape arithmetic against the ONNX reference implementation, and its limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.helper as make
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from archcast.graphs.onnx_constants import evaluate
from archcast.graphs.onnx_files import KEEP
from archcast.graphs.onnx_shapes import attributes_of

INTS = np.arange(-6, 6, dtype=np.int64)
TABLE = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
FLOATS = np.asarray([0.5, 2.0, 4.5], dtype=np.float32)
BOOLS = np.asarray([True, False, True])
THREE = np.asarray(3, dtype=np.int64)


def ints(*values: int) -> Any:
    return np.asarray(values, dtype=np.int64)


CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Add", [TABLE, THREE], {}), ("Sub", [TABLE, INTS[:4]], {}), ("Mul", [TABLE, THREE], {}),
    ("Div", [INTS, THREE], {}), ("Div", [FLOATS, FLOATS[:1]], {}), ("Mod", [INTS, THREE], {}),
    ("Pow", [FLOATS, FLOATS], {}), ("Min", [INTS, INTS[::-1], THREE], {}), ("Max", [INTS, THREE], {}),
    ("Max", [INTS], {}), ("Equal", [INTS, THREE], {}), ("Less", [INTS, THREE], {}), ("Greater", [INTS, THREE], {}),
    ("GreaterOrEqual", [INTS, THREE], {}), ("LessOrEqual", [INTS, THREE], {}), ("Not", [BOOLS], {}),
    ("And", [BOOLS, BOOLS[::-1]], {}), ("Or", [BOOLS, BOOLS[::-1]], {}),
    ("Where", [BOOLS, FLOATS, FLOATS * 2], {}), ("Floor", [FLOATS], {}), ("Ceil", [FLOATS], {}),
    ("Round", [FLOATS], {}), ("Sqrt", [FLOATS], {}), ("Neg", [INTS], {}), ("Abs", [INTS], {}),
    ("Reciprocal", [FLOATS], {}), ("Identity", [INTS], {}), ("Concat", [TABLE, TABLE], {"axis": -1}),
    ("Gather", [TABLE, ints(2, 0)], {"axis": 1}), ("Gather", [INTS, THREE], {}),
    ("Transpose", [TABLE], {"perm": [2, 0, 1]}), ("Transpose", [TABLE], {}),
    ("Unsqueeze", [TABLE, ints(0, 2)], {}), ("Squeeze", [TABLE[:1], ints(0)], {}), ("Squeeze", [TABLE[:1]], {}),
    ("Slice", [TABLE, ints(1), ints(3), ints(1)], {}), ("Slice", [INTS, ints(-1), ints(-100), ints(0), ints(-2)], {}),
    ("Slice", [TABLE, ints(0, 1), ints(9, -1)], {}), ("Reshape", [TABLE, ints(0, -1)], {}),
    ("Cast", [FLOATS], {"to": TensorProto.INT64}), ("ConstantOfShape", [ints(2, 3)], {}),
    ("ConstantOfShape", [ints(2)], {"value": make.make_tensor("v", TensorProto.INT64, [1], [7])}),
    ("Range", [THREE, ints(20)[0], ints(4)[0]], {}), ("Expand", [FLOATS, ints(2, 3)], {}),
    ("Tile", [TABLE, ints(1, 2, 1)], {}), ("ReduceProd", [TABLE + 1, ints(1)], {}),
    ("ReduceSum", [TABLE, ints(0, 2)], {"keepdims": 0}), ("ReduceMax", [TABLE, ints(-1)], {}),
    ("ReduceMin", [TABLE], {"keepdims": 0}),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda index: f"{CASES[index][0]}-{index}")
def test_agrees_with_the_reference(index: int) -> None:
    op, inputs, attributes = CASES[index]
    names = [f"i{position}" for position in range(len(inputs))]
    node = make.make_node(op, names, ["y"], **attributes)
    graph = make.make_graph(
        [node], "g", [make.make_tensor_value_info(name, 0, None) for name in names],
        [make.make_tensor_value_info("y", 0, None)],
    )  # fmt: skip
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)])
    (expected,) = ReferenceEvaluator(model).run(None, dict(zip(names, map(np.asarray, inputs), strict=True)))
    found = evaluate(op, [np.asarray(array) for array in inputs], attributes_of(node))
    assert found is not None
    np.testing.assert_array_equal(found, expected)
    assert found.shape == np.shape(expected)


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("ConstantOfShape", [ints(10**9, 10**9)]),
        ("Expand", [FLOATS, ints(10**9, 3)]),
        ("Tile", [INTS, ints(10**12)]),
        ("Range", [ints(0)[0], ints(10**15)[0], ints(1)[0]]),
        ("Add", [np.zeros((KEEP, 1)), np.zeros((1, KEEP))]),
    ],
)
def test_large_results_are_not_computed(op: str, inputs: list[Any]) -> None:
    assert evaluate(op, inputs, {}) is None


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("Reshape", [INTS, ints(5, 5)]),
        ("Gather", [INTS, ints(99)]),
        ("Range", [THREE, THREE, ints(0)[0]]),
        ("Add", [INTS, TABLE]),
        ("Concat", [INTS]),
        ("NoSuchOp", [INTS]),
    ],
)
def test_what_does_not_fit_stays_unknown(op: str, inputs: list[Any]) -> None:
    assert evaluate(op, inputs, {}) is None
