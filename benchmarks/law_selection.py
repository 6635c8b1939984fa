"""Would others have chosen the same laws? The laws of `archcast.predictor.prior` chosen anew without each family.

    python -m benchmarks.law_selection [--networks 1000] [--laws 4] [--seeds 0 1 2]

`LAWS` and the borders between kinds of variation were chosen with all labelled pools in view, so what they reach there
may flatter them. Here a family is left out, and from the others alone are chosen: the border of wiring (the middle of
the widest gap between the values of `std(log(layers / longest path))`), and for each kind of variation the set of at
most four features, out of sizes and capacity laws, whose sum ranks the pools of that kind best (mean of Pearson's
correlation with ranks, families alike). Then the family left out is ranked. Writes results/law_selection.csv: Spearman
of what was chosen so (*chosen without it*), of the shipped laws (*shipped*), of the mean of all candidates
(*all candidates*), #params and MACs, on random networks of every pool of `benchmarks.transfer`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr
from tqdm import tqdm

from archcast.datasets.benchmark import load_benchmark
from archcast.encoders.features import FEATURE_NAMES, encode
from archcast.encoders.pool import Pool
from archcast.encoders.variation import KINDS
from archcast.predictor.calibration import standardised
from archcast.predictor.pretraining import family_of
from archcast.predictor.prior import prior
from benchmarks.transfer import TASKS

RESULT = Path(__file__).parent / "results" / "law_selection.csv"
FloatArray = NDArray[np.float64]
CANDIDATES = [
    *(name for name in FEATURE_NAMES if name.startswith("capacity/")),
    "total/log_params", "total/log_macs", "total/log_live_params", "total/log_live_macs", "total/mean_log_macs",
    "total/count_log_macs", "total/count_log_fan_in", "total/log_activation_memory", "path/mean log_macs",
    "path/mean log_fan_in", "signal/log_macs", "signal/log_fan_in",
]  # fmt: skip
COLUMNS = [FEATURE_NAMES.index(name) for name in CANDIDATES]


@dataclass(frozen=True, eq=False)
class LabelledPool:
    """Networks of one space and task: pool-relative candidates, and what decides between them."""

    space: str
    task: str
    kind: int
    wiring: float
    laws: FloatArray
    shipped: FloatArray
    labels: FloatArray

    @property
    def family(self) -> str:
        return family_of(self.space)


def read_pool(space: str, task: str, networks: int, seed: int) -> LabelledPool:
    benchmark = load_benchmark(space, task)
    rows = np.sort(np.random.default_rng(1000 + seed).permutation(len(benchmark))[:networks])
    features = encode(benchmark.graphs(rows))
    pool = Pool.of(features)
    relative = pool.relative(features)
    layers, longest = (
        features[:, FEATURE_NAMES.index(name)] for name in ("total/count_weighted", "path/longest weighted")
    )
    spread = float(np.log(layers[layers > 2] / np.maximum(longest[layers > 2], 1)).std())
    return LabelledPool(
        space, task, int(pool.variation.argmax()), spread, relative[:, COLUMNS], prior(relative, pool, True),
        benchmark.scores[rows],
    )  # fmt: skip


def chosen_laws(pools: list[LabelledPool], most: int) -> list[int]:
    """Positions in `CANDIDATES` of the sum that ranks the pools best on average over their families."""
    sets = [laws for size in range(1, most + 1) for laws in combinations(range(len(CANDIDATES)), size)]
    member = np.zeros((len(sets), len(CANDIDATES)))
    for row, laws in enumerate(sets):
        member[row, list(laws)] = 1
    families: dict[str, list[FloatArray]] = {}
    for pool in pools:
        ranks = standardised(rankdata(pool.labels))
        centred = pool.laws - pool.laws.mean(axis=0)
        spread = np.sqrt(np.maximum(((member @ np.cov(centred.T, bias=True)) * member).sum(axis=1), 1e-12))
        families.setdefault(pool.family, []).append(member @ (centred.T @ ranks / len(ranks)) / spread)
    quality = np.mean([np.mean(found, axis=0) for found in families.values()], axis=0)
    return list(sets[int(quality.argmax())])


def border(pools: list[LabelledPool]) -> float:
    """The middle of the widest gap between how much the wiring of pools varies."""
    values = np.sort([pool.wiring for pool in pools])
    gap = int(np.diff(values).argmax())
    return float(values[gap : gap + 2].mean())


def lines_of(pools: list[LabelledPool], family: str, seed: int, most: int) -> list[dict[str, object]]:
    """The family ranked by what the others chose."""
    known = [pool for pool in pools if pool.family != family]
    middle, wiring = border(known), KINDS.index("wiring")
    lines: list[dict[str, object]] = []
    kind_of = {
        id(pool): wiring if pool.wiring > middle else pool.kind if pool.kind != wiring else KINDS.index("size")
        for pool in pools
    }
    for kind in range(len(KINDS)):
        targets = [pool for pool in pools if pool.family == family and kind_of[id(pool)] == kind]
        if not targets:
            continue
        laws = chosen_laws([pool for pool in known if kind_of[id(pool)] == kind] or known, most)
        for pool in targets:
            scores = {
                "chosen without it": pool.laws[:, laws].sum(axis=1), "shipped": pool.shipped,
                "all candidates": pool.laws.sum(axis=1),
                "#params": pool.laws[:, CANDIDATES.index("total/log_params")],
                "MACs": pool.laws[:, CANDIDATES.index("total/log_macs")],
            }  # fmt: skip
            lines += [
                {"pool": pool.space, "task": pool.task, "kind": KINDS[kind], "border": middle, "seed": seed,
                 "method": method, "laws": "; ".join(CANDIDATES[law] for law in laws),
                 "spearman": float(spearmanr(values, pool.labels).statistic)}
                for method, values in scores.items()
            ]  # fmt: skip
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--laws", type=int, default=4)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    lines: list[dict[str, object]] = []
    for seed in options.seeds:
        pairs = [(space, task) for space, tasks in TASKS.items() for task in tasks]
        pools = [read_pool(space, task, options.networks, seed) for space, task in tqdm(pairs, "pools")]
        for family in tqdm(dict.fromkeys(pool.family for pool in pools), "families"):
            lines += lines_of(pools, family, seed, options.laws)
        pd.DataFrame(lines).round(4).to_csv(RESULT, index=False, lineterminator="\n")
    table = pd.DataFrame(lines)
    print(table.groupby(["pool", "task", "method"], sort=False).spearman.median().unstack().round(3).to_string())


if __name__ == "__main__":
    main()
