"""What the two spaces of TransNAS-Bench-101 (Duan et al., CVPR 2021) share.

A network is a stem of two stride-2 convolutions (64 channels, a quarter of the resolution), four to six modules of two
blocks each, and the decoder of its task. The code of a module says what its first block does: 2 and 4 double the
channels, 3 and 4 halve the resolution.

Layers, decoders and start values are those of the authors' released code. Three things differ: sums are added one by
one instead of stacked; the nine tiles of a jigsaw run as one batch, so that in training batch norm sees them together;
and the classifier of scene has 63 outputs, as in the published tables of proxies, where the released configuration
selects 47. The discriminator that trains the generative decoders is no part of the network.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from archcast.datasets.space import A, SearchSpace
from archcast.datasets.stamping import Block, BlockBuilder, NodeTable
from archcast.datasets.transnas101_decoders import (
    DECODERS,
    LEAK,
    TILE_SIZE,
    TILES,
    WIDEST,
    Decoder,
    decoder_layers,
)
from archcast.errors import ConfigError, UnknownNameError
from archcast.graphs.graph import Node, Shape
from archcast.graphs.nodes import (
    attributed,
    batch_norm,
    conv,
    conv_transpose_node,
    gemm,
    global_average_pool,
    plain,
)

if TYPE_CHECKING:
    from torch import nn

BASE_CHANNELS = 64
BLOCKS_PER_MODULE = 2
STEM_DOWNSAMPLINGS = 2


def doubles_channels(code: str) -> bool:
    return code in "24"


def halves_resolution(code: str) -> bool:
    return code in "34"


class TransNasSpace(SearchSpace[A]):
    """Grammar-free part of both spaces.

    Args:
        input_shape: shape of the images; for the decoder "tiles" nine tiles of equal channels behind each other.
        decoder: kind of decoder, see `for_task`.
        base_channels: channels behind the stem; the benchmark has 64.
        blocks_per_module: the benchmark has 2.
    """

    default_input_shape: ClassVar[Shape] = (1, 3, 256, 256)
    classes: ClassVar[int] = 63

    def __init__(
        self,
        input_shape: Shape | None = None,
        *,
        decoder: Decoder = "pooled",
        base_channels: int = BASE_CHANNELS,
        blocks_per_module: int = BLOCKS_PER_MODULE,
    ) -> None:
        if input_shape is None and decoder == "tiles":
            input_shape = (1, TILES * 3, TILE_SIZE, TILE_SIZE)
        super().__init__(input_shape)
        if decoder == "tiles" and self.input_shape[1] % TILES:
            raise ConfigError(f"input_shape {self.input_shape} is not {TILES} tiles: give (1, {TILES * 3}, 64, 64)")
        self.decoder: Decoder = decoder
        self.base_channels = base_channels
        self.blocks_per_module = blocks_per_module

    def for_task(self, task: str) -> Self:
        """The space with the images and the decoder of `task`."""
        if task not in DECODERS:
            raise UnknownNameError(f"{self.name} has no task {task!r}; it has: {', '.join(DECODERS)}")
        return type(self)(decoder=DECODERS[task])

    def small(self) -> Self:
        """At most 64 x 64 pixels, a quarter of the channels, one block a module: about 1/500 of the MACs."""
        _, channels, height, width = self.input_shape
        return type(self)(
            (1, channels, min(height, 64), min(width, 64)),
            decoder=self.decoder,
            base_channels=BASE_CHANNELS // 4,
            blocks_per_module=1,
        )

    def __repr__(self) -> str:
        text = f"{type(self).__name__}(input_shape={self.input_shape}, decoder={self.decoder!r}"
        return f"{text}, base_channels={self.base_channels}, blocks_per_module={self.blocks_per_module})"

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        from archcast.datasets.transnas101_module import TransNasNetwork

        codes, cell = self.skeleton(spec)
        return TransNasNetwork(
            codes,
            cell,
            num_classes,
            in_channels=self.encoder_input[1],
            decoder=self.decoder,
            base_channels=self.base_channels,
            blocks_per_module=self.blocks_per_module,
        )

    @abstractmethod
    def skeleton(self, spec: str) -> tuple[str, tuple[int, ...] | None]:
        """Codes of the modules, and the operations of the cell, None for residual blocks.

        Raises:
            SpecError: `spec` does not belong to the space.
        """

    @property
    def encoder_input(self) -> Shape:
        """Shape of what the encoder sees: the image, or nine tiles as a batch."""
        batch, channels, *size = self.input_shape
        return (TILES, channels // TILES, *size) if self.decoder == "tiles" else (batch, channels, *size)

    @property
    def key(self) -> tuple[Any, ...]:
        """Everything besides the spec and the classes that decides a graph."""
        return self.input_shape, self.encoder_input, self.decoder, self.base_channels, self.blocks_per_module


class Frame:
    """Stem and decoders of the graphs of one space and number of classes.

    Args:
        key: `TransNasSpace.key`.
    """

    def __init__(self, key: tuple[Any, ...], num_classes: int) -> None:
        self.input_shape, self.encoder_input, self.decoder, self.base_channels, self.blocks_per_module = key
        self.num_classes = num_classes
        self.table = NodeTable()
        self.stem, self.stem_shape = self._stem()

    def steps(self, codes: str) -> Iterator[tuple[Shape, int, int]]:
        """For every block of every module: shape of its input, its output channels, its stride."""
        shape = self.stem_shape
        for code in codes:
            channels = shape[1] * (2 if doubles_channels(code) else 1)
            stride = 2 if halves_resolution(code) else 1
            for _ in range(self.blocks_per_module):
                yield shape, channels, stride
                shape = block_output(shape, channels, stride)
                stride = 1

    def output_shape(self, codes: str) -> Shape:
        """Shape of the features behind the last module."""
        shape, channels, stride = list(self.steps(codes))[-1]
        return block_output(shape, channels, stride)

    def _stem(self) -> tuple[Block, Shape]:
        block = BlockBuilder(self.table)
        image = block.add(plain("Input", self.input_shape))
        first = conv(self.encoder_input, self.base_channels // 2, 3, stride=2, padding=1)
        value = block.chain([first, batch_norm(first.shape)], image)
        value = block.chain(relu_conv_bn(first.shape, self.base_channels, 3, 2), value)
        return block.build(), block.shape(value)

    def head(self, codes: str) -> Block:
        """Decoder and output behind the modules `codes`."""
        shape = self.output_shape(codes)
        block = BlockBuilder(self.table, shape)
        if self.decoder in ("pooled", "tiles"):
            pooled = global_average_pool(shape)
            parts = TILES if self.decoder == "tiles" else 1
            block.chain([pooled, gemm((shape[0] // parts, shape[1] * parts), self.num_classes)])
        else:
            block.chain(self._dense(shape, STEM_DOWNSAMPLINGS + sum(map(halves_resolution, codes))))
        last = len(block.build().kinds) - 1
        block.add(plain("Output", block.shape(last)), last)
        return block.build()

    def _dense(self, shape: Shape, upsamplings: int) -> Iterator[Node]:
        for layer in decoder_layers(self.decoder, upsamplings, WIDEST * self.base_channels // BASE_CHANNELS):
            if layer.upsamples:
                node = _upsample(shape, layer.channels)
            else:
                node = conv(shape, layer.channels, 3, padding=1, bias=True)
            shape = node.shape
            yield from (node, batch_norm(shape), attributed("LeakyRelu", shape, alpha=LEAK))
        node = conv(shape, self.num_classes, 3, padding=1, bias=True)
        yield node
        if self.decoder == "generative":
            yield plain("Tanh", node.shape)


def block_output(shape: Shape, channels: int, stride: int) -> Shape:
    """What a 3x3 convolution with padding, or a 1x1 convolution, makes of `shape`."""
    return (shape[0], channels, *(-(-size // stride) for size in shape[2:]))


def relu_conv_bn(shape: Shape, channels: int, kernel: int, stride: int = 1) -> Sequence[Node]:
    convolution = conv(shape, channels, kernel, stride=stride, padding=kernel // 2)
    return [plain("Relu", shape), convolution, batch_norm(convolution.shape)]


def _upsample(shape: Shape, channels: int) -> Node:
    """3x3 transposed convolution with stride 2 that doubles the resolution exactly."""
    out = (shape[0], channels, *(2 * size for size in shape[2:]))
    return conv_transpose_node(
        shape, out, kernel=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1), groups=1, bias=True
    )
