"""Node constructors: output shape, parameters and MACs of each weighted operation.

The single place where these formulas live. Capture from torch, capture from ONNX and the benchmark
stampers all build their nodes here, so the same layer is the same `Node` whichever way it came in.
All shapes include the batch dimension. MACs are multiply-accumulates; FLOPs = 2 x MACs.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

from archcast.graphs.graph import AttributeValue, Node, Shape

Size = int | tuple[int, ...]
_CACHE = 65_536  # distinct layers are few; a stamped search space asks for the same ones millions of times


def per_axis(value: Size, rank: int) -> tuple[int, ...]:
    """`3 -> (3, 3)` for two spatial axes; tuples pass through."""
    return (int(value),) * rank if isinstance(value, int) else tuple(int(size) for size in value)


def window_output(size: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil: bool = False) -> int:
    """Output length of a sliding window; the rule torch and ONNX share."""
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    steps = -(-span // stride) if ceil else span // stride
    if ceil and steps * stride >= size + padding:  # the last window must start inside the (left-padded) input
        steps -= 1
    return steps + 1


@lru_cache(_CACHE)
def conv(
    shape: Shape,
    out_channels: int,
    kernel: Size,
    *,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    bias: bool = False,
) -> Node:
    """Convolution of an input of `shape` (N, C, *spatial).

    MACs = output elements x C / groups x prod(kernel).
    """
    rank = len(shape) - 2
    kernel, stride = per_axis(kernel, rank), per_axis(stride, rank)
    padding, dilation = per_axis(padding, rank), per_axis(dilation, rank)
    spatial = tuple(map(window_output, shape[2:], kernel, stride, padding, dilation))
    return conv_node(
        (shape[0], out_channels, *spatial),
        in_channels=shape[1],
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bias,
    )


def conv_node(
    out_shape: Shape,
    *,
    in_channels: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    bias: bool,
) -> Node:
    """A convolution whose output shape is already known. `padding` is per axis, or (begin..., end...)."""
    out_channels = out_shape[1]
    weights = out_channels * (in_channels // groups) * prod(kernel)
    return Node(
        "Conv",
        {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "kernel": kernel,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
            "bias": bias,
        },
        out_shape,
        weights + (out_channels if bias else 0),
        prod(out_shape) * (in_channels // groups) * prod(kernel),
    )


def conv_transpose_node(
    in_shape: Shape,
    out_shape: Shape,
    *,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    bias: bool,
) -> Node:
    """Transposed convolution. MACs = input elements x out_channels / groups x prod(kernel)."""
    out_channels = out_shape[1]
    per_input = (out_channels // groups) * prod(kernel)
    return Node(
        "ConvTranspose",
        {
            "in_channels": in_shape[1],
            "out_channels": out_channels,
            "kernel": kernel,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
            "bias": bias,
        },
        out_shape,
        in_shape[1] * per_input + (out_channels if bias else 0),
        prod(in_shape) * per_input,
    )


@lru_cache(_CACHE)
def gemm(in_shape: Shape, out_features: int, *, bias: bool = True) -> Node:
    """Product with a weight matrix over the last axis. MACs = output elements x in_features."""
    in_features = in_shape[-1]
    out_shape = (*in_shape[:-1], out_features)
    return Node(
        "Gemm",
        {"in_features": in_features, "out_features": out_features, "bias": bias},
        out_shape,
        in_features * out_features + (out_features if bias else 0),
        prod(out_shape) * in_features,
    )


def matmul(left: Shape, out_shape: Shape) -> Node:
    """Product of two activations, the first of shape `left`. MACs = output elements x contracted length."""
    contracted = left[-1] if left else 1
    return Node("MatMul", {"contracted": contracted}, out_shape, 0, prod(out_shape) * contracted)


@lru_cache(_CACHE)
def batch_norm(shape: Shape, *, affine: bool = True) -> Node:
    return Node("BatchNormalization", {"channels": shape[1]}, shape, 2 * shape[1] if affine else 0)


@lru_cache(_CACHE)
def normalization(op: str, shape: Shape, params: int, channels: int, groups: int = 1) -> Node:
    """LayerNormalization, GroupNormalization, InstanceNormalization, RMSNormalization."""
    attributes: dict[str, AttributeValue] = {"channels": channels}
    if groups != 1:
        attributes["groups"] = groups
    return Node(op, attributes, shape, params)


@lru_cache(_CACHE)
def pool(
    op: str,
    shape: Shape,
    kernel: Size,
    *,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil: bool = False,
) -> Node:
    """MaxPool or AveragePool of an input of `shape`."""
    rank = len(shape) - 2
    kernel = per_axis(kernel, rank)
    stride = kernel if stride is None else per_axis(stride, rank)
    padding, dilation = per_axis(padding, rank), per_axis(dilation, rank)
    spatial = tuple(
        window_output(*window, ceil=ceil) for window in zip(shape[2:], kernel, stride, padding, dilation, strict=True)
    )
    return pool_node(op, (*shape[:2], *spatial), kernel=kernel, stride=stride, padding=padding, dilation=dilation)


def pool_node(
    op: str,
    out_shape: Shape,
    *,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Node:
    attributes: dict[str, AttributeValue] = {"kernel": kernel, "stride": stride, "padding": padding}
    if any(size != 1 for size in dilation):
        attributes["dilation"] = dilation
    return Node(op, attributes, out_shape)


@lru_cache(_CACHE)
def global_average_pool(shape: Shape) -> Node:
    """Mean over all spatial axes; the output keeps them with length 1."""
    return Node("GlobalAveragePool", {}, (*shape[:2], *(1 for _ in shape[2:])))


@lru_cache(_CACHE)
def plain(op: str, shape: Shape) -> Node:
    """An operation without attributes or parameters: `Relu`, `Add`, `Input`, `Output`, `Zero` ..."""
    return Node(op, {}, shape)


@lru_cache(_CACHE)
def concat(shapes: tuple[Shape, ...], axis: int = 1) -> Node:
    first = shapes[0]
    total = sum(shape[axis] for shape in shapes)
    return Node("Concat", {"axis": axis}, (*first[:axis], total, *first[axis + 1 :]))


def attention(query: Shape, key: Shape, value: Shape, out_shape: Shape, *, causal: bool = False) -> Node:
    """Scaled dot-product attention on (..., heads, tokens, width).

    MACs = scores (tokens_q x tokens_k x width_qk) + mixing (tokens_q x tokens_k x width_v), per head.
    """
    heads = query[-3] if len(query) > 2 else 1
    outer = prod(query[:-2])
    scores = outer * query[-2] * key[-2]
    attributes: dict[str, AttributeValue] = {"heads": heads, "head_width": query[-1]}
    if causal:
        attributes["causal"] = True
    return Node("Attention", attributes, out_shape, 0, scores * (query[-1] + value[-1]))


def recurrent(
    op: str,
    out_shape: Shape,
    *,
    input_size: int,
    hidden_size: int,
    layers: int,
    directions: int,
    bias: bool,
    steps: int,
    params: int,
) -> Node:
    """LSTM, GRU or RNN. MACs = steps x batch-free weight products of all layers and directions."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    per_step = sum(
        directions * gates * hidden_size * ((input_size if layer == 0 else hidden_size * directions) + hidden_size)
        for layer in range(layers)
    )
    return Node(
        op,
        {
            "input_size": input_size,
            "hidden_size": hidden_size,
            "layers": layers,
            "directions": directions,
            "bias": bias,
        },
        out_shape,
        params,
        steps * per_step,
    )


