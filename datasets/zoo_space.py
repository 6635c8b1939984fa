"""Model zoos as benchmark spaces: a spec is the name of a published network, such as `resnet50`.

A zoo is a list, not a grammar: networks can be named, drawn at random, built and captured, but they have no neighbours.
Every network keeps its own image size and its own number of classes.
"""

from __future__ import annotations

import csv
import importlib.util
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archcast.datasets.space import SearchSpace
from archcast.errors import MissingDataError, MissingExtraError, SpecError
from archcast.graphs.graph import ComputationGraph, GraphBatch, Shape

if TYPE_CHECKING:
    from torch import nn

    from archcast.graphs.feeds import Feed
    from archcast.graphs.modules import Buildable

IMAGENET_CLASSES = 1000

_METADATA = Path("models", "common", "model_metainfos.csv")
_CLASSES = {"cifar10": 10, "cifar100": 100, "svhn": 10}


@dataclass(frozen=True)
class ZooEntry:
    """A network of a zoo."""

    name: str


class ZooSpace(SearchSpace[ZooEntry]):
    """The classifiers of one zoo of `archcast.graphs.zoo`.

    Args:
        input_shape: one shape for all networks; by default each network gets the size its zoo runs it at.

    Attributes:
        zoo: prefix of its names, as `archcast.capture` takes them.
    """

    zoo: ClassVar[str]
    default_input_shape: ClassVar[Shape] = (1, 3, 224, 224)
    classes: ClassVar[int] = IMAGENET_CLASSES

    def __init__(self, input_shape: Shape | None = None) -> None:
        super().__init__(input_shape)
        self._own_sizes = input_shape is None

    @abstractmethod
    def classes_of(self) -> Mapping[str, int]:
        """Name -> number of classes, for every network of the space.

        Raises:
            MissingExtraError: the zoo's package is not installed.
        """

    def parse(self, spec: str) -> ZooEntry:
        if not isinstance(spec, str):
            raise self.refuse(spec, f"a spec is the name of a network, not {type(spec).__name__}")
        if spec not in self.classes_of():
            close = get_close_matches(spec[:80], self.classes_of(), n=5, cutoff=0.5)
            hint = f"; close: {', '.join(close)}" if close else ""
            raise self.refuse(spec, f"{self.zoo} has no classifier of this name{hint}")
        return ZooEntry(spec)

    def format(self, arch: ZooEntry) -> str:
        return arch.name

    @property
    def size(self) -> int:
        return len(self.classes_of())

    def all_specs(self) -> list[str]:
        return sorted(self.classes_of())

    def sample(self, rng: np.random.Generator) -> str:
        specs = self.all_specs()
        return specs[int(rng.integers(len(specs)))]

    def neighbours(self, spec: str) -> list[str]:
        """A zoo has none.

        Raises:
            SpecError: always; the message names spaces that can be searched.
        """
        name = self.parse(spec).name
        raise SpecError(
            f"{name!r} has no neighbours: {self.name} is a list of published networks, which cannot be mutated. "
            "Rank the list, draw from it with `sample`, or search a space with a grammar such as 'nasbench201'"
        )

    def canonical(self, spec: str) -> str:
        return self.parse(spec).name

    def module(self, spec: str, num_classes: int | None = None) -> nn.Module:
        from archcast.graphs.zoo import zoo_model

        name = self._check(spec, num_classes)
        return zoo_model(self.zoo, name).build()

    def stamp(self, specs: Sequence[str], num_classes: int | None = None) -> GraphBatch:
        """The captured graphs, each at its network's own image size, named `zoo:name`.

        Raises:
            SpecError: an unknown name, or `num_classes` differs from the classes of one of the networks.
        """
        from archcast.graphs.capture import capture

        shape = None if self._own_sizes else self.input_shape
        names = [f"{self.zoo}:{self._check(spec, num_classes)}" for spec in specs]
        return GraphBatch.from_graphs(capture(name, shape) for name in names)

    def graph(self, spec: str, num_classes: int | None = None) -> ComputationGraph:
        graph: ComputationGraph = self.stamp([spec], num_classes)[0]
        return graph

    def buildable(self, spec: str, num_classes: int | None = None) -> Buildable:
        from archcast.graphs.modules import Buildable

        name = self.graph_names([self._check(spec, num_classes)])[0]
        return Buildable(name, partial(self.module, spec), partial(_feed, self.zoo, spec), "own", identity=name)

    def graph_names(self, specs: Sequence[str]) -> list[str]:
        return [f"{self.zoo}:{spec}" for spec in specs]

    def _check(self, spec: str, num_classes: int | None) -> str:
        name = self.parse(spec).name
        own = self.classes_of()[name]
        if num_classes not in (None, own):
            raise SpecError(f"{name!r} of {self.zoo} has {own} classes, not {num_classes}; leave num_classes out")
        return name


def _feed(zoo: str, name: str, module: nn.Module) -> Feed:
    from archcast.graphs.zoo import zoo_model

    return zoo_model(zoo, name).feed(module)


class TorchvisionZoo(ZooSpace):
    """The image classifiers of torchvision, without the quantised ones."""

    name: ClassVar[str] = "zoo-torchvision"
    zoo: ClassVar[str] = "torchvision"
    example: ClassVar[str] = "resnet50"

    def classes_of(self) -> Mapping[str, int]:
        return _torchvision_classes()


class PytorchcvZoo(ZooSpace):
    """The classifiers of pytorchcv for ImageNet, CIFAR-10, CIFAR-100 and SVHN."""

    name: ClassVar[str] = "zoo-pytorchcv"
    zoo: ClassVar[str] = "pytorchcv"
    example: ClassVar[str] = "resnet20_cifar10"

    def classes_of(self) -> Mapping[str, int]:
        return _pytorchcv_classes()


@cache
def _torchvision_classes() -> Mapping[str, int]:
    from archcast.graphs.zoo import import_zoo

    models = import_zoo("torchvision", "torchvision.models")
    return MappingProxyType(dict.fromkeys(models.list_models(module=models), IMAGENET_CLASSES))


@cache
def _pytorchcv_classes() -> Mapping[str, int]:
    tasks = {row["model_name"]: pytorchcv_task(row) for row in pytorchcv_rows()}
    return MappingProxyType({name: _CLASSES.get(task, IMAGENET_CLASSES) for name, task in tasks.items()})


def pytorchcv_task(row: Mapping[str, str]) -> str:
    """The task of a row of `pytorchcv_rows`: imagenet1k, cifar10, cifar100 or svhn."""
    return "imagenet1k" if row["test_dataset"] == "in1k" else row["model_name"].rsplit("_", 1)[1]


@cache
def pytorchcv_rows() -> tuple[Mapping[str, str], ...]:
    """The classifiers in the table that pytorchcv brings along; the package itself is not imported.

    Columns: model_name, net_weights (parameters), error_value (10,000 times the error rate, or NA), test_dataset
    (`in1k` or `cf`), img_size and others.

    Raises:
        MissingExtraError: pytorchcv is not installed.
        MissingDataError: this version of pytorchcv has no such table.
    """
    found = importlib.util.find_spec("pytorchcv")
    if found is None or found.origin is None:
        raise MissingExtraError("pytorchcv is needed for zoo-pytorchcv: pip install 'archcast[zoo]'")
    path = Path(found.origin).parent / _METADATA
    if not path.is_file():
        raise MissingDataError(
            f"pytorchcv has no table {path}; install a version that has: pip install 'archcast[zoo]'"
        )
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(row for row in csv.DictReader(file) if row["test_dataset"] in ("in1k", "cf"))
