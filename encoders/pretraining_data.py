"""What pretraining learns from: networks of many pools with targets that need no label, cut into batches.

A batch is a function of seed and step alone, so a training can go on at any step, with any number of workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archcast.datasets.cache import GraphCache, content_key, source_recipe
from archcast.encoders import spectra
from archcast.encoders.augmentations import Augmented, augment
from archcast.encoders.graph_tensors import standardised
from archcast.encoders.spectra import EIGENVALUES, laplacian_spectra
from archcast.errors import ConfigError, DataError
from archcast.graphs import statistics as graph_statistics
from archcast.graphs.graph import GraphBatch, IntArray
from archcast.graphs.hashing import graph_hashes
from archcast.graphs.statistics import statistics

if TYPE_CHECKING:
    from archcast.datasets.corpus import Corpus

_CHUNK: Final = 8192  # graphs whose targets are computed together


class GraphSource(Protocol):
    """Anything that hands out graphs by position; a `GraphBatch` does."""

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[Any]) -> GraphBatch: ...


@dataclass(frozen=True, eq=False)
class PretrainingData:
    """G networks without labels.

    Attributes:
        graphs: the networks.
        pool: `[G]` int64, the pool each belongs to.
        identity: `[G]` int64, equal for equal networks.
        spectra: `[G, k]` float32, smallest Laplacian eigenvalues.
        statistics: `[G, S]` float32, free statistics, standardised.
        measured: `[G, M]` float32, measured statistics of networks, standardised; NaN where not measured. Or None.
        node_measured: gives for positions of networks the standardised statistics of all their nodes, `[N, S2]`, NaN
            where not measured. Or None.
    """

    graphs: GraphSource
    pool: IntArray
    identity: IntArray
    spectra: NDArray[np.float32]
    statistics: NDArray[np.float32]
    measured: NDArray[np.float32] | None = None
    node_measured: Callable[[IntArray], NDArray[np.float32]] | None = None

    def __post_init__(self) -> None:
        for name in ("pool", "identity", "spectra", "statistics", "measured"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.graphs):
                raise DataError(f"{name} has {len(values):,} rows for {len(self.graphs):,} networks; give one each")

    @classmethod
    def of(
        cls,
        graphs: GraphSource,
        pool: NDArray[Any],
        *,
        eigenvalues: int = EIGENVALUES,
        measured: NDArray[np.floating] | None = None,
        node_measured: Callable[[IntArray], NDArray[np.float32]] | None = None,
    ) -> PretrainingData:
        """The networks with their targets computed here; `measured` is raw and gets standardised."""
        return cls(
            graphs,
            np.asarray(pool, dtype=np.int64),
            _table(graphs, identities),
            _table(graphs, partial(laplacian_spectra, eigenvalues=eigenvalues)),
            standardised(_table(graphs, _statistics)),
            None if measured is None else standardised(measured),
            node_measured,
        )

    @classmethod
    def of_corpus(cls, corpus: Corpus, eigenvalues: int = EIGENVALUES) -> PretrainingData:
        """All networks of a corpus. Spectra and statistics are kept in the cache: they take minutes for a large one."""
        identity = np.ascontiguousarray(corpus.hashes[:, 0]).view(np.int64)
        pool = np.zeros(len(corpus), dtype=np.int64)
        for number, members in enumerate(corpus.pools):
            for first, last in members.spans:
                pool[first:last] = number
        key = content_key("pretraining", hashlib.blake2b(corpus.hashes.tobytes()).hexdigest())
        recipe = source_recipe([Path(spectra.__file__), Path(graph_statistics.__file__)])
        cache = GraphCache()
        rows = cache.matrix(
            key, f"spectra-{eigenvalues}",
            lambda: _table(corpus, partial(laplacian_spectra, eigenvalues=eigenvalues)), recipe=recipe,
        )  # fmt: skip
        free = cache.matrix(key, "statistics", lambda: _table(corpus, _statistics), recipe=recipe)
        return cls(corpus, pool, identity, rows, standardised(free))

    def __len__(self) -> int:
        return len(self.graphs)

    @property
    def node_columns(self) -> int:
        """Number S2 of node statistics; 0 where there are none."""
        return 0 if self.node_measured is None else self.node_measured(np.zeros(1, np.int64)).shape[1]

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that tell these networks, in this order, from others.

        Targets computed from the networks do not count: their last bits depend on the number of threads.
        """
        digest = hashlib.blake2b(repr(None if self.measured is None else self.measured.shape).encode(), digest_size=16)
        for values in (self.pool, self.identity):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


def _table(graphs: GraphSource, columns: Callable[[GraphBatch], NDArray[Any]]) -> NDArray[Any]:
    """What `columns` gives for all graphs, computed some thousands at a time."""
    starts = range(0, len(graphs), _CHUNK)
    parts = [columns(graphs.take(np.arange(start, min(start + _CHUNK, len(graphs))))) for start in starts]
    if not parts:
        raise DataError("there are no networks to pretrain on; give some")
    return np.concatenate(parts)


def _statistics(graphs: GraphBatch) -> NDArray[np.float64]:
    """`[G, S]` all free statistics."""
    return np.column_stack(list(statistics(graphs).values())).astype(np.float64)


def identities(graphs: GraphBatch) -> IntArray:
    """`[G]` the first 64 bits of each graph's hash."""
    return np.asarray([int(value[:16], 16) for value in graph_hashes(graphs)], dtype=np.uint64).view(np.int64)


