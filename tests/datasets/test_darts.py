"""DARTS: published parameter counts, spellings, equivalences, graphs, and the results of NAS-Bench-301."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.darts import CONFIGURATION_PREFIX, Darts
from archcast.datasets.darts_module import Network
from archcast.datasets.labels_darts import read_folder
from archcast.errors import ConfigError, DataError, MissingDataError, SpecError
from archcast.graphs.capture import capture, is_path
from benchmarks.published_sizes import AMOEBANET, DARTS_SIZES, DARTS_V2, NASBENCH301_SIZE, edges, genotype
from benchmarks.published_sizes import NASBENCH301_CONFIGURATION as RECORDED

NB301 = Darts()
CIFAR = Darts(channels=36, layers=20)

NASNET = genotype(
    edges("s5 1, s3 0, s5 0, s3 0, a 1, k 0, a 0, a 0, s3 1, k 1"),
    edges("s5 1, s7 0, m 1, s7 0, a 1, s5 0, k 3, a 2, s3 2, m 1"),
    "[2, 3, 4, 5, 6]",
    "[4, 5, 6]",
)


@pytest.mark.parametrize(("spec", "params"), DARTS_SIZES.values(), ids=DARTS_SIZES)
def test_parameters_of_the_cifar_network_are_those_of_the_darts_code(spec: str, params: int) -> None:
    with torch.device("meta"):
        module = CIFAR.module(spec)
    assert sum(p.numel() for p in module.parameters()) == params == CIFAR.graph(spec).params


def test_parameters_are_those_nasbench301_recorded() -> None:
    spec = NB301.from_configuration(RECORDED)
    with torch.device("meta"):
        module = Network(NB301.parse(spec), 50, 20, auxiliary=True)
    assert sum(p.numel() for p in module.parameters()) == NASBENCH301_SIZE


def test_configurations_of_nasbench301_come_back() -> None:
    spec = NB301.from_configuration(RECORDED)
    long = NB301.to_configuration(spec)
    assert {key.removeprefix(CONFIGURATION_PREFIX): value for key, value in long.items()} == RECORDED
    assert NB301.from_configuration(long | {"OptimizerSelector:optimizer": "sgd"}) == spec
    rng = np.random.default_rng(0)
    for spec in [NB301.sample(rng) for _ in range(20)]:
        assert NB301.from_configuration(NB301.to_configuration(spec)) == spec


@pytest.mark.parametrize(
    "change",
    [{"inputs_node_normal_4": "0_3_1"}, {"inputs_node_reduce_4": "0_9"}, {"edge_normal_0": "none"}],
)
def test_bad_configurations_are_refused(change: dict[str, str]) -> None:
    with pytest.raises(SpecError):
        NB301.from_configuration(RECORDED | change)
    with pytest.raises(SpecError, match="has no"):
        NB301.from_configuration({})
    with pytest.raises(SpecError, match="four nodes"):
        NB301.to_configuration(NASNET)


def test_printed_genotypes_are_the_specs() -> None:
    assert NB301.format(NB301.parse(DARTS_V2)) == NB301.example
    text = NB301.format(NB301.parse(AMOEBANET))
    assert "|concat~4+5+6;reduce:" in text
    assert text.endswith("|concat~3+4+6")
    assert NB301.format(NB301.parse(text)) == text


def test_long_specs_are_captured_by_name() -> None:
    """They are longer than a file name may be."""
    graph = capture(f"darts:{NB301.example}")
    assert graph.nodes == NB301.graph(NB301.example).nodes
    assert not is_path(f"darts:{NB301.example}")


def test_order_of_inputs_and_nodes_does_not_matter() -> None:
    cell = "skip_connect~0+sep_conv_3x3~1|max_pool_3x3~0+sep_conv_5x5~1|avg_pool_3x3~2+dil_conv_3x3~3|skip_connect~0"
    reduce = ";reduce:" + "|".join(["max_pool_3x3~0+max_pool_3x3~1"] * 4)
    left = f"normal:{cell}+skip_connect~1{reduce}"
    # The first two nodes change places, and the third one reads them in the other order.
    other = "sep_conv_5x5~1+max_pool_3x3~0|sep_conv_3x3~1+skip_connect~0|avg_pool_3x3~3+dil_conv_3x3~2|skip_connect~1"
    right = f"normal:{other}+skip_connect~0{reduce}"
    assert NB301.canonical(left) == NB301.canonical(right)
    assert NB301.isomorphism_hash(left) == NB301.isomorphism_hash(right)
    assert NB301.graph(left).params == NB301.graph(right).params
    assert NB301.canonical(left) != NB301.canonical(left.replace("dil_conv_3x3~3", "dil_conv_3x3~1"))


def test_size_is_that_of_the_paper() -> None:
    assert NB301.size == (1 * 3 * 6 * 10 * 7**8) ** 2
    assert all(NB301.parse(spec).plain for spec in islice(NB301.all_specs(), 100))


def test_neighbours_of_wide_cells_may_use_every_operation() -> None:
    near = NB301.neighbours(NASNET)
    assert any("conv_7x1_1x7" in spec for spec in near)
    assert not any("7x7" in spec for spec in NB301.neighbours(NB301.example))
    assert all(NB301.parse(spec).plain for spec in NB301.neighbours(NB301.example))


@pytest.mark.parametrize("space", [Darts((1, 3, 16, 16), channels=4, layers=9), Darts((1, 1, 24, 16)).small()])
def test_stamped_equals_captured_in_other_sizes(space: Darts) -> None:
    rng = np.random.default_rng(3)
    specs = [space.sample(rng) for _ in range(3)]
    for spec, stamped in zip(specs, space.stamp(specs), strict=True):
        captured = capture(space.module(spec), space.input_shape)
        assert stamped.nodes == captured.nodes
        assert np.array_equal(stamped.edge_index, captured.edge_index)


@pytest.mark.parametrize("spec", [NASNET, AMOEBANET])
def test_wide_cells_run_and_are_captured(spec: str) -> None:
    space = NB301.small()
    assert not space.graph(spec).unknown_ops
    module = space.module(spec, 5)
    assert module(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    assert module.eval()(torch.randn(3, 3, 32, 32)).shape == (3, 5)


def test_auxiliary_classifier_speaks_only_in_training() -> None:
    module = Network(NB301.parse(NB301.example), 4, 3, 10, auxiliary=True)
    images = torch.randn(2, 3, 32, 32)
    assert [logits.shape for logits in module(images)] == [(2, 10), (2, 10)]
    assert module.eval()(images).shape == (2, 10)


def test_impossible_sizes_are_refused() -> None:
    for channels, layers in ((7, 8), (0, 8), (8, 2)):
        with pytest.raises(ConfigError, match="even"):
            Darts(channels=channels, layers=layers)


def result(spec: str, val: float, test: float, channels: int = 32) -> dict[str, Any]:
    """A made-up training in the format of NAS-Bench-301."""
    sizes = {f"{CONFIGURATION_PREFIX}init_channels": channels, f"{CONFIGURATION_PREFIX}layers": 8}
    return {
        "optimized_hyperparamater_config": NB301.to_configuration(spec) | sizes,
        "budget": 98,
        "info": [{"val_accuracy": val, "model_parameters": 1_000, "epochs": 98}],
        "test_accuracy": test,
        "runtime": 7200,
    }


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    rng = np.random.default_rng(4)
    first, second = NB301.sample(rng), NB301.sample(rng)
    results = {
        "rs/results_0.json": result(first, 94.0, 93.5),
        "rs/results_1_ti.json": result(second, 92.0, 91.5),
        "de/results_0.json": result(first, 94.4, 93.7),
        "de/results_1.json": result(second, 99.0, 99.0, channels=16),
    }
    folder = tmp_path / "nb_301_v13"
    for name, content in results.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


def test_results_of_nasbench301_are_read(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHCAST_DATA", str(archive.parent))
    bench = load_benchmark("darts")
    assert bench.metric == "validation accuracy after 100 epochs"
    assert sorted(bench.scores.tolist()) == pytest.approx([92.0, 94.2])
    assert sorted(load_benchmark("darts", metric="test").scores.tolist()) == pytest.approx([91.5, 93.6])
    assert bench.columns["params"].tolist() == [1_000, 1_000]
    assert bench.graph(0).shapes[0] == (1, 3, 32, 32)


def test_missing_and_damaged_results_are_refused(
    archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="unpack it again"):
        read_folder(empty, "val")
    (archive / "rs" / "results_7.json").write_text('{"info": [')
    with pytest.raises(DataError, match=r"results_7\.json is not a result"):
        read_folder(archive, "val")
    monkeypatch.setenv("ARCHCAST_DATA", str(empty))
    monkeypatch.setenv("ARCHCAST_HOME", str(empty))
    with pytest.raises(MissingDataError, match="archcast datasets info darts"):
        load_benchmark("darts")
