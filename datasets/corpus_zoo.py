"""Captured graphs of published networks, kept in the cache: they take .2 to 1 s each.

Networks that cannot be captured are listed with the reason, never left out silently.
"""

from __future__ import annotations

import importlib.metadata
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from archcast.datasets.arrow_arrays import read_arrays, write_arrays
from archcast.datasets.cache import content_key, pack_graphs, source_recipe, unpack_graphs
from archcast.datasets.home import home_folder
from archcast.datasets.zoo_space import PytorchcvZoo, TorchvisionZoo
from archcast.errors import ArchcastError, DataError
from archcast.graphs import vocabulary
from archcast.graphs.graph import GraphBatch

_logger = logging.getLogger(__name__)
_TOGETHER: Final = 20  # networks in one file of the cache


def _timm_names() -> list[str]:
    from archcast.graphs.zoo import import_zoo

    return [f"timm:{name}" for name in import_zoo("timm").list_models()]


def _torchvision_names() -> list[str]:
    return [f"torchvision:{name}" for name in TorchvisionZoo().all_specs()]


def _pytorchcv_names() -> list[str]:
    """Those for CIFAR-100 and SVHN are left out: they are the CIFAR-10 networks with another classifier."""
    specs = PytorchcvZoo().all_specs()
    return [f"pytorchcv:{name}" for name in specs if not name.endswith(("_cifar100", "_svhn"))]


def _transformers_names() -> list[str]:
    """Default configurations of classifiers of images and of language models."""
    from archcast.graphs.zoo import import_zoo

    auto = import_zoo("transformers", "transformers.models.auto.modeling_auto")
    tasks = ("IMAGE_CLASSIFICATION", "MASKED_LM", "CAUSAL_LM", "SEQ_TO_SEQ_CAUSAL_LM")
    known = {name for task in tasks for name in getattr(auto, f"MODEL_FOR_{task}_MAPPING_NAMES")}
    return [f"transformers:{name}" for name in sorted(known)]


ZOO_SOURCES: Final[Mapping[str, Callable[[], list[str]]]] = MappingProxyType(
    {
        "zoo-torchvision": _torchvision_names,
        "zoo-pytorchcv": _pytorchcv_names,
        "zoo-timm": _timm_names,
        "zoo-transformers": _transformers_names,
    }
)
"""Source -> names of its networks as `archcast.capture` takes them.

Raises `MissingExtraError` where the package of the zoo is not installed.
"""


def captured(names: Sequence[str]) -> tuple[GraphBatch, list[str]]:
    """The graphs of the networks that can be captured, and `name: reason` for the others."""
    batches: list[GraphBatch] = []
    failures: list[str] = []
    for start in range(0, len(names), _TOGETHER):
        batch, failed = _cached(names[start : start + _TOGETHER])
        batches.append(batch)
        failures.extend(failed)
    return GraphBatch.concatenate(batches), failures


def _cached(names: Sequence[str]) -> tuple[GraphBatch, list[str]]:
    path = home_folder() / "graphs" / f"{content_key('zoo', *names)}-zoo.arrow"
    recipe = _recipe()
    if path.is_file():
        try:
            arrays, texts, metadata = read_arrays(path)
            if metadata.get("recipe") == recipe:
                return unpack_graphs(arrays, texts), texts["failures"]
            _logger.warning("captures in %s were made by another version: they are made anew", path.name)
        except (DataError, KeyError) as error:
            _logger.warning("captures in %s are damaged (%s): they are made anew", path.name, error)
    batch, failures = _captured_now(names)
    arrays, texts = pack_graphs(batch)
    write_arrays(path, arrays, {**texts, "failures": failures}, {"recipe": recipe})
    return batch, failures


def _captured_now(names: Sequence[str]) -> tuple[GraphBatch, list[str]]:
    from archcast.graphs.capture import capture

    graphs, failures = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constructors of the zoos warn about their own arguments
        for name in names:
            try:
                graphs.append(capture(name, name=name))
            except ArchcastError as error:
                failures.append(f"{name}: {' '.join(str(error).split())[:400]}")
    return GraphBatch.from_graphs(graphs), failures


def _recipe() -> str:
    """Fingerprint of what decides how a network is captured: our sources and the versions of the zoos."""
    folder = Path(vocabulary.__file__).resolve().parent
    packages = ("torch", "timm", "torchvision", "pytorchcv", "transformers")
    versions = [f"{package} {_version(package)}" for package in packages]
    return content_key(source_recipe(sorted(folder.glob("*.py"))), *versions)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
