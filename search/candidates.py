"""`Candidates`: the architectures a search may still propose, with features and costs.

A space that can be enumerated is encoded once, each network once however many specs it has. Of a larger one, each
call draws a pool: random architectures, and mutants and children of the best so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ArchcastError
from archcast.search.costs import Cost, Encoded, given_cost
from archcast.search.history import History
from archcast.search.objectives import Limits
from archcast.search.space import Space

FloatArray = NDArray[np.float64]

_CHUNK = 4096
_KEPT = 50_000  # rows of architectures drawn from large spaces; the oldest are forgotten
_PATIENCE = 200  # rounds of draws before a space counts as searched through


@dataclass(frozen=True, eq=False)
class Pool:
    """Some candidates.

    Attributes:
        specs: `[n]`, no two the same network.
        features: `[n, F]` of `archcast.encoders.features`.
        costs: name -> `[n]`.
        whole: whether these are all that are left.
        rows: `[n]` places in `Candidates.everything`; `whole` ones only.
    """

    specs: Sequence[str]
    features: NDArray[np.float32]
    costs: Mapping[str, FloatArray]
    whole: bool
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.specs)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Pool:
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        costs = {name: values[rows] for name, values in self.costs.items()}
        return Pool([self.specs[int(row)] for row in rows], self.features[rows], costs, self.whole, self.rows[rows])


class Candidates:
    """What is left of a space.

    Args:
        space: the space.
        history: trials, which are left out.
        limits: what costs must keep to.
        costs: those of the user, by name.
        needed: names of costs that objectives need.
        pool: architectures to draw where the space cannot be enumerated.
    """

    def __init__(
        self,
        space: Space,
        history: History,
        limits: Limits,
        costs: Mapping[str, Cost],
        needed: Sequence[str] = (),
        pool: int = 1000,
    ) -> None:
        self.space, self.history, self.limits = space, history, limits
        self.pool_size = pool
        self._given = dict(costs)
        self._names = tuple(dict.fromkeys((*limits.upper, *needed)))
        self._rows: dict[str, tuple[NDArray[np.float32], tuple[float, ...]]] = {}
        self._whole: Pool | None = None
        self._sample: tuple[int, Pool] | None = None
        self._memory: tuple[tuple[Any, ...], FloatArray] | None = None
        self._identity_row: dict[str, int] = {}
        self._identities: dict[str, str] = {}

    # -- one architecture -------------------------------------------------------------------------------------------

    def identity(self, spec: str) -> str:
        """`Space.identity`, remembered."""
        found = self._identities.get(spec)
        if found is None:
            if len(self._identities) >= 4 * _KEPT:
                self._identities.clear()
            found = self._identities[spec] = self.space.identity(spec)
        return found

    def is_new(self, spec: str) -> bool:
        return not self.history.has_spec(spec) and not self.history.has(self.identity(spec))

    def feasible(self, specs: Sequence[str]) -> NDArray[np.bool_]:
        """`[n]` whether each spec keeps every limit. Nothing is built; one that cannot even be captured does not."""
        if not self._names or not self.limits.upper:
            return np.ones(len(specs), dtype=bool)
        return self.limits.allows(self.costs(specs), len(specs))

    def costs(self, specs: Sequence[str]) -> dict[str, FloatArray]:
        """`[n]` every cost that limits or objectives name."""
        if not self._names:
            return {}
        _, costs = self._encoded(specs) if self._counts else (None, self._costs(specs, None))
        return costs

    def features(self, specs: Sequence[str]) -> NDArray[np.float32]:
        """`[n, F]` features; NaN in every column of one that cannot be captured."""
        return self._encoded(specs)[0]

    # -- many -------------------------------------------------------------------------------------------------------

    def random(self, rng: np.random.Generator, count: int) -> list[str]:
        """New architectures that keep the limits, at random; fewer than `count` where there are no more."""
        found: dict[str, str] = {}
        specs = self.space.specs()
        for _ in range(_PATIENCE if specs is None else _PATIENCE // 20):
            if len(found) >= count:
                break
            drawn = [self.space.sample(rng) for _ in range(2 * (count - len(found)))]
            self._add(found, drawn, count)
        if len(found) < count and specs is not None:
            rows = rng.permutation(len(specs))
            for start in range(0, len(specs), _CHUNK):
                self._add(found, [specs[row] for row in rows[start : start + _CHUNK]], count)
                if len(found) >= count:
                    break
        return list(found.values())

    def fresh(self, specs: Sequence[str]) -> list[str]:
        """Those of `specs` that are new and keep the limits, each network once."""
        found: dict[str, str] = {}
        self._add(found, specs, len(specs))
        return list(found.values())

    def pool(self, rng: np.random.Generator, parents: Sequence[str] = ()) -> Pool:
        """Candidates with features: all that are left, or `pool_size` drawn around `parents` and at random."""
        return self._left() if self._is_whole else self._drawn(rng, parents)

    @property
    def _is_whole(self) -> bool:
        """Whether the space is encoded as a whole."""
        return self.space.size <= self.space.scored_whole and self.space.specs() is not None

    def selection(self, specs: Sequence[str]) -> Pool | None:
        """Those of `specs` that are new and keep the limits, with features; None if there are none."""
        kept = self.fresh(specs)
        if not kept:
            return None
        features, costs = self._encoded(kept)
        pool = _pool(kept, features, costs).take(np.isfinite(features[:, 0]))
        return pool if len(pool) else None

    def everything(self, seed: int) -> Pool:
        """What keeps the limits, proposed or not: the space, or `pool_size` random architectures of a large one."""
        if self._is_whole:
            return self._all()
        if self._sample is None or self._sample[0] != seed:
            rng = np.random.default_rng(seed)
            distinct: dict[str, str] = {}
            for _ in range(4 * self.pool_size):
                spec = self.space.sample(rng)
                distinct.setdefault(self.identity(spec), spec)
                if len(distinct) >= self.pool_size:
                    break
            self._sample = (seed, self._encode_kept(list(distinct.values()), whole=False))
        return self._sample[1]

    def _all(self) -> Pool:
        if self._whole is None:
            distinct: dict[str, str] = {}
            for spec in self.space.specs() or ():
                distinct.setdefault(self.identity(spec), spec)
            self._whole = self._encode_kept(list(distinct.values()), whole=True)
            self._identity_row = {self.identity(spec): row for row, spec in enumerate(self._whole.specs)}
        return self._whole

    def _encode_kept(self, specs: list[str], *, whole: bool) -> Pool:
        features, costs = self._encode_all(specs)
        kept = np.isfinite(features[:, 0]) & self.limits.allows(costs, len(specs))
        return _pool(
            [specs[row] for row in np.flatnonzero(kept)],
            features[kept],
            {name: values[kept] for name, values in costs.items()},
            whole=whole,
        )

    def _left(self) -> Pool:
        everything = self._all()
        free = np.ones(len(everything), dtype=bool)
        for trial in self.history:
            row = self._identity_row.get(trial.identity)
            if row is not None:
                free[row] = False
        return everything.take(free)

    def _drawn(self, rng: np.random.Generator, parents: Sequence[str]) -> Pool:
        found: dict[str, str] = {}
        wanted = self.pool_size
        if parents:
            for _ in range(4):
                if len(found) >= wanted // 2:
                    break
                self._add(found, list(self._offspring(rng, parents, wanted // 2)), wanted // 2)
        for _ in range(8):
            if len(found) >= wanted:
                break
            self._add(found, [self.space.sample(rng) for _ in range(wanted - len(found))], wanted)
        specs = list(found.values())
        features, costs = self._encoded(specs)
        return _pool(specs, features, costs).take(np.isfinite(features[:, 0]))

    def _offspring(self, rng: np.random.Generator, parents: Sequence[str], count: int) -> Iterator[str]:
        """Mutants of one or two steps, and children of two parents; earlier parents have more."""
        for _ in range(count):
            first = parents[int(len(parents) * rng.random() ** 2)]
            if len(parents) > 1 and rng.random() < 0.25:
                yield self.space.crossover(first, parents[int(rng.integers(len(parents)))], rng)
                continue
            child = self.space.mutate(first, rng)
            yield self.space.mutate(child, rng) if rng.random() < 0.33 else child

    def _add(self, found: dict[str, str], specs: Sequence[str], most: int) -> None:
        new: dict[str, str] = {}
        for spec in specs:
            if self.is_new(spec):
                identity = self.identity(spec)
                if identity not in found:
                    new.setdefault(identity, spec)
        keeps = self.feasible(list(new.values()))
        for (identity, spec), keep in zip(new.items(), keeps, strict=True):
            if keep and len(found) < most:
                found[identity] = spec

    def rows_of(self, specs: Sequence[str]) -> NDArray[np.int64]:
        """`[n]` places of specs in `everything` of a space that can be enumerated; -1 where they are not in it."""
        self._all()
        return np.asarray([self._identity_row.get(self.identity(spec), -1) for spec in specs], dtype=np.int64)

    def remembered(self, key: tuple[Any, ...], make: Callable[[], FloatArray]) -> FloatArray:
        """What `make` gave the last time, if that was for the same `key`."""
        if self._memory is None or self._memory[0] != key:
            self._memory = (key, make())
        return self._memory[1]

    # -- encoding ---------------------------------------------------------------------------------------------------

    @property
    def _counts(self) -> bool:
        """Whether a cost has to be counted on graphs."""
        return any(name not in self._given for name in self._names)

    def _encoded(self, specs: Sequence[str]) -> tuple[NDArray[np.float32], dict[str, FloatArray]]:
        """Features and costs, each architecture made once."""
        missing = [spec for spec in dict.fromkeys(specs) if spec not in self._rows]
        if len(self._rows) + len(missing) > _KEPT:
            self._rows.clear()
            missing = list(dict.fromkeys(specs))
        if missing:
            features, costs = self._encode_all(missing)
            table = np.stack([costs[name] for name in self._names], axis=1) if self._names else None
            for row, spec in enumerate(missing):
                numbers = () if table is None else tuple(table[row].tolist())
                self._rows[spec] = (features[row], numbers)
        rows = [self._rows[spec] for spec in specs]
        width = len(rows[0][0]) if rows else 0
        features = np.asarray([row[0] for row in rows], dtype=np.float32).reshape(len(rows), width)
        columns = np.asarray([row[1] for row in rows], dtype=np.float64).reshape(len(rows), len(self._names))
        return features, {name: columns[:, i] for i, name in enumerate(self._names)}

    def _encode_all(self, specs: Sequence[str]) -> tuple[NDArray[np.float32], dict[str, FloatArray]]:
        from archcast.encoders.features import FEATURE_NAMES

        features = np.full((len(specs), len(FEATURE_NAMES)), np.nan, dtype=np.float32)
        costs = {name: np.full(len(specs), np.nan) for name in self._names}
        for start in range(0, len(specs), _CHUNK):
            for rows, encoded in self._encode(specs, range(start, min(start + _CHUNK, len(specs)))):
                features[rows] = encoded.features
                for name, values in self._costs([specs[row] for row in rows], encoded).items():
                    costs[name][rows] = values
        return features, costs

    def _costs(self, specs: Sequence[str], encoded: Encoded | None) -> dict[str, FloatArray]:
        costs = {}
        for name in self._names:
            if name in self._given:
                costs[name] = given_cost(name, self._given[name], specs)
            elif encoded is not None:
                costs[name] = encoded.counted[name]
        return costs

    def _encode(self, specs: Sequence[str], rows: Sequence[int]) -> Iterator[tuple[list[int], Encoded]]:
        """Those of `rows` that can be captured: together, or one by one where one of them cannot."""
        try:
            yield list(rows), self.space.encode([specs[row] for row in rows])
        except ArchcastError:
            if len(rows) > 1:
                for row in rows:
                    yield from self._encode(specs, [row])


def _pool(
    specs: Sequence[str], features: NDArray[np.float32], costs: Mapping[str, FloatArray], *, whole: bool = False
) -> Pool:
    return Pool(specs, features, costs, whole, np.arange(len(specs)))
