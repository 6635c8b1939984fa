"""RoBoT on pools whose best combination of proxies is known."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from archcast.errors import ConfigError, DataError, MissingExtraError, UnknownNameError
from archcast.proxies.robot import RobotSearch, Start, precision_at

pytest.importorskip("optuna")

FloatArray = NDArray[np.float64]


def pool(count: int = 500, proxies: int = 4, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Proxies, the last of them noise, and accuracies that are a hidden combination of the others."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(size=(count, proxies))
    weights = np.linspace(1.0, -0.5, proxies)
    weights[-1] = 0.0
    return scores, 50 + 10 * scores @ weights


@pytest.mark.parametrize("start", ["proxies", "random"])
def test_finds_better_networks_than_any_proxy_alone(start: Start) -> None:
    found, alone, random = [], [], []
    for seed in range(6):
        scores, accuracy = pool(seed=seed)
        found.append(RobotSearch(scores, 20, seed=seed, start=start).run(accuracy.__getitem__).accuracy)
        # The same budget shared by the tops of the proxies, and on a random sample.
        alone.append(accuracy[np.argsort(-scores, axis=0)[:5]].max())
        random.append(accuracy[np.random.default_rng(seed).permutation(len(accuracy))[:20]].max())
    assert np.mean(found) > max(np.mean(alone), np.mean(random))


def test_spends_its_budget_on_different_networks() -> None:
    scores, accuracy = pool()
    search = RobotSearch(scores, 15)
    search.run(lambda index: accuracy[index])
    assert search.done
    assert len({evaluation.index for evaluation in search.history}) == len(search.history) == 15
    phases = [evaluation.phase for evaluation in search.history]
    assert phases == sorted(phases, reverse=True)  # exploration comes before exploitation
    assert search.best.accuracy == max(evaluation.accuracy for evaluation in search.history)
    with pytest.raises(ConfigError, match="spent"):
        search.ask()


def test_the_first_proposals_are_the_proxies_alone() -> None:
    scores, accuracy = pool()
    search = RobotSearch(scores, 10)
    for column in scores.T:
        index = search.ask()
        assert index == int(np.argmax(column))
        search.tell(index, accuracy[index])


def test_exploitation_follows_the_best_combination() -> None:
    scores, accuracy = pool()
    search = RobotSearch(scores, 12, trials=4)  # the four proxies alone
    search.run(lambda index: accuracy[index])
    assert search.weights.tolist() == np.eye(4)[np.argmax(accuracy[np.argmax(scores, axis=0)])].tolist()
    explored = {evaluation.index for evaluation in search.history if evaluation.phase == "exploration"}
    ranking = [index for index in np.argsort(-search.combined()) if index not in explored]
    assert [e.index for e in search.history if e.phase == "exploitation"] == ranking[: 12 - len(explored)]


def test_the_seed_decides() -> None:
    scores, accuracy = pool()

    def history(seed: int) -> list[Any]:
        search = RobotSearch(scores, 12, seed=seed, start="random")
        search.run(lambda index: accuracy[index])
        return search.history

    assert history(1) == history(1)
    assert history(1) != history(2)


def test_ask_repeats_itself_until_told() -> None:
    search = RobotSearch(pool()[0], 5)
    index = search.ask()
    assert search.ask() == index
    with pytest.raises(ConfigError, match="not asked for"):
        search.tell(index + 1, 1.0)
    with pytest.raises(DataError, match="finite"):
        search.tell(index, float("nan"))
    search.tell(index, 1.0)
    with pytest.raises(ConfigError, match="not asked for"):
        search.tell(index, 1.0)


def test_normalisation_takes_scale_or_outliers_away() -> None:
    scores, accuracy = pool()
    scaled = scores * [1, 1e6, 1e-3, 5] + [0, 7, 1, -3]
    one, other = (RobotSearch(table, 15).run(lambda index: accuracy[index]) for table in (scores, scaled))
    assert one == other
    by_rank = RobotSearch(scores, 15, normalisation="rank").combined(np.eye(4)[0])
    bent = RobotSearch(np.exp(9 * scores), 15, normalisation="rank").combined(np.eye(4)[0])
    np.testing.assert_allclose(by_rank, bent)
    assert (by_rank.min(), by_rank.max()) == (0.0, 1.0)


def test_a_missing_score_is_the_worst_for_either_sign() -> None:
    scores = np.array([[0.0, 1.0], [np.nan, 2.0], [5.0, 3.0], [10.0, 4.0]])
    search = RobotSearch(scores, 2)
    assert search.combined([1.0, 0.0]).tolist() == [0.0, 0.0, 0.5, 1.0]
    assert search.combined([-1.0, 0.0]).tolist() == [0.0, -1.0, -0.5, -1.0]


def test_the_gaussian_process_runs() -> None:
    scores, accuracy = pool(proxies=2)
    search = RobotSearch(scores, 4, sampler="gp")
    assert search.run(lambda index: accuracy[index]).accuracy > np.median(accuracy)


def test_precision_at_the_top() -> None:
    truth = np.arange(10.0)
    assert precision_at(truth, truth, 3) == 1
    assert precision_at(-truth, truth, 3) == 0
    assert precision_at([0, 0, 0, 0, 0, 0, 1, 2, 0, 3], truth, 3) == pytest.approx(2 / 3)
    with pytest.raises(DataError, match="top=11"):
        precision_at(truth, truth, 11)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, _ = pool(20)
    for budget in (0, 21):
        with pytest.raises(ConfigError, match="1 to 20"):
            RobotSearch(scores, budget)
    with pytest.raises(ConfigError, match="trials=0"):
        RobotSearch(scores, 5, trials=0)
    with pytest.raises(ConfigError, match="evaluated yet"):
        _ = RobotSearch(scores, 5).best
    for wrong in ({"sampler": "cma"}, {"normalisation": "z"}, {"start": "warm"}):
        with pytest.raises(UnknownNameError, match="use one of"):
            RobotSearch(scores, 5, **wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="table"):
        RobotSearch(scores[:, 0], 5)
    with pytest.raises(DataError, match="infinite"):
        RobotSearch(np.where(scores == scores.max(), np.inf, scores), 5)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"archcast\[search\]"):
        RobotSearch(scores, 5)
