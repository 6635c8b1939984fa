"""LightGBM head: gradient-boosted trees, the strongest single head from a few hundred labels on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import BundleError
from archcast.predictor.heads.networks import Networks

FloatArray = NDArray[np.float64]

_SMALL = 2000  # below this many rows threads cost more than they bring
_FEW = 300  # below this many labels, random thresholds and small trees generalise better


@dataclass(frozen=True)
class GBDTHead:
    """Boosted trees held as LightGBM's own text format. Build it with `GBDTHead.fit`."""

    text: str

    @classmethod
    def fit(cls, networks: Networks, targets: FloatArray, *, seed: int = 0) -> GBDTHead:
        """Fit to `networks` and `targets` `[n]`; deterministic for a seed and any number of threads."""
        import lightgbm

        dataset = lightgbm.Dataset(networks.features, targets, params={"verbose": -1})
        parameters, rounds = _parameters(len(targets), seed)
        return cls(trees_only(lightgbm.train(parameters, dataset, rounds).model_to_string()))

    @cached_property
    def booster(self) -> Any:
        import lightgbm

        try:
            return lightgbm.Booster(model_str=self.text)
        except lightgbm.basic.LightGBMError as error:
            raise BundleError(f"gbdt.txt is not a LightGBM model ({error}); save the predictor again") from error

    def predict(self, networks: Networks) -> FloatArray:
        """`[m]` scores."""
        return np.asarray(self.booster.predict(networks.features, num_threads=os.cpu_count() or 1), dtype=np.float64)


def trees_only(text: str) -> str:
    """LightGBM's text without the training parameters after the trees: prediction needs none of them."""
    return text.partition("end of trees")[0] + "end of trees\n"


def _parameters(rows: int, seed: int) -> tuple[dict[str, Any], int]:
    few = rows < _FEW
    parameters = {
        "objective": "regression",
        "learning_rate": 0.05,
        "num_leaves": 8 if few else 16 if rows < 3000 else 31,
        "min_child_samples": 3 if few else 5,
        "extra_trees": few,
        "feature_fraction": 0.3,
        "bagging_fraction": 0.8 if rows > 1 else 1.0,  # never no row at all
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "seed": seed,
        "num_threads": 1 if rows < _SMALL else os.cpu_count() or 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
    return parameters, 500 if few else 400