@lru_cache(_CACHE)
def attributed(op: str, shape: Shape, **attributes: AttributeValue) -> Node:
    """An operation without parameters that needs attributes: `LeakyRelu` (alpha), `Clip` (min, max) ..."""
    return Node(op, attributes, shape)


@lru_cache(_CACHE)
def reduction(op: str, in_shape: Shape, axes: tuple[int, ...], out_shape: Shape) -> Node:
    """ReduceMean, ReduceSum ... of an input of `in_shape`; negative axes are counted from the end.

    The mean over all spatial axes of (N, C, H, W, ...) is `GlobalAveragePool`, however it was written.
    """
    rank = len(in_shape)
    axes = tuple(sorted(axis % rank for axis in axes)) if rank else ()
    if op == "ReduceMean" and rank >= 4 and axes == tuple(range(2, rank)):
        return global_average_pool(in_shape)
    return Node(op, {"axes": axes}, out_shape)


@lru_cache(_CACHE)
def embedding(out_shape: Shape, entries: int, width: int) -> Node:
    """Rows looked up in a trainable table of `entries` x `width`."""
    return Node("Gather", {"entries": entries, "width": width}, out_shape, entries * width)


@lru_cache(_CACHE)
def einsum(equation: str, shapes: tuple[Shape, ...], out_shape: Shape) -> Node:
    """Tensor contraction. MACs = product of the lengths of all distinct indices (of the last pair if more)."""
    equation = equation.replace(" ", "")
    lengths: dict[str, int] = {}
    for term, shape in zip(equation.split("->")[0].split(","), shapes, strict=False):
        named = term.replace("...", "")
        head = term.index("...") if "..." in term else len(term)
        outer = len(shape) - len(named)
        names = [*term[:head], *(f"...{position}" for position in range(outer)), *term[head + 3 :]]
        for index, length in zip(names, shape, strict=False):
            lengths[index] = max(length, lengths.get(index, 1))
    return Node("Einsum", {"equation": equation}, out_shape, 0, prod(lengths.values()) if len(shapes) > 1 else 0)


@lru_cache(_CACHE)
def unknown(name: str, shape: Shape) -> Node:
    """An operation outside the vocabulary; `ComputationGraph.unknown_ops` lists it by `name`."""
    return Node("Unknown", {"name": name}, shape)
