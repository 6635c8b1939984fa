"""Fit all heads on labels and blend them by what they rank right out of fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archcast.predictor.calibration import rank_gauss
from archcast.predictor.heads.gaussian_process import GaussianProcessHead
from archcast.predictor.heads.gbdt import GBDTHead
from archcast.predictor.heads.networks import Head, Networks
from archcast.predictor.heads.ridge import RidgeHead

FloatArray = NDArray[np.float64]


HEADS: dict[str, type[GaussianProcessHead] | type[GBDTHead] | type[RidgeHead]] = {
    "gp": GaussianProcessHead, "gbdt": GBDTHead, "ridge": RidgeHead,
}  # fmt: skip
"""The heads of a blend."""

_THREADS_FROM = 1000
_PRIOR_WEIGHTS = {"gp": 0.5, "gbdt": 0.5, "ridge": 0.0}
_PRIOR_LABELS = 60.0  # the prior weights count as much as this many out-of-fold labels


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
        parts = [self.weights[name] * head.predict(networks) for name, head in self.heads.items()]
        return np.asarray(np.sum(parts, axis=0))


def fit_blend(
    networks: Networks,
    labels: FloatArray,
    groups: NDArray[np.int64],
    *,
    seed: int,
    on_step: Callable[[str], None] = lambda _: None,
) -> tuple[Blend, FloatArray]:
    """Fit every head, blended by non-negative least squares on out-of-fold scores, shrunk to fixed weights.

    Args:
        networks: `[n]` labelled networks.
        labels: `[n]`, higher is better; heads learn their normal scores (`rank_gauss`).
        groups: `[n]` networks of one group stay in one fold (isomorphic duplicates).
        on_step: called with the name of each piece of work that is done.

    Returns:
        The blend, and `[n]` out-of-fold blended scores for calibration.
    """
    from threadpoolctl import threadpool_limits

    # On matrices this small, waking BLAS threads costs several times what they compute.
    with threadpool_limits(1 if len(labels) < _THREADS_FROM else None, user_api="blas"):
        return _fit_blend(networks, labels, groups, seed, on_step)


def _fit_blend(
    networks: Networks,
    labels: FloatArray,
    groups: NDArray[np.int64],
    seed: int,
    on_step: Callable[[str], None],
) -> tuple[Blend, FloatArray]:
    targets = rank_gauss(labels)
    out_of_fold = {name: np.zeros(len(labels)) for name in HEADS}
    folds = fold_numbers(groups, 10 if len(labels) < 100 else 5, seed)
    for fold in np.unique(folds):
        train, held = folds != fold, folds == fold
        known, asked = networks.take(train), networks.take(held)
        for name, head in HEADS.items():
            out_of_fold[name][held] = head.fit(known, targets[train], seed=seed).predict(asked)
        on_step(f"fold {fold + 1}")
    weights = _weights(out_of_fold, targets)
    heads: dict[str, Head] = {
        name: head.fit(networks, targets, seed=seed) for name, head in HEADS.items() if weights[name] > 0
    }
    blend = Blend(heads, weights)
    on_step("all labels")
    return blend, np.sum([weights[name] * scores for name, scores in out_of_fold.items()], axis=0)


def _weights(out_of_fold: dict[str, FloatArray], targets: FloatArray) -> dict[str, float]:
    from scipy.optimize import nnls

    names = list(out_of_fold)
    columns = np.stack([out_of_fold[name] for name in names], axis=1)
    fitted, _ = nnls(columns, targets)
    prior = np.asarray([_PRIOR_WEIGHTS[name] for name in names])
    fitted = fitted / fitted.sum() if fitted.sum() > 0 else prior
    trust = len(targets) / (len(targets) + _PRIOR_LABELS)
    mixed = trust * fitted + (1 - trust) * prior
    mixed = np.where(mixed < 0.02, 0.0, mixed)
    return dict(zip(names, (mixed / mixed.sum()).tolist(), strict=True))


def fold_numbers(groups: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """`[n]` fold of each row; whole groups share a fold; sizes as even as the groups allow."""
    unique, member = np.unique(groups, return_inverse=True)
    folds = max(2, min(folds, len(unique)))
    assignment = np.random.default_rng(seed).permutation(len(unique)) % folds
    return np.asarray(assignment[member], dtype=np.int64)
