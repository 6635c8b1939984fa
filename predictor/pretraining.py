"""The pretrained predictor: heads and ranker learnt from all labelled spaces.

`pretrain(spaces)` never touches a space that is not named, which is how leave-one-space-out is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from archcast.datasets.benchmark import Benchmark, load_benchmark
from archcast.encoders.features import encode
from archcast.errors import ConfigError
from archcast.predictor.inputs import MIN_LABELS
from archcast.predictor.predictor import Predictor, fit_features
from archcast.predictor.ranker import PoolRanker

SPACES = ("nasbench201", "nasbench101", "nas-bench-macro", "nats-sss")
"""Spaces with CIFAR-10 labels that the base predictor learns from."""

TASK = "cifar10"
PER_SPACE = 1500


def training_rows(benchmark: Benchmark, per_space: int = PER_SPACE, seed: int = 0) -> NDArray[np.int64]:
    """Positions of the networks of `benchmark` that `pretrain` learns from; all others are held out."""
    return np.random.default_rng(seed).permutation(len(benchmark))[:per_space].astype(np.int64)


def pretrain(
    spaces: Sequence[str] = SPACES,
    *,
    per_space: int = PER_SPACE,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda _: None,
) -> Predictor:
    """Fit a predictor to `per_space` random networks of each space.

    Args:
        spaces: benchmark names, at least one.
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
    sources = {}
    for name in spaces:
        benchmark = load_benchmark(name, task=TASK)
        rows = training_rows(benchmark, per_space, seed)
        sources[name] = (encode(benchmark.graphs(rows)), benchmark.scores[rows])
        on_step(f"graphs of {name}")
    features = np.concatenate([pair[0] for pair in sources.values()])
    labels = np.concatenate([pair[1] for pair in sources.values()])
    predictor = Predictor()
    numbers = np.repeat(np.arange(len(sources)), [len(pair[1]) for pair in sources.values()])
    # Every network its own group: the folds are then to the labelled networks what those are to the rest of the
    # space, isomorphs included, and the intervals hold for a network drawn from it at random.
    groups = np.arange(len(labels))
    predictor.fitted = fit_features(features, labels, groups, None, seed, on_step, numbers)
    predictor.ranker = PoolRanker.fit(sources, seed=seed)
    predictor.task, predictor.unit = TASK, "%"
    return predictor
