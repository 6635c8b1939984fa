"""The NAS-Bench-BERT network as a PyTorch module: an ELECTRA encoder with a choice of operations, and a classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from archcast.datasets.nas_bench_bert import MAX_TOKENS, Layer

VOCABULARY = 30_522
EMBEDDING = 128
SEGMENTS = 2
DEVIATION = 0.02
"""Standard deviation of all initial weights."""

EPS = 1e-12


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """`[B, tokens, heads * width]` -> `[B, heads, tokens, width]`."""
    return x.reshape(*x.shape[:-1], heads, -1).transpose(1, 2)


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Scaled dot-product attention; `weighted` puts a matrix between queries and keys (Luong et al., 2015)."""

    def __init__(self, hidden: int, heads: int, *, weighted: bool) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.weight = nn.Linear(hidden, hidden, bias=False) if weighted else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            split_heads(part, self.heads) for part in (self.weight(self.query(x)), self.key(x), self.value(x))
        )
        return merge_heads(functional.scaled_dot_product_attention(query, key, value))


class SpanConvolution(nn.Module):
    """Half of the heads attend, the others convolve with kernels made of spans of tokens (ConvBERT, 2020).

    The kernel of a token and head is softmax(W (q * s)), s a separable convolution of the input and q the query.
    """

    def __init__(self, hidden: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.heads, self.kernel = max(1, heads // 2), kernel
        width = self.heads * (hidden // heads)
        self.query = nn.Linear(hidden, width)
        self.key = nn.Linear(hidden, width)
        self.value = nn.Linear(hidden, width)
        self.depthwise = nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden, bias=False)
        self.pointwise = nn.Conv1d(hidden, width, 1)
        self.kernels = nn.Linear(width, self.heads * kernel)
        self.inputs = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed_query = self.query(x)
        query, key, value = (split_heads(part, self.heads) for part in (mixed_query, self.key(x), self.value(x)))
        attended = merge_heads(functional.scaled_dot_product_attention(query, key, value))
        span = self.pointwise(self.depthwise(x.transpose(1, 2))).transpose(1, 2)
        kernels = self.kernels(span * mixed_query).reshape(*x.shape[:2], self.heads, self.kernel, 1).softmax(dim=-2)
        columns = functional.unfold(
            self.inputs(x).transpose(1, 2).unsqueeze(-1), (self.kernel, 1), padding=(self.kernel // 2, 0)
        )
        columns = columns.transpose(1, 2).reshape(*x.shape[:2], self.heads, -1, self.kernel)
        return torch.cat([attended, (columns @ kernels).flatten(2)], dim=2)


class LinearTransform(nn.Module):
    """A linear layer and the discrete Fourier transform (its real part) or cosine transform (II) of each head.

    Both run over tokens and channels of a head, without normalisation.
    """

    def __init__(self, hidden: int, heads: int, *, cosine: bool) -> None:
        super().__init__()
        self.heads, self.cosine = heads, cosine
        self.input = nn.Linear(hidden, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = split_heads(self.input(x), self.heads)
        if self.cosine:
            rows, columns = cosines(x.shape[-2], x), cosines(x.shape[-1], x)
            return merge_heads(rows @ x @ columns.T)
        return merge_heads(torch.fft.fft2(x).real)


def cosines(size: int, like: torch.Tensor) -> torch.Tensor:
    """`[size, size]` the matrix of the discrete cosine transform II: 2 cos(pi k (2 n + 1) / (2 size)) at row k."""
    position = torch.arange(size, dtype=like.dtype, device=like.device)
    return 2 * (math.pi / (2 * size) * position[:, None] * (2 * position + 1)).cos()


def make_operation(operation: str, hidden: int, heads: int) -> nn.Module:
    if operation in ("sdp", "wma"):
        return SelfAttention(hidden, heads, weighted=operation == "wma")
    if operation in ("dft", "dct"):
        return LinearTransform(hidden, heads, cosine=operation == "dct")
    return SpanConvolution(hidden, heads, int(operation.removeprefix("dsc")))


class Block(nn.Module):
    """Operation, projection, residual, norm; feed-forward layers, residual, norm. Transforms have neither of the first.

    Args:
        widths: of the hidden layers of the feed-forward network.
    """

    def __init__(self, hidden: int, operation: str, heads: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.operation = make_operation(operation, hidden, heads)
        self.projection: nn.Linear | None = None
        if not isinstance(self.operation, LinearTransform):
            self.projection = nn.Linear(hidden, hidden)
            self.norm1 = nn.LayerNorm(hidden, eps=EPS)
        sizes = [hidden, *widths]
        self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], hidden)
        self.norm2 = nn.LayerNorm(hidden, eps=EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.operation(x)
        if self.projection is not None:
            mixed = self.norm1(self.projection(mixed) + x)
        inner = mixed
        for layer in self.hidden:
            inner = functional.gelu(layer(inner))
        out: torch.Tensor = self.norm2(self.output(inner) + mixed)
        return out


class Network(nn.Module):
    """Token ids `[B, tokens]` -> `[B, num_classes]`, read off the first token.

    Args:
        as_trained: what the released training code makes of the layers (`NASBenchBertTrained`).
    """

    def __init__(self, hidden: int, layers: Sequence[Layer], num_classes: int, *, as_trained: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, EMBEDDING, padding_idx=0)
        self.positions = nn.Embedding(MAX_TOKENS, EMBEDDING)
        self.segments = nn.Embedding(SEGMENTS, EMBEDDING)
        self.norm = nn.LayerNorm(EMBEDDING, eps=EPS)
        self.projection = nn.Linear(EMBEDDING, hidden) if hidden != EMBEDDING else nn.Identity()
        self.blocks = nn.Sequential()
        for layer in layers:
            first = 4 * hidden if as_trained else layer.width
            widths = [first, *[layer.width] * (layer.stacks - 1)]
            self.blocks.append(Block(hidden, "sdp" if as_trained else layer.operation, layer.heads, widths))
        self.classifier = nn.Linear(hidden, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for part in self.modules():
            if isinstance(part, (nn.Linear, nn.Conv1d, nn.Embedding)):
                nn.init.normal_(part.weight, std=DEVIATION)
            if isinstance(part, (nn.Linear, nn.Conv1d)) and part.bias is not None:
                nn.init.zeros_(part.bias)
        with torch.no_grad():
            self.words.weight[0].zero_()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        order = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.words(tokens) + self.segments(torch.zeros_like(order)) + self.positions(order)
        x = self.blocks(self.projection(self.norm(x)))
        logits: torch.Tensor = self.classifier(x[:, 0])
        return logits
