"""Where the graphs of a corpus come from: search spaces, model zoos, random pools, in parts that follow from a seed.

A `Part` is a small description that any process turns into graphs (`make`): the same part gives the same graphs in the
same order, whatever was made before.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Final

import numpy as np

from archcast.datasets.cache import pack_graphs
from archcast.datasets.corpus_shards import Material, hash_array, select
from archcast.datasets.corpus_zoo import ZOO_SOURCES, captured
from archcast.datasets.random_networks import random_network, random_pool
from archcast.datasets.space import SearchSpace
from archcast.datasets.spaces import SPACES
from archcast.errors import UnknownNameError
from archcast.graphs.graph import GraphBatch
from archcast.graphs.hashing import graph_hashes

RANDOM: Final = "random"
SHARD: Final = 4096
"""Graphs of a space in one part, before duplicates are removed."""
POOL: Final = 64
"""Networks of a random pool."""
POOLS: Final = 44
"""Random pools of one part; to these comes an eighth of networks in which everything varies."""
ZOO_PART: Final = 100
"""Networks of a zoo in one part: capturing takes .2 to 1 s each, and an interrupted part starts again."""
CAPTURED_SHARE: Final = 10
"""Spaces whose graphs are captured, not stamped, give this many times fewer of them: they are 100 times slower."""
WHOLE: Final = 3
"""A space with at most this many times its share is taken whole."""

SPACE_SOURCES: Final = tuple(name for name in SPACES if not name.startswith("zoo-"))
SOURCES: Final = (*SPACE_SOURCES, RANDOM, *ZOO_SOURCES)
"""Names that a corpus can leave out."""


@dataclass(frozen=True)
class Part:
    """What one shard is made from.

    Attributes:
        source: one of `SOURCES`.
        seed: of samples and random networks.
        first: position of its first spec (whole spaces), or number of the part.
        count: specs, or random pools.
        whole: all specs of the space in their order instead of a sample.
        names: networks of a zoo.
    """

    source: str
    seed: int = 0
    first: int = 0
    count: int = 0
    whole: bool = False
    names: tuple[str, ...] = field(default=())

    @property
    def identity(self) -> str:
        return json.dumps(asdict(self))


def checked_sources(names: Iterable[str]) -> tuple[str, ...]:
    """`names`, sorted, each once.

    Raises:
        UnknownNameError: one is no source.
    """
    chosen = tuple(sorted(set(names)))
    for name in chosen:
        if name not in SOURCES:
            raise UnknownNameError(f"no source of graphs is called {name!r}; there are {', '.join(SOURCES)}")
    return chosen


def space_parts(graphs: int, seed: int, exclude: Iterable[str]) -> list[Part]:
    """Parts of all search spaces: half of `graphs`, the same share for each, whole spaces where these are small."""
    share = max(1, graphs // 2 // len(SPACE_SOURCES))
    parts: list[Part] = []
    for name in SPACE_SOURCES:
        if name in exclude:
            continue
        space = SPACES[name]
        stamped = type(space).stamp is not SearchSpace.stamp
        count = share if stamped else max(1, share // CAPTURED_SHARE)
        whole = stamped and space.size <= WHOLE * share
        total = space.size if whole else min(count, space.size)
        starts = range(0, total, SHARD)
        parts.extend(Part(name, seed, first, min(SHARD, total - first), whole) for first in starts)
    return parts


def random_parts(graphs: int, seed: int) -> Iterator[Part]:
    """Parts of random pools, without an end."""
    pools = min(POOLS, max(1, graphs // (8 * POOL)))
    number = 0
    while True:
        yield Part(RANDOM, seed, number, pools)
        number += 1


def zoo_parts(exclude: Iterable[str]) -> list[Part]:
    """Parts of the zoos whose packages are installed."""
    parts: list[Part] = []
    for source, names in ZOO_SOURCES.items():
        if source not in exclude:
            every = names()
            starts = range(0, len(every), ZOO_PART)
            parts.extend(Part(source, names=tuple(every[start : start + ZOO_PART])) for start in starts)
    return parts


def make(part: Part) -> Material:
    """The graphs of a part, no two alike."""
    start = time.process_time()
    failures: list[str] = []
    if part.source in ZOO_SOURCES:
        batch, failures = captured(part.names)
        pools = [part.source] * len(batch)
    elif part.source == RANDOM:
        batch, pools = _random(part)
    else:
        batch = _space_graphs(part)
        pools = [part.source] * len(batch)
    hashes = graph_hashes(batch)
    first: dict[str, int] = {}
    for position, value in enumerate(hashes):
        first.setdefault(value, position)
    rows = list(first.values())
    arrays, texts = select(*pack_graphs(batch), np.asarray(rows, dtype=np.int64))
    seconds = time.process_time() - start
    return Material(arrays, texts, hash_array(first), [pools[row] for row in rows], len(hashes), failures, seconds)


def _space_graphs(part: Part) -> GraphBatch:
    space: SearchSpace[Any] = SPACES[part.source]
    if part.whole:
        specs = list(islice(space.all_specs(), part.first, part.first + part.count))
    else:
        rng = np.random.default_rng([part.seed, part.first, *part.source.encode()])
        specs = list(dict.fromkeys(space.sample(rng) for _ in range(part.count)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that capturing imports
        return space.stamp(specs, space.classes)


def _random(part: Part) -> tuple[GraphBatch, list[str]]:
    """Random pools, and networks in which everything varies; seeds of one corpus never meet those of another."""
    start = part.seed * 1_000_000 + part.first * part.count
    pools = [random_pool(seed, POOL) for seed in range(start, start + part.count)]
    free = POOL * part.count // 8
    networks = [random_network(part.seed, part.first * free + index) for index in range(free)]
    batches = [*(pool.graphs for pool in pools), GraphBatch.from_graphs(networks)]
    names = [*(pool.name for pool in pools), f"random-{part.seed}:free"]
    return GraphBatch.concatenate(batches), [
        name for name, batch in zip(names, batches, strict=True) for _ in range(len(batch))
    ]
