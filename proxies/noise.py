"""Inputs drawn from noise that looks like images to a network."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

COLOUR = 0.5
"""How much of a channel is its own; the rest all channels share."""


def input_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """`shape` of noise with unit variance.

    Maps `[B, C, H, W]` get the spectrum of natural images, amplitude proportional to 1 / frequency (Field, 1987), and
    channels that resemble each other, as colours do. White noise leaves nothing to the larger kernels and the
    pooling layers; with 1/f noise what is measured agrees much better with what others measured on real images.
    All other inputs are standard normal.
    """
    noise = torch.randn(shape, generator=generator)
    if noise.dim() != 4 or min(shape[2:]) < 4:
        return noise
    vertical, horizontal = torch.fft.fftfreq(shape[2])[:, None], torch.fft.rfftfreq(shape[3])[None]
    frequency = (vertical**2 + horizontal**2).sqrt().clamp_min(1 / max(shape[2:]))
    noise = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency, s=shape[2:])
    shared = noise.mean(dim=1, keepdim=True)
    noise = shared + COLOUR * (noise - shared)
    return cast(Tensor, noise / noise.std())
