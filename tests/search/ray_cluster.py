"""Ray on loopback: a head and a second node in processes of their own, and evaluations that tell where they run.

`python -m tests.search.ray_cluster ADDRESS JOURNAL LOG VICTIM` is a search that is killed as a whole. Nobody outside
reaches the loopback, so there is no token; nothing is looked up in a network.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.search.toy import CountingSpace, score

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_AUTH_MODE"] = "disabled"
HOST = "127.0.0.2"  # Ray takes 127.0.0.1 for the address of the machine in its network
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000, "node_ip_address": HOST, "include_dashboard": False}
SECOND = {**NODE, "resources": {"second": 8}}
# A lost machine is noticed after five seconds instead of fifteen.
LIMITS = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 5}


@contextmanager
def two_nodes() -> Iterator[Any]:
    """A cluster of two nodes of one core each, one of them with the resource `second`."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "_system_config": LIMITS})
    try:
        cluster.add_node(**SECOND)
        yield cluster
    finally:
        cluster.shutdown()


@dataclass(frozen=True)
class Victim:
    """An evaluation (on `node`, where one is given) that writes its process and spec to `path` and waits for its end.

    It is the first to start after `after` evaluations.
    """

    path: Path
    node: str = ""
    after: int = 10

    def wait(self, spec: str, node: str, started: int) -> None:
        if node.startswith(self.node) and started > self.after:
            with suppress(FileExistsError), self.path.open("x") as file:
                file.write(f"{os.getpid()} {spec}\n")
                file.flush()
                time.sleep(3600)


@dataclass(frozen=True)
class Noted:
    """An evaluation that adds a line to `log` when it starts: spec, process, node; `deadly` ones kill their worker."""

    log: Path
    seconds: float = 0.05
    victims: tuple[Victim, ...] = ()
    deadly: tuple[str, ...] = ()

    def __call__(self, spec: str) -> float:
        import ray

        here = ray.get_runtime_context().get_node_id()
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{spec} {os.getpid()} {here}\n")
        if spec in self.deadly:
            os._exit(7)
        for victim in self.victims:
            victim.wait(spec, here, len(lines(self.log)))
        time.sleep(self.seconds)
        return score(spec)


def await_victim(path: Path) -> tuple[int, str]:
    """Process and spec of the evaluation that waits to be killed."""
    until = time.monotonic() + 120
    while not (path.exists() and path.read_text().endswith("\n")):
        if time.monotonic() > until:
            raise TimeoutError(f"no evaluation wrote {path}")
        time.sleep(0.02)
    pid, spec = path.read_text().split()
    return int(pid), spec


def lines(log: Path) -> list[tuple[str, int, str]]:
    """What evaluations have noted so far."""
    if not log.exists():
        return []
    whole = log.read_text(encoding="utf-8").rpartition("\n")[0]
    fields = (line.split() for line in whole.splitlines())
    return [(spec, int(pid), node) for spec, pid, node in fields]


def main() -> None:
    from archcast.ray_executor import RayExecutor
    from archcast.search.run import run_search

    address, journal, log, victim = sys.argv[1:]
    with RayExecutor(address) as executor:
        run_search(
            CountingSpace(), Noted(Path(log), victims=(Victim(Path(victim)),)), budget=40, batch=4, strategy="random",
            predictor=None, journal=journal, executor=executor,
        )  # fmt: skip


if __name__ == "__main__":
    main()
