"""ONNX models as modules: the same function, the same parameters as their graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from archcast.errors import CaptureError, NetworkError
from archcast.graphs.capture import capture
from archcast.graphs.onnx_modules import onnx_feed, onnx_module


def product_model(op: str = "Relu") -> onnx.ModelProto:
    """A product of tokens [B, 5, 8] with a weight [8, 4], and an activation."""
    weight = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node(op, ["h"], ["y"])]
    graph = helper.make_graph(
        nodes, "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 5, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5, 4])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_weights_of_plain_products_are_parameters() -> None:
    model = product_model()
    module = onnx_module(model)
    x = torch.randn(2, 5, 8)
    weight = torch.from_numpy(numpy_helper.to_array(model.graph.initializer[0]).copy())
    torch.testing.assert_close(module(x), torch.relu(x @ weight))
    assert sum(parameter.numel() for parameter in module.parameters()) == 32 == capture(model).params


def test_the_feed_has_batch_one_where_the_model_leaves_it_open() -> None:
    assert [slot.shape for slot in onnx_feed(product_model()).slots] == [(1, 5, 8)]


def test_an_operation_without_a_torch_counterpart_is_named() -> None:
    with pytest.raises(CaptureError, match="Mish"):
        onnx_module(product_model("Mish"))


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(product_model().SerializeToString()[:40])
    with pytest.raises((NetworkError, CaptureError)):
        onnx_module(path)
