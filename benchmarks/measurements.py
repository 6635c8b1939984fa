"""Measure the networks of every labelled pool; resumable, and extensible by a larger --networks.

    python -m benchmarks.measurements [--pools nasbench201 ...] [--networks 2000] [--jobs 2]

Writes measurements/POOL.parquet (`archcast.proxies.tables`): scores and node values of `networks` random networks (all
of a smaller pool), measured on the small stand-ins of their spaces (`SearchSpace.small`). A killed run goes on where it
was: every finished network is in ARCHCAST_HOME/measurements.sqlite, and a table that is there already is extended.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass

os.environ["OMP_NUM_THREADS"] = "1"  # one core means one thread: processes share the cores, not threads
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from archcast.datasets.benchmark import Benchmark, load_benchmark
from archcast.proxies.measurement import VERSION
from archcast.proxies.proxy import PROXY_NAMES, SEQUENCE_PROXIES, chosen
from archcast.proxies.scoring import score
from archcast.proxies.tables import FOLDER, MeasurementTable, concatenate, read_table, table_of, write_table

IMAGES = tuple(name for name in PROXY_NAMES if name not in SEQUENCE_PROXIES)
FAST = tuple(proxy.name for proxy in chosen("fast") if proxy.name in IMAGES)


@dataclass(frozen=True)
class Pool:
    """How the networks of a benchmark are measured.

    Attributes:
        benchmark: where the networks and their labels are from.
        task: the task whose networks are meant, where each task has its own; else the benchmark's first.
        small: measure the small stand-ins.
        batch: samples.
        proxies: what is measured at the first `thorough` networks, or at all.
        thorough: from this network on only the fast proxies are measured, in a quarter of the time; the rest is NaN.
        most_macs: larger networks are left out.
    """

    benchmark: str
    task: str | None = None
    small: bool = True
    batch: int = 16
    proxies: tuple[str, ...] = IMAGES
    thorough: int | None = None
    most_macs: float = float("inf")


POOLS = {
    **{
        name: Pool(name)
        for name in (
            "nasbench201", "nasbench101", "nas-bench-macro", "nats-sss", "transnas101-micro", "transnas101-macro",
            "mini-cells", "mini-shapes", "mini-mixers",
        )
    },
    "mini-transformers": Pool("mini-transformers", proxies=PROXY_NAMES),
    "nas-bench-bert-trained": Pool("nas-bench-bert-trained", batch=8, proxies=PROXY_NAMES),
    "accel-nasbench": Pool("accel-nasbench", batch=8, thorough=600),
    "ofa-mobilenetv3": Pool("ofa-mobilenetv3", batch=8, thorough=400),
    "ofa-mobilenetv3-compofa": Pool("ofa-mobilenetv3-compofa", batch=8, thorough=100),
    "ofa-mobilenetv3-mcofa": Pool("ofa-mobilenetv3-mcofa", batch=8, thorough=100),
    "nasbench201-full": Pool("nasbench201", small=False),
    "zoo-torchvision": Pool("zoo-torchvision", small=False, batch=4, proxies=FAST, most_macs=5e9),
    "zoo-pytorchcv": Pool("zoo-pytorchcv", small=False, batch=4, proxies=FAST, most_macs=5e9),
    **{
        f"zoo-pytorchcv-{task}": Pool("zoo-pytorchcv", task, small=False, batch=4, proxies=FAST, most_macs=5e9)
        for task in ("cifar10", "cifar100", "svhn")
    },
}  # fmt: skip
"""Name of the table -> its pool. Real networks keep their resolution, which many demand: only the fast proxies of those
up to 5 GMACs are measured, for the others would take most of a day and up to 10 GiB each."""


def chosen_specs(benchmark: Benchmark, networks: int, seed: int = 0, most_macs: float = float("inf")) -> list[str]:
    """A random choice; a larger one begins with a smaller one."""
    rows = np.random.default_rng(seed).permutation(len(benchmark))
    if most_macs < float("inf"):
        rows = rows[benchmark.graphs(rows).macs <= most_macs]
    return [benchmark.specs[row] for row in rows[:networks]]


def measure_pool(name: str, networks: int, jobs: int) -> None:
    pool, path = POOLS[name], FOLDER / f"{name}.parquet"
    benchmark = load_benchmark(pool.benchmark, pool.task)
    about = {
        "benchmark": pool.benchmark, "batch": pool.batch, "seed": 0, "version": VERSION,
        "space": repr(benchmark.space.small() if pool.small else benchmark.space),
    }  # fmt: skip
    before = kept_table(name, about, pool.proxies)
    known = set(before.specs) if before is not None else set()
    specs = chosen_specs(benchmark, networks, most_macs=pool.most_macs)
    thorough = len(specs) if pool.thorough is None else pool.thorough
    missing = [
        ([spec for spec in specs[:thorough] if spec not in known], pool.proxies),
        ([spec for spec in specs[thorough:] if spec not in known], FAST),
    ]
    if not any(part for part, _ in missing):
        print(f"{name}: {len(known)} networks, nothing to do", flush=True)
        return
    for part, proxies in missing:
        if not part:
            continue
        started = time.perf_counter()
        result = score(benchmark.networks(part, small=pool.small), proxies, jobs=jobs, batch=pool.batch)
        seconds = time.perf_counter() - started
        made = table_of(part, pool.proxies, result.measurements, about)
        table = before = made if before is None else concatenate([before, made])
        write_table(path, table)
        failed = sum(measured is None for measured in result.measurements)
        size = path.stat().st_size / 2**20
        print(
            f"{name}: {len(part)} networks, {failed} failed, {seconds:.0f} s; {len(table)}, {size:.1f} MiB", flush=True
        )


def kept_table(name: str, about: dict[str, object], proxies: tuple[str, ...]) -> MeasurementTable | None:
    """The table there is, if it was measured in the same way."""
    path = FOLDER / f"{name}.parquet"
    if not path.is_file():
        return None
    table = read_table(path)
    if dict(table.about) == about and table.names == proxies:
        return table
    print(f"{name}: the table there was made in another way; it is made anew", flush=True)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", nargs="+", default=list(POOLS), choices=list(POOLS), metavar="POOL")
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    for name in options.pools:
        measure_pool(name, options.networks, options.jobs)


if __name__ == "__main__":
    main()
