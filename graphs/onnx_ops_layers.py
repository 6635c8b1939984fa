"""Table of ONNX operations, second part: layers with weights, pooling, normalisation, attention, recurrence.

Quantized forms (`QLinearConv`, `MatMulInteger` ...) become the layer they compute. Parameters are not set here:
the reader gives each node the sizes of the initializers it is the first to use.
"""

from __future__ import annotations

from math import prod

from archcast.graphs.graph import Node, Shape
from archcast.graphs.nodes import (
    attention,
    attributed,
    batch_norm,
    conv_node,
    conv_transpose_node,
    einsum,
    global_average_pool,
    matmul,
    normalization,
    plain,
    pool_node,
    recurrent,
)
from archcast.graphs.onnx_ops import Call, Handler, Made, Value, View


def _per_axis(call: Call, name: str, rank: int) -> tuple[int, ...]:
    values = call.integers(name)
    return values if len(values) == rank else (1,) * rank


def _padding(call: Call, before: Shape, after: Shape, kernel: Shape, stride: Shape, dilation: Shape) -> tuple[int, ...]:
    """Per axis if symmetric, else (begin..., end...). SAME padding is worked out from the sizes."""
    rank = len(kernel)
    pads = call.integers("pads")
    if call.text("auto_pad", "NOTSET").startswith("SAME"):
        total = [
            max((out - 1) * step + (size - 1) * spread + 1 - length, 0)
            for length, out, size, step, spread in zip(before[2:], after[2:], kernel, stride, dilation, strict=False)
        ]
        small, large = [amount // 2 for amount in total], [amount - amount // 2 for amount in total]
        upper = call.text("auto_pad", "").endswith("UPPER")
        pads = tuple((small + large) if upper else (large + small))
    if len(pads) != 2 * rank:
        return (0,) * rank
    return pads[:rank] if pads[:rank] == pads[rank:] else pads


def _window(call: Call, kernel: Shape) -> tuple[Shape, Shape, Shape]:
    """(stride, padding, dilation) of a convolution or pooling node."""
    rank = len(kernel)
    stride, dilation = _per_axis(call, "strides", rank), _per_axis(call, "dilations", rank)
    return stride, _padding(call, call.before, call.shape, kernel, stride, dilation), dilation


def convolution(op: str, weight_at: int = 1, bias_at: int = 2) -> Handler:
    def handler(call: Call) -> Made:
        weight = call.required(weight_at).shape
        kernel = weight[2:] or call.integers("kernel_shape")
        stride, padding, dilation = _window(call, kernel)
        if len(call.shape) != len(kernel) + 2:
            return plain(op, call.shape)
        node = conv_node(
            call.shape,
            in_channels=call.before[1] if len(call.before) > 1 else weight[1],
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=max(call.integer("group", 1), 1),
            bias=call.trained(bias_at),
        )
        return node if op == "Conv" else node.replace(op=op)

    return handler


def transposed_convolution(call: Call) -> Made:
    kernel = call.required(1).shape[2:]
    stride, padding, dilation = _window(call, kernel)
    if len(call.shape) != len(kernel) + 2:
        return plain("ConvTranspose", call.shape)
    return conv_transpose_node(
        call.before,
        call.shape,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=max(call.integer("group", 1), 1),
        bias=call.trained(2),
    )


def gemm(call: Call) -> Made:
    """alpha A B + beta C, either side transposed."""
    left, right = call.required(0), call.required(1)
    inner = left.shape[0 if call.integer("transA") else -1] if left.shape else 1
    return _product(left, right, inner, call.shape, bias=call.trained(2))


def product(left_at: int, right_at: int, bias_at: int = -1) -> Handler:
    def handler(call: Call) -> Made:
        left, right = call.required(left_at), call.required(right_at)
        bias = bias_at >= 0 and call.trained(bias_at)
        return _product(left, right, left.shape[-1] if left.shape else 1, call.shape, bias=bias)

    return handler


def _product(left: Value, right: Value, inner: int, shape: Shape, *, bias: bool) -> Node:
    if (left.node is None) == (right.node is None):
        node = matmul(left.shape, shape)
        return (
            node
            if node.get("contracted") == inner
            else node.replace(attributes={"contracted": inner}, macs=prod(shape) * inner)
        )
    if right.node is None:
        width = shape[-1] if len(right.shape) > 1 and shape else 1
    else:
        width = left.shape[-2] if len(left.shape) > 1 else 1
    return Node("Gemm", {"in_features": inner, "out_features": width, "bias": bias}, shape, 0, prod(shape) * inner)


def einsum_product(call: Call) -> Made:
    shapes = tuple(value.shape for value in call.inputs if value is not None)
    return einsum(call.text("equation", "..."), shapes, call.shape)


def batch_normalization(call: Call) -> Made:
    shape = call.before if len(call.before) > 1 else (*call.before, 1)
    return batch_norm(shape)


def layer_normalization(op: str) -> Handler:
    def handler(call: Call) -> Made:
        axis = call.integer("axis", -1) % max(len(call.before), 1)
        return normalization(op, call.shape, 0, prod(call.before[axis:]))

    return handler


def group_normalization(call: Call) -> Made:
    channels = call.before[1] if len(call.before) > 1 else 1
    return normalization("GroupNormalization", call.shape, 0, channels, call.integer("num_groups", 1))


def instance_normalization(call: Call) -> Made:
    return normalization("InstanceNormalization", call.shape, 0, call.before[1] if len(call.before) > 1 else 1)


def local_response(call: Call) -> Made:
    return attributed("LRN", call.shape, size=call.integer("size", 1))


def pooling(op: str) -> Handler:
    """MaxPool, AveragePool, LpPool. A mean over the whole input is `GlobalAveragePool`; 1 x 1 windows do nothing."""

    def handler(call: Call) -> Made:
        kernel = call.integers("kernel_shape")
        stride, padding, dilation = _window(call, kernel)
        if all(size == 1 for size in (*kernel, *stride)) and not any(padding):
            return View(call.required(0))
        if op == "AveragePool" and kernel == call.before[2:] and not any(padding) and set(call.shape[2:]) == {1}:
            return global_average_pool(call.before)
        return pool_node(op, call.shape, kernel=kernel, stride=stride, padding=padding, dilation=dilation)

    return handler


def global_pooling(op: str) -> Handler:
    def handler(call: Call) -> Made:
        if len(call.before) > 2 and all(size == 1 for size in call.before[2:]):
            return View(call.required(0))
        return global_average_pool(call.before) if op == "GlobalAveragePool" else plain(op, call.shape)

    return handler


def recurrence(op: str) -> Handler:
    """LSTM, GRU, RNN: X (steps, batch, width), W (directions, gates x hidden, width), R, B."""

    def handler(call: Call) -> Made:
        width, hidden = call.required(1).shape[-1], call.required(2).shape[-1]
        directions = call.required(1).shape[0]
        steps, batch = (*call.before[:2], 1, 1)[:2]
        return recurrent(
            op,
            (steps, batch, directions * hidden),
            input_size=width,
            hidden_size=hidden,
            layers=1,
            directions=directions,
            bias=call.trained(3),
            steps=steps * batch,
            params=0,
        )

    return handler


def attend(call: Call) -> Made:
    """The Attention operation of opset 23: Q, K, V as (N, heads, tokens, width) or (N, tokens, heads x width)."""
    shapes = []
    for position, name in enumerate(("q_num_heads", "kv_num_heads", "kv_num_heads")):
        shape = call.required(position).shape
        if len(shape) == 3:
            heads = max(call.integer(name, 1), 1)
            shape = (shape[0], heads, shape[1], shape[2] // heads)
        shapes.append(shape)
    past = call.input(4)
    if past is not None and len(past.shape) == 4:
        shapes[1:] = [(*shape[:2], shape[2] + past.shape[2], shape[3]) for shape in shapes[1:]]
    query, key, value = shapes
    return attention(query, key, value, call.shape, causal=bool(call.integer("is_causal")))


def rotary(call: Call) -> Made:
    """Rotary position embedding: a rotation of the input by constant angles."""
    return plain("Mul", call.shape)


def quantize(op: str) -> Handler:
    def handler(call: Call) -> Made:
        return [plain(op, shape) for shape in call.shapes]

    return handler


LAYERS: dict[str, Handler] = {
    "Conv": convolution("Conv"), "ConvInteger": convolution("Conv", bias_at=99),
    "QLinearConv": convolution("Conv", weight_at=3, bias_at=8), "CausalConvWithState": convolution("Conv"),
    "DeformConv": convolution("DeformConv", bias_at=3), "ConvTranspose": transposed_convolution, "Gemm": gemm,
    "MatMul": product(0, 1), "MatMulInteger": product(0, 1), "QLinearMatMul": product(0, 3), "Einsum": einsum_product,
    "BatchNormalization": batch_normalization, "LayerNormalization": layer_normalization("LayerNormalization"),
    "RMSNormalization": layer_normalization("RMSNormalization"), "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization, "LRN": local_response, "MaxPool": pooling("MaxPool"),
    "AveragePool": pooling("AveragePool"), "LpPool": pooling("LpPool"),
    "GlobalAveragePool": global_pooling("GlobalAveragePool"), "GlobalMaxPool": global_pooling("GlobalMaxPool"),
    "GlobalLpPool": global_pooling("LpPool"), "LSTM": recurrence("LSTM"), "GRU": recurrence("GRU"),
    "RNN": recurrence("RNN"), "Attention": attend, "RotaryEmbedding": rotary,
    "QuantizeLinear": quantize("QuantizeLinear"), "DynamicQuantizeLinear": quantize("QuantizeLinear"),
    "DequantizeLinear": quantize("DequantizeLinear"),
}  # fmt: skip
"""Op type -> its handler."""
