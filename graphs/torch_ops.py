"""Table of torch functions: what each call that `Recorder` sees becomes in the graph.

A handler takes a `Call` and returns a node (one result), a list of nodes (one per tensor of the result), or an
`Alias` (a view or no-op: the result is another name of a tensor). `HANDLERS` is keyed by the function's `__name__`, so
that `torch.add`, `Tensor.add_` and `+` share an entry. Layers with weights are in `torch_layers`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch

from archcast.graphs.calls import Alias, Call, Chain, Handler, Made
from archcast.graphs.nodes import attributed, concat, embedding, plain, reduction
from archcast.graphs.torch_layers import LAYERS

VIEWS = [
    "view",
    "reshape",
    "flatten",
    "squeeze",
    "squeeze_",
    "unsqueeze",
    "unsqueeze_",
    "transpose",
    "transpose_",
    "permute",
    "movedim",
    "moveaxis",
    "swapaxes",
    "swapdims",
    "t",
    "t_",
    "expand",
    "expand_as",
    "view_as",
    "reshape_as",
    "broadcast_to",
    "unflatten",
    "ravel",
    "contiguous",
    "clone",
    "detach",
    "detach_",
    "to",
    "type",
    "type_as",
    "float",
    "double",
    "half",
    "bfloat16",
    "int",
    "long",
    "short",
    "bool",
    "cpu",
    "cuda",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_alpha_dropout",
    "feature_dropout",
    "dropout_",
    "identity",
    "requires_grad_",
    "positive",
    "adjoint",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "alias",
    "view_as_real",
    "view_as_complex",
    "as_tensor",
    "_to_copy",
    "pin_memory",
    "resolve_conj",
    "resolve_neg",
    "native_channel_shuffle",
    "real",
    "nan_to_num",
    "nan_to_num_",
    "data",
    "pad_sequence",
    "unsafe_view",
    "squeeze_copy",
]

SIMPLE = {
    "Relu": "relu relu_", "Sigmoid": "sigmoid sigmoid_", "Tanh": "tanh tanh_", "Swish": "silu silu_ swish",
    "Mish": "mish mish_", "HardSwish": "hardswish hardswish_", "HardSigmoid": "hardsigmoid hardsigmoid_",
    "Softplus": "softplus", "Softsign": "softsign", "LogSigmoid": "logsigmoid", "Selu": "selu selu_", "Erf": "erf",
    "PRelu": "prelu _prelu_kernel", "Glu": "glu", "Shrink": "hardshrink softshrink",
    "Sub": "sub sub_ __sub__ __rsub__ __isub__ rsub subtract", "Div": "div div_ __div__ __rdiv__ true_divide divide"
    " __truediv__ __rtruediv__ __itruediv__ floor_divide __floordiv__ __rfloordiv__",
    "Pow": "pow pow_ __pow__ __rpow__ square square_ float_power", "Mod": "remainder fmod __mod__",
    "Min": "minimum fmin", "Max": "maximum fmax", "Sqrt": "sqrt sqrt_", "Exp": "exp exp_ expm1 exp2",
    "Log": "log log_ log1p log2 log10", "Abs": "abs abs_ __abs__ absolute", "Neg": "neg neg_ __neg__ negative",
    "Reciprocal": "reciprocal reciprocal_", "Sign": "sign sgn", "Floor": "floor floor_ trunc", "Ceil": "ceil ceil_",
    "Round": "round round_", "Sin": "sin sin_ sinc", "Cos": "cos cos_", "Tan": "tan", "Asin": "asin arcsin",
    "Acos": "acos arccos", "Atan": "atan atan2 arctan", "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh",
    "Acosh": "acosh", "Atanh": "atanh",
    "Where": "where masked_fill masked_fill_", "Equal": "eq eq_ __eq__ isclose",
    "Greater": "gt ge __gt__ __ge__ greater",
    "Less": "lt le __lt__ __le__ less", "And": "logical_and __and__ __iand__ logical_and_ bitwise_and",
    "Or": "logical_or __or__ __ior__ logical_or_ bitwise_or", "Not": "logical_not __invert__ bitwise_not",
    "Xor": "logical_xor __xor__ bitwise_xor", "IsNaN": "isnan", "IsInf": "isinf isfinite",
    "BitShift": "__lshift__ __rshift__ bitwise_left_shift bitwise_right_shift",
    "Gather": "index_select take __take__", "GatherElements": "gather take_along_dim",
    "ScatterND": "index_put index_put_ masked_scatter masked_scatter_ slice_scatter select_scatter index_copy"
    " index_copy_ copy_ index_add index_add_ index_fill index_fill_",
    "ScatterElements": "scatter scatter_ scatter_add scatter_add_ scatter_reduce scatter_reduce_",
    "Roll": "roll", "Trilu": "tril tril_ triu triu_", "OneHot": "one_hot", "CumSum": "cumsum cumsum_ cumprod",
    "Sort": "sort argsort msort", "TopK": "topk", "GridSample": "grid_sample", "AffineGrid": "affine_grid",
    "Im2Col": "unfold im2col", "Col2Im": "fold col2im", "NonZero": "nonzero argwhere", "Unique": "unique _unique2",
    "DFT": "fft_fft fft_fft2 fft_fftn fft_ifft fft_ifft2 fft_ifftn fft_rfft fft_rfft2 fft_rfftn fft_irfft fft_irfft2"
    " fft_irfftn fft_hfft", "STFT": "stft",
    "Random": "rand_like randn_like bernoulli normal randint_like multinomial",
}  # fmt: skip

REDUCTIONS = {
    "ReduceMean": "mean nanmean", "ReduceSum": "sum nansum count_nonzero", "ReduceMax": "amax any",
    "ReduceMin": "amin all", "ReduceProd": "prod", "ReduceLogSumExp": "logsumexp",
    "ReduceVar": "var std var_mean std_mean",
    "ArgMax": "argmax", "ArgMin": "argmin",
}  # fmt: skip


def view(call: Call) -> Made:
    return Alias(call.tensors[0])


def simple(op: str) -> Handler:
    """Handler of an operation without attributes, or with results that all share one shape rule."""

    def handler(call: Call) -> Made:
        if isinstance(call.result, (tuple, list)):
            return [plain(op, tuple(part.shape)) for part in call.result]
        return plain(op, tuple(call.result.shape))

    return handler


def reduce(op: str) -> Handler:
    def handler(call: Call) -> Made:
        axes = call.arg(1, "dim", call.kwargs.get("axis"))
        if axes is None or isinstance(axes, (bool, torch.dtype)):
            axes = range(len(call.before))
        if not call.before or (call.shape and prod(call.shape) == prod(call.before)):
            return Alias(call.tensors[0]) if op.startswith("Reduce") and op != "ReduceVar" else plain(op, call.shape)
        axes = (axes,) if isinstance(axes, int) else tuple(axes) or tuple(range(len(call.before)))
        node = reduction(op, call.before, axes, call.shape)
        return [node] * len(call.result) if isinstance(call.result, (tuple, list)) else node

    return handler


def norm(call: Call) -> Made:
    """Vector norms: `ReduceL2`, `ReduceL1`, `ReduceMax` of the absolute value by their order."""
    order = call.arg(1, "ord" if call.name.startswith("linalg") else "p", 2)
    axes = call.arg(2, "dim")
    if axes is None:
        axes = range(len(call.before))
    op = {1: "ReduceL1", float("inf"): "ReduceMax"}.get(2 if isinstance(order, str) else order, "ReduceL2")
    return reduction(op, call.before, (axes,) if isinstance(axes, int) else tuple(axes), call.shape)


def strided(call: Call) -> Made:
    """`as_strided`: a view if it holds as many elements, else overlapping windows."""
    return Alias(call.tensors[0]) if prod(call.shape) == prod(call.before) else plain("Im2Col", call.shape)


def extremum(op: str) -> Handler:
    """max / min: elementwise on two tensors, a reduction on one."""

    def handler(call: Call) -> Made:
        if len(call.tensors) > 1:
            return plain(op, call.shape)
        return reduce("Reduce" + op)(call)

    return handler


def add(call: Call) -> Made:
    if any(not isinstance(arg, torch.Tensor) and arg == 0 for arg in call.args[:2]):  # the start of a Python sum()
        return Alias(call.tensors[0])
    return plain("Add", call.shape)


def multiply(call: Call) -> Made:
    other = call.arg(1, "other")
    if not isinstance(other, torch.Tensor) and other in (0, 1):
        return plain("Zero", call.shape) if other == 0 else Alias(call.tensors[0])
    return plain("Mul", call.shape)


def divide(call: Call) -> Made:
    other = call.arg(1, "other")
    if not isinstance(other, torch.Tensor) and other == 1:
        return Alias(call.tensors[0])
    return plain("Div", call.shape)


def clip(call: Call) -> Made:
    low, high = call.arg(1, "min", call.kwargs.get("min_val")), call.arg(2, "max", call.kwargs.get("max_val"))
    if call.name in ("relu6", "relu6_"):
        low, high = 0, 6
    elif call.name in ("hardtanh", "hardtanh_"):
        low, high = (-1.0 if low is None else low), (1.0 if high is None else high)
    elif call.name.startswith("clamp_min"):
        low, high = call.arg(1, "min"), None
    elif call.name.startswith("clamp_max"):
        low, high = None, call.arg(1, "max")
    bounds = {"min": low, "max": high}
    numbers = {key: float(bound) for key, bound in bounds.items() if isinstance(bound, (int, float))}
    return attributed("Clip", call.shape, **numbers)


def with_number(op: str, attribute: str, position: int, default: float, argument: str = "") -> Handler:
    """An activation with one number: LeakyRelu (alpha), Elu (alpha), Celu (alpha), ThresholdedRelu (alpha)."""

    def handler(call: Call) -> Made:
        number = call.arg(position, argument or attribute, default)
        return attributed(op, call.shape, **{attribute: float(number)})

    return handler


def gelu(call: Call) -> Made:
    """The tanh approximation is the same function to three digits, and exporters spell both out."""
    return plain("Gelu", call.shape)


def softmax(op: str) -> Handler:
    def handler(call: Call) -> Made:
        axis = call.arg(1, "dim", -1)
        rank = max(len(call.shape), 1)
        return attributed(op, call.shape, axis=(-1 if axis is None else axis) % rank)

    return handler


def chain(*ops: str) -> Handler:
    """Functions that are two operations of the vocabulary: rsqrt, ne ..."""

    def handler(call: Call) -> Made:
        return Chain([plain(op, call.shape) for op in ops])

    return handler


def cat(call: Call) -> Made:
    parts, axis = call.arg(0, "tensors"), call.arg(1, "dim", call.kwargs.get("axis", 0))
    parts = [part for part in parts if part.numel()]
    if len(parts) == 1:
        return Alias(parts[0])
    axis = axis % max(len(call.shape), 1) if isinstance(axis, int) else 0
    if call.name in ("cat", "concat", "concatenate"):
        return concat(tuple(tuple(part.shape) for part in parts), axis)
    return attributed("Concat", call.shape, axis=axis)


def getitem(call: Call) -> Made:
    """Indexing: a view where nothing is dropped, `Gather` by a tensor, else `Slice`."""
    index = call.arg(1, "index")
    indices = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, (torch.Tensor, list)) for part in indices):
        table, rows = call.tensors[0], call.tensors[-1]
        if call.constant(table) and not call.constant(rows) and call.values.has_params(table) and table.dim() == 2:
            return embedding(call.shape, *table.shape)
        return plain("Gather", call.shape)
    if prod(call.shape) == prod(call.before):
        return Alias(call.tensors[0])
    return plain("Slice", call.shape)


def split(call: Call) -> Made:
    if len(call.result) == 1:
        return Alias(call.tensors[0])
    return [plain("Slice", tuple(part.shape)) for part in call.result]


def tile(call: Call) -> Made:
    return Alias(call.tensors[0]) if prod(call.shape) == prod(call.before) else plain("Tile", call.shape)


def pad(call: Call) -> Made:
    widths = call.arg(1, "pad")
    if not any(widths):
        return Alias(call.tensors[0])
    return plain("Pad" if call.shape != call.before and min(widths) >= 0 else "Slice", call.shape)


def flip(call: Call) -> Made:
    return plain("Slice", call.shape)


def setitem(call: Call) -> Made:
    return plain("ScatterND", call.before)


def resize(call: Call) -> Made:
    if call.shape == call.before:
        return Alias(call.tensors[0])
    mode = call.kwargs.get("mode", call.args[3] if len(call.args) > 3 else "nearest")
    return attributed("Resize", call.shape, mode=str(mode))


def shuffle(op: str) -> Handler:
    def handler(call: Call) -> Made:
        factor = call.arg(1, "upscale_factor", call.kwargs.get("downscale_factor", 1))
        return attributed(op, call.shape, block=int(factor))

    return handler


def constant(_: Call) -> Made:
    """What takes only the shape of its argument, not its values: no node, so the result is a constant."""
    return []


def _table() -> dict[str, Handler]:
    table: dict[str, Handler] = dict.fromkeys(VIEWS, view)
    for op, names in SIMPLE.items():
        table.update(dict.fromkeys(names.split(), simple(op)))
    for op, names in REDUCTIONS.items():
        table.update(dict.fromkeys(names.split(), reduce(op)))
    groups: dict[Handler, str] = {
        add: "add add_ __add__ __radd__ __iadd__",
        multiply: "mul mul_ __mul__ __rmul__ __imul__ multiply",
        divide: "div div_ __truediv__ __itruediv__ true_divide",
        clip: "clamp clamp_ clip clip_ clamp_min clamp_min_ clamp_max clamp_max_ relu6 relu6_ hardtanh hardtanh_",
        extremum("Max"): "max",
        extremum("Min"): "min",
        chain("Sqrt", "Reciprocal"): "rsqrt rsqrt_",
        chain("Mul", "Add"): "addcmul",
        chain("Div", "Add"): "addcdiv",
        chain("Equal", "Not"): "ne ne_ __ne__ not_equal",
        with_number("LeakyRelu", "alpha", 1, 0.01, "negative_slope"): "leaky_relu leaky_relu_ rrelu",
        with_number("Elu", "alpha", 1, 1.0): "elu elu_",
        with_number("Celu", "alpha", 1, 1.0): "celu celu_",
        with_number("ThresholdedRelu", "alpha", 1, 1.0, "threshold"): "threshold threshold_",
        gelu: "gelu",
        softmax("Softmax"): "softmax softmin",
        softmax("LogSoftmax"): "log_softmax",
        norm: "norm linalg_vector_norm linalg_norm",
        strided: "as_strided",
        cat: "cat concat concatenate stack hstack vstack dstack column_stack",
        getitem: "__getitem__ select narrow",
        split: "split split_with_sizes chunk unbind tensor_split unsafe_chunk unsafe_split hsplit vsplit",
        tile: "repeat tile repeat_interleave",
        pad: "pad _pad",
        flip: "flip fliplr flipud diagonal diag_embed diag",
        constant: "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty new_tensor new size"
        " dim numel zero_ fill_ is_floating_point stride storage_offset data_ptr",
        setitem: "__setitem__",
        resize: "interpolate upsample upsample_nearest upsample_bilinear",
        shuffle("DepthToSpace"): "pixel_shuffle",
        shuffle("SpaceToDepth"): "pixel_unshuffle",
    }
    for handler, names in groups.items():
        table.update(dict.fromkeys(names.split(), handler))
    clash = LAYERS.keys() & table.keys()
    if clash:
        raise RuntimeError(f"torch functions with two handlers: {sorted(clash)}")
    return {**table, **LAYERS}


DECOMPOSED: dict[str, Callable[..., torch.Tensor]] = {
    "addcmul": lambda source, left, right, *, value=1: source + left * right * value,
    "addcdiv": lambda source, left, right, *, value=1: source + left / right * value,
    "lerp": lambda start, end, weight: start + (end - start) * weight,
}
"""Functions of several operations that are run as those operations, so that each gets its own inputs."""

HANDLERS: dict[str, Handler] = _table()
"""`__name__` of a torch function -> its handler."""
