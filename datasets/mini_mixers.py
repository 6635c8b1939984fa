"""`mini-mixers`: small attention-free networks of mixed token mixers, trained in seconds (archcast's own pool).

Patches become a map of tokens; every block mixes tokens in its own way, then channels by an MLP, each behind a layer
norm and with a shortcut. The token mixers are those of MLP-Mixer (Tolstikhin et al., NeurIPS 2021), ConvMixer
(Trockman and Kolter, 2022), PoolFormer (Yu et al., CVPR 2022), gMLP (Liu et al., NeurIPS 2021) and S2-MLP (Yu et al.,
WACV 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from re import fullmatch
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archcast.datasets.space import SearchSpace
from archcast.graphs.graph import Shape

if TYPE_CHECKING:
    from torch import nn

PATCHES = (2, 3, 4)
WIDTHS = (16, 24, 32, 48)
RATIOS = (1, 2, 4)
MIXERS = ("tok", "dw3", "dw5", "dw7", "pool", "gate", "shift")
"""Token MLP, depthwise convolutions, average pooling minus the token, spatial gating, shifts to four sides."""

DEPTHS = (1, 2, 3, 4, 5, 6)


@dataclass(frozen=True)
class Mixer:
    """Size of a patch, width of tokens, width of the channel MLPs over that, the token mixer of each block."""

    patch: int
    width: int
    ratio: int
    blocks: tuple[str, ...]


class MiniMixers(SearchSpace[Mixer]):
    """Specs such as `p4-w32-m2:tok,dw5,pool`: patch, width, MLP ratio, then one to six token mixers."""

    name: ClassVar[str] = "mini-mixers"
    example: ClassVar[str] = "p4-w32-m2:tok,dw5,pool"
    default_input_shape: ClassVar[Shape] = (1, 3, 12, 12)
    multiple: ClassVar[int] = 12

    def parse(self, spec: str) -> Mixer:
        if not isinstance(spec, str):
            raise self.refuse(spec, f"a spec is text, not {type(spec).__name__}")
        head, _, tail = spec.partition(":")
        found = fullmatch(r"p([1-9][0-9]?)-w([1-9][0-9]?)-m([1-9])", head)
        if not found:
            raise self.refuse(spec, "it must start with patch, width and MLP ratio")
        patch, width, ratio = map(int, found.groups())
        if patch not in PATCHES or width not in WIDTHS or ratio not in RATIOS:
            raise self.refuse(spec, f"patch must be in {PATCHES}, width in {WIDTHS}, MLP ratio in {RATIOS}")
        blocks = tuple(tail.split(","))
        unknown = [block for block in blocks if block not in MIXERS]
        if unknown or len(blocks) not in DEPTHS:
            raise self.refuse(spec, f"give {DEPTHS[0]} to {DEPTHS[-1]} blocks out of {', '.join(MIXERS)}")
        return Mixer(patch, width, ratio, blocks)

    def format(self, arch: Mixer) -> str:
        return f"p{arch.patch}-w{arch.width}-m{arch.ratio}:{','.join(arch.blocks)}"

    @property
    def size(self) -> int:
        return len(PATCHES) * len(WIDTHS) * len(RATIOS) * sum(int(len(MIXERS) ** depth) for depth in DEPTHS)

    def all_specs(self) -> Iterator[str]:
        for depth in DEPTHS:
            for patch, width, ratio in product(PATCHES, WIDTHS, RATIOS):
                for blocks in product(MIXERS, repeat=depth):
                    yield self.format(Mixer(patch, width, ratio, blocks))

    def sample(self, rng: np.random.Generator) -> str:
        """A random spec; the number of blocks is uniform, not the spec."""
        patch, width, ratio, depth = (
            values[int(rng.integers(len(values)))] for values in (PATCHES, WIDTHS, RATIOS, DEPTHS)
        )
        blocks = tuple(MIXERS[k] for k in rng.integers(len(MIXERS), size=depth))
        return self.format(Mixer(patch, width, ratio, blocks))

    def neighbours(self, spec: str) -> list[str]:
        """Another patch, width, ratio or token mixer, or one block more or less at the end."""
        arch = self.parse(spec)
        changed = [replace(arch, patch=value) for value in PATCHES if value != arch.patch]
        changed += [replace(arch, width=value) for value in WIDTHS if value != arch.width]
        changed += [replace(arch, ratio=value) for value in RATIOS if value != arch.ratio]
        blocks = arch.blocks
        orders = [
            (*blocks[:i], other, *blocks[i + 1 :]) for i in range(len(blocks)) for other in MIXERS if other != blocks[i]
        ]
        if len(blocks) < DEPTHS[-1]:
            orders += [(*blocks, other) for other in MIXERS]
        if len(blocks) > DEPTHS[0]:
            orders.append(blocks[:-1])
        return [self.format(other) for other in (*changed, *(replace(arch, blocks=order) for order in orders))]

    def canonical(self, spec: str) -> str:
        """The spec itself: no two name the same network."""
        return self.format(self.parse(spec))

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        from archcast.datasets.mini_mixers_module import MixerNetwork

        return MixerNetwork(self.parse(spec), self.input_shape, num_classes)
