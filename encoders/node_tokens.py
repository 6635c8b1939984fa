"""The tokens of one node: its op, where its inputs come from, its attributes, and what it does to the shape.

What is said and what goes without saying is told in `archcast.encoders.tokens`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isinf, isnan, log2, prod
from typing import Any, Final

from archcast.encoders.token_vocabulary import (
    FAR_OCTAVE,
    LEAST_OCTAVE,
    LENGTH_OCTAVES,
    MOST_RANK,
    NEAR,
    OCTAVES,
    SMALL,
    Vocabulary,
    magnitude,
)
from archcast.graphs.graph import Node, Shape

TokenWithSizes = tuple[int, float, float, float]
"""A token and the three numbers beside it, logarithms to base 2."""

_STEPS_FROM: Final = 4
"""Inputs from which on each is said by its step from the one before."""
_NEUTRAL: Final = {"bias": False, "dilation": 1, "groups": 1, "stride": 1}
_FROM_OUTPUT: Final = {"out_channels": 1, "out_features": -1, "width": -1}
_FROM_INPUT: Final = {"in_channels": 1, "in_features": -1, "contracted": -1}
_CHANNELS_SECOND: Final = frozenset({"BatchNormalization", "GroupNormalization", "InstanceNormalization"})


class NodeWriter:
    """Writes nodes in one level of detail: 0 all, 1 without shapes and further inputs, 2 ops alone."""

    def __init__(self, vocabulary: Vocabulary, detail: int = 0) -> None:
        self._vocabulary, self._index, self._detail = vocabulary, vocabulary.index, detail

    def write(self, node: Node, before: Shape | None, distances: Sequence[int] | None) -> list[TokenWithSizes]:
        """The tokens of `node`.

        Args:
            node: the operation.
            before: shape of its first input; None without inputs.
            distances: how many nodes before it each input was made; None where that goes without saying.
        """
        size = (log2(1 + node.macs), log2(1 + node.params), log2(1 + prod(node.shape)))
        if node.op in self._index:
            tokens = [(self._index[node.op], *size)]
        else:
            unknown, *characters = self._vocabulary.hashed(node.op)
            tokens = [(unknown, *size), *((token, 0.0, 0.0, 0.0) for token in characters)]
        if self._detail == 2:
            return tokens[:1]
        if distances is not None:
            tokens += self._inputs(distances if self._detail == 0 else distances[:2])
        for name, value in node.attributes.items():
            if not _goes_without_saying(name, value, node, before):
                tokens += self._attribute(name, value, node)
        if self._detail == 0:
            tokens += self._shape(node.shape, before)
        return tokens

    def _named(self, name: str, size: float = 0.0) -> TokenWithSizes:
        return (self._index[name], size, 0.0, 0.0)

    def _inputs(self, distances: Sequence[int]) -> Iterator[TokenWithSizes]:
        if not distances:
            yield self._named("[NONE]")
            return
        said = distances if len(distances) < _STEPS_FROM else distances[:1]
        for distance in said:
            yield self._reference("^", distance)
        for last, distance in zip(distances[len(said) - 1 :], distances[len(said) :], strict=False):
            step = last - distance
            yield self._reference("-" if step < 0 else "+", abs(step))

    def _reference(self, mark: str, distance: int) -> TokenWithSizes:
        size = log2(distance) if distance else 0.0
        name = f"{mark}{distance}" if distance <= NEAR else f"{mark}~{magnitude(distance, FAR_OCTAVE, LENGTH_OCTAVES)}"
        return self._named(name, size)

    def _attribute(self, name: str, value: Any, node: Node) -> Iterator[TokenWithSizes]:
        if name == "groups" and value == node.get("in_channels"):
            value = "channels"
        items = list(value) if isinstance(value, (tuple, list)) else [value]
        if len(set(items)) == 1:  # (3, 3) is said like 3: the shape tells how many axes there are
            items = items[:1]
        if len(items) == 1 and (known := self._index.get(f"{name}={_whole(items[0])}")) is not None:
            yield (known, 0.0, 0.0, 0.0)
            return
        if name in self._vocabulary.attributes:
            yield self._named(name)
        else:
            yield from ((token, 0.0, 0.0, 0.0) for token in self._vocabulary.hashed(name))
        for item in items:
            yield from self._value(item)

    def _value(self, value: Any) -> Iterator[TokenWithSizes]:
        if isinstance(value, str):
            known = self._index.get(f"word:{value}")
            tokens = [known] if known is not None else self._vocabulary.hashed(value)
            yield from ((token, 0.0, 0.0, 0.0) for token in tokens)
        elif isinstance(value, bool):
            yield self._named(f"={value}")
        elif isnan(value):
            yield self._named("nan")
        else:
            yield from self._number(value)

    def _number(self, value: float) -> Iterator[TokenWithSizes]:
        if value < 0:
            yield self._named("-")
        size = abs(value)
        if isinf(size):
            yield self._named("inf")
        elif size == int(size) and size <= SMALL:
            yield self._named(f"={int(size)}", log2(size) if size else 0.0)
        else:
            yield self._named(f"#{magnitude(size, LEAST_OCTAVE, OCTAVES)}", log2(size))

    def _shape(self, shape: Shape, before: Shape | None) -> Iterator[TokenWithSizes]:
        if shape == before:
            return
        if before is None or len(before) != len(shape):
            yield self._named(f"rank={min(len(shape), MOST_RANK)}")
            changed = [axis for axis, length in enumerate(shape) if axis or length != 1]
        else:
            changed = [axis for axis, length in enumerate(shape) if length != before[axis]]
        square = len(shape) >= 4 and len(set(shape[2:])) == 1
        for axis in changed:
            if axis < 2 or not square:
                yield self._length(f"axis{min(axis, 4)}", shape[axis])
        if square and changed and changed[-1] >= 2:
            yield self._length("side", shape[2])

    def _length(self, axis: str, length: int) -> TokenWithSizes:
        if length <= 0:
            return self._named(f"{axis}:0")
        return self._named(f"{axis}:{magnitude(length, 0, LENGTH_OCTAVES)}", log2(length))


def _whole(value: Any) -> Any:
    """6.0 as 6; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _goes_without_saying(name: str, value: Any, node: Node, before: Shape | None) -> bool:
    """Whether an attribute is what one would expect of `node` after an input of shape `before`."""
    if name in _NEUTRAL:
        neutral = _NEUTRAL[name]
        return all(item == neutral for item in value) if isinstance(value, tuple) else bool(value == neutral)
    if name == "padding":
        return bool(value == _same_padding(node))
    if name in _FROM_OUTPUT:
        return _is_length(value, node.shape, _FROM_OUTPUT[name])
    if name in _FROM_INPUT:
        return _is_length(value, before or (), _FROM_INPUT[name])
    if name == "channels":
        return _is_length(value, node.shape, 1 if node.op in _CHANNELS_SECOND else -1)
    return False


def _is_length(value: Any, shape: Shape, axis: int) -> bool:
    return len(shape) >= 2 and bool(shape[axis] == value)


def _same_padding(node: Node) -> tuple[int, ...] | None:
    """Padding at which a window of stride 1 keeps the size; None where the node has no window."""
    kernel = node.get("kernel")
    if not isinstance(kernel, tuple):
        return None
    dilation = node.get("dilation", (1,) * len(kernel))
    if not isinstance(dilation, tuple):
        return None
    return tuple(int(step * (width - 1) // 2) for width, step in zip(kernel, dilation, strict=False))
