"""One shard of a corpus: packed graphs, their hashes and pools in one memory-mapped file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.datasets.arrow_arrays import Arrays, narrow, read_arrays, write_arrays
from archcast.datasets.cache import unpack_graphs
from archcast.graphs.graph import GraphBatch, IntArray

Texts = dict[str, list[str]]
HashArray = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Material:
    """Graphs on their way into a shard.

    Attributes:
        arrays, texts: as `pack_graphs` gives them.
        hashes: `[G, 2]` graph hashes.
        pools: `[G]` name of the pool of each graph; those of one pool stand together.
        made: graphs before duplicates were removed.
        failures: `name: reason` of networks that could not be made.
        seconds: processor time that making them took.
    """

    arrays: Arrays
    texts: Texts
    hashes: HashArray
    pools: list[str]
    made: int
    failures: list[str]
    seconds: float = 0.0

    def take(self, rows: IntArray) -> Material:
        arrays, texts = select(self.arrays, self.texts, rows)
        pools = [self.pools[row] for row in rows.tolist()]
        return replace(self, arrays=arrays, texts=texts, hashes=self.hashes[rows], pools=pools)


def hash_array(hashes: Iterable[str]) -> HashArray:
    """32 hexadecimal digits each -> `[G, 2]`."""
    data = bytes.fromhex("".join(hashes))
    return np.frombuffer(data, dtype=">u8").astype(np.uint64).reshape(-1, 2)


def select(arrays: Arrays, texts: Texts, rows: IntArray) -> tuple[Arrays, Texts]:
    """The packed graphs at `rows`, in that order.

    Nodes and edge lists are those that are used, in the order of their first use: the result depends on the graphs
    alone, not on what was packed with them.
    """
    kinds = arrays["kinds"][_positions(arrays["node_counts"], rows)].astype(np.int64)
    nodes, kinds = _renumbered(kinds, len(texts["nodes"]))
    lists, numbers = _renumbered(arrays["edge_list"][rows].astype(np.int64), len(arrays["list_sizes"]))
    packed = {
        "kinds": narrow(kinds),
        "node_counts": narrow(arrays["node_counts"][rows].astype(np.int64)),
        "edges": np.ascontiguousarray(_edges(arrays, lists)),
        "list_sizes": narrow(arrays["list_sizes"][lists].astype(np.int64)),
        "edge_list": narrow(numbers),
        "unused_params": narrow(arrays["unused_params"][rows].astype(np.int64)),
    }
    names = texts["names"]
    return packed, {
        "nodes": [texts["nodes"][node] for node in nodes.tolist()],
        "names": [names[row] for row in rows.tolist()] if names else [],
    }


def _edges(arrays: Arrays, lists: IntArray) -> NDArray[Any]:
    edges = arrays["edges"][:, _positions(arrays["list_sizes"], lists)]
    return narrow(edges.astype(np.int64))


def _positions(sizes: NDArray[Any], rows: IntArray) -> IntArray:
    """Where the items of `rows` stand in a ragged layout of rows of `sizes`."""
    ends = np.cumsum(sizes, dtype=np.int64)
    taken = sizes[rows].astype(np.int64)
    new_starts = np.cumsum(taken) - taken
    positions: IntArray = np.arange(int(taken.sum())) + np.repeat((ends - sizes)[rows] - new_starts, taken)
    return positions


def _renumbered(values: IntArray, size: int) -> tuple[IntArray, IntArray]:
    """The distinct values in the order of their first use, and each value's number in that order."""
    distinct, first = np.unique(values, return_index=True)
    distinct = distinct[np.argsort(first, kind="stable")]
    number = np.zeros(size, dtype=np.int64)
    number[distinct] = np.arange(len(distinct))
    return distinct, number[values]


def write_shard(path: Path, material: Material, facts: dict[str, str]) -> None:
    """Write a shard; it appears complete or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    counts = Counter(material.pools)
    arrays = {
        **material.arrays,
        "hashes": material.hashes,
        "pool_sizes": np.asarray(list(counts.values()), dtype=np.int64),
    }
    texts = {**material.texts, "pools": list(counts), "failures": material.failures}
    write_arrays(path, arrays, texts, {**facts, "made": str(material.made)})


@dataclass(frozen=True)
class Shard:
    """A shard on disk; nothing is read before it is asked for."""

    path: Path

    @cached_property
    def _content(self) -> tuple[Arrays, Texts, dict[str, str]]:
        return read_arrays(self.path)

    def __len__(self) -> int:
        return len(self._content[0]["node_counts"])

    @property
    def hashes(self) -> HashArray:
        """`[G, 2]` graph hashes."""
        return self._content[0]["hashes"]

    @property
    def nodes(self) -> IntArray:
        """`[G]` nodes of each graph."""
        return self._content[0]["node_counts"].astype(np.int64)

    @property
    def node_texts(self) -> list[str]:
        """The distinct nodes, each as the JSON of op, attributes, shape, parameters and MACs."""
        return self._content[1]["nodes"]

    @property
    def pools(self) -> list[tuple[str, int]]:
        """Names and sizes of the pools, in the order of their graphs."""
        return list(zip(self._content[1]["pools"], self._content[0]["pool_sizes"].tolist(), strict=True))

    @property
    def failures(self) -> list[str]:
        return self._content[1]["failures"]

    @property
    def made(self) -> int:
        """Graphs before duplicates were removed."""
        return int(self._content[2]["made"])

    def take(self, rows: IntArray) -> GraphBatch:
        """The graphs at `rows`, in that order; only these are read."""
        arrays, texts, _ = self._content
        return unpack_graphs(*select(arrays, texts, np.asarray(rows, dtype=np.int64)))
