"""The pretrained predictor: heads and ranker learnt from all labelled spaces.

`pretrain(spaces)` never touches a space that is not named, which is how leave-one-space-out is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archcast.datasets.benchmark import Benchmark, load_benchmark
from archcast.encoders.features import encode
from archcast.errors import ConfigError
from archcast.predictor.fitted import fit_features
from archcast.predictor.inputs import MIN_LABELS
from archcast.predictor.kernel_prior import LEAST_LABELS, KernelPrior
from archcast.predictor.predictor import Predictor
from archcast.predictor.ranker import PoolRanker

if TYPE_CHECKING:
    from archcast.predictor.graph_training import RankingPool

Sources = dict[str, tuple[NDArray[np.float32], NDArray[np.float64]]]

SPACES = ("nasbench201", "nasbench101", "nas-bench-macro", "nats-sss")
"""Spaces with CIFAR-10 labels that the base predictor learns from."""

TASK = "cifar10"
PER_SPACE = 1500
PER_POOL = 700
"""Networks of each pool that the graph encoders learn from."""

FAMILIES = {
    "ofa-mobilenetv3": "ofa", "ofa-mobilenetv3-compofa": "ofa", "ofa-mobilenetv3-mcofa": "ofa",
    "zoo-torchvision": "zoo", "zoo-pytorchcv": "zoo",
}  # fmt: skip
"""Spaces of the same networks; every other space is a family of its own."""


def training_rows(benchmark: Benchmark, per_space: int = PER_SPACE, seed: int = 0) -> NDArray[np.int64]:
    """Positions of the networks of `benchmark` that `pretrain` learns from; all others are held out."""
    return np.random.default_rng(seed).permutation(len(benchmark))[:per_space].astype(np.int64)


def labelled_sources(
    spaces: Sequence[str] = SPACES,
    per_space: int = PER_SPACE,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda _: None,
) -> Sources:
    """Features and labels of the training networks of each space, as `PoolRanker.fit` takes them."""
    sources: Sources = {}
    for name in spaces:
        benchmark = load_benchmark(name, task=TASK)
        rows = training_rows(benchmark, per_space, seed)
        sources[name] = (encode(benchmark.graphs(rows)), benchmark.scores[rows])
        on_step(f"graphs of {name}")
    return sources


def family_of(space: str) -> str:
    """The family a space belongs to."""
    return FAMILIES.get(space, space)


def ranking_pools(names: Sequence[str], per_pool: int = PER_POOL, seed: int = 0) -> list[RankingPool]:
    """Labelled pools by name (`space`, or `space/task`); tasks of the same networks make one pool.

    Raises:
        UnknownNameError: no such space or task.
        MissingDataError: labels that are not on this machine; the message says where to get them.
    """
    from archcast.predictor.graph_training import RankingPool

    pools: dict[tuple[str, tuple[str, ...]], RankingPool] = {}
    for name in names:
        space, _, task = name.partition("/")
        benchmark = load_benchmark(space, task=task or None)
        rows = np.sort(training_rows(benchmark, per_pool, seed))
        key = space, tuple(benchmark.specs[row] for row in rows)
        labels = {benchmark.task: benchmark.scores[rows]}
        known = pools.get(key)
        pools[key] = (
            RankingPool(name, family_of(space), benchmark.graphs(rows), labels)
            if known is None
            else replace(known, name=f"{known.name}+{benchmark.task}", labels={**known.labels, **labels})
        )
    return list(pools.values())


def pools_by_family(pools: Sequence[RankingPool]) -> dict[str, list[tuple[NDArray[np.float32], NDArray[np.float64]]]]:
    """Features and labels of every task of every pool that has enough of them, as `KernelPrior.learn` takes them."""
    families: dict[str, list[tuple[NDArray[np.float32], NDArray[np.float64]]]] = {}
    for pool in pools:
        features = encode(pool.graphs)
        for labels in pool.labels.values():
            known = np.isfinite(labels)
            if known.sum() >= LEAST_LABELS:
                families.setdefault(pool.family, []).append((features[known], labels[known]))
    return families


def pretrain(
    spaces: Sequence[str] = SPACES,
    pools: Sequence[str] = (),
    *,
    per_space: int = PER_SPACE,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda _: None,
) -> Predictor:
    """Fit a predictor to `per_space` random networks of each space.

    Args:
        spaces: benchmark names, at least one.
        pools: labelled pools (`ranking_pools`) that graph encoders learn to rank from, and the kernel prior which
            features count; there is neither without.
        per_space: labelled networks taken from each.
        seed: of the choice of networks, the folds and the trees.
        on_step: called with the name of each piece of work that is done.

    Raises:
        ConfigError: no spaces, a name that is not in `SPACES`, one named twice, or too few networks of each.
    """
    if isinstance(spaces, str) or not spaces or not set(spaces) <= set(SPACES) or len(set(spaces)) < len(spaces):
        raise ConfigError(f"cannot pretrain on {spaces!r}; choose among {list(SPACES)}, each once")
    if per_space < MIN_LABELS:
        raise ConfigError(f"per_space={per_space}: take at least {MIN_LABELS} networks of each space")
    sources = labelled_sources(spaces, per_space, seed, on_step)
    features = np.concatenate([pair[0] for pair in sources.values()])
    labels = np.concatenate([pair[1] for pair in sources.values()])
    predictor = Predictor()
    numbers = np.repeat(np.arange(len(sources)), [len(pair[1]) for pair in sources.values()])
    # Every network its own group: the folds are then to the labelled networks what those are to the rest of the
    # space, isomorphs included, and the intervals hold for a network drawn from it at random.
    groups = np.arange(len(labels))
    predictor.fitted = fit_features(features, labels, groups, None, seed, on_step, numbers)
    predictor.ranker = PoolRanker.fit(sources, seed=seed)
    if pools:
        from archcast.predictor.graph_training import train_graph_ranker

        on_step("graphs of the pools")
        labelled = ranking_pools(pools, seed=seed)
        predictor.kernel_prior = KernelPrior.learn(pools_by_family(labelled), seed=seed, on_step=on_step)
        predictor.graph_ranker = train_graph_ranker(labelled, seed=seed, on_step=on_step)
    predictor.task, predictor.unit = TASK, "%"
    return predictor
