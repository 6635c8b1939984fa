"""The corpus: the same shards from the same seed, no graph twice, goes on after a kill, reads what it wrote."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from archcast.datasets import corpus_sources, corpus_zoo
from archcast.datasets.cache import pack_graphs, unpack_graphs
from archcast.datasets.corpus import Corpus, make_corpus
from archcast.datasets.corpus_shards import select
from archcast.datasets.corpus_sources import Part, make, space_parts, zoo_parts
from archcast.datasets.random_networks import random_pool
from archcast.datasets.spaces import SPACES
from archcast.errors import ConfigError, DataError, MissingDataError, UnknownNameError
from archcast.graphs.graph import GraphBatch
from archcast.graphs.hashing import graph_hashes

SLOW = tuple(name for name in SPACES if name.startswith(("autoformer", "vit-", "pit", "nas-bench-bert", "mini-")))
"""Spaces that capture modules, with which the tests would take a minute."""
GRAPHS = 400


def contents(folder: Path) -> dict[str, str]:
    return {path.name: blake2b(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.arrow"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus")
    make_corpus(path, graphs=GRAPHS, exclude=SLOW, zoo=False, progress=False)
    return path


@pytest.fixture
def corpus(folder: Path) -> Corpus:
    return Corpus.open(folder)


def test_a_corpus_has_the_graphs_asked_for_each_once(corpus: Corpus) -> None:
    graphs = corpus.take(np.arange(len(corpus)))
    assert len(graphs) == len(corpus) >= GRAPHS
    hashes = graph_hashes(graphs)
    assert len(set(hashes)) == len(hashes)
    assert [f"{high:016x}{low:016x}" for high, low in corpus.hashes.tolist()] == hashes
    assert set(corpus.sources) == {name for name in SPACES if not name.startswith("zoo-")} - set(SLOW) | {"random"}
    assert sum(corpus.sources.values()) == len(corpus)


def test_graphs_are_those_of_their_space(corpus: Corpus) -> None:
    pool = corpus.pool("nasbench201")
    for graph in corpus.take(pool.positions[:5]):
        prefix, _, spec = graph.name.partition(":")
        assert prefix == "nasbench201"
        assert graph.hash() == SPACES[prefix].graph(spec).hash()


def test_pools_cover_the_corpus_and_name_their_graphs(corpus: Corpus) -> None:
    positions = np.concatenate([pool.positions for pool in corpus.pools])
    assert np.array_equal(np.sort(positions), np.arange(len(corpus)))
    random = [pool for pool in corpus.pools if pool.source == "random" and not pool.name.endswith(":free")]
    for pool in random[:3]:
        assert all(graph.name.startswith(f"{pool.name}#") for graph in corpus.take(pool.positions))


def test_sample_is_without_repeats_and_batches_give_all(corpus: Corpus) -> None:
    sample = corpus.sample(np.random.default_rng(0), 64)
    again = corpus.sample(np.random.default_rng(0), 64)
    assert graph_hashes(sample) == graph_hashes(again)
    assert len(set(graph_hashes(sample))) == 64
    shuffled = [name for batch in corpus.batches(100, np.random.default_rng(1)) for name in batch.names]
    in_order = [name for batch in corpus.batches(100) for name in batch.names]
    assert sorted(shuffled) == sorted(in_order)
    assert shuffled != in_order
    assert len(corpus.sample(np.random.default_rng(0), 10**6)) == len(corpus)


def test_pool_batches_hold_graphs_of_one_pool(corpus: Corpus) -> None:
    drawn = list(islice(corpus.pool_batches(np.random.default_rng(0), 8), 40))
    assert len({pool.name for pool, _ in drawn}) > 5
    for pool, batch in drawn:
        assert len(batch) == min(8, len(pool))
        members = set(corpus.take(pool.positions).names)
        assert set(batch.names) <= members


def test_positions_keep_their_order(corpus: Corpus) -> None:
    positions = np.asarray([len(corpus) - 1, 0, 200, 1])
    names = [corpus.take([position]).names[0] for position in positions.tolist()]
    assert list(corpus.take(positions).names) == names
    with pytest.raises(IndexError, match="go from 0"):
        corpus.take([len(corpus)])


def test_a_finished_corpus_is_opened_without_a_space(folder: Path, corpus: Corpus) -> None:
    without = Corpus.open(folder, exclude=["nasbench201", "random"])
    assert len(without) == len(corpus) - corpus.sources["nasbench201"] - corpus.sources["random"]
    assert not [pool for pool in without.pools if pool.source in ("nasbench201", "random")]
    names = without.take(np.arange(len(without))).names
    assert not [name for name in names if name.startswith(("nasbench201:", "random"))]
    with pytest.raises(UnknownNameError, match="it has accel-nasbench, darts"):
        Corpus.open(folder, exclude=["nasbench202"])


def test_missing_shards_are_put_back_as_they_were(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "corpus"
    shutil.copytree(folder, other)
    before = contents(other)
    names = sorted(before)
    (other / names[2]).unlink()
    (other / names[-1]).write_bytes((other / names[-1]).read_bytes()[:100])
    with pytest.raises(MissingDataError, match="make the corpus again"):
        Corpus.open(other)
    make_corpus(other, graphs=GRAPHS, exclude=SLOW, zoo=False, progress=False)
    assert contents(other) == before


def test_a_killed_run_goes_on_and_ends_the_same(folder: Path, tmp_path: Path) -> None:
    code = (
        "from archcast.datasets.corpus import make_corpus; "
        f"make_corpus({str(tmp_path)!r}, graphs={GRAPHS}, exclude={SLOW}, zoo=False, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while len(contents(tmp_path)) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = contents(tmp_path)
    assert 4 <= len(left) < len(contents(folder))
    with pytest.raises(DataError, match="goes on where it ended"):
        Corpus.open(tmp_path)
    stamps = {name: (tmp_path / name).stat().st_mtime_ns for name in left}
    make_corpus(tmp_path, graphs=GRAPHS, exclude=SLOW, zoo=False, progress=False)
    assert contents(tmp_path) == contents(folder)
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in left} == stamps


def test_processes_do_not_change_the_result(tmp_path: Path) -> None:
    exclude = [name for name in SPACES if not name.startswith("zoo-") and name not in ("nasbench201", "nats-sss")]
    one = make_corpus(tmp_path / "one", graphs=150, exclude=exclude, zoo=False, progress=False)
    two = make_corpus(tmp_path / "two", graphs=150, exclude=exclude, zoo=False, jobs=2, progress=False)
    assert contents(one.folder) == contents(two.folder)
    third = make_corpus(tmp_path / "three", graphs=150, seed=1, exclude=exclude, zoo=False, progress=False)
    assert contents(third.folder) != contents(one.folder)


def test_leaving_a_space_out_does_not_change_the_others() -> None:
    every = space_parts(5000, 0, ())
    without = space_parts(5000, 0, ("nasbench201",))
    assert without == [part for part in every if part.source != "nasbench201"]


def test_small_spaces_are_taken_whole() -> None:
    counts = {part.source: 0 for part in space_parts(200_000, 0, ())}
    for part in space_parts(200_000, 0, ()):
        counts[part.source] += part.count
    assert counts["nasbench201"] == 15_625
    assert counts["nas-bench-macro"] == 6_561
    assert counts["transnas101-macro"] == 3_256
    assert counts["mini-cells"] < counts["darts"]


def test_a_part_does_not_depend_on_what_was_made_before() -> None:
    part = Part("transnas101-micro", first=40, count=20, whole=True)
    first = make(part)
    make(Part("transnas101-micro", first=0, count=30, whole=True))
    again = make(part)
    assert first.texts == again.texts
    assert all(np.array_equal(first.arrays[name], again.arrays[name]) for name in first.arrays)
    assert first.made >= len(first.pools)


def test_select_gives_the_graphs_that_take_gives() -> None:
    graphs = random_pool(3, 20).graphs
    rows = np.asarray([7, 2, 11])
    chosen = unpack_graphs(*select(*pack_graphs(graphs), rows))
    assert graph_hashes(chosen) == graph_hashes(graphs.take(rows))
    assert chosen.names == graphs.take(rows).names
    assert len(chosen.nodes) == len(np.unique(chosen.kinds))


def test_captures_of_zoos_are_kept_and_failures_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ARCHCAST_HOME", str(tmp_path))
    names = ("torchvision:squeezenet1_0", "torchvision:no_such_network")
    batch, failures = corpus_zoo.captured(names)
    assert batch.names == names[:1]
    assert failures[0].startswith("torchvision:no_such_network: torchvision has no network")

    def refuse(names: object) -> tuple[GraphBatch, list[str]]:
        raise AssertionError(f"{names} captured twice")

    capture_now = corpus_zoo._captured_now
    monkeypatch.setattr(corpus_zoo, "_captured_now", refuse)
    again, failures_again = corpus_zoo.captured(names)
    assert graph_hashes(again) == graph_hashes(batch)
    assert failures_again == failures
    monkeypatch.setattr(corpus_zoo, "_captured_now", capture_now)
    (file,) = (tmp_path / "graphs").glob("*-zoo.arrow")
    file.write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        assert corpus_zoo.captured(names)[0].names == names[:1]
    assert "made anew" in caplog.text


def test_zoos_come_on_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("ARCHCAST_HOME", str(tmp_path / "home"))
    zoos = {"zoo-torchvision": lambda: ["torchvision:alexnet", "torchvision:oops"], "zoo-timm": list}
    monkeypatch.setattr(corpus_sources, "ZOO_SOURCES", zoos)
    corpus = make_corpus(tmp_path / "corpus", graphs=GRAPHS, exclude=SLOW, progress=False)
    assert corpus.sources["zoo-torchvision"] == 1
    assert corpus.failures == [failure for failure in corpus.failures if failure.startswith("torchvision:oops: ")] != []
    without = contents(folder)
    assert {name: content for name, content in contents(corpus.folder).items() if "zoo" not in name} == without


def test_zoo_parts_are_small_and_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    zoos = {"zoo-timm": lambda: [f"timm:{n}" for n in range(250)], "zoo-torchvision": lambda: ["torchvision:alexnet"]}
    monkeypatch.setattr(corpus_sources, "ZOO_SOURCES", zoos)
    assert [len(part.names) for part in zoo_parts(())] == [100, 100, 50, 1]
    assert [part.source for part in zoo_parts(("zoo-timm",))] == ["zoo-torchvision"]


def test_mistakes_say_what_to_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="other options"):
        make_corpus(folder, graphs=GRAPHS, seed=1, exclude=SLOW, zoo=False, progress=False)
    with pytest.raises(ConfigError, match="at least 1 graph"):
        make_corpus(tmp_path, graphs=0)
    with pytest.raises(ConfigError, match="at least 1"):
        make_corpus(tmp_path, jobs=0)
    with pytest.raises(UnknownNameError, match="there are nasbench101"):
        make_corpus(tmp_path, exclude=["nasbench102"])
    with pytest.raises(MissingDataError, match="archcast datasets corpus"):
        Corpus.open(tmp_path)
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        Corpus.open(tmp_path)
    (tmp_path / "corpus.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(DataError, match="not of format"):
        Corpus.open(tmp_path)
    with pytest.raises(UnknownNameError, match="it has"):
        Corpus.open(folder).pool("nasbench202")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from archcast.cli import main

    exclude = [name for name in SPACES if not name.startswith("zoo-") and name != "nas-bench-macro"]
    common = ["datasets", "corpus", "--output", str(tmp_path), "--graphs", "80", "--no-zoo", "--jobs", "1"]
    assert main([*common, "--exclude", *exclude, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["graphs"] == sum(answer["sources"].values()) >= 80
    assert main([*common, "--exclude", *exclude]) == 0
    assert "nas-bench-macro" in capsys.readouterr().out
    assert main(["datasets", "corpus"]) == 2
    assert "--output DIR" in capsys.readouterr().err


def test_pytorchcv_networks_are_named_once_per_architecture() -> None:
    pytest.importorskip("pytorchcv")
    names = corpus_zoo.ZOO_SOURCES["zoo-pytorchcv"]()
    assert "pytorchcv:resnet20_cifar10" in names
    assert "pytorchcv:resnet50" in names
    assert not [name for name in names if name.endswith(("cifar100", "svhn"))]
