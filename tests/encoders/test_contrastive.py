"""One contract over all objectives, and what each promises beyond it."""

from __future__ import annotations

from dataclasses import fields, replace
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from archcast.encoders.contrastive import (
    OBJECTIVES,
    AugmentationContrast,
    CrossModalContrast,
    Objective,
    SpectralContrast,
    Views,
    Widths,
    masked_huber,
)
from archcast.errors import ConfigError

COUNT, WIDTH = 12, 12
WIDTHS = Widths(WIDTH, other=WIDTH, statistics=WIDTH, measured=WIDTH, nodes=WIDTH, node_measured=WIDTH)
PER_NODE = {"nodes", "node_measured"}


def random_views(seed: int = 0) -> Views:
    generator = torch.Generator().manual_seed(seed)

    def rows() -> Tensor:
        return torch.randn(COUNT, WIDTH, generator=generator, dtype=torch.float64)

    spectra = rows().abs().sort(dim=1).values / 5
    return Views(rows(), rows(), rows(), rows(), spectra, rows(), rows(), rows(), rows())


def perfect_views(seed: int = 0) -> Views:
    """Embeddings that answer every objective: views agree, differ between networks, and show all statistics."""
    views = random_views(seed)
    family = torch.arange(COUNT) // 3
    own = torch.eye(WIDTH, dtype=torch.float64)
    return replace(
        views,
        embedding=own,
        again=own,
        augmented=own,
        other=own,
        spectra=family[:, None].double().expand(-1, WIDTH) * 0.4,
        statistics=own,
        measured=own,
        nodes=own,
        node_measured=own,
    )


def build(name: str) -> Objective:
    torch.manual_seed(0)
    objective = OBJECTIVES[name](WIDTHS).double()
    for part in ("head", "graph", "text"):  # the embeddings themselves are judged, not a head that was never trained
        if hasattr(objective, part):
            setattr(objective, part, nn.Identity())
    return objective


@pytest.mark.parametrize("name", list(OBJECTIVES))
class TestEveryObjective:
    def test_scalar_finite_and_differentiable(self, name: str) -> None:
        objective = OBJECTIVES[name](WIDTHS).double()
        views = random_views()
        learned = ["embedding", *sorted({"again", "augmented", "other", "nodes"} & objective.needs)]
        if name == "nodes":
            learned.remove("embedding")
        leaves = {field: getattr(views, field).clone().requires_grad_() for field in learned}
        loss = objective(replace(views, **leaves))
        assert loss.shape == ()
        assert torch.isfinite(loss)
        torch.autograd.backward(loss)
        gradients = [leaf.grad for leaf in leaves.values()] + [weight.grad for weight in objective.parameters()]
        for gradient in gradients:
            assert gradient is not None
            assert torch.isfinite(gradient).all()
            assert gradient.abs().sum() > 0

    def test_perfect_embeddings_beat_random_ones(self, name: str) -> None:
        objective, perfect = build(name), perfect_views()
        if name == "spectral":
            perfect = replace(perfect, embedding=(grouped := family_rows()), again=grouped)
        best = objective(perfect)
        for seed in range(5):
            drawn = random_views(seed)
            shown = ("embedding", "again", "augmented", "other", "nodes")
            assert best < objective(replace(perfect, **{field: getattr(drawn, field) for field in shown}))

    def test_the_order_of_the_batch_does_not_matter(self, name: str) -> None:
        objective, views = build(name), random_views()
        order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(objective(views.map(lambda rows: rows[order])), objective(views))

    def test_no_label_is_read_and_nothing_beyond_what_is_needed(self, name: str) -> None:
        objective, views = build(name), random_views()
        names = {field.name for field in fields(Views)}
        assert objective.needs <= names
        assert not names & {"label", "labels", "score", "scores", "accuracy"}
        least = Views(views.embedding, **{field: getattr(views, field) for field in objective.needs})
        torch.testing.assert_close(objective(least), objective(views))

    def test_a_missing_view_is_named(self, name: str) -> None:
        objective = build(name)
        for field in objective.needs:
            without: dict[str, Any] = {field: None}
            with pytest.raises(ConfigError, match=field):
                objective(replace(random_views(), **without))


