"""Repetitions: every maximal one is found, and nothing is lost in folding."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.encoders.repetitions import END, LARGEST_COUNT, compress, expand, find_runs, repeated

SYMBOLS = st.integers(0, 3)
BLOCKS = st.lists(SYMBOLS, max_size=6)


@st.composite
def sequences(draw: st.DrawFn) -> list[int]:
    """Blocks repeated inside blocks, which random symbols hardly ever hold."""
    sequence: list[int] = []
    for _ in range(draw(st.integers(0, 3))):
        inner = draw(BLOCKS) + draw(BLOCKS) * draw(st.integers(0, 4))
        sequence += inner * draw(st.integers(1, 5)) + draw(BLOCKS)
    return sequence


def folded(sequence: list[int], weight: int = 3) -> list[int]:
    symbols = np.asarray(sequence, dtype=np.int64)
    return compress(symbols, np.asarray([0, len(sequence)]), np.full(len(sequence), weight))[0]


def runs_by_hand(sequence: list[int]) -> set[tuple[int, int, int]]:
    found = set()
    for period in range(1, len(sequence) // 2 + 1):
        start = 0
        while start + period < len(sequence):
            stop = start
            while stop + period < len(sequence) and sequence[stop] == sequence[stop + period]:
                stop += 1
            if stop - start >= period:
                found.add((start, stop + period, period))
            start = stop + 1
    return found


@given(sequences())
@settings(max_examples=300, deadline=None)
def test_folding_loses_nothing_and_never_lengthens(sequence: list[int]) -> None:
    program = folded(sequence)
    assert expand(program) == sequence
    tokens = sum(1 if symbol < 0 else 3 for symbol in program)
    assert tokens <= 3 * len(sequence)


@given(st.lists(sequences(), max_size=4))
@settings(max_examples=200, deadline=None)
def test_exactly_the_maximal_runs_are_found(batch: list[list[int]]) -> None:
    ptr = np.cumsum([0, *map(len, batch)])
    runs = find_runs(np.asarray([symbol for sequence in batch for symbol in sequence], dtype=np.int64), ptr)
    expected = {
        (int(first) + start, int(first) + stop, period)
        for first, sequence in zip(ptr, batch, strict=False)
        for start, stop, period in runs_by_hand(sequence)
    }
    assert set(zip(runs.start.tolist(), runs.stop.tolist(), runs.period.tolist(), strict=True)) == expected


def test_blocks_nest() -> None:
    assert folded([0, 1, 1, 1, 2] * 5) == [-5, 0, -3, 1, END, 2, END]
    assert folded([7, 0, 1, 0, 1, 0, 1, 8]) == [7, -3, 0, 1, END, 8]


def test_a_repetition_that_saves_nothing_is_left_alone() -> None:
    assert folded([5, 5], weight=2) == [5, 5]
    assert folded([5, 5], weight=3) == [-2, 5, END]


@pytest.mark.parametrize("count", [LARGEST_COUNT, LARGEST_COUNT + 1, 200, 3 * LARGEST_COUNT, LARGEST_COUNT**2 + 70])
def test_more_repetitions_than_a_mark_can_count_are_nested(count: int) -> None:
    program = repeated([4, 5], count)
    assert expand(program) == [4, 5] * count
    assert len(program) < 25
    assert min(program) >= -LARGEST_COUNT


@pytest.mark.parametrize("program", [[-2, 1], [1, END]])
def test_a_broken_program_is_refused(program: list[int]) -> None:
    with pytest.raises(ValueError, match="block"):
        expand(program)


def test_time_grows_nearly_linearly() -> None:
    def seconds(length: int) -> float:
        symbols = np.random.default_rng(0).integers(0, 8, length)
        start = time.process_time()
        compress(symbols, np.asarray([0, length]), np.ones(length, dtype=np.int64))
        return time.process_time() - start

    seconds(4_000)
    assert seconds(32_000) < 8 * 6 * max(seconds(4_000), 0.005)  # eightfold length; quadratic would be 64 times
