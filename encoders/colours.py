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
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from archcast.encoders.gcn import GraphEncoder, GraphLayer, Hop
from archcast.encoders.graph_tensors import GraphTensors
from archcast.encoders.readout import Membership, depth_bins
from archcast.errors import GraphError
from archcast.graphs.hashing import HashArray, mix

IntArray = NDArray[np.int64]

_FEEDER, _READER, _SELF = (np.uint64(seed) for seed in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
_BLOCK = 32_768  # nodes whose colours are refined together: their arrays stay in the cache
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
    slots, bins = encoder.config.slots, encoder.config.bins
    keys = colour_keys(tensors, slots, encoder.config.layers)
    classes = Partition.of(_network_keys(tensors, keys[-1], bins))
    # Only one network of each class goes on; its nodes are found again by their positions.
    tensors = replace(tensors, nodes=torch.arange(len(tensors.kinds), device=tensors.device)).take(classes.bearer)
    keys = keys[:, tensors.nodes.cpu().numpy()]
    edges = _Edges.both_ways(tensors, slots)
    before = Partition.of(keys[0])
    nodes = _embed(encoder, tensors, before)
    for layer, depth_keys in zip(encoder.layers, keys[1:], strict=True):
        assert isinstance(layer, GraphLayer)
        after = Partition.of(depth_keys)
        nodes = _next_rows(layer, nodes, _hops(edges, before, after, tensors.device), len(after.bearer))
        before = after
    parts = [encoder.readout(nodes[rows], members) for rows, members in _members(tensors, before, nodes, bins)]
    result: Tensor = torch.cat(parts)[torch.from_numpy(classes.colour).to(tensors.device)]
    return result


def colour_keys(tensors: GraphTensors, slots: int, depth: int) -> HashArray:
    """`[depth + 1, N]` the colour of every node at each depth, as a hash.

    Depth 0 is the initial row of the node, bit by bit; each further one adds the multisets of those that feed it and
    of those that read it, with their slots.
    """
    keys = np.empty((depth + 1, len(tensors.kinds)), np.uint64)
    keys[0] = _initial_keys(tensors)
    bounds = tensors.ptr.cpu().numpy()
    edges, slot = tensors.edge_index.cpu().numpy(), np.minimum(tensors.slot.cpu().numpy(), slots - 1)
    if np.any(edges[1, 1:] < edges[1, :-1]):
        order = np.argsort(edges[1], kind="stable")
        edges, slot = edges[:, order], slot[order]
    starts = bounds[:-1][np.flatnonzero(np.diff(bounds[:-1] // _BLOCK, prepend=-1))]
    for start, stop in pairwise([*starts.tolist(), int(bounds[-1])]):
        low, high = np.searchsorted(edges[1], [start, stop])
        sources, targets = edges[:, low:high] - start
        into, out_of = (
            _Edges.of(sources, targets, slot[low:high], stop - start),
            _Edges.of(targets, sources, slot[low:high], stop - start),
        )
        for old, new in pairwise(keys[:, start:stop]):
            new[:] = mix(mix(old + _SELF) + mix(into.sums(old) + _FEEDER) + mix(out_of.sums(old) + _READER))
    return keys


def _initial_keys(tensors: GraphTensors) -> HashArray:
    """`[N]` equal where the initial rows are."""
    distinct = np.concatenate(
        [tensors.distinct_op[:, None].cpu().numpy().view(np.uint32)]
        + [_bits(part) for part in (tensors.distinct_numbers, tensors.distinct_text)],
        axis=1,
    )
    keys: HashArray = _row_keys(distinct)[tensors.kinds.cpu().numpy()]
    for part in (tensors.live[:, None], tensors.measured, tensors.extra):
        if part is not None and part.shape[1]:
            keys = mix(keys + _row_keys(_bits(part)))
    return keys


def _network_keys(tensors: GraphTensors, keys: HashArray, bins: int) -> HashArray:
    """`[G]` equal where all nodes agree in colour, liveness, visits and place in the depth bins."""
    live, visits = tensors.live.cpu().numpy(), tensors.visits.cpu().numpy()
    first, share = (part.cpu().numpy() for part in depth_bins(tensors.depth, bins))
    place = (first + share + 64 * live) * _STEPS
    marks = np.rint(place).astype(np.uint64) + (np.rint(visits * _STEPS).astype(np.uint64) << np.uint64(32))
    running = np.zeros(len(keys) + 1, np.uint64)
    np.cumsum(mix(keys + mix(marks)), out=running[1:])
    bounds = tensors.ptr.cpu().numpy()
    return mix(running[bounds[1:]] - running[bounds[:-1]]) + np.diff(bounds).astype(np.uint64)


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


def _hops(edges: tuple[_Edges, _Edges], before: Partition, after: Partition, device: torch.device) -> Iterator[Hop]:
    """The step from the colours of one depth to those of the next, some new rows at a time."""
    into, out_of = edges
    for start in range(0, len(after.bearer), _ROWS):
        bearers = after.bearer[start : start + _ROWS]
        ends = *into.at(bearers, before.colour), *out_of.at(bearers, before.colour)
        arrays = (before.colour[bearers], *ends)
        rows, fed, slot, read, read_slot = (torch.from_numpy(array).to(device) for array in arrays)
        yield Hop(rows, fed, slot, read, read_slot, len(bearers))


@dataclass(frozen=True)
class _Edges:
    """Edges grouped by the node that owns them, with the node at their other end and their slot."""

    others: IntArray
    slot: IntArray
    bounds: IntArray
    salt: HashArray

    @classmethod
    def of(cls, others: IntArray, owners: IntArray, slot: IntArray, size: int) -> _Edges:
        if np.any(owners[1:] < owners[:-1]):
            order = np.argsort(owners, kind="stable")
            others, slot = others[order], slot[order]
        bounds = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=size))])
        return cls(others, slot, bounds, mix(slot.astype(np.uint64) + np.uint64(1)))

    @classmethod
    def both_ways(cls, tensors: GraphTensors, slots: int) -> tuple[_Edges, _Edges]:
        """Grouped by what is fed, and by what is read."""
        (sources, targets), slot = tensors.edge_index.cpu().numpy(), tensors.slot.clamp(max=slots - 1).cpu().numpy()
        size = len(tensors.kinds)
        return cls.of(sources, targets, slot, size), cls.of(targets, sources, slot, size)

    def sums(self, keys: HashArray) -> HashArray:
        """`[N]` sum over the edges of each node of a hash of the other end and the slot."""
        running = np.zeros(len(self.others) + 1, np.uint64)
        np.cumsum(mix(keys[self.others] + self.salt), out=running[1:])  # wraps around, exactly
        total: HashArray = running[self.bounds[1:]] - running[self.bounds[:-1]]
        return total

    def at(self, nodes: IntArray, colour: IntArray) -> tuple[IntArray, IntArray]:
        """`[2, E]` colour of the other end and position in `nodes`, and `[E]` slot, of the edges of `nodes`."""
        first, counts = self.bounds[nodes], self.bounds[nodes + 1] - self.bounds[nodes]
        edges = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
        ends = np.stack([colour[self.others[edges]], np.repeat(np.arange(len(nodes)), counts)])
        return ends, self.slot[edges]


