"""Local search (White et al., "Local search is state of the art for neural architecture search benchmarks", 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from archcast.errors import ConfigError
from archcast.search.history import Trial
from archcast.search.strategy import Context, Proposal

_START = "start"


@dataclass(frozen=True)
class LocalSearch:
    """From the best of a few random architectures on, all neighbours of the best so far; a new start at an optimum."""

    start: int = 10
    """Random architectures of each start."""

    def __post_init__(self) -> None:
        if self.start < 1:
            raise ConfigError(f"start={self.start}: begin with at least one architecture")

    def propose(self, context: Context, count: int) -> Iterator[Proposal]:
        walk = self._walk(context)
        starts = sum(trial.origin == _START for trial in walk)
        if starts >= self.start:
            found = 0
            for trial in sorted((trial for trial in walk if trial.state == "done"), key=_first(context), reverse=True):
                near = context.candidates.fresh(context.space.neighbours(trial.spec))
                for position in context.rng.permutation(len(near)):
                    yield Proposal(near[position], origin=f"neighbour of {trial.number}")
                found += len(near)
                # Below the best only while its neighbours are under way: what they give decides where to go.
                if found >= count or not any(other.state == "pending" for other in walk):
                    break
            if found:
                return
            starts = 0
        for spec in context.candidates.random(context.rng, max(self.start - starts, 1)):
            yield Proposal(spec, origin=_START)

    def _walk(self, context: Context) -> list[Trial]:
        """The trials since the last start, whose architectures are `start` in a row."""
        trials = list(context.history)
        starts = [place for place, trial in enumerate(trials) if trial.origin == _START]
        begin = len(starts) - ((len(starts) - 1) % self.start + 1) if starts else 0
        return trials[starts[begin] :] if starts else []


def _first(context: Context) -> Callable[[Trial], tuple[float, int]]:
    """Sorts by the first objective, ties by the number."""
    sign = context.history.objectives.signs[0]
    return lambda trial: (sign * trial.scores[0], -trial.number)
