"""The graph cache: exact round trips, and nothing that lies in its folder can do harm."""

from __future__ import annotations

import logging
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from archcast.datasets import cache as cache_module
from archcast.datasets.arrow_arrays import narrow, read_arrays, write_arrays
from archcast.datasets.benchmark import Benchmark
from archcast.datasets.cache import GraphCache, content_key, pack_graphs, unpack_graphs
from archcast.datasets.labels import Measurement
from archcast.datasets.spaces import get_space
from archcast.errors import DataError, StorageError
from archcast.graphs.graph import GraphBatch, Node


def stamped(count: int = 40) -> GraphBatch:
    rng = np.random.default_rng(0)
    space = get_space("nasbench201")
    return space.stamp([space.sample(rng) for _ in range(count)])


def assert_same(left: GraphBatch, right: GraphBatch) -> None:
    assert left.nodes == right.nodes
    assert left.names == right.names
    for name in ("kinds", "edge_index", "ptr", "edge_ptr", "unused_params"):
        assert getattr(left, name).dtype == getattr(right, name).dtype == np.int64
        assert np.array_equal(getattr(left, name), getattr(right, name)), name


@pytest.fixture
def fresh_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_unwritable", set())


@pytest.mark.parametrize("name", ["nasbench201", "nasbench101", "nas-bench-macro", "nats-sss"])
def test_graphs_of_every_space_round_trip(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(1)
    space = get_space(name)
    graphs = space.stamp([space.sample(rng) for _ in range(20)])
    cache = GraphCache(tmp_path)
    assert cache.get("key") is None
    assert cache.put("key", graphs)
    found = cache.get("key")
    assert found is not None
    assert_same(found, graphs)


def test_odd_graphs_round_trip() -> None:
    empty = GraphBatch.from_graphs([])
    assert_same(unpack_graphs(*pack_graphs(empty)), empty)
    node = Node(
        "Unknown", {"name": "ünknown", "ratio": 0.1, "flag": True, "kernel": (3, 5), "mode": "a"}, (1, 2), 3, 2**40
    )
    one, edges = np.zeros(1, np.int64), np.zeros((2, 0), np.int64)
    lonely = GraphBatch((node,), one, edges, np.array([0, 1]), np.array([0, 0]), np.array([2**40]))
    again = unpack_graphs(*pack_graphs(lonely))
    assert_same(again, lonely)
    assert again.nodes[0].attributes["flag"] is True


def test_build_runs_once(tmp_path: Path) -> None:
    built = []

    def build() -> GraphBatch:
        built.append(1)
        return stamped()

    cache = GraphCache(tmp_path)
    assert_same(cache.graphs("key", build), cache.graphs("key", build))
    assert len(built) == 1
    assert cache.size > 0
    cache.clear()
    assert cache.size == 0
    assert not tmp_path.exists()


def test_matrix_is_mapped_and_read_only(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    cache = GraphCache(tmp_path)
    first = cache.matrix("key", "features", lambda: values, recipe="r1")
    again = cache.matrix("key", "features", lambda: pytest.fail("built twice"), recipe="r1")
    assert first is values
    assert again.dtype == np.float32
    assert np.array_equal(again, values)
    with pytest.raises(ValueError, match="read-only"):
        again[0, 0] = 1


def test_other_recipe_is_rebuilt_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = GraphCache(tmp_path)
    cache.put_matrix("key", "features", np.zeros(3), recipe="old")
    with caplog.at_level(logging.WARNING):
        values = cache.matrix("key", "features", lambda: np.ones(3), recipe="new")
    assert values.tolist() == [1, 1, 1]
    assert "another version" in caplog.text
    assert cache.get_matrix("key", "features", recipe="new") is not None


def test_recipe_of_graphs_follows_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = GraphCache(tmp_path)
    cache.put("key", stamped(3))
    monkeypatch.setattr(cache_module, "graph_recipe", lambda: "another")
    assert cache.get("key") is None
    source = tmp_path / "a.py"
    source.write_text("x = 1")
    before = cache_module.source_recipe([source])
    source.write_text("x = 2")
    assert cache_module.source_recipe([source]) != before


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, -8], ids=str)
def test_truncated_entry_is_rebuilt_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture, keep: float) -> None:
    cache, graphs = GraphCache(tmp_path), stamped()
    cache.put("key", graphs)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[: int(keep if keep in (0, 7, 100) else keep * len(content) if keep > 0 else keep)])
    with caplog.at_level(logging.WARNING):
        assert_same(cache.graphs("key", lambda: graphs), graphs)
    assert "damaged" in caplog.text
    assert cache.get("key") is not None


