"""The order of a pool before anything is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.pool import Pool
from archcast.errors import ConfigError
from archcast.predictor.calibration import standardised

if TYPE_CHECKING:
    from archcast.predictor.predictor import Predictor

FloatArray = NDArray[np.float64]


def zero_shot(
    predictor: Predictor, features: NDArray[np.float32], asked: NDArray[np.float32] | None = None
) -> FloatArray:
    """`[n]` scores of the pool with these `features` by relations that carry over from other spaces, standardised.

    Args:
        asked: `[m, F]` further networks that are ranked in the same pool; their `[m]` scores follow.

    Raises:
        ConfigError: the predictor was not pretrained.
    """
    if predictor.ranker is None:
        raise ConfigError("this predictor was fitted on labels alone; pass a pretrained one, or predictor=None")
    rows = features if asked is None else np.concatenate([features, asked])
    return standardised(predictor.ranker.scores(rows, Pool.of(features)))
