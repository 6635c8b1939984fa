"""The pooling-based vision transformer as a PyTorch module."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from archcast.datasets.autoformer_module import Block, table

PATCH = 16
STRIDE = 8
EPS = 1e-6


class HeadPooling(nn.Module):
    """Halves the resolution by a depthwise 3x3 convolution that widens the patches; the class token is projected."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, groups=in_channels)
        self.token = nn.Linear(in_channels, out_channels)

    def forward(self, image: torch.Tensor, token: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.patches(image), self.token(token)


class Stage(nn.Module):
    """Transformer blocks on the class token and the patches of one resolution."""

    def __init__(self, depth: int, heads: int, width: int, mlp_ratio: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(heads * width, heads, width, mlp_ratio, EPS) for _ in range(depth))

    def forward(self, image: torch.Tensor, token: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.cat([token, image.flatten(2).transpose(1, 2)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens[:, 1:].transpose(1, 2).reshape(image.shape), tokens[:, :1]


class Network(nn.Module):
    """Overlapping patches of 16 x 16 every 8 pixels, three stages with pooling between, a classifier on the token.

    Args:
        base_dim: width of a head, in all stages.
        depths, heads: blocks and heads of each stage; the heads of a stage are a multiple of those before it.
        image: channels, height and width of the input.
    """

    def __init__(
        self,
        base_dim: int,
        mlp_ratio: float,
        depths: Sequence[int],
        heads: Sequence[int],
        num_classes: int,
        image: tuple[int, int, int],
    ) -> None:
        super().__init__()
        widths = [base_dim * count for count in heads]
        height, width = ((size - PATCH) // STRIDE + 1 for size in image[1:])
        self.patches = nn.Conv2d(image[0], widths[0], PATCH, STRIDE)
        self.positions = table(1, widths[0], height, width)
        self.class_token = table(1, 1, widths[0])
        self.stages = nn.ModuleList(
            Stage(depth, count, base_dim, mlp_ratio) for depth, count in zip(depths, heads, strict=True)
        )
        self.pools = nn.ModuleList(HeadPooling(*pair) for pair in pairwise(widths))
        self.norm = nn.LayerNorm(widths[-1], eps=EPS)
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image = self.patches(x) + self.positions
        token = self.class_token.expand(len(x), -1, -1)
        image, token = self.stages[0](image, token)
        for pool, stage in zip(self.pools, list(self.stages)[1:], strict=True):
            image, token = stage(*pool(image, token))
        logits: torch.Tensor = self.classifier(self.norm(token)[:, 0])
        return logits
