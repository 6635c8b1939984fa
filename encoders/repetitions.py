"""Consecutive repetitions in sequences: found in near-linear time, written as `[k times] block [end]`, nested.

A *run* is a maximal stretch `s[a:b]` with `s[x] = s[x + p]` throughout and `b - a >= 2 p`: the block `s[a:a + p]`
repeated `(b - a) // p` times. Every run of period p holds a multiple of p that equals its neighbour p further on, so it
is enough to compare the positions `0, p, 2p, ...` for each period: `n/1 + n/2 + ... = n ln n` pairs (Main and Lorentz,
"An O(n log n) algorithm for finding all repetitions in a string", 1984). How far a match extends is a binary search
over polynomial hashes of windows, hence O(n log^2 n) in all. All sequences of a batch are searched at once.

Chosen repetitions are compared symbol by symbol, so that a collision of hashes can never change what is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Words = NDArray[np.uint64]

END: Final = -1
"""Symbol that closes a block; the symbol that opens a block repeated k times is -k (k >= 2)."""
LARGEST_COUNT: Final = 64
"""More repetitions are written as nested ones."""
OVERHEAD: Final = 2
"""Tokens that `[k times]` and `[end]` cost."""

_BASE: Final = 0x9E3779B97F4A7C15  # odd, so that no power of it vanishes modulo 2^64


def mixed(values: IntArray) -> Words:
    """A 64-bit hash of each integer (the finalizer of SplitMix64)."""
    word = values.astype(np.uint64) + np.uint64(_BASE)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(word ^ (word >> np.uint64(31)))


@dataclass(frozen=True)
class Runs:
    """Repetitions `[start, stop)` with their `period`, positions counted over the whole batch."""

    start: IntArray
    stop: IntArray
    period: IntArray


def find_runs(symbols: IntArray, ptr: IntArray) -> Runs:
    """All runs of all sequences `symbols[ptr[g]:ptr[g + 1]]`; a run of period p may be found again as one of 2p."""
    lengths = np.diff(ptr)
    pairs = [_pairs(int(length)) for length in lengths]
    left = np.concatenate([*(pair[0] + first for pair, first in zip(pairs, ptr, strict=False)), np.zeros(0, np.int64)])
    period = np.concatenate([*(pair[1] for pair in pairs), np.zeros(0, np.int64)])
    graph = np.repeat(np.arange(len(lengths)), [len(pair[0]) for pair in pairs])
    kept = np.flatnonzero(symbols[left] == symbols[left + period])
    left, period, first, last = left[kept], period[kept], ptr[graph[kept]], ptr[graph[kept] + 1]
    windows = _Windows(symbols)
    back = windows.extent(left, period, np.minimum(left - first, period), backwards=True)
    # One that reaches a whole period back is found from the anchor before this one.
    start = left - back
    kept = np.flatnonzero((back < period) & (start + 2 * period <= last))
    start, period, last = start[kept], period[kept], last[kept]
    kept = np.flatnonzero(windows.equal(start, start + period, period))
    start, period, last = start[kept], period[kept], last[kept]
    stop = start + period + windows.extent(start, period, last - start - period)
    return Runs(start, stop, period)


@lru_cache(1024)
def _pairs(length: int) -> tuple[IntArray, IntArray]:
    """Anchors i (the multiples of each period p up to half the length, i + p inside) and their periods."""
    periods = np.arange(1, length // 2 + 1)
    counts = (length - 1) // periods
    period = np.repeat(periods, counts)
    before = np.repeat(np.cumsum(counts) - counts, counts)
    return (np.arange(len(period)) - before) * period, period


class _Windows:
    """Equality of two windows of one sequence in constant time, from prefix sums of a polynomial hash."""

    def __init__(self, symbols: IntArray) -> None:
        self._powers = _powers(len(symbols).bit_length())
        self._prefix = np.zeros(len(symbols) + 1, dtype=np.uint64)
        np.cumsum(mixed(symbols) * self._powers[: len(symbols)], out=self._prefix[1:])

    def equal(self, left: IntArray, right: IntArray, length: IntArray) -> NDArray[np.bool_]:
        """Whether `s[left:left + length] = s[right:right + length]`, for left <= right."""
        prefix = self._prefix
        shifted = (prefix[left + length] - prefix[left]) * self._powers[right - left]
        return np.asarray(shifted == prefix[right + length] - prefix[right])

    def extent(self, left: IntArray, shift: IntArray, most: IntArray, *, backwards: bool = False) -> IntArray:
        """Greatest length up to `most` for which the windows at (or before) `left` and `left + shift` are equal."""
        found = np.zeros(len(left), dtype=np.int64)
        step = 1 << max(int(most.max(initial=0)).bit_length() - 1, 0)
        while step:
            tried = np.minimum(found + step, most)
            begin = left - tried if backwards else left
            found = np.where(self.equal(begin, begin + shift, tried), tried, found)
            step >>= 1
        return found


@lru_cache(64)
def _powers(bits: int) -> Words:
    """Powers of the base, 2^bits of them, modulo 2^64."""
    factors = np.full(1 << bits, _BASE, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors)


def compress(symbols: IntArray, ptr: IntArray, weights: IntArray) -> list[list[int]]:
    """Each sequence with its repetitions written once: symbols, `-k` before a block repeated k times, `END` after it.

    The repetition that saves most is taken first, then those inside its block and beside it.

    Args:
        symbols: `[N]` the sequences one after another, all >= 0.
        ptr: `[G + 1]` where each begins.
        weights: `[N]` tokens that each symbol stands for.
    """
    runs = find_runs(symbols, ptr)
    before = np.concatenate([[0], np.cumsum(weights)])
    order = np.argsort(runs.start, kind="stable")
    starts, stops, periods = runs.start[order].tolist(), runs.stop[order].tolist(), runs.period[order].tolist()
    bounds = np.searchsorted(runs.start[order], ptr).tolist()
    writer = _Writer(symbols, symbols.tolist(), before.tolist())
    ends = ptr.tolist()
    programs = []
    for graph, (first, last) in enumerate(pairwise(bounds)):
        own = list(zip(starts[first:last], stops[first:last], periods[first:last], strict=True))
        programs.append(writer.write(ends[graph], ends[graph + 1], own))
    return programs


_Run = tuple[int, int, int]  # start, stop, period


@dataclass(frozen=True)
class _Writer:
    array: IntArray
    symbols: list[int]
    before: list[int]

    def write(self, low: int, high: int, runs: list[_Run]) -> list[int]:
        """`symbols[low:high]` compressed, given the runs of a sequence that contains it."""
        inside = []
        best, most = None, 0
        for run_start, run_stop, period in runs:
            start, stop = max(run_start, low), min(run_stop, high)
            count = (stop - start) // period
            if count < 2:
                continue
            inside.append((start, stop, period))
            saved = (count - 1) * (self.before[start + period] - self.before[start]) - OVERHEAD
            if saved > most:
                best, most = (start, period, count), saved
        if best is None:
            return self.symbols[low:high]
        start, period, count = best
        stop = start + period * count
        if not np.array_equal(self.array[start : stop - period], self.array[start + period : stop]):
            return self.write(low, high, [run for run in inside if run[::2] != (start, period)])
        block = self.write(start, start + period, inside)
        return [*self.write(low, start, inside), *repeated(block, count), *self.write(stop, high, inside)]


def repeated(block: list[int], count: int) -> list[int]:
    """`block` written `count` times: once between its marks, nested where the count is above `LARGEST_COUNT`."""
    if count == 1:
        return block
    if count <= LARGEST_COUNT:
        return [-count, *block, END]
    times, rest = divmod(count, LARGEST_COUNT)
    nested = repeated([-LARGEST_COUNT, *block, END], times)
    return [*nested, *repeated(block, rest)] if rest else nested


def expand(program: list[int]) -> list[int]:
    """The sequence that `compress` was given.

    Raises:
        ValueError: a block is not closed, or closed without being open.
    """
    return list(_expanded(program))


def _expanded(program: list[int]) -> Iterator[int]:
    stack: list[tuple[int, list[int]]] = [(1, [])]
    for symbol in program:
        if symbol == END:
            if len(stack) == 1:
                raise ValueError("a repeated block is closed that was never opened")
            count, block = stack.pop()
            stack[-1][1].extend(block * count)
        elif symbol < 0:
            stack.append((-symbol, []))
        else:
            stack[-1][1].append(symbol)
    if len(stack) > 1:
        raise ValueError("a repeated block is not closed")
    yield from stack[0][1]
