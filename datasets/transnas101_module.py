"""The TransNAS-Bench-101 networks as PyTorch modules, built as in the authors' released code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from archcast.datasets.nasbench201 import EDGES
from archcast.datasets.nasbench201_module import FourPointCell, ReluConvBn, Zero
from archcast.datasets.transnas101 import (
    BASE_CHANNELS,
    BLOCKS_PER_MODULE,
    STEM_DOWNSAMPLINGS,
    doubles_channels,
    halves_resolution,
)
from archcast.datasets.transnas101_decoders import LEAK, TILES, WIDEST, Decoder, decoder_layers
from archcast.datasets.transnas101_micro import KERNELS, ZERO


class FactorizedReduction(nn.Module):
    """ReLU, two 1x1 convolutions of stride 2 on pixels shifted by one, concatenated, and BN."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.pad = nn.ConstantPad2d((0, 1, 0, 1), 0.0)
        self.even = nn.Conv2d(in_channels, out_channels // 2, 1, stride, bias=False)
        self.odd = nn.Conv2d(in_channels, out_channels - out_channels // 2, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(x)
        shifted = self.pad(x)
        out: torch.Tensor = self.norm(torch.cat([self.even(x), self.odd(shifted[:, :, 1:, 1:])], dim=1))
        return out


class ReducingZero(nn.Module):
    """Zeros of the reduced shape. The authors create them; here they hang on the input, so that the graph is whole."""

    def __init__(self, out_channels: int, stride: int) -> None:
        super().__init__()
        self.out_channels, self.stride = out_channels, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1, :: self.stride, :: self.stride].expand(-1, self.out_channels, -1, -1).mul(0.0)


def make_operation(operation: int, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """One of the four operations of a cell."""
    if operation in KERNELS:
        return ReluConvBn(in_channels, out_channels, KERNELS[operation], stride)
    keeps_shape = stride == 1 and in_channels == out_channels
    if operation == ZERO:
        return Zero() if keeps_shape else ReducingZero(out_channels, stride)
    return nn.Identity() if keeps_shape else FactorizedReduction(in_channels, out_channels, stride)


class TransNasCellModule(FourPointCell):
    def __init__(self, operations: Sequence[int], in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(
            make_operation(operation, in_channels, out_channels, stride)
            if source == 0
            else make_operation(operation, out_channels, out_channels, 1)
            for operation, (source, _) in zip(operations, EDGES, strict=True)
        )


class BasicBlock(nn.Module):
    """Residual block of two ReLU-conv3x3-BN; a 1x1 convolution with BN where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            ReluConvBn(in_channels, out_channels, 3, stride), ReluConvBn(out_channels, out_channels, 3)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        main = self.main(x)
        out: torch.Tensor = self.shortcut(x) + main
        return out


def make_dense_decoder(
    decoder: Decoder, in_channels: int, num_classes: int, upsamplings: int, widest: int
) -> nn.Sequential:
    """Convolutions back to the resolution of the image; `num_classes` are the channels of the target."""
    layers: list[nn.Module] = []
    for layer in decoder_layers(decoder, upsamplings, widest):
        layers += [
            nn.ConvTranspose2d(in_channels, layer.channels, 3, 2, 1, output_padding=1)
            if layer.upsamples
            else nn.Conv2d(in_channels, layer.channels, 3, padding=1),
            nn.BatchNorm2d(layer.channels),
            nn.LeakyReLU(LEAK),
        ]
        in_channels = layer.channels
    layers.append(nn.Conv2d(in_channels, num_classes, 3, padding=1))
    if decoder == "generative":
        layers.append(nn.Tanh())
    return nn.Sequential(*layers)


class TransNasNetwork(nn.Module):
    """Stem, modules, decoder.

    Args:
        codes: one digit a module (see `archcast.datasets.transnas101`).
        operations: the cell; None for residual blocks.
        num_classes: classes, or channels of the target.
        in_channels: of the image, or of one tile.
    """

    def __init__(
        self,
        codes: str,
        operations: Sequence[int] | None,
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        decoder: Decoder = "pooled",
        base_channels: int = BASE_CHANNELS,
        blocks_per_module: int = BLOCKS_PER_MODULE,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, base_channels // 2, 3, 2, 1, bias=False),
            nn.BatchNorm2d(base_channels // 2),
            ReluConvBn(base_channels // 2, base_channels, 3, 2),
        )
        blocks: list[nn.Module] = []
        channels = base_channels
        for code in codes:
            width = channels * 2 if doubles_channels(code) else channels
            stride = 2 if halves_resolution(code) else 1
            for _ in range(blocks_per_module):
                blocks.append(
                    BasicBlock(channels, width, stride)
                    if operations is None
                    else TransNasCellModule(operations, channels, width, stride)
                )
                channels, stride = width, 1
        self.layers = nn.Sequential(*blocks)
        self._initialise()
        self.dense: nn.Sequential | None = None
        if decoder in ("pooled", "tiles"):
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Linear(channels * (TILES if decoder == "tiles" else 1), num_classes)
        else:
            upsamplings = STEM_DOWNSAMPLINGS + sum(map(halves_resolution, codes))
            widest = WIDEST * base_channels // BASE_CHANNELS
            self.dense = make_dense_decoder(decoder, channels, num_classes, upsamplings, widest)

    def _initialise(self) -> None:
        """The encoder's convolutions as the authors start them; the decoder keeps PyTorch's default."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]`, for jigsaw `[B, 9 C, H, W]`: the nine tiles then run as a batch of `9 B` images."""
        features = self.layers(self.stem(x.reshape(-1, self.in_channels, *x.shape[2:])))
        if self.dense is not None:
            out: torch.Tensor = self.dense(features)
            return out
        logits: torch.Tensor = self.classifier(self.pool(features).reshape(-1, self.classifier.in_features))
        return logits
