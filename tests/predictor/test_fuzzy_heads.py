"""Heads of fuzzy clusters: the sum they are, where they start, what they are as arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from archcast.encoders.fuzzy import FuzzyClusters
from archcast.predictor.fuzzy_heads import FuzzyHeads, head_arrays, head_from_arrays


@pytest.fixture
def clusters() -> FuzzyClusters:
    return FuzzyClusters(np.eye(3, 4, dtype=np.float32), 1.7)


@pytest.fixture
def embeddings() -> torch.Tensor:
    return torch.randn(20, 4, generator=torch.Generator().manual_seed(0))


def test_splitting_a_head_changes_no_score(clusters: FuzzyClusters, embeddings: torch.Tensor) -> None:
    single = nn.Linear(4, 1, bias=False)
    torch.testing.assert_close(FuzzyHeads(clusters, single.weight)(embeddings), single(embeddings))


def test_a_score_is_the_sum_of_heads_by_membership(clusters: FuzzyClusters, embeddings: torch.Tensor) -> None:
    heads = FuzzyHeads(clusters, torch.zeros(1, 4))
    weights = np.random.default_rng(0).normal(size=(3, 4))
    heads.load_state_dict({"weight": torch.from_numpy(weights)})
    expected = (clusters.memberships(embeddings.numpy()) * (embeddings.numpy() @ weights.T)).sum(axis=1)
    np.testing.assert_allclose(heads(embeddings)[:, 0].detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_every_head_learns_from_its_members(clusters: FuzzyClusters) -> None:
    heads = FuzzyHeads(clusters, torch.ones(1, 4))
    heads(torch.eye(4)[1:2]).sum().backward()
    assert heads.weight.grad is not None
    assert heads.weight.grad[1].abs().sum() > 0.9
    assert heads.weight.grad[[0, 2]].abs().sum() < 1e-3


@pytest.mark.parametrize("fuzzy", [True, False])
def test_arrays_are_the_whole_head(fuzzy: bool, clusters: FuzzyClusters, embeddings: torch.Tensor) -> None:
    head: nn.Module = FuzzyHeads(clusters, torch.rand(1, 4)) if fuzzy else nn.Linear(4, 1, bias=False)
    again = head_from_arrays(head_arrays(head), 4)
    torch.testing.assert_close(again(embeddings), head(embeddings))


def test_weights_of_another_length_are_refused(clusters: FuzzyClusters) -> None:
    with pytest.raises(RuntimeError, match="for embeddings of length 5"):
        head_from_arrays(head_arrays(FuzzyHeads(clusters, torch.rand(1, 4))), 5)
    with pytest.raises(RuntimeError, match="size mismatch"):
        head_from_arrays({"weight": np.zeros((1, 4))}, 5)
