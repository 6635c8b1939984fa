"""Ranking an unseen pool by text encoders that learnt to rank other pools, as `graph_ranker` does by graph encoders.

The members read networks as text (`archcast.encoders.tokens`) by a small transformer. The training, the heads and the
way scores are added up are the same; what each of the two is worth is measured by `benchmarks/ablation.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archcast.encoders.text import TextEncoder, TextEncoderConfig, TextTensors
from archcast.encoders.tokens import Texts, Tokenizer
from archcast.graphs.graph import GraphBatch
from archcast.predictor.graph_ranker import EncoderRanker
from archcast.predictor.graph_training import PoolTraining, train_members

if TYPE_CHECKING:
    from archcast.predictor.graph_training import RankingPool


@dataclass(frozen=True)
class TextTraining(PoolTraining):
    """How an ensemble of text encoders is trained."""

    encoder: TextEncoderConfig = field(
        default_factory=lambda: TextEncoderConfig(width=48, layers=3, heads=4, inner_width=96, dropout=0.0)
    )
    """Of the size of the graph encoders; attention with dropout would take three times as long."""
    max_length: int = 256
    """Longest text; the networks of a handful are padded to the longest of them."""


@dataclass(frozen=True, eq=False)
class TextRanker(EncoderRanker):
    """An ensemble of text encoders; `encoder` holds the fields of `TextEncoderConfig`.

    Attributes:
        max_length: longest text they read.
    """

    max_length: int = 256

    def build(self) -> tuple[nn.Module, int]:
        encoder = TextEncoder(TextEncoderConfig(**self.encoder))
        return encoder, encoder.width

    def read(self, batch: GraphBatch, device: str) -> Any:  # noqa: ARG002  # the encoder moves them part by part
        return Tokenizer(max_length=self.max_length).encode(batch)

    def embed(self, encoder: nn.Module, given: Any) -> Tensor:
        assert isinstance(encoder, TextEncoder)
        return encoder.encode_all(given)


@dataclass(frozen=True, eq=False)
class _PoolTexts:
    """The texts of a pool, from which handfuls are taken."""

    texts: Texts
    device: torch.device

    def take(self, indices: NDArray[np.int64], /) -> TextTensors:
        return TextTensors.of(self.texts, self.texts.row_of[indices], self.device)


def train_text_ranker(
    pools: Sequence[RankingPool],
    config: TextTraining | None = None,
    *,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda _: None,
) -> TextRanker:
    """Train an ensemble of text encoders on `pools`; arguments and errors as in `train_graph_ranker`."""
    config = config or TextTraining()
    tokenizer = Tokenizer(max_length=config.max_length)
    members = train_members(
        pools,
        config,
        lambda: (TextEncoder(config.encoder), config.encoder.width),
        lambda pool, device: _PoolTexts(tokenizer.encode(pool.graphs), device),
        seed=seed,
        on_step=on_step,
    )
    return TextRanker(asdict(config.encoder), tuple(pool.name for pool in pools), members, config.max_length)
