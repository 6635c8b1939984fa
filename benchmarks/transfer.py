"""Unseen search spaces: rank each labelled pool with a predictor that has never met its space.

    python -m benchmarks.transfer [--networks 2000] [--seeds 0 1 2] [--jobs 2] [--spaces nasbench201 ...]

Writes results/transfer.csv: Spearman and Kendall correlation with the labels on random networks of every pool, for what
`Predictor` does with a pool of an unfamiliar space, its parts, #params, MACs and their rank mean. Features learn from
the four spaces of `archcast.predictor.pretraining.SPACES`, graph encoders from the pools of configs/base.yaml; the
space itself, and other spaces of the same networks, are left out of both. Where measurements/POOL.parquet exists the
measured networks are ranked a second time with their zero-cost proxies; the best training-free aggregate of the same
statistics (from results/proxy_correlation.csv) stands beside them. Nothing of the space, labelled or not, is seen
beyond the pool being ranked. Finished spaces are kept in the CSV; `--again` starts anew. Graph encoders, which take
most of the time, are kept in `--encoders` and reused there, also with `--again`: leave the folder behind when their
training changes.

Cells of TransNAS-Bench-101 micro resemble those of NAS-Bench-201; `--without-relatives` leaves NAS-Bench-201 out for
them and writes results/transfer_without_relatives.csv.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes share the cores, not threads

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.stats import kendalltau, rankdata, spearmanr
from tqdm import tqdm

from archcast.datasets.benchmark import Benchmark, load_benchmark
from archcast.encoders.features import encode, feature_column
from archcast.encoders.pool import Pool
from archcast.graphs.graph import GraphBatch
from archcast.predictor import graph_bundle
from archcast.predictor.config import TrainConfig
from archcast.predictor.consensus import PROXIES, consensus
from archcast.predictor.graph_ranker import GraphRanker
from archcast.predictor.graph_training import GraphTraining, RankingPool, train_graph_ranker
from archcast.predictor.pretraining import TASK, Sources, family_of, labelled_sources, ranking_pools
from archcast.predictor.ranker import PoolRanker, hears_graphs
from archcast.proxies.tables import FOLDER as MEASUREMENTS
from benchmarks.measured_networks import thoroughly_measured

FOLDER = Path(__file__).parent / "results"
CONFIG = Path(__file__).parent.parent / "configs" / "base.yaml"
TASKONOMY = ("taskonomy-scene", "taskonomy-object", "taskonomy-jigsaw")
TASKS: dict[str, tuple[str, ...]] = {
    "nasbench201": (TASK, "cifar100", "imagenet16-120"), "nasbench101": (TASK,), "nas-bench-macro": (TASK,),
    "nats-sss": (TASK,), "accel-nasbench": ("imagenet1k",), "transnas101-micro": TASKONOMY,
    "transnas101-macro": TASKONOMY, "ofa-mobilenetv3": ("imagenet1k",), "ofa-mobilenetv3-compofa": ("imagenet1k",),
    "ofa-mobilenetv3-mcofa": ("imagenet1k",), "nas-bench-bert-trained": ("glue",),
    "zoo-torchvision": ("imagenet1k",), "zoo-pytorchcv": ("imagenet1k", "cifar10", "cifar100"),
    **{f"mini-{kind}": ("cluttered-digits",) for kind in ("cells", "shapes", "transformers", "mixers")},
}  # fmt: skip
RELATIVES = {"transnas101-micro": "nasbench201"}
LEAST_MEASURED = 50
AGGREGATES = ("az_nas_rank", "vkdnw_rank", "union_rank", "vote_rank", "mean_rank")

FloatArray = NDArray[np.float64]
Rankers = tuple[PoolRanker, GraphRanker | None]


@lru_cache(1)
def sources(seed: int) -> Sources:
    """What the ranker on features learns from; read once for all families of a seed."""
    return labelled_sources(seed=seed)


def fitted(family: str, without: str | None, seed: int, encoders: Path, hears: bool) -> Rankers:
    """Both rankers without a family of spaces, and without a relative of it; graph encoders only where they count."""
    out = {family} if without is None else {family, without}
    known = {name: pair for name, pair in sources(seed).items() if family_of(name) not in out}
    return PoolRanker.fit(known), graph_ranker(sorted(out), seed, encoders) if hears else None


def graph_ranker(out: Sequence[str], seed: int, encoders: Path, training: GraphTraining | None = None) -> GraphRanker:
    """Graph encoders trained without some families, from `encoders` if they were trained before."""
    folder = encoders / f"without-{'-'.join(out)}-{seed}"
    if (folder / "config.json").is_file():
        return graph_bundle.read(
            folder, json.loads((folder / "config.json").read_text()), load_file(folder / graph_bundle.FILE)
        )
    ranker = train_graph_ranker([pool for pool in all_pools(seed) if pool.family not in out], training, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    graph_bundle.write(ranker, folder)
    (folder / "config.json").write_text(json.dumps(graph_bundle.describe(ranker)))
    return ranker


@lru_cache(1)
def all_pools(seed: int) -> list[RankingPool]:
    """What the graph encoders of the base predictor learn from."""
    return ranking_pools(TrainConfig.from_file(CONFIG).pools, seed=seed)


def structural(
    graphs: GraphBatch, features: NDArray[np.float32], pool: Pool, rankers: Rankers
) -> dict[str, FloatArray]:
    """Method -> scores of the networks of a pool, as `Predictor` gives them, and of its parts and baselines."""
    of_graphs = rankers[1].scores(graphs) if rankers[1] is not None and hears_graphs(pool) else None
    params, macs = (feature_column(features, f"total/log_{name}") for name in ("params", "macs"))
    return {
        "archcast": rankers[0].scores(features, pool, of_graphs), "features": rankers[0].scores(features, pool),
        **({} if of_graphs is None else {"graphs": of_graphs}),
        "prior": rankers[0].prior(features, pool), "#params": params, "MACs": macs,
        "rank mean": rankdata(params) + rankdata(macs),
    }  # fmt: skip


def measured(
    benchmark: Benchmark, table_name: str, rankers: Rankers
) -> list[tuple[dict[str, FloatArray], NDArray[np.int64]]]:
    """Scores with and without measurements of the most thoroughly measured networks, and their rows; none of a few."""
    rows, columns = thoroughly_measured(table_name, benchmark.specs, PROXIES)
    if len(rows) < LEAST_MEASURED:
        return []
    graphs = benchmark.graphs(rows)
    features = encode(graphs)
    pool = Pool.of(features)
    own = structural(graphs, features, pool, rankers)["archcast"]
    return [({"archcast, measured": consensus(own, columns, pool.variation), "archcast, not measured": own}, rows)]


def ranked_pools(
    spaces: Sequence[str], seed: int, networks: int
) -> Iterator[tuple[str, str, Benchmark, NDArray[np.int64]]]:
    """Space, task, labels, and the random networks that are ranked, of all pools of some spaces."""
    for space, task in [(name, task) for name in spaces for task in TASKS[name]]:
        benchmark = load_benchmark(space, task)
        rows = np.sort(np.random.default_rng(1000 + seed).permutation(len(benchmark))[:networks])
        yield space, task, benchmark, rows


def one_family(
    spaces: Sequence[str], seed: int, networks: int, without_relatives: bool, encoders: Path
) -> list[dict[str, Any]]:
    """All lines of spaces of one family and a seed."""
    relative = RELATIVES.get(spaces[0]) if without_relatives else None
    chosen = []
    for space, task, benchmark, rows in ranked_pools(spaces, seed, networks):
        features = encode(benchmark.graphs(rows))
        chosen.append((space, task, benchmark, rows, features, Pool.of(features)))
    hears = any(hears_graphs(pool) for *_, pool in chosen)
    rankers = fitted(family_of(spaces[0]), relative, seed, encoders, hears)
    records = []
    for space, task, benchmark, rows, features, pool in chosen:
        found = [("", structural(benchmark.graphs(rows), features, pool, rankers), rows)]
        for table, mark in ((space, ""), (f"{space}-full", " in full"), (f"{space}-{task}", "")):
            if (MEASUREMENTS / f"{table}.parquet").is_file():
                found += [(mark, *part) for part in measured(benchmark, table, rankers)]
        for mark, scores, of_rows in found:
            labels = benchmark.scores[of_rows]
            for method, values in scores.items():
                records.append({
                    "pool": space, "task": task, "method": method + mark, "seed": seed, "networks": len(of_rows),
                    "relatives": RELATIVES.get(space, "") if relative is None else "",
                    "spearman": float(spearmanr(values, labels).statistic),
                    "kendall": float(kendalltau(values, labels).statistic),
                })  # fmt: skip
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--spaces", nargs="+", default=list(TASKS), choices=list(TASKS), metavar="SPACE")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--encoders", type=Path, default=Path("out/transfer"))
    parser.add_argument("--without-relatives", action="store_true")
    options = parser.parse_args()
    path = FOLDER / f"transfer{'_without_relatives' if options.without_relatives else ''}.csv"
    lines: list[dict[Any, Any]] = []
    if path.is_file() and not options.again:
        lines = pd.read_csv(path).dropna(subset="seed").to_dict("records")
    done = {(line["pool"], int(line["seed"])) for line in lines}
    wanted: dict[tuple[str, int], list[str]] = {}
    for seed, space in product(options.seeds, options.spaces):
        if (space, seed) not in done:
            wanted.setdefault((family_of(space), seed), []).append(space)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        futures = [
            pool.submit(one_family, spaces, seed, options.networks, options.without_relatives, options.encoders)
            for (_, seed), spaces in wanted.items()
        ]
        for future in tqdm(as_completed(futures), "families", len(futures)):
            lines += future.result()
            write(pd.DataFrame(lines), path)
    table = pd.read_csv(path)
    print(table.groupby(["pool", "task", "method"], sort=False).spearman.median().unstack().round(3).to_string())


def write(lines: pd.DataFrame, path: Path) -> None:
    """What is known so far in the order of `TASKS`, with the training-free aggregates."""
    place = {space: number for number, space in enumerate(TASKS)}
    lines = lines.sort_values(["pool", "seed"], key=lambda c: c.map(place) if c.name == "pool" else c, kind="stable")
    pd.concat([lines, training_free()], ignore_index=True).round(4).to_csv(path, index=False, lineterminator="\n")


def training_free() -> pd.DataFrame:
    """The best aggregate of measured statistics of each pool."""
    table = pd.read_csv(FOLDER / "proxy_correlation.csv")
    table = table[table.proxy.isin(AGGREGATES)]
    best = table.loc[table.groupby(["pool", "task"]).spearman.idxmax()]
    space = best.pool.str.removesuffix("-full")
    kept = [name in TASKS and task in TASKS[name] for name, task in zip(space, best.task, strict=True)]
    columns = best.assign(pool=space)[["pool", "task", "networks", "spearman", "kendall"]].copy()
    columns["method"] = "aggregate: " + best.proxy.str.removesuffix("_rank")
    columns["method"] += np.where(best.pool.str.endswith("-full"), " in full", "")
    return columns[kept]


if __name__ == "__main__":
    main()
