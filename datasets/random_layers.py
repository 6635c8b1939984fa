"""`Canvas`: a graph under construction with layers as torch networks compose them, in one style per network.

Every method adds nodes behind values and returns the number of the value it makes. Shapes are those the next layer
works on: maps are (1, C, H, W) and square, tokens are (1, tokens, C).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt, prod

from archcast.graphs.builder import GraphBuilder
from archcast.graphs.graph import ComputationGraph, Node, Shape
from archcast.graphs.nodes import (
    attention,
    attributed,
    batch_norm,
    concat,
    conv,
    embedding,
    gemm,
    global_average_pool,
    normalization,
    plain,
    pool,
    reduction,
)

ACTIVATIONS = ("Relu", "Relu", "Swish", "Gelu", "HardSwish", "LeakyRelu", "Elu", "Mish", "Relu6")
NORMS = ("batch", "batch", "batch", "group", "layer", "none")
SMALLEST_MAP = 4
"""Maps of this side are not halved any more: a pool over less would be global."""


@dataclass(frozen=True)
class Style:
    """What all layers of a network have in common.

    Attributes:
        norm: of maps: "batch", "group" (8 channels a group), "layer" (over the channels of each place) or "none".
        activation: one of `ACTIVATIONS`.
        first: normalisation and activation stand in front of the convolution instead of behind it.
        token_norm: "LayerNormalization" or "RMSNormalization".
    """

    norm: str = "batch"
    activation: str = "Relu"
    first: bool = False
    token_norm: str = "LayerNormalization"


class Canvas:
    def __init__(self, style: Style) -> None:
        self.style = style
        self._builder = GraphBuilder()
        self._shapes: list[Shape] = []

    def shape(self, value: int) -> Shape:
        return self._shapes[value]

    def channels(self, value: int) -> int:
        """Channels of a map, or width of tokens."""
        shape = self._shapes[value]
        return shape[1] if len(shape) == 4 else shape[-1]

    def side(self, value: int) -> int:
        """Height (and width) of a map, or of the map that tokens make."""
        shape = self._shapes[value]
        return shape[2] if len(shape) == 4 else isqrt(shape[1])

    def put(self, node: Node, *inputs: int, shape: Shape | None = None) -> int:
        """Append a node; `shape` is how the next layer sees its value, where that differs from the node's own."""
        self._shapes.append(node.shape if shape is None else shape)
        return self._builder.add(node, *inputs)

    def build(self, value: int, name: str) -> ComputationGraph:
        self.put(plain("Output", self._shapes[value]), value)
        return self._builder.build(name=name)

    def image(self, side: int, channels: int = 3) -> int:
        return self.put(plain("Input", (1, channels, side, side)))

    # Maps

    def as_map(self, value: int) -> Shape:
        """The shape of a value seen as a map; tokens are put back to their places, which is no operation."""
        shape = self._shapes[value]
        return shape if len(shape) == 4 else (1, shape[2], isqrt(shape[1]), isqrt(shape[1]))

    def conv(
        self, value: int, channels: int, kernel: int | tuple[int, int] = 1, *, stride: int = 1, groups: int = 1,
        dilation: int = 1, bias: bool | None = None, patch: bool = False,
    ) -> int:  # fmt: skip
        """A convolution padded to keep the size (divided by `stride`); without padding if it cuts patches.

        It has a bias where no normalisation follows, unless `bias` says otherwise.
        """
        sizes = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if patch else tuple(dilation * (size // 2) for size in sizes)
        node = conv(
            self.as_map(value), channels, sizes, stride=stride, padding=padding, dilation=dilation, groups=groups,
            bias=self.style.norm == "none" if bias is None else bias,
        )  # fmt: skip
        return self.put(node, value)

    def norm(self, value: int) -> int:
        shape = self._shapes[value]
        channels = shape[1]
        if self.style.norm == "batch":
            return self.put(batch_norm(shape), value)
        if self.style.norm == "group":
            return self.put(normalization("GroupNormalization", shape, 2 * channels, channels, channels // 8), value)
        if self.style.norm == "layer":  # over the last axis of channels-last maps
            last = (shape[0], *shape[2:], channels)
            return self.put(normalization("LayerNormalization", last, 2 * channels, channels), value, shape=shape)
        return value

    def activate(self, value: int, activation: str = "") -> int:
        shape, activation = self._shapes[value], activation or self.style.activation
        if activation == "LeakyRelu":
            node = attributed("LeakyRelu", shape, alpha=0.1)
        elif activation == "Elu":
            node = attributed("Elu", shape, alpha=1.0)
        elif activation == "Relu6":
            node = attributed("Clip", shape, min=0.0, max=6.0)
        else:
            node = plain(activation, shape)
        return self.put(node, value)

    def conv_norm(
        self, value: int, channels: int, kernel: int | tuple[int, int] = 1, *, stride: int = 1, groups: int = 1,
        dilation: int = 1, activate: bool = True,
    ) -> int:  # fmt: skip
        """Convolution, normalisation and activation in the order of the style."""
        if self.style.first:
            value = self.norm(value)
            value = self.activate(value) if activate else value
            return self.conv(value, channels, kernel, stride=stride, groups=groups, dilation=dilation)
        value = self.conv(value, channels, kernel, stride=stride, groups=groups, dilation=dilation)
        value = self.norm(value)
        return self.activate(value) if activate else value

    def pool(self, value: int, op: str, kernel: int = 3, stride: int = 1) -> int:
        return self.put(pool(op, self._shapes[value], kernel, stride=stride, padding=kernel // 2), value)

    def add(self, *values: int) -> int:
        """The sum; a single value is its own."""
        total = values[0]
        for value in values[1:]:
            total = self.put(plain("Add", self._shapes[total]), total, value)
        return total

    def concat(self, *values: int) -> int:
        if len(values) == 1:
            return values[0]
        return self.put(concat(tuple(self._shapes[value] for value in values)), *values)

    def halves(self, value: int) -> tuple[int, int]:
        """The two halves of the channels of a map, or of the width of tokens."""
        shape = self._shapes[value]
        half = (1, shape[1] // 2, *shape[2:]) if len(shape) == 4 else (*shape[:-1], shape[-1] // 2)
        return self.put(plain("Slice", half), value), self.put(plain("Slice", half), value)

    def excite(self, value: int, ratio: int, gate: str) -> int:
        """Squeeze-excite (Hu et al., CVPR 2018) with `ratio` channels for one between its convolutions."""
        pooled = self.put(global_average_pool(self._shapes[value]), value)
        channels = self.channels(value)
        inner = self.activate(self.conv(pooled, max(4, channels // ratio), bias=True), "Relu")
        weights = self.put(plain(gate, (1, channels, 1, 1)), self.conv(inner, channels, bias=True))
        return self.put(plain("Mul", self._shapes[value]), value, weights)

    def scale(self, value: int) -> int:
        """A trained factor for every channel (LayerScale: Touvron et al., ICCV 2021)."""
        shape = self._shapes[value]
        return self.put(Node("Mul", {}, shape, self.channels(value)), value)

    # Tokens

    def tokens(self, value: int) -> int:
        """The same value as tokens, which is no operation: the next layer sees (1, H * W, C)."""
        shape = self._shapes[value]
        if len(shape) == 4:
            self._shapes[value] = (1, shape[2] * shape[3], shape[1])
        return value

    def text(self, length: int, entries: int, width: int) -> int:
        """Input indices and their trained embeddings."""
        indices = self.put(plain("Input", (1, length)))
        return self.put(embedding((1, length, width), entries, width), indices)

    def with_positions(self, value: int) -> int:
        """Trained positions are added."""
        shape = self._shapes[value]
        return self.put(Node("Add", {}, shape, shape[1] * shape[2]), value)

    def with_class_token(self, value: int) -> int:
        _, count, width = self._shapes[value]
        return self.put(Node("Concat", {"axis": 1}, (1, count + 1, width), width), value)

    def token_norm(self, value: int) -> int:
        shape, op = self._shapes[value], self.style.token_norm
        params = shape[-1] * (2 if op == "LayerNormalization" else 1)
        return self.put(normalization(op, shape, params, shape[-1]), value)

    def linear(self, value: int, features: int, *, bias: bool = True) -> int:
        return self.put(gemm(self._shapes[value], features, bias=bias), value)

    def attend(self, query: int, key: int, value: int, heads: int, *, windows: int = 1, causal: bool = False) -> int:
        """Attention of `heads` inside each of `windows` windows, of values that are (1, tokens, width) each."""
        (_, tokens, width), sources = self._shapes[query], self._shapes[key][1]
        asked = (windows, heads, tokens // windows, width // heads)
        read = (windows, heads, sources // windows, width // heads)
        node = attention(asked, read, read, asked, causal=causal)
        return self.put(node, query, key, value, shape=(1, tokens, width))

    def thirds(self, value: int, heads: int, windows: int) -> tuple[int, int, int]:
        """Query, key and value of one wide product, cut into heads."""
        _, tokens, wide = self._shapes[value]
        cut = plain("Slice", (windows, heads, tokens // windows, wide // 3 // heads))
        return tuple(self.put(cut, value, shape=(1, tokens, wide // 3)) for _ in range(3))  # type: ignore[return-value]

    def across_tokens(self, value: int, length: int) -> int:
        """A linear layer over the tokens of every channel, to `length` tokens."""
        _, tokens, width = self._shapes[value]
        return self.put(gemm((1, width, tokens), length), value, shape=(1, length, width))

    # Ends

    def flatten(self, value: int) -> int:
        """The same value as one vector, which is no operation."""
        self._shapes[value] = (1, prod(self._shapes[value]))
        return value

    def classify(self, value: int, classes: int) -> int:
        """Mean over places or tokens (a vector is taken as it is), then a linear classifier."""
        shape = self._shapes[value]
        if len(shape) == 4:
            value = self.put(global_average_pool(shape), value, shape=shape[:2])
        elif len(shape) == 3:
            value = self.put(reduction("ReduceMean", shape, (1,), (1, shape[2])), value)
        return self.linear(value, classes)

    def first_token(self, value: int) -> int:
        return self.put(plain("Slice", (1, self._shapes[value][2])), value)
