"""The encoders as pretraining uses them: each with the way its inputs are made from graphs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archcast.encoders.gcn import GraphEncoder, GraphEncoderConfig
from archcast.encoders.graph_tensors import GraphTensors
from archcast.encoders.pretraining_model import Reader
from archcast.encoders.text import TextEncoder, TextEncoderConfig, TextTensors, length_buckets
from archcast.encoders.tokens import MAX_LENGTH, Tokenizer
from archcast.graphs.graph import GraphBatch

BATCH_TOKENS: Final = 8192
"""Tokens, padding included, that one pass of the transformer reads."""


class GraphReader(Reader):
    """The graph encoder; it sees the measurements of nodes if its config counts some."""

    def __init__(self, config: GraphEncoderConfig | None = None) -> None:
        super().__init__()
        self.encoder = GraphEncoder(config)
        self.width, self.node_width = self.encoder.config.dim, self.encoder.config.width

    def tensors(self, graphs: GraphBatch, measured: NDArray[np.float32] | None) -> GraphTensors:
        return GraphTensors.of(graphs, measured if self.encoder.config.measured else None)

    def forward(self, tensors: GraphTensors) -> tuple[Tensor, Tensor]:
        nodes = self.encoder.nodes(tensors)
        return self.encoder.pool(nodes, tensors), nodes


@dataclass(frozen=True, eq=False)
class TextBuckets:
    """Texts of like length side by side.

    Attributes:
        parts: the texts, longest first.
        place: `[G]` where each network stands in `parts` put one behind the other.
    """

    parts: tuple[TextTensors, ...]
    place: Tensor

    def to(self, device: torch.device | str) -> TextBuckets:
        return replace(self, parts=tuple(part.to(device) for part in self.parts), place=self.place.to(device))


class TextReader(Reader):
    """The text encoder. Long and short texts are read apart: padding all to the longest would cost most of the time."""

    def __init__(self, config: TextEncoderConfig | None = None, max_length: int = MAX_LENGTH) -> None:
        super().__init__()
        self.encoder = TextEncoder(config)
        self.tokenizer = Tokenizer(self.encoder.vocabulary, max_length)
        self.width = self.encoder.width

    def tensors(self, graphs: GraphBatch, measured: NDArray[np.float32] | None) -> TextBuckets:  # noqa: ARG002
        texts = self.tokenizer.encode(graphs)
        buckets = list(length_buckets(texts.lengths, BATCH_TOKENS))
        place = np.argsort(np.concatenate(buckets)) if buckets else np.zeros(0, np.int64)
        return TextBuckets(
            tuple(TextTensors.of(texts, texts.row_of[bucket]) for bucket in buckets), torch.from_numpy(place)
        )

    def forward(self, tensors: TextBuckets) -> tuple[Tensor, None]:
        return torch.cat([self.encoder(part) for part in tensors.parts])[tensors.place], None
