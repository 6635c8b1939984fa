"""The choices that Optuna is given are the cells of NAS-Bench-201."""

from __future__ import annotations

from archcast.datasets.spaces import get_space
from archcast.search.spaces import ChoiceSpace
from benchmarks.adapters import cell


def test_choices_are_all_cells() -> None:
    space = ChoiceSpace(cell, lambda spec: spec)
    assert {space.config(spec) for spec in space.specs() or ()} == set(get_space("nasbench201").all_specs())
