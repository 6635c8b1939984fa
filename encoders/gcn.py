"""The graph encoder: any network -> one vector, by message passing along and against its edges.

Each node starts from its own text, numbers and measured statistics (`NodeEmbedding`). Every layer mixes what a node is
with what feeds it and with what it feeds, each direction with its own weights, each input of an operation told by its
slot (`GraphLayer`, built on PyG's `MessagePassing`, and like GINE (Hu et al., 2020) in that a message is
`relu(W h_u + e_slot)`). `Readout` makes one vector of the nodes, with their depth and paths.

Nothing a layer sees depends on where in the network a node stands beyond its neighbourhood, which is why equal
neighbourhoods can share their work (`archcast.encoders.colours`).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from archcast.encoders.graph_tensors import GraphTensors
from archcast.encoders.node_table import NUMBER_NAMES, VERSION
from archcast.encoders.op_text import WIDTH as TEXT_WIDTH
from archcast.encoders.readout import Membership, Readout
from archcast.errors import ConfigError, GraphError
from archcast.graphs.vocabulary import OPS

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # torch_geometric decorates with what torch has deprecated
    from torch_geometric.nn import MessagePassing


@dataclass(frozen=True)
class GraphEncoderConfig:
    """What a `GraphEncoder` is made of; stored with its weights."""

    width: int = 96
    """Length of a node's embedding."""
    layers: int = 4
    """Steps a message travels, in both directions."""
    dim: int = 128
    """Length of a network's embedding."""
    bins: int = 6
    """Overlapping bins of relative depth in the readout."""
    dropout: float = 0.1
    """Of node embeddings and of what each layer adds."""
    op_dropout: float = 0.05
    """How often training hides which op a node is, so that its text and numbers learn to stand for it."""
    measured: int = 0
    """Columns of measured statistics; 0 for an encoder of structure alone."""
    extra: int = 0
    """Further columns per node, such as its place in the pool."""
    slots: int = 3
    """Input positions told apart; the last one stands for all later ones."""
    node_table: int = VERSION
    """`node_table.VERSION` the encoder was made for."""

    def __post_init__(self) -> None:
        if min(self.layers, self.dim, self.slots) < 1 or self.width < 3 or not 2 <= self.bins <= 64:
            raise ConfigError("a graph encoder needs layers, dim, slots >= 1, width >= 3 and bins in 2..64")
        if min(self.measured, self.extra) < 0 or not (0 <= self.dropout < 1 and 0 <= self.op_dropout < 1):
            raise ConfigError("measured, extra must not be negative; dropout, op_dropout must lie in 0..1, 1 excluded")
        if self.node_table != VERSION:
            raise ConfigError(
                f"this encoder was made for version {self.node_table} of the node table, the installed archcast has "
                f"version {VERSION}: train it again, or install the archcast release it came from"
            )


@dataclass(frozen=True, eq=False)
class Hop:
    """One step of message passing, from P old rows to C new ones.

    Attributes:
        rows: `[C]` the old row each new row is; None if they are the same.
        into: `[2, E]` old row of what feeds, new row of what is fed.
        into_slot: `[E]` input position, below the number of slots.
        out_of: `[2, F]` old row of the reader, new row of what it reads.
        out_slot: `[F]` input position at the reader.
        size: C.
    """

    rows: Tensor | None
    into: Tensor
    into_slot: Tensor
    out_of: Tensor
    out_slot: Tensor
    size: int