def test_foreign_and_inconsistent_entries_are_rebuilt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache, graphs = GraphCache(tmp_path), stamped(3)
    path = tmp_path / "key-graphs.arrow"
    path.write_text("not arrow at all")
    assert cache.get("key") is None
    arrays, texts = pack_graphs(graphs)
    recipe = {"recipe": cache_module.graph_recipe()}
    for damage in (
        {"kinds": arrays["kinds"][:-1]},
        {"kinds": arrays["kinds"] + np.int8(100)},
        {"edge_list": arrays["edge_list"] + np.int8(50)},
    ):
        write_arrays(path, {**arrays, **damage}, texts, recipe)
        assert cache.get("key") is None
    write_arrays(path, arrays, {**texts, "nodes": ["{"]}, recipe)
    assert cache.get("key") is None
    write_arrays(path, {"kinds": arrays["kinds"]}, texts, recipe)
    assert cache.get("key") is None
    assert caplog.text.count("damaged") == 6


@pytest.mark.usefixtures("fresh_warnings")
def test_unwritable_cache_warns_once_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache, graphs = GraphCache(tmp_path / "file" / "graphs"), stamped(3)
    with pytest.warns(RuntimeWarning, match="goes on without it"):
        assert cache.graphs("key", lambda: graphs) is graphs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.graphs("key", lambda: graphs) is graphs


@pytest.mark.usefixtures("fresh_warnings")
def test_full_disk_warns_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.OSFile", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        assert not GraphCache(tmp_path).put("key", stamped(2))
    assert list(tmp_path.iterdir()) == []


def test_required_cache_raises_instead(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="ARCHCAST_HOME"):
        GraphCache(tmp_path / "file" / "graphs", required=True).put("key", stamped(2))


def test_content_key_separates_its_parts() -> None:
    assert content_key("ab", "c") != content_key("a", "bc")
    assert len(content_key()) == 32


def test_narrow_keeps_values() -> None:
    for top in (0, 127, 128, 2**15, 2**31, 2**40):
        values = np.array([-1, top], dtype=np.int64)
        assert np.array_equal(narrow(values), values)
    assert narrow(np.zeros(0, np.int64)).dtype == np.int8


def test_arrays_of_any_shape(tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    write_arrays(path, {"a": np.zeros((2, 0, 3)), "b": np.arange(5)}, {"t": ["x", ""]}, {"fact": "1"})
    arrays, texts, facts = read_arrays(path)
    assert arrays["a"].shape == (2, 0, 3)
    assert arrays["b"].tolist() == [0, 1, 2, 3, 4]
    assert (texts, facts) == ({"t": ["x", ""]}, {"fact": "1"})
    with pytest.raises(DataError, match="truncated or not an Arrow file"):
        read_arrays(tmp_path / "absent.arrow")


def test_benchmark_graphs_come_from_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARCHCAST_HOME", str(tmp_path))
    specs = tuple(get_space("nas-bench-macro").all_specs())[:50]
    bench = Benchmark("nas-bench-macro", "cifar10", Measurement("test", 50), specs, np.zeros(50))
    cold = bench.graphs()
    monkeypatch.setattr(type(bench.space), "stamp", lambda *_: pytest.fail("stamped again"))
    assert_same(bench.graphs(), cold)


@pytest.mark.slow
def test_whole_nasbench201_opens_at_once(tmp_path: Path) -> None:
    space = get_space("nasbench201")
    graphs = space.stamp(list(space.all_specs()))
    cache = GraphCache(tmp_path)
    cache.put("key", graphs)
    times = []
    for _ in range(5):
        start = time.process_time()
        found = cache.get("key")
        times.append(time.process_time() - start)
    assert found is not None
    assert_same(found, graphs)
    assert min(times) < 0.2
    assert cache.size < 10_000_000
