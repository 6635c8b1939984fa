"""Fuzzy c-means: memberships by the formula, found families, reproducible and storable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save

from archcast.encoders.fuzzy import FuzzyClusters, suggested_fuzziness
from archcast.errors import BundleError, ConfigError, DataError


def families(columns: int = 16, each: int = 60, count: int = 4) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    centres = 4 * rng.normal(size=(count, columns))
    family = np.repeat(np.arange(count), each)
    return centres[family] + rng.normal(size=(len(family), columns)), family


def test_families_are_found_and_memberships_sum_to_one() -> None:
    rows, family = families()
    clusters = FuzzyClusters.fit(rows, 4)
    weights = clusters.memberships(rows)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    chosen = weights.argmax(axis=1)
    assert all(len(set(chosen[family == number])) == 1 for number in range(4))
    assert len(set(chosen)) == 4
    assert clusters.partition_coefficient > 0.9


def test_memberships_are_the_formula() -> None:
    rows, _ = families(columns=3)
    clusters = FuzzyClusters.fit(rows, 3, fuzziness=1.7)
    distance = np.linalg.norm(rows[:, None] - clusters.centres[None].astype(np.float64), axis=2)
    expected = 1 / ((distance[:, :, None] / distance[:, None, :]) ** (2 / 0.7)).sum(axis=2)
    np.testing.assert_allclose(clusters.memberships(rows), expected, rtol=1e-9)


def test_centres_are_a_fixed_point_of_bezdek_s_update() -> None:
    rows, _ = families(columns=5)
    clusters = FuzzyClusters.fit(rows, 4, fuzziness=1.5, tolerance=1e-9, max_iterations=2000)
    power = clusters.memberships(rows) ** 1.5
    np.testing.assert_allclose((power.T @ rows) / power.sum(axis=0)[:, None], clusters.centres, atol=1e-5)


def test_torch_gives_the_same_memberships_and_gradients() -> None:
    rows, _ = families()
    clusters = FuzzyClusters.fit(rows, 4)
    tensor = torch.tensor(rows, requires_grad=True)
    weights = clusters.torch_memberships(tensor)
    np.testing.assert_allclose(weights.detach().numpy(), clusters.memberships(rows), atol=1e-9)
    torch.autograd.backward(weights[:, 0].sum())
    assert tensor.grad is not None
    assert torch.isfinite(tensor.grad).all()


def test_a_network_on_a_centre_belongs_to_it_alone() -> None:
    rows, _ = families()
    clusters = FuzzyClusters.fit(rows, 4, fuzziness=1.5)
    np.testing.assert_allclose(clusters.memberships(clusters.centres), np.eye(4), atol=1e-6)


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    rows, _ = families()
    before = np.random.get_state(legacy=False)["state"]["key"]
    first, second = FuzzyClusters.fit(rows, 4, seed=3), FuzzyClusters.fit(rows, 4, seed=3)
    np.testing.assert_array_equal(first.centres, second.centres)
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], before)


def test_saved_and_loaded_without_pickle() -> None:
    rows, _ = families()
    clusters = FuzzyClusters.fit(rows, 4)
    again = FuzzyClusters.from_arrays(load(save(clusters.to_arrays())))
    np.testing.assert_array_equal(again.memberships(rows), clusters.memberships(rows))
    assert again.partition_coefficient == clusters.partition_coefficient


def test_fuzziness_falls_with_the_width_of_the_embedding() -> None:
    assert suggested_fuzziness(1000, 2) == 2.0
    values = [suggested_fuzziness(1000, width) for width in (8, 32, 128, 512)]
    assert values == sorted(values, reverse=True)
    assert values[1] == pytest.approx(1.0880, abs=2e-3)


def test_high_dimensional_noise_falls_together_at_the_textbook_fuzziness() -> None:
    noise = np.random.default_rng(0).normal(size=(400, 128))
    with pytest.raises(DataError, match="nearer to 1"):
        FuzzyClusters.fit(noise, 5, fuzziness=2.0)


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        (np.zeros((5, 3)), {"clusters": 2}, DataError, "different embeddings"),
        (np.full((5, 3), np.nan), {"clusters": 2}, DataError, "finite matrix"),
        (np.zeros(5), {"clusters": 2}, DataError, "finite matrix"),
        (np.eye(5), {"clusters": 1}, ConfigError, "at least 2"),
        (np.eye(5), {"clusters": 2, "fuzziness": 1.0}, ConfigError, "above 1"),
    ],
)
def test_bad_input_is_refused(
    rows: NDArray[Any], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        FuzzyClusters.fit(rows, **options)


def test_bad_arrays_and_widths_are_refused() -> None:
    clusters = FuzzyClusters.fit(families()[0], 4)
    with pytest.raises(DataError, match="columns"):
        clusters.memberships(np.zeros((2, 3)))
    with pytest.raises(BundleError):
        FuzzyClusters.from_arrays({"centres": clusters.centres})
    with pytest.raises(BundleError):
        FuzzyClusters.from_arrays({**clusters.to_arrays(), "fuzziness": np.asarray([1.0])})
