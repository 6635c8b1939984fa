"""Chains of inverted residual blocks as PyTorch modules."""

from __future__ import annotations

import torch
from torch import nn

from archcast.datasets.inverted_residual import Chain, InvertedResidual


def activation(name: str) -> nn.Module:
    """The layer of an op name: "Relu", "HardSwish", "Sigmoid" or "HardSigmoid"."""
    match name:
        case "Relu":
            return nn.ReLU(inplace=True)
        case "HardSwish":
            return nn.Hardswish(inplace=True)
        case "Sigmoid":
            return nn.Sigmoid()
        case _:
            return nn.Hardsigmoid()


def conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels)]


class SqueezeExcite(nn.Module):
    """Weighs every channel by a gate computed from the means of all channels."""

    def __init__(self, channels: int, squeeze: int, gate: str) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeeze, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeeze, channels, 1),
            activation(gate),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights: torch.Tensor = self.gate(x)
        return x * weights


class InvertedResidualBlock(nn.Module):
    """Expand 1x1, depthwise k x k, squeeze-excite, project 1x1; with a shortcut where the shape stays the same."""

    def __init__(self, settings: InvertedResidual) -> None:
        super().__init__()
        wide = settings.wide
        layers: list[nn.Module] = []
        if settings.expansion > 1:
            layers += [*conv_bn(settings.in_channels, wide, 1), activation(settings.activation)]
        layers += conv_bn(wide, wide, settings.kernel, settings.stride, groups=wide)
        layers.append(activation(settings.activation))
        if settings.squeeze:
            layers.append(SqueezeExcite(wide, settings.squeeze, settings.gate))
        self.body = nn.Sequential(*layers, *conv_bn(wide, settings.out_channels, 1))
        self.shortcut = settings.shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(x)
        return out + x if self.shortcut else out


class ChainNetwork(nn.Module):
    """A `Chain` with fresh weights."""

    def __init__(self, chain: Chain, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        last = chain.blocks[-1].out_channels
        self.stem = nn.Sequential(*conv_bn(in_channels, chain.stem, 3, stride=2), activation(chain.stem_activation))
        self.blocks = nn.Sequential(*map(InvertedResidualBlock, chain.blocks))
        head = [*conv_bn(last, chain.head, 1), activation(chain.head_activation), nn.AdaptiveAvgPool2d(1)]
        if chain.mix:
            head += [nn.Conv2d(chain.head, chain.mix, 1, bias=False), activation(chain.head_activation)]
        self.head = nn.Sequential(*head, nn.Flatten(), nn.Dropout(chain.dropout))
        self.classifier = nn.Linear(chain.mix or chain.head, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.head(self.blocks(self.stem(x))))
        return logits
