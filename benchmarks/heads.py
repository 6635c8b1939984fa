"""All heads on the same splits of measured networks: Kendall tau by number of labels.

    python -m benchmarks.heads [--pools nasbench201 ...] [--seeds 0 1 2] [--methods ...] [--list]

Of the networks of measurements/POOL.parquet, `labels` random ones are learnt from and all others are ranked. Writes
results/heads.csv after every fit, and goes on where it stopped: rows that are there are not computed again.

| method | what it is |
|---|---|
| ParZC, paper; ParZC, released | `ParZCHead` on grad_norm, snip and synflow of every layer, width 64, 400 steps of 16 |
| GBDT-NAS | `GBDTNASHead` on one-hot specs (features in the zoos), labels below 85 dropped where they are on CIFAR-10 |
| LightGBM, paths | `GBDTHead` on the `total/` and `path/` columns of our features |
| LightGBM, motifs + proxies | `GBDTHead` on the `edge/`, `motif/`, `path/` columns, all proxies; like GRAF, not GRAF |
| MLP; GP | `MLPHead` and `GaussianProcessHead` on all our features |
| graph encoder | `GraphStatisticsHead` without statistics |
| graph statistics | `GraphStatisticsHead` with the statistics of all proxies |
| archcast; archcast, measured | `Predictor().fit`, nothing pretrained; the second one with `measured=` all proxies |
| best proxy | the proxy and sign that rank the labelled networks best |
| GENNAPE, fine-tuned | `benchmarks.baselines.gennape`, pretrained on the other spaces; only with `--methods` |

ParZC at its full width of 512 costs sixty times as much; `ParZC, released, full` (only with `--methods`) is that.
`coverage`: share of the labels (as normal scores) within 1.645 `spread` of the score, where a head has one;
`error_rank`: Spearman correlation of `spread` and absolute error. `seconds`: processor time of fit and prediction.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr
from tqdm import tqdm

from archcast.encoders.features import FEATURE_NAMES
from archcast.predictor.calibration import rank_gauss
from archcast.predictor.heads.gaussian_process import GaussianProcessHead
from archcast.predictor.heads.gbdt import GBDTHead
from archcast.predictor.heads.gbdt_nas import GBDTNASConfig, GBDTNASHead
from archcast.predictor.heads.graph_statistics import GraphStatisticsHead
from archcast.predictor.heads.mlp import MLPHead
from archcast.predictor.heads.networks import Networks
from archcast.predictor.heads.parzc import ParZCConfig, ParZCHead
from archcast.predictor.heads.training import HeadTraining
from archcast.predictor.measured_inputs import MeasuredInputs
from archcast.predictor.predictor import Predictor
from benchmarks.measured_pools import POOLS, FloatArray, MeasuredPool, load_pool

OUTPUT: Final = Path(__file__).parent / "results" / "heads.csv"
KEY: Final = ["pool", "labels", "seed", "method"]
Rows = NDArray[np.int64]
SMALL_PARZC: Final = HeadTraining(steps=400, batch_size=16, learning_rate=2e-3)


@dataclass(frozen=True)
class Split:
    """Some networks of a pool to learn from, and the others."""

    pool: MeasuredPool
    train: Rows
    test: Rows
    seed: int

    @classmethod
    def draw(cls, pool: MeasuredPool, labels: int, seed: int) -> Split:
        """`labels` random networks to learn from."""
        order = np.random.default_rng(seed).permutation(len(pool)).astype(np.int64)
        return cls(pool, order[:labels], order[labels:], seed)

    @property
    def known(self) -> FloatArray:
        """Labels of the networks to learn from."""
        return self.pool.labels[self.train]


@dataclass(frozen=True)
class Ranking:
    """What a method answers: `[m]` scores of the other networks, and standard deviations if it has any."""

    scores: FloatArray
    spread: FloatArray | None = None


def _rows(split: Split, columns: FloatArray, measured: int = 0) -> tuple[Networks, Networks]:
    return Networks(columns[split.train], measured), Networks(columns[split.test], measured)


def _grouped(split: Split, *groups: str) -> FloatArray:
    """The features of some groups."""
    chosen = [i for i, name in enumerate(FEATURE_NAMES) if name.startswith(groups)]
    return split.pool.networks.features[:, chosen]


def _on_rows(head: Any, columns: Callable[[Split], FloatArray]) -> Callable[[Split], Ranking]:
    """A head of our own on rows of numbers, fitted to the normal scores of the labels."""

    def method(split: Split) -> Ranking:
        known, asked = _rows(split, columns(split))
        return Ranking(head.fit(known, rank_gauss(split.known), seed=split.seed).predict(asked))

    return method


def _motifs_and_proxies(split: Split) -> FloatArray:
    inputs = MeasuredInputs.of({name: values[split.train] for name, values in split.pool.proxies.items()})
    return np.column_stack([_grouped(split, "edge/", "motif/", "path/"), inputs.columns(split.pool.proxies)])


def _gbdt_nas(split: Split) -> Ranking:
    known, asked = _rows(split, split.pool.codes)
    limit = 85.0 if split.pool.task == "cifar10" else None
    return Ranking(GBDTNASHead.fit(known, split.known, config=GBDTNASConfig(drop_below=limit)).predict(asked))


def _parzc(variant: str, *, full: bool = False) -> Callable[[Split], Ranking]:
    config = ParZCConfig(variant=variant)
    if not full:
        config = replace(config, width=64, training=SMALL_PARZC)

    def method(split: Split) -> Ranking:
        known, asked = (split.pool.networks.take(rows) for rows in (split.train, split.test))
        return Ranking(ParZCHead.fit(known, split.known, seed=split.seed, config=config).predict(asked))

    return method


def _graph(*, statistics: bool) -> Callable[[Split], Ranking]:
    def method(split: Split) -> Ranking:
        networks = split.pool.networks if statistics else replace(split.pool.networks, nodes={})
        known, asked = (networks.take(rows) for rows in (split.train, split.test))
        head = GraphStatisticsHead.fit(known, rank_gauss(split.known), seed=split.seed)
        return Ranking(*head.forecast(asked))

    return method


def _archcast(*, measured: bool) -> Callable[[Split], Ranking]:
    def method(split: Split) -> Ranking:
        known, asked = (
            {name: values[rows] for name, values in split.pool.proxies.items()} if measured else None
            for rows in (split.train, split.test)
        )
        graphs = split.pool.graphs
        predictor = Predictor().fit(graphs.take(split.train), split.known, seed=split.seed, measured=known)
        return Ranking(predictor(graphs.take(split.test), measured=asked))

    return method


def _best_proxy(split: Split) -> Ranking:
    found = {name: np.nan_to_num(values, nan=np.nanmin(values)) for name, values in split.pool.proxies.items()
             if np.isfinite(values[split.train]).any()}  # fmt: skip
    taus = {name: np.nan_to_num(kendalltau(v[split.train], split.known).statistic) for name, v in found.items()}
    best = max(taus, key=lambda name: abs(taus[name]))
    return Ranking(float(np.sign(taus[best])) * found[best][split.test])


def _gennape(split: Split) -> Ranking:
    from copy import deepcopy

    from benchmarks.head_gennape import pretrained

    model = deepcopy(pretrained(split.pool.name, split.seed))
    graphs = split.pool.graphs
    model.fine_tune(graphs.take(split.train), split.known)
    return Ranking(model.predict(graphs.take(split.test)))


METHODS: Final[dict[str, Callable[[Split], Ranking]]] = {
    "#params": lambda split: Ranking(split.pool.graphs.params[split.test].astype(np.float64)),
    "MACs": lambda split: Ranking(split.pool.graphs.macs[split.test].astype(np.float64)),
    "best proxy": _best_proxy,
    "GBDT-NAS": _gbdt_nas,
    "LightGBM, paths": _on_rows(GBDTHead, lambda split: _grouped(split, "total/", "path/")),
    "LightGBM, motifs + proxies": _on_rows(GBDTHead, _motifs_and_proxies),
    "GP": _on_rows(GaussianProcessHead, lambda split: split.pool.networks.features),
    "MLP": _on_rows(MLPHead, lambda split: split.pool.networks.features),
    "ParZC, paper": _parzc("paper"),
    "ParZC, released": _parzc("released"),
    "graph encoder": _graph(statistics=False),
    "graph statistics": _graph(statistics=True),
    "archcast": _archcast(measured=False),
    "archcast, measured": _archcast(measured=True),
}
ON_REQUEST: Final[dict[str, Callable[[Split], Ranking]]] = {
    "ParZC, released, full": _parzc("released", full=True),
    "GENNAPE, fine-tuned": _gennape,
}


def record(method: str, split: Split) -> dict[str, Any]:
    """One line of the table."""
    start = time.process_time()
    found = {**METHODS, **ON_REQUEST}[method](split)
    seconds = time.process_time() - start
    truth = split.pool.labels[split.test]
    line = {
        "pool": split.pool.name, "task": split.pool.task, "labels": len(split.train), "seed": split.seed,
        "method": method, "networks": len(truth), "kendall": _agreement(kendalltau, found.scores, truth),
        "spearman": _agreement(spearmanr, found.scores, truth), "seconds": round(seconds, 2),
    }  # fmt: skip
    if found.spread is not None:
        order = np.argsort(split.known)
        targets = np.interp(truth, split.known[order], np.sort(rank_gauss(split.known)))
        error = np.abs(targets - found.scores)
        line["coverage"] = float((error < 1.645 * found.spread).mean())
        line["error_rank"] = float(spearmanr(found.spread, error).statistic)
    return line


def _agreement(measure: Callable[..., Any], scores: FloatArray, truth: FloatArray) -> float:
    """A rank correlation; 0 for scores that are all equal, which order nothing."""
    return float(measure(scores, truth).statistic) if np.ptp(scores) > 0 else 0.0


def run(pools: Iterable[str], seeds: Iterable[int], methods: list[str], output: Path = OUTPUT) -> pd.DataFrame:
    """Fill the table."""
    records: list[Any] = pd.read_csv(output).to_dict("records") if output.exists() else []
    done = {tuple(line[name] for name in KEY) for line in records}
    names = list(pools)
    wanted = [
        (name, size, seed, method)
        for seed in seeds for name in names for size in POOLS[name][1] for method in methods
        if (name, size, seed, method) not in done
    ]  # fmt: skip
    loaded: dict[str, MeasuredPool] = {}
    with tqdm(wanted, "heads") as bar:
        for name, size, seed, method in bar:
            bar.set_postfix_str(f"{name}, {size} labels, {method}")
            if name not in loaded:
                loaded[name] = load_pool(name)
            records.append(record(method, Split.draw(loaded[name], size, seed)))
            pd.DataFrame(records).round(4).to_csv(output, index=False, lineterminator="\n")
    return pd.DataFrame(records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", nargs="+", default=list(POOLS), choices=list(POOLS), metavar="POOL")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=[*METHODS, *ON_REQUEST], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the names of the methods and stop")
    options = parser.parse_args()
    if options.list:
        print("\n".join([*METHODS, *ON_REQUEST]))
        return
    torch.set_num_threads(1)
    table = run(options.pools, options.seeds, options.methods)
    print(table.pivot_table(index=["pool", "labels"], columns="method", values="kendall", aggfunc="median").round(3).T)


if __name__ == "__main__":
    main()