@dataclass(frozen=True, eq=False)
class BatchOrder:
    """Which networks each step sees.

    Every epoch visits each network once, but for what is left of the last batch. A batch is put together from
    `pools_per_batch` equal groups, each drawn from one pool, so that every network has negatives of its own pool: those
    are the hard ones. What is left of pools that do not divide evenly forms groups too.
    """

    pool: IntArray
    batch_size: int
    pools_per_batch: int
    seed: int

    def __post_init__(self) -> None:
        if self.batch_size % self.pools_per_batch:
            raise ConfigError(f"batch_size={self.batch_size} is no multiple of pools_per_batch={self.pools_per_batch}")
        if self.batch_size > len(self.pool):
            raise ConfigError(
                f"a batch of {self.batch_size} is more than the {len(self.pool):,} networks; make it smaller"
            )

    @property
    def steps_per_epoch(self) -> int:
        return len(self.pool) // self.batch_size

    def batch(self, step: int) -> IntArray:
        """`[batch_size]` positions of the networks of a step, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        row: IntArray = self._epoch(epoch)[position]
        return row

    @lru_cache(2)  # noqa: B019 - one order lives as long as its training
    def _epoch(self, epoch: int) -> IntArray:
        rng = np.random.default_rng([self.seed, epoch])
        size = self.batch_size // self.pools_per_batch
        groups, rest = [], []
        for pool in np.unique(self.pool):
            members = rng.permutation(np.flatnonzero(self.pool == pool))
            whole = len(members) // size * size
            groups.append(members[:whole].reshape(-1, size))
            rest.append(members[whole:])
        left = np.concatenate(rest)
        groups.append(left[: len(left) // size * size].reshape(-1, size))
        shuffled = rng.permutation(np.concatenate(groups))
        steps = self.steps_per_epoch
        return np.asarray(shuffled[: steps * self.pools_per_batch].reshape(steps, self.batch_size), dtype=np.int64)


class TensorReader(Protocol):
    """How an encoder's inputs are made from graphs."""

    def tensors(self, graphs: GraphBatch, measured: NDArray[np.float32] | None) -> Any: ...


@dataclass(frozen=True, eq=False)
class StepInputs:
    """What one process computes one step from.

    Attributes:
        plain: inputs of each encoder.
        augmented: inputs of each encoder from augmented networks; empty where no objective asks for them.
        targets: fields of `archcast.encoders.contrastive.Views` that are not computed by encoders.
    """

    plain: dict[str, Any]
    augmented: dict[str, Any]
    targets: dict[str, Tensor]

    def to(self, device: torch.device) -> StepInputs:
        """The same on another device."""
        return replace(
            self,
            plain={name: value.to(device) for name, value in self.plain.items()},
            augmented={name: value.to(device) for name, value in self.augmented.items()},
            targets={name: value.to(device) for name, value in self.targets.items()},
        )


@dataclass(frozen=True, eq=False)
class StepMaker:
    """Makes `StepInputs`; item `step` of it is a function of seed, step and process alone.

    Attributes:
        data: the networks.
        order: which of them each step sees.
        readers: encoders by name.
        augmentations: names of those to apply; none are made where it is empty.
        hide_measured: share of networks whose node measurements are hidden from the encoder.
        process, processes: the process this is, and how many there are. Each takes an equal slice of the batch.
    """

    data: PretrainingData
    order: BatchOrder
    readers: Mapping[str, TensorReader]
    augmentations: tuple[str, ...]
    hide_measured: float
    process: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.order.batch_size % self.processes:
            raise ConfigError(f"batch_size={self.order.batch_size} is no multiple of {self.processes} processes")

    def __getitem__(self, step: int) -> StepInputs:
        rng = np.random.default_rng([self.order.seed, step, self.process, 1])
        share = self.order.batch_size // self.processes
        rows = self.order.batch(step)[self.process * share : (self.process + 1) * share]
        source = Augmented.of(self.data.graphs.take(rows))
        shown, hidden = self._measured(rows, source.graphs, rng)
        plain = {name: reader.tensors(source.graphs, shown) for name, reader in self.readers.items()}
        augmented = {}
        if self.augmentations:
            other = augment(source.graphs, rng, self.augmentations)
            of_nodes = None if shown is None else shown[other.rows]
            augmented = {name: reader.tensors(other.graphs, of_nodes) for name, reader in self.readers.items()}
        return StepInputs(plain, augmented, self._targets(rows, hidden))

    def _measured(
        self, rows: IntArray, graphs: GraphBatch, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        """Node measurements the encoder sees, and those it has to tell: whole networks, and some nodes of the rest."""
        if self.data.node_measured is None:
            return None, None
        values = self.data.node_measured(rows)
        networks = rng.random(len(graphs)) < self.hide_measured
        hide = networks[graphs.graph_of_node] | (rng.random(len(values)) < 0.15)
        nothing = np.float32(np.nan)
        return np.where(hide[:, None], nothing, values), np.where(hide[:, None], values, nothing)

    def _targets(self, rows: IntArray, hidden: NDArray[np.float32] | None) -> dict[str, Tensor]:
        values: dict[str, NDArray[Any] | None] = {
            "identity": self.data.identity[rows],
            "spectra": self.data.spectra[rows],
            "statistics": self.data.statistics[rows],
            "measured": None if self.data.measured is None else self.data.measured[rows],
            "node_measured": hidden,
        }
        return {name: torch.from_numpy(value) for name, value in values.items() if value is not None}
