"""What the adapters share, and what they say where their framework is missing."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

from archcast.errors import ConfigError, DataError, MissingExtraError
from archcast.search.adapters.core import Asker, Settings
from tests.search.adapters.own import NETWORKS, score, space, three

MODULES = {
    "optuna": "optuna", "optuna_pruner": "optuna", "ray_tune": "ray", "syne_tune": "syne_tune", "neps": "neps",
    "pymoo": "pymoo", "pymoo_operators": "pymoo",
}  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_a_missing_framework_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    framework = MODULES[module]
    for name in [name for name in sys.modules if name.partition(".")[0] == framework]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, framework, None)
    monkeypatch.delitem(sys.modules, f"archcast.search.adapters.{module}", raising=False)
    extra = "neural-pipeline-search" if module == "neps" else r"archcast\[adapters\]"
    with pytest.raises(MissingExtraError, match=f"run `pip install '{extra}'`"):
        importlib.import_module(f"archcast.search.adapters.{module}")


def test_nothing_imports_a_framework_by_the_way() -> None:
    code = "import archcast.search.run, archcast.search.adapters.core, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"optuna", "ray", "syne_tune", "neps", "pymoo"} & set(done.stdout.split())


def asker(**settings: object) -> Asker:
    return Asker(space, ("score",), Settings.of({"predictor": None, **settings}))


def test_trials_are_asked_and_told_by_their_names() -> None:
    ours = asker()
    first, second = ours.ask("a"), ours.ask("b")
    assert first is not None
    assert first != second
    assert ours.ask("a") == first
    ours.tell("a", score(first))
    ours.tell("b", RuntimeError("out of memory"))
    ours.tell("a stranger", 3.0)
    states = [(trial.spec, trial.state, trial.scores, trial.reason) for trial in ours.search.history]
    assert states == [(first, "done", (score(first),), ""), (second, "failed", (), "RuntimeError: out of memory")]


def test_a_state_brings_everything_back() -> None:
    ours = asker(seed=5)
    for number in range(14):
        spec = ours.ask(str(number))
        assert spec is not None
        if number != 11:
            ours.tell(str(number), score(spec) if number else RuntimeError("out of memory"))
    again = asker(seed=5)
    again.restore(json.loads(json.dumps(ours.state())))
    assert str(list(again.search.history)) == str(list(ours.search.history))
    assert again.ask("11") == ours.ask("11")
    assert [again.ask(str(number)) for number in range(14, 18)] == [ours.ask(str(number)) for number in range(14, 18)]
    with pytest.raises(DataError, match="has begun already"):
        again.restore(ours.state())
    with pytest.raises(DataError, match="'widths' is not 'three'"):
        Asker(three, ("score",), Settings(predictor=None)).restore(ours.state())


def test_the_end_of_the_space() -> None:
    ours = asker(strategy="random")
    assert len({ours.ask(str(number)) for number in range(NETWORKS)}) == NETWORKS
    assert ours.ask("one more") is None


def test_a_predictor_is_loaded_by_name_where_the_strategy_uses_one() -> None:
    assert Settings().search(space, ("score",)).predictor is not None
    assert Settings(strategy="random").search(space, ("score",)).predictor is None
    with pytest.raises(ConfigError, match="no setting pools; they have"):
        Settings.of({"pools": 3})
