"""`mini-shapes`: plain and residual convolutional networks of many shapes, trained in seconds (archcast's own pool).

Everything but the topology varies: the resolution the images are pooled to, the number of stages, and per stage the
width, the depth, the kernel and the stride of its first layer. A layer is convolution, batch norm, ReLU; with `res`,
layers that keep their shape get a shortcut. Global average pooling and a linear classifier follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, product
from re import fullmatch
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archcast.datasets.space import SearchSpace
from archcast.graphs.graph import Shape

if TYPE_CHECKING:
    from torch import nn

RESOLUTIONS = (6, 9, 12)
"""In 12ths of the image: 6 halves height and width."""

WIDTHS = (8, 12, 16, 24, 32)
DEPTHS = (1, 2, 3)
KERNELS = (1, 3, 5)
STRIDES = (1, 2)
STAGES = (2, 3, 4)


@dataclass(frozen=True)
class Stage:
    """`depth` layers of `width` channels and `kernel` x `kernel` weights, the first with `stride`."""

    width: int
    depth: int
    kernel: int
    stride: int

    def __str__(self) -> str:
        return f"{self.width}x{self.depth}k{self.kernel}s{self.stride}"


ALL_STAGES = tuple(Stage(*numbers) for numbers in product(WIDTHS, DEPTHS, KERNELS, STRIDES))


@dataclass(frozen=True)
class ConvShape:
    resolution: int
    residual: bool
    stages: tuple[Stage, ...]


class MiniShapes(SearchSpace[ConvShape]):
    """Specs such as `r9-res:16x2k3s2,32x1k5s1`: resolution, `res` or `plain`, then width x depth k kernel s stride."""

    name: ClassVar[str] = "mini-shapes"
    example: ClassVar[str] = "r9-res:16x2k3s2,32x1k5s1"
    default_input_shape: ClassVar[Shape] = (1, 3, 12, 12)
    multiple: ClassVar[int] = 4

    def parse(self, spec: str) -> ConvShape:
        if not isinstance(spec, str):
            raise self.refuse(spec, f"a spec is text, not {type(spec).__name__}")
        head, _, tail = spec.partition(":")
        found = fullmatch(r"r([0-9]{1,3})-(res|plain)", head)
        if not found or int(found[1]) not in RESOLUTIONS:
            raise self.refuse(spec, f"it must start with r and one of {RESOLUTIONS}, then -res: or -plain:")
        stages = tuple(self._stage(spec, text) for text in tail.split(","))
        if len(stages) not in STAGES:
            raise self.refuse(spec, f"{len(stages)} stages; there are {STAGES[0]} to {STAGES[-1]}")
        arch = ConvShape(int(found[1]), found[2] == "res", stages)
        if self.format(arch) != spec:
            raise self.refuse(spec, "numbers are written without leading zeros")
        return arch

    def _stage(self, spec: str, text: str) -> Stage:
        found = fullmatch(r"([0-9]{1,3})x([0-9]{1,3})k([0-9]{1,3})s([0-9]{1,3})", text)
        stage = Stage(*map(int, found.groups())) if found else None
        if stage is None or (
            stage.width not in WIDTHS
            or stage.depth not in DEPTHS
            or stage.kernel not in KERNELS
            or stage.stride not in STRIDES
        ):
            raise self.refuse(
                spec,
                f"stage {text[:20]!r} must be WIDTHxDEPTHkKERNELsSTRIDE with width in {WIDTHS}, depth in {DEPTHS}, "
                f"kernel in {KERNELS}, stride in {STRIDES}",
            )
        return stage

    def format(self, arch: ConvShape) -> str:
        kind = "res" if arch.residual else "plain"
        return f"r{arch.resolution}-{kind}:{','.join(map(str, arch.stages))}"

    @property
    def size(self) -> int:
        return len(RESOLUTIONS) * 2 * sum(int(len(ALL_STAGES) ** count) for count in STAGES)

    def all_specs(self) -> Iterator[str]:
        for count in STAGES:
            for resolution, residual in product(RESOLUTIONS, (False, True)):
                for stages in product(ALL_STAGES, repeat=count):
                    yield self.format(ConvShape(resolution, residual, stages))

    def sample(self, rng: np.random.Generator) -> str:
        """A random spec; the number of stages is uniform, not the spec."""

        def pick(values: tuple[int, ...]) -> int:
            return values[int(rng.integers(len(values)))]

        stages = (Stage(pick(WIDTHS), pick(DEPTHS), pick(KERNELS), pick(STRIDES)) for _ in range(pick(STAGES)))
        return self.format(ConvShape(pick(RESOLUTIONS), bool(rng.integers(2)), tuple(stages)))

    def neighbours(self, spec: str) -> list[str]:
        """One number of one stage, the resolution or the shortcuts changed, or one stage more or less at the end."""
        arch = self.parse(spec)
        changed = [replace(arch, residual=not arch.residual)]
        changed += [replace(arch, resolution=other) for other in RESOLUTIONS if other != arch.resolution]
        fields = {"width": WIDTHS, "depth": DEPTHS, "kernel": KERNELS, "stride": STRIDES}
        for position, stage in enumerate(arch.stages):
            others = [replace(stage, **{key: value}) for key, values in fields.items() for value in values]
            for other in others:
                if other != stage:
                    stages = (*arch.stages[:position], other, *arch.stages[position + 1 :])
                    changed.append(replace(arch, stages=stages))
        if len(arch.stages) + 1 in STAGES:
            changed += [replace(arch, stages=(*arch.stages, last)) for last in ALL_STAGES]
        if len(arch.stages) - 1 in STAGES:
            changed.append(replace(arch, stages=arch.stages[:-1]))
        return [self.format(other) for other in changed]

    def canonical(self, spec: str) -> str:
        """The same layers in the fewest, deepest-first stages; `plain` where no layer could have a shortcut.

        A network too short for two stages keeps its last layer as a stage of its own.
        """
        arch = self.parse(spec)
        layers = [
            (stage.width, stage.kernel, stage.stride if first else 1)
            for stage in arch.stages
            for first in [True] + [False] * (stage.depth - 1)
        ]
        stages = _stages(layers)
        if len(stages) < STAGES[0]:
            stages = [*_stages(layers[:-1]), *_stages(layers[-1:])]
        widths = [0, *(width for width, _, _ in layers)]
        shortcut = any(
            width == before and stride == 1 for before, (width, _, stride) in zip(widths, layers, strict=False)
        )
        return self.format(ConvShape(arch.resolution, arch.residual and shortcut, tuple(stages)))

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        from archcast.datasets.mini_shapes_module import ConvNetwork

        size = self.input_shape[2] * self.parse(spec).resolution // RESOLUTIONS[-1]
        return ConvNetwork(self.parse(spec), size, num_classes, in_channels=self.input_shape[1])


def _stages(layers: list[tuple[int, int, int]]) -> list[Stage]:
    """Runs of equal layers as stages of at most the greatest depth; a strided layer starts a new one."""
    numbered, run = [], 0
    before: tuple[int, int] | None = None
    for width, kernel, stride in layers:
        run += stride > 1 or (width, kernel) != before
        before = (width, kernel)
        numbered.append((run, width, kernel, stride))
    stages = []
    for _, group in groupby(numbered, key=lambda layer: layer[0]):
        same = list(group)
        _, width, kernel, stride = same[0]
        for start in range(0, len(same), DEPTHS[-1]):
            depth = min(DEPTHS[-1], len(same) - start)
            stages.append(Stage(width, depth, kernel, 1 if start else stride))
    return stages
