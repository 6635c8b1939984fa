"""Table of torch functions, second part: layers with weights, pooling, normalisation, attention, recurrence."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from archcast.graphs.calls import Alias, Call, Handler, Made
from archcast.graphs.graph import Node, Shape
from archcast.graphs.nodes import (
    attention,
    attributed,
    batch_norm,
    conv_node,
    conv_transpose_node,
    einsum,
    embedding,
    gemm,
    global_average_pool,
    matmul,
    normalization,
    per_axis,
    plain,
    pool_node,
    recurrent,
)


def _sizes(value: Any, rank: int) -> tuple[int, ...]:
    """A torch size argument (3, (3,), (3, 3), []) for each of `rank` axes."""
    if isinstance(value, int):
        return per_axis(value, rank)
    return tuple(int(size) for size in value) * (rank if len(value) == 1 else 1)


def _batched(shape: Shape, rank: int) -> Shape:
    """Layers accept inputs without a batch axis; nodes always have one."""
    return shape if len(shape) == rank + 2 else (1, *shape)


def convolution(call: Call) -> Made:
    weight, bias = call.arg(1, "weight"), call.arg(2, "bias")
    rank = weight.dim() - 2
    stride, padding = _sizes(call.arg(3, "stride", 1), rank), call.arg(4, "padding", 0)
    dilation, groups = _sizes(call.arg(5, "dilation", 1), rank), int(call.arg(6, "groups", 1))
    kernel = tuple(weight.shape[2:])
    if padding == "valid":
        padding = 0
    if padding == "same":
        total = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
        begin, end = tuple(size // 2 for size in total), tuple(size - size // 2 for size in total)
        padding = begin if begin == end else (*begin, *end)
    else:
        padding = _sizes(padding, rank)
    return conv_node(
        _batched(call.shape, rank),
        in_channels=weight.shape[1] * groups,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bias is not None,
    )


def transposed_convolution(call: Call) -> Made:
    weight, bias = call.arg(1, "weight"), call.arg(2, "bias")
    rank = weight.dim() - 2
    return conv_transpose_node(
        _batched(call.before, rank),
        _batched(call.shape, rank),
        kernel=tuple(weight.shape[2:]),
        stride=_sizes(call.arg(3, "stride", 1), rank),
        padding=_sizes(call.arg(4, "padding", 0), rank),
        dilation=_sizes(call.arg(7, "dilation", 1), rank),
        groups=int(call.arg(6, "groups", 1)),
        bias=bias is not None,
    )


def deformable(call: Call) -> Made:
    weight, bias = call.arg(1, "weight"), call.arg(2, "bias")
    groups = call.before[1] // weight.shape[1]
    node = conv_node(
        call.shape,
        in_channels=call.before[1],
        kernel=tuple(weight.shape[2:]),
        stride=_sizes(call.arg(5, "stride", 1), 2),
        padding=_sizes(call.arg(6, "padding", 0), 2),
        dilation=_sizes(call.arg(7, "dilation", 1), 2),
        groups=groups,
        bias=bias is not None,
    )
    return node.replace(op="DeformConv")


def linear(call: Call) -> Made:
    weight, bias = call.arg(1, "weight"), call.arg(2, "bias")
    if not call.constant(weight):
        return matmul(call.before, call.shape)
    return gemm(call.before, weight.shape[0], bias=bias is not None)


def product(call: Call) -> Made:
    """matmul, mm, bmm, mv: `Gemm` where one side is constant, `MatMul` of two activations."""
    left, right = call.arg(0, "input"), call.arg(1, "mat2", call.kwargs.get("other", call.kwargs.get("tensor2")))
    return _product(call, left, right, bias=False)


def biased_product(call: Call) -> Made:
    """addmm, baddbmm, addmv: bias + left @ right."""
    return _product(call, call.arg(1, "mat1"), call.arg(2, "mat2"), bias=True)


def _product(call: Call, left: torch.Tensor, right: torch.Tensor, *, bias: bool) -> Made:
    if call.name.startswith("__r"):
        left, right = right, left
    inner = left.shape[-1]
    if call.constant(left) == call.constant(right):
        return matmul(tuple(left.shape), call.shape)
    width = (
        (call.shape[-1] if right.dim() > 1 else 1) if call.constant(right) else left.shape[-2 if left.dim() > 1 else -1]
    )
    attributes = {"in_features": inner, "out_features": width, "bias": bias}
    return Node("Gemm", attributes, call.shape, 0, prod(call.shape) * inner)


def einsum_product(call: Call) -> Made:
    equation = call.args[0] if isinstance(call.args[0], str) else "..."
    return einsum(equation, tuple(tuple(tensor.shape) for tensor in call.tensors), call.shape)


def bilinear(call: Call) -> Made:
    weight = call.arg(2, "weight")
    return Node("Bilinear", {"out_features": weight.shape[0]}, call.shape, 0, prod(call.shape[:-1]) * weight.numel())


def lookup(call: Call) -> Made:
    weight = call.arg(1, "weight")
    if call.name == "embedding_bag":
        weight = max(call.tensors, key=lambda tensor: tensor.numel())
    return [embedding(call.shape, *weight.shape)]


def batch_normalization(call: Call) -> Made:
    return batch_norm(call.before, affine=call.arg(3, "weight") is not None)


def layer_normalization(op: str) -> Handler:
    def handler(call: Call) -> Made:
        shape = call.arg(1, "normalized_shape")
        channels = prod(shape) if isinstance(shape, (tuple, list, torch.Size)) else call.before[-1]
        return normalization(op, call.shape, 0, channels)

    return handler


def group_normalization(call: Call) -> Made:
    return normalization("GroupNormalization", call.shape, 0, call.before[1], int(call.arg(1, "num_groups")))


def instance_normalization(call: Call) -> Made:
    return normalization("InstanceNormalization", call.shape, 0, call.before[1])


def local_response(call: Call) -> Made:
    return attributed("LRN", call.shape, size=int(call.arg(1, "size")))


def pooling(op: str, rank: int) -> Handler:
    """max_pool / avg_pool / lp_pool. A mean over the whole input is `GlobalAveragePool`."""

    def handler(call: Call) -> Made:
        shift = 1 if op == "LpPool" else 0
        before, after = _batched(call.before, rank), _batched(call.shape, rank)
        kernel = _sizes(call.arg(1 + shift, "kernel_size"), rank)
        stride = _sizes(call.arg(2 + shift, "stride") or kernel, rank)
        padding = (0,) * rank if shift else _sizes(call.arg(3, "padding", 0), rank)
        dilation = _sizes(call.arg(4, "dilation", 1), rank) if op == "MaxPool" else (1,) * rank
        return window(op, before, after, kernel, stride, padding, dilation) or Alias(call.tensors[0])

    return handler


def window(
    op: str,
    before: Shape,
    after: Shape,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Node | None:
    """A pooling node; None where it does nothing (1 x 1 windows at stride 1)."""
    if all(size == 1 for size in (*kernel, *stride)) and not any(padding):
        return None
    if op == "AveragePool" and kernel == before[2:] and not any(padding) and set(after[2:]) == {1}:
        return global_average_pool(before)
    return pool_node(op, after, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


def adaptive_pooling(op: str, rank: int) -> Handler:
    """Adaptive pooling with its fixed windows; to 1 it is global, to the input's own size it does nothing."""

    def handler(call: Call) -> Made:
        before, after = _batched(call.before, rank), _batched(call.shape, rank)
        if set(after[2:]) == {1}:
            return plain("GlobalMaxPool", after) if op == "MaxPool" else global_average_pool(before)
        if before == after:
            return Alias(call.tensors[0])
        stride = tuple(size // out for size, out in zip(before[2:], after[2:], strict=True))
        kernel = tuple(size - (out - 1) * step for size, out, step in zip(before[2:], after[2:], stride, strict=True))
        ones = (1,) * rank
        return pool_node(
            op, after, kernel=kernel, stride=tuple(max(s, 1) for s in stride), padding=(0,) * rank, dilation=ones
        )

    return handler


def scaled_dot_product(call: Call) -> Made:
    query, key, value = call.arg(0, "query"), call.arg(1, "key"), call.arg(2, "value")
    causal = bool(call.arg(5, "is_causal", False))
    return attention(tuple(query.shape), tuple(key.shape), tuple(value.shape), call.shape, causal=causal)


def recurrence(op: str) -> Handler:
    """LSTM, GRU, RNN: (input, states, weights, has_biases, layers, dropout, train, bidirectional, batch_first)."""

    def handler(call: Call) -> Made:
        packed = isinstance(call.args[1], torch.Tensor) and call.args[1].dim() == 1  # (data, batch_sizes, states, ...)
        weights, bias, layers = (
            call.args[3 if packed else 2],
            call.args[4 if packed else 3],
            call.args[5 if packed else 4],
        )
        both = call.args[8 if packed else 7]
        source, hidden = call.before, weights[1].shape[1]
        steps = prod(source[:-1])
        node = recurrent(
            op,
            call.shape,
            input_size=source[-1],
            hidden_size=hidden,
            layers=int(layers),
            directions=2 if both else 1,
            bias=bool(bias),
            steps=steps,
            params=0,
        )
        return [node, *(plain("Slice", tuple(state.shape)) for state in call.result[1:])]

    return handler


def recurrent_cell(op: str) -> Handler:
    def handler(call: Call) -> Made:
        weight, hidden = call.args[2], call.args[3]
        node = recurrent(
            op,
            call.shape,
            input_size=weight.shape[1],
            hidden_size=hidden.shape[1],
            layers=1,
            directions=1,
            bias=len(call.args) > 4 and call.args[4] is not None,
            steps=prod(call.before[:-1]),
            params=0,
        )
        return [node, *([plain("Slice", tuple(call.result[1].shape))] if isinstance(call.result, tuple) else [])]

    return handler


def _layers() -> dict[str, Handler]:
    table: dict[str, Handler] = {
        "linear": linear, "einsum": einsum_product, "bilinear": bilinear,
        "embedding": lookup, "embedding_bag": lookup,
        "batch_norm": batch_normalization, "native_batch_norm": batch_normalization,
        "layer_norm": layer_normalization("LayerNormalization"), "rms_norm": layer_normalization("RMSNormalization"),
        "group_norm": group_normalization, "instance_norm": instance_normalization,
        "local_response_norm": local_response, "scaled_dot_product_attention": scaled_dot_product,
        "deform_conv2d": deformable,
        "lstm": recurrence("LSTM"), "gru": recurrence("GRU"),
        "rnn_tanh": recurrence("RNN"), "rnn_relu": recurrence("RNN"),
        "lstm_cell": recurrent_cell("LSTM"), "gru_cell": recurrent_cell("GRU"),
        "rnn_tanh_cell": recurrent_cell("RNN"), "rnn_relu_cell": recurrent_cell("RNN"),
    }  # fmt: skip
    table.update(dict.fromkeys(("matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv", "dot", "inner"), product))
    table.update(dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv", "addmm_"), biased_product))
    for rank in (1, 2, 3):
        table[f"conv{rank}d"] = convolution
        table[f"conv_transpose{rank}d"] = transposed_convolution
        table[f"max_pool{rank}d"] = table[f"max_pool{rank}d_with_indices"] = pooling("MaxPool", rank)
        table[f"avg_pool{rank}d"] = pooling("AveragePool", rank)
        table[f"lp_pool{rank}d"] = pooling("LpPool", rank)
        table[f"adaptive_avg_pool{rank}d"] = adaptive_pooling("AveragePool", rank)
        table[f"adaptive_max_pool{rank}d"] = adaptive_pooling("MaxPool", rank)
        table[f"max_unpool{rank}d"] = lambda call: plain("MaxUnpool", call.shape)
    return table


LAYERS: dict[str, Handler] = _layers()
"""`__name__` of a torch layer function -> its handler."""
