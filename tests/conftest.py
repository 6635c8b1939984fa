"""Shared set-up: passive OpenMP threads, a private home, and the optional benchmark tables."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = os.environ.get("ARCHCAST_DATA", "")
    if folder and Path(folder).is_dir():
        return
    skip = pytest.mark.skip(reason="the benchmark tables are absent: set ARCHCAST_DATA to their folder")
    for item in items:
        if "shared" in item.keywords:
            item.add_marker(skip)
