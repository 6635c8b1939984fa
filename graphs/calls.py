"""What a recorded torch call is, and what its handler may return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from archcast.graphs.graph import Node, Shape


class Values(Protocol):
    """What a handler may ask the recorder."""

    def value_of(self, tensor: torch.Tensor) -> int | None: ...

    def has_params(self, tensor: torch.Tensor) -> bool: ...


@dataclass(slots=True)
class Alias:
    """The result is another name of `tensor`."""

    tensor: torch.Tensor


@dataclass(slots=True)
class Chain:
    """The call is several operations, one after another; the last makes the result."""

    nodes: list[Node]


@dataclass(slots=True)
class Call:
    """One recorded call. `tensors` are all tensors among the arguments, `before` the first one's shape at the call."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    tensors: list[torch.Tensor]
    before: Shape
    values: Values

    def arg(self, position: int, name: str, default: Any = None) -> Any:
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def constant(self, tensor: Any) -> bool:
        return isinstance(tensor, torch.Tensor) and self.values.value_of(tensor) is None

    @property
    def shape(self) -> Shape:
        """Shape of the (first) result."""
        result = self.result
        while isinstance(result, (tuple, list)):
            result = result[0]
        return tuple(result.shape)


Made = Node | list[Node] | Alias | Chain
Handler = Callable[[Call], Made]
