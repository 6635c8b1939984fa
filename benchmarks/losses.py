"""Every ranking loss on the same heads, splits and budget: does DiffKendall win?

    python -m benchmarks.losses [--pools nasbench201 nasbench101 nas-bench-macro] [--seeds 0 1 2]

One perceptron on our features and ParZC (released variant, width 64) are trained with each loss of
`archcast.predictor.losses.LOSSES` on labels of measured networks, 300 and 200 steps; the other networks are ranked.
Learning rates are the same for all losses, so a loss of steep gradients (DiffKendall divides by .0125) is not favoured:
AdamW does not see the scale of a loss but through the clipping of gradients. Writes results/losses.csv after every fit
and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from scipy.stats import kendalltau
from tqdm import tqdm

from archcast.predictor.heads.mlp import MLPConfig, MLPHead
from archcast.predictor.heads.networks import Networks
from archcast.predictor.heads.parzc import ParZCConfig, ParZCHead
from archcast.predictor.losses import LOSSES
from benchmarks.heads import SMALL_PARZC, Split
from benchmarks.measured_pools import MeasuredPool, load_pool

OUTPUT: Final = Path(__file__).parent / "results" / "losses.csv"
LABELS: Final = {"nasbench201": 156, "nasbench101": 172, "nas-bench-macro": 66}
HEADS: Final = ("MLP", "ParZC")


def scores(head: str, loss: str, split: Split) -> Any:
    """`[m]` scores of the networks of a split that are not labelled."""
    networks = split.pool.networks
    if head == "MLP":
        rows = Networks(networks.features)
        model: Any = MLPHead.fit(
            rows.take(split.train), split.known, seed=split.seed, config=MLPConfig(members=1, loss=loss)
        )
        return model.predict(rows.take(split.test))
    training = replace(SMALL_PARZC, steps=200)
    config = ParZCConfig(variant="released", width=64, loss=loss, training=training)
    model = ParZCHead.fit(networks.take(split.train), split.known, seed=split.seed, config=config)
    return model.predict(networks.take(split.test))


def run(pools: list[str], seeds: list[int], output: Path = OUTPUT) -> pd.DataFrame:
    """Fill the table."""
    records: list[Any] = pd.read_csv(output).to_dict("records") if output.exists() else []
    done = {(line["pool"], line["seed"], line["head"], line["loss"]) for line in records}
    wanted = [
        (pool, seed, head, loss)
        for seed in seeds for pool in pools for head in HEADS for loss in LOSSES
        if (pool, seed, head, loss) not in done
    ]  # fmt: skip
    loaded: dict[str, MeasuredPool] = {}
    for name, seed, head, loss in tqdm(wanted, "losses"):
        if name not in loaded:
            loaded[name] = load_pool(name)
        split, start = Split.draw(loaded[name], LABELS[name], seed), time.process_time()
        found = scores(head, loss, split)
        tau = float(kendalltau(found, split.pool.labels[split.test]).statistic) if np.ptp(found) > 0 else 0.0
        records.append({
            "pool": name, "labels": LABELS[name], "seed": seed, "head": head, "loss": loss, "kendall": tau,
            "seconds": round(time.process_time() - start, 2),
        })  # fmt: skip
        pd.DataFrame(records).round(4).to_csv(output, index=False, lineterminator="\n")
    return pd.DataFrame(records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", nargs="+", default=list(LABELS), choices=list(LABELS), metavar="POOL")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = run(options.pools, options.seeds)
    print(table.pivot_table(index="loss", columns=["head", "pool"], values="kendall", aggfunc="mean").round(3))


if __name__ == "__main__":
    main()
