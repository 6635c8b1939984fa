"""`mini-transformers`: small vision transformers of many sizes, trained in seconds (archcast's own pool).

Patches become tokens, by one strided convolution or by two, with a fixed sine embedding or a learnt one of their
positions or none; pre-norm blocks of attention and an MLP follow; the mean token or a class token is classified
(Dosovitskiy et al., ICLR 2021, at a hundredth of the size).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from math import prod
from re import fullmatch
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archcast.datasets.space import SearchSpace
from archcast.graphs.graph import Shape

if TYPE_CHECKING:
    from torch import nn

PATCHES = (2, 3, 4, 6)
WIDTHS = (16, 24, 32, 48)
DEPTHS = (1, 2, 3, 4, 5, 6)
HEADS = (1, 2, 4, 8)
RATIOS = (1, 2, 4)
STEMS = ("lin", "conv")
POSITIONS = ("none", "sine", "learnt")
POOLS = ("mean", "cls")


@dataclass(frozen=True)
class Transformer:
    """Size of a patch, width and number of blocks, heads, width of the MLP over that of tokens, stem, positions, pool.

    The stem `lin` projects the pixels of a patch; `conv` puts a 3x3 convolution of half the width, batch norm and ReLU
    before.
    """

    patch: int
    width: int
    depth: int
    heads: int
    ratio: int
    stem: str
    positions: str
    pool: str


CHOICES: dict[str, tuple[int | str, ...]] = {
    "patch": PATCHES,
    "width": WIDTHS,
    "depth": DEPTHS,
    "heads": HEADS,
    "ratio": RATIOS,
    "stem": STEMS,
    "positions": POSITIONS,
    "pool": POOLS,
}


class MiniTransformers(SearchSpace[Transformer]):
    """Specs such as `p4-w32x3-h4-m2-conv-sine-mean`: patch, width x depth, heads, MLP ratio, stem, positions, pool."""

    name: ClassVar[str] = "mini-transformers"
    example: ClassVar[str] = "p4-w32x3-h4-m2-conv-sine-mean"
    default_input_shape: ClassVar[Shape] = (1, 3, 12, 12)
    multiple: ClassVar[int] = 12

    def parse(self, spec: str) -> Transformer:
        if not isinstance(spec, str):
            raise self.refuse(spec, f"a spec is text, not {type(spec).__name__}")
        found = fullmatch(r"p([0-9]+)-w([0-9]+)x([0-9]+)-h([0-9]+)-m([0-9]+)-([a-z]+)-([a-z]+)-([a-z]+)", spec)
        if not found:
            raise self.refuse(spec, "write patch, width x depth, heads, MLP ratio, stem, positions and pool as there")
        chosen: dict[str, int | str] = {}
        for (name, allowed), text in zip(CHOICES.items(), found.groups(), strict=True):
            match = next((value for value in allowed if str(value) == text), None)
            if match is None:
                raise self.refuse(spec, f"{name} {text[:20]} is none of {', '.join(map(str, allowed))}")
            chosen[name] = match
        return Transformer(**chosen)  # type: ignore[arg-type]

    def format(self, arch: Transformer) -> str:
        size = f"p{arch.patch}-w{arch.width}x{arch.depth}-h{arch.heads}-m{arch.ratio}"
        return f"{size}-{arch.stem}-{arch.positions}-{arch.pool}"

    @property
    def size(self) -> int:
        return prod(map(len, CHOICES.values()))

    def all_specs(self) -> Iterator[str]:
        return (self.format(Transformer(*values)) for values in product(*CHOICES.values()))  # type: ignore[arg-type]

    def sample(self, rng: np.random.Generator) -> str:
        values = [allowed[int(rng.integers(len(allowed)))] for allowed in CHOICES.values()]
        return self.format(Transformer(*values))  # type: ignore[arg-type]

    def neighbours(self, spec: str) -> list[str]:
        arch = self.parse(spec)
        return [
            self.format(replace(arch, **{field.name: value}))  # type: ignore[arg-type]
            for field in fields(arch)
            for value in CHOICES[field.name]
            if value != getattr(arch, field.name)
        ]

    def canonical(self, spec: str) -> str:
        """The spec itself: no two name the same network."""
        return self.format(self.parse(spec))

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        from archcast.datasets.mini_transformers_module import TransformerNetwork

        return TransformerNetwork(self.parse(spec), self.input_shape, num_classes)
