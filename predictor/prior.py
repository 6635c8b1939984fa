"""What ranks a pool that no labels and no other space tell about: the capacity laws that suit what varies in it.

    prior = z( sum over kinds k of share_k z( sum over the laws of kind k ) )

The shares say what varies (`archcast.encoders.variation`); z is zero mean and unit spread inside the pool; laws are
columns of pool-relative features (`archcast.encoders.pool`). Which laws suit what:

- *wiring*: layers in parallel all count, whatever share of the signal takes them, and those on dead branches do not.
- *resolution*: outputs count, and MACs, which see them; parameters are blind to resolution.
- *size*: every layer counts as far as the signal reaches it, and in every mixture of parameters and outputs: what one
  law gets wrong in a pool of widths, kernels or depths the others make up for.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.features import FEATURE_NAMES
from archcast.encoders.pool import Pool
from archcast.encoders.variation import KINDS

FloatArray = NDArray[np.float64]

LAWS: Final[dict[str, tuple[str, ...]]] = {
    "wiring": (
        "total/log_live_params", "total/log_live_macs", "total/count_log_fan_in",
        "capacity/log_all P0.5 E0.5", "capacity/log_all P0.2 E0.2",
        "capacity/log_mixed P0.5 E0.5", "capacity/log_mixed P0.2 E0.2",
    ),
    "resolution": (
        "total/log_macs", "total/mean_log_macs", "total/log_activation_memory", "capacity/log_signal P0.1 E0.3",
    ),
    "size": (
        "capacity/log_signal P0.3 E0.0", "capacity/log_signal P0.3 E0.1", "capacity/log_signal P0.2 E0.2",
        "capacity/log_signal P0.1 E0.3", "path/mean log_macs",
    ),
}  # fmt: skip
"""Kind of variation -> the features that rank such pools."""

_COLUMNS: Final = [np.asarray([FEATURE_NAMES.index(name) for name in LAWS[kind]]) for kind in KINDS]


def prior(relative: FloatArray, pool: Pool, among_themselves: bool) -> FloatArray:
    """`[m]` scores of networks.

    Args:
        relative: `[m, F]` their features in the pool.
        pool: what they are compared with.
        among_themselves: whether they are the pool, so that their own spread is the unit; else it is the pool's.
    """
    return relative @ prior_weights(relative, pool, among_themselves)


def prior_weights(members: FloatArray, pool: Pool, among_themselves: bool) -> FloatArray:
    """`[F]` weights of pool-relative features in the prior: it is linear once its units are known.

    Args:
        members: `[n, F]` features in the pool of the networks whose spread is the unit, if `among_themselves`.
    """
    sums = [members[:, columns].sum(axis=1) for columns in _COLUMNS]
    spreads = [float(part.std()) for part in sums] if among_themselves else _spreads(pool)
    weights = np.zeros(len(FEATURE_NAMES))
    for share, columns, spread in zip(pool.variation, _COLUMNS, spreads, strict=True):
        weights[columns] += share / max(spread, 1e-9)
    return weights / max(float((members @ weights).std()), 1e-9) if among_themselves else weights


def _spreads(pool: Pool) -> list[float]:
    """The greatest that the sums of a pool's members can vary: their columns rise and fall together."""
    return [float(pool.gate[columns].sum()) for columns in _COLUMNS]
