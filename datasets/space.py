"""`SearchSpace`: what every benchmark space can do with its architectures.

A *spec* is the printable text of one architecture. A space checks it, changes it, turns it into a computation graph
(`stamp`, fast, no module is built) and into the official PyTorch network (`module`).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import numpy as np

from archcast.errors import ConfigError, SpecError
from archcast.graphs.graph import ComputationGraph, GraphBatch, Shape

if TYPE_CHECKING:
    from torch import nn

A = TypeVar("A")
"""The parsed form of a spec: a frozen dataclass of the space."""


class SearchSpace(ABC, Generic[A]):
    """Grammar, graphs and networks of one benchmark.

    Args:
        input_shape: `(1, channels, height, width)` of the images; the default is what the benchmarks were trained on
            (CIFAR). Height and width must be multiples of 8, so that every stage halves them exactly.

    Attributes:
        name: name of the benchmark, as users type it.
        example: a valid spec, quoted in error messages.
    """

    name: ClassVar[str]
    example: ClassVar[str]

    def __init__(self, input_shape: Shape = (1, 3, 32, 32)) -> None:
        if (
            len(input_shape) != 4
            or input_shape[0] != 1
            or input_shape[1] < 1
            or any(s % 8 or s < 8 for s in input_shape[2:])
        ):
            raise ConfigError(
                f"input_shape {tuple(input_shape)} does not suit {self.name}: give (1, channels, height, width), "
                "height and width multiples of 8, for example (1, 3, 32, 32)"
            )
        self.input_shape: Shape = tuple(input_shape)

    @abstractmethod
    def parse(self, spec: str) -> A:
        """The architecture that `spec` names.

        Raises:
            SpecError: `spec` does not belong to the space; the message says what is allowed.
        """

    @abstractmethod
    def format(self, arch: A) -> str:
        """The spec of an architecture; `parse` reads it back."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of specs that `all_specs` gives."""

    @abstractmethod
    def all_specs(self) -> Iterable[str]:
        """Every spec of the space, in a fixed order."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> str:
        """A random spec."""

    @abstractmethod
    def neighbours(self, spec: str) -> list[str]:
        """All specs one elementary change away, without `spec` itself."""

    def mutate(self, spec: str, rng: np.random.Generator) -> str:
        """A random neighbour."""
        choices = self.neighbours(spec)
        return choices[int(rng.integers(len(choices)))]

    @abstractmethod
    def canonical(self, spec: str) -> str:
        """One fixed spec for all specs that compute the same function with the same layers."""

    def isomorphism_hash(self, spec: str) -> str:
        """32 hexadecimal digits, equal for specs that are the same network."""
        text = f"{self.name}:{self.canonical(spec)}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def contains(self, spec: str) -> bool:
        try:
            self.parse(spec)
        except SpecError:
            return False
        return True

    @abstractmethod
    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        """The network as the authors of the benchmark built it, with fresh weights."""

    @abstractmethod
    def stamp(self, specs: Sequence[str], num_classes: int = 10) -> GraphBatch:
        """The graphs that capturing `module(spec)` would give, made without modules. Graphs are named `name:spec`."""

    def graph(self, spec: str, num_classes: int = 10) -> ComputationGraph:
        """The computation graph of one spec."""
        graph: ComputationGraph = self.stamp([spec], num_classes)[0]
        return graph

    def refuse(self, spec: object, reason: str) -> SpecError:
        """The error for a spec that does not belong here; the caller raises it."""
        text = repr(spec)
        shown = text if len(text) <= 120 else f"{text[:117]}..."
        return SpecError(f"{shown} is not a {self.name} architecture: {reason}. Example: {self.example!r}")

    def graph_names(self, specs: Sequence[str]) -> list[str]:
        return [f"{self.name}:{spec}" for spec in specs]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(input_shape={self.input_shape})"
