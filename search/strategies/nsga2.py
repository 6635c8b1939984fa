"""NSGA-II (Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002).

Parents are the best of all trials, by Pareto front and, inside a front, by crowding distance. Children come one at a
time from the parents there are, so that results may arrive in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError
from archcast.search.pareto import fronts
from archcast.search.strategy import Context, Proposal

FloatArray = NDArray[np.float64]

_TRIES = 50


@dataclass(frozen=True)
class NSGA2:
    """Binary tournaments, crossover and mutation of specs."""

    population: int = 30
    """Parents; as many random architectures come first."""
    crossover: float = 0.9
    """Share of children with two parents."""
    mutation: float = 0.5
    """Share of those that are mutated as well."""

    def __post_init__(self) -> None:
        if self.population < 2 or not 0 <= self.crossover <= 1 or not 0 <= self.mutation <= 1:
            raise ConfigError("population must be 2 or more, crossover and mutation in 0..1")

    def propose(self, context: Context, count: int) -> Iterator[Proposal]:
        missing = self.population - len(context.history)
        for spec in context.candidates.random(context.rng, min(missing, count)) if missing > 0 else ():
            yield Proposal(spec, origin="random")
        done = context.history.done
        if not done:
            return
        order = best_first(context.history.values)[: self.population]
        rng, space = context.rng, context.space
        for _ in range(_TRIES * count):
            one, other = (done[order[int(rng.integers(len(order), size=2).min())]] for _ in range(2))
            if rng.random() < self.crossover and one is not other:
                child = space.crossover(one.spec, other.spec, rng)
                child = space.mutate(child, rng) if rng.random() < self.mutation else child
                origin = f"child of {one.number} and {other.number}"
            else:
                child, origin = space.mutate(one.spec, rng), f"mutant of {one.number}"
            if context.candidates.is_new(child):
                yield Proposal(child, origin=origin)


def best_first(values: FloatArray) -> NDArray[np.int64]:
    """Rows of `values` `[n, K]`, more is better, by front, and inside one by crowding distance, the loneliest first."""
    if values.shape[1] == 1:
        return np.argsort(-values[:, 0], kind="stable")
    front = fronts(values)
    crowding = np.zeros(len(values))
    for number in np.unique(front):
        rows = np.flatnonzero(front == number)
        crowding[rows] = crowding_distance(values[rows])
    return np.lexsort((-crowding, front))


def crowding_distance(values: FloatArray) -> FloatArray:
    """`[n]` gap between the neighbours on both sides as a share of the range, summed over objectives; ends infinite."""
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        distance[order[[0, -1]]] = np.inf
        span = float(np.ptp(column))
        if span > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distance
