"""Fit all heads on labels and blend them by what they rank right out of fold.

The weights of the heads are learnt from out-of-fold scores, so judging the blend on the same scores would flatter it:
the out-of-fold score of a network is therefore blended with weights that were learnt from the other folds only.

Given a number of seconds, the work is done in the order of what it brings: the Gaussian process alone, useful at
once, then one head after the other, then further rounds of folds. A head that misses a fold is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError, UnknownNameError
from archcast.predictor.calibration import rank_gauss
from archcast.predictor.heads.gaussian_process import AutomaticProcessHead, GaussianProcessHead
from archcast.predictor.heads.gbdt import GBDTHead
from archcast.predictor.heads.networks import Head, Networks
from archcast.predictor.heads.ridge import RidgeHead

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Fit = Callable[..., Head]
"""`fit(networks, targets, *, seed)` of a head."""

HEADS: dict[str, type[GaussianProcessHead] | type[GBDTHead] | type[RidgeHead]] = {
    "gp": GaussianProcessHead, "ard": AutomaticProcessHead, "gbdt": GBDTHead, "ridge": RidgeHead,
}  # fmt: skip
"""The heads of a blend."""

PROCESSES = ("gp", "ard")
"""The Gaussian processes among them, which know how sure they are."""

FURTHER_HEADS = {
    "mlp": ("mlp", "MLPHead"),
    "gbdt-nas": ("gbdt_nas", "GBDTNASHead"),
    "parzc": ("parzc", "ParZCHead"),
    "graph-statistics": ("graph_statistics", "GraphStatisticsHead"),
}
"""Heads that can be asked for by name, beside those of `HEADS`: module and class. Some import torch."""

_THREADS_FROM = 1000
_PRIOR_WEIGHTS = {"gp": 0.25, "ard": 0.25, "gbdt": 0.5}
_PRIOR_LABELS = 60.0  # the prior weights count as much as this many out-of-fold labels
_ROUNDS = 4  # of folds, at most
_FULL_FIT = 1.5  # how much longer than on a fold a head takes on all labels


@dataclass(frozen=True)
class Blend:
    """Weighted sum of fitted heads.

    Attributes:
        heads: name -> fitted head.
        weights: name -> weight; they sum to 1.
    """

    heads: dict[str, Head]
    weights: dict[str, float]

    def predict(self, networks: Networks) -> FloatArray:
        """`[m]` blended scores."""
        return self.blended(self.scores(networks))

    def scores(self, networks: Networks) -> dict[str, FloatArray]:
        """Name -> `[m]` scores of each head."""
        return {name: head.predict(networks) for name, head in self.heads.items()}

    def blended(self, scores: Mapping[str, FloatArray]) -> FloatArray:
        """`[m]` weighted sum of what `scores` gave."""
        return np.asarray(np.sum([self.weights[name] * values for name, values in scores.items()], axis=0))

    def spread(self, networks: Networks, scores: Mapping[str, FloatArray] | None = None) -> FloatArray:
        """`[m]` standard deviation of the scores: that of the Gaussian process, and how far the heads disagree.

        sqrt(sd^2 + sum_h w_h (score_h - blended)^2); zeros for a single head that does not know its own.

        Args:
            scores: those of the heads, if they are at hand.
        """
        processes = {name: head for name, head in self.heads.items() if isinstance(head, GaussianProcessHead)}
        return _spread(
            self.scores(networks) if scores is None else scores,
            self.weights,
            {name: head.spread(networks) for name, head in processes.items()},
        )


@dataclass(frozen=True)
class BlendFit:
    """A blend, and what cross-validation tells about it.

    Attributes:
        blend: the heads, fitted to all labels.
        out_of_fold: `[n]` blended score of each network by heads and weights that had not seen its label.
        spread: `[n]` `Blend.spread` of the same heads.
        folds: `[n]` fold of each network, of the first round.
        rounds: how many rounds of folds were averaged.
    """

    blend: Blend
    out_of_fold: FloatArray
    spread: FloatArray
    folds: IntArray
    rounds: int


def head_named(name: str) -> Fit:
    """The `fit` of a head of `HEADS` or `FURTHER_HEADS`.

    Raises:
        UnknownNameError: there is no such head; the message lists those there are.
    """
    fit: Fit = head_class(name).fit
    return fit


def head_class(name: str) -> Any:
    """The class of a head; see `head_named`."""
    if name in HEADS:
        return HEADS[name]
    if name not in FURTHER_HEADS:
        raise UnknownNameError(f"no head {name!r}; choose among {sorted([*HEADS, *FURTHER_HEADS])}")
    module, kind = FURTHER_HEADS[name]
    return getattr(import_module(f"archcast.predictor.heads.{module}"), kind)


def fit_blend(
    networks: Networks,
    labels: FloatArray,
    groups: IntArray,
    *,
    seed: int,
    heads: Mapping[str, Fit] | None = None,
    seconds: float | None = None,
    on_step: Callable[[str], None] = lambda _: None,
) -> BlendFit:
    """Fit every head, blended by non-negative least squares on out-of-fold scores, shrunk to fixed weights.

    Args:
        networks: `[n]` labelled networks.
        labels: `[n]`, higher is better; heads learn their normal scores (`rank_gauss`).
        groups: `[n]` networks of one group stay in one fold (isomorphic duplicates).
        heads: name -> `fit` of the heads, the quickest first; `HEADS` when left out.
        seconds: time to use. The first head is always fitted, then what there is time for; how far that leads
            depends on the machine. Without, all heads get one round of folds, which is the same everywhere.
        on_step: called with the name of each piece of work that is done, and the seconds left.

    Raises:
        ConfigError: no heads, or no time.
    """
    from threadpoolctl import threadpool_limits

    given = {name: head.fit for name, head in HEADS.items()} if heads is None else heads
    if not given:
        raise ConfigError("no heads to blend; name at least one")
    if seconds is not None and not 0 < seconds < np.inf:
        raise ConfigError(f"seconds={seconds}: give a positive number, or None for no limit")
    # On matrices this small, waking BLAS threads costs several times what they compute.
    with threadpool_limits(1 if len(labels) < _THREADS_FROM else None, user_api="blas"):
        return _Fitting(networks, rank_gauss(labels), groups, seed, dict(given), _Clock(seconds, on_step)).run()


class _Clock:
    """What is left of the time, and words about it."""

    def __init__(self, seconds: float | None, on_step: Callable[[str], None]) -> None:
        self._end = None if seconds is None else monotonic() + seconds
        self._on_step = on_step

    @property
    def limited(self) -> bool:
        return self._end is not None

    def allows(self, seconds: float) -> bool:
        """Whether so much time is left."""
        return self._end is None or monotonic() + seconds < self._end

    def done(self, step: str) -> None:
        left = "" if self._end is None else f", {max(self._end - monotonic(), 0):.0f} s left"
        self._on_step(step + left)


class _Fitting:
    """One run of `fit_blend`: heads in turn, fold by fold."""

    def __init__(
        self,
        networks: Networks,
        targets: FloatArray,
        groups: IntArray,
        seed: int,
        fits: dict[str, Fit],
        clock: _Clock,
    ) -> None:
        self.networks, self.targets, self.groups, self.seed = networks, targets, groups, seed
        self.fits, self.clock = fits, clock
        self.scores: dict[str, list[FloatArray]] = {name: [] for name in fits}
        self.spreads: list[FloatArray] = []
        self.cost: dict[str, float] = {}  # seconds a head takes on one fold

    def run(self) -> BlendFit:
        first = next(iter(self.fits))
        folds = self._folds(0)
        for turn in range(_ROUNDS if self.clock.limited else 1):
            for name in self.fits:
                # A head that fell out of an earlier round is not tried again.
                if len(self.scores[name]) == turn:
                    self._round(name, turn, must=turn == 0 and name == first)
        scores = {name: np.mean(rounds, axis=0) for name, rounds in self.scores.items() if rounds}
        out_of_fold, spread = np.zeros(len(self.targets)), np.zeros(len(self.targets))
        deviation = {"gp": np.mean(self.spreads, axis=0)} if self.spreads else {}
        for fold in np.unique(folds):
            held = folds == fold
            weights = _weights({name: values[~held] for name, values in scores.items()}, self.targets[~held])
            out_of_fold[held] = sum(weights[name] * values[held] for name, values in scores.items())
            parts = {name: values[held] for name, values in scores.items()}
            spread[held] = _spread(parts, weights, {name: values[held] for name, values in deviation.items()})
        weights = _weights(scores, self.targets)
        heads = {
            name: self.fits[name](self.networks, self.targets, seed=self.seed) for name in scores if weights[name] > 0
        }
        self.clock.done("all labels")
        return BlendFit(Blend(heads, weights), out_of_fold, spread, folds, len(self.scores[first]))

    def _folds(self, turn: int) -> IntArray:
        return fold_numbers(self.groups, 10 if len(self.targets) < 100 else 5, self.seed + 7919 * turn)

    def _round(self, name: str, turn: int, *, must: bool) -> None:
        """Out-of-fold scores of one head; nothing is kept if the time runs out before the last fold."""
        folds = self._folds(turn)
        held_scores, spread = np.zeros(len(self.targets)), np.zeros(len(self.targets))
        for number in np.unique(folds):
            # Fits to all labels are still to come, for this head and for those that are in.
            reserve = _FULL_FIT * sum(self.cost.values()) + self.cost.get(name, 0.0)
            if not must and not self.clock.allows(reserve):
                return
            started = monotonic()
            train, held = folds != number, folds == number
            head = self.fits[name](self.networks.take(train), self.targets[train], seed=self.seed)
            asked = self.networks.take(held)
            held_scores[held] = head.predict(asked)
            if isinstance(head, GaussianProcessHead):
                spread[held] = head.spread(asked)
            self.cost[name] = max(self.cost.get(name, 0.0), monotonic() - started)
            self.clock.done(f"{name} fold {number + 1}")
        self.scores[name].append(held_scores)
        if spread.any():
            self.spreads.append(spread)


def _weights(out_of_fold: Mapping[str, FloatArray], targets: FloatArray) -> dict[str, float]:
    from scipy.optimize import nnls

    names = list(out_of_fold)
    columns = np.stack([out_of_fold[name] for name in names], axis=1)
    fitted, _ = nnls(columns, targets)
    prior = np.asarray([_PRIOR_WEIGHTS.get(name, 0.0) for name in names])
    prior = prior / prior.sum() if prior.sum() > 0 else np.full(len(names), 1 / len(names))
    fitted = fitted / fitted.sum() if fitted.sum() > 0 else prior
    trust = len(targets) / (len(targets) + _PRIOR_LABELS)
    mixed = trust * fitted + (1 - trust) * prior
    mixed = np.where(mixed < 0.02, 0.0, mixed)
    return dict(zip(names, (mixed / mixed.sum()).tolist(), strict=True))


def _spread(
    scores: Mapping[str, FloatArray], weights: Mapping[str, float], deviations: Mapping[str, FloatArray]
) -> FloatArray:
    """`[m]` see `Blend.spread`."""
    values = np.stack(list(scores.values()))
    shares = np.asarray([weights[name] for name in scores])[:, None]
    disagreement = (shares * (values - (shares * values).sum(axis=0)) ** 2).sum(axis=0)
    own = sum((deviation**2 for deviation in deviations.values()), np.zeros(values.shape[1]))
    return np.asarray(np.sqrt(own + disagreement))


def fold_numbers(groups: IntArray, folds: int, seed: int) -> IntArray:
    """`[n]` fold of each row; whole groups share a fold; sizes as even as the groups allow."""
    unique, member = np.unique(groups, return_inverse=True)
    folds = max(2, min(folds, len(unique)))
    assignment = np.random.default_rng(seed).permutation(len(unique)) % folds
    return np.asarray(assignment[member], dtype=np.int64)


def with_relevance(relevance: FloatArray | None) -> dict[str, Fit]:
    """The heads of `HEADS`, the Gaussian process with the metrics that other spaces taught."""
    fits: dict[str, Any] = {name: head.fit for name, head in HEADS.items()}
    if relevance is not None:
        for name in fits.keys() & PROCESSES:
            fits[name] = partial(fits[name], relevance=relevance)
    return fits
