"""`aggregate`: many zero-cost proxies as one ranking of the networks.

| method | formula | paper |
|---|---|---|
| `az_nas` | sum over proxies of log(rank / n) | Lee and Ham, "AZ-NAS", CVPR 2024 |
| `vkdnw` | the same over its own proxies | Tybl and Neumann, "VKDNW", CVPR 2025 |
| `union` | the same over the proxies of both | |
| `vote` | share of the other networks that two of three proxies place below | Abdelfattah et al., ICLR 2021 |
| `mean_rank` | mean over proxies of rank / n | |

Ranks are ascending, 1 for the lowest score and n for the highest; equal scores share the mean of their ranks. A missing
score (NaN) is lower than every score there is: such networks share the worst ranks of that proxy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archcast.errors import ConfigError, DataError, UnknownNameError

if TYPE_CHECKING:
    from archcast.proxies.scoring import ProxyScores

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Method = Literal["az_nas", "vkdnw", "union", "vote", "mean_rank"]

MEMBERS: Final[dict[Method, tuple[str, ...]]] = {
    "az_nas": ("az_expressivity", "az_progressivity", "az_trainability", "macs"),
    "vkdnw": ("vkdnw", "jacob_cov", "az_expressivity", "az_trainability", "macs"),
    "union": ("vkdnw", "jacob_cov", "az_expressivity", "az_progressivity", "az_trainability", "macs"),
    "vote": ("synflow", "jacob_cov", "snip"),
}
"""Method -> the proxies its paper combines; `mean_rank` has none and takes all it is given."""


def aggregate(
    scores: ProxyScores | Mapping[str, ArrayLike], method: Method = "az_nas", names: Sequence[str] | None = None
) -> FloatArray:
    """`[n]` one score for each network, higher is better, from the ranks of its proxies.

    Takes O(S n log n), and O(n log^2 n) for the vote.

    Args:
        scores: what `archcast.proxies.score` gives, or name of the proxy -> `[n]` scores, higher is better, NaN where
            missing.
        method: see the table above.
        names: the proxies to combine; those of the paper when left out (`MEMBERS`), all of them for `mean_rank`. The
            vote takes three.

    Raises:
        UnknownNameError: no such method, or a proxy that `scores` does not have.
        ConfigError: no names, or other than three for the vote.
        DataError: no networks, or proxies of different numbers of networks.
    """
    if method not in get_args(Method):
        raise UnknownNameError(
            f"there is no aggregate called {method!r}; there are: {', '.join(get_args(Method))} (of {MEMBERS})"
        )
    columns = _columns(scores)
    wanted = tuple(names) if names is not None else MEMBERS.get(method, tuple(columns))
    if not wanted:
        raise ConfigError("there is nothing to aggregate: give the name of one proxy at least")
    absent = [name for name in wanted if name not in columns]
    if absent:
        raise UnknownNameError(
            f"{method} combines {', '.join(wanted)}, but there are no scores of {', '.join(absent)}; measure them "
            "first, or choose among those there are with names=..."
        )
    ranked = np.stack([ranks(column) for column in _checked({name: columns[name] for name in wanted})], axis=1)
    if method == "vote":
        if len(wanted) != 3:
            raise ConfigError(f"the vote is between three proxies, not {len(wanted)}; give three names")
        return _vote(ranked)
    shares = ranked / len(ranked)
    result: FloatArray = shares.mean(axis=1) if method == "mean_rank" else np.log(shares).sum(axis=1)
    return result


def ranks(scores: FloatArray) -> FloatArray:
    """`[n]` ascending ranks from 1; equal scores share their mean rank, missing ones (NaN) are the lowest."""
    _, inverse, counts = np.unique(np.where(np.isnan(scores), -np.inf, scores), return_inverse=True, return_counts=True)
    # Ranks of a group of `count` equal scores end at the running total: their mean is (count - 1) / 2 below it.
    mean: FloatArray = np.cumsum(counts) - (counts - 1) / 2
    return mean[inverse]


def _columns(scores: ProxyScores | Mapping[str, ArrayLike]) -> Mapping[str, ArrayLike]:
    if isinstance(scores, Mapping):
        return scores
    return {name: scores.column(name) for name in scores.names}


def _checked(columns: Mapping[str, ArrayLike]) -> list[FloatArray]:
    arrays = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise DataError(f"proxies need one score for each network; their shapes are {shapes}")
    if not next(iter(arrays.values())).size:
        raise DataError("there are no networks to rank; give one at least")
    return list(arrays.values())


def _vote(ranked: FloatArray) -> FloatArray:
    """Share of the others that a majority of three rankings `[n, 3]` places below each network.

    Ties within one ranking are broken by the mean rank, so that each vote is for one side; networks equal in all three
    share their mean score.
    """
    count = len(ranked)
    if count == 1:
        return np.ones(1)
    mean = ranked.mean(axis=1)
    places = np.empty((count, 3), dtype=np.int64)
    for voter in range(3):
        places[np.lexsort((mean, ranked[:, voter])), voter] = np.arange(count)
    a, b, c = places.T
    # Of the sets A, B, C of networks below, the majority is |AB| + |AC| + |BC| - 2 |ABC|.
    wins = _below_both(a, b) + _below_both(a, c) + _below_both(b, c) - 2 * _below_all(a, b, c)
    _, group, sizes = np.unique(ranked, axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    won: FloatArray = np.bincount(group, weights=wins) / sizes
    return won[group] / (count - 1)


def _below_both(a: IntArray, b: IntArray) -> IntArray:
    """`[n]` number of networks that are lower in both of two permutations."""
    order = np.argsort(a)
    found = np.empty(len(a), dtype=np.int64)
    found[order] = _earlier_and_lower(b[order], np.ones(len(a), dtype=bool), np.ones(len(a), dtype=bool), len(a))
    return found


def _below_all(a: IntArray, b: IntArray, c: IntArray) -> IntArray:
    """`[n]` number of networks that are lower in each of three permutations.

    Divide and conquer over `a`: at each width, networks of the upper half of a block are compared with those of the
    lower half, which is the problem of two permutations in each block.
    """
    count = len(a)
    order = np.argsort(a)
    b, c = b[order], c[order]
    position = np.arange(count)
    totals = np.zeros(count, dtype=np.int64)
    width = 1
    while width < count:
        by_b = np.argsort(position // (2 * width) * count + b)
        upper = (position // width) % 2 == 1
        totals[by_b] += _earlier_and_lower(c[by_b], ~upper[by_b], upper[by_b], 2 * width)
        width *= 2
    found = np.empty(count, dtype=np.int64)
    found[order] = totals
    return found


def _earlier_and_lower(values: IntArray, counted: NDArray[np.bool_], asking: NDArray[np.bool_], block: int) -> IntArray:
    """`[n]` for each asking position: the counted positions before it in its block with a lower value.

    Bottom-up merge sort over all blocks of length `block` (a power of two, or all of them) at once.
    """
    count = len(values)
    totals = np.zeros(count, dtype=np.int64)
    order = np.arange(count)
    for level in range(1, (min(block, count) - 1).bit_length() + 1):
        # Halves of each block of 2 ** level are in order already, so that this sort is a merge.
        key = (order >> level) * count + values[order]
        order = order[np.argsort(key, kind="stable")]
        later = (order >> (level - 1)) & 1 == 1
        running = np.cumsum(counted[order] & ~later)
        start = (order >> level) << level
        before = np.where(start > 0, running[start - 1], 0)
        sink = asking[order] & later
        totals[order[sink]] += (running - before)[sink]
    return totals
