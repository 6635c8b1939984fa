"""The in-context network, a family of spaces left out: no labels, and 20, 50 and 100 of them.

    python -m benchmarks.in_context [--cache out/in_context] [--labels 20 50 100] [--seeds 0 1 2] [--families ...]

One network is trained for each family on the pools of all others (`POOLS`), two of which choose when to stop. It then
ranks the pools of the family it has never seen: without labels (`labels` 0) the networks and tasks of
`benchmarks.transfer`, with labels those of `benchmarks.adaptation`, with and without measured statistics. Beside it
stand the same network untrained, `PoolRanker` on features (learnt from `pretraining.SPACES` but the family), the
Gaussian process head, and all of them with LightGBM's head for a third of the score ("+ trees"). A second run with
`--predictor` adds `Predictor().fit` on the same splits, which takes longer than all else. Features are kept in
`--cache`, finished families in results/in_context.csv; `--again` starts anew.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # matrices are small: threads cost more than they bring

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr
from tqdm import tqdm

from archcast.datasets.benchmark import load_benchmark
from archcast.encoders.features import encode
from archcast.encoders.pool import Pool
from archcast.predictor.calibration import rank_gauss, standardised
from archcast.predictor.heads.gaussian_process import GaussianProcessHead
from archcast.predictor.heads.gbdt import GBDTHead
from archcast.predictor.heads.in_context import InContextHead
from archcast.predictor.heads.networks import Networks
from archcast.predictor.in_context import InContextNetwork
from archcast.predictor.in_context_training import LabelledPool, train_in_context, with_experts
from archcast.predictor.measured_inputs import MeasuredInputs
from archcast.predictor.predictor import Predictor
from archcast.predictor.pretraining import SPACES, TASK, family_of
from archcast.predictor.ranker import PoolRanker
from archcast.proxies.tables import FOLDER as MEASUREMENTS
from benchmarks.adaptation import POOLS as FEW
from benchmarks.measured_networks import thoroughly_measured
from benchmarks.transfer import TASKS as ZERO

FloatArray = NDArray[np.float64]
Line = dict[str, Any]

OUTPUT = Path(__file__).parent / "results" / "in_context.csv"
TASKONOMY = tuple(
    f"taskonomy-{task}"
    for task in ("scene", "object", "jigsaw", "room-layout", "segmentation", "normal", "autoencoder")
)
POOLS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("nasbench201", (TASK, "cifar100", "imagenet16-120")), ("nasbench101", (TASK,)), ("nas-bench-macro", (TASK,)),
    ("nats-sss", (TASK,)), ("accel-nasbench", ("imagenet1k",)), ("transnas101-micro", TASKONOMY),
    ("transnas101-macro", TASKONOMY), ("ofa-mobilenetv3", ("imagenet1k",)),
    ("ofa-mobilenetv3-compofa", ("imagenet1k",)), ("ofa-mobilenetv3-mcofa", ("imagenet1k",)),
    ("nas-bench-bert-trained", ("glue",)), ("mini-cells", ("cluttered-digits",)),
    ("mini-shapes", ("cluttered-digits",)), ("mini-transformers", ("cluttered-digits",)),
    ("mini-mixers", ("cluttered-digits",)), ("zoo-torchvision", ("imagenet1k",)), ("zoo-pytorchcv", ("imagenet1k",)),
    ("zoo-pytorchcv", (TASK,)), ("zoo-pytorchcv", ("cifar100",)),
)  # fmt: skip
"""Space and tasks of the pools that the network learns from."""

FEW_SHOT = {**FEW, **{f"mini-{kind}": (f"mini-{kind}", "cluttered-digits") for kind in ("shapes", "mixers")}}
FEW_SHOT |= {"mini-transformers": ("mini-transformers", "cluttered-digits")}
FEW_SHOT |= {"nas-bench-bert-trained": ("nas-bench-bert-trained", "glue")}
"""Table of measurements -> space and task that a few labels are drawn from."""

ENOUGH = 400  # measured networks that make a pool; with fewer, random networks do, and nothing is measured
NETWORKS = 2000


@dataclass(frozen=True, eq=False)
class Numbers:
    """Some networks of a space: rows of its benchmark, features, and measured statistics by name."""

    rows: NDArray[np.int64]
    features: NDArray[np.float32]
    columns: dict[str, FloatArray]

    def scores(self, space: str, task: str) -> FloatArray:
        """Labels of one task."""
        reference, wanted = load_benchmark(space, _first_task(space)), load_benchmark(space, task)
        by_spec = dict(zip(wanted.specs, wanted.scores, strict=True))
        return np.asarray([by_spec.get(reference.specs[row], np.nan) for row in self.rows])


def _first_task(space: str) -> str:
    return ZERO[space][0]


def random_networks(space: str, task: str, seed: int, cache: Path) -> Numbers:
    """The networks that `benchmarks.transfer` ranks; the zoos have other networks for every task."""
    key = f"{space}-{task}" if space.startswith("zoo") else space
    benchmark = load_benchmark(space, task if space.startswith("zoo") else _first_task(space))
    rows = np.sort(np.random.default_rng(1000 + seed).permutation(len(benchmark))[:NETWORKS])
    return _kept(cache / f"{key}-random-{seed}.npz", lambda: Numbers(rows, encode(benchmark.graphs(rows)), {}))


def measured_networks(table: str, space: str, cache: Path) -> Numbers:
    """The networks that `benchmarks.adaptation` ranks."""
    benchmark = load_benchmark(space, _first_task(space))

    def make() -> Numbers:
        rows, columns = thoroughly_measured(table, benchmark.specs)
        return Numbers(rows, encode(benchmark.graphs(rows)), columns)

    return _kept(cache / f"{table}-measured.npz", make)


def _kept(path: Path, make: Any) -> Numbers:
    if not path.is_file():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {f"measured {name}": values for name, values in made.columns.items()}
        np.savez(path, rows=made.rows, features=made.features, **columns)
    with np.load(path) as found:
        columns = {name.removeprefix("measured "): found[name] for name in found.files if name.startswith("measured ")}
        return Numbers(found["rows"], found["features"], columns)


def labelled_pool(space: str, tasks: tuple[str, ...], cache: Path) -> LabelledPool:
    """One pool to learn from: the measured networks where they are many, else random ones."""
    numbers = None
    if not space.startswith("zoo") and (MEASUREMENTS / f"{space}.parquet").is_file():
        numbers = measured_networks(space, space, cache)
    if numbers is None or len(numbers.rows) < ENOUGH:
        numbers = random_networks(space, tasks[0], 0, cache)
    if space.startswith("zoo"):
        labels = {tasks[0]: load_benchmark(space, tasks[0]).scores[numbers.rows]}
    else:
        labels = {task: numbers.scores(space, task) for task in tasks}
    measured = np.zeros((len(numbers.rows), 0))
    if numbers.columns:
        measured = MeasuredInputs.of(numbers.columns).columns(numbers.columns)
    return LabelledPool(f"{space}/{tasks[0]}", family_of(space), numbers.features.astype(np.float64), labels, measured)


@lru_cache(1)
def sources(cache: Path) -> dict[str, tuple[NDArray[np.float32], FloatArray]]:
    """What `PoolRanker` learns from."""
    found = {space: random_networks(space, TASK, 0, cache) for space in SPACES}
    return {space: (numbers.features, numbers.scores(space, TASK)) for space, numbers in found.items()}


def without_labels(family: str, networks: dict[str, InContextNetwork], seeds: list[int], cache: Path) -> Iterator[Line]:
    """Lines of all pools of a family, nothing labelled."""
    ranker = PoolRanker.fit({space: pair for space, pair in sources(cache).items() if family_of(space) != family})
    spaces = [space for space in ZERO if family_of(space) == family]
    for space, seed in product(spaces, seeds):
        for task in ZERO[space]:
            numbers = random_networks(space, task, seed, cache)
            zoo = space.startswith("zoo")
            labels = load_benchmark(space, task).scores[numbers.rows] if zoo else numbers.scores(space, task)
            known = np.isfinite(labels)
            features, labels = numbers.features[known], labels[known]
            pool = Pool.of(features)
            found = {name: network.zero_shot(features) for name, network in networks.items()}
            found |= {"ranker": ranker.scores(features, pool), "prior": ranker.prior(features, pool)}
            for method, scores in found.items():
                yield _line(family, space, task, 0, False, seed, method, scores, labels)


def with_labels(
    family: str, networks: dict[str, InContextNetwork], sizes: list[int], seeds: list[int], cache: Path
) -> Iterator[Line]:
    """Lines of all heads on the pools of a family, a few networks labelled."""
    for split in _splits(family, sizes, seeds, cache):
        inputs = _inputs(split.numbers, split.known, split.asked, split.measured)
        found = head_scores(*inputs, rank_gauss(split.labels[split.known]), networks)
        for method, scores in found.items():
            yield split.line(method, scores)


def of_predictor(family: str, sizes: list[int], seeds: list[int], cache: Path) -> Iterator[Line]:
    """The lines of `Predictor().fit` on the same splits."""
    for split in _splits(family, sizes, seeds, cache):
        graphs = load_benchmark(split.space, _first_task(split.space)).graphs(split.numbers.rows)
        columns = [
            {name: values[rows] for name, values in split.numbers.columns.items()} if split.measured else None
            for rows in (split.known, split.asked)
        ]
        predictor = Predictor().fit(
            graphs.take(split.known), split.labels[split.known], seed=split.seed, measured=columns[0]
        )
        yield split.line("Predictor", predictor(graphs.take(split.asked), measured=columns[1]))


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled networks of a pool, and the others."""

    table: str
    space: str
    task: str
    numbers: Numbers
    labels: FloatArray
    known: NDArray[np.int64]
    asked: NDArray[np.int64]
    measured: bool
    seed: int

    def line(self, method: str, scores: FloatArray) -> Line:
        """What `scores` of the others are worth."""
        size, labels = len(self.known), self.labels[self.asked]
        family = family_of(self.space)
        return _line(family, self.table, self.task, size, self.measured, self.seed, method, scores, labels)