class NodeEmbedding(nn.Module):
    """Initial embedding of nodes: op, text, numbers, whether live, measured statistics, further columns.

    The learnt vector of an op starts at zero, and an op that training never shows keeps it: what places such an op is
    its text (see `op_text`). A statistic that is not measured adds a learnt vector of its own instead of its value.
    """

    def __init__(self, config: GraphEncoderConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.op = nn.Embedding(len(OPS), width)
        nn.init.zeros_(self.op.weight)
        self.text = nn.Linear(TEXT_WIDTH, width, bias=False)
        nn.init.normal_(self.text.weight, std=1.0)  # the rows are unit vectors: this makes their image of order one
        self.numbers = nn.Sequential(nn.Linear(len(NUMBER_NAMES), width), nn.GELU(), nn.Linear(width, width))
        self.aside = nn.Parameter(torch.zeros(width))
        self.measured = nn.Linear(config.measured, width, bias=False) if config.measured else None
        self.not_measured = nn.Parameter(torch.randn(config.measured, width) * 0.02)
        self.extra = nn.Linear(config.extra, width, bias=False) if config.extra else None
        self.dropout = nn.Dropout(config.dropout)

    def distinct(self, op: Tensor, numbers: Tensor, text: Tensor) -> Tensor:
        """`[D, width]` of distinct nodes."""
        learnt = self.op(op)
        if self.training and self.config.op_dropout:
            learnt = learnt * (torch.rand(len(op), 1, device=op.device) >= self.config.op_dropout)
        result: Tensor = learnt + self.text(text) + self.numbers(numbers)
        return result

    def forward(
        self, distinct: Tensor, kinds: Tensor, live: Tensor, measured: Tensor | None, extra: Tensor | None
    ) -> Tensor:
        """`[N, width]` of nodes, each of which is row `kinds` of `distinct`."""
        nodes = distinct[kinds] + (1 - live)[:, None] * self.aside
        if self.measured is not None:
            if measured is None:
                nodes = nodes + self.not_measured.sum(dim=0)
            else:
                missing = torch.isnan(measured)
                known = torch.where(missing, torch.zeros_like(measured), measured)
                nodes = nodes + self.measured(known) + missing.to(nodes.dtype) @ self.not_measured
        if self.extra is not None:
            nodes = nodes + self.extra(extra)
        result: Tensor = self.dropout(nodes)
        return result


class DirectedMessages(MessagePassing):  # type: ignore[misc]
    """Sum of `relu(y_u + e_slot)` over the edges that end at each row; y are rows that were multiplied before."""

    def __init__(self, width: int, slots: int) -> None:
        super().__init__(aggr="sum")
        self.slot = nn.Embedding(slots, width)
        nn.init.normal_(self.slot.weight, std=0.3)

    def forward(self, rows: Tensor, edge_index: Tensor, slot: Tensor, size: int) -> Tensor:
        result: Tensor = self.propagate(edge_index, x=(rows, None), slot=slot, size=(rows.shape[0], size))
        return result

    def message(self, x_j: Tensor, slot: Tensor) -> Tensor:
        return functional.relu(x_j + self.slot(slot))


class GraphLayer(nn.Module):
    """`h_v + W relu(norm(A h_v + sum_{u -> v} relu(B h_u + e_slot) + sum_{v -> w} relu(C h_w + e'_slot)))`.

    A, B and C see the old embeddings after a layer norm.
    """

    def __init__(self, config: GraphEncoderConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(width)
        self.own, self.feeder, self.reader = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.forwards = DirectedMessages(width, config.slots)
        self.backwards = DirectedMessages(width, config.slots)
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width), nn.Dropout(config.dropout))

    def project(self, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the layer needs of each old row: itself, as a feeder, as a reader; `[P, width]` each."""
        nodes = self.norm(nodes)
        return self.own(nodes), self.feeder(nodes), self.reader(nodes)

    def forward(self, nodes: Tensor, projected: tuple[Tensor, Tensor, Tensor], hop: Hop) -> Tensor:
        """`[C, width]` new rows from `[P, width]` old ones and their projections."""
        own, feeder, reader = projected
        if hop.rows is not None:
            nodes, own = nodes[hop.rows], own[hop.rows]
        total = own + self.forwards(feeder, hop.into, hop.into_slot, hop.size)
        total = total + self.backwards(reader, hop.out_of, hop.out_slot, hop.size)
        result: Tensor = nodes + self.mix(total)
        return result


class GraphEncoder(nn.Module):
    """Networks as `GraphTensors` -> embeddings `[G, dim]`.

    Raises:
        GraphError: the tensors have other columns than the config says.
    """

    def __init__(self, config: GraphEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or GraphEncoderConfig()
        self.embed = NodeEmbedding(self.config)
        self.layers = nn.ModuleList([GraphLayer(self.config) for _ in range(self.config.layers)])
        self.readout = Readout(self.config.width, self.config.dim, self.config.bins)

    def forward(self, tensors: GraphTensors) -> Tensor:
        """`[G, dim]` embeddings of networks."""
        return self.pool(self.nodes(tensors), tensors)

    def nodes(self, tensors: GraphTensors) -> Tensor:
        """`[N, width]` embeddings of nodes (see `GraphTensors.nodes` for which)."""
        self.check(tensors)
        distinct = self.embed.distinct(tensors.distinct_op, tensors.distinct_numbers, tensors.distinct_text)
        nodes: Tensor = self.embed(distinct, tensors.kinds, tensors.live, tensors.measured, tensors.extra)
        slot = tensors.slot.clamp(max=self.config.slots - 1)
        hop = Hop(None, tensors.edge_index, slot, tensors.edge_index.flip(0), slot, nodes.shape[0])
        for layer in self.layers:
            assert isinstance(layer, GraphLayer)
            nodes = layer(nodes, layer.project(nodes), hop)
        return nodes

    def pool(self, nodes: Tensor, tensors: GraphTensors) -> Tensor:
        """`[G, dim]` from the embeddings of all nodes."""
        members = Membership.of_nodes(
            tensors.graph, tensors.live, tensors.visits, tensors.depth, tensors.size, self.config.bins
        )
        result: Tensor = self.readout(nodes, members)
        return result

    def check(self, tensors: GraphTensors) -> None:
        """Refuse tensors whose columns are not those of the config."""
        given = tensors.distinct_numbers.shape[1], tensors.distinct_text.shape[1]
        if given != (len(NUMBER_NAMES), TEXT_WIDTH):
            raise GraphError(f"tensors have {given} number and text columns: make them with GraphTensors.of")
        measured = 0 if tensors.measured is None else tensors.measured.shape[1]
        if measured not in (0, self.config.measured):
            raise GraphError(
                f"tensors have {measured} measured statistics, the encoder knows {self.config.measured}: "
                "give those it was made with, or none"
            )
        extra = 0 if tensors.extra is None else tensors.extra.shape[1]
        if extra != self.config.extra:
            raise GraphError(f"tensors have {extra} extra columns, the encoder needs {self.config.extra}")
