"""pymoo: `ArchitectureProblem`, whose objectives are a forecast and costs (its operators: `pymoo_operators`).

    problem = ArchitectureProblem(space, objectives=("score", "-macs"), limits={"params": 2e6})
    result = minimize(problem, NSGA2(pop_size=50, **operators(space)), ("n_gen", 20), seed=0)
    front(result)                          # specs: the networks to train, none of which was

A variable is a spec, in arrays `[n, 1]` of objects. The predictor is asked once a generation, for new networks only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.pool import Pool
from archcast.errors import ConfigError, NotFittedError
from archcast.search.adapters.core import missing
from archcast.search.candidates import Candidates
from archcast.search.costs import COUNTED, Cost, check_costs
from archcast.search.history import History
from archcast.search.objectives import Limits, Objectives
from archcast.search.space import Space

try:
    from pymoo.core.problem import Problem
except ImportError as error:
    raise missing("pymoo", error) from error

if TYPE_CHECKING:
    from archcast.predictor.predictor import Predictor

FloatArray = NDArray[np.float64]


class ArchitectureProblem(Problem):  # type: ignore[misc]  # pymoo is not followed by mypy
    """What is forecast and counted of the architectures of `space`.

    Args:
        space: where architectures come from.
        predictor: one that was fitted on labels forecasts values; a pretrained one ranks among `pool` random networks.
        objectives: one name for the forecast, and costs; "-" in front where less is better. pymoo minimises: of those
            where more is better it sees the negative.
        limits: cost -> most that is allowed, as constraints.
        costs: further costs: name -> function from a list of specs to numbers, or a table spec -> number.
        pool: networks that a pretrained predictor ranks among.
        seed: of those.
    """

    def __init__(
        self,
        space: Space,
        *,
        predictor: Predictor | str | Path = "base",
        objectives: Sequence[str] = ("score", "-macs"),
        limits: Mapping[str, float] | None = None,
        costs: Mapping[str, Cost] | None = None,
        pool: int = 1000,
        seed: int = 0,
    ) -> None:
        from archcast.predictor.predictor import Predictor

        given = dict(costs or {})
        self.objectives = Objectives.of(objectives, (*COUNTED, *given))
        if sum(self.objectives.measured) != 1:
            raise ConfigError(f"objectives {list(objectives)}: one is forecast, all others must be costs")
        self.limits, self.seed = Limits(dict(limits or {})), seed
        check_costs(list(self.limits.upper), given)
        self.predictor = predictor if isinstance(predictor, Predictor) else Predictor.from_pretrained(predictor)
        if self.predictor.fitted is None and self.predictor.ranker is None:
            raise NotFittedError("this predictor knows nothing yet: call fit, or Predictor.from_pretrained('base')")
        known = [name for name in self.objectives.names if name in given or name in COUNTED]
        self.candidates = Candidates(space, History(self.objectives), self.limits, given, known, pool)
        self._forecasts: dict[str, float] = {}
        super().__init__(n_var=1, n_obj=len(self.objectives), n_ieq_constr=1 + len(self.limits.upper), vtype=object)

    def _evaluate(self, X: NDArray[np.object_], out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """F: objectives, turned so that less is better. G: whether it cannot be captured, the excess of each cost."""
        del args, kwargs
        specs = [str(spec) for spec in X[:, 0]]
        forecast, costs = self.forecast(specs), self.candidates.costs(specs)
        known = zip(self.objectives.names, self.objectives.measured, strict=True)
        table = np.column_stack([forecast if measured else costs[name] for name, measured in known])
        over = [(costs[name] - most) / (abs(most) or 1.0) for name, most in self.limits.upper.items()]
        sound = np.isfinite(np.column_stack([forecast, *costs.values()])).all(axis=1).reshape(-1, 1)
        out["F"] = np.where(sound, -np.asarray(self.objectives.signs) * table, 0.0)
        out["G"] = np.where(sound, np.column_stack([np.full(len(specs), -1.0), *over]), 1.0)

    def forecast(self, specs: Sequence[str]) -> FloatArray:
        """`[n]`, more is better, comparable between calls; NaN of a network that cannot be captured."""
        new = [spec for spec in dict.fromkeys(specs) if spec not in self._forecasts]
        if new:
            features = self.candidates.features(new)
            values = np.full(len(new), np.nan)
            rows = np.flatnonzero(np.isfinite(features[:, 0]))
            if len(rows):
                values[rows] = self._ask([new[row] for row in rows], features[rows])
            self._forecasts.update(zip(new, values.tolist(), strict=True))
        return np.asarray([self._forecasts[spec] for spec in specs])

    def _ask(self, specs: Sequence[str], features: NDArray[np.float32]) -> FloatArray:
        fitted, ranker = self.predictor.fitted, self.predictor.ranker
        if fitted is not None and (ranker is None or fitted.prior_pool is not None):  # knows labels of these networks
            graphs = self.candidates.space.graphs(specs)
            return self.predictor.predict_features(
                features, graphs, tuple(specs), pool="reference", spread=False
            ).values
        assert ranker is not None  # a predictor with neither was refused
        known = self.candidates.everything(self.seed).features
        return ranker.scores(features, Pool.of(known), members=known)


def front(result: Any) -> list[str]:
    """The specs of a result of `minimize`, none where no network kept the limits."""
    return [] if result.X is None else [str(spec) for spec in np.ravel(result.X)]
