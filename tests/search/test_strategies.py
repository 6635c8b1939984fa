"""What every strategy keeps to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from archcast.errors import ConfigError, UnknownNameError
from archcast.predictor.predictor import Predictor
from archcast.search.core import Search
from archcast.search.strategy import STRATEGIES, make_strategy
from tests.search.toy import CountingSpace, EndlessSpace, score

SETTINGS: dict[str, dict[str, object]] = {
    "guided": {"start": 6},
    "local": {"start": 3},
    "evolution": {"population": 12, "tournament": 4},
    "nsga2": {"population": 12},
    "gbdt-nas": {"start": 10},
    "bananas": {"members": 2},
}


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever holds for 40 trees holds for 500, ten times sooner."""
    from archcast.predictor.heads import gbdt

    parameters = gbdt._parameters
    monkeypatch.setattr(gbdt, "_parameters", lambda count, seed: (parameters(count, seed)[0], 40))


def search(name: str, *, space: type[CountingSpace] = CountingSpace, **settings: object) -> Search:
    strategy = make_strategy(name, **SETTINGS.get(name, {}))
    return Search(space(), strategy=strategy, pool=60, **settings)  # type: ignore[arg-type]


def spend(made: Search, evaluations: int, batch: int = 5) -> list[str]:
    asked: list[str] = []
    while len(asked) < evaluations:
        specs = made.ask(batch)
        asked += specs
        made.tell(specs, [score(spec) for spec in specs])
    return asked


@pytest.mark.parametrize("name", STRATEGIES)
class TestContract:
    @pytest.mark.parametrize("space", [CountingSpace, EndlessSpace])
    def test_no_network_is_proposed_twice_and_limits_are_kept(self, name: str, space: type[CountingSpace]) -> None:
        def cost(specs: Sequence[str]) -> list[int]:
            return [int(spec[-1]) for spec in specs]

        made = search(name, space=space, limits={"last": 2}, costs={"last": cost})
        asked = spend(made, 40)
        assert len({space().identity(spec) for spec in asked}) == len(asked)
        assert max(cost(asked)) <= 2

    def test_the_same_seed_gives_the_same_search(self, name: str) -> None:
        first, again, other = (spend(search(name, seed=seed), 25) for seed in (3, 3, 4))
        assert first == again
        assert first != other

    def test_it_learns_where_good_ones_are(self, name: str) -> None:
        """Mean score of the last 20 of 60 proposals among 375 networks, against random search."""
        if name == "random":
            pytest.skip("it is what the others are compared with")
        means = {
            which: np.mean([np.mean([score(spec) for spec in spend(search(which, seed=seed), 60)[-20:]])
                            for seed in range(2)])
            for which in (name, "random")
        }  # fmt: skip
        assert means[name] > means["random"] + 1

    def test_failures_and_missing_results_do_not_stop_it(self, name: str) -> None:
        made = search(name)
        told: set[str] = set()
        for turn in range(10):
            specs = made.ask(4)
            assert len(specs) == 4
            assert not told & set(specs)
            told |= set(specs)
            made.tell(specs[:2], [RuntimeError("crash"), score(specs[1])] if turn % 2 else [None, score(specs[1])])
        assert len(made.history.pending) == 20
        assert len(made.history.failed) == 10

    def test_it_goes_on_when_everything_failed_or_is_equal(self, name: str) -> None:
        for result in (None, 1.0):
            made = search(name)
            for _ in range(6):
                specs = made.ask(5)
                assert len(specs) == 5
                made.tell(specs, [result] * 5)

    def test_it_minimises_too(self, name: str) -> None:
        made, turned = search(name), search(name, objectives="-score")
        for _ in range(6):
            specs, others = made.ask(5), turned.ask(5)
            assert specs == others
            made.tell(specs, [score(spec) for spec in specs])
            turned.tell(others, [-score(spec) for spec in others])

    def test_a_resumed_search_goes_on_as_if_nothing_had_happened(self, name: str) -> None:
        made = search(name)
        spend(made, 20)
        resumed = search(name)
        resumed.history.record(made.history)
        resumed.journal = made.journal
        assert made._proposed(5) == resumed._proposed(5)

    def test_it_takes_several_objectives(self, name: str) -> None:
        made = search(name, objectives=("score", "-macs"))
        asked = spend(made, 30)
        assert len(asked) == 30
        assert made.history.values.shape == (30, 2)
        assert (made.history.values[:, 1] < 0).all()


def test_an_unknown_strategy_or_setting_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="evolution"):
        make_strategy("annealing")
    with pytest.raises(ConfigError, match="tournament"):
        make_strategy("evolution", temperature=1)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("guided", {"start": 1}), ("guided", {"diversity": -1.0}), ("local", {"start": 0}),
        ("evolution", {"tournament": 60}), ("nsga2", {"crossover": 2.0}), ("weaknas", {"top": 0}),
        ("gbdt-nas", {"keep": 0.0}), ("bananas", {"members": 1}), ("robot", {"explore": 1}),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        make_strategy(name, **settings)


def test_a_predictor_without_pretraining_cannot_start_a_search() -> None:
    made = Search(CountingSpace(), strategy="guided", predictor=Predictor())
    with pytest.raises(ConfigError, match="pretrained"):
        made.ask(1)
