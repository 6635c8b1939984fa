"""Labels and measurements of the same networks: the measurements help, travel in the bundle, and are asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from archcast.errors import BundleError, ConfigError, DataError
from archcast.predictor.measured_inputs import MeasuredInputs, as_columns
from archcast.predictor.predictor import Predictor
from archcast.proxies.scoring import ProxyScores

from .conftest import Sample, few_trees


def telling(sample: Sample, noise: float = 0.5) -> dict[str, np.ndarray]:
    """Two invented proxies that know the accuracy, in very different units, with a value missing."""
    rng = np.random.default_rng(len(sample.specs))
    first = np.exp(sample.scores / 10 + rng.normal(0, noise, len(sample.scores)))
    second = -1e-3 / np.exp(sample.scores / 20 + rng.normal(0, noise, len(sample.scores)))
    second[3] = np.nan
    return {"snip": first, "zen": second, "constant": np.ones(len(first))}


@pytest.fixture(scope="module")
def measured(labelled: Sample) -> Predictor:
    with few_trees():
        return Predictor().fit(labelled.graphs, labelled.scores, measured=telling(labelled, 0.02))


def test_what_is_measured_helps(measured: Predictor, fitted: Predictor, unseen: Sample) -> None:
    with_them = kendalltau(measured(unseen.graphs, measured=telling(unseen, 0.02)), unseen.scores).statistic
    without = kendalltau(fitted(unseen.graphs), unseen.scores).statistic
    assert with_them > without + 0.03


def test_only_proxies_that_tell_networks_apart_are_kept(measured: Predictor) -> None:
    assert measured.fitted is not None
    assert measured.fitted.measured is not None
    assert measured.fitted.measured.names == ("snip", "zen")


def test_survives_a_bundle(measured: Predictor, unseen: Sample, tmp_path: Path) -> None:
    columns = telling(unseen)
    loaded = Predictor.from_pretrained(measured.save_pretrained(tmp_path / "bundle"))
    np.testing.assert_allclose(
        loaded(unseen.graphs, measured=columns), measured(unseen.graphs, measured=columns), atol=1e-9
    )


@pytest.mark.parametrize("names", [["snip"], "snip", [1, 2], []])
def test_a_bundle_that_lies_about_them_is_refused(measured: Predictor, tmp_path: Path, names: object) -> None:
    folder = measured.save_pretrained(tmp_path / "bundle")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"measured": names}))
    with pytest.raises(BundleError, match="measured"):
        Predictor.from_pretrained(folder)


def test_a_forecast_without_them_says_what_is_missing(measured: Predictor, unseen: Sample) -> None:
    with pytest.raises(ConfigError, match="fitted with measured snip, zen; snip, zen is not there"):
        measured(unseen.graphs)
    with pytest.raises(ConfigError, match="; zen is not there"):
        measured(unseen.graphs, measured={"snip": np.ones(len(unseen.scores))})


def test_columns_must_fit_and_tell(labelled: Sample) -> None:
    with pytest.raises(DataError, match=r"shape \(3,\) for 60 networks"):
        Predictor().fit(labelled.graphs, labelled.scores, measured={"snip": np.zeros(3)})
    with pytest.raises(DataError, match="tells the labelled networks apart"):
        Predictor().fit(labelled.graphs, labelled.scores, measured={"snip": np.zeros(60)})


def test_a_table_of_scores_is_taken_by_name() -> None:
    table = ProxyScores(("a", "b"), ("snip", "zen"), np.asarray([[1.0, 2.0], [3.0, np.nan]]))
    columns = as_columns(table, 2)
    np.testing.assert_array_equal(columns["zen"], [2.0, np.nan])
    inputs = MeasuredInputs.of(columns | {"plain": np.asarray([1.0, -1.0])})
    assert inputs.names == ("snip", "plain")
    made = inputs.columns({"snip": np.asarray([np.inf, 3.0]), "plain": np.asarray([0.0, -1.0])})
    np.testing.assert_allclose(made[0], [np.log1p(1e6), 0.0])