def _splits(family: str, sizes: list[int], seeds: list[int], cache: Path) -> Iterator[Split]:
    for table, (space, task) in FEW_SHOT.items():
        if family_of(space) != family:
            continue
        numbers = measured_networks(table, space, cache)
        labels = numbers.scores(space, task)
        for size, seed, measured in product(sizes, seeds, (False, True)):
            order = np.random.default_rng(seed).permutation(len(labels))
            yield Split(table, space, task, numbers, labels, order[:size], order[size:], measured, seed)


def head_scores(
    known: Networks, asked: Networks, targets: FloatArray, networks: dict[str, InContextNetwork]
) -> dict[str, FloatArray]:
    """Method -> scores of the networks asked about."""
    trees = standardised(GBDTHead.fit(known, targets, seed=0).predict(asked))
    found = {name: InContextHead.fit(known, targets, network=net).predict(asked) for name, net in networks.items()}
    found["gaussian process"] = GaussianProcessHead.fit(known, targets).predict(asked)
    found |= {f"{name} + trees": 2 * standardised(scores) + trees for name, scores in found.items()}
    return found


def _inputs(
    numbers: Numbers, known: NDArray[np.int64], asked: NDArray[np.int64], measured: bool
) -> tuple[Networks, Networks]:
    if not measured:
        return Networks(numbers.features[known].astype(np.float64)), Networks(numbers.features[asked].astype(float))
    parts = [{name: values[rows] for name, values in numbers.columns.items()} for rows in (known, asked)]
    inputs = MeasuredInputs.of(parts[0])
    made = []
    for rows, part in zip((known, asked), parts, strict=True):
        made.append(Networks(np.hstack([numbers.features[rows], inputs.columns(part)]), len(inputs.names)))
    return made[0], made[1]


