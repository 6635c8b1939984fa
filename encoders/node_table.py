"""What the graph encoder knows about a node by itself: its op, its text, and absolute numbers.

Networks repeat themselves, so all of it is computed once per distinct node (`GraphBatch.nodes`). Sizes are natural
logarithms of (1 + size) divided by a typical value, windows are base-2 logarithms, so that all columns are of order
one. What a node has not is 0, and a flag tells it from a real 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2, prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.op_text import op_text
from archcast.encoders.roles import NodeColumns
from archcast.graphs.graph import Node
from archcast.graphs.vocabulary import OP_INDEX

VERSION: Final = 1
"""Raise when a column changes its meaning: encoders trained on another version are refused."""

_SIZES: Final = {"log_params": 8.0, "log_macs": 14.0, "log_elements": 10.0, "log_side": 3.0, "log_fan_in": 5.0}
_CHANNELS: Final = ("log_in_channels", "log_out_channels", "log_expansion")
_WINDOW: Final = (
    "has_window", "kernel_height", "kernel_width", "kernel_depth", "stride", "dilation", "padding", "pointwise",
)  # fmt: skip
_GROUPS: Final = ("groups", "grouped", "depthwise")
_FLAGS: Final = ("has_params", "has_macs", "weighted", "bias", "pool", "global_pool", "map", "sequence", "rank")
_ATTENTION: Final = ("heads", "head_width", "causal")
_OTHER: Final = ("layers", "bidirectional", "entries", "alpha", "lower", "upper", "axis_channels", "axis_last", "block")

NUMBER_NAMES: Final[tuple[str, ...]] = (*_SIZES, *_CHANNELS, *_WINDOW, *_GROUPS, *_FLAGS, *_ATTENTION, *_OTHER)
"""Names of the columns of `NodeTable.numbers`, in order."""

_LIMIT: Final = 8.0  # no number leaves -8..8: attributes such as a clip at -3.4e38 would drown the rest


@dataclass(frozen=True)
class NodeTable:
    """Distinct nodes as arrays.

    Attributes:
        op: `[D]` int64, position in `archcast.graphs.vocabulary.OPS`.
        numbers: `[D, len(NUMBER_NAMES)]` float32.
        text: `[D, op_text.WIDTH]` float32, where the op stands by its name and description.
    """

    op: NDArray[np.int64]
    numbers: NDArray[np.float32]
    text: NDArray[np.float32]

    @classmethod
    def of(cls, nodes: Sequence[Node]) -> NodeTable:
        """The table of `nodes`, a row each."""
        if not nodes:
            width = len(op_text("Unknown"))
            empty = np.zeros((0, len(NUMBER_NAMES)), np.float32)
            return cls(np.zeros(0, np.int64), empty, np.zeros((0, width), np.float32))
        columns = NodeColumns.of(tuple(nodes))
        sizes = np.column_stack([
            np.log1p(columns.params), np.log1p(columns.macs), np.log1p(columns.elements),
            np.log(np.maximum(columns.side, 1)), columns.log_fan_in,
        ]) / np.asarray(list(_SIZES.values()))  # fmt: skip
        rows = np.asarray([_row(node, bool(flag)) for node, flag in zip(nodes, columns.weighted, strict=True)])
        numbers = np.clip(np.nan_to_num(np.concatenate([sizes, rows], axis=1)), -_LIMIT, _LIMIT)
        return cls(
            np.asarray([OP_INDEX[node.op] for node in nodes], dtype=np.int64),
            numbers.astype(np.float32),
            np.stack([op_text(node.op, _unknown_name(node)) for node in nodes]),
        )


def _unknown_name(node: Node) -> str:
    return str(node.get("name", "")) if node.op == "Unknown" else ""


def _row(node: Node, weighted: bool) -> list[float]:
    attributes: Mapping[str, Any] = node.attributes
    source, width = _channels(node, attributes)
    channels = [np.log1p(source) / 5, np.log1p(width) / 5, log2(width / source) if source and width else 0.0]
    kernel = attributes.get("kernel")
    groups = int(attributes.get("groups", 1) or 1)
    depthwise = groups > 1 and groups == attributes.get("in_channels")
    pointwise = node.op_class == "conv" and groups == 1 and prod(kernel or ()) == 1
    rank = len(node.shape)
    return [
        *channels,
        *_window(attributes), float(pointwise),
        log2(groups) / 4, float(groups > 1 and not depthwise), float(depthwise),
        float(node.params > 0), float(node.macs > 0), float(weighted), float(bool(attributes.get("bias"))),
        float(node.op_class == "pool"), float(node.op.startswith("Global")),
        float(rank >= 4), float(rank == 3), rank / 4,
        _log2(attributes.get("heads")) / 2, _log2(attributes.get("head_width")) / 4,
        float(bool(attributes.get("causal"))),
        _log2(attributes.get("layers")), float(attributes.get("directions", 1) == 2),
        np.log1p(float(attributes.get("entries", 0))) / 8,
        *(float(attributes.get(name, 0.0)) for name in ("alpha", "min", "max")),
        *_axis(attributes, rank), _log2(attributes.get("block")),
    ]  # fmt: skip


def _channels(node: Node, attributes: Mapping[str, Any]) -> tuple[float, float]:
    """Channels in and out; an operation without weights passes on as many as its output has."""
    if node.op == "Attention":
        width = int(attributes.get("heads", 1)) * int(attributes.get("head_width", 1))
        return width, width
    if node.op == "MatMul":
        return float(attributes.get("contracted", 1)), float(node.shape[-1]) if node.shape else 1.0
    names = ("out_channels", "out_features", "hidden_size", "width", "channels")
    by_shape = (node.shape[1] if len(node.shape) >= 4 else node.shape[-1]) if node.shape else 1
    width = next((int(attributes[name]) for name in names if name in attributes), by_shape)
    sources = ("in_channels", "in_features", "input_size")
    return float(next((int(attributes[name]) for name in sources if name in attributes), width)), float(width)


def _window(attributes: Mapping[str, Any]) -> list[float]:
    """Flag, kernel (height, width, depth), stride, dilation as base-2 logarithms; padding 1 keeps the size."""
    kernel = attributes.get("kernel")
    if not kernel:
        return [0.0] * 7
    rank = len(kernel)
    depth, height, width = (1, 1, 1, *kernel)[-3:]
    stride, dilation = (_mean_log2(attributes.get(name, (1,))) for name in ("stride", "dilation"))
    padding = attributes.get("padding", (0,))
    both = sum(padding) * (2 * rank / len(padding))  # per axis, or (begin..., end...)
    span = sum(size - 1 for size in kernel)
    return [1.0, log2(height), log2(width), log2(depth), stride, dilation, both / span if span else 0.0]


def _mean_log2(sizes: Any) -> float:
    return sum(log2(max(size, 1)) for size in sizes) / max(len(sizes), 1)


def _log2(value: Any) -> float:
    """log2(1 + value), 0 for what is not there."""
    return log2(1 + float(value)) if value else 0.0


def _axis(attributes: Mapping[str, Any], rank: int) -> tuple[float, float]:
    """Whether it works along the channels of a map, and along the last axis."""
    axis = attributes.get("axis")
    return float(axis == 1 and rank >= 3), float(axis is not None and axis == rank - 1)
