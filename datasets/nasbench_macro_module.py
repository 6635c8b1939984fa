"""The NAS-Bench-Macro network as a PyTorch module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from archcast.datasets.nasbench_macro import EXPANSION_AND_KERNEL, HEAD_WIDTH, STAGES, STEM_CHANNELS


def conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels)]


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise k x k, project 1x1; with a shortcut where the shape stays the same."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int, kernel: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.body = nn.Sequential(
            *conv_bn(in_channels, wide, 1),
            nn.ReLU(inplace=True),
            *conv_bn(wide, wide, kernel, stride, groups=wide),
            nn.ReLU(inplace=True),
            *conv_bn(wide, out_channels, 1),
        )
        self.shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(x)
        return out + x if self.shortcut else out


def make_layer(choice: int, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if choice:
        return InvertedResidual(in_channels, out_channels, stride, *EXPANSION_AND_KERNEL[choice])
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class MacroNetwork(nn.Module):
    def __init__(
        self, choices: Sequence[int], num_classes: int = 10, in_channels: int = 3, stem_channels: int = STEM_CHANNELS
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(in_channels, stem_channels, 3), nn.ReLU(inplace=True))
        remaining = iter(choices)
        channels = stem_channels
        layers: list[nn.Module] = []
        for length in STAGES:
            layers.append(make_layer(next(remaining), channels, channels * 2, 2))
            channels *= 2
            layers += [make_layer(next(remaining), channels, channels, 1) for _ in range(length - 1)]
        self.layers = nn.Sequential(*layers)
        wide = stem_channels * HEAD_WIDTH
        self.head = nn.Sequential(
            *conv_bn(channels, wide, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.classifier = nn.Linear(wide, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.head(self.layers(self.stem(x))))
        return logits
