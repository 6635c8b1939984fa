"""pymoo: what makes new architectures of old ones; `operators(space)` gives all by the keywords of an algorithm."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.search.adapters.core import missing
from archcast.search.space import Space

try:
    from pymoo.core.crossover import Crossover
    from pymoo.core.duplicate import DuplicateElimination
    from pymoo.core.mutation import Mutation
    from pymoo.core.sampling import Sampling
except ImportError as error:
    raise missing("pymoo", error) from error

Specs = NDArray[np.object_]


def operators(space: Space) -> dict[str, Any]:
    """Sampling, crossover, mutation and elimination of duplicates for an algorithm of pymoo, by keyword."""
    return {
        "sampling": RandomArchitectures(space), "crossover": Mix(space), "mutation": Change(space),
        "eliminate_duplicates": SameNetwork(space),
    }  # fmt: skip


class RandomArchitectures(Sampling):  # type: ignore[misc]
    """Random specs, each network once as long as there are new ones."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space

    def _do(self, problem: Any, n_samples: int, *args: Any, random_state: Any = None, **kwargs: Any) -> Specs:
        del problem, args, kwargs
        rng = _generator(random_state)
        found: dict[str, str] = {}
        for _ in range(20 * n_samples):
            spec = self.space.sample(rng)
            found.setdefault(self.space.identity(spec), spec)
            if len(found) == n_samples:
                break
        return _column(list(found.values()))


class Mix(Crossover):  # type: ignore[misc]
    """Two children of two parents (`Space.crossover`)."""

    def __init__(self, space: Space, prob: float = 0.9) -> None:
        super().__init__(2, 2, prob=prob)
        self.space = space

    def _do(self, problem: Any, X: Specs, *args: Any, random_state: Any = None, **kwargs: Any) -> Specs:
        del problem, args, kwargs
        rng = _generator(random_state)
        pairs = [(str(one), str(other)) for one, other in X[:, :, 0].T]
        first = [self.space.crossover(one, other, rng) for one, other in pairs]
        second = [self.space.crossover(other, one, rng) for one, other in pairs]
        return np.stack([_column(first), _column(second)])


class Change(Mutation):  # type: ignore[misc]
    """A random neighbour (`Space.mutate`)."""

    def __init__(self, space: Space, prob: float = 0.7) -> None:
        super().__init__(prob=prob)
        self.space = space

    def _do(self, problem: Any, X: Specs, *args: Any, random_state: Any = None, **kwargs: Any) -> Specs:
        del problem, args, kwargs
        rng = _generator(random_state)
        return _column([self.space.mutate(str(spec), rng) for spec in X[:, 0]])


class SameNetwork(DuplicateElimination):  # type: ignore[misc]
    """Specs of the same network (`Space.identity`) are duplicates."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space

    def _do(self, pop: Any, other: Any, is_duplicate: NDArray[np.bool_]) -> NDArray[np.bool_]:
        seen = set() if other is None else {self.space.identity(str(one.X[0])) for one in other}
        for place, one in enumerate(pop):
            identity = self.space.identity(str(one.X[0]))
            is_duplicate[place] = identity in seen
            seen.add(identity)
        return is_duplicate


def _generator(random_state: Any) -> np.random.Generator:
    """What pymoo gives; before 0.6.2 it seeded numpy's global state instead."""
    return np.random.default_rng(np.random.randint(2**31) if random_state is None else random_state)


def _column(specs: list[str]) -> Specs:
    return np.asarray(specs, dtype=object).reshape(-1, 1)
