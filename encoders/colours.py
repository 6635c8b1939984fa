"""Exact sharing of work between nodes that the graph encoder cannot tell apart.

A message-passing network computes the same embedding for two nodes whose neighbourhoods look the same: after l layers,
for two nodes of the same Weisfeiler-Lehman colour of depth l (Xu et al., 2019, "How powerful are graph neural
networks?"). Networks repeat cells and blocks, and a search space repeats them across networks. So each layer needs
one row per colour: the colours of depth l - 1 are its input, those of depth l its output, and the neighbours of a
colour are those of any node that bears it. The readout sums nodes of one colour in one graph beforehand, and networks
whose nodes agree in colour, paths and depth are read out once.

The result is that of the plain pass up to the rounding of sums in another order. Colours are 64-bit hashes: among three
million of them two different ones collide with a probability of about 2e-7.

Sharing needs nodes that start alike. Statistics measured on each node of each network differ everywhere, and the pass
is then no faster than the plain one, though still right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from archcast.encoders.gcn import GraphEncoder, GraphLayer, Hop
from archcast.encoders.graph_tensors import GraphTensors
from archcast.encoders.readout import Membership, depth_bins
from archcast.errors import GraphError

HashArray = NDArray[np.uint64]
IntArray = NDArray[np.int64]

_FEEDER, _READER, _SELF, _GRAPH = (
    np.uint64(seed) for seed in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
)
_ROWS = 16_384  # new rows per step: their embeddings and messages stay in the cache
_STEPS = 2.0**20  # visits are compared in steps of this


@dataclass(frozen=True)
class Partition:
    """The colour of every node at one depth.

    Attributes:
        colour: `[N]` 0..C-1.
        bearer: `[C]` a node of each colour.
    """

    colour: IntArray
    bearer: IntArray

    @classmethod
    def of(cls, keys: HashArray) -> Partition:
        colour, values = pd.factorize(keys)
        bearer = np.empty(len(values), np.int64)
        bearer[colour[::-1]] = np.arange(len(keys))[::-1]  # the last one written, so the first node, stays
        return cls(colour, bearer)


@torch.inference_mode()
def encode_shared(encoder: GraphEncoder, tensors: GraphTensors) -> Tensor:
    """`[G, dim]` embeddings of all networks, as `encoder(tensors)` gives them, each distinct thing computed once.

    Args:
        encoder: in evaluation mode; dropout would differ between nodes of one colour.
        tensors: the networks, however many; all of them share.

    Raises:
        GraphError: the encoder is in training mode.
    """
    if encoder.training:
        raise GraphError("an encoder in training mode has other dropout at every node: call encoder.eval() first")
    encoder.check(tensors)
    if not tensors.size:
        return torch.zeros(0, encoder.config.dim, device=tensors.device)
    colours = Colours(tensors, encoder.config.slots)
    before, keys = colours.initial()
    nodes = _embed(encoder, tensors, before)
    for layer in encoder.layers:
        keys = colours.refined(keys)
        after = Partition.of(keys)
        assert isinstance(layer, GraphLayer)
        nodes = _next_rows(layer, nodes, colours.hops(before, after, tensors.device), len(after.bearer))
        before = after
    return _read_out(encoder, tensors, nodes, before, keys)


def _next_rows(layer: GraphLayer, nodes: Tensor, hops: Iterator[Hop], count: int) -> Tensor:
    """The rows of the next depth, some at a time: what does not fit the cache costs more than the arithmetic."""
    projected = tuple(torch.empty_like(nodes) for _ in range(3))
    for start in range(0, len(nodes), _ROWS):
        for whole, part in zip(projected, layer.project(nodes[start : start + _ROWS]), strict=True):
            whole[start : start + _ROWS] = part
    result, start = nodes.new_empty(count, nodes.shape[1]), 0
    for hop in hops:
        result[start : start + hop.size] = layer(nodes, (projected[0], projected[1], projected[2]), hop)
        start += hop.size
    return result


def _embed(encoder: GraphEncoder, tensors: GraphTensors, partition: Partition) -> Tensor:
    bearer = torch.from_numpy(partition.bearer).to(tensors.device)
    distinct = encoder.embed.distinct(tensors.distinct_op, tensors.distinct_numbers, tensors.distinct_text)
    measured, extra = (None if rows is None else rows[bearer] for rows in (tensors.measured, tensors.extra))
    result: Tensor = encoder.embed(distinct, tensors.kinds[bearer], tensors.live[bearer], measured, extra)
    return result


class Colours:
    """Colour refinement of the nodes of many graphs at once.

    Args:
        tensors: the graphs.
        slots: input positions told apart.
    """

    def __init__(self, tensors: GraphTensors, slots: int) -> None:
        self.tensors = tensors
        self.size = len(tensors.kinds)
        edges, slot = tensors.edge_index.cpu().numpy(), np.minimum(tensors.slot.cpu().numpy(), slots - 1)
        self._into = _Edges(edges[0], edges[1], slot, self.size)
        self._out_of = _Edges(edges[1], edges[0], slot, self.size)

    def initial(self) -> tuple[Partition, HashArray]:
        """Nodes whose initial rows are equal, bit by bit."""
        tensors = self.tensors
        distinct = np.concatenate(
            [tensors.distinct_op[:, None].cpu().numpy().view(np.uint32).reshape(len(tensors.distinct_op), -1)]
            + [_bits(part) for part in (tensors.distinct_numbers, tensors.distinct_text)],
            axis=1,
        )
        keys = _row_keys(distinct)[tensors.kinds.cpu().numpy()]
        for part in (tensors.live[:, None], tensors.measured, tensors.extra):
            if part is not None and part.shape[1]:
                keys = _mix(keys + _row_keys(_bits(part)))
        return Partition.of(keys), keys

    def refined(self, keys: HashArray) -> HashArray:
        """The next colour: one's own, and the multisets of those that feed and that read, with their slots."""
        return _mix(
            _mix(keys + _SELF) + _mix(self._into.sums(keys) + _FEEDER) + _mix(self._out_of.sums(keys) + _READER)
        )

    def hops(self, before: Partition, after: Partition, device: torch.device) -> Iterator[Hop]:
        """The step from the colours of one depth to those of the next, some new rows at a time."""
        for start in range(0, len(after.bearer), _ROWS):
            bearers = after.bearer[start : start + _ROWS]
            arrays = (
                before.colour[bearers], *self._into.of(bearers, before.colour), *self._out_of.of(bearers, before.colour)
            )  # fmt: skip
            yield Hop(*(torch.from_numpy(array).to(device) for array in arrays), size=len(bearers))


