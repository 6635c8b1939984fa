"""Pareto fronts and hypervolumes (moocore). Everywhere more is better."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archcast.errors import DataError, MissingExtraError

FloatArray = NDArray[np.float64]


def is_efficient(values: ArrayLike) -> NDArray[np.bool_]:
    """`[n]` whether no other row of `values` `[n, K]` is at least as good everywhere and better somewhere."""
    table = _table(values)
    if table.shape[1] == 1:
        return np.asarray(table[:, 0] == table[:, 0].max(initial=-np.inf))
    if not len(table):
        return np.zeros(0, dtype=bool)
    return np.asarray(_moocore().is_nondominated(table, maximise=True, keep_weakly=True))


def fronts(values: ArrayLike) -> NDArray[np.int64]:
    """`[n]` number of the front of each row: 0 for the efficient ones, 1 for those that are so without these ..."""
    table = _table(values)
    if not len(table):
        return np.zeros(0, dtype=np.int64)
    return np.asarray(_moocore().pareto_rank(-table), dtype=np.int64)


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """Volume that `values` `[n, K]` dominate above the point `reference` `[K]`."""
    table, point = _table(values), np.asarray(reference, dtype=np.float64)
    above = table[(table > point).all(axis=1)]
    return float(_moocore().hypervolume(above, ref=point, maximise=True)) if len(above) else 0.0


def gains(candidates: ArrayLike, values: ArrayLike, reference: ArrayLike) -> FloatArray:
    """`[m]` how much each row of `candidates` `[m, K]` alone would add to the hypervolume of `values` `[n, K]`.

    For two objectives in one sweep over the front; for more, one hypervolume each.
    """
    offered, table, point = _table(candidates), _table(values), np.asarray(reference, dtype=np.float64)
    table = table[(table > point).all(axis=1)] if len(table) else table
    if offered.shape[1] != 2:
        before = hypervolume(table, point)
        return np.asarray([hypervolume(np.concatenate([table, [row]]), point) - before for row in offered])
    front = table[is_efficient(table)] if len(table) else table
    front = front[np.argsort(front[:, 0])]  # the second objective falls
    # Between neighbouring steps of the front, a candidate adds a rectangle down to the higher step.
    starts, ends = np.concatenate([[point[0]], front[:, 0]]), np.concatenate([front[:, 0], [np.inf]])
    floors = np.concatenate([front[:, 1], [point[1]]])
    widths = np.maximum(np.minimum(offered[:, :1], ends) - starts, 0)
    heights = np.maximum(offered[:, 1:] - floors, 0)
    return np.asarray((widths * heights).sum(axis=1))


def _table(values: ArrayLike) -> FloatArray:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise DataError(f"values have shape {table.shape}; give one row per architecture, one column per objective")
    return table


def _moocore() -> Any:
    try:
        import moocore
    except ImportError as error:
        raise MissingExtraError("several objectives need moocore; run `pip install 'archcast[search]'`") from error
    return moocore
