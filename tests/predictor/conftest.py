"""A few real networks with their accuracies, and predictors fitted to them once for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.spaces import get_space
from archcast.encoders.features import encode
from archcast.graphs.graph import GraphBatch
from archcast.predictor.heads import gbdt
from archcast.predictor.predictor import Predictor
from archcast.predictor.ranker import PoolRanker

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Networks of NAS-Bench-201 with their CIFAR-10 accuracy in percent."""

    specs: list[str]
    graphs: GraphBatch
    features: NDArray[np.float32]
    scores: FloatArray


def draw_sample(size: int, seed: int) -> Sample:
    """`size` random cells."""
    benchmark = load_benchmark("nasbench201")
    rows = np.random.default_rng(seed).choice(len(benchmark), size, replace=False)
    specs = [benchmark.specs[row] for row in rows]
    graphs = get_space("nasbench201").stamp(specs)
    return Sample([f"nasbench201:{spec}" for spec in specs], graphs, encode(graphs), benchmark.scores[rows])


@contextmanager
def few_trees(rounds: int = 15) -> Iterator[None]:
    """Fit the tree head with few rounds: whatever holds for 15 trees holds for 500, thirty times sooner."""
    parameters = gbdt._parameters
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gbdt, "_parameters", lambda count, seed: (parameters(count, seed)[0], rounds))
        yield


@pytest.fixture
def quick_trees() -> Iterator[None]:
    with few_trees():
        yield


@pytest.fixture(scope="session")
def labelled() -> Sample:
    return draw_sample(60, seed=0)


@pytest.fixture(scope="session")
def unseen() -> Sample:
    return draw_sample(40, seed=1)


@pytest.fixture(scope="session")
def fitted(labelled: Sample) -> Predictor:
    """Fitted from labels alone."""
    with few_trees():
        return Predictor().fit(labelled.graphs, labelled.scores, task="cifar10", unit="%")


@pytest.fixture(scope="session")
def pretrained(labelled: Sample, fitted: Predictor) -> Predictor:
    """With a ranker beside its heads, as `pretrain` makes it."""
    predictor = Predictor()
    predictor.fitted, predictor.task, predictor.unit = fitted.fitted, "cifar10", "%"
    predictor.ranker = PoolRanker.fit({"cells": (labelled.features, labelled.scores)})
    return predictor


@pytest.fixture(scope="session")
def adapted(pretrained: Predictor, labelled: Sample) -> Predictor:
    """Pretrained, then fitted to labels: the ranker's score is one more input column."""
    predictor = Predictor()
    predictor.ranker = pretrained.ranker
    with few_trees():
        return predictor.fit(labelled.graphs[:30], labelled.scores[:30], task="cifar10")


@pytest.fixture(scope="session")
def ranker_only(pretrained: Predictor) -> Predictor:
    """Without any labels of its own."""
    predictor = Predictor()
    predictor.ranker = pretrained.ranker
    return predictor


@pytest.fixture
def bundle(fitted: Predictor, tmp_path: Path) -> Path:
    return fitted.save_pretrained(tmp_path / "bundle")
