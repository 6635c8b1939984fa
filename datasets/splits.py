"""Splits of a benchmark into labelled (train) and ranked (test) architectures.

Three kinds, which answer different questions and must not be mixed in one table:

- `random`: a random sample is labelled, the rest is ranked; with `whole_space` everything is ranked, the sample
  included (protocol P1 of TNASP, PINAT, NAR-Former, NN-Former, ParZC).
- `isomorphism`: as `random`, but no architecture in test is the same network as one in train. Random splits of
  NAS-Bench-201 leak: its 15,625 cells are 6,466 different networks by its authors' count, 4,930 by ours, which also
  sees through dead ends and sums; within our groups the accuracies differ no more than between seeds, and 6,901 cells
  share one training run with another cell of their group.
- held-out space (`leave_one_space_out`): train on some spaces, rank another that was never seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError
from archcast.graphs.graph import IntArray

SplitKind = Literal["random", "isomorphism"]

P1_SIZES: dict[str, tuple[int, ...]] = {
    "nasbench201": (78, 156, 469, 781, 1563),
    "nasbench101": (100, 172, 424, 4236),
    "nasbench101-full": (100, 172, 424, 4236),
    "nas-bench-macro": (33, 66, 328, 656),
    "nats-sss": (100, 328, 656, 1638),
}
"""Numbers of labelled architectures: those of the published comparisons; for NATS-SSS 100, 1 %, 2 % and 5 % of it."""

DEFAULT_SIZES = (20, 50, 100)
"""Numbers of labelled architectures for benchmarks without published ones."""


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a benchmark: `train` and `test`, both sorted, unique, `[k]` integers.

    `train` and `test` overlap only where the protocol ranks the whole space.
    """

    train: IntArray
    test: IntArray
    kind: SplitKind = "random"
    seed: int = 0

    def __repr__(self) -> str:
        return f"Split({len(self.train)} train, {len(self.test)} test, {self.kind}, seed {self.seed})"


def random_split(total: int, size: int, seed: int = 0, *, whole_space: bool = False) -> Split:
    """Label `size` of `total` architectures at random and rank the others, or everything with `whole_space`.

    The same seed gives the same sample on every machine.

    Raises:
        ConfigError: `size` is not between 1 and `total` (`total - 1` unless `whole_space`).
    """
    train = _sample(total, size, seed, total if whole_space else total - 1)
    every = np.arange(total)
    return Split(train, every if whole_space else np.setdiff1d(every, train), "random", seed)


def isomorphism_split(groups: NDArray[Any], size: int, seed: int = 0) -> Split:
    """Label `size` architectures at random and rank those that are not the same network as any labelled one.

    Args:
        groups: `[n]` equal values for architectures that are the same network (`Benchmark.groups`).
        size: number of labelled architectures; the sample is the one `random_split` draws with the same seed.

    Raises:
        ConfigError: `size` is out of range, or nothing is left to rank.
    """
    train = _sample(len(groups), size, seed, len(groups) - 1)
    test = np.flatnonzero(~np.isin(groups, groups[train]))
    if not len(test):
        raise ConfigError(f"{size} labelled architectures cover all isomorphism groups; ask for fewer")
    return Split(train, test, "isomorphism", seed)


def count_isomorphs_across(split: Split, groups: NDArray[Any]) -> int:
    """How many architectures in test, not in train themselves, are the same network as one in train."""
    unseen = np.setdiff1d(split.test, split.train)
    return int(np.isin(groups[unseen], groups[split.train]).sum())


@dataclass(frozen=True, eq=False)
class HeldOutSpace:
    """One fold of `leave_one_space_out`: names of the benchmarks to train on, the one to rank, and its rows to rank."""

    train: tuple[str, ...]
    test: str
    rows: IntArray


def leave_one_space_out(
    sizes: Mapping[str, int],
    *,
    sample: int | None = None,
    seed: int = 0,
    spaces: Mapping[str, str] | None = None,
) -> Iterator[HeldOutSpace]:
    """Each benchmark in turn is ranked by what was trained on the other spaces.

    Args:
        sizes: benchmark name -> number of its architectures.
        sample: rank a random sample of this size instead of the whole space, where it is larger.
        spaces: benchmark name -> search space, for benchmarks that share one; they never train for each other.

    Raises:
        ConfigError: fewer than two spaces.
    """
    space_of = {name: (spaces or {}).get(name, name) for name in sizes}
    if len(set(space_of.values())) < 2:
        raise ConfigError(f"leaving a space out needs at least two search spaces, got {sorted(set(space_of.values()))}")
    for name, size in sizes.items():
        rows = np.arange(size) if sample is None or sample >= size else _sample(size, sample, seed, size)
        train = tuple(other for other in sizes if space_of[other] != space_of[name])
        yield HeldOutSpace(train, name, rows)


def group_numbers(hashes: Sequence[str]) -> IntArray:
    """Numbers 0, 1, ... for texts, equal where the texts are, in order of first appearance."""
    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(text, len(numbers)) for text in hashes), np.int64, len(hashes))


def _sample(total: int, size: int, seed: int, largest: int) -> IntArray:
    if not 1 <= size <= largest:
        raise ConfigError(f"cannot label {size} of {total} architectures here; choose a size between 1 and {largest}")
    return np.sort(np.random.default_rng(seed).permutation(total)[:size])
