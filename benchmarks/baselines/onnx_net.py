"""ONNX-Net: a transformer that reads networks as text, trained to rank them.

The published surrogate fine-tunes ModernBERT (the large one has 396 M parameters) on four GPUs by a margin ranking loss

    mean over pairs of max(0, -sign(y_i - y_j) (s_i - s_j) + 0.1)

over at most 4 B random pairs of each batch of B networks, whatever spaces they come from; AdamW, weight decay 0.1, 6 %
warm-up, linear decay to a tenth. That is what happens here, with departures that two processor cores ask for:

- a ModernBERT of 0.43 M parameters (width 96, four layers), trained from scratch at a higher rate (0.001, not 0.00001);
- `archcast.encoders.tokens` in place of a language model's byte pairs: the same chains of operations, parameters,
  attributes and shapes, but numbers are read as numbers and repeated blocks are folded (`fold=False` writes them out);
- MACs, which the tokenizer puts beside operations and the published text does not have, are hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from archcast.encoders.text import TextEncoder, TextEncoderConfig, TextTensors
from archcast.encoders.tokens import Texts, Tokenizer
from archcast.graphs.graph import GraphBatch
from archcast.graphs.vocabulary import OPS
from benchmarks.baselines.contract import FloatArray, Sources, joined, required, seeded, train

_PAIRS = 4  # compared pairs per network of a batch


@dataclass(frozen=True)
class OnnxNetConfig:
    """Shape and training of an `OnnxNet`."""

    steps: int = 2000
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    margin: float = 0.1
    max_length: int = 2048
    fold: bool = True
    encoder: TextEncoderConfig = field(
        default_factory=lambda: TextEncoderConfig(width=96, layers=4, heads=3, inner_width=192)
    )


class Ranker(nn.Module):
    """Texts -> `[G]` scores."""

    def __init__(self, config: TextEncoderConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.encoder = TextEncoder(config, tokenizer.vocabulary)
        self.head = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, 1))

    def forward(self, tensors: TextTensors) -> Tensor:
        scores: Tensor = self.head(self.encoder(tensors)).squeeze(1)
        return scores


class OnnxNet:
    """The baseline; see the top of this file and `benchmarks.baselines.contract.Baseline`."""

    def __init__(self, seed: int = 0, config: OnnxNetConfig | None = None) -> None:
        self.seed = seed
        self.config = config or OnnxNetConfig()
        self.tokenizer = Tokenizer(max_length=self.config.max_length, fold=self.config.fold)
        self.ranker: Ranker | None = None
        self.losses: list[float] = []

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(weight.numel() for weight in required(self.ranker, "OnnxNet").parameters())

    def fit(self, sources: Sources) -> None:
        graphs, labels, _ = joined(sources)
        texts, target = self.read(graphs), torch.from_numpy(labels)
        with seeded(self.seed) as rng:
            ranker = Ranker(self.config.encoder, self.tokenizer)

            def loss(_: int) -> Tensor:
                rows = rng.choice(len(labels), min(self.config.batch_size, len(labels)), replace=False)
                scores = ranker(TextTensors.of(texts, texts.row_of[rows]))
                return margin_ranking(scores, target[rows], self.config.margin, rng)

            config = self.config
            self.losses = train(ranker, loss, config.steps, config.learning_rate, config.weight_decay)
        self.ranker = ranker

    def predict(self, graphs: GraphBatch) -> FloatArray:
        ranker = required(self.ranker, "OnnxNet")
        embeddings = ranker.encoder.encode_all(self.read(graphs))
        with torch.inference_mode():
            return np.asarray(ranker.head(embeddings).squeeze(1).double().numpy())

    def read(self, graphs: GraphBatch) -> Texts:
        """The texts, without MACs."""
        texts = self.tokenizer.encode(graphs)
        ops = np.asarray([self.tokenizer.vocabulary.index[op] for op in OPS])
        sizes = texts.sizes.copy()
        sizes[np.isin(texts.ids, ops), 0] = 0
        return replace(texts, sizes=sizes)


def margin_ranking(scores: Tensor, labels: Tensor, margin: float, rng: np.random.Generator) -> Tensor:
    """The loss above; 0, with gradients, where all labels are equal."""
    first, second = torch.triu_indices(len(scores), len(scores), 1)
    differ = labels[first] != labels[second]
    first, second = first[differ], second[differ]
    chosen = torch.from_numpy(rng.permutation(len(first))[: _PAIRS * len(scores)])
    first, second = first[chosen], second[chosen]
    if not len(first):
        return scores.sum() * 0
    order = torch.sign(labels[first] - labels[second]).to(scores.dtype)
    return functional.margin_ranking_loss(scores[first], scores[second], order, margin=margin)
