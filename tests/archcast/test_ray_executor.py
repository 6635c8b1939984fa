"""`RayExecutor` on two nodes: what is sent, large pools, resources, addresses, the command line."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray")

from archcast.cli import main
from archcast.datasets.corpus import make_corpus
from archcast.errors import ConfigError, MissingExtraError
from archcast.graphs.capture import capture_all
from archcast.proxies import score
from archcast.proxies import scoring as scoring_module
from archcast.ray_executor import RayExecutor, WorkerError
from archcast.search.config import SearchConfig
from archcast.search.isolation import Isolated
from archcast.shipping import Shipped, pack
from archcast.spreading import chunk_size, spread

CHECKOUT = Path(__file__).resolve().parents[2]
CELLS = [
    f"nasbench201:|{op}~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
    for op in ("nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3", "skip_connect")
]
OWN = """
from functools import cache
from torch import nn
import archcast
import numpy
import os

def build(config):
    return nn.Sequential(nn.Linear(4, config["width"]), nn.ReLU(), nn.Linear(config["width"], 1))

space = archcast.ChoiceSpace({"width": [2, 3, 6, 7]}, build, input_shape=(1, 4))

@cache
def data():
    return numpy.arange(4.0), os.getpid()

def evaluate(spec):
    if space.config(spec)["width"] == 7:
        os._exit(9)
    assert data() is data()
    return sum(value.numel() for value in space.network(spec).parameters()) + data()[0].sum()
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own_space.py"
    path.write_text(OWN, encoding="utf-8")
    return path


def results(pairs: Iterable[tuple[int, Any]]) -> dict[int, Any]:
    return dict(pairs)


@cache
def loaded_once() -> float:
    return time.time()


@pytest.mark.slow
def test_tasks_run_on_all_nodes_and_keep_what_they_load(executor: RayExecutor) -> None:
    def where(_: int) -> tuple[str, int, float]:
        import ray

        time.sleep(0.2)
        return ray.get_runtime_context().get_node_id(), os.getpid(), loaded_once()

    assert executor.slots == 2
    told = list(executor.map(where, range(8)))
    assert len({node for node, _, _ in told}) == 2
    assert len({time for _, _, time in told}) == len({pid for _, pid, _ in told})


@pytest.mark.slow
def test_modules_that_only_this_machine_has_go_along(executor: RayExecutor, own: Path) -> None:
    """A module beside the script, which is gone when the worker would import it."""
    loader = importlib.util.spec_from_file_location("own_space", own)
    assert loader is not None
    assert loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    sys.modules["own_space"] = module
    try:
        loader.loader.exec_module(module)
        own.unlink()
        specs = module.space.specs()[:3]
        assert list(executor.map(module.evaluate, specs)) == [module.evaluate(spec) for spec in specs]
        held = functools.partial(lambda held, spec: held.evaluate(spec), module)  # the module itself
        assert executor.submit(held, specs[0]).result() == module.evaluate(specs[0])
        (graph,) = capture_all([functools.partial(module.space.network, specs[0])], (1, 4), executor=executor)
        assert graph.params == 2 * 4 + 2 + 2 + 1
    finally:
        del sys.modules["own_space"]


