"""`Fitted`: what the labels of some networks taught, and `fit_features`, which learns it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.pool import Pool
from archcast.graphs.graph import GraphBatch
from archcast.predictor.blend import FURTHER_HEADS, Blend, fit_blend, head_named, with_relevance
from archcast.predictor.calibration import (
    Agreement,
    ErrorScale,
    ValueMap,
    conformal_factor,
    rank_gauss,
    standardised,
)
from archcast.predictor.consensus import PROXIES, consensus
from archcast.predictor.heads.networks import Networks
from archcast.predictor.measured_inputs import MeasuredInputs
from archcast.predictor.neighbourhood import Neighbourhood
from archcast.predictor.ranker import PoolRanker

FloatArray = NDArray[np.float64]
Columns = dict[str, FloatArray]

_AS_LABELS: Final = 10.0  # how many labels a zero-shot order is worth that agrees with the labels entirely
_LEAST_WEIGHT: Final = 0.05  # below this it is not worth its time


@dataclass(frozen=True)
class Fitted:
    """What labels taught: scores, values, intervals, and where they hold.

    Attributes:
        blend: the heads.
        value: scores to values in the task's unit.
        neighbourhood: the labelled networks and the errors made on them.
        factor: conformal half-width per unit of difficulty.
        error_scale: spread of the scores to standard deviations in the task's unit.
        agreement: cross-validated rank agreement of the blend with the labels; None where a bundle does not tell.
        prior_pool: the labelled networks as a pool, if the ranker's score is an extra input column; else None.
        measured: the zero-cost proxies that are further input columns; None where none were measured.
        zero_shot: weight of the zero-shot order of the pool that is asked about beside the blend, both in units of
            their spread there; see `zero_shot_weight`.
    """

    blend: Blend
    value: ValueMap
    neighbourhood: Neighbourhood
    factor: float
    error_scale: ErrorScale
    agreement: Agreement | None = None
    prior_pool: Pool | None = None
    measured: MeasuredInputs | None = None
    zero_shot: float = 0.0

    def inputs(
        self,
        features: NDArray[np.float32],
        ranker: PoolRanker | None,
        columns: Columns,
        graphs: GraphBatch | None = None,
    ) -> Networks:
        """`[m]` networks as the heads take them; `columns` are the measured ones by name."""
        measured = None if self.measured is None else self.measured.columns(columns)
        wants_graphs = any(name in FURTHER_HEADS for name in self.blend.heads)
        return head_inputs(features, ranker, self.prior_pool, measured, graphs if wants_graphs else None)

    def spread(
        self, networks: Networks, of_heads: Mapping[str, FloatArray], scores: FloatArray, difficulty: FloatArray
    ) -> FloatArray:
        """`[m]` standard deviation of the values of `networks`, in the task's unit.

        Args:
            networks: what `inputs` gave.
            of_heads: what `Blend.scores` gave.
            scores: `[m]` where on the value map they lie.
            difficulty: `[m]` of `neighbourhood`.
        """
        return self.error_scale(self.value.slope(scores), self.blend.spread(networks, of_heads), difficulty)


def fit_features(
    features: NDArray[np.float32],
    labels: FloatArray,
    groups: NDArray[np.int64],
    ranker: PoolRanker | None,
    seed: int,
    on_step: Callable[[str], None] = lambda _: None,
    spaces: NDArray[np.int64] | None = None,
    columns: Columns | None = None,
    *,
    relevance: FloatArray | None = None,
    heads: Sequence[str] | None = None,
    graphs: GraphBatch | None = None,
    seconds: float | None = None,
) -> Fitted:
    """Fit heads, value map and neighbourhood to `features` `[n, F]` and `labels` `[n]`.

    Args:
        spaces: `[n]` number of the space each network belongs to. Intervals are then made to hold in each of them
            (Mondrian conformal), not only on average over all.
        columns: measured statistics by name, `[n]` each.
        relevance: `[K, F]` metrics of the Gaussian process that other spaces taught.
        heads: names of the heads to blend; those of `blend.HEADS` when left out.
        graphs: the networks themselves, for heads that read graphs.
        seconds: see `fit_blend`.
    """
    prior_pool = None if ranker is None else Pool.of(features)
    measured = MeasuredInputs.of(columns) if columns else None
    fits = with_relevance(relevance)
    if heads is not None:
        fits = {name: fits.get(name) or head_named(name) for name in heads}
    reads_graphs = any(name in FURTHER_HEADS for name in fits)
    inputs = head_inputs(
        features, ranker, prior_pool, measured.columns(columns) if measured and columns else None,
        graphs if reads_graphs else None,
    )  # fmt: skip
    learnt = fit_blend(inputs, labels, groups, seed=seed, heads=fits, seconds=seconds, on_step=on_step)
    value = ValueMap.fit(learnt.out_of_fold, labels)
    residuals = labels - value.judged(learnt.out_of_fold, labels, learnt.folds)
    rows, errors = features.astype(np.float64), np.abs(residuals)
    neighbourhood, difficulty = Neighbourhood.fit(rows, errors, seed=seed)
    scale = ErrorScale.fit(value.slope(learnt.out_of_fold), learnt.spread, difficulty, residuals)
    agreement = Agreement.of(labels, learnt.out_of_fold)
    if spaces is not None:
        # The neighbours of a network are of its own space, so errors in units of each space's factor are enough.
        for space in np.unique(spaces):
            own = spaces == space
            errors[own] *= conformal_factor(residuals[own], difficulty[own])
        neighbourhood, difficulty = Neighbourhood.fit(rows, errors, seed=seed)
    factor = conformal_factor(residuals, difficulty)
    weight = 0.0
    if prior_pool is not None:
        order = inputs.features[:, features.shape[1]]
        weight = zero_shot_weight(with_proxies(order, columns or {}, prior_pool), labels)
    return Fitted(learnt.blend, value, neighbourhood, factor, scale, agreement, prior_pool, measured, weight)


def with_proxies(scores: FloatArray, columns: Columns, pool: Pool) -> FloatArray:
    """`[n]` zero-shot scores of a pool, sharpened by those of its measured `columns` that can do that."""
    heard = {name: values for name, values in columns.items() if name in PROXIES}
    return consensus(scores, heard, pool.variation) if heard else scores


def zero_shot_weight(order: FloatArray, labels: FloatArray) -> float:
    """How much the zero-shot order of a pool counts beside heads that learnt from `labels` `[n]`.

        10 max(0, rho) / n,    rho = correlation of the normal scores of `order` and of `labels`

    A few labels teach heads less than other spaces know; by a hundred labels that has turned. Below .05 it is 0.

    Args:
        order: `[n]` zero-shot scores of the labelled networks among themselves.
    """
    agreement = float(standardised(rank_gauss(order)) @ standardised(rank_gauss(labels))) / len(labels)
    weight = _AS_LABELS * max(agreement, 0.0) / len(labels)
    return weight if weight >= _LEAST_WEIGHT else 0.0


def head_inputs(
    features: NDArray[np.float32],
    ranker: PoolRanker | None,
    pool: Pool | None,
    measured: FloatArray | None,
    graphs: GraphBatch | None = None,
) -> Networks:
    """The features, the ranker's score where there is a prior pool, and what was measured, in this order."""
    parts = [features.astype(np.float64)]
    if ranker is not None and pool is not None:
        parts.append(ranker.scores(features, pool)[:, None])
    if measured is not None:
        parts.append(measured)
    return Networks(np.concatenate(parts, axis=1), 0 if measured is None else measured.shape[1], graphs)
