"""The `mini-mixers` network as a PyTorch module. Tokens are `[B, H, W, C]` throughout."""

from __future__ import annotations

import torch
from torch import nn

from archcast.datasets.mini_mixers import Mixer
from archcast.datasets.mini_transformers_module import channel_mlp, make_stem
from archcast.graphs.graph import Shape


class TokenMLP(nn.Module):
    """The same MLP over the tokens of every channel."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(tokens, tokens), nn.GELU(), nn.Linear(tokens, tokens))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.mlp(x.flatten(1, 2).transpose(1, 2))
        return mixed.transpose(1, 2).reshape(x.shape)


class Depthwise(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels), nn.GELU()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(x.permute(0, 3, 1, 2))
        return out.permute(0, 2, 3, 1)


class PoolMinusToken(nn.Module):
    """Mean of the 3x3 neighbourhood minus the token itself."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pool(x.permute(0, 3, 1, 2))
        return pooled.permute(0, 2, 3, 1) - x


class SpatialGate(nn.Module):
    """One half of the projected channels, mixed over the tokens, gates the other half."""

    def __init__(self, tokens: int, channels: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU())
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Linear(tokens, tokens)
        self.project = nn.Linear(channels, channels)
        nn.init.normal_(self.mix.weight, std=1e-2)
        nn.init.ones_(self.mix.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.expand(x).chunk(2, dim=3)
        gate = self.mix(self.norm(gate).flatten(1, 2).transpose(1, 2)).transpose(1, 2).reshape(value.shape)
        out: torch.Tensor = self.project(value * gate)
        return out


class Shift(nn.Module):
    """A quarter of the channels moves by one token to each side, between two linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Linear(channels, channels), nn.GELU())
        self.project = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down, up, right, left = self.before(x).chunk(4, dim=3)
        down = torch.cat([down[:, :1], down[:, :-1]], dim=1)
        up = torch.cat([up[:, 1:], up[:, -1:]], dim=1)
        right = torch.cat([right[:, :, :1], right[:, :, :-1]], dim=2)
        left = torch.cat([left[:, :, 1:], left[:, :, -1:]], dim=2)
        out: torch.Tensor = self.project(torch.cat([down, up, right, left], dim=3))
        return out


def make_mixer(name: str, tokens: int, channels: int) -> nn.Module:
    if name.startswith("dw"):
        return Depthwise(channels, int(name[2:]))
    if name == "tok":
        return TokenMLP(tokens)
    if name == "gate":
        return SpatialGate(tokens, channels)
    return PoolMinusToken() if name == "pool" else Shift(channels)


class MixerNetwork(nn.Module):
    def __init__(self, arch: Mixer, input_shape: Shape, num_classes: int = 10) -> None:
        super().__init__()
        _, channels, height, width = input_shape
        tokens = (height // arch.patch) * (width // arch.patch)
        self.stem = make_stem("lin", channels, arch.width, arch.patch)
        self.mixers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(arch.width), make_mixer(name, tokens, arch.width)) for name in arch.blocks
        )
        self.mlps = nn.ModuleList(channel_mlp(arch.width, arch.ratio) for _ in arch.blocks)
        self.norm = nn.LayerNorm(arch.width)
        self.classifier = nn.Linear(arch.width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        for mixer, mlp in zip(self.mixers, self.mlps, strict=True):
            x = x + mixer(x)
            x = x + mlp(x)
        logits: torch.Tensor = self.classifier(self.norm(x).mean(dim=(1, 2)))
        return logits
