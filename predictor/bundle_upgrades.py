"""Bundles of older schemas, made to look like those of today. The one place where that happens."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.variation import KINDS

Arrays = dict[str, NDArray[Any]]

OLDEST: Final = 2
_NORMAL_90: Final = 1.645  # half-width of a 90 % interval in standard deviations


def upgrade(config: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
    """Config and arrays of the schema they have, as schema 3 has them.

    Schema 3 added metrics of the Gaussian process, the kernel prior, the scale of the spread, the cross-validated
    agreement, and what varies in a pool. Of a bundle of schema 2, the process has one metric of equal weights, the
    spread follows from the intervals, the agreement is not known, and its pools count as pools of sizes.
    """
    if config.get("schema_version") != OLDEST:
        return config, arrays
    config, arrays = {**config, "schema_version": 3, "kernel_prior": None, "agreement": None, "heads": {}}, dict(arrays)
    if "gp.columns" in arrays:
        arrays["gp.relevance"] = np.ones((1, len(arrays["gp.columns"])))
        arrays["gp.metric"] = np.zeros(arrays.get("gp.lengths", np.zeros(0)).shape)
    if "factor" in arrays:
        arrays["error_scale.factor"] = np.asarray(arrays["factor"] / _NORMAL_90)
        arrays["error_scale.share"] = np.asarray(0.0)
    for pool in ("prior_pool", "ranker.reference"):
        if f"{pool}.rows" in arrays:
            arrays[f"{pool}.variation"] = np.eye(len(KINDS))[KINDS.index("size")]
    return config, arrays
