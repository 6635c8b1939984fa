"""The optimizer in real runs of NePS, which has an environment of its own: `make test-neps`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

neps = pytest.importorskip("neps", reason="NePS needs pandas and networkx below 3; `make test-neps` runs this file")
# ruff: noqa: E402
from archcast.errors import ConfigError
from archcast.search.adapters.neps import Ask, Optimizer
from archcast.search.run import run_search
from tests.search.adapters.own import NETWORKS, score, space


class Others(neps.PipelineSpace):  # type: ignore[misc, name-defined]  # NePS is not followed by mypy
    rate = neps.Float(1e-4, 1e-1, log=True)


class Nothing(neps.PipelineSpace):  # type: ignore[misc, name-defined]  # NePS is not followed by mypy
    """No parameters but the architecture."""


class Watched(Optimizer):
    """Remembers what NePS asks."""

    def __call__(self, pipeline_space: Any) -> Ask:
        self.ask = super().__call__(pipeline_space)
        return self.ask


def run(path: Path, count: int, evaluate: Any, others: Any, **settings: Any) -> list[str]:
    """Trains `count` more, and gives the architectures of all trials so far."""
    optimizer = Watched(space, **{"predictor": None, **settings})
    neps.run(
        evaluate, others, root_directory=path, worker_evaluations_to_spend=count, optimizer=optimizer,
        ignore_errors=True,
    )  # fmt: skip
    return [trial.spec for trial in optimizer.ask.search.history]


def test_a_run_with_failures_that_goes_on(tmp_path: Path) -> None:
    tried: list[str] = []
    rates: list[float] = []

    def evaluate(arch: str, rate: float) -> float:
        tried.append(arch)
        rates.append(rate)
        if len(tried) in (2, 13):
            raise RuntimeError("out of memory")
        return -score(arch)

    first = run(tmp_path / "run", 8, evaluate, Others())
    assert len(tried) == 8 == len(set(first))
    again = run(tmp_path / "run", 8, evaluate, Others())
    assert again == tried

    def failing(spec: str) -> float:
        if spec in (tried[1], tried[12]):
            raise RuntimeError
        return score(spec)

    whole = run_search(space, failing, predictor=None, budget=16, batch=1)
    assert tried == [trial.spec for trial in whole.history]
    assert len(set(rates)) == 16


def test_several_losses(tmp_path: Path) -> None:
    tried = run(
        tmp_path / "run", 6, lambda arch: {"objective_to_minimize": [-score(arch), float(len(arch))]}, Nothing(),
        objectives=("loss", "length"),
    )  # fmt: skip
    assert len(set(tried)) == 6


def test_batches_and_the_end_of_the_space() -> None:
    ask = Optimizer(space, predictor=None, strategy="random")(Others())
    configs = ask({}, None, n=NETWORKS)
    assert len({config.config["arch"] for config in configs}) == NETWORKS
    assert len({config.id for config in configs}) == NETWORKS
    with pytest.raises(ValueError, match="every architecture of widths was proposed"):
        ask({}, None)


def test_arch_is_not_a_parameter_of_ones_own() -> None:
    class Wrong(neps.PipelineSpace):  # type: ignore[misc, name-defined]  # NePS is not followed by mypy
        arch = neps.Categorical(("a", "b"))

    with pytest.raises(ConfigError, match="must not hold arch"):
        Optimizer(space, predictor=None)(Wrong())
