"""The DARTS network as a PyTorch module."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from archcast.datasets.darts_stamping import STEM_MULTIPLIER, reductions

if TYPE_CHECKING:
    from archcast.datasets.darts import Cell, Genotype


def relu_conv_bn(in_channels: int, out_channels: int) -> nn.Sequential:
    """ReLU, 1x1 convolution, BN."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))


class FactorizedReduce(nn.Module):
    """Halves the resolution by two 1x1 convolutions of stride 2, the second one on the image moved by one pixel."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(in_channels, half, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(in_channels, half, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(x)
        out: torch.Tensor = self.bn(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], dim=1))
        return out


def depthwise_separable(channels: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    """ReLU, depthwise convolution, 1x1 convolution, BN."""
    padding = dilation * (kernel // 2)
    depthwise = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)
    return [nn.ReLU(), depthwise, nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)]


def separable(kernel: int) -> Callable[[int, int], nn.Module]:
    return lambda channels, stride: nn.Sequential(
        *depthwise_separable(channels, kernel, stride), *depthwise_separable(channels, kernel, 1)
    )


def dilated(kernel: int) -> Callable[[int, int], nn.Module]:
    return lambda channels, stride: nn.Sequential(*depthwise_separable(channels, kernel, stride, dilation=2))


def pooling(kind: Callable[[int], nn.Module]) -> Callable[[int, int], nn.Module]:
    return lambda _channels, stride: kind(stride)


def skip(channels: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)


def factorized_7x7(channels: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False),
        nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False),
        nn.BatchNorm2d(channels),
    )


MAKERS: dict[str, Callable[[int, int], nn.Module]] = {
    "max_pool_3x3": pooling(lambda stride: nn.MaxPool2d(3, stride, padding=1)),
    "avg_pool_3x3": pooling(lambda stride: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)),
    "skip_connect": skip,
    "sep_conv_3x3": separable(3),
    "sep_conv_5x5": separable(5),
    "sep_conv_7x7": separable(7),
    "dil_conv_3x3": dilated(3),
    "dil_conv_5x5": dilated(5),
    "conv_7x1_1x7": factorized_7x7,
}
"""Operation name -> its module for (channels, stride)."""


class CellModule(nn.Module):
    """Nodes sum two operations on earlier nodes; some nodes, concatenated, are the output."""

    def __init__(
        self, cell: Cell, before_last: int, last: int, channels: int, *, reduce: bool, after_reduction: bool
    ) -> None:
        super().__init__()
        adapt = FactorizedReduce if after_reduction else relu_conv_bn
        self.preprocess0 = adapt(before_last, channels)
        self.preprocess1 = relu_conv_bn(last, channels)
        self.nodes = cell.nodes
        self.concat = cell.concat
        self.operations = nn.ModuleList(
            MAKERS[operation](channels, 2 if reduce and source < 2 else 1)
            for node in cell.nodes
            for operation, source in node
        )

    def forward(self, before_last: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        states = [self.preprocess0(before_last), self.preprocess1(last)]
        for number, ((_, left), (_, right)) in enumerate(self.nodes):
            first = self.operations[2 * number](states[left])
            states.append(first + self.operations[2 * number + 1](states[right]))
        return torch.cat([states[state] for state in self.concat], dim=1)


def auxiliary_head(channels: int, num_classes: int) -> nn.Sequential:
    """The second classifier of the CIFAR network, for feature maps of 8 x 8."""
    return nn.Sequential(
        nn.ReLU(),
        nn.AvgPool2d(5, stride=3, count_include_pad=False),
        nn.Conv2d(channels, 128, 1, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.Conv2d(128, 768, 2, bias=False),
        nn.BatchNorm2d(768),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(768, num_classes),
    )


class Network(nn.Module):
    """The CIFAR network: a stem of 3 x `channels`, `layers` cells, two of them reductions, a linear classifier.

    Args:
        auxiliary: add the second classifier behind the second reduction; in training the forward pass then returns
            both outputs. Off by default: the network that is used does not have it.
    """

    def __init__(
        self,
        genotype: Genotype,
        channels: int,
        layers: int,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        before_last = last = STEM_MULTIPLIER * channels
        self.stem = nn.Sequential(nn.Conv2d(in_channels, last, 3, padding=1, bias=False), nn.BatchNorm2d(last))
        self.cells = nn.ModuleList()
        self.auxiliary_after = reductions(layers)[1]
        self.auxiliary: nn.Module | None = None
        after_reduction = False
        for layer in range(layers):
            reduce = layer in reductions(layers)
            channels *= 2 if reduce else 1
            cell = genotype.reduce if reduce else genotype.normal
            self.cells.append(
                CellModule(cell, before_last, last, channels, reduce=reduce, after_reduction=after_reduction)
            )
            before_last, last = last, channels * len(cell.concat)
            after_reduction = reduce
            if auxiliary and layer == self.auxiliary_after:
                self.auxiliary = auxiliary_head(last, num_classes)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        before_last = last = self.stem(x)
        second: torch.Tensor | None = None
        for layer, cell in enumerate(self.cells):
            before_last, last = last, cell(before_last, last)
            if self.training and self.auxiliary is not None and layer == self.auxiliary_after:
                second = self.auxiliary(last)
        logits: torch.Tensor = self.classifier(self.pool(last))
        return logits if second is None else (logits, second)
