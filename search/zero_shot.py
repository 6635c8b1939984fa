"""The order of a pool before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.pool import Pool as FeaturePool
from archcast.errors import ConfigError
from archcast.predictor.calibration import standardised

if TYPE_CHECKING:
    from archcast.predictor.predictor import Predictor
    from archcast.search.candidates import Candidates, Pool

FloatArray = NDArray[np.float64]


def zero_shot(
    candidates: Candidates, predictor: Predictor, pool: Pool, others: Sequence[str] = ()
) -> tuple[FloatArray, FloatArray]:
    """`[n]` scores of `pool`, and `[m]` of further specs, by relations that carry over from other spaces.

    A space that can be enumerated is ranked as a whole, once; of a larger one, the pool among itself. Standardised.

    Raises:
        ConfigError: the predictor was not pretrained.
    """
    if not pool.whole:
        scores = rank(predictor, pool.features, candidates.features(others) if others else pool.features[:0])
        return scores[: len(pool)], scores[len(pool) :]
    everything = candidates.everything(0)
    # Told architectures that break a limit are not in there; they are ranked among the others all the same.
    rows = candidates.rows_of(others)
    strange = [spec for spec, row in zip(others, rows, strict=True) if row < 0]
    scores = candidates.remembered(
        ("zero-shot", id(predictor), *strange),
        lambda: rank(predictor, everything.features, candidates.features(strange) if strange else None),
    )
    rows[rows < 0] = len(everything) + np.arange(len(strange))
    return scores[pool.rows], scores[rows]


def rank(predictor: Predictor, features: NDArray[np.float32], others: NDArray[np.float32] | None = None) -> FloatArray:
    """`[n + m]` scores of networks with these `features` `[n, F]` and of `others` `[m, F]`, in the pool of the former.

    Raises:
        ConfigError: the predictor was not pretrained.
    """
    if predictor.ranker is None:
        raise ConfigError("this predictor was fitted on labels alone; pass a pretrained one, or predictor=None")
    rows = features if others is None else np.concatenate([features, others])
    return standardised(predictor.ranker.scores(rows, FeaturePool.of(features)))