def family_rows() -> Tensor:
    """One direction per family of three networks."""
    return functional.one_hot(torch.arange(COUNT) // 3, WIDTH).double()


def test_spectral_contrast_is_the_published_formula() -> None:
    views = random_views()
    assert views.again is not None
    assert views.spectra is not None
    rows = functional.normalize(torch.cat([views.embedding, views.again]), dim=1)
    spectra = torch.cat([views.spectra, views.spectra])
    total = 0.0
    for i in range(2 * COUNT):
        others = [j for j in range(2 * COUNT) if j != i]
        target = torch.stack([-(spectra[i] - spectra[j]).norm() / 0.3 for j in others]).softmax(0)
        logs = torch.stack([rows[i] @ rows[j] / 0.05 for j in others]).log_softmax(0)
        total -= float((target * logs).sum())
    found = SpectralContrast(WIDTHS, temperature=0.05, target_temperature=0.3)(views)
    assert float(found) == pytest.approx(total / (2 * COUNT))


def test_augmentation_contrast_of_orthogonal_networks_has_a_closed_form() -> None:
    own = torch.eye(COUNT, dtype=torch.float64)
    loss = AugmentationContrast(WIDTHS, temperature=0.5)(Views(own, augmented=own))
    assert float(loss) == pytest.approx(log(torch.e**2 + 2 * COUNT - 2) - 2)


@pytest.mark.parametrize("name", ["augmentation", "cross_modal"])
def test_the_same_network_twice_is_no_negative(name: str) -> None:
    own = torch.eye(COUNT, dtype=torch.float64)
    own[1] = own[0]
    twice = Views(own, augmented=own, other=own, identity=torch.tensor([0, 0, *range(2, COUNT)]))
    objective = build(name)
    once = twice.map(lambda rows: rows[1:])
    with torch.no_grad():
        assert objective(twice) < objective(replace(twice, identity=None))
        assert float(objective(twice)) == pytest.approx(float(objective(once)), rel=0.1)


def test_the_temperature_is_learnt_and_stays_in_its_range() -> None:
    objective = CrossModalContrast(WIDTHS).double()
    assert float(objective.log_scale.exp().detach()) == pytest.approx(1 / 0.07)
    with torch.no_grad():
        objective.log_scale.fill_(9.0)
    objective(random_views()).backward()
    assert float(objective.log_scale.exp().detach()) == pytest.approx(100)
    assert objective.log_scale.grad is not None
    assert float(objective.log_scale.grad) != 0


def test_missing_measurements_do_not_count() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randn(6, 3, generator=generator, requires_grad=True)
    target = torch.randn(6, 3, generator=generator)
    target[0], target[3, 1] = torch.nan, torch.nan
    loss = masked_huber(predicted, target)
    known = ~target.isnan()
    torch.testing.assert_close(loss, functional.smooth_l1_loss(predicted[known], target[known]))
    torch.autograd.backward(loss)
    assert predicted.grad is not None
    assert (predicted.grad[0] == 0).all()
    assert torch.isfinite(predicted.grad).all()
    nothing = masked_huber(predicted, torch.full((6, 3), torch.nan))
    assert float(nothing.detach()) == 0
    torch.autograd.backward(nothing)


def test_half_precision_embeddings_are_compared_in_single() -> None:
    views = random_views().map(lambda rows: rows.float())
    exact = SpectralContrast(WIDTHS)(views)
    halved = SpectralContrast(WIDTHS)(views.map(lambda rows: rows.bfloat16()))
    assert halved.dtype == torch.float32
    assert float(halved) == pytest.approx(float(exact), rel=0.05)
