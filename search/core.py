"""`Search`: the batched ask/tell core.

    specs = search.ask(10)          # new, within the limits, no network twice
    search.tell(specs, scores)      # in any order, in any portion; a failure is an exception instead of a score

Every proposal and every result is in the journal before it counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError, DataError
from archcast.search.candidates import Candidates
from archcast.search.costs import COUNTED, Cost, check_costs
from archcast.search.history import History, Trial
from archcast.search.memory import Journal, MemoryJournal
from archcast.search.objectives import Limits, Objectives
from archcast.search.space import Space
from archcast.search.strategy import Context, Proposal, Strategy, make_strategy

if TYPE_CHECKING:
    from archcast.predictor.predictor import Predictor

FloatArray = NDArray[np.float64]

_ROUNDS = 20  # of asking a strategy while another process takes what it proposes


class Search:
    """A search over `space`.

    Args:
        space: where architectures come from.
        strategy: name of one, or one.
        objectives: names, "-" in front where less is better; names of costs are not measured.
        costs: further costs by name: a function from specs to numbers, or a table.
        limits: cost -> most that is allowed.
        budget: proposals that may be made, failures included; no limit when left out.
        seed: the same seed gives the same search.
        predictor: pretrained, for strategies that use one.
        journal: where trials are kept; in memory when left out.
        pool: architectures to look at in each step where the space cannot be enumerated.

    Raises:
        ConfigError: objectives or limits that name nothing known, or a budget below 1.
    """

    def __init__(
        self,
        space: Space,
        *,
        strategy: str | Strategy = "guided",
        objectives: str | Sequence[str] = ("score",),
        costs: Mapping[str, Cost] | None = None,
        limits: Mapping[str, float] | None = None,
        budget: int | None = None,
        seed: int = 0,
        predictor: Predictor | None = None,
        journal: Journal | None = None,
        pool: int = 1000,
    ) -> None:
        given = dict(costs or {})
        if budget is not None and budget < 1:
            raise ConfigError(f"budget={budget}: evaluate at least one architecture")
        if seed < 0:
            raise ConfigError(f"seed={seed}: it must not be negative")
        self.space, self.budget, self.seed, self.predictor = space, budget, seed, predictor
        self.objectives = Objectives.of(objectives, (*COUNTED, *given))
        self.limits = Limits(dict(limits or {}))
        check_costs(list(self.limits.upper), given)
        self.strategy = make_strategy(strategy)
        known = [name for name, measured in zip(self.objectives.names, self.objectives.measured, strict=True)
                 if not measured]  # fmt: skip
        self.history = History(self.objectives)
        self.candidates = Candidates(space, self.history, self.limits, given, known, pool)
        self.journal: Journal = MemoryJournal() if journal is None else journal
        self.sync()

    def sync(self) -> None:
        """Learn what other processes have written into the journal."""
        self.history.record(self.journal.news())

    def ask(self, count: int = 1) -> list[str]:
        """`count` new architectures to evaluate; fewer, or none, where the budget or the space is at its end."""
        if count < 1:
            raise ConfigError(f"count={count}: ask for at least one architecture")
        accepted: list[Trial] = []
        for _ in range(_ROUNDS):
            wanted = count - len(accepted)
            trials = self._proposed(wanted) if wanted else []
            if not trials:
                break
            accepted += self.journal.append(trials, self.budget)
            self.sync()
            if self.budget is not None and len(self.history) >= self.budget:
                break
        return [trial.spec for trial in accepted]

    def claim(self) -> list[str]:
        """Architectures that a process which has died was evaluating; they are now to be evaluated here."""
        claimed = self.journal.claim()
        self.sync()
        return [trial.spec for trial in claimed]

    def _proposed(self, count: int) -> list[Trial]:
        rng = np.random.default_rng([self.seed, len(self.history)])
        context = Context(self.space, self.history, self.candidates, rng, self.seed, self.predictor)
        chosen: dict[str, Proposal] = {}
        self._choose(chosen, self.strategy.propose(context, count), count)
        if len(chosen) < count:
            rest = self.candidates.random(rng, 2 * count)
            self._choose(chosen, (Proposal(spec, origin="random") for spec in rest), count)
        first = self.history.next_number
        return [
            Trial(first + i, proposal.spec, identity, forecast=proposal.forecast, origin=proposal.origin)
            for i, (identity, proposal) in enumerate(chosen.items())
        ]

    def _choose(self, chosen: dict[str, Proposal], proposals: Iterable[Proposal], count: int) -> None:
        for proposal in proposals:
            if len(chosen) >= count:
                return
            identity = self.candidates.identity(proposal.spec)
            new = identity not in chosen and self.candidates.is_new(proposal.spec)
            if new and self.candidates.feasible([proposal.spec])[0]:
                chosen[identity] = proposal

    def tell(self, specs: str | Sequence[str], scores: Any, *, seconds: float = math.nan) -> int:
        """Results of architectures, in any order; returns how many were new.

        Args:
            specs: asked-for ones, or others whose score is known already.
            scores: one per spec: a number, several in the order of the objectives, a mapping by name, or an exception
                (or `None`) for one that failed. A number that is not finite is a failure too.
            seconds: how long it took, of one spec.

        A result that is known already is kept, and the new one ignored.
        """
        listed, results = ([specs], [scores]) if isinstance(specs, str) else (list(specs), list(scores))
        if len(listed) != len(results):
            raise DataError(f"{len(listed)} specs came with {len(results)} scores; give one each")
        self.sync()
        new = 0
        for spec, result in zip(listed, results, strict=True):
            trial = self.history.of_spec(spec)
            if trial is None:
                trial = self.adopt(spec)
            new += self.journal.finish(self._finished(trial, result, seconds))
            self.sync()
        return new

    def adopt(self, spec: str) -> Trial:
        """The trial of an architecture that was not asked for and is evaluated elsewhere; pending if it is new.

        Raises:
            DataError: it does not belong to the space.
        """
        if not self.space.contains(spec):
            raise DataError(f"{spec!r} does not belong to {self.space.name}; tell results of its architectures only")
        identity = self.candidates.identity(spec)
        self.journal.append([Trial(self.history.next_number, spec, identity, origin="told")], None)
        self.sync()
        trial = self.history.of_identity(identity)
        assert trial is not None  # the journal holds it now, from here or from another process
        return trial

    def _finished(self, trial: Trial, result: Any, seconds: float) -> Trial:
        try:
            if result is None or isinstance(result, BaseException):
                raise DataError(_reason(result))
            costs = {name: float(values[0]) for name, values in self.candidates.costs([trial.spec]).items()}
            return replace(trial, state="done", scores=self.objectives.read(result, costs), seconds=seconds)
        except DataError as error:
            return replace(trial, state="failed", reason=str(error), seconds=seconds)

    @property
    def done(self) -> bool:
        """Whether the budget is spent and every result is in."""
        return self.budget is not None and len(self.history) >= self.budget and not self.history.pending


def _reason(error: BaseException | None) -> str:
    return "it failed" if error is None else f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
