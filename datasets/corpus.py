"""The unlabelled corpus: graphs of search spaces, model zoos and random networks, for pretraining.

A corpus is a folder of shards (Arrow IPC files, memory-mapped when read) and `corpus.json`. No graph is in it twice.
`make_corpus` writes it from a seed; interrupted, it goes on at the first shard that is missing.

Examples:
    >>> corpus = make_corpus("corpus", graphs=2000, zoo=False)
    >>> corpus = Corpus.open("corpus", exclude=["nasbench201"])
    >>> batch = corpus.sample(np.random.default_rng(0), 256)
    >>> for pool, batch in islice(corpus.pool_batches(np.random.default_rng(0), 64), 100): ...
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.datasets.corpus_shards import HashArray, Shard
from archcast.datasets.corpus_writing import MANIFEST, CorpusOptions, read_manifest, write_shards
from archcast.errors import DataError, MissingDataError, UnknownNameError
from archcast.graphs.graph import GraphBatch, IntArray


@dataclass(frozen=True)
class CorpusPool:
    """Graphs of one space, zoo or random pool.

    Attributes:
        name: name of the pool; a space or zoo is one pool.
        source: the space, the zoo, or "random".
        spans: `(first, last)` positions in the corpus, `last` not included.
    """

    name: str
    source: str
    spans: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return sum(last - first for first, last in self.spans)

    @property
    def positions(self) -> IntArray:
        """Positions of its graphs in the corpus."""
        return np.concatenate([np.arange(first, last) for first, last in self.spans])


def make_corpus(
    folder: str | Path,
    *,
    graphs: int = 200_000,
    seed: int = 0,
    exclude: Iterable[str] = (),
    zoo: bool = True,
    jobs: int = 1,
    executor: Executor | None = None,
    progress: bool = True,
) -> Corpus:
    """Make a corpus, or finish one that was interrupted.

    Args:
        folder: where it goes.
        graphs: at least so many different graphs from spaces and random networks; zoos come on top.
        seed: of samples and random networks. The same arguments give the same files, byte for byte.
        exclude: sources to leave out (`archcast.datasets.corpus_sources.SOURCES`).
        zoo: whether the networks of the installed zoos are captured; captures are kept in the cache.
        jobs: processes.
        executor: makes the parts instead of processes of this machine, `jobs` at the same time:
            `archcast.ray_executor.RayExecutor` on many machines.
        progress: show a bar with the time left.

    Raises:
        ConfigError: an argument is out of range, or the folder holds a corpus made with other arguments.
        UnknownNameError: `exclude` names a source that does not exist.
        MissingExtraError: the package of a zoo is not installed.
        StorageError: a file cannot be written.
    """
    options = CorpusOptions.checked(graphs, seed, exclude, zoo)
    write_shards(Path(folder), options, jobs, progress, executor)
    return Corpus.open(folder)


class Corpus:
    """A corpus on disk. `open` makes one; graphs are read when they are asked for.

    Attributes:
        folder: where it is.
        pools: its pools, in the order of their first graph.
    """

    def __init__(self, folder: Path, shards: Sequence[dict[str, Any]]) -> None:
        self.folder = folder
        self._entries = list(shards)
        self._shards = [Shard(folder / entry["file"]) for entry in shards]
        sizes = [entry["graphs"] for entry in shards]
        self._starts: IntArray = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.pools = _pools(self._entries, self._starts)
        self._by_name = {pool.name: pool for pool in self.pools}

    @classmethod
    def open(cls, folder: str | Path, exclude: Iterable[str] = ()) -> Corpus:
        """The corpus in `folder` without the sources in `exclude`.

        Raises:
            MissingDataError: there is none, or a shard is missing.
            DataError: it is unfinished or damaged.
            UnknownNameError: `exclude` names a source that it does not have.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        if manifest is None:
            raise MissingDataError(
                f"there is no corpus in {folder}: no {MANIFEST}. Make one: archcast datasets corpus --output {folder}"
            )
        if not manifest["complete"]:
            raise DataError(
                f"the corpus in {folder} is unfinished; run the command that makes it again, it goes on where it ended"
            )
        left_out = set(exclude)
        unknown = left_out - {entry["source"] for entry in manifest["shards"]} - set(manifest["options"]["exclude"])
        if unknown:
            known = sorted({entry["source"] for entry in manifest["shards"]})
            raise UnknownNameError(f"the corpus has no source {min(unknown)!r}; it has {', '.join(known)}")
        shards = [entry for entry in manifest["shards"] if entry["source"] not in left_out]
        for entry in shards:
            if not (folder / entry["file"]).is_file():
                raise MissingDataError(f"{folder / entry['file']} is missing; make the corpus again, it is put back")
        return cls(folder, shards)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def sources(self) -> dict[str, int]:
        """Name -> number of graphs of each space and zoo, and of the random networks."""
        counts: Counter[str] = Counter()
        for entry in self._entries:
            counts[entry["source"]] += entry["graphs"]
        return dict(counts)

    @property
    def failures(self) -> list[str]:
        """`name: reason` of the networks of zoos that could not be captured."""
        return [failure for entry in self._entries for failure in entry["failures"]]

    @property
    def shards(self) -> list[tuple[str, Shard]]:
        """Source and file of every shard."""
        return [(entry["source"], shard) for entry, shard in zip(self._entries, self._shards, strict=True)]

    @cached_property
    def hashes(self) -> HashArray:
        """`[N, 2]` graph hashes, in the order of the graphs."""
        return np.concatenate([np.zeros((0, 2), np.uint64), *(shard.hashes for shard in self._shards)])

    def pool(self, name: str) -> CorpusPool:
        """The pool called `name`; that of a space or zoo has its name.

        Raises:
            UnknownNameError: there is none.
        """
        if name not in self._by_name:
            raise UnknownNameError(f"the corpus has no pool {name!r}; it has {len(self.pools)}, see `pools`")
        return self._by_name[name]

    def take(self, positions: NDArray[Any] | Sequence[int]) -> GraphBatch:
        """The graphs at `positions`, in that order.

        Raises:
            IndexError: a position is not in the corpus.
        """
        rows = np.asarray(positions, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"positions of this corpus go from 0 to {len(self) - 1}")
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(owner, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)
        batches = [
            self._shards[owner[group[0]]].take(rows[group] - self._starts[owner[group[0]]])
            for group in groups
            if len(group)
        ]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return GraphBatch.concatenate(batches).take(back)

    def sample(self, rng: np.random.Generator, count: int) -> GraphBatch:
        """`count` different graphs, each as likely as the others (all of them if there are not more)."""
        return self.take(rng.choice(len(self), min(count, len(self)), replace=False))

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[GraphBatch]:
        """All graphs once, `size` at a time, in the order of the corpus or shuffled by `rng`."""
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        for start in range(0, len(self), size):
            yield self.take(order[start : start + size])

    def pool_batches(self, rng: np.random.Generator, size: int) -> Iterator[tuple[CorpusPool, GraphBatch]]:
        """Without an end: a random pool (pools are as likely as they are large) and up to `size` of its graphs."""
        weights = np.asarray([len(pool) for pool in self.pools], dtype=np.float64)
        bounds = np.cumsum(weights / weights.sum())
        while True:
            pool = self.pools[min(int(np.searchsorted(bounds, rng.random(), side="right")), len(self.pools) - 1)]
            positions = pool.positions
            yield pool, self.take(rng.choice(positions, min(size, len(positions)), replace=False))

    def __repr__(self) -> str:
        return f"Corpus({self.folder}: {len(self)} graphs, {len(self.sources)} sources, {len(self.pools)} pools)"


def _pools(entries: Sequence[dict[str, Any]], starts: IntArray) -> tuple[CorpusPool, ...]:
    """Pools with their positions; one may go over several shards."""
    spans: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for entry, start in zip(entries, starts[:-1].tolist(), strict=True):
        first = start
        for name, size in entry["pools"]:
            spans.setdefault((name, entry["source"]), []).append((first, first + size))
            first += size
    return tuple(CorpusPool(name, source, tuple(parts)) for (name, source), parts in spans.items())
