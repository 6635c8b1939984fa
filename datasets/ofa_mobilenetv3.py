"""Sub-networks of once-for-all supernets (Cai et al., ICLR 2020): MobileNetV3 with elastic depth, kernels and widths.

A first convolution of stride 2, a first block, five stages of two to four inverted residual blocks, a 1x1 convolution
(the final expand layer), a global pool, another 1x1 convolution (the feature mix layer) and a linear classifier. Every
block has its own kernel and expansion, and every network its own image size.

`OFAMobileNetV3` has the widths of the official supernet `ofa_mbv3_d234_e346_k357_w1.0`, which CompOFA (Sahni et al.,
ICLR 2021) kept. `MemoryOptimizedOFA` has those of MOOFA (Girard et al., 2024), called MC_OFA in its tables: many
channels at low resolutions, so that all layers need about the same memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archcast.datasets.inverted_residual import Chain, ChainStamper, InvertedResidual
from archcast.datasets.space import SearchSpace
from archcast.graphs.graph import GraphBatch, Shape

if TYPE_CHECKING:
    from torch import nn

IMAGE_SIZES = tuple(range(128, 225, 4))
"""Sizes the supernets were trained for; the measured sub-networks have 128, 160, 192 or 224."""

REFERENCE_SIZE = 224
STAGES = 5
DEPTHS = (2, 3, 4)
KERNELS = (3, 5, 7)
SMALL_SIZE = 64
DROPOUT = 0.1


@dataclass(frozen=True)
class Supernet:
    """What all sub-networks of one supernet share.

    Attributes:
        stem: output channels of the first convolution.
        first: output channels of the first block, which neither widens nor changes the resolution.
        widths: output channels of the five stages.
        strides: of the first block of each stage.
        activations: of each stage.
        squeeze_excite: whether the blocks of each stage have it.
        expansions: what the blocks may choose from.
        head: channels of the final expand layer.
        mix: channels of the feature mix layer.
    """

    stem: int
    first: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    activations: tuple[str, ...]
    squeeze_excite: tuple[bool, ...]
    expansions: tuple[int, ...]
    head: int
    mix: int


@dataclass(frozen=True)
class SubNetwork:
    """A sub-network.

    Attributes:
        image_size: height and width of its images.
        stages: for every stage the (kernel, expansion) of its blocks.
    """

    image_size: int
    stages: tuple[tuple[tuple[int, int], ...], ...]


class OFAMobileNetV3(SearchSpace[SubNetwork]):
    """Specs look like `r160-d23222-k35377735353-e33463434643`.

    `r` is the image size (a multiple of 4 from 128 to 224), `d` the blocks of each stage (2 to 4), `k` the kernels
    (3, 5, 7) and `e` the expansions (3, 4, 6) of the blocks that are there, stage after stage. Elsewhere sub-networks
    are often given by 20 kernels and 20 expansions; those beyond the depth of a stage are no part of the network, so
    they are no part of its spec.

    Args:
        input_shape: shape of the images of the networks of size 224; those of other networks are smaller in proportion.
    """

    name: ClassVar[str] = "ofa-mobilenetv3"
    example: ClassVar[str] = "r224-d23243-k35377355375377-e34634464334666"
    default_input_shape: ClassVar[Shape] = (1, 3, REFERENCE_SIZE, REFERENCE_SIZE)
    multiple: ClassVar[int] = 32
    classes: ClassVar[int] = 1000
    supernet: ClassVar[Supernet] = Supernet(
        stem=16,
        first=16,
        widths=(24, 40, 80, 112, 160),
        strides=(2, 2, 2, 1, 2),
        activations=("Relu", "Relu", "HardSwish", "HardSwish", "HardSwish"),
        squeeze_excite=(False, True, False, True, True),
        expansions=(3, 4, 6),
        head=960,
        mix=1280,
    )

    def parse(self, spec: str) -> SubNetwork:
        if not isinstance(spec, str):
            raise self.refuse(spec, f"a spec is text, not {type(spec).__name__}")
        parts = spec.strip().split("-")
        if len(parts) != 4 or [part[:1] for part in parts] != ["r", "d", "k", "e"]:
            raise self.refuse(spec, "it must be r, d, k and e with their digits, joined by '-'")
        size, depths, kernels, expansions = (part[1:] for part in parts)
        if size not in _SIZE_OF:
            raise self.refuse(spec, f"r must be a multiple of 4 from {IMAGE_SIZES[0]} to {IMAGE_SIZES[-1]}")
        if len(depths) != STAGES or not _made_of(depths, DEPTHS):
            raise self.refuse(spec, f"d must be {STAGES} digits out of {DEPTHS}")
        blocks = sum(map(int, depths))
        for letter, digits, allowed in (("k", kernels, KERNELS), ("e", expansions, self.supernet.expansions)):
            if len(digits) != blocks or not _made_of(digits, allowed):
                raise self.refuse(spec, f"{letter} must be one digit out of {allowed} for each of the {blocks} blocks")
        settings = iter(zip(map(int, kernels), map(int, expansions), strict=True))
        return SubNetwork(_SIZE_OF[size], tuple(tuple(next(settings) for _ in range(int(depth))) for depth in depths))

    def format(self, arch: SubNetwork) -> str:
        blocks = [block for stage in arch.stages for block in stage]
        depths, kernels, expansions = (
            "".join(map(str, numbers))
            for numbers in (map(len, arch.stages), (k for k, _ in blocks), (e for _, e in blocks))
        )
        return f"r{arch.image_size}-d{depths}-k{kernels}-e{expansions}"

    @property
    def size(self) -> int:
        block = len(KERNELS) * len(self.supernet.expansions)
        return len(IMAGE_SIZES) * int(sum(block**depth for depth in DEPTHS) ** STAGES)

    def all_specs(self) -> Iterator[str]:
        block = list(product(KERNELS, self.supernet.expansions))
        stage = [blocks for depth in DEPTHS for blocks in product(block, repeat=depth)]
        return (
            self.format(SubNetwork(size, stages)) for size in IMAGE_SIZES for stages in product(stage, repeat=STAGES)
        )

    def sample(self, rng: np.random.Generator) -> str:
        """Every image size, depth, kernel and expansion is equally likely, as in the training of the supernets."""
        size = IMAGE_SIZES[int(rng.integers(len(IMAGE_SIZES)))]
        depths = [DEPTHS[index] for index in rng.integers(len(DEPTHS), size=STAGES)]
        block = list(product(KERNELS, self.supernet.expansions))
        stages = (tuple(block[index] for index in rng.integers(len(block), size=depth)) for depth in depths)
        return self.format(SubNetwork(size, tuple(stages)))

    def neighbours(self, spec: str) -> list[str]:
        """Specs with another image size, kernel or expansion, or with one block more or less at the end of a stage."""
        arch = self.parse(spec)
        found = [SubNetwork(size, arch.stages) for size in IMAGE_SIZES if size != arch.image_size]
        for number, stage in enumerate(arch.stages):
            found += [
                SubNetwork(arch.image_size, (*arch.stages[:number], other, *arch.stages[number + 1 :]))
                for other in self._stage_neighbours(stage)
            ]
        return [self.format(other) for other in found]

    def _stage_neighbours(self, stage: tuple[tuple[int, int], ...]) -> Iterator[tuple[tuple[int, int], ...]]:
        expansions = self.supernet.expansions
        for position, (kernel, expansion) in enumerate(stage):
            changed = [(other, expansion) for other in KERNELS if other != kernel]
            changed += [(kernel, other) for other in expansions if other != expansion]
            for block in changed:
                yield (*stage[:position], block, *stage[position + 1 :])
        if len(stage) > DEPTHS[0]:
            yield stage[:-1]
        if len(stage) < DEPTHS[-1]:
            for block in product(KERNELS, expansions):
                yield (*stage, block)

    def canonical(self, spec: str) -> str:
        """The spec without stray blanks: no two of them are the same network on the same images."""
        return self.format(self.parse(spec))

    def input_shape_of(self, spec: str) -> Shape:
        """Shape of the images of one network: `input_shape` scaled by its image size over 224, rounded."""
        return self._scaled(self.parse(spec).image_size)

    def _scaled(self, image_size: int) -> Shape:
        channels, *sizes = self.input_shape[1:]
        return (1, channels, *((2 * image_size * size + REFERENCE_SIZE) // (2 * REFERENCE_SIZE) for size in sizes))

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        from archcast.datasets.ofa_mobilenetv3_module import OFANetwork

        return OFANetwork(self.supernet, self.parse(spec), num_classes, in_channels=self.input_shape[1])

    def stamp(self, specs: Sequence[str], num_classes: int = 10) -> GraphBatch:
        """The graphs that capturing `module(spec)` on images of `input_shape_of(spec)` would give."""
        archs = [self.parse(spec) for spec in specs]
        images = [self._scaled(arch.image_size) for arch in archs]
        chains = [chain(self.supernet, arch) for arch in archs]
        return _stamper(num_classes).stamp(chains, images, self.graph_names(specs))

    def small(self) -> OFAMobileNetV3:
        """The same networks on images 3.5 times smaller (224 -> 64, 128 -> 37): a twelfth of the MACs."""
        return type(self)((1, self.input_shape[1], SMALL_SIZE, SMALL_SIZE))


class MemoryOptimizedOFA(OFAMobileNetV3):
    """The sub-networks of MOOFA, whose expansions are 2, 3 and 4. The grammar is that of `OFAMobileNetV3`.

    The widths are those of the code that belongs to the published results; its first version had 368, 392 and 400 in
    place of the last 360, 384 and 392.
    """

    name: ClassVar[str] = "ofa-mobilenetv3-mcofa"
    example: ClassVar[str] = "r224-d23243-k35377355375377-e24324432334222"
    supernet: ClassVar[Supernet] = Supernet(
        stem=3,
        first=8,
        widths=(24, 96, 288, 360, 384),
        strides=(2, 2, 2, 2, 2),
        activations=("HardSwish", "HardSwish", "HardSwish", "Relu", "HardSwish"),
        squeeze_excite=(False, True, True, False, True),
        expansions=(2, 3, 4),
        head=392,
        mix=392,
    )


def chain(supernet: Supernet, arch: SubNetwork) -> Chain:
    """The layers of a sub-network. Squeeze-excite keeps a quarter of the depthwise channels, a multiple of 8."""
    blocks = [InvertedResidual(supernet.stem, supernet.first, 3, 1, 1, 0, "Relu", "HardSigmoid")]
    channels = supernet.first
    for number, stage in enumerate(arch.stages):
        width = supernet.widths[number]
        for position, (kernel, expansion) in enumerate(stage):
            stride = supernet.strides[number] if position == 0 else 1
            squeeze = divisible(channels * expansion // 4) if supernet.squeeze_excite[number] else 0
            activation = supernet.activations[number]
            blocks.append(
                InvertedResidual(channels, width, kernel, stride, expansion, squeeze, activation, "HardSigmoid")
            )
            channels = width
    return Chain(supernet.stem, "HardSwish", tuple(blocks), supernet.head, supernet.mix, "HardSwish", DROPOUT)


def divisible(channels: int, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, halves up; at least one, and no less than nine tenths of it."""
    nearest = max(divisor, (channels + divisor // 2) // divisor * divisor)
    return nearest if 10 * nearest >= 9 * channels else nearest + divisor


def _made_of(digits: str, allowed: tuple[int, ...]) -> bool:
    return not digits.strip("".join(map(str, allowed)))


_SIZE_OF = {str(size): size for size in IMAGE_SIZES}


@lru_cache(8)
def _stamper(num_classes: int) -> ChainStamper:
    return ChainStamper(num_classes)
