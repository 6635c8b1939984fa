"""GENNAPE pretrained without a space, for `benchmarks.heads`, which fine-tunes it on the labels of that space."""

from __future__ import annotations

from functools import cache
from typing import Final

from benchmarks.baselines.gennape import Gennape
from benchmarks.baselines_zero_shot import trained

STEPS: Final = 500
"""Optimizer steps of the pretraining, a hundredth of the published; `benchmarks.baselines_zero_shot` says more."""


@cache
def pretrained(left_out: str, seed: int) -> Gennape:
    """Trained on the labelled spaces of `benchmarks.baselines_zero_shot` other than `left_out`; not to be changed."""
    model, _ = trained("gennape", left_out, seed, STEPS)
    assert isinstance(model, Gennape)
    return model
