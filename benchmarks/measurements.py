"""Measure the networks of every labelled pool; resumable.

    python -m benchmarks.measurements [--pools nasbench201 ...] [--networks 2000] [--jobs 2]

Writes measurements/POOL.parquet (`archcast.proxies.tables`): scores and node values of `networks` random networks (all
of a smaller pool), measured on the small stand-ins of their spaces (`SearchSpace.small`). A killed run goes on where it
was: every finished network is in ARCHCAST_HOME/measurements.sqlite.
"""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import time

import numpy as np

from archcast.datasets.benchmark import Benchmark, load_benchmark
from archcast.proxies.proxy import PROXY_NAMES, SEQUENCE_PROXIES
from archcast.proxies.scoring import score
from archcast.proxies.store import recipe
from archcast.proxies.tables import FOLDER, table_of, write_table

POOLS = (
    "nasbench201", "nasbench101", "nas-bench-macro", "nats-sss", "accel-nasbench", "transnas101-micro",
    "transnas101-macro", "ofa-mobilenetv3", "ofa-mobilenetv3-compofa", "ofa-mobilenetv3-mcofa",
    "mini-cells", "mini-shapes", "mini-transformers", "mini-mixers", "zoo-torchvision", "zoo-pytorchcv",
    "nas-bench-bert",
)  # fmt: skip
SEQUENCES = ("nas-bench-bert", "mini-transformers")
FAST_ONLY = ("zoo-torchvision", "zoo-pytorchcv")
"""Real networks at their own resolution: second derivatives of those would take days."""


def measured_specs(benchmark: Benchmark, networks: int, seed: int = 0) -> list[str]:
    """The networks to measure: a random choice, in the order of the benchmark."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(benchmark))[:networks])
    return [benchmark.specs[row] for row in rows]


def measure_pool(name: str, networks: int, jobs: int, batch: int) -> None:
    benchmark = load_benchmark(name)
    specs = measured_specs(benchmark, networks)
    proxies = [proxy for proxy in PROXY_NAMES if name in SEQUENCES or proxy not in SEQUENCE_PROXIES]
    if name in FAST_ONLY:
        from archcast.proxies.proxy import chosen

        proxies, batch = [proxy.name for proxy in chosen("fast") if proxy.name in proxies], 4
    started = time.perf_counter()
    result = score(benchmark.networks(specs, small=True), proxies, jobs=jobs, batch=batch)
    seconds = time.perf_counter() - started
    failed = [network for network, made in zip(specs, result.measurements, strict=True) if made is None]
    about = {
        "benchmark": name, "batch": batch, "seed": 0, "space": repr(benchmark.space.small()), "recipe": recipe(),
        "failed": len(failed),
    }  # fmt: skip
    write_table(FOLDER / f"{name}.parquet", table_of(specs, proxies, result.measurements, about))
    size = (FOLDER / f"{name}.parquet").stat().st_size / 2**20
    print(f"{name}: {len(specs)} networks, {len(failed)} failed, {seconds:.0f} s, {size:.1f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", nargs="+", default=POOLS, choices=POOLS)
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    for name in options.pools:
        measure_pool(name, options.networks, options.jobs, options.batch)


if __name__ == "__main__":
    main()
