"""What a fitted predictor is worth on labelled networks: calibration, gain over random choice, what it looks at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.features import FEATURE_NAMES
from archcast.errors import ConfigError, DataError
from archcast.predictor.metrics import kendall_tau

if TYPE_CHECKING:
    from archcast.graphs.graph import GraphBatch
    from archcast.predictor.prediction import Predictions
    from archcast.predictor.predictor import Predictor

FloatArray = NDArray[np.float64]

LEVELS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Central intervals whose coverage is checked."""

OPERATIONS: Final = (
    ("depthwise convolutions", ("depthwise",)),
    ("1x1 convolutions", ("conv1", "point")),
    ("convolutions", ("convk", "spatial", "kernel")),
    ("pooling", ("pool",)),
    ("attention", ("mixing",)),
    ("linear layers", ("linear",)),
    ("recurrent and graph layers", ("recurrent", "graph")),
    ("skips and joins", ("skip", "join", "fan_out", "neck", "paths")),
    ("size and resolution", ()),
)
"""Operation -> words that the names of its features hold. A feature belongs to each operation it names, to the last
where it names none."""


@dataclass(frozen=True)
class Calibration:
    """How often the truth lies within central intervals of the forecast, taken as normal with its spread.

    Attributes:
        levels: `[k]` share that each interval should hold.
        observed: `[k]` share that it does hold.
        error: mean absolute difference of the two.
    """

    levels: tuple[float, ...]
    observed: tuple[float, ...]
    error: float


@dataclass(frozen=True)
class Gain:
    """What choosing by forecast is worth against choosing at random.

    Attributes:
        count: how many networks are chosen.
        chosen: mean true value of those forecast highest.
        best: best of them.
        random: mean of all.
        random_best: expected best of as many random ones.
        share: gain of the best over `random_best`, as a share of what is to be gained, the best of all.
    """

    count: int
    chosen: float
    best: float
    random: float
    random_best: float
    share: float


@dataclass(frozen=True)
class Report:
    """Everything about one predictor on one set of labelled networks."""

    tau: float
    calibration: Calibration
    gains: tuple[Gain, ...]
    importance: dict[str, float]

    def to_record(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def report(
    predictor: Predictor, features: NDArray[np.float32], graphs: GraphBatch, truth: FloatArray, *, seed: int = 0
) -> Report:
    """Judge a predictor that was fitted without measured statistics on networks with known scores `truth` `[m]`.

    Raises:
        DataError: the predictor knows no labels, so it has no values.
    """
    forecast = predictor.predict_features(features, graphs, graphs.names)
    gains = tuple(gain_over_random(truth, forecast.scores, count) for count in (1, 10) if count < len(truth))
    importance = operation_importance(predictor, features, graphs, truth, seed=seed)
    return Report(kendall_tau(truth, forecast.scores), calibration(forecast, truth), gains, importance)


def calibration(forecast: Predictions, truth: FloatArray) -> Calibration:
    """See `Calibration`.

    Raises:
        DataError: forecasts without values.
    """
    from scipy.special import ndtri

    if not len(forecast.spread) or not np.isfinite(forecast.spread).all():
        raise DataError("the forecasts have no values, so there is no calibration: fit the predictor to labels first")
    away = np.abs(truth - forecast.values) / forecast.spread
    observed = [float((away <= ndtri((1 + level) / 2)).mean()) for level in LEVELS]
    return Calibration(LEVELS, tuple(observed), float(np.abs(np.subtract(observed, LEVELS)).mean()))


def gain_over_random(truth: FloatArray, scores: FloatArray, count: int) -> Gain:
    """See `Gain`.

    The expected best of k random networks of m, with true values t_1 <= ... <= t_m, is sum_i t_i C(i-1, k-1) / C(m, k).

    Raises:
        ConfigError: `count` is below 1 or above the number of networks.
    """
    if not 1 <= count <= len(truth):
        raise ConfigError(f"count={count}: choose at least 1 and at most the {len(truth)} networks")
    from scipy.special import gammaln

    chosen = truth[np.argsort(-scores, kind="stable")[:count]]
    ordered, ranks = np.sort(truth)[count - 1 :], np.arange(count, len(truth) + 1)

    def log_choose(n: Any, k: int) -> Any:
        return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)

    random_best = float(ordered @ np.exp(log_choose(ranks - 1, count - 1) - log_choose(len(truth), count)))
    room = float(truth.max()) - random_best
    share = (float(chosen.max()) - random_best) / room if room > 0 else 1.0
    return Gain(count, float(chosen.mean()), float(chosen.max()), float(truth.mean()), random_best, share)


