"""A few labels with and without the knowledge of other spaces: `Predictor().fit` against a pretrained ranker and `fit`.

    python -m benchmarks.adaptation

For each space the ranker has seen the other three only. Protocol P1 at the smallest sizes, three seeds, ranked on 5,000
random networks. Writes `results/adaptation.csv`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from archcast.datasets.benchmark import load_benchmark
from archcast.encoders.features import encode
from archcast.predictor.metrics import kendall_tau
from archcast.predictor.predictor import Predictor
from archcast.predictor.pretraining import PER_SPACE, SPACES, TASK, training_rows
from archcast.predictor.ranker import PoolRanker

OUTPUT = Path(__file__).parent / "results" / "adaptation.csv"
SIZES = {"nasbench201": (20, 78), "nasbench101": (20, 100), "nas-bench-macro": (20, 33), "nats-sss": (20, 100)}


def main() -> None:
    benchmarks = {name: load_benchmark(name, task=TASK) for name in SPACES}
    sources = {}
    for name, benchmark in benchmarks.items():
        rows = training_rows(benchmark, PER_SPACE)
        sources[name] = (encode(benchmark.graphs(rows)), benchmark.scores[rows])
    records = []
    for name, benchmark in tqdm(benchmarks.items(), "spaces"):
        ranker = PoolRanker.fit({other: pair for other, pair in sources.items() if other != name})
        for size in SIZES[name]:
            for seed in range(3):
                order = np.random.default_rng(seed).permutation(len(benchmark))
                train, test = order[:size], order[size : size + 5000]
                graphs = benchmark.graphs(test)
                for start in ("scratch", "pretrained"):
                    predictor = Predictor()
                    predictor.ranker = ranker if start == "pretrained" else None
                    predictor.fit(benchmark.graphs(train), benchmark.scores[train], seed=seed)
                    tau = kendall_tau(benchmark.scores[test], predictor(graphs))
                    records.append({"space": name, "labels": size, "seed": seed, "start": start, "tau": tau})
        pd.DataFrame(records).round(4).to_csv(OUTPUT, index=False)
    table = pd.DataFrame(records)
    print(table.pivot_table(index=["space", "labels"], columns="start", values="tau", aggfunc="median").round(3))


if __name__ == "__main__":
    main()
