"""What TransNAS-Bench-101 (Duan et al., CVPR 2021) puts behind its encoders: one kind of decoder per task.

The numbers are those of the authors' released training configurations. Layer plans are written once here; the PyTorch
modules and the stamped graphs are both built from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Decoder = Literal["pooled", "tiles", "segmentation", "generative"]
"""`pooled`: global pooling and a linear layer. `tiles`: the same on the features of nine image tiles, concatenated.
`segmentation`, `generative`: eight and fourteen convolutions back to the resolution of the image."""

DECODERS: Final[Mapping[str, Decoder]] = MappingProxyType(
    {
        "taskonomy-scene": "pooled",
        "taskonomy-object": "pooled",
        "taskonomy-room-layout": "pooled",
        "taskonomy-jigsaw": "tiles",
        "taskonomy-segmentation": "segmentation",
        "taskonomy-normal": "generative",
        "taskonomy-autoencoder": "generative",
    }
)
"""Task -> kind of its decoder."""

TILES: Final = 9
"""Tiles of a jigsaw puzzle."""

TILE_SIZE: Final = 64

WIDEST: Final = 1024
"""Channels of the first layer of a dense decoder."""

LEAK: Final = 0.2
"""Negative slope of the decoders' leaky ReLU."""


@dataclass(frozen=True)
class Layer:
    """3x3 convolution (transposed with stride 2 where it upsamples) with bias, batch norm and leaky ReLU."""

    channels: int
    upsamples: bool = False


def decoder_layers(decoder: Decoder, upsamplings: int, widest: int = WIDEST) -> tuple[Layer, ...]:
    """The layers of a dense decoder, without its last convolution to the channels of the target.

    Args:
        decoder: "segmentation" or "generative".
        upsamplings: how often the resolution doubles, 2 to 6.
        widest: channels of the first layer; all others scale with it.
    """
    return _segmentation(upsamplings, widest) if decoder == "segmentation" else _generative(upsamplings, widest)


def _segmentation(upsamplings: int, widest: int) -> tuple[Layer, ...]:
    """Five layers that halve the channels, the last of them upsampling, and one upsampling layer that keeps them."""
    halving = [Layer(widest >> step, upsamples=step > 6 - upsamplings) for step in range(1, 6)]
    return (Layer(widest), *halving, Layer(widest >> 5, upsamples=True))


def _generative(upsamplings: int, widest: int) -> tuple[Layer, ...]:
    """A layer, then pairs, the second of which upsamples wherever the resolution still has to grow."""
    plan = ((0, 1, 6), (1, 2, 5), (3, 4, 4), (4, 5, 3), (5, 6, 2), (5, 6, 1))
    layers = [Layer(widest)]
    for first, second, needed in plan:
        layers += [Layer(widest >> first), Layer(widest >> second, upsamples=upsamplings >= needed)]
    return tuple(layers)
