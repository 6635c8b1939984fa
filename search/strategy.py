"""`Strategy`: what proposes architectures. One contract for all; a search looks after everything else.

A strategy is a function of what is known: it proposes from the history and a generator of random numbers that depends
on the seed and on the number of proposals so far. So a resumed search goes on as if nothing had happened, and two
processes can share one. What is dear to make (features) may be kept in the strategy, never what decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from archcast.errors import ConfigError, UnknownNameError
from archcast.search.history import History

if TYPE_CHECKING:
    from archcast.predictor.predictor import Predictor
    from archcast.search.candidates import Candidates
    from archcast.search.space import Space


@dataclass(frozen=True)
class Proposal:
    """A spec, what is expected of its first objective (more is better), and how it was found."""

    spec: str
    forecast: float = math.nan
    origin: str = ""


@dataclass(frozen=True)
class Context:
    """What a strategy may look at.

    Attributes:
        space: where architectures come from.
        history: all trials so far.
        candidates: architectures not yet proposed that keep the limits, with features and costs.
        rng: the same for the same seed and number of proposals.
        seed: the same for the whole search.
        predictor: a pretrained one, if any.
    """

    space: Space
    history: History
    candidates: Candidates
    rng: np.random.Generator
    seed: int
    predictor: Predictor | None = None


class Strategy(Protocol):
    """Proposes architectures."""

    def propose(self, context: Context, count: int) -> Iterable[Proposal]:
        """Architectures worth evaluating next, the most promising first, any number of them.

        The search takes the first `count` that are new and keep the limits, and fills up with random ones.
        """
        ...


STRATEGIES: Mapping[str, tuple[str, str]] = {
    "guided": ("guided", "Guided"),
    "random": ("random_search", "RandomSearch"),
    "local": ("local_search", "LocalSearch"),
    "evolution": ("evolution", "RegularisedEvolution"),
    "nsga2": ("nsga2", "NSGA2"),
    "weaknas": ("weak_predictors", "WeakPredictors"),
    "gbdt-nas": ("gbdt_nas", "GBDTNAS"),
    "bananas": ("thompson", "Thompson"),
    "robot": ("robot", "RoBoT"),
}
"""Name -> module in `archcast.search.strategies` and class; each a frozen dataclass of settings with defaults."""


def make_strategy(strategy: str | Strategy, **settings: Any) -> Strategy:
    """The strategy called `strategy` with its settings; one that is made already is returned as it is.

    Raises:
        UnknownNameError: there is no such strategy; the message lists those there are.
        ConfigError: a setting it does not have.
    """
    if not isinstance(strategy, str):
        return strategy
    if strategy not in STRATEGIES:
        raise UnknownNameError(f"no search strategy {strategy!r}; there are: {', '.join(STRATEGIES)}")
    module, name = STRATEGIES[strategy]
    made = getattr(import_module(f"archcast.search.strategies.{module}"), name)
    known = [key for key in made.__dataclass_fields__ if not key.startswith("_")]
    if unknown := sorted(set(settings) - set(known)):
        raise ConfigError(f"strategy {strategy} has no setting {', '.join(unknown)}; it has: {', '.join(known)}")
    result: Strategy = made(**settings)
    return result