class _Edges:
    """Edges grouped by the node whose side they are on."""

    def __init__(self, others: IntArray, owners: IntArray, slot: IntArray, size: int) -> None:
        order = np.arange(len(owners))
        if np.any(owners[1:] < owners[:-1]):
            order = np.argsort(owners, kind="stable")
        self.others, self.slot = others[order], slot[order]
        self.bounds = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=size))])
        self._salt = _mix(self.slot.astype(np.uint64) + np.uint64(1))

    def sums(self, keys: HashArray) -> HashArray:
        """`[N]` sum over the edges of each node of a hash of the other end and the slot."""
        running = np.zeros(len(self.others) + 1, np.uint64)
        np.cumsum(_mix(keys[self.others] + self._salt), out=running[1:])  # wraps around, exactly
        total: HashArray = running[self.bounds[1:]] - running[self.bounds[:-1]]
        return total

    def of(self, nodes: IntArray, colour: IntArray) -> tuple[IntArray, IntArray]:
        """`[2, E]` colour of the other end and position in `nodes`, and `[E]` slot, of the edges of `nodes`."""
        first, counts = self.bounds[nodes], self.bounds[nodes + 1] - self.bounds[nodes]
        edges = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
        ends = np.stack([colour[self.others[edges]], np.repeat(np.arange(len(nodes)), counts)])
        return ends, self.slot[edges]


