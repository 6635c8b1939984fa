"""The NAS-Bench-201 network and its variant with free channels, as PyTorch modules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from archcast.datasets.nasbench201 import CELLS_PER_STAGE, CHANNELS, EDGES


class ReluConvBn(nn.Sequential):
    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(out_channels),
        )


class Zero(nn.Module):
    """Cuts an edge: nothing flows forward or backward."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul(0.0)


def make_operation(name: str, in_channels: int, out_channels: int) -> nn.Module:
    """One of the five operations. A pool or a zero never changes the channels in the published spaces."""
    if name == "nor_conv_1x1":
        return ReluConvBn(in_channels, out_channels, 1)
    if name == "nor_conv_3x3":
        return ReluConvBn(in_channels, out_channels, 3)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    if name == "none":
        return Zero()
    if in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))


class FourPointCell(nn.Module):
    """Point j sums what the edges from earlier points bring; the last point is the output.

    Args:
        edges: the modules on the six edges, in the order of `EDGES`.
    """

    def __init__(self, edges: Iterable[nn.Module]) -> None:
        super().__init__()
        self.edges = nn.ModuleList(edges)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        points = [x]
        for point in range(1, 4):
            incoming = [(edge, source) for edge, (source, target) in enumerate(EDGES) if target == point]
            total = self.edges[incoming[0][0]](points[incoming[0][1]])
            for edge, source in incoming[1:]:
                total = total + self.edges[edge](points[source])
            points.append(total)
        return points[-1]


class CellModule(FourPointCell):
    def __init__(self, operations: Sequence[str], in_channels: int, out_channels: int) -> None:
        super().__init__(
            make_operation(operation, in_channels if source == 0 else out_channels, out_channels)
            for operation, (source, _) in zip(operations, EDGES, strict=True)
        )


class ReductionBlock(nn.Module):
    """Basic residual block of stride 2; the shortcut is average-pooled and projected."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            ReluConvBn(in_channels, out_channels, 3, stride=2), ReluConvBn(out_channels, out_channels, 3)
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(in_channels, out_channels, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        main = self.main(x)
        residual: torch.Tensor = self.shortcut(x) + main
        return residual


class CellNetwork(nn.Module):
    """Stem, a chain of cells and reduction blocks, BN-ReLU, global pooling, classifier.

    Args:
        operations: the six operations of the cell.
        stem: channels of the stem.
        layers: output channels of each layer, and whether it is a reduction block.
    """

    def __init__(
        self,
        operations: Sequence[str],
        stem: int,
        layers: Sequence[tuple[int, bool]],
        num_classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_channels, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem))
        blocks: list[nn.Module] = []
        channels = stem
        for width, reduces in layers:
            blocks.append(ReductionBlock(channels, width) if reduces else CellModule(operations, channels, width))
            channels = width
        self.layers = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.head(self.layers(self.stem(x))))
        return logits


class TinyNetwork(CellNetwork):
    """The NAS-Bench-201 network of a cell."""

    def __init__(
        self, operations: Sequence[str], num_classes: int = 10, in_channels: int = 3, cells: int = CELLS_PER_STAGE
    ) -> None:
        layers = []
        for stage, channels in enumerate(CHANNELS):
            layers += [(channels, True)] * (stage > 0) + [(channels, False)] * cells
        super().__init__(operations, CHANNELS[0], layers, num_classes, in_channels)
