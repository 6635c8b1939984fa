"""The AutoFormer vision transformer as a PyTorch module, and the layers that PiT shares with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

PATCH = 16
MAX_DISTANCE = 14
"""Relative positions further apart than this many patches share one embedding."""


def table(*shape: int) -> nn.Parameter:
    """A learnt table of positions or tokens."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))


class Distances(NamedTuple):
    """`[n, n]` numbers of the embeddings of vertical and horizontal distances; 0 where the class token takes part."""

    vertical: torch.Tensor
    horizontal: torch.Tensor


def token_distances(height: int, width: int) -> Distances:
    """Clipped distances between all tokens: the class token, then `height` x `width` patches row by row."""
    patches = torch.arange(height * width)

    def clipped(coordinate: torch.Tensor) -> torch.Tensor:
        distance = (coordinate[None, :] - coordinate[:, None]).clamp(-MAX_DISTANCE, MAX_DISTANCE)
        return functional.pad(distance + MAX_DISTANCE + 1, (1, 0, 1, 0))

    return Distances(clipped(patches // width), clipped(patches % width))


class RelativePosition(nn.Module):
    """`[n, n, width]` embeddings of the distances between tokens, the sum of a vertical and a horizontal one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vertical = table(2 * MAX_DISTANCE + 2, width)
        self.horizontal = table(2 * MAX_DISTANCE + 2, width)

    def forward(self, distances: Distances) -> torch.Tensor:
        return self.vertical[distances.vertical] + self.horizontal[distances.horizontal]


class Attention(nn.Module):
    """Multi-head self-attention on `[batch, n, channels]`; `relative` adds embeddings of distances to keys and values.

    softmax((q k^T + q r_k^T) / sqrt(head_width)) (v + r_v), Shaw et al. (2018) in two dimensions.
    """

    def __init__(self, channels: int, heads: int, head_width: int, *, relative: bool = False) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.qkv = nn.Linear(channels, 3 * heads * head_width)
        self.projection = nn.Linear(heads * head_width, channels)
        self.relative_keys = RelativePosition(head_width) if relative else None
        self.relative_values = RelativePosition(head_width) if relative else None

    def forward(self, x: torch.Tensor, distances: Distances | None = None) -> torch.Tensor:
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, self.head_width)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.relative_keys is None or self.relative_values is None or distances is None:
            mixed = functional.scaled_dot_product_attention(query, key, value)
        else:
            scores = query @ key.transpose(-2, -1) + per_token(query, self.relative_keys(distances).transpose(1, 2))
            weights = (scores * self.head_width**-0.5).softmax(dim=-1)
            mixed = weights @ value + per_token(weights, self.relative_values(distances))
        out: torch.Tensor = self.projection(mixed.transpose(1, 2).reshape(batch, tokens, -1))
        return out


def per_token(rows: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """`rows` [batch, heads, n, a], row i of each times matrix i of `matrices` [n, a, b]."""
    batch, heads, tokens, width = rows.shape
    product = rows.permute(2, 0, 1, 3).reshape(tokens, batch * heads, width) @ matrices
    return product.reshape(tokens, batch, heads, -1).permute(1, 2, 0, 3)


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(
        self, channels: int, heads: int, head_width: int, mlp_ratio: float, eps: float, *, relative: bool = False
    ) -> None:
        super().__init__()
        hidden = int(channels * mlp_ratio)
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.attention = Attention(channels, heads, head_width, relative=relative)
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))

    def forward(self, x: torch.Tensor, distances: Distances | None = None) -> torch.Tensor:
        x = x + self.attention(self.norm1(x), distances)
        out: torch.Tensor = x + self.mlp(self.norm2(x))
        return out


class Network(nn.Module):
    """Patches of 16 x 16, a class token, learnt positions, blocks, and a classifier on the mean of the patch tokens.

    Args:
        layers: (heads, MLP ratio) of each block.
        image: channels, height and width of the input.
        head_width: width of a head; the channels divided by the heads when left out.
        relative: whether attention sees relative positions.
        eps: epsilon of the layer norms.
    """

    def __init__(
        self,
        channels: int,
        layers: Sequence[tuple[int, float]],
        num_classes: int,
        image: tuple[int, int, int],
        *,
        head_width: int | None,
        relative: bool,
        eps: float,
    ) -> None:
        super().__init__()
        in_channels, height, width = image[0], image[1] // PATCH, image[2] // PATCH
        self.patches = nn.Conv2d(in_channels, channels, PATCH, PATCH)
        self.class_token = table(1, 1, channels)
        self.positions = table(1, 1 + height * width, channels)
        self.relative = relative
        distances = token_distances(height, width)
        self.register_buffer("vertical", distances.vertical, persistent=False)
        self.register_buffer("horizontal", distances.horizontal, persistent=False)
        self.blocks = nn.ModuleList(
            Block(channels, heads, head_width or channels // heads, ratio, eps, relative=relative)
            for heads, ratio in layers
        )
        self.norm = nn.LayerNorm(channels, eps=eps)
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], dim=1) + self.positions
        distances = Distances(self.get_buffer("vertical"), self.get_buffer("horizontal")) if self.relative else None
        for block in self.blocks:
            tokens = block(tokens, distances)
        logits: torch.Tensor = self.classifier(self.norm(tokens)[:, 1:].mean(dim=1))
        return logits