def _read_out(
    encoder: GraphEncoder, tensors: GraphTensors, nodes: Tensor, partition: Partition, keys: HashArray
) -> Tensor:
    """Embeddings of networks from those of colours; networks that agree in all their nodes are read out once."""
    bins = encoder.config.bins
    graph, live, visits = (part.cpu().numpy() for part in (tensors.graph, tensors.live, tensors.visits))
    first, share = (part.cpu().numpy() for part in depth_bins(tensors.depth.cpu(), bins))
    place = (first + share) * _STEPS + live * (_STEPS * 64)
    marks = _mix(np.rint(place).astype(np.uint64) + (np.rint(visits * _STEPS).astype(np.uint64) << np.uint64(32)))
    running = np.zeros(len(graph) + 1, np.uint64)
    np.cumsum(_mix(keys + _mix(marks + _GRAPH)), out=running[1:])
    bounds = tensors.ptr.cpu().numpy()
    classes = Partition.of(_mix(running[bounds[1:]] - running[bounds[:-1]]) + np.diff(bounds).astype(np.uint64))
    number = np.full(tensors.size, -1)
    number[classes.bearer] = np.arange(len(classes.bearer))
    chosen = np.flatnonzero(number[graph] >= 0)
    place = NodePlaces(
        number[graph[chosen]], *(part[chosen] for part in (partition.colour, live, visits, first, share))
    )
    parts = [
        encoder.readout(nodes[rows], members) for rows, members in _members(place, len(classes.bearer), nodes, bins)
    ]
    result: Tensor = torch.cat(parts)[torch.from_numpy(classes.colour).to(nodes.device)]
    return result


class NodePlaces(NamedTuple):
    """Graph, colour, whether live, visits, first depth bin and share of the second, of every node; graphs ascend."""

    graph: IntArray
    colour: IntArray
    live: NDArray[np.float32]
    visits: NDArray[np.float32]
    first: IntArray
    share: NDArray[np.float32]


def _members(place: NodePlaces, size: int, nodes: Tensor, bins: int) -> Iterator[tuple[Tensor, Membership]]:
    """Nodes of one colour in one graph as one member: their rows in `nodes` and what they count for, graph by graph."""
    member, pairs = pd.factorize(place.graph * len(nodes) + place.colour)
    graph, colour = pairs // max(len(nodes), 1), pairs % max(len(nodes), 1)
    weights = [_sums(member, part, len(pairs)) for part in (np.ones_like(place.live), place.live, place.visits)]
    cells = np.stack([member * bins + place.first, member * bins + place.first + 1], axis=1).ravel()
    shares = np.stack([(1 - place.share) * place.live, place.share * place.live], axis=1).ravel()
    share, cells = pd.factorize(cells)
    owner, weight = cells // bins, _sums(share, shares, len(cells))
    bounds = np.searchsorted(graph, np.arange(size + 1))
    starts = np.flatnonzero(np.diff(bounds[:-1] // _ROWS, prepend=-1))
    for low, high in pairwise([*starts.tolist(), size]):
        first, last = bounds[low], bounds[high]
        begin, end = np.searchsorted(graph[owner], [low, high])
        cell = (graph[owner[begin:end]] - low) * bins + cells[begin:end] % bins
        arrays = (
            colour[first:last], graph[first:last] - low, *(part[first:last] for part in weights),
            owner[begin:end] - first, cell, weight[begin:end],
        )  # fmt: skip
        rows, *parts = (torch.from_numpy(array).to(nodes.device) for array in arrays)
        yield rows, Membership(*parts, size=high - low)


def _sums(owner: IntArray, weights: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return np.bincount(owner, weights, minlength=size).astype(np.float32)


def _bits(part: Tensor) -> NDArray[np.uint32]:
    """`[N, columns]` float32 as bits; missing values are one bit pattern, and -0 is 0."""
    values = part.cpu().numpy().astype(np.float32) + np.float32(0)
    values[np.isnan(values)] = np.nan
    return values.view(np.uint32)


def _row_keys(bits: NDArray[np.uint32]) -> HashArray:
    """`[N]` a hash of each row."""
    keys = np.zeros(len(bits), np.uint64)
    for column in bits.T:
        keys = _mix(keys + column + _SELF)
    return keys


def _mix(values: HashArray) -> HashArray:
    """The finaliser of splitmix64: every input bit moves every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
