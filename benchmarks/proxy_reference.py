"""Our proxies against the published values of NAS-Bench-Suite-Zero on random cells of NAS-Bench-201 (CIFAR-10).

    python -m benchmarks.proxy_reference [--cells 300] [--jobs 2] [--batch 16]

Needs `nasbench201_zero_cost_reference.parquet` in ARCHCAST_DATA. Writes results/proxy_reference.csv: for every proxy
the Spearman correlation between published and own values (ours are measured on noise, theirs on images), and between
their own values on CIFAR-10 and ImageNet16-120 over all 9,445 cells, which tells how far the published ones repeat.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # one core means one thread: processes share the cores, not threads
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from scipy.stats import spearmanr

from archcast.datasets.home import find_table
from archcast.datasets.labels_parquet import read_parquet
from archcast.proxies.scoring import score

RESULT = Path(__file__).parent / "results" / "proxy_reference.csv"
PUBLISHED = {
    "params": "params", "flops": "macs", "synflow": "synflow", "l2_norm": "l2_norm", "zen": "zen", "nwot": "naswot",
    "plain": "plain", "grasp": "grasp", "jacov": "jacob_cov", "fisher": "fisher", "snip": "snip",
    "grad_norm": "grad_norm", "epe_nas": "epe_nas",
}  # fmt: skip
FAILED = -1e8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    both = read_parquet(find_table("nasbench201", ["nasbench201_zero_cost_reference.parquet"]))
    both["cell"] = both["net"].astype(str)
    other = both[both["dataset"] != "cifar10"].set_index("cell")
    table = both[both["dataset"] == "cifar10"].reset_index(drop=True)
    rows = np.random.default_rng(options.seed).permutation(len(table))[: options.cells]
    chosen = table.iloc[rows]
    specs = [f"nasbench201:{spec}" for spec in chosen["net_str"]]
    ours = score(specs, list(PUBLISHED.values()), batch=options.batch, jobs=options.jobs)
    with options.output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["published", "ours", "cells", "batch", "spearman", "repeats"])
        for published, name in PUBLISHED.items():
            theirs, mine = chosen[published].to_numpy(dtype=float), ours.column(name)
            valid = np.isfinite(mine) & (theirs > FAILED / 2)
            correlation = float(spearmanr(theirs[valid], mine[valid]).statistic)
            repeats = float(spearmanr(table[published], other.loc[table["cell"], published]).statistic)
            writer.writerow([published, name, int(valid.sum()), options.batch, f"{correlation:.3f}", f"{repeats:.3f}"])
            print(f"{published:10} {name:10} {int(valid.sum()):4} {correlation:6.3f} {repeats:6.3f}", flush=True)


if __name__ == "__main__":
    main()
