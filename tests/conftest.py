"""Shared set-up: passive OpenMP threads, a private home, and the optional benchmark tables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

if TYPE_CHECKING:
    from archcast.ray_executor import RayExecutor

_CHECKOUT = Path(__file__).resolve().parent.parent
_BESIDE = _CHECKOUT.parent / "shared" / "data"
if "ARCHCAST_DATA" not in os.environ and _BESIDE.is_dir():
    os.environ["ARCHCAST_DATA"] = str(_BESIDE)


@pytest.fixture(scope="session", autouse=True)
def _private_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests never write into the user's cache."""
    os.environ["ARCHCAST_HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of the benchmark tables; only `shared` tests ask for it."""
    return Path(os.environ["ARCHCAST_DATA"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of Ray on the loopback, of one core each."""
    from tests.search.ray_cluster import two_nodes

    with two_nodes() as made:
        yield made


@pytest.fixture(scope="module")
def executor(cluster: Any) -> Iterator[RayExecutor]:
    """Runs tasks on both nodes of `cluster`."""
    from archcast.ray_executor import RayExecutor

    with RayExecutor(cluster.address) as made:
        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = os.environ.get("ARCHCAST_DATA", "")
    if folder and Path(folder).is_dir():
        return
    skip = pytest.mark.skip(reason="the benchmark tables are absent: set ARCHCAST_DATA to their folder")
    for item in items:
        if "shared" in item.keywords:
            item.add_marker(skip)
