"""The training loop of neural heads: it learns, repeats itself, keeps to its time, and several processes are as one."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy.stats import kendalltau

from archcast.errors import ConfigError, DataError
from archcast.predictor.heads.training import HeadTraining, batch_order, train_head
from archcast.predictor.losses import correlation
from tests.launching import finished
from tests.predictor.head_training_run import model, run, toy

SCRIPT = Path(__file__).parent / "head_training_run.py"


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    """accelerate keeps precision and device as long as the process lives; every test starts anew."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_learns_a_ranking(precision: str) -> None:
    inputs, targets = toy(300)
    head, lines = model(), list[Any]()
    config = HeadTraining(steps=200, batch_size=64, learning_rate=0.01, mixed_precision=precision, cpu=True)
    weights = train_head(
        head, lambda rows: inputs[torch.from_numpy(rows)], targets, correlation, config, on_step=lines.append
    )
    others, truth = toy(200, 1)
    with torch.inference_mode():
        scores = head(others)[:, 0]
    assert scores.dtype == torch.float32
    assert kendalltau(scores.numpy(), truth).statistic > 0.7
    assert not head.training
    assert weights.keys() == head.state_dict().keys()
    np.testing.assert_array_equal(weights["0.weight"], head.state_dict()["0.weight"].numpy())
    assert [line["step"] for line in lines] == list(range(1, 201))
    assert lines[-1]["loss"] < lines[0]["loss"] / 2


def test_same_seed_same_weights_and_generators_are_left_alone() -> None:
    inputs, targets = toy()
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(5)
        before = torch.get_rng_state()
        config = HeadTraining(steps=5, batch_size=20, cpu=True, seed=seed)
        found.append(train_head(model(0.2), lambda rows: inputs[rows], targets, correlation, config)["0.weight"])
        assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_an_epoch_shows_every_label_once() -> None:
    config = HeadTraining(epochs=3, batch_size=20)
    assert (config.batches(50), config.updates(50), HeadTraining(steps=7).updates(50)) == (2, 6, 7)
    assert HeadTraining(batch_size=500).batches(50) == 1
    batches = list(itertools.islice(batch_order(50, config), 4))
    assert [len(rows) for rows in batches] == [25] * 4
    for epoch in (batches[:2], batches[2:]):
        assert sorted(np.concatenate(epoch)) == list(range(50))
    assert not np.array_equal(batches[0], batches[2])


def test_the_rate_rises_and_falls() -> None:
    config = HeadTraining(learning_rate=1.0, warmup=0.1, final_rate=0.1)
    rates = [config.rate(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1)
    assert rates[-1] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[9:]))


def test_a_time_limit_ends_the_training_with_a_low_rate() -> None:
    inputs, targets = toy()
    lines: list[Any] = []

    def slow(rows: Any) -> torch.Tensor:
        time.sleep(0.01)
        return inputs[rows]

    config = HeadTraining(steps=10_000, seconds=0.8, cpu=True)
    train_head(model(), slow, targets, correlation, config, on_step=lines.append)
    assert 0.5 < lines[-1]["seconds"] < 1.2
    assert 20 < len(lines) < 80
    assert lines[-1]["learning_rate"] < 0.2 * config.learning_rate
    ample = HeadTraining(steps=5, seconds=60, cpu=True)
    same = HeadTraining(steps=5, cpu=True)
    one, two = (train_head(model(), lambda r: inputs[r], targets, correlation, c) for c in (ample, same))
    np.testing.assert_array_equal(one["0.weight"], two["0.weight"])


def test_what_is_not_finite_is_told() -> None:
    inputs, targets = toy()
    broken = torch.where(inputs > 2, torch.inf, inputs)
    with pytest.raises(DataError, match=r"step 1 is nan; lower learning_rate"):
        train_head(model(), lambda rows: broken[rows], targets, correlation, HeadTraining(cpu=True))
    with pytest.raises(DataError, match="label some"):
        train_head(model(), lambda rows: inputs[rows], targets[:0], correlation)
    with pytest.raises(DataError, match="gradient of step 1 is"):
        train_head(
            model(), lambda rows: inputs[rows], targets, lambda scores, _: (scores - scores).sqrt().sum(),
            HeadTraining(cpu=True),
        )  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{"steps": 0}, {"mixed_precision": "int8"}, {"seconds": 0}, {"learning_rate": math.nan}, {"weight_decay": -1}],
)
def test_odd_configs_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        HeadTraining(**changes)


def test_another_precision_needs_another_process() -> None:
    run({"steps": 1})
    with pytest.raises(ConfigError, match="one precision"):
        run({"steps": 1, "mixed_precision": "bf16"})


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """The loss compares scores of both; its gradients must reach both."""
    done = finished(SCRIPT, str(tmp_path / "two.safetensors"), '{"seconds": 100}')
    assert done.returncode == 0, done.stderr
    one = run({})
    two = load_file(tmp_path / "two.safetensors")
    assert set(two) == set(one)
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-3, atol=1e-5)
    start = model().state_dict()
    assert max(np.abs(one[name] - start[name].numpy()).max() for name in one) > 0.02
