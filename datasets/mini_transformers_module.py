"""The `mini-transformers` network as a PyTorch module, and the parts that `mini-mixers` shares."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from archcast.datasets.mini_cells_module import conv_bn_relu
from archcast.datasets.mini_transformers import Transformer
from archcast.graphs.graph import Shape


def make_stem(kind: str, in_channels: int, width: int, patch: int) -> nn.Sequential:
    """From images to a map of tokens `[B, width, H / patch, W / patch]`."""
    before: list[nn.Module] = [conv_bn_relu(in_channels, width // 2, 3)] if kind == "conv" else []
    return nn.Sequential(*before, nn.Conv2d(width // 2 if before else in_channels, width, patch, patch))


def channel_mlp(width: int, ratio: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, width * ratio), nn.GELU(), nn.Linear(width * ratio, width)
    )


def sine_positions(tokens: int, width: int) -> torch.Tensor:
    """`[1, tokens, width]`: sines and cosines of the position at wavelengths from 2 pi to 20,000 pi."""
    frequencies = 10_000 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(tokens)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=2).reshape(1, tokens, width)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value)
        out: torch.Tensor = self.project(attended.transpose(1, 2).reshape(batch, tokens, width))
        return out


class TransformerNetwork(nn.Module):
    def __init__(self, arch: Transformer, input_shape: Shape, num_classes: int = 10) -> None:
        super().__init__()
        _, channels, height, width = input_shape
        tokens = (height // arch.patch) * (width // arch.patch) + (arch.pool == "cls")
        self.stem = make_stem(arch.stem, channels, arch.width, arch.patch)
        self.class_token = nn.Parameter(0.02 * torch.randn(1, 1, arch.width)) if arch.pool == "cls" else None
        self.positions: torch.Tensor | None = None
        if arch.positions == "learnt":
            self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, arch.width))
        elif arch.positions == "sine":
            del self.positions
            self.register_buffer("positions", sine_positions(tokens, arch.width))
        self.attentions = nn.ModuleList(Attention(arch.width, arch.heads) for _ in range(arch.depth))
        self.mlps = nn.ModuleList(channel_mlp(arch.width, arch.ratio) for _ in range(arch.depth))
        self.norm = nn.LayerNorm(arch.width)
        self.classifier = nn.Linear(arch.width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        if self.positions is not None:
            x = x + self.positions
        for attention, mlp in zip(self.attentions, self.mlps, strict=True):
            x = x + attention(x)
            x = x + mlp(x)
        x = self.norm(x)
        logits: torch.Tensor = self.classifier(x.mean(dim=1) if self.class_token is None else x[:, 0])
        return logits
