"""Rank agreement against number of labels, and what further labels would bring.

The labels at hand are split into nested sub-samples, each of which is judged by cross-validation on itself. Through the
means goes a power law (Hestness et al., "Deep learning scaling is predictable,
empirically", 2017),

    tau(n) = ceiling - scale n^-rate,   ceiling <= 1

fitted by least squares weighted with the number of networks behind each figure. How sure that is follows from refits to
points drawn around the measured ones, so a forecast far beyond the labels has a wide interval, as it should.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError, DataError
from archcast.predictor.calibration import Agreement
from archcast.predictor.fitted import fit_features

FloatArray = NDArray[np.float64]

LEAST = 16
"""The smallest sub-sample: cross-validation on fewer says nothing."""

_REFITS = 300
_DEVIATION = 0.01  # added to the deviation of a point: seeds differ by as much


@dataclass(frozen=True)
class PowerLaw:
    """tau(n) = ceiling - scale n^-rate."""

    ceiling: float
    scale: float
    rate: float

    def __call__(self, labels: Any) -> FloatArray:
        """Tau at numbers of labels."""
        return np.asarray(self.ceiling - self.scale * np.asarray(labels, dtype=np.float64) ** -self.rate)

    @classmethod
    def fit(cls, labels: FloatArray, taus: FloatArray, deviations: FloatArray) -> PowerLaw:
        """Weighted least squares over a grid of rates; the rest in closed form, within ceiling <= 1 and scale >= 0."""
        rates = np.linspace(0.1, 2.0, 39)
        falls = labels[None] ** -rates[:, None]
        weights = 1 / np.maximum(deviations, 1e-6) ** 2
        weights = weights / weights.sum()
        middle, mean = falls @ weights, float(taus @ weights)
        spread = (weights * (falls - middle[:, None]) ** 2).sum(axis=1)
        scales = np.maximum(-((falls - middle[:, None]) * (taus - mean) * weights).sum(axis=1) / spread, 0)
        ceilings = mean + scales * middle
        # Where that asks for more than perfect agreement, the ceiling is 1 and the scale follows from it.
        above = ceilings > 1
        bound = np.maximum((falls * (1 - taus) * weights).sum(axis=1) / (falls**2 @ weights), 0)
        scales, ceilings = np.where(above, bound, scales), np.where(above, 1.0, ceilings)
        errors = (weights * (ceilings[:, None] - scales[:, None] * falls - taus) ** 2).sum(axis=1)
        best = int(np.argmin(np.round(errors, 15)))
        return cls(float(ceilings[best]), float(scales[best]), float(rates[best]))


@dataclass(frozen=True)
class LearningCurve:
    """What was measured at each number of labels, and the law through it.

    Attributes:
        labels: `[k]` numbers of labels, rising.
        taus: `[k]` mean Kendall tau.
        deviations: `[k]` standard deviation of each.
        law: the curve through them.
        draws: laws through points drawn around the measured ones.
    """

    labels: NDArray[np.int64]
    taus: FloatArray
    deviations: FloatArray
    law: PowerLaw
    draws: tuple[PowerLaw, ...] = field(default=(), repr=False)

    def forecast(self, labels: int) -> tuple[float, float, float]:
        """Tau at a number of labels, and the ends of its 90 % interval.

        Raises:
            ConfigError: `labels` is below 1.
        """
        if labels < 1:
            raise ConfigError(f"labels={labels}: ask for at least one")
        drawn = [float(law(labels)) for law in self.draws]
        low, high = np.quantile(drawn, (0.05, 0.95)) if drawn else (np.nan, np.nan)
        return float(self.law(labels)), float(low), float(high)

    def gain(self, more: int) -> tuple[float, float, float]:
        """What `more` labels would add to tau, and the ends of its 90 % interval."""
        now, later = int(self.labels[-1]), int(self.labels[-1]) + more
        drawn = [float(law(later) - law(now)) for law in self.draws]
        low, high = np.quantile(drawn, (0.05, 0.95)) if drawn else (np.nan, np.nan)
        return float(self.law(later) - self.law(now)), float(low), float(high)

    def to_records(self) -> list[dict[str, float]]:
        """A row for each number of labels, ready for JSON."""
        return [
            {"labels": int(n), "tau": float(tau), "deviation": float(deviation), "law": float(self.law(n))}
            for n, tau, deviation in zip(self.labels, self.taus, self.deviations, strict=True)
        ]


def learning_curve(
    features: NDArray[np.float32],
    labels: FloatArray,
    groups: NDArray[np.int64],
    sizes: Sequence[int] | None = None,
    *,
    repeats: int = 3,
    heads: Sequence[str] | None = ("gp", "ard"),
    relevance: FloatArray | None = None,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda _: None,
) -> LearningCurve:
    """Measure the learning curve of `labels` `[n]` of networks with `features` `[n, F]`.

    Args:
        groups: `[n]` networks of one group stay in one fold.
        sizes: numbers of labels; doubling up to all of them when left out.
        repeats: random sub-samples of each size; all labels are used once.
        heads: as in `Predictor.fit`. The Gaussian processes alone give the same shape in a tenth of the time.
        relevance: as in `fit_features`.

    Raises:
        DataError: too few labels for two sizes.
        ConfigError: a size below 16 or above the number of labels.
    """
    sizes = _sizes(len(labels)) if sizes is None else sorted(set(sizes))
    if len(sizes) < 2:
        raise DataError(f"{len(labels)} labels are too few for a learning curve; give at least {2 * LEAST}")
    if sizes[0] < LEAST or sizes[-1] > len(labels):
        raise ConfigError(f"sizes must lie between {LEAST} and the {len(labels)} labels, not {sizes}")
    orders = [np.random.default_rng(seed + repeat).permutation(len(labels)) for repeat in range(repeats)]
    taus, deviations = [], []
    for size in sizes:
        agreements: list[Agreement] = []
        for order in orders[: 1 if size == len(labels) else repeats]:
            chosen = order[:size]
            fitted = fit_features(
                features[chosen], labels[chosen], groups[chosen], None, seed, heads=heads, relevance=relevance
            )
            assert fitted.agreement is not None
            agreements.append(fitted.agreement)
        taus.append(float(np.mean([each.tau for each in agreements])))
        deviations.append(float(np.mean([each.deviation for each in agreements]) / np.sqrt(len(agreements))))
        on_step(f"{size} labels: tau {taus[-1]:.3f}")
    return _curve(np.asarray(sizes, dtype=np.int64), np.asarray(taus), np.asarray(deviations), seed)


def _sizes(count: int) -> list[int]:
    """All labels, half of them, a quarter, and so on."""
    return sorted({count >> halvings for halvings in range(12) if count >> halvings >= LEAST})


def _curve(labels: NDArray[np.int64], taus: FloatArray, deviations: FloatArray, seed: int) -> LearningCurve:
    numbers, unsure = labels.astype(np.float64), np.hypot(deviations, _DEVIATION)
    rng = np.random.default_rng(seed)
    draws = tuple(PowerLaw.fit(numbers, taus + unsure * rng.normal(size=len(taus)), unsure) for _ in range(_REFITS))
    return LearningCurve(labels, taus, deviations, PowerLaw.fit(numbers, taus, unsure), draws)
