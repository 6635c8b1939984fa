"""`TextEncoder`: a small transformer that reads networks as text.

A ModernBERT (Warner et al., "Smarter, Better, Faster, Longer", 2024) of its own size and vocabulary, trained from
scratch: rotary positions, gated linear units, attention to the whole text in every third layer and to a window of 128
tokens in the others. The embedding of a token is

    e = sum of its pieces' vectors + W_role [sizes / 16]

with the pieces of `token_vocabulary` (an op and its class, an attribute and its value, an octave and its eighth) and
the exact logarithms beside the token, read by a matrix that belongs to the token's role. Sizes between and beyond those
met in training therefore have embeddings between and beyond theirs.

`transformers` is imported when the first encoder is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archcast.encoders.token_vocabulary import ROLES, Vocabulary
from archcast.encoders.tokens import SIZES, Texts, Tokenizer
from archcast.errors import ConfigError
from archcast.graphs.graph import ComputationGraph

if TYPE_CHECKING:
    from transformers import ModernBertModel

PAD: Final = 0
BATCH_TOKENS: Final = 16_384
_SIZE_SCALE: Final = 1 / 16  # logarithms to base 2 of sizes reach from 0 to about 45


@dataclass(frozen=True)
class TextEncoderConfig:
    """Shape of a `TextEncoder`.

    Attributes:
        width: of the hidden states and of the embedding of a network.
        layers: transformer layers.
        heads: attention heads; `width / heads` must be even.
        inner_width: of the gated linear units.
        global_every: every how many layers attention sees the whole text.
        window: tokens that attention sees in the other layers, half to each side.
        dropout: on embeddings, attention and gated units, in training.
        pooling: `attention` (a learned query), `mean` over tokens, or the first token (`cls`).
        attention: implementation in transformers; flash attention does not take the masks used here.
    """

    width: int = 160
    layers: int = 6
    heads: int = 5
    inner_width: int = 320
    global_every: int = 3
    window: int = 128
    dropout: float = 0.1
    pooling: Literal["attention", "mean", "cls"] = "attention"
    attention: Literal["sdpa", "eager"] = "sdpa"

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads, self.inner_width, self.global_every, self.window) < 1:
            raise ConfigError("every size of a text encoder must be at least 1")
        if self.width % (2 * self.heads):
            raise ConfigError(f"width {self.width} must be a multiple of twice the heads ({self.heads})")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; it must be at least 0 and below 1")
        if self.pooling not in ("attention", "mean", "cls"):
            raise ConfigError(f"pooling {self.pooling!r} is none of attention, mean, cls")
        if self.attention not in ("sdpa", "eager"):
            raise ConfigError(f"attention {self.attention!r} is neither sdpa nor eager")


@dataclass(frozen=True, eq=False)
class TextTensors:
    """Texts side by side, padded to the longest.

    Attributes:
        ids: `[G, L]` tokens, 0 where padded.
        mask: `[G, L]` whether there is a token.
        sizes: `[G, L, 3]` the logarithms beside them.
    """

    ids: Tensor
    mask: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, texts: Texts, rows: NDArray[np.int64] | None = None, device: torch.device | str = "cpu") -> TextTensors:
        """The given rows of `texts`; by default those of all networks, in their order."""
        rows = texts.row_of if rows is None else rows
        lengths = texts.row_lengths[rows]
        mask = np.arange(int(lengths.max(initial=1))) < lengths[:, None]
        ids = np.full(mask.shape, PAD, dtype=np.int64)
        sizes = np.zeros((*mask.shape, SIZES), dtype=np.float32)
        before = np.cumsum(lengths) - lengths
        position = np.arange(int(lengths.sum())) + np.repeat(texts.ptr[rows] - before, lengths)
        ids[mask], sizes[mask] = texts.ids[position], texts.sizes[position]
        return cls(*(torch.from_numpy(array).to(device) for array in (ids, mask, sizes)))

    @property
    def size(self) -> int:
        """Number of texts."""
        return len(self.ids)

    def to(self, device: torch.device | str) -> TextTensors:
        return TextTensors(self.ids.to(device), self.mask.to(device), self.sizes.to(device))


class TokenEmbedding(nn.Module):
    """`[..., L]` tokens and `[..., L, 3]` sizes -> `[..., L, width]`; see the top of this file.

    Tables of the vocabulary are not part of the weights: they are remade from `vocab.json`.
    """

    def __init__(self, width: int, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.piece = nn.Embedding(len(vocabulary.pieces), width, padding_idx=0)
        self.size = nn.Linear(len(ROLES) * SIZES, width, bias=False)
        # The layer norm that follows makes only the ratio of the two matter: sizes weigh about as much as names.
        nn.init.normal_(self.piece.weight, std=0.1)
        with torch.no_grad():
            self.piece.weight[0] = 0
        nn.init.normal_(self.size.weight, std=0.2)
        roles = torch.eye(len(ROLES))
        roles[ROLES.index("none")] = 0
        self.pieces: Tensor
        self.roles: Tensor
        self.register_buffer("pieces", torch.from_numpy(vocabulary.piece_table), persistent=False)
        self.register_buffer("roles", roles[torch.from_numpy(vocabulary.role_table)], persistent=False)

    def forward(self, ids: Tensor, sizes: Tensor) -> Tensor:
        by_role = self.roles[ids].unsqueeze(-1) * (sizes * _SIZE_SCALE).unsqueeze(-2)
        named: Tensor = self.piece(self.pieces[ids]).sum(-2)
        sized: Tensor = self.size(by_role.flatten(-2))
        return named + sized


class TextEncoder(nn.Module):
    """Networks as text -> `[G, width]` embeddings.

    Args:
        config: shape of the transformer.
        vocabulary: of the tokenizer whose texts it will read; the built-in one by default.
    """

    def __init__(self, config: TextEncoderConfig | None = None, vocabulary: Vocabulary | None = None) -> None:
        super().__init__()
        self.config = config or TextEncoderConfig()
        self.vocabulary = vocabulary or Vocabulary()
        self.embedding = TokenEmbedding(self.config.width, self.vocabulary)
        self.transformer = _transformer(self.config)
        if self.config.pooling == "attention":
            self.query = nn.Linear(self.config.width, 1)

    @property
    def width(self) -> int:
        """Length of an embedding."""
        return self.config.width

    def forward(self, tensors: TextTensors) -> Tensor:
        """`[G, width]` embeddings."""
        return self.embed(tensors.ids, tensors.mask, tensors.sizes)

    def embed(self, ids: Tensor, mask: Tensor, sizes: Tensor) -> Tensor:
        """`[G, width]` from the three tensors of `TextTensors`."""
        return self.pool(self.hidden(ids, mask, sizes), mask)

    def hidden(self, ids: Tensor, mask: Tensor, sizes: Tensor) -> Tensor:
        """`[G, L, width]` states of all tokens."""
        states = self.embedding(ids, sizes)
        output = self.transformer(inputs_embeds=states, attention_mask=self._attention_masks(mask, states.dtype))
        hidden: Tensor = output.last_hidden_state
        return hidden

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """`[G, width]` from `[G, L, width]` states."""
        if self.config.pooling == "cls":
            return hidden[:, 0]
        if self.config.pooling == "mean":
            weight = mask.to(hidden.dtype)
        else:
            score = self.query(hidden).squeeze(-1).to(hidden.dtype)
            weight = score.masked_fill(~mask, torch.finfo(hidden.dtype).min).softmax(-1)
        weight = weight / weight.sum(-1, keepdim=True)
        return (weight.unsqueeze(1) @ hidden).squeeze(1)

    def _attention_masks(self, mask: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        """What is added to the attention scores, `[G, 1, L, L]`, for either kind of layer.

        Made here, as transformers makes them by code that an ONNX export of dynamic length cannot follow.
        """
        position = torch.arange(mask.shape[1], device=mask.device)
        near = (position.unsqueeze(0) - position.unsqueeze(1)).abs() <= self.config.window // 2
        seen = mask[:, None, None, :].expand(-1, 1, mask.shape[1], -1)
        lowest = torch.finfo(dtype).min  # finite: a padded token that sees nothing must not become NaN
        return {
            name: torch.zeros((), dtype=dtype, device=mask.device).masked_fill(~allowed, lowest)
            for name, allowed in (("full_attention", seen), ("sliding_attention", seen & near))
        }

    @torch.inference_mode()
    def encode_all(
        self,
        graphs: ComputationGraph | Iterable[ComputationGraph] | Texts,
        *,
        tokenizer: Tokenizer | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> Tensor:
        """`[G, width]` embeddings of many networks, without dropout or gradients, on the device of the weights.

        Equal texts are read once, texts of like length together.

        Args:
            graphs: the networks, or their tokens.
            tokenizer: of `graphs`; by default one with the encoder's vocabulary.
            batch_tokens: most tokens, padding included, read at a time (a longer text is read alone).

        Raises:
            ConfigError: the tokenizer's vocabulary is another than the encoder's.
        """
        texts = graphs if isinstance(graphs, Texts) else self._tokenizer(tokenizer).encode(graphs)
        device = self.embedding.piece.weight.device
        found = torch.zeros(len(texts.row_lengths), self.width, device=device, dtype=self.embedding.piece.weight.dtype)
        training = self.training
        self.eval()
        try:
            for rows in length_buckets(texts.row_lengths, batch_tokens):
                found[torch.from_numpy(rows).to(device)] = self(TextTensors.of(texts, rows, device))
        finally:
            self.train(training)
        return found[torch.from_numpy(texts.row_of).to(device)]

    def _tokenizer(self, tokenizer: Tokenizer | None) -> Tokenizer:
        if tokenizer is None:
            return Tokenizer(self.vocabulary)
        if tokenizer.vocabulary != self.vocabulary:
            raise ConfigError("the tokenizer has another vocabulary than the encoder; build it from encoder.vocabulary")
        return tokenizer


def length_buckets(lengths: NDArray[np.int64], batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Positions of `lengths`, sorted, in batches whose padded size is at most `batch_tokens` (or a single one's)."""
    order = np.argsort(lengths, kind="stable")[::-1]
    start = 0
    while start < len(order):
        count = max(batch_tokens // max(int(lengths[order[start]]), 1), 1)
        yield order[start : start + count].copy()
        start += count


def _transformer(config: TextEncoderConfig) -> ModernBertModel:
    from transformers import ModernBertConfig, ModernBertModel

    sliding, full = "sliding_attention", "full_attention"
    shape = ModernBertConfig(
        vocab_size=1,  # tokens are embedded by `TokenEmbedding`
        hidden_size=config.width,
        intermediate_size=config.inner_width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        layer_types=[sliding if layer % config.global_every else full for layer in range(config.layers)],
        local_attention=config.window,
        attention_dropout=config.dropout,
        embedding_dropout=config.dropout,
        mlp_dropout=config.dropout,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        cls_token_id=None,
        sep_token_id=None,
    )
    model: ModernBertModel = ModernBertModel._from_config(shape, attn_implementation=config.attention)
    model.embeddings.tok_embeddings = nn.Identity()  # a weight that is never used stops distributed training
    return model


def export_onnx(encoder: TextEncoder, path: str | Path) -> None:
    """Write `encoder` as ONNX: `ids`, `mask`, `sizes` -> `embedding`, for any number of texts of any length."""
    example = TextTensors(
        torch.zeros(2, 24, dtype=torch.int64), torch.arange(24).expand(2, 24) < 20, torch.zeros(2, 24, SIZES)
    )
    training = encoder.training
    encoder.eval()
    try:
        torch.onnx.export(
            _Exported(encoder),
            (example.ids, example.mask, example.sizes),
            str(path),
            input_names=["ids", "mask", "sizes"],
            output_names=["embedding"],
            dynamic_axes={name: {0: "texts", 1: "length"} for name in ("ids", "mask", "sizes")}
            | {"embedding": {0: "texts"}},
            dynamo=False,  # needs no package beyond onnx
        )
    finally:
        encoder.train(training)


class _Exported(nn.Module):
    """An encoder whose forward takes plain tensors, as exporters want them."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor, mask: Tensor, sizes: Tensor) -> Tensor:
        return self.encoder.embed(ids, mask, sizes)
