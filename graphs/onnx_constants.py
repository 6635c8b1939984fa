"""Values of small ONNX constants: the shape arithmetic that exporters leave in a model.

numpy versions of the operations such arithmetic uses. Anything larger than `KEEP` elements stays unevaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from archcast.graphs.onnx_files import KEEP

Array = NDArray[Any]
Attributes = Mapping[str, Any]
Evaluate = Callable[[Sequence[Array], Attributes], Array]


class _TooLargeError(ValueError):
    """The result would have more than `KEEP` elements."""


def to_array(tensor: onnx.TensorProto) -> Array | None:
    """The content of a small tensor; None if it is large, external, or cannot be decoded."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or not 0 <= prod(tensor.dims) <= KEEP:
        return None
    try:
        array: Array = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, NotImplementedError):  # a malformed tensor is a constant of unknown value
        return None
    return array


def evaluate(op: str, inputs: Sequence[Array], attributes: Attributes) -> Array | None:
    """Result of a node on constant inputs; None where the op is not covered, the inputs do not fit, or it is large."""
    function = _FUNCTIONS.get(op)
    if function is None:
        return None
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(function(inputs, attributes))
    except (ValueError, LookupError, TypeError, ArithmeticError, MemoryError):
        return None  # inconsistent shape arithmetic: the value stays unknown
    return result if result.size <= KEEP else None


def _limited(shape: Sequence[int] | Array) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in shape)
    if prod(sizes) > KEEP:
        raise _TooLargeError
    return sizes


def _elementwise(function: Callable[..., Any]) -> Evaluate:
    def apply(inputs: Sequence[Array], _: Attributes) -> Array:
        _limited(np.broadcast_shapes(*(array.shape for array in inputs)))
        result = inputs[0] if len(inputs) == 1 and function in (np.minimum, np.maximum) else function(*inputs[:2])
        for more in inputs[2:]:
            result = function(result, more)
        return np.asarray(result)

    return apply


def _divide(left: Array, right: Array) -> Array:
    if np.issubdtype(left.dtype, np.integer) and np.issubdtype(right.dtype, np.integer):
        return np.asarray(np.trunc(left / right), dtype=left.dtype)  # ONNX truncates towards zero
    return np.asarray(left / right)


def _axes(inputs: Sequence[Array], attributes: Attributes) -> tuple[int, ...] | None:
    if len(inputs) > 1:
        return tuple(int(axis) for axis in inputs[1])
    axes = attributes.get("axes")
    return None if axes is None else tuple(axes)


def _unsqueeze(inputs: Sequence[Array], attributes: Attributes) -> Array:
    return np.expand_dims(inputs[0], _axes(inputs, attributes) or ())


def _squeeze(inputs: Sequence[Array], attributes: Attributes) -> Array:
    return np.squeeze(inputs[0], _axes(inputs, attributes))


def _slice(inputs: Sequence[Array], attributes: Attributes) -> Array:
    data = inputs[0]
    if len(inputs) > 2:
        starts, ends = inputs[1].tolist(), inputs[2].tolist()
        axes = inputs[3].tolist() if len(inputs) > 3 else list(range(len(starts)))
        steps = inputs[4].tolist() if len(inputs) > 4 else [1] * len(starts)
    else:
        starts, ends = attributes["starts"], attributes["ends"]
        axes, steps = attributes.get("axes", range(len(starts))), [1] * len(starts)
    index = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        stop = None if step < 0 and end < -data.shape[axis] else end
        index[axis] = slice(start, stop, step)
    return data[tuple(index)]


def _reshape(inputs: Sequence[Array], _: Attributes) -> Array:
    data, target = inputs
    sizes = [data.shape[axis] if size == 0 else int(size) for axis, size in enumerate(target)]
    return data.reshape(sizes)


def _constant_of_shape(inputs: Sequence[Array], attributes: Attributes) -> Array:
    value = attributes.get("value")
    fill = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    return np.full(_limited(inputs[0]), fill.reshape(-1)[0])


def _range(inputs: Sequence[Array], _: Attributes) -> Array:
    start, limit, delta = (array.reshape(()).item() for array in inputs)
    if (limit - start) / delta > KEEP:
        raise _TooLargeError
    return np.arange(start, limit, delta, dtype=inputs[0].dtype)


def _cast(inputs: Sequence[Array], attributes: Attributes) -> Array:
    return inputs[0].astype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]))


def _expand(inputs: Sequence[Array], _: Attributes) -> Array:
    shape = _limited(np.broadcast_shapes(inputs[0].shape, tuple(int(size) for size in inputs[1])))
    return np.broadcast_to(inputs[0], shape)


def _tile(inputs: Sequence[Array], _: Attributes) -> Array:
    _limited([size * int(count) for size, count in zip(inputs[0].shape, inputs[1], strict=True)])
    return np.tile(inputs[0], inputs[1])


def _reduce(function: Callable[..., Any], inputs: Sequence[Array], attributes: Attributes) -> Array:
    return np.asarray(function(inputs[0], axis=_axes(inputs, attributes), keepdims=bool(attributes.get("keepdims", 1))))


_FUNCTIONS: dict[str, Evaluate] = {
    "Identity": lambda inputs, _: inputs[0], "CastLike": lambda inputs, _: inputs[0],
    "Concat": lambda inputs, attributes: np.concatenate(list(inputs), axis=attributes["axis"]),
    "Gather": lambda inputs, attributes: np.take(inputs[0], inputs[1], axis=attributes.get("axis", 0)),
    "Transpose": lambda inputs, attributes: np.transpose(inputs[0], attributes.get("perm")),
    "Unsqueeze": _unsqueeze, "Squeeze": _squeeze, "Slice": _slice, "Reshape": _reshape, "Cast": _cast,
    "ConstantOfShape": _constant_of_shape, "Range": _range, "Expand": _expand, "Tile": _tile,
    "Where": lambda inputs, _: np.where(*inputs), "Div": _elementwise(_divide), "Add": _elementwise(np.add),
    "Sub": _elementwise(np.subtract), "Mul": _elementwise(np.multiply), "Mod": _elementwise(np.mod),
    "Pow": _elementwise(np.power), "Min": _elementwise(np.minimum), "Max": _elementwise(np.maximum),
    "Equal": _elementwise(np.equal), "Less": _elementwise(np.less), "Greater": _elementwise(np.greater),
    "GreaterOrEqual": _elementwise(np.greater_equal), "LessOrEqual": _elementwise(np.less_equal),
    "And": _elementwise(np.logical_and), "Or": _elementwise(np.logical_or), "Not": _elementwise(np.logical_not),
    "Floor": _elementwise(np.floor), "Ceil": _elementwise(np.ceil), "Round": _elementwise(np.round),
    "Sqrt": _elementwise(np.sqrt), "Neg": _elementwise(np.negative), "Abs": _elementwise(np.abs),
    "Reciprocal": _elementwise(np.reciprocal),
    "ReduceProd": partial(_reduce, np.prod), "ReduceSum": partial(_reduce, np.sum),
    "ReduceMax": partial(_reduce, np.max), "ReduceMin": partial(_reduce, np.min),
}  # fmt: skip
