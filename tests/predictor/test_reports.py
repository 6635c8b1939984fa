"""Reports: figures known beforehand, and a predictor whose one feature is known to count."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from archcast.errors import ConfigError, DataError, StorageError
from archcast.predictor.prediction import Predictions
from archcast.predictor.predictor import Predictor
from archcast.predictor.reports import (
    LEVELS,
    OPERATIONS,
    _columns,
    calibration,
    gain_over_random,
    operation_importance,
    plot_report,
    report,
)

from .conftest import Sample


def forecasts(values: np.ndarray, spread: np.ndarray) -> Predictions:
    count = len(values)
    zeros = np.zeros(count, dtype=np.int64)
    names = ("",) * count
    return Predictions(names, values, values, values, values, values, zeros, zeros, ({},) * count, "%", spread)


def test_normal_errors_are_calibrated_and_too_small_a_spread_is_not() -> None:
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.5, 2, 5000)
    truth = rng.normal(0, spread)
    right = calibration(forecasts(np.zeros(5000), spread), truth)
    assert right.error < 0.01
    assert right.observed[LEVELS.index(0.9)] == pytest.approx(0.9, abs=0.02)
    sure = calibration(forecasts(np.zeros(5000), spread / 3), truth)
    assert sure.error > 0.2
    assert sure.observed[LEVELS.index(0.9)] < 0.6


def test_forecasts_without_values_have_no_calibration(ranker_only: Predictor, unseen: Sample) -> None:
    with pytest.raises(DataError, match="fit the predictor to labels"):
        calibration(ranker_only.predict(unseen.graphs), unseen.scores)


def test_the_expected_best_of_random_choices_is_that_of_all_choices() -> None:
    truth = np.asarray([3.0, 1.0, 7.0, 4.0, 9.0, 2.0])
    gain = gain_over_random(truth, np.arange(6.0), 3)
    assert gain.random_best == pytest.approx(np.mean([max(some) for some in combinations(truth, 3)]))
    assert (gain.random, gain.chosen, gain.best) == pytest.approx((truth.mean(), 5.0, 9.0))
    assert gain.share == pytest.approx(1)
    worst = gain_over_random(truth, -truth, 1)
    assert worst.best == 1
    assert worst.random_best == pytest.approx(truth.mean())
    assert worst.share < 0
    with pytest.raises(ConfigError, match="at most the 6"):
        gain_over_random(truth, truth, 7)


def test_every_feature_belongs_to_an_operation() -> None:
    columns = _columns()
    assert list(columns) == [operation for operation, _ in OPERATIONS]
    assert set(np.concatenate(list(columns.values())).tolist()) == set(range(max(map(max, columns.values())) + 1))


def test_what_the_labels_depend_on_counts(unseen: Sample, labelled: Sample) -> None:
    """Labels that are the number of pools, to a predictor that learns them."""
    columns = _columns()["pooling"]
    counts = {name: sample.features[:, columns].sum(axis=1).astype(float) for name, sample in
              (("known", labelled), ("asked", unseen))}  # fmt: skip
    predictor = Predictor().fit(labelled.graphs, counts["known"], heads=("gp", "ard"))
    falls = operation_importance(predictor, unseen.features, unseen.graphs, counts["asked"])
    assert next(iter(falls)) == "pooling"
    assert falls["pooling"] > 2 * falls.get("size and resolution", 0)
    assert "attention" not in falls  # there is none in these cells


def test_a_report_and_its_picture(fitted: Predictor, unseen: Sample, tmp_path: Path) -> None:
    found = report(fitted, unseen.features, unseen.graphs, unseen.scores)
    assert found.tau > 0.5
    assert [gain.count for gain in found.gains] == [1, 10]
    assert found.gains[1].chosen > found.gains[1].random
    assert found.to_record()["calibration"]["levels"] == LEVELS
    path = tmp_path / "report.png"
    plot_report(found, fitted.predict(unseen.graphs), unseen.scores, str(path))
    assert path.read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(StorageError, match="choose another file"):
        plot_report(found, fitted.predict(unseen.graphs), unseen.scores, str(tmp_path / "absent" / "report.png"))
