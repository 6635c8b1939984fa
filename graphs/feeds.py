"""What a network is fed with: shapes and kinds of its inputs, given, known from a zoo, or guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from archcast.errors import CaptureError
from archcast.graphs.graph_layers import message_passing_layers

IMAGE_SIZE = 224
TOKENS = 128
GRAPH_NODES = 256


@dataclass(frozen=True)
class Slot:
    """One input tensor. `kind` is "float", "index" (token ids) or "bool"."""

    shape: tuple[int, ...]
    kind: str = "float"

    def tensor(self, device: torch.device, float_type: torch.dtype) -> torch.Tensor:
        dtype = {"float": float_type, "index": torch.int64, "bool": torch.bool}[self.kind]
        return torch.ones(self.shape, dtype=dtype, device=device)


@dataclass(frozen=True)
class Feed:
    """All inputs of one forward pass, by position and by name."""

    slots: tuple[Slot, ...] = ()
    named: Mapping[str, Slot] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)

    def tensors(
        self, device: torch.device, float_type: torch.dtype = torch.float32
    ) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
        """The inputs as tensors on `device`; all ones, so that they index any table of two rows."""
        return (
            tuple(slot.tensor(device, float_type) for slot in self.slots),
            {key: slot.tensor(device, float_type) for key, slot in self.named.items()},
        )

    def __str__(self) -> str:
        shapes = [str(slot.shape) for slot in self.slots]
        return ", ".join([*shapes, *(f"{key}={slot.shape}" for key, slot in self.named.items())])


_FIRST = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.Embedding, nn.LSTM, nn.GRU, nn.RNN)


def feed_of(module: nn.Module, input_shape: Any = None) -> Feed:
    """The feed for `input_shape` (batch set to 1), or else for what the first layer of `module` needs.

    Raises:
        CaptureError: `input_shape` is malformed, or missing and the first layer does not tell it.
    """
    if layers := message_passing_layers(module):
        return _graph_feed(layers[0], input_shape)
    first = next((part for part in module.modules() if isinstance(part, _FIRST)), None)
    shapes = [_guess(first)] if input_shape is None else shapes_of(input_shape)
    kind = "index" if isinstance(first, nn.Embedding) else "float"
    return Feed(tuple(Slot(shape, kind) for shape in shapes))


def _graph_feed(layer: nn.Module, input_shape: Any) -> Feed:
    """Node features (nodes, width) and edges (2, edges); their first axes are no batch."""
    if input_shape is None:
        width = getattr(layer, "in_channels", -1)
        width = width[0] if isinstance(width, tuple) else width
        if not isinstance(width, int) or width < 1:
            raise CaptureError(
                "the width of the node features is unknown; give input_shape=[(nodes, width), (2, edges)]"
            )
        return Feed((Slot((GRAPH_NODES, width)), Slot((2, 4 * GRAPH_NODES), "index")))
    shapes = shapes_of(input_shape, keep_batch=True)
    kinds = ["index" if position == 1 and shape[0] == 2 else "float" for position, shape in enumerate(shapes)]
    return Feed(tuple(Slot(shape, kind) for shape, kind in zip(shapes, kinds, strict=True)))


def _guess(first: nn.Module | None) -> tuple[int, ...]:
    if isinstance(first, nn.Conv2d):
        return (1, first.in_channels, IMAGE_SIZE, IMAGE_SIZE)
    if isinstance(first, nn.Conv3d):
        return (1, first.in_channels, 16, IMAGE_SIZE // 2, IMAGE_SIZE // 2)
    if isinstance(first, nn.Linear):
        return (1, first.in_features)
    if isinstance(first, nn.Embedding):
        return (1, TOKENS)
    if isinstance(first, (nn.LSTM, nn.GRU, nn.RNN)):
        return (1, TOKENS, first.input_size) if first.batch_first else (TOKENS, 1, first.input_size)
    kind = type(first).__name__ if first is not None else "no layer with weights"
    raise CaptureError(
        f"the first layer ({kind}) does not tell the shape of the input; give input_shape=..., for example "
        "input_shape=(1, 3, 32, 32), or a list of shapes for several inputs"
    )


def shapes_of(input_shape: Any, *, keep_batch: bool = False) -> list[tuple[int, ...]]:
    """`input_shape` as a list of shapes with batch 1.

    Raises:
        CaptureError: it is not a tuple of positive integers, or a list of such tuples.
    """
    if not isinstance(input_shape, Sequence) or isinstance(input_shape, str) or not input_shape:
        raise CaptureError(f"input_shape={input_shape!r} is not a shape; give a tuple such as (1, 3, 224, 224)")
    shapes = list(input_shape) if isinstance(input_shape[0], Sequence) else [input_shape]
    for shape in shapes:
        sizes = list(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else []
        if not sizes or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
            raise CaptureError(
                f"input_shape={input_shape!r} must hold positive integers only, such as (1, 3, 224, 224), "
                "or be a list of such shapes"
            )
    return [tuple(shape) if keep_batch else (1, *shape[1:]) for shape in shapes]
