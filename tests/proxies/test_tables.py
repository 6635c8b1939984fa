"""Tables of measurements: what is written is what is read, to the precision that is promised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archcast.datasets.spaces import get_space
from archcast.errors import DataError, MissingDataError
from archcast.proxies.measurement import measure
from archcast.proxies.tables import (
    FOLDER,
    MeasurementTable,
    compress,
    concatenate,
    expand,
    load_measurements,
    read_table,
    table_of,
    write_table,
)

SPACE = get_space("nasbench201").small()
SPECS = [
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|",
    "|none~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|none~2|",
]
NAMES = ("params", "snip", "naswot", "jacob_cov")


@pytest.fixture(scope="module")
def table() -> MeasurementTable:
    measured = [measure(SPACE.buildable(spec), NAMES, batch=4) for spec in SPECS]
    return table_of([*SPECS, "broken"], NAMES, [*measured, None], {"benchmark": "nasbench201", "batch": 4})


def test_values_and_nodes_come_back(table: MeasurementTable, tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", table)
    again = read_table(tmp_path / "t.parquet")
    assert again.specs == table.specs
    assert again.names == NAMES
    assert again.about == table.about
    np.testing.assert_array_equal(again.scores, table.scores)
    np.testing.assert_array_equal(again.ptr, table.ptr)
    assert set(again.nodes) == {"params", "snip", "naswot"}  # jacob_cov is of the network as a whole
    for name, values in table.nodes.items():
        np.testing.assert_allclose(again.nodes[name], values, rtol=0.02, atol=2e-6)


def test_nodes_are_those_of_the_stamped_graph(table: MeasurementTable) -> None:
    graphs = SPACE.stamp(SPECS)
    np.testing.assert_array_equal(table.ptr[: len(SPECS) + 1], graphs.ptr)
    params = table.nodes["params"]
    weighted = np.asarray([graphs.nodes[kind].params > 0 for kind in graphs.kinds])
    np.testing.assert_array_equal(np.isfinite(params), weighted)
    totals = [np.nansum(params[table.ptr[i] : table.ptr[i + 1]]) for i in range(len(SPECS))]
    np.testing.assert_array_equal(totals, graphs.params)


def test_a_network_that_failed_has_no_nodes_and_no_scores(table: MeasurementTable) -> None:
    assert np.isnan(table.scores[-1]).all()
    assert table.ptr[-1] == table.ptr[-2]


def test_a_proxy_that_was_not_asked_for_is_missing() -> None:
    measured = measure(SPACE.buildable(SPECS[0]), NAMES[:1], batch=4)
    table = table_of(SPECS[:1], NAMES, [measured], {})
    assert table.column("params")[0] == measured.scores["params"]
    assert np.isnan(table.column("snip")[0])


def test_compression_keeps_two_digits_from_tiny_to_huge() -> None:
    values = np.concatenate([10.0 ** np.arange(-4, 20), -(10.0 ** np.arange(-4, 20)), [0.0, np.nan]])
    np.testing.assert_allclose(expand(compress(values)), values, rtol=0.02)


def test_concatenated_tables_keep_their_nodes(table: MeasurementTable) -> None:
    both = concatenate([table, table])
    assert both.specs == (*table.specs, *table.specs)
    np.testing.assert_array_equal(np.diff(both.ptr), np.tile(np.diff(table.ptr), 2))
    np.testing.assert_array_equal(both.nodes["snip"][: table.ptr[-1]], table.nodes["snip"])


def test_tables_measured_in_different_ways_are_not_joined(table: MeasurementTable) -> None:
    other = MeasurementTable(table.specs, table.names, table.scores, table.nodes, table.ptr, {"batch": 8})
    with pytest.raises(DataError, match="different ways"):
        concatenate([table, other])


def test_damaged_and_missing_tables_say_what_to_do(table: MeasurementTable, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, table)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="make it anew"):
        read_table(path)
    with pytest.raises(MissingDataError, match=r"benchmarks\.measurements"):
        load_measurements("no-such-benchmark")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.parquet")), ids=lambda path: path.stem)
def test_tables_in_the_checkout_are_whole(path: Path) -> None:
    found = read_table(path)
    assert len(found) == len(set(found.specs)) == len(found.ptr) - 1
    assert found.scores.shape == (len(found), len(found.names))
    measured = np.isfinite(found.scores).mean(axis=0)
    always = [found.names.index(name) for name in ("params", "macs", "grad_norm")]
    assert (measured[always] > 0.95).all()
    assert all(len(values) == found.ptr[-1] for values in found.nodes.values())
