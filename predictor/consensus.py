"""Ranking without labels where zero-cost proxies were measured: the predictor's score and theirs as a committee.

Which proxy tells the good networks depends on the pool; on half of the pools most of them mislead. Those that do tend
to disagree with what the structure says. So every proxy has as many votes as it agrees with the committee:

    c_0 = z(structural),   c_(t+1) = z( z(structural) + strength / S * sum_s max(0, rho(c_t, m_s)) m_s )

where z is zero mean and unit deviation inside the pool, rho Spearman's correlation, and m_s = z(log(rank_s / n)) the
share in which AZ-NAS (Lee and Ham, CVPR 2024) and VKDNW (Tybl and Neumann, CVPR 2025) add proxies up: what a proxy
places last counts far more than what it places first.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.errors import DataError
from archcast.predictor.calibration import standardised
from archcast.predictor.measured_inputs import Measured, as_columns
from archcast.proxies.aggregate import MEMBERS, ranks

FloatArray = NDArray[np.float64]

PROXIES: Final = MEMBERS["union"]
"""The proxies of AZ-NAS and VKDNW."""

_ROUNDS: Final = 3
_STRENGTH: Final = 4.0


def consensus(structural: FloatArray, measured: Measured) -> FloatArray:
    """`[n]` scores of a pool from the predictor's own `[n]` and from measured ones.

    Args:
        structural: scores without measurements.
        measured: scores of proxies, higher is better, NaN where missing. Those of `PROXIES` are used, the others
            ignored; a proxy that tells no two networks apart has no vote.

    Raises:
        DataError: a column of another length, or none of `PROXIES`.
    """
    given = as_columns(measured, len(structural))
    used = [given[name] for name in PROXIES if name in given]
    if not used:
        raise DataError(f"none of {', '.join(PROXIES)} was measured; measure some of them, or leave measured out")
    columns = np.stack([standardised(np.log(ranks(column) / len(column))) for column in used], axis=1)
    ordered = np.stack([standardised(ranks(column)) for column in columns.T], axis=1)
    own = agreed = standardised(structural)
    for _ in range(_ROUNDS):
        votes = np.maximum(standardised(ranks(agreed)) @ ordered / len(agreed), 0)
        agreed = standardised(own + _STRENGTH / len(votes) * (columns @ votes))
    return agreed
