"""Real values of small constants on the meta device.

Masks, ranges and tables that a forward pass makes of nothing but sizes have values even where the network runs without
any. `Shadows` computes them beside the meta tensors, so that a question such as `if mask.all():` has an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

LIMIT = 1 << 20
"""Largest constant, in elements, that is computed."""

READS = frozenset({"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "numpy", "__contains__", "equal"})
"""Functions that need the values of a tensor."""

_CPU = torch.device("cpu")


class _UnknownValueError(Exception):
    """A constant whose value is not known takes part."""


class Shadows:
    """Maps meta constants to CPU tensors with their values."""

    def __init__(self) -> None:
        self._real: dict[int, torch.Tensor] = {}
        self._alive: list[torch.Tensor] = []

    def give(self, tensor: torch.Tensor, real: torch.Tensor) -> None:
        """Declare that the meta tensor `tensor` has the values of `real`."""
        if real.numel() <= LIMIT:
            self._alive.append(tensor)
            self._real[id(tensor)] = real

    def read(self, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run a function that needs values on the shadows.

        Raises:
            KeyError: the value of an argument is not known.
        """
        try:
            return func(*self._real_of(args), **self._real_of(kwargs))
        except _UnknownValueError as error:
            raise KeyError(str(error)) from error

    def follow(
        self, func: Callable[..., Any], args: Any, kwargs: Any, result: Any, *, shape_only: bool = False
    ) -> None:
        """Repeat `result = func(*args, **kwargs)` on the shadows; with `shape_only`, on empty tensors of that shape."""
        if isinstance(result, torch.Tensor) and (result.device.type != "meta" or result.numel() > LIMIT):
            return
        try:
            arguments = self._real_of(args, shape_only), self._real_of(kwargs, shape_only)
        except _UnknownValueError:
            if args and isinstance(args[0], torch.Tensor):
                self._real.pop(id(args[0]), None)  # it may have been changed in place
            return
        try:
            real = func(*arguments[0], **arguments[1])
        except (RuntimeError, TypeError, ValueError, IndexError):
            return  # a shadow is a convenience: without it, reading the value fails and the next stage is tried
        self._match(result, real)

    def _match(self, result: Any, real: Any) -> None:
        if isinstance(result, torch.Tensor) and isinstance(real, torch.Tensor):
            self.give(result, real)
        elif isinstance(result, (tuple, list)):
            for part, real_part in zip(result, real, strict=False):
                self._match(part, real_part)

    def _real_of(self, item: Any, shape_only: bool = False) -> Any:
        if isinstance(item, torch.Tensor):
            if id(item) in self._real:
                return self._real[id(item)]
            if item.device.type != "meta":
                return item
            if shape_only and item.numel() <= LIMIT:
                return torch.empty(item.shape, dtype=item.dtype)
            raise _UnknownValueError("a tensor on the meta device has no values")
        if isinstance(item, torch.device):
            return _CPU if item.type == "meta" else item
        if isinstance(item, str):
            return "cpu" if item == "meta" else item
        if isinstance(item, (tuple, list)) and not hasattr(item, "_fields"):
            return type(item)(self._real_of(part, shape_only) for part in item) if type(item) in (tuple, list) else item
        if isinstance(item, dict):
            return {key: self._real_of(part, shape_only) for key, part in item.items()}
        return item
