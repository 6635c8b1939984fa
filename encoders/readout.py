"""From embeddings of nodes to the embedding of a network: a readout that respects depth and paths.

A plain sum or mean forgets where in the network a node stands, and message passing of a few layers cannot know it. A
pass along the whole graph in topological order would, but it is sequential (a network of 300 nodes takes 300 steps),
and no two nodes at different depths could share their work. So position comes in here and here only, as weights:

- *counts*: `log(1 + sum_v softplus(P h_v))`, a soft census of the kinds of nodes;
- *path*: `log(1 + sum_v visits_v softplus(P' h_v))`, the census along the mean path from input to output: how deep
  the network is in each kind of node, and how much of it lies on how many branches;
- *mean* and *max* over live nodes;
- *depth bins*: an attention pool in each of K overlapping bins of relative depth, so that the head can tell what
  stands early from what stands late: `sum_v b_kv e_v Q h_v / sum_v b_kv e_v`, where `e = exp(4 tanh(a . h / 4))` and
  `b_kv` is a triangle around the centre of bin k. The score is bounded, so that no maximum has to be subtracted and
  each term depends on one node alone.

Every part is a weighted sum (or a maximum) over nodes; nodes with equal embeddings can be summed beforehand. A network
without nodes gets zeros in each part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class Membership:
    """What each of M rows of node embeddings counts for in its graph; B shares of rows in depth bins.

    Attributes:
        graph: `[M]` the graph.
        count: `[M]` number of nodes of the graph that have this embedding.
        live: `[M]` number of them that are live.
        visits: `[M]` sum of their visits.
        bin_rows: `[B]` the row; None if each has two shares, all first ones before all second ones.
        bin_cell: `[B]` graph x K + bin.
        bin_weight: `[B]` sum of the triangle weights of the live ones.
        size: number of graphs.
    """

    graph: Tensor
    count: Tensor
    live: Tensor
    visits: Tensor
    bin_rows: Tensor | None
    bin_cell: Tensor
    bin_weight: Tensor
    size: int

    @classmethod
    def of_nodes(cls, graph: Tensor, live: Tensor, visits: Tensor, depth: Tensor, size: int, bins: int) -> Membership:
        """Every node a member by itself."""
        first, weight = depth_bins(depth, bins)
        cell = graph * bins + first
        weights = torch.cat([(1 - weight) * live, weight * live])
        ones = torch.ones_like(live)
        return cls(graph, ones, live, visits, None, torch.cat([cell, cell + 1]), weights, size)


def depth_bins(depth: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """The two bins each node belongs to: `[N]` the first (the second is the next) and `[N]` the share of the second.

    Args:
        depth: `[N, 2]` relative distance from the input and to the output.
        bins: number of bins K; bin k has its centre at relative depth k / (K - 1).
    """
    forward, backward = depth.unbind(1)
    place = forward / (forward + backward).clamp(min=1e-6) * (bins - 1)
    first = place.floor().clamp(max=bins - 2)
    return first.long(), place - first


class Readout(nn.Module):
    """Node embeddings `[M, width]` and what they count for -> `[G, dim]`."""

    def __init__(self, width: int, dim: int, bins: int) -> None:
        super().__init__()
        self.bins, self.part = bins, width // 3
        self.norm = nn.LayerNorm(width)
        self.census = nn.Linear(width, 2 * self.part)  # counts and path
        self.values = nn.Linear(width, 2 * self.part)  # mean and max
        self.staged = nn.Linear(width, self.part + 1)  # what the bins pool, and its score
        total = 4 * self.part + bins * self.part + 2
        self.head = nn.Sequential(nn.LayerNorm(total), nn.Linear(total, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, nodes: Tensor, members: Membership) -> Tensor:
        nodes = self.norm(nodes)
        size, graph, part = members.size, members.graph, self.part
        count, live, visits = members.count[:, None], members.live[:, None], members.visits[:, None]
        counts, path = functional.softplus(self.census(nodes)).tensor_split(2, dim=1)
        mean, peak = self.values(nodes).tensor_split(2, dim=1)
        sums = add_rows(torch.cat([counts * count, path * visits, mean * live, count, live], dim=1), graph, size)
        counts, path, mean, number, alive = sums.tensor_split([part, 2 * part, 3 * part, 3 * part + 1], dim=1)
        # Nothing is below 0 here, so the zeros of empty graphs and of side branches change no maximum.
        peak = max_rows(functional.relu(peak) * (live > 0), graph, size)
        parts = [torch.log1p(counts), torch.log1p(path), mean / alive.clamp(min=1), peak, self._bins(nodes, members)]
        result: Tensor = self.head(torch.cat([*parts, torch.log1p(number), torch.log1p(alive)], dim=1))
        return result

    def _bins(self, nodes: Tensor, members: Membership) -> Tensor:
        """`[G, K P]` attention pool of every depth bin."""
        value, score = self.staged(nodes).tensor_split([self.part], dim=1)
        weight = torch.exp(4 * torch.tanh(score / 4))
        terms = torch.cat([value * weight, weight], dim=1)
        terms = torch.cat([terms, terms]) if members.bin_rows is None else terms[members.bin_rows]
        sums = add_rows(terms * members.bin_weight[:, None], members.bin_cell, members.size * self.bins)
        pooled = sums[:, :-1] / sums[:, -1:].clamp(min=1e-6)
        return pooled.reshape(members.size, self.bins * self.part)


def add_rows(rows: Tensor, owner: Tensor, size: int) -> Tensor:
    """`[size, F]` sums of the `rows` `[M, F]` of each owner; the size is explicit, so that the export knows it."""
    return rows.new_zeros(size, rows.shape[1]).index_add(0, owner, rows)


def max_rows(rows: Tensor, owner: Tensor, size: int) -> Tensor:
    """`[size, F]` largest of the rows `[M, F]` of each owner and of 0."""
    index = owner[:, None].expand(-1, rows.shape[1])
    return rows.new_zeros(size, rows.shape[1]).scatter_reduce(0, index, rows, "amax")
