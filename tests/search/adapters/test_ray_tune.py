"""The searcher in real runs of Ray Tune."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter

from archcast.errors import ConfigError, DataError
from archcast.search.adapters.ray_tune import Searcher
from archcast.search.run import run_search
from tests.search.adapters.own import NETWORKS, score, space

SCORES = {spec: score(spec) for spec in space.specs() or ()}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=80_000_000, log_to_driver=False)
    yield
    ray.shutdown()


def searcher(**settings: Any) -> Searcher:
    return Searcher(space, **{"metric": "score", "mode": "max", "predictor": None, **settings})


def run(searcher: Any, trainable: Any, path: Path, count: int, **settings: Any) -> Any:
    config = tune.TuneConfig(search_alg=searcher, num_samples=count, reuse_actors=True, **settings.pop("tuned", {}))
    storage = tune.RunConfig(storage_path=str(path), name="run", verbose=0, callbacks=settings.pop("callbacks", None))
    return tune.Tuner(trainable, tune_config=config, run_config=storage, **settings).fit()


def trained(config: dict[str, Any]) -> None:
    if config["arch"] in config.get("broken", ()):
        raise RuntimeError("out of memory")
    tune.report({"score": SCORES[config["arch"]]})


@pytest.mark.slow
def test_a_run_with_failures_and_other_parameters(tmp_path: Path) -> None:
    expected = [trial.spec for trial in run_search(space, score, predictor=None, budget=1, batch=1).history]
    ours = searcher(metric=None, mode=None)
    results = run(
        ConcurrencyLimiter(ours, max_concurrent=2), trained, tmp_path, 5, tuned={"metric": "score", "mode": "max"},
        param_space={"rate": tune.loguniform(1e-4, 1.0), "broken": expected},
    )  # fmt: skip
    history = ours.search.history
    assert [trial.spec for trial in history.failed] == expected
    assert len(history.done) == 4 == len(results) - results.num_errors
    reported = {result.config["arch"]: result.metrics["score"] for result in results if not result.error}
    assert {trial.spec: trial.scores[0] for trial in history.done} == reported
    assert len({result.config["rate"] for result in results}) == 5


class Interrupt(tune.Callback):  # type: ignore[misc]  # Ray is not followed by mypy
    """Presses Ctrl-C once, after the second trial."""

    def __init__(self, pressed: Path) -> None:
        self.pressed = pressed

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        del iteration, trial, info
        if len(trials) == 2 and not self.pressed.exists():
            self.pressed.touch()
            raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_run_is_restored(tmp_path: Path) -> None:
    others = {"rate": tune.loguniform(1e-4, 1.0)}
    with pytest.raises(KeyboardInterrupt):
        run(
            ConcurrencyLimiter(searcher(), max_concurrent=1), trained, tmp_path, 4, param_space=others,
            callbacks=[Interrupt(tmp_path / "pressed")],
        )  # fmt: skip
    results = tune.Tuner.restore(str(tmp_path / "run"), trained, param_space=others).fit()
    again = searcher()
    again.set_search_properties(None, None, others)
    again.restore_from_dir(str(tmp_path / "run"))
    reported = {result.config["arch"]: result.metrics["score"] for result in results}
    assert {trial.spec: trial.scores[0] for trial in again.search.history.done} == reported
    assert len(reported) == 4
    assert len({result.config["rate"] for result in results}) == 4


def test_proposals_are_those_of_a_search() -> None:
    ours = searcher(seed=1)
    for number in range(16):
        ours.on_trial_complete(str(number), {"score": SCORES[ours.suggest(str(number))["arch"]]})
    whole = run_search(space, score, predictor=None, budget=16, seed=1, batch=1)
    assert [trial.spec for trial in ours.search.history] == [trial.spec for trial in whole.history]


def test_its_state_is_plain_json(tmp_path: Path) -> None:
    first = searcher(mode="min", seed=2)
    specs = {key: first.suggest(key)["arch"] for key in ("a", "b", "c")}
    first.on_trial_complete("a", {"score": 1.5})
    first.on_trial_complete("b", error=True)
    first.save(str(tmp_path / "state.json"))
    again = searcher(mode="min", seed=2)
    again.restore(str(tmp_path / "state.json"))
    assert str(list(again.search.history)) == str(list(first.search.history))
    again.on_trial_complete("c", {"score": 2.0})
    assert {trial.spec: trial.scores for trial in again.search.history.done}[specs["c"]] == (2.0,)
    with pytest.raises(DataError, match="has begun already"):
        again.restore(str(tmp_path / "state.json"))
    first.set_search_properties("score", "min", {"rate": tune.uniform(0, 1)})
    first.save(str(tmp_path / "state.json"))
    forgetful = Searcher(space, predictor=None, seed=2)
    forgetful.restore(str(tmp_path / "state.json"))
    with pytest.raises(ConfigError, match=r"give Tuner.restore the param_space again; .* \['rate'\]"):
        forgetful.suggest("d")


def test_a_result_without_the_metric_is_a_failure() -> None:
    ours = searcher(metric=["score", "size"], mode=["max", "min"])
    specs = [ours.suggest(str(number))["arch"] for number in range(2)]
    ours.on_trial_complete("0", {"score": 1.0})
    ours.on_trial_complete("1", {"score": 1.0, "size": 3, "training_iteration": 1})
    assert str(ours.search.objectives) == "score, -size"
    assert [trial.reason for trial in ours.search.history.failed] == ["evaluate gave None for 'size'; give a number"]
    assert [(trial.spec, trial.scores) for trial in ours.search.history.done] == [(specs[1], (1.0, 3.0))]


def test_it_ends_with_the_space() -> None:
    ours = searcher(strategy="random")
    specs = [ours.suggest(str(number)) for number in range(NETWORKS)]
    assert len({spec["arch"] for spec in specs if isinstance(spec, dict)}) == NETWORKS
    assert ours.suggest("one more") == Searcher.FINISHED


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to optimise"):
        Searcher(space).suggest("0")
    with pytest.raises(ConfigError, match="nor a grid"):
        searcher().set_search_properties("score", "max", {"rate": tune.grid_search([1, 2])})
    with pytest.raises(ConfigError, match="must not hold arch"):
        searcher().set_search_properties("score", "max", {"arch": "x"})


@pytest.mark.parametrize("text", ["", '{"trials": [', "[]", "{}"])
def test_a_broken_state_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"state\.json is no state of this searcher"):
        Searcher(space, "score", "max", predictor=None).restore(str(path))
