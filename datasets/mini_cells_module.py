"""The `mini-cells` network as a PyTorch module."""

from __future__ import annotations

import torch
from torch import nn

from archcast.datasets.mini_cells import Cell

WIDTHS = (16, 24)
"""Channels of the two cells."""


def conv_bn_relu(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def patches(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 2, 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def separable(channels: int, kernel: int) -> nn.Sequential:
    depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
    return nn.Sequential(depthwise, *conv_bn_relu(channels, channels, 1))


def make_operation(name: str, channels: int) -> nn.Module:
    """The operation of an edge; `zero` edges are left out before."""
    if name == "skip":
        return nn.Identity()
    kernel = int(name[-1])
    if name == "avg3":
        return nn.AvgPool2d(kernel, 1, kernel // 2, count_include_pad=False)
    if name == "max3":
        return nn.MaxPool2d(kernel, 1, kernel // 2)
    return separable(channels, kernel) if name.startswith("dw") else conv_bn_relu(channels, channels, kernel)


class CellBlock(nn.Module):
    """Nodes add up their live edges; the live nodes are concatenated and projected to `channels`."""

    def __init__(self, cell: Cell, channels: int) -> None:
        super().__init__()
        self.nodes = cell.live()
        self.sources = {
            node: [i for i, op in enumerate(cell.edges[node - 1]) if op != "zero" and i in (0, *self.nodes)]
            for node in self.nodes
        }
        self.edges = nn.ModuleDict(
            {
                f"{source}_{node}": make_operation(cell.edges[node - 1][source], channels)
                for node in self.nodes
                for source in self.sources[node]
            }
        )
        self.project = conv_bn_relu(channels * len(self.nodes), channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {0: x}
        for node in self.nodes:
            first, *others = (self.edges[f"{source}_{node}"](values[source]) for source in self.sources[node])
            for other in others:
                first = first + other
            values[node] = first
        outputs = [values[node] for node in self.nodes]
        out: torch.Tensor = self.project(torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0])
        return out


class CellNetwork(nn.Module):
    def __init__(self, cell: Cell, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for width in WIDTHS:
            layers += [nn.MaxPool2d(2), conv_bn_relu(channels, width, 1)] if layers else [patches(channels, width)]
            layers.append(CellBlock(cell, width))
            channels = width
        self.layers = nn.Sequential(*layers)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.pool(self.layers(x)))
        return logits
