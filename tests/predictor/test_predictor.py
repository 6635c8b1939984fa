"""`Predictor` and `Predictions` as a user meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from scipy.stats import kendalltau
from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.utils.validation import check_is_fitted
from torch import nn

from archcast.datasets.benchmark import Benchmark, load_benchmark
from archcast.encoders import features
from archcast.encoders.features import FEATURE_NAMES
from archcast.errors import ArchcastError, ConfigError, DataError, NetworkError, NotFittedError
from archcast.graphs.capture import capture
from archcast.predictor.kernel_prior import KernelPrior
from archcast.predictor.prediction import Prediction, Predictions
from archcast.predictor.predictor import Predictor

from .conftest import Sample, few_trees

ARRAYS = ("scores", "values", "low", "high", "familiarity")
EVERY = ("fitted", "pretrained", "adapted", "ranker_only")


@pytest.fixture
def any_predictor(request: pytest.FixtureRequest) -> Predictor:
    predictor: Predictor = request.getfixturevalue(request.param)
    return predictor


every_predictor = pytest.mark.parametrize("any_predictor", EVERY, indirect=True)
with_labels = pytest.mark.parametrize("any_predictor", EVERY[:3], indirect=True)


@every_predictor
def test_ranks_networks_it_has_not_seen(any_predictor: Predictor, unseen: Sample) -> None:
    assert kendalltau(any_predictor(unseen.graphs), unseen.scores).statistic > 0.5
    assert any_predictor.score(unseen.graphs, unseen.scores) > 0.5


@with_labels
def test_values_are_accuracies_within_their_intervals(any_predictor: Predictor, unseen: Sample) -> None:
    forecast = any_predictor.predict(unseen.graphs)
    assert ((forecast.low < forecast.values) & (forecast.values < forecast.high)).all()
    assert np.abs(forecast.values - unseen.scores).mean() < 5
    assert ((unseen.scores >= forecast.low) & (unseen.scores <= forecast.high)).mean() > 0.75
    assert ((forecast.familiarity > 0) & (forecast.familiarity <= 1)).all()


def test_without_labels_there_are_no_values(ranker_only: Predictor, unseen: Sample) -> None:
    forecast = ranker_only.predict(unseen.graphs)
    assert np.isfinite(forecast.scores).all()
    for name in ARRAYS[1:]:
        assert np.isnan(getattr(forecast, name)).all()


@with_labels
def test_values_rise_with_scores(any_predictor: Predictor, unseen: Sample) -> None:
    forecast = any_predictor.predict(unseen.graphs)
    assert (np.diff(forecast.values[np.argsort(forecast.scores)]) >= 0).all()


@every_predictor
def test_the_order_of_networks_does_not_matter(any_predictor: Predictor, unseen: Sample) -> None:
    order = np.random.default_rng(0).permutation(40)
    straight, shuffled = any_predictor.predict(unseen.graphs), any_predictor.predict(unseen.graphs.take(order))
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(shuffled, name), getattr(straight, name)[order], atol=1e-6)


@every_predictor
def test_equal_networks_get_equal_forecasts(any_predictor: Predictor, unseen: Sample) -> None:
    forecast = any_predictor.predict(unseen.graphs.take(np.repeat(np.arange(20), 3)))
    for name in ARRAYS:
        triples = getattr(forecast, name).reshape(20, 3)
        np.testing.assert_allclose(triples, triples[:, :1].repeat(3, axis=1), atol=1e-9)


def test_rank_screen_and_call_agree(fitted: Predictor, unseen: Sample) -> None:
    scores = fitted(unseen.graphs)
    np.testing.assert_array_equal(scores, fitted.predict(unseen.graphs).scores)
    order = fitted.rank(unseen.graphs)
    np.testing.assert_array_equal(order, np.argsort(-scores, kind="stable"))
    np.testing.assert_array_equal(fitted.screen(unseen.graphs, keep=0.1), order[:4])
    np.testing.assert_array_equal(fitted.screen(unseen.graphs, keep=0.11), order[:5])
    np.testing.assert_array_equal(fitted.screen(unseen.graphs, keep=7), order[:7])
    np.testing.assert_array_equal(fitted.screen(unseen.graphs, keep=1000), order)


@pytest.mark.parametrize("keep", [0, -1, float("nan"), float("inf")])
def test_senseless_shares_are_refused(fitted: Predictor, unseen: Sample, keep: float) -> None:
    with pytest.raises(ConfigError, match="give a share between 0 and 1 or a number"):
        fitted.screen(unseen.graphs, keep=keep)


def test_specs_and_graphs_get_the_same_forecast(fitted: Predictor, unseen: Sample) -> None:
    np.testing.assert_array_equal(fitted(unseen.specs), fitted(unseen.graphs))
    assert fitted.predict(unseen.specs[:2]).names == tuple(unseen.specs[:2])


@pytest.fixture
def small_benchmark(unseen: Sample) -> Benchmark:
    specs = tuple(spec.removeprefix("nasbench201:") for spec in unseen.specs)
    return replace(load_benchmark("nasbench201"), specs=specs, scores=unseen.scores, seeds=None, columns={})


def test_a_whole_benchmark_is_scored_from_the_cache(
    fitted: Predictor, small_benchmark: Benchmark, unseen: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ARCHCAST_HOME", str(tmp_path))
    first = fitted.predict(small_benchmark)
    assert first.names == small_benchmark.specs
    np.testing.assert_allclose(first.scores, fitted(unseen.graphs), atol=1e-9)
    monkeypatch.setattr(features, "encode", None)  # what is cached is not computed again
    np.testing.assert_array_equal(fitted.predict(small_benchmark).scores, first.scores)


@pytest.mark.filterwarnings("ignore:.*goes on without it")
def test_a_home_that_cannot_be_written_costs_only_the_cache(
    fitted: Predictor, small_benchmark: Benchmark, unseen: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ARCHCAST_HOME", str(tmp_path / "file" / "home"))
    np.testing.assert_allclose(fitted(small_benchmark), fitted(unseen.graphs), atol=1e-9)


# --- fitting ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_trees")
def test_same_seed_same_predictor(labelled: Sample, unseen: Sample) -> None:
    def fit(seed: int) -> Predictor:
        return Predictor().fit(labelled.graphs[:25], labelled.scores[:25], seed=seed)

    first, second, other = (fit(seed).predict(unseen.graphs) for seed in (3, 3, 4))
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert (first.scores != other.scores).any()


@pytest.mark.usefixtures("quick_trees")
def test_a_list_of_every_kind_of_network(tmp_path: Path, labelled: Sample) -> None:
    def net(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)
        )

    weight = onnx.numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    ends = [onnx.helper.make_tensor_value_info(name, 1, (1, c, 8, 8)) for name, c in (("x", 3), ("y", 4))]
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    path = tmp_path / "net.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "net", ends[:1], ends[1:], [weight])), path)
    networks = [net(8), lambda: net(16), str(path), labelled.specs[0], capture(net(32)), *labelled.specs[1:8]]
    scores = [10.0, 20, 5, *labelled.scores[:1], 30, *labelled.scores[1:8]]
    steps: list[str] = []
    predictor = Predictor().fit(networks, scores, on_step=steps.append)
    forecast = predictor.predict(networks)
    assert len(forecast) == 12
    assert np.isfinite(forecast.values).all()
    assert forecast.params[:3].tolist() == [314, 618, 108]
    assert steps[-1] == "all labels"


@pytest.mark.usefixtures("quick_trees")
def test_copies_share_a_fold_unless_told_otherwise(labelled: Sample) -> None:
    """Random labels of networks that come thrice: honest folds leave wide intervals, leaking ones narrow them."""
    rows = np.repeat(np.arange(12), 3)
    labels = np.random.default_rng(0).normal(90, 2, 12)[rows]

    def width(groups: Any) -> float:
        forecast = Predictor().fit(labelled.graphs.take(rows), labels, groups=groups).predict(labelled.graphs[:12])
        return float((forecast.high - forecast.low).mean())

    leaking = width(np.arange(36))
    assert width(None) > 1.3 * leaking
    assert width([f"cell {row}" for row in rows]) > 1.3 * leaking


Labels = tuple[Any, Any, Any]

FITS: dict[str, tuple[Callable[[Sample], Labels], type[ArchcastError], str]] = {
    "lengths differ": (lambda s: (s.graphs[:12], s.scores[:11], None), DataError, "12 networks came with scores"),
    "NaN": (lambda s: (s.graphs, s.scores * np.nan, None), DataError, "score nan at position 0"),
    "text": (lambda s: (s.graphs, ["92.1"] * 60, None), DataError, "must be numbers"),
    "too few": (lambda s: (s.graphs[:5], s.scores[:5], None), DataError, "too few"),
    "all equal": (lambda s: (s.graphs, s.scores * 0, None), DataError, "nothing to rank"),
    "no networks": (lambda _: ([], [], None), NetworkError, "no networks"),
    "groups of another length": (lambda s: (s.graphs, s.scores, [1, 2]), ConfigError, "2 groups for 60 networks"),
    "one group": (lambda s: (s.graphs, s.scores, ["a"] * 60), DataError, "of one group"),
    "one network, often": (
        lambda s: (s.graphs.take(np.zeros(60, np.int64)), s.scores, None), DataError, "all networks are the same"),
}  # fmt: skip


@pytest.mark.parametrize("case", FITS)
def test_bad_labels_are_refused(labelled: Sample, case: str) -> None:
    build, error, message = FITS[case]
    networks, scores, groups = build(labelled)
    with pytest.raises(error, match=message):
        Predictor().fit(networks, scores, groups=groups)


@pytest.mark.usefixtures("quick_trees")
def test_two_groups_are_enough(labelled: Sample) -> None:
    groups = np.arange(20) < 19
    predictor = Predictor().fit(labelled.graphs[:20], labelled.scores[:20], groups=groups)
    assert np.isfinite(predictor.predict(labelled.graphs).values).all()


def test_a_failed_fit_changes_nothing(adapted: Predictor, labelled: Sample, unseen: Sample) -> None:
    before = adapted(unseen.graphs)
    with pytest.raises(DataError):
        adapted.fit(labelled.graphs, labelled.scores * np.nan, task="svhn")
    np.testing.assert_array_equal(adapted(unseen.graphs), before)
    assert adapted.task == "cifar10"


def test_what_it_is_asked_for_is_checked(fitted: Predictor, unseen: Sample) -> None:
    assert len(fitted.predict(unseen.graphs, task="cifar10")) == 40
    with pytest.raises(ConfigError, match=r"trained for 'cifar10', not 'svhn'; fit it on labels of 'svhn'"):
        fitted.predict(unseen.graphs, task="svhn")
    with pytest.raises(ConfigError, match="choose 'auto', 'query' or 'reference'"):
        fitted.predict(unseen.graphs, pool="all")  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match="no networks"):
        fitted.predict([])
    for scores, message in (([1.0], "40 networks came with"), ([np.nan] * 40, "score nan"), (["a"] * 40, "numbers")):
        with pytest.raises(DataError, match=message):
            fitted.score(unseen.graphs, scores)


def test_before_fitting() -> None:
    for call in (Predictor().predict, Predictor().rank, Predictor().screen, Predictor()):
        with pytest.raises(NotFittedError, match=r"call fit, or Predictor\.from_pretrained"):
            call(["nasbench201:whatever"])
    with pytest.raises(SklearnNotFittedError):
        check_is_fitted(Predictor())


# --- pools ------------------------------------------------------------------------------------------------------------


def test_pools(ranker_only: Predictor, unseen: Sample) -> None:
    many, few = unseen.graphs, unseen.graphs[:15]
    np.testing.assert_array_equal(ranker_only(many), ranker_only(many, pool="query"))
    np.testing.assert_array_equal(ranker_only(few), ranker_only(few, pool="reference"))
    assert (ranker_only(many) != ranker_only(many, pool="reference")).any()
    one = ranker_only(unseen.graphs[:1])
    np.testing.assert_allclose(one, ranker_only(unseen.graphs[:1], pool="reference"))


def test_labels_alone_need_no_pool(fitted: Predictor, unseen: Sample) -> None:
    together = fitted(unseen.graphs)
    alone = np.concatenate([fitted(unseen.graphs[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(alone, together[:5], atol=1e-9)
    np.testing.assert_array_equal(fitted(unseen.graphs, pool="query"), together)


def test_unfamiliar_networks_have_wider_intervals(fitted: Predictor, unseen: Sample) -> None:
    other = fitted.predict(
        capture(nn.Sequential(nn.Flatten(), nn.Linear(3072, 64), nn.ReLU(), nn.Linear(64, 10)), (1, 3, 32, 32))
    )
    cells = fitted.predict(unseen.graphs)
    assert other[0].familiarity < 0.5 < np.median(cells.familiarity)
    assert other[0].high - other[0].low > np.median(cells.high - cells.low)


# --- scikit-learn -----------------------------------------------------------------------------------------------------


def test_clone_and_parameters(fitted: Predictor) -> None:
    copy = clone(Predictor((1, 3, 32, 32)))
    assert copy.get_params() == {"input_shape": (1, 3, 32, 32)}
    assert clone(fitted).fitted is None
    assert copy.set_params(input_shape=(1, 3, 16, 16)).input_shape == (1, 3, 16, 16)
    with pytest.raises(ConfigError, match=r"no parameter 'depth'; it has \['input_shape'\]"):
        copy.set_params(depth=3)
    check_is_fitted(fitted)
    assert is_regressor(fitted)


def test_cross_validation_over_a_list_of_networks(labelled: Sample) -> None:
    with few_trees(5):
        taus = cross_val_score(Predictor(), labelled.specs[:36], labelled.scores[:36], cv=KFold(3))
    assert taus.shape == (3,)
    assert taus.mean() > 0.3


def test_grid_search_over_a_list_of_networks(labelled: Sample) -> None:
    grid = GridSearchCV(Predictor(), {"input_shape": [None, (1, 3, 32, 32)]}, cv=KFold(2), error_score="raise")
    with few_trees(5):
        grid.fit(labelled.specs[:24], labelled.scores[:24])
    assert len(grid.cv_results_["mean_test_score"]) == 2
    assert grid.predict(labelled.specs[:3]).values.shape == (3,)


# --- Predictions ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forecast(fitted: Predictor, unseen: Sample) -> Predictions:
    return fitted.predict(unseen.specs[:6])


def test_a_sequence_of_predictions(forecast: Predictions, unseen: Sample) -> None:
    assert len(forecast) == len(list(forecast)) == 6
    first = forecast[0]
    assert isinstance(first, Prediction)
    assert (first.name, first.unit) == (unseen.specs[0], "%")
    assert first.score == forecast.score[0] == forecast.scores[0]
    assert first.value == forecast.value[0] == forecast.values[0]
    assert forecast[-1] == forecast[5] == forecast[np.int64(5)]
    assert forecast[1:6:2] == [forecast[1], forecast[3], forecast[5]]
    assert forecast[9:] == []
    for index in (6, -7):
        with pytest.raises(IndexError):
            forecast[index]


def test_arrays_frames_and_records(forecast: Predictions) -> None:
    np.testing.assert_array_equal(np.asarray(forecast), forecast.values)
    assert np.asarray(forecast, dtype=np.float32).dtype == np.float32
    assert np.max(forecast) == forecast.values.max()
    frame = forecast.to_frame()
    assert list(frame.columns) == list(Prediction.__dataclass_fields__)
    np.testing.assert_array_equal(frame["value"], forecast.values)
    assert json.loads(json.dumps(forecast.to_records()))[2]["params"] == int(forecast.params[2])


def test_unknown_operations_are_listed(fitted: Predictor) -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x)  # type: ignore[no-any-return]

    forecast = fitted.predict([capture(Odd(), (1, 3, 8, 8))])
    assert sum(forecast[0].unknown_ops.values()) == 1
    assert fitted.predict(["nasbench201:" + "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"])[0].unknown_ops == {}


def test_spread_improvement_and_the_best(fitted: Predictor, ranker_only: Predictor, unseen: Sample) -> None:
    forecast = fitted.predict(unseen.graphs)
    assert (forecast.spread > 0).all()
    assert forecast[3].spread == forecast.spread[3]
    assert "spread" in forecast.to_frame()
    best = float(unseen.scores.max())
    gain = forecast.expected_improvement(best)
    assert (gain >= 0).all()
    assert (forecast.expected_improvement(best, margin=1.0) <= gain).all()
    chances = forecast.probability_of_best()
    assert chances.sum() == pytest.approx(1)
    assert kendalltau(chances, forecast.values).statistic > 0
    assert np.isnan(ranker_only.predict(unseen.graphs).spread).all()
    with pytest.raises(DataError, match="without labels has none"):
        ranker_only.predict(unseen.graphs).probability_of_best()


def test_cross_validated_agreement_is_near_that_on_others(
    fitted: Predictor, ranker_only: Predictor, unseen: Sample
) -> None:
    agreement = fitted.cross_validated
    assert agreement is not None
    assert agreement.labels == 60
    assert abs(agreement.tau - fitted.score(unseen.graphs, unseen.scores)) < 4 * agreement.deviation + 0.1
    assert ranker_only.cross_validated is None


def test_a_fit_takes_the_time_and_the_heads_it_is_given(labelled: Sample, unseen: Sample) -> None:
    steps: list[str] = []
    quick = Predictor().fit(labelled.graphs, labelled.scores, seconds=1e-6, on_step=steps.append)
    assert quick.fitted is not None
    assert list(quick.fitted.blend.heads) == ["gp"]
    assert steps[-1] == "all labels, 0 s left"
    assert quick.score(unseen.graphs, unseen.scores) > 0.5
    with pytest.raises(ArchcastError, match="no head 'forest'"):
        Predictor().fit(labelled.graphs, labelled.scores, heads=("forest",))
    with pytest.raises(ConfigError, match="give a positive number"):
        Predictor().fit(labelled.graphs, labelled.scores, seconds=0)


def test_further_heads_blend_and_are_saved(labelled: Sample, unseen: Sample, tmp_path: Path) -> None:
    two_folds = np.arange(20) % 2  # a perceptron takes a second
    predictor = Predictor().fit(labelled.graphs[:20], labelled.scores[:20], heads=("mlp",), groups=two_folds)
    again = Predictor.from_pretrained(predictor.save_pretrained(tmp_path / "mlp"))
    np.testing.assert_allclose(again(unseen.graphs), predictor(unseen.graphs), atol=1e-5)
    assert again.cross_validated == predictor.cross_validated


def test_a_kernel_prior_is_used_and_saved(labelled: Sample, unseen: Sample, tmp_path: Path) -> None:
    predictor = Predictor()
    predictor.kernel_prior = KernelPrior(("cells",), np.random.default_rng(0).uniform(0.5, 2, len(FEATURE_NAMES)))
    predictor.fit(labelled.graphs, labelled.scores, heads=("gp", "ard"))
    without = Predictor().fit(labelled.graphs, labelled.scores, heads=("gp", "ard"))
    assert np.abs(predictor(unseen.graphs) - without(unseen.graphs)).max() > 1e-3
    again = Predictor.from_pretrained(predictor.save_pretrained(tmp_path / "prior"))
    assert again.kernel_prior is not None
    np.testing.assert_array_equal(again.kernel_prior.weights, predictor.kernel_prior.weights)
    np.testing.assert_allclose(again.predict(unseen.graphs).spread, predictor.predict(unseen.graphs).spread, rtol=1e-4)
