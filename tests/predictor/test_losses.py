"""The contract every loss fulfils: a better ranking costs less, and following the gradient leads there."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from archcast.errors import ConfigError, DataError
from archcast.predictor.losses import LOSSES, Loss, get_loss, hinge, standardise, top_heavy

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
every_name = pytest.mark.parametrize("name", LOSSES)


def random_targets(count: int = 30, seed: int = 0) -> Tensor:
    return standardise(torch.randn(count, generator=torch.Generator().manual_seed(seed)))


def gradient(loss: Loss, scores: Tensor, targets: Tensor) -> Tensor:
    scores = scores.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(scores, targets), scores)
    return found


@every_loss
def test_a_better_ranking_costs_less(loss: Loss) -> None:
    targets = random_targets()
    noise = torch.randn(30, generator=torch.Generator().manual_seed(1))
    costs = [float(loss(scores, targets)) for scores in (targets, targets + noise, noise, -targets)]
    assert costs == sorted(costs)
    assert len(set(costs)) == 4


@every_loss
def test_descent_on_free_scores_recovers_the_order(loss: Loss) -> None:
    targets = random_targets(12)
    scores = torch.zeros(12).add(torch.linspace(0, 0.01, 12)).requires_grad_()
    optimizer = torch.optim.Adam([scores], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss(scores, targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.testing.assert_close(scores.argsort(), targets.argsort())


@every_name
def test_a_shift_of_the_scores_changes_nothing_except_for_mse(name: str) -> None:
    targets, scores = random_targets().double(), random_targets(seed=1).double()
    same = torch.isclose(LOSSES[name](scores + 5, targets), LOSSES[name](scores, targets))
    assert bool(same) == (name != "mse")


@every_name
def test_the_order_networks_come_in_does_not_matter_even_with_ties(name: str) -> None:
    targets = random_targets().double().mul(2).round()
    scores, order = random_targets(seed=1).double(), torch.randperm(30, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(LOSSES[name](scores[order], targets[order]), LOSSES[name](scores, targets))


@every_name
def test_tied_targets_are_not_pushed_apart(name: str) -> None:
    tied = gradient(LOSSES[name], torch.tensor([0.5, 0.5, -1.0]), torch.tensor([1.0, 1.0, -2.0]))
    torch.testing.assert_close(tied[0], tied[1])


@every_loss
def test_targets_that_are_all_equal_give_a_finite_gradient(loss: Loss) -> None:
    assert gradient(loss, torch.tensor([0.0, 1.0, 2.0]), torch.ones(3)).isfinite().all()


@every_loss
@pytest.mark.parametrize("size", [0.0, 1e-8, 6e4, 1e7])
def test_extreme_scores_have_finite_gradients(loss: Loss, size: float) -> None:
    targets = random_targets()
    for scores in (size * targets, -size * targets):
        assert loss(scores, targets).isfinite()
        assert gradient(loss, scores, targets).isfinite().all()


@every_loss
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_32_bits(loss: Loss, half: torch.dtype) -> None:
    targets, scores = random_targets(300), random_targets(300, seed=1).to(half)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(scores, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(scores.float(), targets))
    assert gradient(loss, 1000 * scores, targets).isfinite().all()


@every_loss
def test_targets_may_be_of_another_type(loss: Loss) -> None:
    targets = random_targets()
    torch.testing.assert_close(loss(targets, targets.double()), loss(targets, targets))


BAD: dict[str, tuple[list[float], list[float], str]] = {
    "a missing label": ([1, 2, 3], [1, math.nan, 3], "leave networks without a label out"),
    "an infinite label": ([1, 2, 3], [1, math.inf, 3], "leave networks without a label out"),
    "too few targets": ([1, 2, 3], [1, 2], "one each of a network"),
    "one network": ([1], [1], "at least two networks"),
}


@every_loss
@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_ranked_is_refused(loss: Loss, what: str) -> None:
    scores, targets, words = BAD[what]
    with pytest.raises(DataError, match=words):
        loss(torch.tensor(scores), torch.tensor(targets))


@every_loss
def test_columns_are_refused(loss: Loss) -> None:
    with pytest.raises(DataError, match="one each of a network"):
        loss(torch.zeros(3, 1), torch.zeros(3, 1))


SCORES, TARGETS = torch.tensor([0.0, 2.0, 1.0]), torch.tensor([1.0, 0.5, -1.0])
BY_HAND = {  # better minus worse: (ds, dt) = (-2, .5), (-1, 2), (1, 1.5); the better ones rank 0, 0, 1
    "diffkendall": -(math.tanh(-0.5) + math.tanh(-1) + math.tanh(0.75)) / 3 / 0.0125,
    "diffkendall_parzc": -(
        math.tanh(-0.5) * math.tanh(0.125) + math.tanh(-0.25) * math.tanh(0.5) + math.tanh(0.25) * math.tanh(0.375)
    ) / 3,
    "hinge": (3 + 2 + 0) / 3,
    "margin": (2.1 + 1.1 + 0) / 3,
    "bce": (math.log1p(math.exp(2)) + math.log1p(math.exp(1)) + math.log1p(math.exp(-1))) / 3,
    "listmle": (math.log(1 + math.exp(2) + math.e) + math.log(math.exp(2) + math.e) - 2) / 3,
    "mse": (1 + 2.25 + 4) / 3,
    "hinge_top": (3 + 2 + 0) / (2 + 1 / math.log2(3)),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_three_networks_by_hand(name: str) -> None:
    assert float(LOSSES[name](SCORES, TARGETS)) == pytest.approx(BY_HAND[name], rel=1e-5)


def test_correlation_is_one_minus_pearson() -> None:
    scores, targets = torch.randn(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 10
    expected = 1 - torch.corrcoef(torch.stack([scores, targets]))[0, 1]
    torch.testing.assert_close(LOSSES["correlation"](scores, targets), expected, atol=1e-4, rtol=0)
    assert float(LOSSES["correlation"](torch.zeros(9), torch.arange(9.0))) == pytest.approx(1)


def test_the_two_diffkendalls_differ_in_what_they_teach() -> None:
    scores, targets = torch.tensor([8.0, 0.0, -8.0]), torch.tensor([0.1, 0.0, -0.1])
    original, parzc = (gradient(LOSSES[name], scores, targets) for name in ("diffkendall", "diffkendall_parzc"))
    share = [found.abs()[1] / found.abs()[0] for found in (original / original.norm(), parzc / parzc.norm())]
    assert float(original[0] * 0.0125 / parzc[0]) > 5  # close targets, far scores: the original still pulls
    assert share[0] < 1e-3 > share[1]  # the middle one is pulled both ways alike


@pytest.mark.parametrize("name", ["diffkendall", "diffkendall_parzc"])
def test_diffkendall_is_nearly_linear_on_raw_accuracies_and_not_on_standardised_ones(name: str) -> None:
    accuracies = 0.9 + 0.02 * random_targets()

    def bend(targets: Tensor) -> float:
        once, twice = (float(LOSSES[name](factor * targets, targets)) for factor in (1, 2))
        return abs(twice / once - 2)

    assert bend(accuracies) < 1e-3
    assert bend(standardise(accuracies)) > 0.02


def test_standardise_gives_zero_mean_and_unit_spread() -> None:
    found = standardise(torch.tensor([90.0, 92.0, 94.0], dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([-1.5, 0, 1.5], dtype=torch.float64).mul(math.sqrt(2 / 3)))
    torch.testing.assert_close(standardise(torch.full((4,), 7.0)), torch.zeros(4))


def test_top_heavy_weights_fall_with_the_rank() -> None:
    torch.testing.assert_close(top_heavy(torch.tensor([0.0, 2.0, 6.0])), torch.tensor([1.0, 1 / 2, 1 / 3]))


@pytest.mark.parametrize("name", [name for name in LOSSES if name.endswith("_top")])
def test_top_heavy_losses_mind_mistakes_at_the_top(name: str) -> None:
    targets = torch.linspace(2, -2, 20)
    top, bottom = torch.arange(20), torch.arange(20)
    top[[0, 1]], bottom[[18, 19]] = torch.tensor([1, 0]), torch.tensor([19, 18])
    plain = LOSSES[name.removesuffix("_top")]
    ratio = [
        (loss(targets[top], targets) - loss(targets, targets))
        / (loss(targets[bottom], targets) - loss(targets, targets))
        for loss in (LOSSES[name], plain)
    ]
    assert ratio[0] > 1.2 * ratio[1]


def test_an_unknown_loss_is_refused() -> None:
    assert get_loss("hinge") is hinge
    with pytest.raises(ConfigError, match="choose one of diffkendall"):
        get_loss("rmse")
