"""A search on two nodes of Ray: workers and nodes die in the middle, and every result counts once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
pytest.importorskip("sqlalchemy")

from archcast.ray_executor import ClusterError, RayExecutor
from archcast.search.core import Search
from archcast.search.journal import SQLiteJournal
from archcast.search.run import run_search
from tests.search.ray_cluster import SECOND, Noted, Victim, await_victim, lines
from tests.search.toy import CountingSpace, score

pytestmark = pytest.mark.slow
BUDGET = 40
CHECKOUT = Path(__file__).resolve().parents[2]


def search(journal: Path, evaluate: Any, executor: RayExecutor, **settings: Any) -> None:
    run_search(
        CountingSpace(), evaluate, budget=BUDGET, batch=4, strategy="random", predictor=None, journal=journal,
        executor=executor, **settings,
    )  # fmt: skip


def evaluated(journal: Path, log: Path, deadly: tuple[str, ...] = ()) -> dict[str, int]:
    """How often each network was evaluated, after a look that each is in the journal once, with its score or reason."""
    trials = SQLiteJournal.open(journal, {}, resume=True).news()
    assert len(trials) == len({trial.identity for trial in trials}) == BUDGET
    for trial in trials:
        if trial.spec in deadly:
            assert trial.state == "failed"
            assert trial.reason.startswith("WorkerError: its workers died, 3 in a row")
        else:
            assert (trial.state, trial.scores) == ("done", (score(trial.spec),))
    times = Counter(spec for spec, _, _ in lines(log))
    assert set(times) == {trial.spec for trial in trials}
    return times


def again(times: dict[str, int]) -> set[str]:
    return {spec for spec, count in times.items() if count > 1}


def test_a_killed_worker_loses_nothing(executor: RayExecutor, tmp_path: Path) -> None:
    """And what kills every worker it gets is a failure after three of them."""
    journal, log, victim = tmp_path / "run.db", tmp_path / "log", tmp_path / "victim"
    killer = threading.Thread(target=lambda: os.kill(await_victim(victim)[0], signal.SIGKILL), daemon=True)
    killer.start()
    deadly = Search(CountingSpace(), strategy="random").ask(4)[1]
    search(journal, Noted(log, victims=(Victim(victim),), deadly=(deadly,)), executor)
    killer.join()
    times = evaluated(journal, log, (deadly,))
    assert again(times) == {await_victim(victim)[1], deadly}
    assert times[deadly] == 3
    assert len({node for _, _, node in lines(log)}) == 2


def test_a_lost_node_loses_nothing(cluster: Any, executor: RayExecutor, tmp_path: Path) -> None:
    """Its evaluations start again on the other; what only it could run ends, too."""
    journal, log, victim = tmp_path / "run.db", tmp_path / "log", tmp_path / "victim"
    (second,) = cluster.worker_nodes
    only_there = RayExecutor(cpus=0, resources={"second": 1}, patience=1)
    stuck = only_there.submit(time.sleep, 3600)

    def remove() -> None:
        await_victim(victim)
        cluster.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=remove, daemon=True)
    killer.start()
    search(journal, Noted(log, victims=(Victim(victim, second.node_id),)), executor)
    killer.join()
    times = evaluated(journal, log)
    assert again(times) == {await_victim(victim)[1]}
    where = [node for spec, _, node in lines(log) if spec == await_victim(victim)[1]]
    assert len(where) == 2
    assert where[0] == second.node_id != where[1]
    with pytest.raises(ClusterError, match=r"no machine has.*second"):
        stuck.result(timeout=120)
    with pytest.raises(ClusterError, match=r"no machine has.*second"):
        only_there.submit(time.sleep, 0)
    only_there.shutdown()
    cluster.add_node(**SECOND)


def test_reasons_name_what_was_raised(executor: RayExecutor) -> None:
    class OddError(Exception):
        def __init__(self, first: str, second: str) -> None:
            super().__init__(f"{first} and {second}")

    def evaluate(spec: str) -> Any:
        if spec.startswith("1"):
            raise ValueError(f"no {spec}")
        if spec.startswith("2"):
            raise OddError("one", "two")
        if spec.startswith("3"):
            raise SystemExit("out of here")
        return (digit for digit in spec) if spec.startswith("4") else 1.0

    result = run_search(
        CountingSpace(), evaluate, budget=30, batch=4, strategy="random", predictor=None, executor=executor
    )
    reasons = {trial.spec[0]: trial.reason for trial in result.history}
    assert set(reasons) == set("01234")
    assert reasons["0"] == ""
    assert reasons["1"].startswith("ValueError: no 1")
    assert "OddError: one and two" in reasons["2"]
    assert reasons["3"] == "SystemExit: out of here"
    assert "generator" in reasons["4"]


def gone(pid: int) -> bool:
    until = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    return not Path(f"/proc/{pid}").exists()


def test_an_interrupted_search_ends_its_evaluations(executor: RayExecutor, tmp_path: Path) -> None:
    journal, log, victim = tmp_path / "run.db", tmp_path / "log", tmp_path / "victim"

    def interrupt(*_: Any) -> None:
        if victim.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(journal, Noted(log, victims=(Victim(victim),)), executor, on_result=interrupt)
    pid, spec = await_victim(victim)
    assert gone(pid)
    trials = SQLiteJournal.open(journal, {}, resume=True).news()
    assert spec in {trial.spec for trial in trials if trial.state == "pending"}


def test_a_killed_driver_resumes(cluster: Any, executor: RayExecutor, tmp_path: Path) -> None:
    journal, log, victim = tmp_path / "run.db", tmp_path / "log", tmp_path / "victim"
    command = [sys.executable, "-m", "tests.search.ray_cluster", cluster.address, *map(str, (journal, log, victim))]
    with subprocess.Popen(command, cwd=CHECKOUT) as driver:
        pid, spec = await_victim(victim)
        driver.send_signal(signal.SIGKILL)
    assert gone(pid)
    search(journal, Noted(log), executor, resume=True)
    times = evaluated(journal, log)
    assert spec in again(times)
    assert len(again(times)) <= 4  # those under way


def test_what_workers_cannot_load_ends_the_search_and_stays_pending(cluster: Any, tmp_path: Path) -> None:
    class Unloadable:
        def __reduce__(self) -> Any:
            return __import__, ("module_of_nobody",)

    with (
        RayExecutor(cluster.address) as another,
        pytest.raises(ClusterError, match=r"No module named 'module_of_nobody'.*working_dir"),
    ):
        search(tmp_path / "run.db", Unloadable(), another)
    trials = SQLiteJournal.open(tmp_path / "run.db", {}, resume=True).news()
    assert {trial.state for trial in trials} == {"pending"}


def test_the_example_trains_on_the_cluster(cluster: Any) -> None:
    command = [sys.executable, "examples/search_ray.py", "--budget", "2", "--address", cluster.address]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 trainings at a time" in done.stderr, done.stderr
    assert "2/2 evaluated" in done.stderr, done.stderr
    assert "Best networks" in done.stdout
