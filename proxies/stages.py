"""Where a network can be cut: the nodes every path passes, and the blocks between them."""

from __future__ import annotations

from torch import Tensor

from archcast.graphs.graph import Node

_WEIGHTED = frozenset({"conv", "linear", "attention", "recurrent"})
_GLOBAL_POOLS = frozenset({"GlobalAveragePool", "GlobalMaxPool"})


_MERGES = frozenset({"Add", "Concat"})


def channel_rows(tensor: Tensor) -> Tensor:
    """`[B, positions, C]`: maps `[B, C, H, W]` with channels last, tokens `[B, L, C]`, vectors with one position."""
    if tensor.dim() >= 4:
        return tensor.flatten(2).transpose(1, 2)
    return tensor if tensor.dim() == 3 else tensor.reshape(tensor.shape[0], 1, -1)


def block_ends(nodes: list[Node], sources: list[tuple[int, ...]], live: list[int]) -> list[int]:
    """The values at the end of each block, in order; the input and the logits are none.

    A value is a cut if every edge from the nodes up to it into later ones leaves from it. Between two cuts that count
    there is at least one layer with weights; of several cuts without one between them the first that merges branches
    counts, else the last. Only maps and tokens (three axes and more) are taken, up to the global pooling.
    """
    last_reader: dict[int, int] = {}
    for value in live:
        for source in sources[value]:
            last_reader[source] = value
    ends: list[int] = []
    weighted_at: list[int] = []
    pending: set[int] = set()  # values up to here that a later node still reads
    weighted = 0
    for value in live:
        weighted += nodes[value].op_class in _WEIGHTED
        pending = {source for source in pending if last_reader[source] > value}
        is_cut = not pending
        if value in last_reader:
            pending.add(value)
        if is_cut and _pools_globally(nodes[value]):
            break
        if not is_cut or len(nodes[value].shape) < 3 or not weighted:
            continue
        if ends and weighted_at[-1] == weighted:
            if nodes[ends[-1]].op not in _MERGES:  # what follows a sum of branches is the start of the next block
                ends[-1] = value
        else:
            ends.append(value)
            weighted_at.append(weighted)
    return ends


def _pools_globally(node: Node) -> bool:
    return node.op in _GLOBAL_POOLS or (node.op == "ReduceMean" and len(node.shape) == 4 and node.shape[2:] == (1, 1))
