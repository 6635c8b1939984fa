"""`RobotSearch`: RoBoT (He et al., "Robustifying and boosting training-free neural architecture search", ICLR 2024).

No single proxy is good on every task. RoBoT combines those there are linearly and learns the weights from a few
accuracies, in two phases that share one budget of evaluated networks:

1. Exploration. Bayesian optimisation proposes weights in [-1, 1]^S; their value is the accuracy of the network that
   the combination ranks first. A network that was evaluated before costs nothing.
2. Exploitation. What is left of the budget goes, from the top, to the ranking of the best weights: good metrics have a
   high precision at the top (`precision_at`) more often than they have the best network first.

Exploration proposes as many weights as the budget has evaluations; on NAS-Bench-201 about half of them lead to a
network that was seen before, and exploitation spends the rest.

Two things differ from the paper. By default each proxy alone is tried first: with random starts one search in ten never
meets a good combination (`benchmarks/robot.py` measures both). And the sampler is Optuna's, whose Gaussian process
takes the logarithm of the expected improvement where the authors' took an upper confidence bound.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archcast.errors import ConfigError, DataError, MissingExtraError, UnknownNameError
from archcast.proxies.aggregate import ranks

if TYPE_CHECKING:
    import optuna

FloatArray = NDArray[np.float64]
Normalisation = Literal["min_max", "rank"]
Sampler = Literal["tpe", "gp"]
Start = Literal["proxies", "random"]
RANDOM_STARTS = 10


@dataclass(frozen=True)
class Evaluation:
    """One evaluated network.

    Attributes:
        index: of the network in the pool.
        accuracy: what was observed.
        phase: which phase asked for it.
    """

    index: int
    accuracy: float
    phase: Literal["exploration", "exploitation"]


class RobotSearch:
    """The search, as ask and tell: `index = ask()`, then `tell(index, accuracy)`, until `done`.

    Args:
        scores: `[n, S]` proxies of the pool, NaN where missing.
        budget: number of networks that are evaluated.
        trials: proposals of weights; as many as `budget` when left out, less one, as in the released code.
        normalisation: of each proxy to [0, 1]: "min_max" as in the paper, or "rank", which outliers do not move.
        start: "proxies" tries each proxy alone first, "random" ten random weights.
        sampler: "tpe", a tree of Parzen estimators (milliseconds a proposal), or "gp", a Gaussian process as in the
            paper (about a second).

    A missing score counts as the worst of its proxy, whatever the sign of the weight.

    Raises:
        DataError: `scores` is not a table, or a proxy is missing everywhere or infinite somewhere.
        ConfigError: a budget that the pool cannot give, or no trials.
        UnknownNameError: no such normalisation, start or sampler.
        MissingExtraError: optuna is not installed.
    """

    def __init__(
        self,
        scores: ArrayLike,
        budget: int,
        *,
        seed: int = 0,
        trials: int | None = None,
        normalisation: Normalisation = "min_max",
        start: Start = "proxies",
        sampler: Sampler = "tpe",
    ) -> None:
        table = _checked(scores)
        if not 1 <= budget <= len(table):
            raise ConfigError(
                f"budget={budget}: the pool has {len(table)} networks; evaluate 1 to {len(table)} of them"
            )
        self.budget = budget
        self.trials = max(budget - 1, 1) if trials is None else trials
        if self.trials < 1:
            raise ConfigError(f"trials={self.trials}: propose weights once at least")
        _known("normalisation", normalisation, get_args(Normalisation))
        _known("start", start, get_args(Start))
        _known("sampler", sampler, get_args(Sampler))
        self._missing = np.isnan(table)
        self._table = np.nan_to_num(_normalised(table, normalisation), nan=0.0)
        self._study = _study(sampler, seed)
        if start == "proxies":
            for one in np.eye(table.shape[1]):
                self._study.enqueue_trial({f"weight_{i}": float(weight) for i, weight in enumerate(one)})
        self._proposed = 0
        self._pending: tuple[int, optuna.trial.Trial | None] | None = None
        self._weights: FloatArray = np.zeros(table.shape[1])
        self._value = -np.inf
        self.history: list[Evaluation] = []

    @property
    def done(self) -> bool:
        """Whether the budget is spent."""
        return len(self.history) >= self.budget

    @property
    def best(self) -> Evaluation:
        """The most accurate network so far.

        Raises:
            ConfigError: nothing was evaluated yet.
        """
        if not self.history:
            raise ConfigError("no network was evaluated yet; call ask() and tell() first")
        return max(self.history, key=lambda evaluation: evaluation.accuracy)

    @property
    def weights(self) -> FloatArray:
        """`[S]` the weights in [-1, 1] whose first network was the most accurate; zeros before any were tried."""
        return self._weights.copy()

    def combined(self, weights: ArrayLike | None = None) -> FloatArray:
        """`[n]` the linear combination of the normalised proxies; by default with the best `weights`."""
        w = np.asarray(self._weights if weights is None else weights, dtype=np.float64)
        # Normalised scores lie in [0, 1]: the worst a proxy can add is 0 or, with a negative weight, the weight.
        result: FloatArray = self._table @ w + self._missing @ np.minimum(w, 0.0)
        return result

    def ask(self) -> int:
        """Index of the network to evaluate next; the same one until `tell` is called.

        Raises:
            ConfigError: the budget is spent.
        """
        if self.done:
            raise ConfigError(f"the budget of {self.budget} evaluations is spent; read `best`")
        if self._pending is None:
            self._pending = self._explore() or (self._next_of_best(), None)
        return self._pending[0]

    def tell(self, index: int, accuracy: float) -> None:
        """Give the accuracy of the network that `ask` named.

        Raises:
            ConfigError: it did not name `index`.
            DataError: the accuracy is not finite.
        """
        if self._pending is None or self._pending[0] != index:
            raise ConfigError(f"network {index} was not asked for; tell the accuracy of the one that ask() returned")
        if not np.isfinite(accuracy):
            raise DataError(f"the accuracy of network {index} is {accuracy}; tell a finite number")
        trial = self._pending[1]
        self._pending = None
        self.history.append(Evaluation(index, float(accuracy), "exploration" if trial else "exploitation"))
        if trial:
            self._learn(trial, float(accuracy))

    def run(self, evaluate: Callable[[int], float]) -> Evaluation:
        """Spend the whole budget with `evaluate`, which trains and tests the network of an index; gives `best`."""
        while not self.done:
            index = self.ask()
            self.tell(index, evaluate(index))
        return self.best

    def _explore(self) -> tuple[int, optuna.trial.Trial] | None:
        """The first network of a new combination that has not been evaluated; None when there are no more trials."""
        known = {evaluation.index: evaluation.accuracy for evaluation in self.history}
        while self._proposed < self.trials:
            self._proposed += 1
            trial = self._study.ask()
            first = int(np.argmax(self.combined(self._suggested(trial))))
            if first not in known:
                return first, trial
            self._learn(trial, known[first])
        return None

    def _suggested(self, trial: optuna.trial.Trial) -> FloatArray:
        return np.asarray([trial.suggest_float(f"weight_{i}", -1.0, 1.0) for i in range(self._table.shape[1])])

    def _learn(self, trial: optuna.trial.Trial, accuracy: float) -> None:
        self._study.tell(trial, accuracy)
        if accuracy >= self._value:
            self._value = accuracy
            self._weights = np.asarray([trial.params[f"weight_{i}"] for i in range(self._table.shape[1])])

    def _next_of_best(self) -> int:
        seen = {evaluation.index for evaluation in self.history}
        order = np.argsort(-self.combined(), kind="stable")
        return next(int(index) for index in order if int(index) not in seen)


def precision_at(scores: ArrayLike, accuracies: ArrayLike, top: int) -> float:
    """Precision@T of the paper: share of the `top` networks by score that are among the `top` by accuracy.

    Raises:
        DataError: the two differ in length, or have fewer than `top` networks.
    """
    given, true = np.asarray(scores, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    if given.shape != true.shape or given.ndim != 1 or not 1 <= top <= len(given):
        raise DataError(f"top={top} of scores of shape {given.shape} and accuracies of shape {true.shape}")
    best, chosen = np.argsort(-true, kind="stable")[:top], np.argsort(-given, kind="stable")[:top]
    return float(np.isin(chosen, best).mean())


def _checked(scores: ArrayLike) -> FloatArray:
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise DataError(f"scores must be a table [networks, proxies], not of shape {table.shape}")
    if np.isinf(table).any() or np.isnan(table).all(axis=0).any():
        raise DataError("a proxy is infinite somewhere or missing everywhere; set failures to NaN, leave out the rest")
    return table


def _normalised(table: FloatArray, normalisation: Normalisation) -> FloatArray:
    """Each column on [0, 1]; NaN stays NaN, a constant column is 0."""
    if normalisation == "rank":
        table = np.where(np.isnan(table), np.nan, np.stack([ranks(column) for column in table.T], axis=1))
    low, high = np.nanmin(table, axis=0), np.nanmax(table, axis=0)
    result: FloatArray = (table - low) / np.where(high > low, high - low, 1.0)
    return result


def _known(what: str, name: str, there_are: tuple[str, ...]) -> None:
    if name not in there_are:
        raise UnknownNameError(f"{what} {name!r} is unknown; use one of {', '.join(there_are)}")


def _study(sampler: Sampler, seed: int) -> optuna.Study:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("RoBoT needs optuna; run `pip install 'archcast[search]'`") from error
    made: optuna.samplers.BaseSampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if sampler == "gp":
            made = optuna.samplers.GPSampler(seed=seed, n_startup_trials=RANDOM_STARTS, deterministic_objective=True)
        else:
            made = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_STARTS, multivariate=True)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(direction="maximize", sampler=made)
    finally:
        optuna.logging.set_verbosity(before)
