"""Features relative to a pool: where a network stands among those it is compared with.

A statistic means different things in different search spaces; how far a network lies from the mean of comparable ones,
in units of their spread, means nearly the same. That alone, though, blows a statistic that hardly varies (a shortcut
that is sometimes a convolution) up to the size of one that varies a lot. Each deviation is therefore scaled by how much
its statistic varies in the pool:

    z_ij = clip((x_ij - mean_j) / std_j, -6, 6) * g_j,   g_j = a_j / (a_j + 0.1)

where the amplitude a_j is the standard deviation of column j, divided by its mean unless the column is a logarithm.
Ranks instead of deviations lose what is extreme in a pool (docs/EXPERIMENTS.md, "Deviations instead of ranks").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.features import FEATURE_NAMES
from archcast.encoders.variation import COLUMNS, variation

FloatArray = NDArray[np.float64]

_HALF_GATE: Final = 0.1
_FARTHEST: Final = 6.0  # a network may lie outside the pool it is compared with
_QUANTILES: Final = 512  # rows a reference pool keeps


@dataclass(frozen=True)
class Pool:
    """Reference distribution of every feature.

    Attributes:
        rows: `[R, F]` each column sorted, at most 512 evenly spaced quantiles.
        amplitude: `[F]` how much each feature varies, relative to its size; 0 for a constant.
        variation: `[3]` shares of what varies (`archcast.encoders.variation`).
    """

    rows: NDArray[np.float32]
    amplitude: FloatArray
    variation: FloatArray

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Pool:
        """The pool of the networks with these features, `[n, F]`."""
        rounded = _rounded(features)
        ordered = np.sort(rounded, axis=0)
        if len(ordered) > _QUANTILES:
            ordered = ordered[np.linspace(0, len(ordered) - 1, _QUANTILES).round().astype(np.int64)]
        columns = {name: rounded[:, FEATURE_NAMES.index(name)].astype(np.float64) for name in COLUMNS}
        return cls(ordered, amplitude(rounded), variation(columns))

    @property
    def gate(self) -> FloatArray:
        """`[F]` weight of each feature's deviations, 0 for a constant, towards 1 for one that varies a lot."""
        return np.asarray(self.amplitude / (self.amplitude + _HALF_GATE))

    def relative(self, features: NDArray[np.float32]) -> FloatArray:
        """`[m, F]` gated deviations of `features` from the mean of this pool, in units of its spread."""
        rows = self.rows.astype(np.float64)
        center, spread, gate = rows.mean(axis=0), rows.std(axis=0), self.gate
        varies = gate > 0
        deviations = (_rounded(features)[:, varies] - center[varies]) / spread[varies]
        result = np.zeros(features.shape)
        result[:, varies] = np.clip(deviations, -_FARTHEST, _FARTHEST) * gate[varies]
        return result


def amplitude(features: NDArray[np.float32]) -> FloatArray:
    """`[F]` standard deviation of each column of `[n, F]`, divided by its mean unless it is a logarithm; at most 1."""
    values = features.astype(np.float64)
    spread, size = values.std(axis=0), np.abs(values.mean(axis=0))
    relative = np.where(_IS_LOG, spread, spread / np.maximum(size, 1e-9))
    return np.where(spread > 1e-5, np.minimum(relative, 1.0), 0.0)


def _is_logarithm(name: str) -> bool:
    """Sizes on a log scale, whose spread is relative already; logs of path counts grow like depths and are not."""
    statistic = name.rpartition("/")[2]
    return statistic.startswith(("log_", "mean_log", "max_log", "min_log", "last_log")) and not name.endswith("_paths")


_IS_LOG: Final = np.asarray([_is_logarithm(name) for name in FEATURE_NAMES])


def _rounded(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Four decimals: sums of float32 in another order must not become different features."""
    return np.round(features, 4)
