"""What one distinct node contributes to the tabular features: its role and its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.graphs.graph import Node
from archcast.graphs.vocabulary import OP_CLASS

FloatArray = NDArray[np.float64]

ROLES: Final = (
    "convk",
    "conv1",
    "depthwise",
    "linear",
    "mixing",
    "recurrent",
    "graph",
    "pool",
    "join",
    "input",
    "output",
)
"""Roles of the nodes that count on a path. `convk`: convolution with a kernel above 1 that mixes channels;
`mixing`: attention and products of activations; `join`: any other node where several live paths meet."""

_BY_CLASS: Final = {
    "linear": "linear", "attention": "mixing", "recurrent": "recurrent", "graph": "graph", "pool": "pool",
}  # fmt: skip


def role_of(node: Node) -> str:
    """The node's role, or '' for one that counts only where live paths meet (a join)."""
    if node.op in ("Input", "Output"):
        return node.op.lower()
    if node.op in ("MatMul", "Einsum"):
        return "mixing"
    if node.op in ("GlobalAveragePool", "GlobalMaxPool"):
        return ""
    kind = OP_CLASS[node.op]
    if kind == "conv":
        groups, channels = node.get("groups", 1), node.get("in_channels", 1)
        if groups > 1 and groups == channels:
            return "depthwise"
        return "conv1" if prod(node.get("kernel", (1,))) == 1 else "convk"
    return _BY_CLASS.get(kind, "")


@dataclass(frozen=True)
class NodeColumns:
    """One number (or flag) per distinct node of a batch.

    Attributes:
        role: `[D]` position in `ROLES`, -1 for none.
        weighted: `[D]` carries a weight product (convolution, linear, attention, recurrent, graph layer).
        activation, normalization: `[D]` op class flags.
        log_width: `[D]` natural log of the channels a weighted node puts out, else 0.
        log_fan_in: `[D]` log of the inputs each output sums over, for weighted nodes, else 0.
        kernel: `[D]` largest kernel side of a convolution or pool, else 0.
        params, macs, elements: `[D]` trainable parameters, MACs, output elements.
        side: `[D]` square root of the spatial positions (or of the tokens) of the output.
    """

    role: NDArray[np.int64]
    weighted: NDArray[np.bool_]
    activation: NDArray[np.bool_]
    normalization: NDArray[np.bool_]
    log_width: FloatArray
    log_fan_in: FloatArray
    kernel: FloatArray
    params: FloatArray
    macs: FloatArray
    elements: FloatArray
    side: FloatArray

    @classmethod
    def of(cls, nodes: tuple[Node, ...]) -> NodeColumns:
        roles = [role_of(node) for node in nodes]
        kinds = np.asarray([OP_CLASS[node.op] for node in nodes])
        weighted = np.asarray([role in _WEIGHTED for role in roles], dtype=bool)
        widths = np.asarray([_width(node) for node in nodes], dtype=np.float64)
        fan_in = np.asarray([_fan_in(node) for node in nodes], dtype=np.float64)
        return cls(
            role=np.asarray([ROLES.index(role) if role else -1 for role in roles], dtype=np.int64),
            weighted=weighted,
            activation=kinds == "activation",
            normalization=kinds == "normalization",
            log_width=np.where(weighted, np.log(np.maximum(widths, 1)), 0.0),
            log_fan_in=np.where(weighted, np.log(np.maximum(fan_in, 1)), 0.0),
            kernel=np.asarray([max(node.get("kernel", (0,)), default=0) for node in nodes], dtype=np.float64),
            params=np.asarray([node.params for node in nodes], dtype=np.float64),
            macs=np.asarray([node.macs for node in nodes], dtype=np.float64),
            elements=np.asarray([prod(node.shape) for node in nodes], dtype=np.float64),
            side=np.asarray([_side(node) for node in nodes], dtype=np.float64),
        )


_WEIGHTED: Final = {"convk", "conv1", "depthwise", "linear", "mixing", "recurrent", "graph"}


def _width(node: Node) -> int:
    for name in ("out_channels", "out_features", "hidden_size"):
        if node.get(name):
            return int(node.get(name))
    if node.op == "Attention":
        return int(node.get("heads", 1)) * int(node.get("head_width", 1))
    return int(node.shape[-1]) if node.shape else 1


def _fan_in(node: Node) -> float:
    if OP_CLASS[node.op] == "conv":
        return float(node.get("in_channels", 1) / max(node.get("groups", 1), 1) * prod(node.get("kernel", (1,))))
    for name in ("in_features", "contracted", "input_size", "head_width"):
        if node.get(name):
            return float(node.get(name))
    return 1.0


def _side(node: Node) -> float:
    """(N, C, H, W) -> sqrt(H W); (N, tokens, C) -> sqrt(tokens); (N, C) -> 1. NHWC maps count as maps."""
    if len(node.shape) == 4:
        sizes = node.shape[1:3] if node.op == "LayerNormalization" or node.get("in_features") else node.shape[2:]
        return float(max(prod(sizes), 1) ** 0.5)
    if len(node.shape) == 3:
        return float(max(node.shape[1], 1) ** 0.5)
    return 1.0
