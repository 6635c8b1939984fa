"""What the graph encoder knows about single nodes, and where operators stand by their text."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from archcast.encoders.node_table import NUMBER_NAMES, NodeTable
from archcast.encoders.op_text import _CLASS_TEXT, _DESCRIPTIONS, WIDTH, op_text
from archcast.graphs.graph import Node
from archcast.graphs.nodes import (
    attention,
    attributed,
    conv,
    gemm,
    global_average_pool,
    matmul,
    normalization,
    plain,
    pool,
    unknown,
)
from archcast.graphs.vocabulary import OP_CLASSES, OP_INDEX, OPS

MAP = (1, 64, 16, 16)


def number(node: Node, name: str) -> float:
    return float(NodeTable.of([node]).numbers[0, NUMBER_NAMES.index(name)])


def nearest(name: str) -> str:
    mine = op_text("Unknown", name)
    return max((op for op in OPS if op != "Unknown"), key=lambda op: float(op_text(op) @ mine))


class TestNumbers:
    def test_ops_are_positions_in_the_vocabulary(self) -> None:
        table = NodeTable.of([conv(MAP, 32, 3), plain("Relu", MAP), unknown("snake", MAP)])
        assert table.op.tolist() == [OP_INDEX["Conv"], OP_INDEX["Relu"], OP_INDEX["Unknown"]]
        assert table.numbers.shape == (3, len(NUMBER_NAMES))
        assert table.numbers.dtype == np.float32

    def test_convolutions(self) -> None:
        node = conv(MAP, 128, 3, stride=2, padding=1)
        assert number(node, "log_params") == pytest.approx(np.log1p(64 * 128 * 9) / 8)
        assert number(node, "log_macs") == pytest.approx(np.log1p(64 * 128 * 9 * 64) / 14)
        assert number(node, "log_in_channels") == pytest.approx(np.log1p(64) / 5)
        assert number(node, "log_expansion") == 1
        assert number(node, "kernel_height") == number(node, "kernel_width") == pytest.approx(np.log2(3))
        assert number(node, "kernel_depth") == 0
        assert number(node, "stride") == 1
        assert number(node, "padding") == 1  # the size is kept but for the stride
        assert [number(node, name) for name in ("depthwise", "grouped", "pointwise", "has_window")] == [0, 0, 0, 1]

    def test_sides_of_a_kernel_differ(self) -> None:
        node = conv(MAP, 64, (1, 7))
        assert number(node, "kernel_height") == 0
        assert number(node, "kernel_width") == pytest.approx(np.log2(7))
        assert number(conv((1, 8, 20), 8, 5), "kernel_height") == 0  # along a sequence

    def test_kinds_of_convolutions(self) -> None:
        flags = ("depthwise", "grouped", "pointwise")
        kinds = {
            "depthwise": conv(MAP, 64, 3, groups=64), "grouped": conv(MAP, 64, 3, groups=8),
            "pointwise": conv(MAP, 64, 1),
        }  # fmt: skip
        for kind, node in kinds.items():
            assert [number(node, flag) for flag in flags] == [float(flag == kind) for flag in flags]

    def test_attention_and_tokens(self) -> None:
        tokens = (1, 8, 196, 32)
        node = attention(tokens, tokens, tokens, tokens, causal=True)
        assert number(node, "heads") == pytest.approx(np.log2(9) / 2)
        assert number(node, "head_width") == pytest.approx(np.log2(33) / 4)
        assert number(node, "log_out_channels") == pytest.approx(np.log1p(256) / 5)
        assert number(node, "causal") == 1
        assert number(gemm((1, 196, 64), 256), "sequence") == 1
        assert number(gemm((1, 196, 64), 256), "log_expansion") == 2
        assert number(matmul((1, 8, 196, 32), (1, 8, 196, 196)), "log_in_channels") == pytest.approx(np.log1p(32) / 5)

    def test_channels_of_operations_without_weights(self) -> None:
        width = np.log1p(64) / 5
        for node in (plain("Relu", MAP), plain("Relu", (1, 64)), plain("Add", (1, 10, 64)), pool("MaxPool", MAP, 2)):
            assert number(node, "log_out_channels") == number(node, "log_in_channels") == pytest.approx(width)
        assert number(normalization("LayerNormalization", (1, 7, 7, 64), 128, 64), "log_out_channels") == (
            pytest.approx(width)
        )

    def test_pools(self) -> None:
        assert number(pool("MaxPool", MAP, 3, stride=2), "pool") == 1
        assert number(global_average_pool(MAP), "global_pool") == 1

    def test_outlandish_attributes_stay_within_bounds(self) -> None:
        node = attributed("Clip", MAP, min=-3.4e38, max=float("inf"))
        table = NodeTable.of([node, Node("Conv", {"kernel": ()}, ())])
        assert np.isfinite(table.numbers).all()
        assert np.abs(table.numbers).max() <= 8

    def test_nothing(self) -> None:
        table = NodeTable.of([])
        assert table.numbers.shape == (0, len(NUMBER_NAMES))
        assert table.text.shape == (0, WIDTH)


class TestText:
    def test_every_op_and_class_is_described(self) -> None:
        assert set(_DESCRIPTIONS) == set(OPS)
        assert set(_CLASS_TEXT) == set(OP_CLASSES)
        assert all(_DESCRIPTIONS[op] for op in OPS if op != "Unknown")

    @pytest.mark.parametrize(
        ("name", "op"),
        [
            ("gelu_fast", "Gelu"), ("QuickGELU", "Gelu"), ("conv2d_int8", "Conv"), ("max_pool_fancy", "MaxPool"),
            ("FusedLayerNorm", "LayerNormalization"), ("StarReLU", "Relu"),
        ],
    )  # fmt: skip
    def test_an_unknown_op_stands_by_its_name(self, name: str, op: str) -> None:
        assert nearest(name) == op

    def test_gelu_fast_is_an_activation_and_no_convolution(self) -> None:
        mine = op_text("Unknown", "gelu_fast")
        assert mine @ op_text("Gelu") > mine @ op_text("Conv") + 0.3
        assert mine @ op_text("Relu") > mine @ op_text("Conv")

    def test_kindred_ops_are_near(self) -> None:
        assert op_text("Swish") @ op_text("HardSwish") > op_text("Swish") @ op_text("Gemm") + 0.3

    def test_vectors_are_unit_and_distinct(self) -> None:
        vectors = np.stack([op_text(op) for op in OPS if op != "Unknown"])
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert (vectors @ vectors.T - 2 * np.eye(len(vectors))).max() < 0.99
        assert not op_text("Unknown").any()

    def test_another_process_gets_the_same_vector(self) -> None:
        code = "from archcast.encoders.op_text import op_text; print(op_text('Unknown', 'snake').tolist())"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == str(op_text("Unknown", "snake").tolist())

    def test_only_unknown_ops_are_placed_by_name(self) -> None:
        table = NodeTable.of([unknown("snake", MAP), unknown("gelu_fast", MAP), plain("Gelu", MAP)])
        assert not np.array_equal(table.text[0], table.text[1])
        np.testing.assert_array_equal(table.text[2], op_text("Gelu"))
