"""A logarithmic scale for values of either sign, as proxies have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST = 1e-6
"""Far below any score that means something, so that the scale is even in all units."""


def signed_log(values: NDArray[Any], unit: float = SMALLEST) -> NDArray[Any]:
    """sign(x) log(1 + |x| / unit), element by element."""
    return np.asarray(np.sign(values) * np.log1p(np.abs(values) / unit))
