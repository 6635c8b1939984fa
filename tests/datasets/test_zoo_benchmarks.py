"""Published networks as benchmarks: names, families, labels that agree with the networks, and no neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archcast.datasets import zoo_space
from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.space import SearchSpace
from archcast.datasets.zoo_space import PytorchcvZoo, TorchvisionZoo, ZooEntry
from archcast.errors import MissingDataError, MissingExtraError, SpecError
from archcast.graphs.capture import capture

pytest.importorskip("torchvision")
pytest.importorskip("pytorchcv")

zoos = pytest.mark.parametrize("space", [TorchvisionZoo(), PytorchcvZoo()], ids=["torchvision", "pytorchcv"])


@zoos
def test_names_are_specs(space: SearchSpace[ZooEntry]) -> None:
    specs = list(space.all_specs())
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(20)]
    assert len(specs) == len(set(specs)) == space.size
    assert len(set(drawn)) > 5
    assert set(drawn) <= set(specs)
    for spec in [space.example, *drawn]:
        assert space.format(space.parse(spec)) == space.canonical(spec) == spec


@zoos
def test_a_zoo_has_no_neighbours(space: SearchSpace[ZooEntry]) -> None:
    for ask in (space.neighbours, lambda spec: space.mutate(spec, np.random.default_rng(0))):
        with pytest.raises(SpecError, match=r"has no neighbours.*nasbench201"):
            ask(space.example)


@zoos
@pytest.mark.parametrize("spec", [None, 50, "", "resnet51", "fcn_resnet50", "quantized_resnet50", "x" * 10_000])
def test_other_names_are_refused(space: SearchSpace[ZooEntry], spec: object) -> None:
    with pytest.raises(SpecError, match="Example: 'resnet") as caught:
        space.parse(spec)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 600
    assert "close: resnet50" in str(caught.value) or spec != "resnet51" or space.name == "zoo-pytorchcv"


def test_networks_keep_their_image_size_and_classes() -> None:
    space = PytorchcvZoo()
    batch = space.stamp(["squeezenet_v1_1", "nin_cifar100"])
    assert batch.names == ("pytorchcv:squeezenet_v1_1", "pytorchcv:nin_cifar100")
    assert [graph.shapes[0] for graph in batch] == [(1, 3, 224, 224), (1, 3, 32, 32)]
    assert [graph.shapes[-1][1] for graph in batch] == [1000, 100]
    assert batch[1].hash() == capture("pytorchcv:nin_cifar100").hash()
    assert PytorchcvZoo((1, 3, 64, 64)).graph("nin_cifar100").shapes[0] == (1, 3, 64, 64)
    for ask in (space.module, space.graph):
        with pytest.raises(SpecError, match="has 100 classes, not 10"):
            ask("nin_cifar100", 10)


def test_torchvision_pools_hold_one_generation_of_weights() -> None:
    first, second = load_benchmark("zoo-torchvision"), load_benchmark("zoo-torchvision-v2")
    assert first.task == second.task == "imagenet1k"
    assert first.space is second.space
    assert len(first) == 78
    assert set(second.specs) < set(first.specs)
    row, row2 = first.specs.index("resnet50"), second.specs.index("resnet50")
    assert (first.scores[row], second.scores[row2]) == (76.13, 80.858)
    assert first.columns["family"][row] == "resnet"
    assert "regnet_y_128gf" not in first.specs  # pretrained elsewhere
    assert first.noise_ceiling() is None


def test_recorded_sizes_are_those_of_the_graphs() -> None:
    bench = load_benchmark("zoo-torchvision")
    rows = [bench.specs.index(name) for name in ("mobilenet_v2", "resnet18", "vgg11")]
    graphs = bench.graphs(rows)
    assert graphs.params.tolist() == bench.columns["params"][rows].tolist()
    assert np.allclose(graphs.macs, bench.columns["macs"][rows], rtol=0.02)


@pytest.mark.parametrize(
    ("task", "count", "name", "score"),
    [
        ("imagenet1k", 323, "alexnet", 83.36),
        ("cifar10", 70, "resnet20_cifar10", 94.03),
        ("cifar100", 68, "resnet20_cifar100", 70.36),
        ("svhn", 63, "resnet20_svhn", 96.57),
    ],
)
def test_pytorchcv_errors_become_accuracies(task: str, count: int, name: str, score: float) -> None:
    bench = load_benchmark("zoo-pytorchcv", task)
    row = bench.specs.index(name)
    assert len(bench) == count
    assert bench.scores[row] == pytest.approx(score)
    assert bench.metric == ("test top-5 accuracy" if task == "imagenet1k" else "test accuracy")
    assert bench.space.graph(name, bench.num_classes).params == bench.columns["params"][row]
    assert 5 < len(set(bench.columns["family"])) < count
    assert len(set(bench.groups.tolist())) == count


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'archcast\[zoo\]'"):
        zoo_space.pytorchcv_rows.__wrapped__()


def test_a_pytorchcv_without_its_table_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo_space, "_METADATA", Path("nowhere.csv"))
    with pytest.raises(MissingDataError, match=r"nowhere\.csv"):
        zoo_space.pytorchcv_rows.__wrapped__()
