"""Learning curves: the law that was put in comes out, and extrapolation is unsure."""

from __future__ import annotations

import numpy as np
import pytest

from archcast.errors import ConfigError, DataError
from archcast.predictor.learning_curve import PowerLaw, _curve, learning_curve


def test_the_law_that_was_put_in_comes_out() -> None:
    law = PowerLaw(0.9, 2.0, 0.6)
    labels = np.asarray([20.0, 40, 80, 160, 320])
    found = PowerLaw.fit(labels, law(labels), np.full(5, 0.01))
    assert (found.ceiling, found.scale, found.rate) == pytest.approx((0.9, 2.0, 0.6), abs=0.02)


def test_forecasts_are_less_sure_further_out_and_hold_the_truth() -> None:
    law = PowerLaw(0.95, 1.5, 0.5)
    labels = np.asarray([25, 50, 100, 200])
    curve = _curve(labels, law(labels), np.full(4, 0.02), seed=0)
    widths = []
    for count in (200, 2000):
        middle, low, high = curve.forecast(count)
        assert low <= middle <= high
        assert low < law(count) < high
        widths.append(high - low)
    assert widths[1] > widths[0]
    gain, low, high = curve.gain(200)
    assert gain == pytest.approx(float(law(400) - law(200)), abs=0.02)
    assert 0 <= low <= gain <= high


def test_a_flat_curve_promises_nothing() -> None:
    curve = _curve(np.asarray([20, 40, 80]), np.asarray([0.7, 0.7, 0.7]), np.full(3, 0.01), seed=0)
    assert curve.gain(1000)[0] == pytest.approx(0, abs=1e-3)


def test_more_labels_agree_better() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(130, 6)).astype(np.float32)
    labels = features[:, 0] + np.sin(2 * features[:, 1]) + rng.normal(0, 0.1, 130)
    steps: list[str] = []
    curve = learning_curve(features, labels, np.arange(130), repeats=2, heads=("gp",), on_step=steps.append)
    assert curve.labels.tolist() == [16, 32, 65, 130]
    assert curve.taus[-1] > curve.taus[0] + 0.05
    assert len(steps) == 4
    assert curve.to_records()[-1]["labels"] == 130
    assert curve.forecast(260)[0] >= curve.taus[-1] - 0.05


def test_senseless_sizes_are_refused() -> None:
    features, labels = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32), np.arange(40.0)
    with pytest.raises(ConfigError, match="between 16 and the 40 labels"):
        learning_curve(features, labels, np.arange(40), [8, 20])
    with pytest.raises(ConfigError, match="between 16 and the 40 labels"):
        learning_curve(features, labels, np.arange(40), [20, 50])
    with pytest.raises(DataError, match="too few for a learning curve"):
        learning_curve(features[:20], labels[:20], np.arange(20))
    with pytest.raises(ConfigError, match="at least one"):
        _curve(np.asarray([20, 40]), np.asarray([0.1, 0.2]), np.zeros(2), 0).forecast(0)
