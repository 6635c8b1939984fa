"""PiT (Heo et al., ICCV 2021) in the search space of ViT-Bench-101 (Wei et al., Auto-Prox, AAAI 2024): 4,320 networks.

A vision transformer of three stages; between stages a depthwise convolution halves the resolution and widens the
tokens. All stages share the width of a head (the base dimension) and the MLP ratio; depths and heads differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement, product
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archcast.datasets.space import SearchSpace
from archcast.errors import ConfigError
from archcast.graphs.graph import Shape

if TYPE_CHECKING:
    from torch import nn

BASE_DIMS = (16, 24, 32, 40)
MLP_RATIOS = (2, 4, 6, 8)
DEPTHS = ((1, 2, 3), (4, 6, 8), (2, 4, 6))
HEADS = (2, 4, 8)
"""Heads never decrease from stage to stage: pooling widens tokens by a whole factor."""

_CHOICES: tuple[tuple[int, ...] | tuple[tuple[int, ...], ...], ...] = (
    BASE_DIMS,
    MLP_RATIOS,
    tuple(product(*DEPTHS)),
    tuple(combinations_with_replacement(HEADS, len(DEPTHS))),
)


@dataclass(frozen=True)
class PooledTransformer:
    """Base dimension, MLP ratio, and blocks and heads of the three stages."""

    base_dim: int
    mlp_ratio: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]


class PiT(SearchSpace[PooledTransformer]):
    """Specs are base dimension, MLP ratio, depths and heads, such as `32:4:2-6-4:2-4-8` for PiT-Ti."""

    name: ClassVar[str] = "pit"
    example: ClassVar[str] = "32:4:2-6-4:2-4-8"
    default_input_shape: ClassVar[Shape] = (1, 3, 224, 224)
    classes: ClassVar[int] = 100

    def __init__(self, input_shape: Shape | None = None) -> None:
        super().__init__(input_shape)
        if min(self.input_shape[2:]) < 16:
            raise ConfigError(f"input_shape {self.input_shape} is smaller than a patch of 16 x 16; use at least that")

    def parse(self, spec: str) -> PooledTransformer:
        return self.read(spec, _parse_cached)

    def format(self, arch: PooledTransformer) -> str:
        depths, heads = ("-".join(map(str, numbers)) for numbers in (arch.depths, arch.heads))
        return f"{arch.base_dim}:{arch.mlp_ratio}:{depths}:{heads}"

    @property
    def size(self) -> int:
        return int(np.prod([len(choices) for choices in _CHOICES]))

    def all_specs(self) -> Iterator[str]:
        return (
            self.format(PooledTransformer(*choice))
            for choice in product(
                BASE_DIMS, MLP_RATIOS, product(*DEPTHS), combinations_with_replacement(HEADS, len(DEPTHS))
            )
        )

    def sample(self, rng: np.random.Generator) -> str:
        """Uniform over the space."""
        heads = list(combinations_with_replacement(HEADS, len(DEPTHS)))
        return self.format(
            PooledTransformer(
                int(rng.choice(BASE_DIMS)),
                int(rng.choice(MLP_RATIOS)),
                tuple(int(rng.choice(depths)) for depths in DEPTHS),
                heads[int(rng.integers(len(heads)))],
            )
        )

    def neighbours(self, spec: str) -> list[str]:
        """Another base dimension, another ratio, or another depth or number of heads in one stage."""
        arch = self.parse(spec)
        found = [PooledTransformer(other, arch.mlp_ratio, arch.depths, arch.heads) for other in BASE_DIMS]
        found += [PooledTransformer(arch.base_dim, other, arch.depths, arch.heads) for other in MLP_RATIOS]
        for stage, choices in enumerate(DEPTHS):
            for other in choices:
                depths = (*arch.depths[:stage], other, *arch.depths[stage + 1 :])
                found.append(PooledTransformer(arch.base_dim, arch.mlp_ratio, depths, arch.heads))
            for other in HEADS:
                heads = (*arch.heads[:stage], other, *arch.heads[stage + 1 :])
                if list(heads) == sorted(heads):
                    found.append(PooledTransformer(arch.base_dim, arch.mlp_ratio, arch.depths, heads))
        return [self.format(other) for other in found if other != arch]

    def canonical(self, spec: str) -> str:
        """The spec as `format` writes it: no two compute the same."""
        return self.format(self.parse(spec))

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        from archcast.datasets.pit_module import Network

        arch = self.parse(spec)
        _, channels, height, width = self.input_shape
        return Network(arch.base_dim, arch.mlp_ratio, arch.depths, arch.heads, num_classes, (channels, height, width))

    def small(self) -> SearchSpace[PooledTransformer]:
        """The same networks on 64 x 64 pixels: 49 patches instead of 729."""
        return type(self)((1, self.input_shape[1], 64, 64))


@lru_cache(10_000)
def _parse_cached(text: str) -> PooledTransformer:
    text = text.strip()
    fields = text.split(":")
    if len(fields) != 4:
        raise ValueError("it must be base dimension, MLP ratio, depths and heads, joined by ':'")
    base_dim = _one_of(fields[0], BASE_DIMS, "base dimension")
    ratio = _one_of(fields[1], MLP_RATIOS, "MLP ratio")
    depths, heads = fields[2].split("-"), fields[3].split("-")
    if len(depths) != len(DEPTHS) or len(heads) != len(DEPTHS):
        raise ValueError(f"depths and heads must be {len(DEPTHS)} numbers each, joined by '-'")
    depth_numbers = tuple(_one_of(text, choices, "depth") for text, choices in zip(depths, DEPTHS, strict=True))
    head_numbers = tuple(_one_of(text, HEADS, "number of heads") for text in heads)
    if list(head_numbers) != sorted(head_numbers):
        raise ValueError("the heads must not decrease from stage to stage")
    return PooledTransformer(base_dim, ratio, depth_numbers, head_numbers)


def _one_of(text: str, choices: tuple[int, ...], what: str) -> int:
    found = [choice for choice in choices if str(choice) == text]
    if not found:
        raise ValueError(f"{what} {text[:20]!r} is none of {', '.join(map(str, choices))}")
    return found[0]
