"""The ask/tell core: nothing twice, limits kept, failures recorded, results in any order."""

from __future__ import annotations

import math

import numpy as np
import pytest

from archcast.errors import ConfigError, DataError
from archcast.search.core import Search
from tests.search.toy import CountingSpace, score


def make(budget: int | None = None, **settings: object) -> Search:
    return Search(CountingSpace(), strategy="random", budget=budget, **settings)  # type: ignore[arg-type]


def test_ask_never_gives_the_same_network_twice() -> None:
    search = make()
    asked = [spec for _ in range(30) for spec in search.ask(20)]
    networks = {CountingSpace().identity(spec) for spec in asked}
    assert len(asked) == len(networks) == CountingSpace.NETWORKS  # all there are, and then no more
    assert search.ask(1) == []


def test_results_come_in_any_order_and_in_portions() -> None:
    search = make()
    specs = search.ask(6)
    search.tell(specs[4:], [score(spec) for spec in specs[4:]])
    assert [trial.spec for trial in search.history.pending] == specs[:4]
    more = search.ask(3)  # while others are under way
    search.tell(list(reversed(specs[:4])), [score(spec) for spec in reversed(specs[:4])])
    assert [trial.spec for trial in search.history.pending] == more
    assert [trial.spec for trial in search.history.done] == specs


def test_a_failure_is_recorded_with_its_reason_and_never_proposed_again() -> None:
    search = make()
    specs = search.ask(4)
    search.tell(specs, [RuntimeError("out of\nmemory"), None, math.nan, "good"])
    reasons = [trial.reason for trial in search.history.failed]
    assert len(reasons) == 4
    assert reasons[0] == "RuntimeError: out of memory"
    assert "nan" in reasons[2]
    assert "'good'" in reasons[3]
    assert search.history.best is None
    assert not set(specs) & {spec for _ in range(30) for spec in search.ask(20)}


def test_a_second_result_is_ignored() -> None:
    search = make()
    [spec] = search.ask(1)
    assert search.tell(spec, 1.0) == 1
    assert search.tell(spec, 2.0) == 0
    assert search.history.done[0].scores == (1.0,)


def test_results_of_architectures_that_were_not_asked_for_count() -> None:
    search = make(seed=1)
    search.tell("0.0.0.0", 5.0)
    assert search.history.done[0].spec == "0.0.0.0"
    with pytest.raises(DataError, match="does not belong"):
        search.tell("nonsense", 1.0)


def test_the_budget_is_kept() -> None:
    search = make(budget=7)
    first = search.ask(5)
    assert len(search.ask(5)) == 2
    assert not search.done
    search.tell(first, [0.0] * 5)
    search.tell(search.history.pending[0].spec, None)
    search.tell(search.history.pending[0].spec, 1.0)
    assert search.done


def test_limits_are_kept_by_costs_that_are_counted_and_given() -> None:
    def cost(specs: list[str]) -> list[float]:
        return [float(sum(map(int, spec.split(".")))) for spec in specs]

    search = make(limits={"sum": 3}, costs={"sum": cost})
    asked = [spec for _ in range(20) for spec in search.ask(10)]
    assert max(cost(asked)) <= 3
    assert len(asked) > 5
    with pytest.raises(ConfigError, match="unknown costs"):
        make(limits={"watts": 3})


def test_objectives_may_be_costs_and_may_be_minimised() -> None:
    search = make(objectives=("score", "-sum"), costs={"sum": {"1.0.0.0": 1.0, "2.2.2.2": 8.0}})
    search.tell(["1.0.0.0", "2.2.2.2"], [3.0, {"score": 4.0}])
    assert search.history.done[1].scores == (4.0, 8.0)
    assert np.array_equal(search.history.values, [[3.0, -1.0], [4.0, -8.0]])


@pytest.mark.parametrize(
    "settings",
    [{"objectives": ()}, {"objectives": ("a", "-a")}, {"objectives": "macs"}, {"seed": -1}, {"budget": 0}],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        make(**settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        make().ask(0)
