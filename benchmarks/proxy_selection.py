"""Which proxies to add up: a set chosen on some pools, tried on a pool it has not seen.

    python -m benchmarks.proxy_selection

For each family of pools: proxies are added one by one while the mean Spearman correlation of their aggregate (sum of
log ranks, as AZ-NAS) with the labels of all *other* families grows; the chosen set is then scored on the family left
out. Writes results/proxy_selection.csv, with #params, MACs and the published aggregates on the same networks. The last
line is the set chosen on all families.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from archcast.datasets.benchmark import list_tasks, load_benchmark
from archcast.proxies.aggregate import MEMBERS, ranks
from archcast.proxies.tables import FOLDER, load_measurements

RESULT = Path(__file__).parent / "results" / "proxy_selection.csv"
FAMILIES = {
    "nasbench201": ("nasbench201",), "nasbench101": ("nasbench101",), "nas-bench-macro": ("nas-bench-macro",),
    "nats-sss": ("nats-sss",), "transnas101-micro": ("transnas101-micro",),
    "transnas101-macro": ("transnas101-macro",),
    "accel-nasbench": ("accel-nasbench",),
    "ofa-mobilenetv3": ("ofa-mobilenetv3", "ofa-mobilenetv3-compofa", "ofa-mobilenetv3-mcofa"),
    "mini": ("mini-cells", "mini-shapes", "mini-transformers", "mini-mixers"),
}  # fmt: skip
SKIPPED_TASKS = ("svhn",)
CANDIDATES = (
    "params", "macs", "l2_norm", "grad_norm", "snip", "synflow", "jacob_cov", "naswot", "swap", "zen", "gradsign",
    "zico", "ntk", "linear_regions", "az_expressivity", "az_progressivity", "az_trainability", "meco", "vkdnw",
    "fisher", "grasp",
)  # fmt: skip
GAIN = 0.002
"""A proxy is added if the mean correlation grows by this much."""

FloatArray = NDArray[np.float64]
Pools = list[tuple[str, str, dict[str, FloatArray], FloatArray]]


def pools_of(family: str) -> Pools:
    """Pool, task, log ranks of each proxy, labels."""
    found: Pools = []
    for pool in FAMILIES[family]:
        if not (FOLDER / f"{pool}.parquet").is_file():
            continue
        table = load_measurements(pool)
        for task in list_tasks(str(table.about["benchmark"])):
            if task in SKIPPED_TASKS:
                continue
            benchmark = load_benchmark(str(table.about["benchmark"]), task)
            label_of = dict(zip(benchmark.specs, benchmark.scores, strict=True))
            rows = [row for row, spec in enumerate(table.specs) if spec in label_of]
            labels = np.asarray([label_of[table.specs[row]] for row in rows])
            logs = {name: np.log(ranks(table.column(name)[rows].astype(np.float64)) / len(rows)) for name in CANDIDATES}
            found.append((pool, task, logs, labels))
    return found


def correlation(pool: tuple[str, str, dict[str, FloatArray], FloatArray], names: tuple[str, ...]) -> float:
    _, _, logs, labels = pool
    total = np.sum([logs[name] for name in names], axis=0)
    return 0.0 if np.ptp(total) == 0 else float(spearmanr(total, labels).statistic)


def chosen_on(families: dict[str, Pools]) -> tuple[tuple[str, ...], float]:
    """Greedy choice; every family counts the same, whatever its number of pools."""

    def mean(names: tuple[str, ...]) -> float:
        return float(np.mean([np.mean([correlation(pool, names) for pool in pools]) for pools in families.values()]))

    names: tuple[str, ...] = ()
    best = -1.0
    while len(names) < len(CANDIDATES):
        value, name = max((mean((*names, name)), name) for name in CANDIDATES if name not in names)
        if value < best + GAIN:
            break
        names, best = (*names, name), value
    return names, best


def main() -> None:
    families = {family: pools for family in FAMILIES if (pools := pools_of(family))}
    compared = {
        "params": ("params",),
        "macs": ("macs",),
        "az_nas": MEMBERS["az_nas"],
        "vkdnw": MEMBERS["vkdnw"],
        "union": MEMBERS["union"],
    }
    with RESULT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["left_out", "pool", "task", "networks", "chosen", *compared, "names"])
        for family, pools in families.items():
            names, _ = chosen_on({other: kept for other, kept in families.items() if other != family})
            for pool in pools:
                values = [f"{correlation(pool, members):.3f}" for members in compared.values()]
                row = [
                    family,
                    pool[0],
                    pool[1],
                    len(pool[3]),
                    f"{correlation(pool, names):.3f}",
                    *values,
                    " ".join(names),
                ]
                writer.writerow(row)
                print(*row, flush=True)
        names, best = chosen_on(families)
        writer.writerow(["none", "all", "mean", "", f"{best:.3f}", *[""] * len(compared), " ".join(names)])
        print("all", f"{best:.3f}", *names)


if __name__ == "__main__":
    main()
