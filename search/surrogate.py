"""What model-based strategies share: what was measured as targets, and boosted trees that learn from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archcast.predictor.calibration import rank_gauss
from archcast.predictor.heads.gbdt import GBDTHead
from archcast.predictor.heads.networks import Networks
from archcast.search.candidates import Pool
from archcast.search.strategy import Context

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Targets:
    """Measured architectures.

    Attributes:
        features: `[n, F]`.
        values: `[n]` an objective, turned so that more is better.
        labels: `[n]` its normal scores.
        sign: -1 where less of the objective is better.
    """

    features: FloatArray
    values: FloatArray
    labels: FloatArray
    sign: float = 1.0

    @classmethod
    def of(cls, context: Context, objective: int = 0) -> Targets:
        specs = [trial.spec for trial in context.history.done]
        values = context.history.values[:, objective]
        sign = context.history.objectives.signs[objective]
        return cls(context.candidates.features(specs).astype(np.float64), values, rank_gauss(values), sign)

    @property
    def robust(self) -> tuple[float, float]:
        """Median, and median deviation from it, of `values`; outliers do not move them."""
        centre = float(np.median(self.values))
        spread = float(np.median(np.abs(self.values - centre)))
        return centre, 1.4826 * spread if spread > 0 else max(float(self.values.std()), 1e-9)

    def measured(self, label: float | np.floating) -> float:
        """A forecast of `labels` in the unit of the objective, from the worst to the best that was measured."""
        return self.sign * float(np.interp(label, np.sort(self.labels), np.sort(self.values)))


@dataclass(frozen=True, eq=False)
class Trees:
    """Boosted trees."""

    head: GBDTHead

    def forecast(self, features: NDArray[np.floating]) -> FloatArray:
        """`[m]` normal scores."""
        return self.head.predict(Networks(np.asarray(features, dtype=np.float64)))


def rank_targets(context: Context, start: int) -> Targets | None:
    """The first objective as targets; None before `start` architectures are measured, or while all are the same."""
    values = context.history.values
    if len(values) < start or np.ptp(values[:, 0]) == 0:
        return None
    return Targets.of(context)


def task(context: Context, start: int) -> tuple[Targets, Pool] | None:
    """What to learn from and what to choose from, around the best so far; None while either is missing."""
    targets = rank_targets(context, start)
    if targets is None:
        return None
    pool = context.candidates.pool(context.rng, best_specs(context))
    return (targets, pool) if len(pool) else None


def learn_trees(targets: Targets, seed: int, resample: np.random.Generator | None = None) -> Trees:
    """Boosted trees on all targets, or on as many drawn with replacement."""
    rows = np.arange(len(targets.labels))
    if resample is not None:
        rows = resample.choice(rows, len(rows))
        if np.ptp(targets.labels[rows]) == 0:
            rows = np.arange(len(targets.labels))
    return Trees(GBDTHead.fit(Networks(targets.features[rows]), targets.labels[rows], seed=seed))


def best_specs(context: Context, count: int = 10) -> list[str]:
    """The best architectures so far by the first objective, best first."""
    done = context.history.done
    order = np.argsort(-context.history.values[:, 0], kind="stable") if done else ()
    return [done[place].spec for place in order[:count]]
