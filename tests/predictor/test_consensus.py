"""The committee of the predictor and the proxies: who agrees counts, who does not is not heard."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from archcast.errors import ConfigError, DataError
from archcast.predictor.calibration import standardised
from archcast.predictor.consensus import COMMITTEES, PROXIES, STRENGTHS, consensus
from archcast.predictor.predictor import Predictor
from archcast.proxies.scoring import ProxyScores

SPECS = [f"nasbench201:|{op}~0|+|nor_conv_3x3~0|{op}~1|+|{last}~0|nor_conv_3x3~1|{op}~2|"
         for op in ("nor_conv_3x3", "nor_conv_1x1", "skip_connect", "avg_pool_3x3")
         for last in ("nor_conv_3x3", "nor_conv_1x1", "skip_connect", "none")]  # fmt: skip


CELLS, CHAINS = np.asarray([1.0, 0.0, 0.0]), np.asarray([0.0, 0.0, 1.0])


def noisy(truth: np.ndarray, noise: float, seed: int) -> np.ndarray:
    return truth + np.random.default_rng(seed).normal(0, noise, len(truth))


def test_proxies_that_agree_sharpen_the_order() -> None:
    truth = np.random.default_rng(0).normal(size=400)
    own = noisy(truth, 1.0, 1)
    measured = {name: noisy(truth, 1.0, seed) for seed, name in enumerate(PROXIES[:3], start=2)}
    together = consensus(own, measured, CELLS)
    assert spearmanr(together, truth).statistic > spearmanr(own, truth).statistic + 0.08


def test_a_proxy_that_contradicts_is_not_heard() -> None:
    truth = np.random.default_rng(0).normal(size=400)
    own = noisy(truth, 0.5, 1)
    alone = consensus(own, {PROXIES[0]: noisy(truth, 0.5, 2)}, CELLS)
    with_liar = consensus(own, {PROXIES[0]: noisy(truth, 0.5, 2), PROXIES[1]: -truth}, CELLS)
    assert spearmanr(alone, with_liar).statistic > 0.99


def test_missing_and_constant_columns_do_no_harm() -> None:
    own = np.random.default_rng(0).normal(size=50)
    same = consensus(own, {PROXIES[0]: np.full(50, np.nan), PROXIES[1]: np.ones(50)}, CELLS)
    np.testing.assert_array_equal(np.argsort(same), np.argsort(own))
    some = own.copy()
    some[:5] = np.nan
    assert np.isfinite(consensus(own, {PROXIES[0]: some}, CELLS)).all()


def test_order_does_not_depend_on_the_unit_of_a_proxy() -> None:
    own, other = np.random.default_rng(0).normal(size=(2, 60))
    np.testing.assert_allclose(
        consensus(own, {PROXIES[0]: other}, CELLS), consensus(own, {PROXIES[0]: np.exp(3 * other)}, CELLS)
    )


@pytest.mark.parametrize("size", [1, 3, 6])
def test_part_of_a_committee_is_as_loud_as_its_part(size: int) -> None:
    own = np.random.default_rng(0).normal(size=200)
    seats = COMMITTEES["wiring"]
    proxy = noisy(own, 0.5, 1)
    place = np.argsort(np.argsort(proxy)) + 1.0
    shared = standardised(np.log(place / len(place)))
    weight = STRENGTHS["wiring"] * size / len(seats) * spearmanr(own, proxy).statistic
    expected = standardised(standardised(own) + weight * shared)
    np.testing.assert_allclose(consensus(own, dict.fromkeys(seats[:size], proxy), CELLS), expected, atol=1e-9)


def test_the_committee_depends_on_what_varies() -> None:
    truth = np.random.default_rng(0).normal(size=400)
    own, proxy = noisy(truth, 1.0, 1), noisy(truth, 0.5, 2)
    for name, cells in (("vkdnw", True), ("synflow", False)):
        assert name in COMMITTEES["wiring" if cells else "size"]
        heard, ignored = (CELLS, CHAINS) if cells else (CHAINS, CELLS)
        assert spearmanr(consensus(own, {name: proxy}, heard), truth).statistic > 0.75
        np.testing.assert_allclose(consensus(own, {name: proxy}, ignored), (own - own.mean()) / own.std())


@pytest.mark.parametrize(
    ("measured", "words"),
    [({}, "none of"), ({"plain": np.zeros(9)}, "none of"), ({PROXIES[0]: np.zeros(8)}, "9 networks")],
)
def test_what_cannot_be_used_is_said(measured: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(DataError, match=words):
        consensus(np.arange(9.0), measured, CELLS)


def test_a_predictor_takes_measurements_of_a_pool() -> None:
    predictor = Predictor.from_pretrained("base")
    predictor.fitted = None  # as if the space were unknown
    plain = predictor(SPECS)
    sharper = predictor(SPECS, measured={"jacob_cov": -np.arange(len(SPECS), dtype=float)})
    assert spearmanr(plain, sharper).statistic < 1
    values = -np.arange(len(SPECS), dtype=float)[:, None]
    table = ProxyScores(tuple(SPECS), ("jacob_cov",), values)
    np.testing.assert_array_equal(predictor(SPECS, measured=table), sharper)


def test_one_network_cannot_be_ranked_by_measurements() -> None:
    predictor = Predictor.from_pretrained("base")
    predictor.fitted = None
    with pytest.raises(ConfigError, match="16 or more"):
        predictor(SPECS[:1], measured={"jacob_cov": np.zeros(1)})


def test_a_predictor_fitted_without_measurements_refuses_them() -> None:
    labels = np.random.default_rng(0).normal(size=len(SPECS))
    predictor = Predictor().fit(SPECS, labels)
    with pytest.raises(ConfigError, match="fitted without"):
        predictor(SPECS, measured={"jacob_cov": labels})
