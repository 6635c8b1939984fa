"""What varies in a pool: wiring in cells, resolution where maps differ, size in chains."""

from __future__ import annotations

import numpy as np
import pytest

from archcast.datasets.spaces import get_space
from archcast.encoders.features import encode
from archcast.encoders.pool import Pool
from archcast.encoders.variation import COLUMNS, KINDS, variation


def columns(layers: list[float], longest: list[float], side: list[float]) -> dict[str, np.ndarray]:
    """Networks whose layers all stand in the first stage."""
    found = {name: np.zeros(len(layers)) for name in COLUMNS}
    found["total/count_weighted"] = found["stage0/weighted"] = np.asarray(layers, float)
    found["path/longest weighted"], found["total/input_side"] = np.asarray(longest, float), np.asarray(side, float)
    return found


def share(kind: str, **given: list[float]) -> float:
    return float(variation(columns(**given))[KINDS.index(kind)])


def test_each_kind_is_told_by_what_it_varies() -> None:
    assert share("size", layers=[4, 8, 16, 32], longest=[4, 8, 16, 32], side=[32] * 4) > 0.99
    assert share("wiring", layers=[8, 8, 8, 8], longest=[8, 6, 4, 2], side=[32] * 4) > 0.99
    assert share("resolution", layers=[8, 8, 8, 8], longest=[8] * 4, side=[32, 64, 128, 256]) > 0.99


def test_parallel_layers_that_all_networks_share_are_no_wiring() -> None:
    assert share("wiring", layers=[4, 8, 16], longest=[2, 4, 8], side=[32] * 3) < 0.01


def test_a_pool_halfway_is_a_mixture() -> None:
    spread = float(np.exp(0.08))
    found = variation(columns([8, 8 * spread**2], [8, 8], [32, 32]))
    np.testing.assert_allclose(found, [0.5, 0, 0.5], atol=0.01)


@pytest.mark.parametrize("layers", [[8.0], [0.0, 1.0, 2.0], [8.0, 8.0]])
def test_without_variation_it_is_size(layers: list[float]) -> None:
    np.testing.assert_array_equal(variation(columns(layers, layers, [32.0] * len(layers))), [0, 0, 1])


@pytest.mark.parametrize(
    ("space", "kind"),
    [
        ("nasbench201", "wiring"), ("nasbench101", "wiring"), ("mini-cells", "wiring"),
        ("transnas101-macro", "resolution"), ("ofa-mobilenetv3", "resolution"),
        ("nas-bench-macro", "size"), ("nats-sss", "size"), ("accel-nasbench", "size"), ("mini-mixers", "size"),
    ],
)  # fmt: skip
def test_search_spaces(space: str, kind: str) -> None:
    known = get_space(space)
    rng = np.random.default_rng(0)
    pool = Pool.of(encode(known.stamp([known.sample(rng) for _ in range(100)])))
    assert pool.variation.sum() == pytest.approx(1)
    assert KINDS[int(pool.variation.argmax())] == kind
