"""scikit-learn: `NetworkRegressor`, for model selection over lists of networks.

    search = GridSearchCV(NetworkRegressor(), {"predictor": [None, "base"], "heads": [["gp"], ["gbdt"], None]}, cv=5)
    search.fit(networks, accuracies).best_params_

`archcast.Predictor` is an estimator itself, but `clone`, which all of model selection begins with, makes a blank one of
it: what was pretrained is lost. Here it is a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from archcast.errors import ConfigError
from archcast.predictor.predictor import Predictor

FloatArray = NDArray[np.float64]


class NetworkRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is not followed by mypy
    """Forecasts scores of networks: anything `archcast.capture` takes, in lists.

    Args:
        predictor: pretrained, where `fit` starts from: a name or a folder; None starts from labels alone.
        heads: names of the heads to blend (`archcast.predictor.blend`); all quick ones when left out.
        seed: of folds, trees and sub-samples.
        input_shape: of one input batch, for networks that do not fix it.

    Attributes:
        predictor_: the `Predictor` that `fit` made, which also gives intervals and familiarity.
    """

    def __init__(
        self,
        predictor: str | Path | None = "base",
        *,
        heads: Sequence[str] | None = None,
        seed: int = 0,
        input_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.predictor, self.heads, self.seed, self.input_shape = predictor, heads, seed, input_shape

    def fit(self, X: Any, y: Any, groups: Any = None) -> NetworkRegressor:
        """Learn `y` `[n]`, higher is better, of the networks `X`; `groups` share a fold of the heads' weights.

        Raises:
            ConfigError: `predictor` is an object, which `clone` would empty.
        """
        if self.predictor is not None and not isinstance(self.predictor, (str, Path)):
            raise ConfigError("predictor must be a name, a folder or None: clone would empty an object; save it first")
        made = Predictor() if self.predictor is None else Predictor.from_pretrained(self.predictor)
        made.input_shape, made.unit = self.input_shape, ""  # the unit would bound the values
        self.predictor_ = made.fit(X, y, groups=groups, heads=self.heads, seed=self.seed)
        return self

    def predict(self, X: Any) -> FloatArray:
        """`[m]` values, in the unit of `y`."""
        check_is_fitted(self)
        return np.asarray(self.predictor_.predict(X, pool="reference", spread=False).values)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Kendall tau between forecasts and `y`; `scoring="r2"` gives what other regressors have as a default."""
        if sample_weight is not None:
            raise ConfigError("Kendall tau has no sample weights; use scoring='r2' for those")
        check_is_fitted(self)
        return self.predictor_.score(X, y)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.no_validation = False, True
        return tags
