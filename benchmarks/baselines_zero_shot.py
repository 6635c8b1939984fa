"""Published learned rankers on search spaces they have never seen, under one roof.

    python -m benchmarks.baselines_zero_shot [--methods gennape k-gnn onnx-net] [--seeds 0 1 2] [--steps 2000]

Writes results/baselines_zero_shot.csv: Spearman and Kendall correlation with the labels on random networks of each
pool, for GENNAPE (the ensemble, and its members as `gennape: ...`), its k-GNN alone, ONNX-Net, #params and MACs. Data
are those of `benchmarks.transfer`: 1,500 labelled networks of each of nasbench201, nasbench101, nas-bench-macro and
nats-sss but the space ranked, CIFAR-10; nobody trains on accel-nasbench and transnas101, whose rankers learn from all
four. Rankers are trained anew for each space left out and each seed. Nothing of that space is seen, labelled or not.

The column `steps` is the budget: optimizer steps of the contrastive encoder, of the k-GNN and of the text transformer
(heads on frozen embeddings take twice as many). **It is small.** The authors of GENNAPE train on 50,000 networks
for 40 epochs of batches of 32 (62,500 steps); those of ONNX-Net fine-tune a language model of 396 M parameters on four
GPUs, where a transformer of 0.4 M learns from scratch here. The rows tell what the methods give on two processor cores,
not what they could give; published numbers are in the papers. `seconds` is the processor time of one training.

Goes on where it stopped: rows of the same pool, method, seed, steps and networks are not computed again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr
from tqdm import tqdm

from archcast.datasets.benchmark import load_benchmark
from archcast.graphs.graph import GraphBatch
from archcast.predictor.pretraining import SPACES, TASK, training_rows
from benchmarks.baselines.contract import Baseline
from benchmarks.baselines.gennape import Gennape, GennapeConfig, KGnnRegressor
from benchmarks.baselines.onnx_net import OnnxNet, OnnxNetConfig

RESULTS = Path(__file__).parent / "results" / "baselines_zero_shot.csv"
TASKONOMY = ("taskonomy-scene", "taskonomy-object", "taskonomy-jigsaw")
TARGETS: dict[str, tuple[str, ...]] = {
    "nasbench201": ("cifar10", "cifar100", "imagenet16-120"),
    "nasbench101": ("cifar10",), "nas-bench-macro": ("cifar10",), "nats-sss": ("cifar10",),
    "accel-nasbench": ("imagenet1k",), "transnas101-micro": TASKONOMY, "transnas101-macro": TASKONOMY,
}  # fmt: skip
"""Tasks of each space that is ranked."""
RELATIVES = {"transnas101-micro": "nasbench201"}
KEY = ["pool", "task", "method", "seed", "steps", "networks"]

METHODS: dict[str, Callable[[int, int], Baseline]] = {
    "gennape": lambda seed, steps: Gennape(seed, GennapeConfig(steps=steps, head_steps=2 * steps)),
    "k-gnn": lambda seed, steps: KGnnRegressor(seed, GennapeConfig(steps=steps)),
    "onnx-net": lambda seed, steps: OnnxNet(seed, OnnxNetConfig(steps=steps)),
}


def rows_of(space: str, count: int, seed: int) -> NDArray[np.int64]:
    """The networks that are ranked: the same for every method, and for `benchmarks.transfer`."""
    size = len(load_benchmark(space, TARGETS[space][0]))
    return np.sort(np.random.default_rng(1000 + seed).permutation(size)[:count])


def sources(left_out: str, seed: int) -> dict[str, tuple[GraphBatch, NDArray[np.float64]]]:
    """Labelled networks of the training spaces other than `left_out`."""
    found = {}
    for space in SPACES:
        if space != left_out:
            benchmark = load_benchmark(space, TASK)
            rows = training_rows(benchmark, seed=seed)
            found[space] = (benchmark.graphs(rows), benchmark.scores[rows])
    return found


def trained(method: str, left_out: str, seed: int, steps: int) -> tuple[Baseline, float]:
    """A ranker that has not seen `left_out`, and the processor time it took."""
    known = sources(left_out, seed)
    model = METHODS[method](seed, steps)
    start = time.process_time()
    model.fit(known)
    return model, time.process_time() - start


def scores_of(model: Baseline, name: str, graphs: GraphBatch) -> dict[str, NDArray[np.float64]]:
    """Scores of the method and of its members."""
    if isinstance(model, Gennape):
        members = model.members(graphs)
        return {name: model.combined(members)} | {f"{name}: {member}": values for member, values in members.items()}
    return {name: model.predict(graphs)}


class Table:
    """The rows on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[dict[str, object]] = []
        if path.exists():
            stored = pd.read_csv(path, keep_default_na=False)
            self.records = [{str(name): value for name, value in row.items()} for row in stored.to_dict("records")]

    def missing(self, space: str, method: str, seed: int, steps: int, networks: int) -> bool:
        """Whether a task of `space` has no row of `method` yet."""
        done = {tuple(row[name] for name in KEY) for row in self.records}
        return any((space, task, method, seed, steps, networks) not in done for task in TARGETS[space])

    def add(
        self, space: str, seed: int, steps: int, rows: NDArray[np.int64],
        scores: dict[str, NDArray[np.float64]], seconds: float,
    ) -> None:  # fmt: skip
        """A row for each task and method, written at once."""
        for task in TARGETS[space]:
            labels = load_benchmark(space, task).scores[rows]
            for method, values in scores.items():
                self.records.append({
                    "pool": space, "task": task, "method": method, "seed": seed, "networks": len(rows),
                    "relatives": RELATIVES.get(space, ""),
                    "spearman": round(float(spearmanr(values, labels).statistic), 4),
                    "kendall": round(float(kendalltau(values, labels).statistic), 4),
                    "steps": steps, "seconds": round(seconds, 1),
                })  # fmt: skip
        table = pd.DataFrame(self.records).drop_duplicates(KEY, keep="last")
        self.path.parent.mkdir(exist_ok=True)
        table.to_csv(self.path, index=False, lineterminator="\n")


def measure(table: Table, methods: Iterable[str], seeds: Iterable[int], steps: int, networks: int) -> None:
    """Fill the table."""
    for seed in seeds:
        rows = {space: rows_of(space, networks, seed) for space in TARGETS}
        for space in TARGETS:
            if table.missing(space, "#params", seed, 0, len(rows[space])):
                graphs = load_benchmark(space, TARGETS[space][0]).graphs(rows[space])
                sizes = {"#params": graphs.params.astype(np.float64), "MACs": graphs.macs.astype(np.float64)}
                table.add(space, seed, 0, rows[space], sizes, 0.0)
        for method in methods:
            for left_out in tqdm((*SPACES, ""), f"{method}, seed {seed}"):
                targets = [left_out] if left_out else [space for space in TARGETS if space not in SPACES]
                targets = [space for space in targets if table.missing(space, method, seed, steps, len(rows[space]))]
                if not targets:
                    continue
                model, seconds = trained(method, left_out, seed, steps)
                for space in targets:
                    graphs = load_benchmark(space, TARGETS[space][0]).graphs(rows[space])
                    table.add(space, seed, steps, rows[space], scores_of(model, method, graphs), seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = Table(RESULTS)
    measure(table, options.methods, options.seeds, options.steps, options.networks)
    shown = pd.DataFrame(table.records)
    print(shown.groupby(["pool", "task", "method", "steps"], sort=False).spearman.median().unstack([2, 3]).round(3).T)


if __name__ == "__main__":
    main()