@pytest.mark.slow
def test_a_pool_is_measured_and_captured_as_here(
    executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("ARCHCAST_HOME", str(tmp_path))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as many as a worker has; sums depend on it in their last digits
    networks = [*CELLS, "nosuch:net", torch.nn.Sequential(torch.nn.Linear(3, 3))]
    names, options = ["params", "snip", "naswot"], {"batch": 2, "progress": False}
    try:
        here = score(networks, names, cache=False, **options)
        there = score(networks, names, executor=executor, **options)
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(here.values, there.values, equal_nan=True)
    assert dict(here.missing) == dict(there.missing)
    for one, other in zip(here.measurements[:4], there.measurements[:4], strict=True):
        assert one is not None
        assert other is not None
        assert all(np.array_equal(one.nodes[name], other.nodes[name], equal_nan=True) for name in one.nodes)
    graphs = capture_all(CELLS, executor=executor, progress=False)
    assert [graph.hash() for graph in graphs] == [graph.hash() for graph in capture_all(CELLS, progress=False)]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(scoring_module, "measure", refuse)  # kept here, although others measured
    assert np.array_equal(score(CELLS, names, **options).values, there.values[:4])


@pytest.mark.slow
def test_a_corpus_is_the_same_wherever_it_is_made(executor: RayExecutor, tmp_path: Path) -> None:
    options: dict[str, Any] = {"graphs": 60, "zoo": False, "exclude": ["autoformer"], "progress": False}
    make_corpus(tmp_path / "here", **options)
    make_corpus(tmp_path / "there", **options, jobs=2, executor=executor)
    files = sorted(path.name for path in (tmp_path / "here").glob("*.arrow"))
    assert files == sorted(path.name for path in (tmp_path / "there").glob("*.arrow")) != []
    for name in files:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


@pytest.mark.slow
def test_an_item_that_kills_its_workers_leaves_the_others(cluster: Any) -> None:
    def some(numbers: list[int]) -> list[int]:
        if 3 in numbers:
            os._exit(9)
        return [number**2 for number in numbers]

    with RayExecutor(cluster.address, retries=0) as once:
        made = results(spread(once, some, range(8), size=4))
    assert isinstance(made.pop(3), WorkerError)
    assert made == {number: number**2 for number in range(8) if number != 3}


@pytest.mark.slow
def test_the_command_searches_a_file(cluster: Any, own: Path) -> None:
    """One network kills its workers; what Ray says about it is not in the JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "archcast.cli", *command(own, cluster), "--cpus-per-evaluation", "0.5"],
        capture_output=True, text=True, check=False, cwd=CHECKOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["evaluations"], document["failed"]) == (4, 1)
    assert document["best"]["score"] == 6 * 6 + 1 + 6.0


@pytest.mark.slow
def test_the_command_isolates(
    cluster: Any, executor: RayExecutor, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert executor.slots
    assert main([*command(own, cluster), "--budget", "2", "--isolate", "--timeout", "100"]) == 0
    assert json.loads(capsys.readouterr().out)["failed"] == 1


def command(own: Path, cluster: Any) -> list[str]:
    return [
        "search", "--space", str(own), "--strategy", "random", "--predictor", "none", "--budget", "4", "--batch", "2",
        "--json", "--ray", cluster.address,
    ]  # fmt: skip


@pytest.mark.slow
def test_the_command_measures(cluster: Any, executor: RayExecutor, capsys: pytest.CaptureFixture[str]) -> None:
    assert executor.slots
    arguments = ["--proxies", "snip", "--batch", "2", "--json"]
    assert main(["proxies", *CELLS[:2], *arguments, "--ray", cluster.address]) == 0
    assert [document["name"] for document in json.loads(capsys.readouterr().out)] == CELLS[:2]
    assert main(["proxies", *CELLS[:2], *arguments, "--ray", cluster.address, "--jobs", "2"]) == 2


@pytest.mark.slow
def test_what_no_machine_has_is_said(cluster: Any, executor: RayExecutor) -> None:
    assert executor.slots
    with pytest.raises(ConfigError, match=r"no machine has .*'GPU': 1"):
        RayExecutor(cluster.address, gpus=1)
    with socket.create_server(("127.0.0.2", 0)) as other, pytest.raises(ConfigError, match="joined the Ray at"):
        RayExecutor(f"127.0.0.2:{other.getsockname()[1]}")
    with pytest.raises(ConfigError, match="runtime_env out"):
        RayExecutor(cluster.address, runtime_env={"working_dir": "."})
    with RayExecutor(cluster.address, cpus=0, resources={"second": 2}) as there:
        assert there.slots == 4
        with pytest.raises(ConfigError, match=r"cannot be sent .*runtime_env"):
            there.submit(print, threading.Lock())
    with pytest.raises(RuntimeError, match="shut down"):
        there.submit(print)


@pytest.mark.slow
def test_machines_without_archcast_are_said(cluster: Any) -> None:
    script = """
import sys
from archcast.ray_executor import RayExecutor

def forget():
    import sys
    sys.modules["archcast"] = None

with RayExecutor(sys.argv[1], runtime_env={"worker_process_setup_hook": forget}) as executor:
    print(repr(executor.submit(len, "abc").exception()))
"""
    command = [sys.executable, "-c", script, cluster.address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert "ClusterError" in done.stdout, done.stderr
    assert "No module named 'archcast" in done.stdout
    assert "on every machine" in done.stdout


@pytest.mark.parametrize(
    ("address", "message"),
    [("nonsense", "host:port"), ("ray://head:10001", "host:port"), ("127.0.0.1:1", "nothing answers at 127.0.0.1:1")],
)
def test_addresses_are_checked(address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RayExecutor(address)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="negative"):
        RayExecutor(retries=-1)
    with pytest.raises(ConfigError, match="negative"):
        RayExecutor(cpus=-1)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"space": "own.py", "gpus_per_evaluation": 1}, "need ray"),
        ({"space": "nasbench201", "ray": "auto"}, "Python file of your own"),
        ({"space": "own.py", "ray": True}, "ray must be a text"),
    ]
    for settings, message in wrong:
        with pytest.raises(ConfigError, match=message):
            SearchConfig.from_dict(settings)


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"archcast\[ray\]"):
        RayExecutor()
    with pytest.raises(MissingExtraError, match=r"archcast\[ray\]"):
        pack(len)


def test_a_function_of_a_function_runs_in_a_fresh_process() -> None:
    def double(text: str) -> str:
        return 2 * text

    assert Isolated(Shipped.of(double))("ab") == "abab"


def test_any_executor_spreads() -> None:
    def double(numbers: list[int]) -> list[int]:
        return [2 * number for number in numbers]

    expected = {number: 2 * number for number in range(10)}
    assert results(spread(None, double, range(10))) == expected
    with ThreadPoolExecutor(2) as threads:
        assert results(spread(threads, double, range(10), size=3)) == expected
    assert [chunk_size(count) for count in (1, 63, 640, 10_000)] == [1, 1, 10, 16]
