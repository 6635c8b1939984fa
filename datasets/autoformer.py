"""AutoFormer (Chen et al., ICCV 2021): vision transformers whose blocks differ in heads and MLP ratio.

Three supernets, tiny, small and base, each with its own embedding dimensions, depths, heads and MLP ratios. A head is
64 wide whatever the embedding, attention sees relative positions, and the classifier the mean of the patch tokens.

`ViTBenchAutoFormer` is the tiny space as ViT-Bench-101 (Wei et al., Auto-Prox, AAAI 2024) trained it: heads share the
embedding dimension, and there are no relative positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archcast.datasets.autoformer_stamping import Layer, Stamper
from archcast.datasets.space import SearchSpace
from archcast.graphs.capture import capture
from archcast.graphs.graph import ComputationGraph, GraphBatch, Shape

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Supernet:
    """What one supernet allows.

    Attributes:
        drawn_heads, drawn_ratios: what the paper lists, and `sample` draws from, where the networks the authors publish
            (ratio 3 in AutoFormer-T) or their configuration files (8 heads in base) go beyond it.
    """

    embeddings: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    ratios: tuple[float, ...]
    drawn_heads: tuple[int, ...]
    drawn_ratios: tuple[float, ...]

    @property
    def layers(self) -> list[Layer]:
        return list(product(self.heads, self.ratios))

    @property
    def size(self) -> int:
        return len(self.embeddings) * sum(int(len(self.layers) ** depth) for depth in self.depths)


_RATIOS = (3.0, 3.5, 4.0)
SUPERNETS = {
    "tiny": Supernet((192, 216, 240), (12, 13, 14), (3, 4), _RATIOS, (3, 4), (3.5, 4.0)),
    "small": Supernet((320, 384, 448), (12, 13, 14), (5, 6, 7), _RATIOS, (5, 6, 7), _RATIOS),
    "base": Supernet((528, 576, 624), (14, 15, 16), (8, 9, 10), _RATIOS, (9, 10), _RATIOS),
}
"""The embedding dimension tells which supernet a network is from."""


@dataclass(frozen=True)
class Transformer:
    """Embedding dimension, and (heads, MLP ratio) of each block."""

    embedding: int
    layers: tuple[Layer, ...]


class AutoFormer(SearchSpace[Transformer]):
    """Specs are the embedding dimension and, block by block, heads x MLP ratio: `192:3x3.5,3x4,...`."""

    name: ClassVar[str] = "autoformer"
    example: ClassVar[str] = (
        "192:3x3.5,3x3.5,3x3,3x3.5,3x3,3x3,3x4,3x4,3x3.5,3x4,4x3.5,3x4,3x3.5"  # AutoFormer-T of the authors
    )
    default_input_shape: ClassVar[Shape] = (1, 3, 224, 224)
    multiple: ClassVar[int] = 16
    classes: ClassVar[int] = 1000

    supernets: ClassVar[tuple[Supernet, ...]] = tuple(SUPERNETS.values())
    head_width: ClassVar[int | None] = 64
    relative: ClassVar[bool] = True
    eps: ClassVar[float] = 1e-5

    def __init__(self, input_shape: Shape | None = None) -> None:
        super().__init__(input_shape)
        self._stampers: dict[int, Stamper] = {}

    def parse(self, spec: str) -> Transformer:
        return self.read(spec, lambda text: _parse_cached(text.strip(), self.supernets))

    def format(self, arch: Transformer) -> str:
        return f"{arch.embedding}:" + ",".join(f"{heads}x{ratio:g}" for heads, ratio in arch.layers)

    @property
    def size(self) -> int:
        return sum(supernet.size for supernet in self.supernets)

    def all_specs(self) -> Iterator[str]:
        """Lazily, there are more than 10^15."""
        for supernet in self.supernets:
            for embedding, depth in product(supernet.embeddings, supernet.depths):
                for layers in product(supernet.layers, repeat=depth):
                    yield self.format(Transformer(embedding, layers))

    def sample(self, rng: np.random.Generator) -> str:
        """Supernet, embedding, depth, and heads and ratio of each block, each drawn uniformly, as the authors do."""
        supernet = self.supernets[int(rng.integers(len(self.supernets)))]
        embedding, depth = int(rng.choice(supernet.embeddings)), int(rng.choice(supernet.depths))
        heads = rng.choice(supernet.drawn_heads, size=depth).tolist()
        ratios = rng.choice(supernet.drawn_ratios, size=depth).tolist()
        return self.format(Transformer(embedding, tuple(zip(heads, ratios, strict=True))))

    def neighbours(self, spec: str) -> list[str]:
        """Another embedding of the same supernet, other heads or another ratio in one block, a last block more or
        less."""
        network = self.parse(spec)
        supernet = _supernet(network.embedding, self.supernets)
        layers = network.layers
        changed = [Transformer(other, layers) for other in supernet.embeddings if other != network.embedding]
        variants: list[tuple[Layer, ...]] = []
        for index, (heads, ratio) in enumerate(layers):
            others = [(other, ratio) for other in supernet.heads if other != heads]
            others += [(heads, other) for other in supernet.ratios if other != ratio]
            variants += [(*layers[:index], other, *layers[index + 1 :]) for other in others]
        if len(layers) - 1 in supernet.depths:
            variants.append(layers[:-1])
        if len(layers) + 1 in supernet.depths:
            variants += [(*layers, other) for other in supernet.layers]
        return [self.format(other) for other in (*changed, *(Transformer(network.embedding, v) for v in variants))]

    def canonical(self, spec: str) -> str:
        """The spec as `format` writes it: no two compute the same."""
        return self.format(self.parse(spec))

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        return self._network(self.parse(spec), num_classes)

    def _network(self, network: Transformer, num_classes: int) -> nn.Module:
        from archcast.datasets.autoformer_module import Network

        _, channels, height, width = self.input_shape
        return Network(
            network.embedding,
            network.layers,
            num_classes,
            (channels, height, width),
            head_width=self.head_width,
            relative=self.relative,
            eps=self.eps,
        )

    def stamp(self, specs: Sequence[str], num_classes: int = 10) -> GraphBatch:
        networks = [self.parse(spec) for spec in specs]
        if num_classes not in self._stampers:
            self._stampers[num_classes] = Stamper(partial(self._captured, num_classes))
        pairs = [(network.embedding, network.layers) for network in networks]
        return self._stampers[num_classes].stamp(pairs, self.graph_names(specs))

    def _captured(self, num_classes: int, embedding: int, layers: tuple[Layer, ...]) -> ComputationGraph:
        return capture(partial(self._network, Transformer(embedding, layers), num_classes), self.input_shape)

    def small(self) -> SearchSpace[Transformer]:
        """The same networks on 64 x 64 pixels: 16 patches instead of 196."""
        return type(self)((1, self.input_shape[1], 64, 64))


class ViTBenchAutoFormer(AutoFormer):
    """The tiny space as ViT-Bench-101 trained it, on images of 224 x 224 pixels."""

    name: ClassVar[str] = "vit-bench-autoformer"
    classes: ClassVar[int] = 100

    supernets: ClassVar[tuple[Supernet, ...]] = (SUPERNETS["tiny"],)
    head_width: ClassVar[int | None] = None
    relative: ClassVar[bool] = False
    eps: ClassVar[float] = 1e-6


def _supernet(embedding: int, supernets: Sequence[Supernet]) -> Supernet:
    for supernet in supernets:
        if embedding in supernet.embeddings:
            return supernet
    known = ", ".join(str(value) for supernet in supernets for value in supernet.embeddings)
    raise ValueError(f"embedding dimension {embedding} is none of {known}")


@lru_cache(100_000)
def _parse_cached(text: str, supernets: tuple[Supernet, ...]) -> Transformer:
    embedding, colon, rest = text.partition(":")
    if not colon or not embedding.isascii() or not embedding.isdigit() or len(embedding) > 4:
        raise ValueError("it must be an embedding dimension, ':' and the blocks")
    supernet = _supernet(int(embedding), supernets)
    names = {f"{heads}x{ratio:g}": (heads, ratio) for heads, ratio in supernet.layers}
    layers = rest.split(",")
    if len(layers) not in supernet.depths:
        raise ValueError(f"it has {len(layers)} blocks; use {', '.join(map(str, supernet.depths))}")
    unknown = [layer for layer in layers if layer not in names]
    if unknown:
        raise ValueError(f"block {unknown[0][:20]!r} is none of {', '.join(names)} (heads x MLP ratio)")
    return Transformer(int(embedding), tuple(names[layer] for layer in layers))