def operation_importance(
    predictor: Predictor,
    features: NDArray[np.float32],
    graphs: GraphBatch,
    truth: FloatArray,
    *,
    repeats: int = 3,
    seed: int = 0,
) -> dict[str, float]:
    """Operation -> how much Kendall tau falls when its features are those of other networks, largest first.

    All features of an operation are exchanged together, in one permutation, so that one cannot stand in for another
    (Breiman, "Random forests", 2001, for groups). Operations whose features are the same in all networks are left out.
    """
    rng = np.random.default_rng(seed)

    def tau(rows: NDArray[np.float32]) -> float:
        return kendall_tau(truth, predictor.predict_features(rows, graphs, graphs.names, spread=False).scores)

    whole, falls = tau(features), {}
    for operation, columns in _columns().items():
        if not len(columns) or (np.ptp(features[:, columns], axis=0) == 0).all():
            continue
        taus = []
        for _ in range(repeats):
            mixed = features.copy()
            mixed[:, columns] = features[rng.permutation(len(features))][:, columns]
            taus.append(tau(mixed))
        falls[operation] = whole - float(np.mean(taus))
    return dict(sorted(falls.items(), key=lambda pair: -pair[1]))


def _columns() -> dict[str, NDArray[np.int64]]:
    """Columns of each of `OPERATIONS`."""
    named = {
        operation: [i for i, name in enumerate(FEATURE_NAMES) if any(word in name for word in words)]
        for operation, words in OPERATIONS
    }
    taken = {column for columns in named.values() for column in columns}
    named[OPERATIONS[-1][0]] = [i for i in range(len(FEATURE_NAMES)) if i not in taken]
    return {operation: np.asarray(columns, dtype=np.int64) for operation, columns in named.items()}


def plot_report(found: Report, forecast: Predictions, truth: FloatArray, path: str) -> None:
    """Draw forecasts against the truth, calibration, and importance of operations into the file `path`.

    Raises:
        StorageError: the file cannot be written. MissingExtraError: matplotlib is not installed.
    """
    figure, plt = new_figure(3)
    left, middle, right = figure.axes
    some = np.random.default_rng(0).permutation(len(truth))[:500]
    left.errorbar(
        forecast.values[some], truth[some], xerr=forecast.spread[some], fmt=".", elinewidth=0.3, alpha=0.5, markersize=3
    )
    left.set(
        xlabel=f"forecast {forecast.unit}", ylabel=f"measured {forecast.unit}", title=f"Kendall tau {found.tau:.3f}"
    )
    middle.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    middle.plot(found.calibration.levels, found.calibration.observed, marker="o", markersize=4)
    middle.set(xlabel="interval should hold", ylabel="holds", title=f"calibration error {found.calibration.error:.3f}")
    names = list(found.importance)[::-1]
    right.barh(names, [found.importance[name] for name in names])
    right.set(xlabel="fall of tau", title="what counts")
    save_figure(figure, plt, path)


def new_figure(panels: int) -> tuple[Any, Any]:
    """A figure of `panels` axes side by side, and pyplot.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    from archcast.errors import MissingExtraError

    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("plots need matplotlib: pip install 'archcast[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, _ = plt.subplots(1, panels, figsize=(5 * panels, 4), layout="constrained")
    return figure, plt


def save_figure(figure: Any, plt: Any, path: str) -> None:
    """Write and close a figure.

    Raises:
        StorageError: the file cannot be written, or its ending is no format of matplotlib.
    """
    from archcast.errors import StorageError

    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot write {path}: {error}; choose another file, such as report.png") from error
    finally:
        plt.close(figure)
