"""Results of common calls on the meta device without running them.

Torch works out the shape of many operations on meta in Python, at a millisecond each, where the rule is one line: the
result of a normalisation is shaped like its input. A shortcut applies only if that rule surely holds, and returns None
otherwise: then torch runs, and raises its own error for arguments that do not fit together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Shortcut = Callable[[tuple[Any, ...], dict[str, Any]], Tensor | None]

_IN_PLACE = frozenset({"relu", "silu", "hardswish", "hardsigmoid", "relu6", "leaky_relu", "elu", "mish"})
_UNARY = (
    "relu", "silu", "hardswish", "hardsigmoid", "relu6", "leaky_relu", "elu", "mish", "gelu", "sigmoid", "tanh",
    "softmax", "exp", "sqrt", "neg", "sigmoid_", "tanh_", "relu_", "hardswish_", "silu_",
)  # fmt: skip


def shortcut(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The result of calling `name` on meta tensors, or None if torch must tell."""
    rule = SHORTCUTS.get(name)
    if rule is None or not args or kwargs.get("out") is not None:
        return None
    first = args[0][0] if rule is _cat and isinstance(args[0], (list, tuple)) and args[0] else args[0]
    if not isinstance(first, Tensor) or first.device.type != "meta" or not first.is_floating_point():
        return None
    return rule(args, kwargs)


def _like(source: Tensor) -> Tensor:
    """`torch.empty_like` at a tenth of its time."""
    if source.is_contiguous():
        return torch.empty(source.shape, dtype=source.dtype, device=source.device)
    return torch.empty_like(source)


