"""Do the 90 % intervals of the shipped predictor hold on networks it was not trained on?

    python -m benchmarks.intervals

For each space of `pretrained/base`: up to 5,000 held-out networks, all of them and those not isomorphic to a
training network. Intervals are calibrated on folds that keep isomorphs together, so they fit the latter; random
samples of a space full of isomorphs are easier and more than 90 % hold. Writes `results/intervals.csv`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from archcast.datasets.benchmark import load_benchmark
from archcast.predictor.metrics import coverage
from archcast.predictor.predictor import Predictor
from archcast.predictor.pretraining import SPACES, TASK, training_rows

OUTPUT = Path(__file__).parent / "results" / "intervals.csv"


def main() -> None:
    predictor = Predictor.from_pretrained("base")
    rows = []
    for space in SPACES:
        benchmark = load_benchmark(space, task=TASK)
        seen = training_rows(benchmark)
        held_out = np.setdiff1d(np.arange(len(benchmark)), seen)
        chosen = np.sort(np.random.default_rng(7).permutation(held_out)[:5000])
        new = ~np.isin(benchmark.groups[chosen], benchmark.groups[seen])
        forecast = predictor.predict(benchmark.graphs(chosen))
        truth = benchmark.scores[chosen]
        for subset, kept in (("held out", np.ones(len(chosen), dtype=bool)), ("without isomorphs", new)):
            covered = coverage(truth[kept], forecast.low[kept], forecast.high[kept])
            width = float(np.median((forecast.high - forecast.low)[kept]))
            familiarity = float(np.mean(forecast.familiarity[kept]))
            rows.append(
                {"space": space, "subset": subset, "networks": int(kept.sum()), "coverage": covered,
                 "median_width": width, "familiarity": familiarity}
            )  # fmt: skip
    table = pd.DataFrame(rows).round(4)
    table.to_csv(OUTPUT, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
