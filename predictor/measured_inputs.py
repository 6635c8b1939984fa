"""Zero-cost proxies of labelled networks as input columns of the heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError, DataError
from archcast.proxies.signed_log import signed_log

if TYPE_CHECKING:
    from archcast.proxies.scoring import ProxyScores

FloatArray = NDArray[np.float64]
Measured = Union["ProxyScores", Mapping[str, FloatArray], None]
"""Scores of networks by `archcast.proxies.score`, or name -> `[n]` scores; None where nothing was measured."""


def as_columns(measured: Measured, count: int) -> dict[str, FloatArray]:
    """Name -> `[count]` scores.

    Raises:
        DataError: a column of another length.
    """
    if measured is None:
        return {}
    pairs = measured.items() if isinstance(measured, Mapping) else zip(measured.names, measured.values.T, strict=True)
    columns = {name: np.asarray(values, np.float64) for name, values in pairs}
    for name, values in columns.items():
        if values.shape != (count,):
            raise DataError(f"measured {name} has shape {values.shape} for {count} networks; give one score each")
    return columns


@dataclass(frozen=True)
class MeasuredInputs:
    """The proxies a predictor was fitted with.

    Attributes:
        names: `[S]` the proxies.
        floors: `[S]` what stands for a missing value: the lowest among the labelled networks.
    """

    names: tuple[str, ...]
    floors: FloatArray

    @classmethod
    def of(cls, columns: Mapping[str, FloatArray]) -> MeasuredInputs:
        """Those of the columns that tell labelled networks apart.

        Raises:
            DataError: none does.
        """
        logs = {name: signed_log(values) for name, values in columns.items()}
        finite = {name: values[np.isfinite(values)] for name, values in logs.items()}
        floors = {name: float(values.min()) for name, values in finite.items() if len(values) and np.ptp(values) > 0}
        if not floors:
            raise DataError("no measured column tells the labelled networks apart; leave measured out")
        return cls(tuple(floors), np.asarray(list(floors.values())))

    def columns(self, columns: Mapping[str, FloatArray]) -> FloatArray:
        """`[n, S]` sign(x) log(1 + |x| / 1e-6) of each proxy, the floor where it is missing.

        Raises:
            ConfigError: a proxy that the predictor was fitted with was not measured.
        """
        if absent := [name for name in self.names if name not in columns]:
            raise ConfigError(
                f"this predictor was fitted with measured {', '.join(self.names)}; {', '.join(absent)} "
                "is not there: measure the networks in the same way and pass measured="
            )
        logs = np.stack([signed_log(columns[name]) for name in self.names], axis=1)
        return np.where(np.isfinite(logs), logs, self.floors)
