"""`SearchResult`: what came of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import NotFittedError
from archcast.search.history import History, Trial
from archcast.search.objectives import Objectives
from archcast.search.space import Space

if TYPE_CHECKING:
    import pandas as pd

    from archcast.search.core import Search

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SearchResult:
    """All trials of a search.

    Attributes:
        space: what was searched.
        history: every trial.
    """

    space: Space
    history: History

    @classmethod
    def of(cls, search: Search) -> SearchResult:
        return cls(search.space, search.history)

    @property
    def objectives(self) -> Objectives:
        return self.history.objectives

    @property
    def best(self) -> Trial:
        """The trial with the best first objective.

        Raises:
            NotFittedError: every evaluation failed, or none was made.
        """
        best = self.history.best
        if best is None:
            reasons = {trial.reason for trial in self.history.failed}
            raise NotFittedError(f"no evaluation came to an end; failures: {'; '.join(sorted(reasons)) or 'none'}")
        return best

    @property
    def ranked(self) -> list[Trial]:
        """The trials with scores, best first objective first."""
        done = self.history.done
        order = np.argsort(-self.history.values[:, 0], kind="stable") if done else ()
        return [done[int(place)] for place in order]

    @property
    def front(self) -> list[Trial]:
        """The trials that no other beats in every objective (the best ones, where there is one objective)."""
        from archcast.search.pareto import is_efficient

        done = self.history.done
        return [trial for trial, kept in zip(done, is_efficient(self.history.values), strict=True) if kept]

    @property
    def curve(self) -> FloatArray:
        """`[n]` best first objective after each evaluation, in its own unit; failures repeat the last."""
        sign = self.objectives.signs[0]
        values = [sign * trial.scores[0] if trial.state == "done" else -np.inf for trial in self.history]
        best = sign * np.maximum.accumulate(np.asarray([-np.inf, *values])[1:])
        return np.asarray(np.where(np.isfinite(best), best, np.nan))

    def to_frame(self) -> pd.DataFrame:
        """One row per trial."""
        import pandas as pd

        names = self.objectives.names
        rows: list[dict[str, Any]] = [
            {
                "number": trial.number, "arch": trial.spec, "state": trial.state,
                **dict(zip(names, trial.scores or [np.nan] * len(names), strict=True)),
                "forecast": trial.forecast, "origin": trial.origin, "seconds": trial.seconds, "reason": trial.reason,
            }
            for trial in self.history
        ]  # fmt: skip
        return pd.DataFrame(rows)
