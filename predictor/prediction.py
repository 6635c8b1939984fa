"""What a predictor answers: `Prediction` for one network, `Predictions` for many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """The forecast for one network.

    Attributes:
        name: what was asked for.
        score: unitless, higher is better; comparable within one call only.
        value: forecast in the task's unit (`unit`); NaN if the predictor knows no labels of the task.
        low, high: 90 % prediction interval around `value`.
        familiarity: 0..1; 1 inside what the predictor was trained on, towards 0 far from it.
        params: trainable parameters.
        macs: multiply-accumulates of one forward pass.
        unknown_ops: operations outside the vocabulary and how often each occurs.
        unit: unit of `value`.
        spread: standard deviation of the forecast, in the task's unit; NaN if the predictor knows no labels.
    """

    name: str
    score: float
    value: float
    low: float
    high: float
    familiarity: float
    params: int
    macs: int
    unknown_ops: dict[str, int] = field(default_factory=dict)
    unit: str = ""
    spread: float = float("nan")


@dataclass(frozen=True, eq=False)
class Predictions(Sequence[Prediction]):
    """Forecasts for many networks, as arrays; indexing gives a `Prediction`.

    `spread` is `[n]`, or empty where nobody gave one.
    """

    names: tuple[str, ...]
    scores: FloatArray
    values: FloatArray
    low: FloatArray
    high: FloatArray
    familiarity: FloatArray
    params: NDArray[np.int64]
    macs: NDArray[np.int64]
    unknown_ops: tuple[dict[str, int], ...]
    unit: str = ""
    spread: FloatArray = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> list[Prediction]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Prediction | list[Prediction]:
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        position = range(len(self))[index]
        return Prediction(
            self.names[position] if self.names else "",
            float(self.scores[position]),
            float(self.values[position]),
            float(self.low[position]),
            float(self.high[position]),
            float(self.familiarity[position]),
            int(self.params[position]),
            int(self.macs[position]),
            self.unknown_ops[position] if self.unknown_ops else {},
            self.unit,
            float(self.spread[position]) if len(self.spread) else float("nan"),
        )

    @property
    def score(self) -> FloatArray:
        return self.scores

    @property
    def value(self) -> FloatArray:
        return self.values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """`[n]` values, so that `np.asarray(predictions)` and numpy functions work."""
        return np.array(self.values, dtype=dtype, copy=copy)

    def expected_improvement(self, best: float, *, margin: float = 0.0) -> FloatArray:
        """`[n]` how much better than `best`, the best value measured so far, a network is expected to be, in its unit.

        Raises:
            DataError: the predictor knows no labels, so there are no values.
        """
        from archcast.predictor.acquisition import expected_improvement

        return expected_improvement(self.values, self.spread, best, margin=margin)

    def probability_of_best(self) -> FloatArray:
        """`[n]` probability that a network is the best of these, summing to 1.

        Raises:
            DataError: the predictor knows no labels, so there are no values.
        """
        from archcast.predictor.acquisition import probability_of_best

        return probability_of_best(self.values, self.spread)

    def to_records(self) -> list[dict[str, Any]]:
        """One plain dictionary per network, ready for JSON."""
        return [asdict(self[position]) for position in range(len(self))]

    def to_frame(self) -> pd.DataFrame:
        """A pandas frame with one row per network."""
        import pandas as pd

        return pd.DataFrame(self.to_records())