def _line(
    family: str, pool: str, task: str, size: int, measured: bool, seed: int, method: str, scores: Any, labels: Any
) -> Line:
    return {
        "family": family, "pool": pool, "task": task, "labels": size, "measured": measured, "seed": seed,
        "method": method, "networks": len(labels), "spearman": float(spearmanr(scores, labels).statistic),
        "kendall": float(kendalltau(scores, labels).statistic),
    }  # fmt: skip


def main() -> None:
    families = list(dict.fromkeys(family_of(space) for space, _ in POOLS))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("out/in_context"))
    parser.add_argument("--labels", nargs="+", type=int, default=[20, 50, 100])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--families", nargs="+", default=families, choices=families, metavar="FAMILY")
    parser.add_argument("--predictor", action="store_true")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    done = pd.DataFrame({"family": [], "method": []}) if options.again or not OUTPUT.is_file() else pd.read_csv(OUTPUT)
    if options.predictor:
        have = set(done.family[done.method == "Predictor"])
        for family in tqdm([family for family in options.families if family not in have], "families"):
            done = _written(done, of_predictor(family, options.labels, options.seeds, options.cache))
    elif wanted := [family for family in options.families if family not in set(done.family[done.method == "network"])]:
        pools = [labelled_pool(space, tasks, options.cache) for space, tasks in tqdm(POOLS, "pools")]
        for family in tqdm(wanted, "families"):
            known = [pool for pool in pools if pool.family != family]
            networks = {"network": train_in_context(known), "untrained": with_experts(known)}
            lines = chain(
                without_labels(family, networks, options.seeds, options.cache),
                with_labels(family, networks, options.labels, options.seeds, options.cache),
            )
            done = _written(done, lines)
    table = pd.read_csv(OUTPUT)
    columns = ["labels", "measured", "method"]
    print(table.pivot_table(index=["pool", "task"], columns=columns, values="spearman").round(3).to_string())
    print(table.groupby(columns).spearman.mean().round(4).to_string())


def _written(done: pd.DataFrame, lines: Iterator[Line]) -> pd.DataFrame:
    """All lines so far, which are kept in the CSV."""
    done = pd.concat([done, pd.DataFrame([*lines])], ignore_index=True)
    done.round(4).to_csv(OUTPUT, index=False, lineterminator="\n")
    return done


if __name__ == "__main__":
    main()
