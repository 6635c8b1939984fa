"""A search space of one's own: small CNN/attention hybrids on the digits of scikit-learn, trained for real.

    archcast search --space examples/search_space.py --budget 20 --predictor none --report out/search.html

`space` and `evaluate` are all that a search needs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn

import archcast

EPOCHS, BATCH = 4, 64


def choices(choose: Callable[..., Any]) -> dict[str, Any]:
    """Depth decides how many blocks there are to choose."""
    blocks = [
        (
            choose(f"block{place}", ["conv3", "conv5", "depthwise", "attention"]),
            choose(f"residual{place}", [True, False]),
        )
        for place in range(choose("depth", [1, 2, 3]))
    ]
    return {"width": choose("width", [4, 8, 16]), "act": choose("act", ["relu", "silu"]), "blocks": blocks}


class Attention(nn.Module):
    """Every pixel looks at all others."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.flatten(2).transpose(1, 2)
        query, key, value = self.qkv(self.norm(rows)).chunk(3, dim=-1)
        mixed: torch.Tensor = self.out(nn.functional.scaled_dot_product_attention(query, key, value))
        return mixed.transpose(1, 2).reshape(x.shape)


class Block(nn.Module):
    """A layer with or without a shortcut around it."""

    def __init__(self, kind: str, width: int, act: str, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        if kind == "attention":
            self.layer: nn.Module = Attention(width)
            return
        kernel, groups = (5, 1) if kind == "conv5" else (3, width if kind == "depthwise" else 1)
        self.layer = nn.Sequential(
            nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=groups), nn.BatchNorm2d(width),
            nn.SiLU() if act == "silu" else nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)
        return x + out if self.residual else out


def build(config: dict[str, Any]) -> nn.Module:
    width = config["width"]
    blocks = [Block(kind, width, config["act"], residual) for kind, residual in config["blocks"]]
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10)
    )


space = archcast.ChoiceSpace(choices, build, input_shape=(1, 1, 8, 8), name="digits")


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """1,200 images to train on and 597 to test, and their labels."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    images = torch.as_tensor(data.images, dtype=torch.float32)[order, None] / 16
    labels = torch.as_tensor(data.target)[order]
    return images[:1200], labels[:1200], images[1200:], labels[1200:]


def evaluate(spec: str, epochs: int = EPOCHS, seed: int = 0) -> float:
    """Test accuracy in percent after a short training."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    network = space.network(spec)
    images, labels, test_images, test_labels = digits()
    steps = epochs * (len(images) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for step in range(steps):
        if step % (len(images) // BATCH) == 0:
            order = torch.randperm(len(images))
        rows = order[step % (len(images) // BATCH) * BATCH :][:BATCH]
        loss = nn.functional.cross_entropy(network(images[rows]), labels[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch
        optimiser.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        return 100 * float((network(test_images).argmax(dim=1) == test_labels).float().mean())
