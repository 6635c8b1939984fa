"""RoBoT (He et al., "Robustifying and boosting training-free neural architecture search", ICLR 2024).

Proxies are combined linearly; Bayesian optimisation looks for the weights whose first architecture is best, and what is
left of the budget goes down the ranking of the best weights (`archcast.proxies.robot`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError
from archcast.proxies.robot import RobotSearch
from archcast.search.strategy import Context, Proposal
from archcast.search.zero_shot import rank

FloatArray = NDArray[np.float64]

FREE = ("total/log_params", "total/log_macs", "total/log_nodes", "total/count_log_macs")
"""Features that serve as proxies where none were measured, beside the predictor's zero-shot order."""


@dataclass(frozen=True)
class RoBoT:
    """Settings of RoBoT."""

    scores: Mapping[str, Mapping[str, float]] | None = None
    """Proxy -> spec -> score, higher is better, of the architectures to search among; `FREE` ones when left out."""
    explore: int = 75
    """Evaluations after which the best weights decide alone."""

    uses_predictor: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.explore < 2 or (self.scores is not None and not self.scores):
            raise ConfigError("explore must be 2 or more, and scores name at least one proxy")

    def propose(self, context: Context, count: int) -> Iterator[Proposal]:
        specs, table = self._free(context) if self.scores is None else self._given(context, self.scores)
        if not len(specs):
            return
        search, place = self._replayed(context, specs, table)
        if place is not None:
            yield Proposal(specs[place], origin="exploration")
        for row in np.argsort(-search.combined(), kind="stable")[: len(context.history) + 20 * count]:
            yield Proposal(specs[int(row)], origin="exploitation")

    def _replayed(self, context: Context, specs: Sequence[str], table: FloatArray) -> tuple[RobotSearch, int | None]:
        """The search after all that is known, and the architecture its exploration asks for next, if any.

        It takes one result at a time; of a batch, the first explores and the others follow the best weights.
        """
        sign = context.history.objectives.signs[0]
        known = {trial.spec: sign * trial.scores[0] for trial in context.history.done}
        worst = min(known.values(), default=0.0)
        known |= {trial.spec: worst for trial in context.history.failed}
        search = RobotSearch(table, min(self.explore, len(specs)), seed=context.seed)
        while not search.done:
            place = search.ask()
            if specs[place] not in known:
                return search, place
            search.tell(place, known[specs[place]])
        return search, None

    def _given(self, context: Context, scores: Mapping[str, Mapping[str, float]]) -> tuple[Sequence[str], FloatArray]:
        specs = list(dict.fromkeys(spec for column in scores.values() for spec in column))
        kept = np.flatnonzero(context.candidates.feasible(specs))
        table = np.asarray([[column.get(specs[row], np.nan) for column in scores.values()] for row in kept])
        return [specs[row] for row in kept], table

    def _free(self, context: Context) -> tuple[Sequence[str], FloatArray]:
        from archcast.encoders.features import FEATURE_NAMES

        pool = context.candidates.everything(context.seed)
        columns = [pool.features[:, FEATURE_NAMES.index(name)].astype(np.float64) for name in FREE]
        if context.predictor is not None:
            columns.append(rank(context.predictor, pool.features))
        return pool.specs, np.stack(columns, axis=1)
