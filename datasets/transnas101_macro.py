"""The skeleton space of TransNAS-Bench-101 (Duan et al., CVPR 2021): 3,256 chains of residual modules.

Four to six modules of two ResNet basic blocks each. One to three modules double the channels, one to four halve the
resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, ClassVar

import numpy as np

from archcast.datasets.stamping import INPUT, Block, BlockBuilder, NodeTable, assemble
from archcast.datasets.transnas101 import (
    Frame,
    TransNasSpace,
    block_output,
    doubles_channels,
    halves_resolution,
    relu_conv_bn,
)
from archcast.graphs.graph import GraphBatch, Shape
from archcast.graphs.nodes import batch_norm, conv, plain

PREFIX, SUFFIX = "64-", "-basic"
CODES = "1234"
LENGTHS = (4, 5, 6)
DOUBLINGS = (1, 2, 3)
HALVINGS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Skeleton:
    """Codes of the modules: 1 keeps the shape, 2 doubles the channels, 3 halves the resolution, 4 does both."""

    codes: str


class TransNas101Macro(TransNasSpace[Skeleton]):
    """Specs look like `64-1234-basic`: base channels, modules, residual blocks."""

    name: ClassVar[str] = "transnas101-macro"
    example: ClassVar[str] = "64-1234-basic"
    multiple: ClassVar[int] = 64

    def parse(self, spec: str) -> Skeleton:
        return Skeleton(self._codes(spec))

    def format(self, arch: Skeleton) -> str:
        return f"{PREFIX}{arch.codes}{SUFFIX}"

    @property
    def size(self) -> int:
        return len(_all_codes())

    def all_specs(self) -> Iterator[str]:
        return (f"{PREFIX}{codes}{SUFFIX}" for codes in _all_codes())

    def sample(self, rng: np.random.Generator) -> str:
        return f"{PREFIX}{_all_codes()[int(rng.integers(self.size))]}{SUFFIX}"

    def neighbours(self, spec: str) -> list[str]:
        """One module changed, left out or put in, where that stays in the space."""
        codes = self._codes(spec)
        found = []
        for place in range(len(codes) + 1):
            before, after = codes[:place], codes[place:]
            found += [before + code + after for code in CODES]
            if after:
                found += [before + after[1:], *(before + code + after[1:] for code in CODES)]
        return [f"{PREFIX}{other}{SUFFIX}" for other in dict.fromkeys(found) if other != codes and not _fault(other)]

    def canonical(self, spec: str) -> str:
        """Itself: no two skeletons are the same network."""
        return f"{PREFIX}{self._codes(spec)}{SUFFIX}"

    def skeleton(self, spec: str) -> tuple[str, tuple[int, ...] | None]:
        return self._codes(spec), None

    def stamp(self, specs: Sequence[str], num_classes: int = 10) -> GraphBatch:
        frame = _frame(self.key, num_classes)
        layout = np.zeros((len(specs), 1 + max(LENGTHS) + 1), dtype=np.int64)
        for row, spec in enumerate(specs):
            layout[row, 1:] = frame.positions(self._codes(spec))
        return assemble(frame.table.nodes, frame.blocks, layout, self.graph_names(specs))

    def _codes(self, spec: str) -> str:
        if not isinstance(spec, str):
            raise self.refuse(spec, f"a spec is text, not {type(spec).__name__}")
        text = spec.strip()
        if not (text.startswith(PREFIX) and text.endswith(SUFFIX) and len(text) >= len(PREFIX + SUFFIX)):
            raise self.refuse(spec, f"it must be {PREFIX}CODES{SUFFIX}")
        codes = text.removeprefix(PREFIX).removesuffix(SUFFIX)
        fault = _fault(codes)
        if fault:
            raise self.refuse(spec, fault)
        return codes


def _fault(codes: str) -> str:
    """Why `codes` do not belong to the space; empty where they do."""
    if codes.strip(CODES) or len(codes) not in LENGTHS:
        return "it must have 4 to 6 modules, each 1, 2, 3 or 4"
    if sum(map(doubles_channels, codes)) not in DOUBLINGS:
        return "one to three modules must double the channels (2 or 4)"
    if sum(map(halves_resolution, codes)) not in HALVINGS:
        return "one to four modules must halve the resolution (3 or 4)"
    return ""


@lru_cache(1)
def _all_codes() -> tuple[str, ...]:
    codes = ("".join(choice) for length in LENGTHS for choice in product(CODES, repeat=length))
    return tuple(text for text in codes if not _fault(text))


class _SkeletonFrame(Frame):
    """Blocks met so far: the stem, an empty block that fills up short networks, modules and decoders."""

    def __init__(self, key: tuple[Any, ...], num_classes: int) -> None:
        super().__init__(key, num_classes)
        self.blocks = [self.stem, BlockBuilder(self.table).build()]
        self._known: dict[Any, int] = {}
        self._positions: dict[str, list[int]] = {}

    def positions(self, codes: str) -> list[int]:
        """Positions in `blocks` of the modules of a network, filled up to six, and of its decoder."""
        found = self._positions.get(codes)
        if found is None:
            steps = list(self.steps(codes))
            n = self.blocks_per_module
            modules = [tuple(steps[first : first + n]) for first in range(0, len(steps), n)]
            found = [self._position(module, codes) for module in modules]
            found += [1] * (max(LENGTHS) - len(found))
            decoder = (self.output_shape(codes), sum(map(halves_resolution, codes)))
            found.append(self._position(decoder, codes))
            self._positions[codes] = found
        return found

    def _position(self, key: Any, codes: str) -> int:
        """Where the module (a tuple of steps) or the decoder (shape, halvings) is; built when first asked for."""
        if key not in self._known:
            self._known[key] = len(self.blocks)
            is_module = isinstance(key[0][0], tuple)
            self.blocks.append(_module_block(self.table, key) if is_module else self.head(codes))
        return self._known[key]


@lru_cache(8)
def _frame(key: tuple[Any, ...], num_classes: int) -> _SkeletonFrame:
    return _SkeletonFrame(key, num_classes)


def _module_block(table: NodeTable, steps: Sequence[tuple[Shape, int, int]]) -> Block:
    """ResNet basic blocks with the activation first; a 1x1 shortcut where a block changes the shape."""
    block = BlockBuilder(table, steps[0][0])
    value = INPUT
    for shape, channels, stride in steps:
        source = value
        out = block_output(shape, channels, stride)
        value = block.chain([*relu_conv_bn(shape, channels, 3, stride), *relu_conv_bn(out, channels, 3)], source)
        if out != shape:
            source = block.chain([conv(shape, channels, 1, stride=stride), batch_norm(out)], source)
        value = block.add(plain("Add", out), source, value)
    return block.build()
