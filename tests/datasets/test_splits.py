"""Splits: sizes, determinism, and that isomorphs do not leak."""

from __future__ import annotations

import numpy as np
import pytest

from archcast.datasets.benchmark import Benchmark
from archcast.datasets.labels import Measurement
from archcast.datasets.splits import (
    count_isomorphs_across,
    group_numbers,
    isomorphism_split,
    leave_one_space_out,
    random_split,
)
from archcast.errors import ConfigError


def make_benchmark() -> Benchmark:
    from archcast.datasets.nasbench201 import NASBench201

    specs = tuple(NASBench201().all_specs())
    return Benchmark("nasbench201", "cifar10", Measurement("val", 200), specs, np.arange(len(specs), dtype=np.float64))


def test_random_split_is_deterministic_and_disjoint() -> None:
    split, again, other = random_split(100, 10, 3), random_split(100, 10, 3), random_split(100, 10, 4)
    assert np.array_equal(split.train, again.train)
    assert not np.array_equal(split.train, other.train)
    assert len(split.train) == 10
    assert np.array_equal(np.sort(np.concatenate([split.train, split.test])), np.arange(100))


def test_seeds_mean_the_same_on_every_machine() -> None:
    assert random_split(1000, 5, 0).train.tolist() == [162, 206, 222, 459, 711]


def test_whole_space_ranks_everything() -> None:
    split = random_split(50, 5, whole_space=True)
    assert np.array_equal(split.test, np.arange(50))
    assert len(random_split(50, 50, whole_space=True).train) == 50


def test_isomorphism_split_keeps_groups_apart_and_samples_like_random() -> None:
    groups = np.arange(200) // 2
    split = isomorphism_split(groups, 30, seed=1)
    assert np.array_equal(split.train, random_split(200, 30, seed=1).train)
    assert not set(groups[split.train]) & set(groups[split.test])
    assert count_isomorphs_across(split, groups) == 0
    assert count_isomorphs_across(random_split(200, 30, seed=1), groups) > 0


def test_count_isomorphs_ignores_the_labelled_themselves() -> None:
    assert count_isomorphs_across(random_split(10, 5, whole_space=True), np.arange(10)) == 0


def test_published_sizes_are_the_default() -> None:
    splits = make_benchmark().splits(seeds=(0, 1))
    assert [len(split.train) for split in splits] == [78, 78, 156, 156, 469, 469, 781, 781, 1563, 1563]
    assert all(len(split.test) == 15_625 for split in splits)


def test_random_splits_of_nasbench201_leak() -> None:
    bench = make_benchmark()
    assert len(np.unique(bench.groups)) <= 6466
    (fair,) = bench.splits([1563], seeds=[0], kind="isomorphism")
    (leaky,) = bench.splits([1563], seeds=[0], whole_space=False)
    assert count_isomorphs_across(fair, bench.groups) == 0
    assert count_isomorphs_across(leaky, bench.groups) > 1000


def test_leave_one_space_out_never_trains_on_the_same_space() -> None:
    sizes = {"a": 10, "b": 5000, "b-full": 7}
    folds = list(leave_one_space_out(sizes, sample=100, seed=2, spaces={"b-full": "b"}))
    assert [(fold.test, fold.train, len(fold.rows)) for fold in folds] == [
        ("a", ("b", "b-full"), 10),
        ("b", ("a",), 100),
        ("b-full", ("a",), 7),
    ]


def test_group_numbers_count_in_order_of_appearance() -> None:
    assert group_numbers(["x", "y", "x", "z"]).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("size", [0, -3, 100, 101])
def test_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="between 1 and 99"):
        random_split(100, size)


def test_other_impossible_splits_are_refused() -> None:
    with pytest.raises(ConfigError, match="cover all isomorphism groups"):
        isomorphism_split(np.zeros(10, dtype=np.int64), 2)
    with pytest.raises(ConfigError, match="at least two search spaces"):
        list(leave_one_space_out({"a": 3, "a-full": 9}, spaces={"a-full": "a"}))
    with pytest.raises(ConfigError, match="random, isomorphism"):
        make_benchmark().splits([10], kind="sorted")  # type: ignore[arg-type]
