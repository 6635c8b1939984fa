"""The wheel holds what the tree holds, and pyproject names every folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PROJECT["tool"]["setuptools"]["packages"]
PACKAGE_DIR: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]
KEEP = {".keep"}


def folder_of(package: str) -> Path:
    head, _, tail = package.partition(".")
    assert head == "archcast"
    if not tail:
        return CHECKOUT / "archcast"
    top, *below = tail.split(".")
    return CHECKOUT.joinpath(PACKAGE_DIR.get(package, PACKAGE_DIR[f"archcast.{top}"]), *below)


def source_files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.name not in KEEP
    ]


def test_every_folder_with_code_is_a_package() -> None:
    listed = {folder_of(package) for package in PACKAGES}
    for package in PACKAGES:
        if package != "archcast.pretrained":
            inside = {path.parent for path in source_files(folder_of(package)) if path.suffix == ".py"}
            assert inside <= listed, "add the sub-folder to [tool.setuptools] packages"
    assert all(folder.is_dir() for folder in listed)


def test_data_folders_have_no_init() -> None:
    assert not (CHECKOUT / "datasets" / "__init__.py").exists()
    assert not (CHECKOUT / "pretrained" / "__init__.py").exists()


@pytest.mark.slow
def test_the_wheel_holds_the_tree(tmp_path: Path) -> None:
    pytest.importorskip("build")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    for folder in {folder_of(package).relative_to(CHECKOUT).parts[0] for package in PACKAGES}:
        shutil.copytree(CHECKOUT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    wheel = next(tmp_path.glob("*.whl"))
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = set()
    for package in PACKAGES:
        home = folder_of(package)
        inside = source_files(home) if package == "archcast.pretrained" else source_files_of_package(home)
        expected |= {"/".join([*package.split("."), *path.relative_to(home).parts]) for path in inside}
    assert packed == expected
    check_import(wheel, tmp_path)


def source_files_of_package(folder: Path) -> list[Path]:
    return [path for path in source_files(folder) if path.parent == folder]


def check_import(wheel: Path, folder: Path) -> None:
    """The unpacked wheel imports from itself, far away from the checkout."""
    site = folder / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = "import archcast, archcast.graphs.graph as graph; print(graph.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, cwd=folder
    )
    assert done.stdout.strip() == str(site / "archcast" / "graphs" / "graph.py"), done.stderr
