"""What a search knows: trials, each one proposed architecture, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from archcast.search.objectives import Objectives

FloatArray = NDArray[np.float64]
State = Literal["pending", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One proposed architecture.

    Attributes:
        number: of the proposal, from 0 on.
        spec: the architecture.
        identity: equal for architectures that are the same network; no two trials of a search share one.
        state: "pending" until it is told.
        scores: one number per objective, in its own unit; empty unless done.
        reason: why it failed.
        forecast: what the strategy expected of the first objective, NaN if nothing.
        origin: how it was found, for people.
        seconds: how long the evaluation took, NaN if unknown.
        owner: the process that evaluates it.
    """

    number: int
    spec: str
    identity: str
    state: State = "pending"
    scores: tuple[float, ...] = ()
    reason: str = ""
    forecast: float = math.nan
    origin: str = ""
    seconds: float = math.nan
    owner: str = ""


@dataclass
class History:
    """All trials of a search, by number. `record` adds a trial or replaces what was known of it.

    Attributes:
        objectives: what the scores are.
    """

    objectives: Objectives
    _trials: dict[int, Trial] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _of_spec: dict[str, int] = field(default_factory=dict)
    _pending: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[Trial]:
        return (self._trials[number] for number in sorted(self._trials))

    def record(self, trials: Iterable[Trial]) -> None:
        for trial in trials:
            self._trials[trial.number] = trial
            self._numbers[trial.identity] = trial.number
            self._of_spec[trial.spec] = trial.number
            (self._pending.add if trial.state == "pending" else self._pending.discard)(trial.number)

    def of_spec(self, spec: str) -> Trial | None:
        """The trial of exactly this spec."""
        number = self._of_spec.get(spec)
        return None if number is None else self._trials[number]

    def of_identity(self, identity: str) -> Trial | None:
        """The trial of this network."""
        number = self._numbers.get(identity)
        return None if number is None else self._trials[number]

    @property
    def next_number(self) -> int:
        return len(self._trials)

    def has_spec(self, spec: str) -> bool:
        return spec in self._of_spec

    def has(self, identity: str) -> bool:
        """Whether this network was proposed."""
        return identity in self._numbers

    @property
    def identities(self) -> frozenset[str]:
        return frozenset(self._numbers)

    @property
    def done(self) -> list[Trial]:
        """Trials with scores, in the order they were proposed."""
        return [trial for trial in self if trial.state == "done"]

    @property
    def failed(self) -> list[Trial]:
        return [trial for trial in self if trial.state == "failed"]

    @property
    def pending(self) -> list[Trial]:
        return [self._trials[number] for number in sorted(self._pending)]

    @property
    def values(self) -> FloatArray:
        """`[n, K]` scores of `done`, every objective turned so that more is better."""
        return self.objectives.maximised([trial.scores for trial in self.done])

    @property
    def best(self) -> Trial | None:
        """The first of the trials with the best first objective; None before anything is done."""
        done = self.done
        return done[int(self.values[:, 0].argmax())] if done else None
