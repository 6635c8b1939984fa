"""The problem and the operators in real algorithms of pymoo."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.optimize import minimize

from archcast.errors import CaptureError, ConfigError, NotFittedError
from archcast.predictor.predictor import Predictor
from archcast.search.adapters.pymoo import ArchitectureProblem, front
from archcast.search.adapters.pymoo_operators import operators
from archcast.search.pareto import is_efficient
from tests.search.adapters.own import NETWORKS, Widths, build, space, three, three_choices, three_score
from tests.search.toy import CountingSpace

ALL = three.specs() or ()


@pytest.fixture(scope="module")
def base() -> Predictor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Predictor.from_pretrained("base")


@pytest.fixture(scope="module")
def fitted() -> Predictor:
    specs = ALL[::6]
    return Predictor().fit(three.graphs(specs), [three_score(spec) for spec in specs])


def macs(specs: Any) -> Any:
    return three.graphs(list(specs)).macs


@pytest.mark.parametrize("name", ["base", "fitted"])
def test_forecasts_do_not_depend_on_the_generation(name: str, request: pytest.FixtureRequest) -> None:
    problem = ArchitectureProblem(three, predictor=request.getfixturevalue(name), pool=100)
    other = ArchitectureProblem(three, predictor=request.getfixturevalue(name), pool=100)
    together = problem.forecast(ALL[:30])
    assert together == pytest.approx([other.forecast([spec])[0] for spec in ALL[:30]], abs=1e-9)
    assert len(set(together)) > 20
    assert list(problem.forecast(ALL[:30])) == list(together)


def test_labels_teach_the_forecast(fitted: Predictor) -> None:
    problem = ArchitectureProblem(three, predictor=fitted)
    truth = [three_score(spec) for spec in ALL]
    assert np.corrcoef(problem.forecast(ALL), truth)[0, 1] > 0.9


def test_a_front_keeps_the_limits(fitted: Predictor) -> None:
    most = float(np.median(macs(ALL)))
    problem = ArchitectureProblem(three, predictor=fitted, limits={"macs": most})
    result = minimize(problem, NSGA2(pop_size=30, **operators(three)), ("n_gen", 12), seed=0)
    found = front(result)
    assert found
    assert all(three.contains(spec) for spec in found)
    assert len(set(found)) == len(found)
    assert max(macs(found)) <= most
    allowed = [spec for spec, cost in zip(ALL, macs(ALL), strict=True) if cost <= most]
    table = np.column_stack([problem.forecast(allowed), -macs(allowed)])
    best = {allowed[row] for row in np.flatnonzero(is_efficient(table))}
    assert len(best & set(found)) >= len(found) / 2
    assert result.F[:, 1] == pytest.approx(macs(found))
    again = minimize(problem, NSGA2(pop_size=30, **operators(three)), ("n_gen", 12), seed=0)
    assert front(again) == found


def test_one_objective(fitted: Predictor) -> None:
    problem = ArchitectureProblem(three, predictor=fitted, objectives=("score",))
    result = minimize(problem, GA(pop_size=20, **operators(three)), ("n_gen", 15), seed=0)
    forecasts = problem.forecast(ALL)
    assert problem.forecast(front(result))[0] >= np.sort(forecasts)[-3]


def test_the_predictor_is_asked_of_new_networks_once_a_generation(
    fitted: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    predict = Predictor.predict_features

    def counted(self: Predictor, features: Any, batch: Any, names: Any, **settings: Any) -> Any:
        asked.append(len(names))
        return predict(self, features, batch, names, **settings)

    monkeypatch.setattr(Predictor, "predict_features", counted)
    problem = ArchitectureProblem(three, predictor=fitted)
    minimize(problem, NSGA2(pop_size=10, **operators(three)), ("n_gen", 4), seed=0)
    assert len(asked) == 4
    assert asked[0] == 10
    problem.forecast(ALL[:5])
    before = len(asked)
    problem.forecast(ALL[:5])
    assert len(asked) == before <= 5


def test_the_same_network_is_never_there_twice(fitted: Predictor) -> None:
    toy = CountingSpace()
    problem = ArchitectureProblem(toy, predictor=fitted, objectives=("score", "-params"))
    result = minimize(problem, NSGA2(pop_size=40, **operators(toy)), ("n_gen", 5), seed=1, save_history=True)
    for generation in result.history:
        specs = [individual.X[0] for individual in generation.pop]
        assert len({toy.identity(spec) for spec in specs}) == len(specs) == 40


def test_a_population_larger_than_the_space(fitted: Predictor) -> None:
    problem = ArchitectureProblem(space, predictor=fitted)
    result = minimize(problem, NSGA2(pop_size=2 * NETWORKS, **operators(space)), ("n_gen", 3), seed=0)
    assert len(result.pop) <= NETWORKS
    assert front(result)


def test_networks_that_cannot_be_captured_break_a_constraint(fitted: Predictor) -> None:
    class Partly(Widths):
        def graphs(self, specs: Any) -> Any:
            if any(self.config(spec)[0] == 64 for spec in specs):
                raise CaptureError("there is no such network")
            return super().graphs(specs)

    partly = Partly(three_choices, build, (1, 3, 32, 32))
    problem = ArchitectureProblem(partly, predictor=fitted)
    specs = [spec for spec in ALL if partly.config(spec)[0] in (8, 64)]
    out = problem.evaluate(np.asarray(specs, dtype=object)[:, None], return_as_dictionary=True)
    assert [over > 0 for over in out["G"][:, 0]] == [partly.config(spec)[0] == 64 for spec in specs]
    result = minimize(problem, NSGA2(pop_size=20, **operators(partly)), ("n_gen", 5), seed=0)
    assert all(partly.config(spec)[0] < 64 for spec in front(result))


def test_no_network_keeps_the_limits(fitted: Predictor) -> None:
    problem = ArchitectureProblem(three, predictor=fitted, limits={"params": 1.0})
    assert front(minimize(problem, NSGA2(pop_size=10, **operators(three)), ("n_gen", 2), seed=0)) == []


def test_wrong_settings_are_refused(fitted: Predictor) -> None:
    with pytest.raises(ConfigError, match="one is forecast, all others must be costs"):
        ArchitectureProblem(three, predictor=fitted, objectives=("score", "-latency"))
    with pytest.raises(ConfigError, match="unknown costs: latency"):
        ArchitectureProblem(three, predictor=fitted, limits={"latency": 3})
    with pytest.raises(NotFittedError, match="knows nothing yet"):
        ArchitectureProblem(three, predictor=Predictor())
