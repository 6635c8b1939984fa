"""Bundles of older schemas, made to look like those of today. The one place where that happens."""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.variation import KINDS

Arrays = dict[str, NDArray[Any]]

OLDEST: Final = 2
_NORMAL_90: Final = 1.645  # half-width of a 90 % interval in standard deviations


def upgrade(config: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
    """Config and arrays of the schema they have, as schema 6 has them. What is there already stays.

    Warns: UserWarning where a forecast may differ from that of the version which wrote the bundle.
    """
    arrays = dict(arrays)
    if config.get("schema_version") == 2:
        config = {**config, "schema_version": 3}
        _variation_of_pools(arrays)
    if config.get("schema_version") == 3:
        config = {"kernel_prior": None, "agreement": None, "heads": {}, **config, "schema_version": 4}
        _metrics_and_spread(arrays)
    if config.get("schema_version") == 4:
        config = {**config, "schema_version": 5}
        _experts_of_ranks(config)
    if config.get("schema_version") == 5:
        config = {**config, "schema_version": 6}
        _zero_shot_beside_labels(arrays)
    return config, arrays


def _variation_of_pools(arrays: Arrays) -> None:
    """Schema 3 added what varies in a pool. Older pools count as pools of sizes."""
    for pool in ("prior_pool", "ranker.reference"):
        if f"{pool}.rows" in arrays:
            arrays.setdefault(f"{pool}.variation", np.eye(len(KINDS))[KINDS.index("size")])


def _metrics_and_spread(arrays: Arrays) -> None:
    """Schema 4 added metrics of the Gaussian process, the kernel prior, the spread and the cross-validated agreement.

    An older process has one metric of equal weights, the spread follows from the intervals, the agreement is not known.
    """
    if "gp.columns" in arrays:
        arrays.setdefault("gp.relevance", np.ones((1, len(arrays["gp.columns"]))))
        arrays.setdefault("gp.metric", np.zeros(arrays.get("gp.lengths", np.zeros(0)).shape))
    if "factor" in arrays and "error_scale.factor" not in arrays:
        arrays["error_scale.factor"] = np.asarray(arrays["factor"] / _NORMAL_90)
        arrays["error_scale.share"] = np.asarray(0.0)


def _experts_of_ranks(config: dict[str, Any]) -> None:
    """In schema 5 the ranker's experts learn from deviations in a pool, before they learnt from ranks (gated as now).

    Both are of unit size, and order a pool nearly alike; heads whose inputs hold the ranker's score shift a little.
    """
    if config.get("ranker") is not None:
        warnings.warn(
            "this bundle was written before pools were described by deviations instead of ranks: its forecasts are "
            "near those of the version that wrote it, not equal; train or adapt it again to use it at its best",
            UserWarning,
            stacklevel=2,
        )


def _zero_shot_beside_labels(arrays: Arrays) -> None:
    """Schema 6 added the weight of the zero-shot order beside heads that learnt from a few labels; before, it was 0."""
    if "factor" in arrays:
        arrays.setdefault("zero_shot", np.asarray(0.0))
