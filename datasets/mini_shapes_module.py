"""The `mini-shapes` network as a PyTorch module."""

from __future__ import annotations

import torch
from torch import nn

from archcast.datasets.mini_cells_module import conv_bn_relu
from archcast.datasets.mini_shapes import ConvShape


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.body(x)
        return out


class ConvNetwork(nn.Module):
    """Images are pooled to `size` x `size`, whatever their own size is."""

    def __init__(self, arch: ConvShape, size: int, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(size)]
        channels = in_channels
        for stage in arch.stages:
            for index in range(stage.depth):
                stride = 1 if index else stage.stride
                layer = conv_bn_relu(channels, stage.width, stage.kernel, stride)
                layers.append(Residual(layer) if arch.residual and stride == 1 and channels == stage.width else layer)
                channels = stage.width
        self.layers = nn.Sequential(*layers)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.pool(self.layers(x)))
        return logits