def _members(
    tensors: GraphTensors, partition: Partition, nodes: Tensor, bins: int
) -> Iterator[tuple[Tensor, Membership]]:
    """Nodes of one colour in one graph as one member: their rows in `nodes` and what they count for, graph by graph."""
    size, count = tensors.size, max(len(nodes), 1)
    live, visits = tensors.live.cpu().numpy(), tensors.visits.cpu().numpy()
    first_bin, second = (part.cpu().numpy() for part in depth_bins(tensors.depth, bins))
    member, pairs = pd.factorize(tensors.graph.cpu().numpy() * count + partition.colour)
    graph, colour = pairs // count, pairs % count
    weights = [_sums(member, part, len(pairs)) for part in (np.ones_like(live), live, visits)]
    cells = member * bins + first_bin
    shares = np.bincount(cells, (1 - second) * live, minlength=len(pairs) * bins)
    shares += np.bincount(cells + 1, second * live, minlength=len(pairs) * bins)
    filled = np.flatnonzero(shares)
    owner, weight = filled // bins, shares[filled].astype(np.float32)
    bounds = np.searchsorted(graph, np.arange(size + 1))
    starts = np.flatnonzero(np.diff(bounds[:-1] // _ROWS, prepend=-1))
    for low, high in pairwise([*starts.tolist(), size]):
        first, last = bounds[low], bounds[high]
        begin, end = np.searchsorted(owner, [first, last])
        cell = (graph[owner[begin:end]] - low) * bins + filled[begin:end] % bins
        arrays = (
            colour[first:last], graph[first:last] - low, *(part[first:last] for part in weights),
            owner[begin:end] - first, cell, weight[begin:end],
        )  # fmt: skip
        rows, owners, *counts, bin_rows, bin_cell, bin_weight = (torch.from_numpy(a).to(nodes.device) for a in arrays)
        yield rows, Membership(owners, counts[0], counts[1], counts[2], bin_rows, bin_cell, bin_weight, high - low)


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
        keys = mix(keys + column + _SELF)
    return keys
