"""What is measured does not drift: scores of a few networks against recorded ones.

If a change is meant to alter what is measured, raise `VERSION` in proxies/measurement.py, record anew with
`python -m tests.proxies.test_reference` and measure the tables anew.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from archcast.datasets.spaces import get_space
from archcast.proxies.measurement import VERSION, measure
from archcast.proxies.proxy import PROXY_NAMES

RECORD = Path(__file__).parent / "reference.json"
NETWORKS = {
    "nasbench201": "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|",
    "nats-sss": "16:24:32:40:64",
    "mini-transformers": "",
}
LOOSE = {
    "grasp": 0.05, "plain": 0.05, "jacob_cov": 0.02, "ntk": 0.02, "zico": 0.01, "swap": 0.01, "swap_reg": 0.01,
    "synflow": 0.01,
}  # fmt: skip
"""Relative tolerance where rounding is amplified; counts of sign patterns move with a sign of a tiny number, and the
attention of absolute weights (synflow) is as good as hard: processors with other instructions differ by 6 % of the sum,
.2 % of its logarithm."""


def scores_of(space: str, spec: str) -> dict[str, float | None]:
    small = get_space(space).small()
    made = measure(small.buildable(spec or small.sample(np.random.default_rng(0))), PROXY_NAMES, batch=8)
    return {name: None if math.isnan(value) else value for name, value in made.scores.items()}


@pytest.mark.parametrize("space", NETWORKS)
def test_scores_are_the_recorded_ones(space: str) -> None:
    record = json.loads(RECORD.read_text())
    assert record["version"] == VERSION, "record anew: python -m tests.proxies.test_reference"
    expected = record["scores"][space]
    found = scores_of(space, NETWORKS[space])
    assert set(found) == set(expected)
    for name, value in expected.items():
        if value is None:
            assert found[name] is None, name
        else:
            assert found[name] == pytest.approx(value, rel=LOOSE.get(name, 2e-3), abs=1e-5), name


if __name__ == "__main__":
    scores = {space: scores_of(space, spec) for space, spec in NETWORKS.items()}
    RECORD.write_text(json.dumps({"version": VERSION, "scores": scores}, indent=1) + "\n")
