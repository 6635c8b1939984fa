"""NAS-Bench-BERT (Serianni and Kalita, "Training-free neural architecture search for RNNs and transformers", 2023).

A part of the FlexiBERT space (Tuli et al., 2022): small BERTs whose layers differ in the operation that mixes tokens,
its heads and the feed-forward network. They were pre-trained as ELECTRA discriminators and fine-tuned on GLUE.

`NASBenchBert` builds what a spec says, as the authors' PyTorch model does. Their released training code reads something
else: it compares the names of operations by identity (`is`), which does not hold for text that was read from a file,
so that every layer is scaled dot-product attention, and the first feed-forward layer is four times the hidden size
whatever the spec says. `NASBenchBertTrained` builds those networks. The labels side with it: given hidden size, depth,
heads and stacks, neither the operations nor the width of single feed-forward layers explain the mean score or the
training time (|t| of every such coefficient at most 1 in linear regressions on all 500).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archcast.datasets.space import SearchSpace
from archcast.errors import ConfigError
from archcast.graphs.graph import Shape

if TYPE_CHECKING:
    from torch import nn

HIDDEN_SIZES = (128, 256)
DEPTHS = (2, 4)
OPERATIONS = ("sdp", "wma", "dft", "dct", "dsc5", "dsc9")
"""Self-attention with scaled dot products or weighted multiplicative, discrete Fourier or cosine transform, dynamic
span-based convolution with kernel 5 or 9."""

HEADS = (2, 4)
WIDTHS = (512, 1024)
STACKS = (1, 3)
MAX_TOKENS = 512


@dataclass(frozen=True)
class Layer:
    """Operation, number of heads, width of the feed-forward network and number of its hidden layers."""

    operation: str
    heads: int
    width: int
    stacks: int

    def __str__(self) -> str:
        return f"{self.operation}.{self.heads}.{self.width}x{self.stacks}"


LAYERS = tuple(Layer(*choice) for choice in product(OPERATIONS, HEADS, WIDTHS, STACKS))
_BY_NAME = {str(layer): layer for layer in LAYERS}


@dataclass(frozen=True)
class Bert:
    """Hidden size and layers."""

    hidden_size: int
    layers: tuple[Layer, ...]


class NASBenchBert(SearchSpace[Bert]):
    """Specs are the hidden size and, layer by layer, operation.heads.widthxstacks: `256:wma.4.1024x3,dct.2.512x1`.

    Args:
        input_shape: `(1, tokens)`, tokens a multiple of 8, at most 512; (1, 128) when left out.
    """

    name: ClassVar[str] = "nas-bench-bert"
    example: ClassVar[str] = "256:wma.4.1024x3,dct.2.512x3,sdp.4.512x3,dsc5.4.1024x1"
    default_input_shape: ClassVar[Shape] = (1, 128)
    classes: ClassVar[int] = 2

    as_trained: ClassVar[bool] = False

    def __init__(self, input_shape: Shape | None = None) -> None:
        shape = self.default_input_shape if input_shape is None else tuple(input_shape)
        if len(shape) != 2 or shape[0] != 1 or not 0 < shape[1] <= MAX_TOKENS or shape[1] % self.multiple:
            raise ConfigError(
                f"input_shape {shape} does not suit {self.name}: give (1, tokens), tokens multiples of {self.multiple} "
                f"up to {MAX_TOKENS}, for example {self.default_input_shape}"
            )
        self.input_shape: Shape = shape

    def parse(self, spec: str) -> Bert:
        return self.read(spec, _parse_cached)

    def format(self, arch: Bert) -> str:
        return f"{arch.hidden_size}:" + ",".join(map(str, arch.layers))

    @property
    def size(self) -> int:
        return len(HIDDEN_SIZES) * sum(int(len(LAYERS) ** depth) for depth in DEPTHS)

    def all_specs(self) -> Iterator[str]:
        for hidden_size, depth in product(HIDDEN_SIZES, DEPTHS):
            for layers in product(LAYERS, repeat=depth):
                yield self.format(Bert(hidden_size, layers))

    def sample(self, rng: np.random.Generator) -> str:
        """Hidden size, depth, and each layer drawn uniformly."""
        hidden_size, depth = int(rng.choice(HIDDEN_SIZES)), int(rng.choice(DEPTHS))
        return self.format(Bert(hidden_size, tuple(LAYERS[int(i)] for i in rng.integers(len(LAYERS), size=depth))))

    def neighbours(self, spec: str) -> list[str]:
        """Another hidden size, one other choice in one layer, or two last layers more or less."""
        bert = self.parse(spec)
        found = [Bert(size, bert.layers) for size in HIDDEN_SIZES if size != bert.hidden_size]
        for index, layer in enumerate(bert.layers):
            others = [replace(layer, operation=other) for other in OPERATIONS if other != layer.operation]
            others += [replace(layer, heads=other) for other in HEADS if other != layer.heads]
            others += [replace(layer, width=other) for other in WIDTHS if other != layer.width]
            others += [replace(layer, stacks=other) for other in STACKS if other != layer.stacks]
            found += [
                Bert(bert.hidden_size, (*bert.layers[:index], other, *bert.layers[index + 1 :])) for other in others
            ]
        if len(bert.layers) == max(DEPTHS):
            found.append(Bert(bert.hidden_size, bert.layers[:-2]))
        else:
            found += [Bert(bert.hidden_size, (*bert.layers, *more)) for more in product(LAYERS, repeat=2)]
        return [self.format(other) for other in found]

    def canonical(self, spec: str) -> str:
        """The spec itself: no two name the same network."""
        return self.format(self.parse(spec))

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        from archcast.datasets.nas_bench_bert_module import Network

        bert = self.parse(spec)
        return Network(bert.hidden_size, bert.layers, num_classes, as_trained=self.as_trained)

    def small(self) -> NASBenchBert:
        """The same networks on 32 tokens instead of 128."""
        return type(self)((1, 32))


class NASBenchBertTrained(NASBenchBert):
    """The networks that the authors' released training code makes of the specs (see the top of this file)."""

    name: ClassVar[str] = "nas-bench-bert-trained"
    as_trained: ClassVar[bool] = True

    def canonical(self, spec: str) -> str:
        """Every operation `sdp`; 512 for a width that no layer has."""
        bert = self.parse(spec)
        layers = tuple(
            Layer(OPERATIONS[0], layer.heads, layer.width if layer.stacks > 1 else WIDTHS[0], layer.stacks)
            for layer in bert.layers
        )
        return self.format(Bert(bert.hidden_size, layers))


@lru_cache(100_000)
def _parse_cached(text: str) -> Bert:
    size, colon, rest = text.partition(":")
    hidden_size = next((value for value in HIDDEN_SIZES if str(value) == size), None)
    if not colon or hidden_size is None:
        raise ValueError(f"it must be a hidden size ({', '.join(map(str, HIDDEN_SIZES))}), ':' and the layers")
    names = rest.split(",")
    if len(names) not in DEPTHS:
        raise ValueError(f"it has {len(names)} layers; use {' or '.join(map(str, DEPTHS))}")
    unknown = [name for name in names if name not in _BY_NAME]
    if unknown:
        raise ValueError(
            f"layer {unknown[0][:20]!r} is not operation.heads.widthxstacks with operations {', '.join(OPERATIONS)}, "
            f"heads {HEADS}, widths {WIDTHS}, stacks {STACKS}"
        )
    return Bert(hidden_size, tuple(_BY_NAME[name] for name in names))
