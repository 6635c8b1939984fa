"""Ranking without labels where zero-cost proxies were measured: the predictor's score and theirs as a committee.

Which proxy tells the good networks depends on the pool; on half of the pools most of them mislead. Those that do tend
to disagree with what the structure says. So every proxy has as many votes as it agrees with the predictor's own score:

    score = z( z(own) + strength / S * sum_s max(0, rho(own, m_s)) m_s )

where z is zero mean and unit deviation inside the pool, rho Spearman's correlation, and m_s = z(log(rank_s / n)) the
share in which AZ-NAS (Lee and Ham, CVPR 2024) and VKDNW (Tybl and Neumann, CVPR 2025) add proxies up: what a proxy
places last counts far more than what it places first.

Who sits on the committee, and how loud it is, depends on what varies in the pool (`archcast.encoders.variation`): the
proxies of AZ-NAS and VKDNW were made for cells, and mislead where resolution or sizes vary. The seats of each kind have
its share of the votes, S is the number of seats, whether taken or not: half a committee is half as loud. The strength
is the mean of `STRENGTHS` in these shares.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.variation import KINDS
from archcast.errors import DataError
from archcast.predictor.calibration import standardised
from archcast.predictor.measured_inputs import Measured, as_columns
from archcast.proxies.aggregate import MEMBERS, ranks

FloatArray = NDArray[np.float64]

COMMITTEES: Final[dict[str, tuple[str, ...]]] = {
    "wiring": MEMBERS["union"],
    "resolution": ("naswot", "swap", "macs"),
    "size": ("az_expressivity", "synflow", "gradsign", "naswot"),
}
"""Kind of variation -> the proxies that are heard."""

PROXIES: Final = tuple(dict.fromkeys(name for kind in KINDS for name in COMMITTEES[kind]))
"""All of them."""

_SEATS: Final = np.asarray([[name in COMMITTEES[kind] for kind in KINDS] for name in PROXIES], dtype=np.float64)

STRENGTHS: Final[dict[str, float]] = {"wiring": 3.0, "resolution": 1.0, "size": 1.0}
"""Kind of variation -> weight of a committee that agrees entirely, in units of the predictor's own score.

Chosen by families left out (benchmarks/results/choices.csv)."""


def consensus(structural: FloatArray, measured: Measured, variation: FloatArray) -> FloatArray:
    """`[n]` scores of a pool from the predictor's own `[n]` and from measured ones.

    Args:
        structural: scores without measurements.
        measured: scores of proxies, higher is better, NaN where missing. Those of `PROXIES` are used, the others
            ignored; a proxy that tells no two networks apart has no vote.
        variation: `[3]` shares of what varies in the pool (`Pool.variation`).

    Raises:
        DataError: a column of another length, or none of `PROXIES`.
    """
    given, own = as_columns(measured, len(structural)), standardised(structural)
    names = [name for name in PROXIES if name in given]
    if not names:
        raise DataError(f"none of {', '.join(PROXIES)} was measured; measure some of them, or leave measured out")
    seats = _SEATS @ variation
    strength = float(variation @ [STRENGTHS[kind] for kind in KINDS]) / float(seats.sum())
    columns = np.stack([standardised(np.log(ranks(given[name]) / len(own))) for name in names], axis=1)
    ordered = np.stack([standardised(ranks(column)) for column in columns.T], axis=1)
    agreement = standardised(ranks(own)) @ ordered / len(own)
    votes = seats[[PROXIES.index(name) for name in names]] * np.maximum(agreement, 0)
    return standardised(own + strength * (columns @ votes))
