"""The regressor in scikit-learn's own tools."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingRegressor, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags

from archcast.errors import ConfigError
from archcast.predictor.predictor import Predictor
from archcast.search.adapters.sklearn import NetworkRegressor
from tests.search.adapters.own import three, three_score

SPECS = (three.specs() or ())[::12]
FOLDS = KFold(3, shuffle=True, random_state=0)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def networks() -> list[Any]:
    return list(three.graphs(SPECS))


@pytest.fixture(scope="module")
def scores() -> Any:
    return np.asarray([three_score(spec) for spec in SPECS])


def quick(predictor: str | None = None) -> NetworkRegressor:
    return NetworkRegressor(predictor, heads=["gp"])


def test_it_is_a_regressor_of_lists(networks: list[Any], scores: Any) -> None:
    assert is_regressor(quick())
    assert not get_tags(quick()).input_tags.two_d_array
    assert clone(NetworkRegressor("base", seed=3)).get_params() == {
        "predictor": "base", "heads": None, "seed": 3, "input_shape": None,
    }  # fmt: skip
    made = quick().fit(networks, scores)
    assert made.predict(networks[:3]) == pytest.approx([made.predict([one])[0] for one in networks[:3]])
    assert made.score(networks, scores) > 0.8
    with pytest.raises(NotFittedError):
        quick().predict(networks)


def test_grids_choose_heads_and_pretraining(networks: list[Any], scores: Any) -> None:
    grid = {"predictor": [None, "base"], "heads": [["gp"], ["gbdt"]]}
    search = GridSearchCV(quick(), grid, cv=FOLDS, error_score="raise").fit(networks, scores)
    found = search.cv_results_["mean_test_score"]
    assert len(set(found)) == 4  # neither parameter is without effect
    assert search.best_score_ == max(found) > 0.5
    assert (search.best_estimator_.predictor_.ranker is None) == (search.best_params_["predictor"] is None)


def test_other_tools_take_it(networks: list[Any], scores: Any) -> None:
    assert cross_val_score(quick(), networks, scores, cv=FOLDS, scoring="r2").min() > 0.3
    assert cross_val_predict(quick(), networks, scores, cv=FOLDS).shape == scores.shape
    capture = FunctionTransformer(lambda specs: list(three.graphs(list(specs))))
    piped = cross_val_score(make_pipeline(capture, quick()), list(SPECS), scores, cv=FOLDS)
    assert piped == pytest.approx(cross_val_score(quick(), networks, scores, cv=FOLDS))
    shifted = TransformedTargetRegressor(quick(), func=np.exp, inverse_func=np.log, check_inverse=False)
    members = [("own", quick()), ("base", quick("base"))]
    for model in (shifted, VotingRegressor(members), StackingRegressor(members, cv=FOLDS)):
        forecast = model.fit(networks, scores).predict(networks)
        assert np.corrcoef(forecast, scores)[0, 1] > 0.8


def test_what_makes_no_sense_is_refused(networks: list[Any], scores: Any) -> None:
    with pytest.raises(ConfigError, match="clone would empty an object"):
        NetworkRegressor(Predictor()).fit(networks, scores)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no sample weights"):
        quick().fit(networks, scores).score(networks, scores, sample_weight=scores)
    with warnings.catch_warnings(), pytest.raises(ConfigError, match="groups for"):
        quick().fit(networks, scores, groups=[1])
