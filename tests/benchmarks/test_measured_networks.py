"""Networks without a signal stay among the measured ones; those measured with the fast proxies alone do not."""

from __future__ import annotations

import numpy as np
import pytest

from archcast.proxies.tables import load_measurements
from benchmarks.measured_networks import thoroughly_measured
from benchmarks.measurements import FAST


def test_cells_without_a_signal_stay() -> None:
    table = load_measurements("transnas101-micro")
    rows, columns = thoroughly_measured("transnas101-micro", table.specs, ("synflow", "naswot"))
    assert len(rows) == len(table.specs)
    assert 0 < np.isnan(columns["synflow"]).sum() < 200
    np.testing.assert_array_equal(columns["naswot"], table.column("naswot"))


def test_networks_measured_in_part_are_left_out() -> None:
    table = load_measurements("accel-nasbench")
    specs = table.specs[::-1]
    rows, columns = thoroughly_measured("accel-nasbench", specs)
    assert len(rows) == 600
    slow = next(name for name in table.names if name not in FAST)
    assert np.isfinite(columns[slow]).all()
    kept = [specs[row] for row in rows]
    place = {spec: i for i, spec in enumerate(table.specs)}
    np.testing.assert_array_equal(columns["synflow"], table.column("synflow")[[place[spec] for spec in kept]])


@pytest.mark.parametrize("given", [[], ["nothing like it"]])
def test_networks_that_were_not_measured_have_no_row(given: list[str]) -> None:
    rows, columns = thoroughly_measured("mini-cells", given, ("naswot",))
    assert len(rows) == len(columns["naswot"]) == 0