def _unary(name: str) -> Shortcut:
    def rule(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        source: Tensor = args[0]
        if kwargs.get("dtype") is not None:
            return None
        if name.endswith("_") or (name in _IN_PLACE and (kwargs.get("inplace") is True or args[-1] is True)):
            return source
        return _like(source)

    return rule


def _normalised(weight_at: int, sizes_at: int | None = None) -> Shortcut:
    """Normalisations: as the input, if the weight has its number of channels (or the normalised sizes are its last)."""

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        source: Tensor = args[0]
        weight = args[weight_at] if len(args) > weight_at else kwargs.get("weight")
        if sizes_at is not None:
            sizes = tuple(args[sizes_at]) if len(args) > sizes_at else ()
            fits = bool(sizes) and tuple(source.shape[-len(sizes) :]) == sizes
        else:
            statistics = args[1] if len(args) > 1 and weight_at == 3 else weight
            known = weight if weight is not None else statistics
            fits = isinstance(known, Tensor) and source.dim() > 1 and known.numel() == source.shape[1]
        return _like(source) if fits else None

    return rule


def _linear(args: tuple[Any, ...], _: dict[str, Any]) -> Tensor | None:
    source: Tensor = args[0]
    weight = args[1] if len(args) > 1 else None
    if not isinstance(weight, Tensor) or weight.dim() != 2 or not source.dim() or source.shape[-1] != weight.shape[1]:
        return None
    return source.new_empty((*source.shape[:-1], weight.shape[0])) if source.dtype == weight.dtype else None


def _matmul(args: tuple[Any, ...], _: dict[str, Any]) -> Tensor | None:
    left: Tensor = args[0]
    right = args[1] if len(args) > 1 else None
    if not isinstance(right, Tensor) or right.dim() != left.dim() or left.dim() < 3 or right.dtype != left.dtype:
        return None
    if left.shape[:-2] != right.shape[:-2] or left.shape[-1] != right.shape[-2]:
        return None
    return left.new_empty((*left.shape[:-1], right.shape[-1]))


def _attention(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    if len(args) < 3 or kwargs.get("enable_gqa"):
        return None
    query: Tensor = args[0]
    key, value = args[1:3]
    fits = query.shape[:-2] == key.shape[:-2] == value.shape[:-2] and query.shape[-1] == key.shape[-1]
    return query.new_empty((*query.shape[:-1], value.shape[-1])) if fits and key.shape[-2] == value.shape[-2] else None


def _elementwise(args: tuple[Any, ...], _: dict[str, Any]) -> Tensor | None:
    """Two operands, the second a number or no larger than the first."""
    left: Tensor = args[0]
    right = args[1] if len(args) > 1 else None
    if isinstance(right, (int, float)) and not isinstance(right, bool):
        return _like(left)
    if not isinstance(right, Tensor) or right.dtype != left.dtype or right.dim() > left.dim():
        return None
    trailing = left.shape[left.dim() - right.dim() :]
    if right.device.type != "meta" or any(s not in (1, t) for s, t in zip(right.shape, trailing, strict=True)):
        return None
    return _like(left)


def _elementwise_in_place(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    target: Tensor = args[0]
    return target if _elementwise(args, kwargs) is not None else None


def _cat(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    parts, axis = args[0], args[1] if len(args) > 1 else kwargs.get("dim", 0)
    first: Tensor = parts[0]
    if not isinstance(axis, int) or any(part.dtype != first.dtype or part.dim() != first.dim() for part in parts):
        return None
    axis %= first.dim()
    around = (first.shape[:axis], first.shape[axis + 1 :])
    if any((part.shape[:axis], part.shape[axis + 1 :]) != around for part in parts):
        return None
    return first.new_empty((*around[0], sum(part.shape[axis] for part in parts), *around[1]))


def _reduced(axes_at: int) -> Shortcut:
    """Means and norms over some axes: gone, or of size 1."""

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        source: Tensor = args[0]
        axes = args[axes_at] if len(args) > axes_at else kwargs.get("dim")
        keep = args[axes_at + 1] if len(args) > axes_at + 1 else kwargs.get("keepdim", False)
        axes = (axes,) if isinstance(axes, int) else axes
        if not isinstance(axes, (tuple, list)) or not axes or kwargs.get("dtype") is not None:
            return None
        if not all(isinstance(axis, int) and -source.dim() <= axis < source.dim() for axis in axes):
            return None
        gone = {axis % source.dim() for axis in axes}
        if len(gone) < len(axes):
            return None
        sizes = [1 if axis in gone else size for axis, size in enumerate(source.shape) if keep or axis not in gone]
        return source.new_empty(sizes)

    return rule


def _interpolate(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    source: Tensor = args[0]
    size = args[1] if len(args) > 1 else kwargs.get("size")
    scale = args[2] if len(args) > 2 else kwargs.get("scale_factor")
    rank = source.dim() - 2
    if (size is None) == (scale is None) or rank < 1:
        return None
    if size is not None:
        sizes = (size,) * rank if isinstance(size, int) else tuple(size)
    else:
        scales: tuple[Any, ...] = (scale,) * rank if isinstance(scale, (int, float)) else tuple(scale or ())
        sizes = tuple(int(length * factor) for length, factor in zip(source.shape[2:], scales, strict=False))
    fits = len(sizes) == rank and all(isinstance(length, int) and length > 0 for length in sizes)
    return source.new_empty((*source.shape[:2], *sizes)) if fits else None


SHORTCUTS: dict[str, Shortcut] = {
    **{name: _unary(name) for name in _UNARY},
    **dict.fromkeys(("add", "sub", "mul", "div", "__add__", "__sub__", "__mul__", "__truediv__"), _elementwise),
    **dict.fromkeys(("add_", "sub_", "mul_", "div_", "__iadd__", "__imul__"), _elementwise_in_place),
    "clamp_min": _elementwise,
    "mean": _reduced(1),
    "norm": _reduced(2),
    "cat": _cat,
    "interpolate": _interpolate,
    "batch_norm": _normalised(3),
    "group_norm": _normalised(2),
    "layer_norm": _normalised(2, sizes_at=1),
    "linear": _linear,
    "matmul": _matmul,
    "scaled_dot_product_attention": _attention,
}
"""`__name__` of a torch function -> the rule for its result on meta."""
