"""The computational graph of GENNAPE and the k-GNN that reads it (Mills et al., AAAI 2023).

Nodes are primitive operations (batch normalisation, activation and addition are nodes of their own), edges follow the
data. Sizes are those of the authors' release: a node is embedded in 32 columns,

    with weights (convolutions, products):  op 14 | height, width, channels in and out 8 | kernel 4 + 4 | bias 2
    all others:                             op 24 | height, width, channels in and out 8

and six `GraphConv` layers of PyG (Morris et al., AAAI 2019) with tanh follow,

    h_v <- tanh(W h_v + W' sum of h_u over the edges u -> v)

then the mean over nodes. Heights and widths are divided by the largest of the network, channels by 512.

Two departures. Operations are those of `archcast.graphs.vocabulary` in place of the release's 31. Nodes that carry no
signal (`none` of NAS-Bench-201) are left out, as converters to TensorFlow graphs, which the release reads, leave them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archcast.encoders.graph_tensors import GraphTensors
from archcast.encoders.roles import NodeColumns
from archcast.graphs.graph import GraphBatch, Node
from archcast.graphs.vocabulary import OPS

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # torch_geometric decorates with what torch has deprecated
    from torch_geometric.nn import GraphConv

EMBEDDING: Final = 32
SHAPE: Final = 8
KERNEL: Final = 8
BIAS: Final = 2
KERNELS: Final = 8  # sides 0..6, then all larger ones
CHANNELS: Final = 512.0

_SIZES: Final = 6


def computational_graphs(batch: GraphBatch) -> GraphTensors:
    """`GraphTensors` whose `extra` columns are: sizes (6), kernel sides (2), bias, weighted."""
    own = np.asarray([_size(node) for node in batch.nodes], dtype=np.float32).reshape(-1, 3)[batch.kinds]
    fed = own.copy()
    targets, first = np.unique(batch.edge_index[1], return_index=True)  # edges of a target stand in input order
    fed[targets] = own[batch.edge_index[0, first]]
    side = np.ones((len(batch), 2), dtype=np.float32)
    for size in (own, fed):
        np.maximum.at(side, batch.graph_of_node, size[:, :2])
    scale = np.column_stack([side[batch.graph_of_node], np.full(len(own), CHANNELS, dtype=np.float32)])
    sizes = np.stack([fed / scale, own / scale], axis=2).reshape(len(own), _SIZES)
    weighted = NodeColumns.of(batch.nodes).weighted
    rows = [[*_kernel(node), bool(node.get("bias", False))] for node in batch.nodes]
    per_node = np.column_stack([np.asarray(rows, dtype=np.float32).reshape(-1, 3), weighted])[batch.kinds]
    return GraphTensors.of(batch, extra=np.column_stack([sizes, per_node]))


def _size(node: Node) -> tuple[int, int, int]:
    """Height, width and channels of the output; tokens are a height."""
    if len(node.shape) >= 4:
        return node.shape[2], node.shape[3], node.shape[1]
    return (node.shape[1] if len(node.shape) == 3 else 1), 1, (node.shape[-1] if node.shape else 1)


def _kernel(node: Node) -> tuple[int, int]:
    sides = node.get("kernel", (1,))
    return min(int(sides[0]), KERNELS - 1), min(int(sides[-1]), KERNELS - 1)


class NodeEmbedding(nn.Module):
    """`[N, 32]` initial embeddings; see the top of this file."""

    def __init__(self) -> None:
        super().__init__()
        self.regular = nn.Embedding(len(OPS), EMBEDDING - SHAPE)
        self.weighted = nn.Embedding(len(OPS), EMBEDDING - SHAPE - KERNEL - BIAS)
        self.kernel = nn.Embedding(KERNELS, KERNEL // 2)
        self.shape = nn.Linear(_SIZES, SHAPE)
        self.bias = nn.Linear(2, BIAS)

    def forward(self, op: Tensor, columns: Tensor) -> Tensor:
        sizes, kernel = columns[:, :_SIZES], columns[:, _SIZES : _SIZES + 2]
        bias, weighted = columns[:, -2:-1], columns[:, -1:]
        shape = self.shape(sizes)
        kernels = self.kernel(kernel.long()).flatten(1)
        with_weights = torch.cat([self.weighted(op), shape, kernels, self.bias(torch.cat([bias, 1 - bias], dim=1))], 1)
        return torch.where(weighted > 0, with_weights, torch.cat([self.regular(op), shape], dim=1))


@dataclass(frozen=True)
class KGnnConfig:
    """Width, depth and dropout of a `KGnn`; the defaults are those of the released predictor."""

    width: int = 32
    layers: int = 6
    dropout: float = 0.0
    """Of node embeddings before the first and after every layer; makes the two views of contrastive pretraining."""


class KGnn(nn.Module):
    """`computational_graphs` -> `[G, width]`; a network without nodes gives zeros."""

    def __init__(self, config: KGnnConfig | None = None) -> None:
        super().__init__()
        self.config = config or KGnnConfig()
        self.embedding = NodeEmbedding()
        width = self.config.width
        self.layers = nn.ModuleList(
            [GraphConv(EMBEDDING if layer == 0 else width, width) for layer in range(self.config.layers)]
        )
        self.dropout = nn.Dropout(self.config.dropout)

    def forward(self, tensors: GraphTensors) -> Tensor:
        assert tensors.extra is not None, "make the tensors with computational_graphs"
        nodes = self.dropout(self.embedding(tensors.op, tensors.extra))
        for layer in self.layers:
            nodes = self.dropout(torch.tanh(layer(nodes, tensors.edge_index)))
        total = nodes.new_zeros(tensors.size, nodes.shape[1]).index_add(0, tensors.graph, nodes)
        count = torch.bincount(tensors.graph, minlength=tensors.size).clamp_min(1)
        embeddings: Tensor = total / count[:, None]
        return embeddings

    @torch.inference_mode()
    def encode_all(self, tensors: GraphTensors, batch: int = 256) -> Tensor:
        """`[G, width]` of many networks, without dropout."""
        training = self.training
        self.eval()
        starts: NDArray[np.int64] = np.arange(0, tensors.size, batch)
        rows = [self(tensors.take(np.arange(start, min(start + batch, tensors.size)))) for start in starts.tolist()]
        self.train(training)
        return torch.cat(rows).clone() if rows else torch.zeros(0, self.config.width)
