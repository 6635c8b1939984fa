"""Accel-NASBench (Ahmad et al., DAC 2024): the MnasNet space for ImageNet, about 10^11 networks of seven stages.

A stem of 32 channels and stride 2, seven stages of inverted residual blocks, a 1x1 convolution to 1,280 channels and a
linear classifier; ReLU everywhere. The blocks of a stage share expansion, kernel and whether they have squeeze-excite;
the first one changes the channels and the resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archcast.datasets.inverted_residual import Chain, ChainStamper, InvertedResidual
from archcast.datasets.space import SearchSpace
from archcast.graphs.graph import GraphBatch, Shape

if TYPE_CHECKING:
    from torch import nn

STEM_CHANNELS = 32
WIDTHS = (16, 24, 40, 80, 112, 192, 320)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
HEAD_CHANNELS = 1280
DROPOUT = 0.2

EXPANSIONS = (1, 4, 6)
KERNELS = (3, 5)
DEPTHS = (3, 3, 3, 3, 3, 4, 3)
"""Most blocks of each stage; the fewest are 1."""

STAGES = len(WIDTHS)
SMALL_SIZE = 64


@dataclass(frozen=True)
class Stage:
    """Expansion, kernel size, number of blocks, squeeze-excite or not."""

    expansion: int
    kernel: int
    blocks: int
    squeeze_excite: bool

    def __str__(self) -> str:
        return f"e{self.expansion}k{self.kernel}l{self.blocks}se{self.squeeze_excite:d}"


@dataclass(frozen=True)
class MnasNet:
    """The seven stages."""

    stages: tuple[Stage, ...]


_CHOICES: tuple[tuple[Stage, ...], ...] = tuple(
    tuple(Stage(*choice) for choice in product(EXPANSIONS, KERNELS, range(1, depth + 1), (False, True)))
    for depth in DEPTHS
)
"""All settings of each stage."""

_STAGE_OF = tuple({str(stage): stage for stage in choices} for choices in _CHOICES)


class AccelNASBench(SearchSpace[MnasNet]):
    """Specs are seven stages joined by `-`, such as `e1k3l1se1-e6k3l2se1-e6k5l2se1-...`.

    A stage is `e` expansion (1, 4, 6), `k` kernel size (3, 5), `l` number of blocks (1 to 3; to 4 in the sixth stage)
    and `se` squeeze-excite (0, 1). The example is EfficientNet-B0.
    """

    name: ClassVar[str] = "accel-nasbench"
    example: ClassVar[str] = "e1k3l1se1-e6k3l2se1-e6k5l2se1-e6k3l3se1-e6k5l3se1-e6k5l4se1-e6k3l1se1"
    default_input_shape: ClassVar[Shape] = (1, 3, 224, 224)
    multiple: ClassVar[int] = 32
    classes: ClassVar[int] = 1000

    def parse(self, spec: str) -> MnasNet:
        if not isinstance(spec, str):
            raise self.refuse(spec, f"a spec is text, not {type(spec).__name__}")
        tokens = spec.strip().split("-")
        if len(tokens) != STAGES:
            raise self.refuse(spec, f"it must be {STAGES} stages joined by '-'")
        for number, token in enumerate(tokens):
            if token not in _STAGE_OF[number]:
                raise self.refuse(
                    spec,
                    f"stage {number + 1} must be 'e', one of {EXPANSIONS}, 'k', one of {KERNELS}, 'l', 1 to "
                    f"{DEPTHS[number]}, and 'se0' or 'se1'",
                )
        return MnasNet(tuple(known[token] for known, token in zip(_STAGE_OF, tokens, strict=True)))

    def format(self, arch: MnasNet) -> str:
        return "-".join(map(str, arch.stages))

    @property
    def size(self) -> int:
        return prod(map(len, _CHOICES))

    def all_specs(self) -> Iterator[str]:
        return map("-".join, product(*_STAGE_OF))

    def sample(self, rng: np.random.Generator) -> str:
        """Every setting of every stage is equally likely."""
        return "-".join(str(choices[int(rng.integers(len(choices)))]) for choices in _CHOICES)

    def neighbours(self, spec: str) -> list[str]:
        """Specs that differ in one of the four settings of one stage."""
        stages = self.parse(spec).stages
        return [
            self.format(MnasNet((*stages[:number], other, *stages[number + 1 :])))
            for number, stage in enumerate(stages)
            for other in _CHOICES[number]
            if _differences(stage, other) == 1
        ]

    def canonical(self, spec: str) -> str:
        """The spec without stray blanks: no two of them are the same network."""
        return self.format(self.parse(spec))

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        from archcast.datasets.accel_nasbench_module import AccelNetwork

        return AccelNetwork(self.parse(spec), num_classes, in_channels=self.input_shape[1])

    def stamp(self, specs: Sequence[str], num_classes: int = 10) -> GraphBatch:
        chains = [chain(self.parse(spec)) for spec in specs]
        return _stamper(num_classes).stamp(chains, [self.input_shape] * len(chains), self.graph_names(specs))

    def small(self) -> AccelNASBench:
        """The same networks on images of 64 x 64: a twelfth of the MACs."""
        return AccelNASBench((1, self.input_shape[1], SMALL_SIZE, SMALL_SIZE))


def chain(arch: MnasNet) -> Chain:
    """The layers of an architecture. Squeeze-excite keeps a quarter of the channels that enter the block."""
    blocks: list[InvertedResidual] = []
    channels = STEM_CHANNELS
    for stage, width, stride in zip(arch.stages, WIDTHS, STRIDES, strict=True):
        for number in range(stage.blocks):
            squeeze = max(1, channels // 4) if stage.squeeze_excite else 0
            step = stride if number == 0 else 1
            blocks.append(
                InvertedResidual(channels, width, stage.kernel, step, stage.expansion, squeeze, "Relu", "Sigmoid")
            )
            channels = width
    return Chain(STEM_CHANNELS, "Relu", tuple(blocks), HEAD_CHANNELS, 0, "Relu", DROPOUT)


def _differences(left: Stage, right: Stage) -> int:
    return sum(
        (
            left.expansion != right.expansion,
            left.kernel != right.kernel,
            left.blocks != right.blocks,
            left.squeeze_excite != right.squeeze_excite,
        )
    )


@lru_cache(8)
def _stamper(num_classes: int) -> ChainStamper:
    return ChainStamper(num_classes)
