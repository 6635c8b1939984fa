"""Forecasts stored in `reference.json`: a change that moves them is meant, or a mistake.

Where it is meant, write them anew with `python -m tests.predictor.test_reference` and say why in the commit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from archcast.graphs.capture import capture
from archcast.graphs.graph import ComputationGraph
from archcast.predictor.predictor import Predictor
from archcast.predictor.ranker import PoolRanker

from .conftest import Sample, draw_sample, few_trees

REFERENCE = Path(__file__).with_name("reference.json")
FIELDS = ("score", "value", "low", "high", "familiarity", "params", "macs")


def queries(sample: Sample) -> list[ComputationGraph]:
    """Five cells, a small CNN and a small transformer."""
    cnn = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    transformer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    return [*sample.graphs[:5], capture(cnn, (1, 3, 32, 32)), capture(transformer, (1, 16, 32))]


def forecasts() -> dict[str, list[dict[str, float]]]:
    """Predictor kind -> one record per query."""
    labelled, unseen = draw_sample(40, seed=0), draw_sample(5, seed=1)
    plain, ranker_only, adapted = Predictor(), Predictor(), Predictor()
    ranker_only.ranker = adapted.ranker = PoolRanker.fit({"cells": (labelled.features, labelled.scores)})
    with few_trees():
        plain.fit(labelled.graphs, labelled.scores)
        adapted.fit(labelled.graphs[:25], labelled.scores[:25])
    kinds = {"plain": plain, "adapted": adapted, "ranker": ranker_only}
    return {kind: [_record(row) for row in predictor.predict(queries(unseen))] for kind, predictor in kinds.items()}


def _record(prediction: Any) -> dict[str, float]:
    numbers = {name: float(getattr(prediction, name)) for name in FIELDS}
    return {name: round(number, 6) for name, number in numbers.items() if np.isfinite(number)}


@pytest.fixture(scope="module")
def now() -> dict[str, list[dict[str, float]]]:
    return forecasts()


@pytest.mark.parametrize("kind", ["plain", "adapted", "ranker"])
def test_forecasts_are_those_on_record(kind: str, now: dict[str, list[dict[str, float]]]) -> None:
    for position, (fresh, stored) in enumerate(zip(now[kind], json.loads(REFERENCE.read_text())[kind], strict=True)):
        assert fresh == pytest.approx(stored, rel=1e-4, abs=1e-4), f"query {position}"


if __name__ == "__main__":
    REFERENCE.write_text(json.dumps(forecasts(), indent=1) + "\n")
