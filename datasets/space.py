"""`SearchSpace`: what every benchmark space can do with its architectures.

A *spec* is the printable text of one architecture. A space checks it, changes it, turns it into a computation graph
(`stamp`, fast, no module is built) and into the official PyTorch network (`module`).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import numpy as np

from archcast.errors import ConfigError, SpecError
from archcast.graphs.graph import ComputationGraph, GraphBatch, Shape

if TYPE_CHECKING:
    from torch import nn

    from archcast.graphs.modules import Buildable

T = TypeVar("T")
A = TypeVar("A")
"""The parsed form of a spec: a frozen dataclass of the space."""


class SearchSpace(ABC, Generic[A]):
    """Grammar, graphs and networks of one benchmark.

    Args:
        input_shape: `(1, channels, height, width)` of the images; by default what the benchmark was trained on.
            Height and width must be multiples of `multiple`, so that every stage divides them exactly.

    Attributes:
        name: name of the benchmark, as users type it.
        example: a valid spec, quoted in error messages.
        default_input_shape: shape of the images of its own task.
        multiple: what height and width must be divisible by.
        classes: number of classes of its own task.
    """

    name: ClassVar[str]
    example: ClassVar[str]
    default_input_shape: ClassVar[Shape] = (1, 3, 32, 32)
    multiple: ClassVar[int] = 8
    classes: ClassVar[int] = 10

    def __init__(self, input_shape: Shape | None = None) -> None:
        shape = self.default_input_shape if input_shape is None else tuple(input_shape)
        step = self.multiple
        if len(shape) != 4 or shape[0] != 1 or shape[1] < 1 or any(s % step or s < step for s in shape[2:]):
            raise ConfigError(
                f"input_shape {shape} does not suit {self.name}: give (1, channels, height, width), "
                f"height and width multiples of {step}, for example {self.default_input_shape}"
            )
        self.input_shape: Shape = shape

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

    def stamp(self, specs: Sequence[str], num_classes: int = 10) -> GraphBatch:
        """The graphs that capturing `module(spec)` would give, named `name:spec`.

        A space that repeats blocks overrides this with `archcast.datasets.stamping`, which builds no modules.
        """
        from archcast.graphs.capture import capture

        for spec in specs:
            self.parse(spec)  # a bad spec is a SpecError, not what capture makes of it
        names = self.graph_names(specs)
        return GraphBatch.from_graphs(
            capture(partial(self.module, spec, num_classes), self.input_shape, name=name)
            for spec, name in zip(specs, names, strict=True)
        )

    def graph(self, spec: str, num_classes: int | None = None) -> ComputationGraph:
        """The computation graph of one spec, with the classes of the space's own task if `num_classes` is left out."""
        graph: ComputationGraph = self.stamp([spec], self.classes if num_classes is None else num_classes)[0]
        return graph

    def buildable(self, spec: str, num_classes: int | None = None) -> Buildable:
        """The network of one spec as something that can be built and run (`archcast.proxies`).

        Raises:
            SpecError: `spec` does not belong to the space.
        """
        from archcast.graphs.modules import Buildable, fixed_feed

        self.parse(spec)
        shape = self.input_shape_of(spec)
        classes = self.classes if num_classes is None else num_classes
        name = self.graph_names([spec])[0]
        identity = f"{self!r} {spec} {classes}"
        return Buildable(name, partial(self.module, spec, classes), partial(fixed_feed, shape), str(shape), identity)

    def input_shape_of(self, spec: str) -> Shape:
        """Shape of the images that the network of `spec` takes, where the spec decides it."""
        del spec
        return self.input_shape

    def for_task(self, task: str) -> SearchSpace[A]:
        """The space with the images and the decoder of `task`; itself where the networks are the same for every task.

        Raises:
            UnknownNameError: the networks depend on the task, and there is no such task.
        """
        del task
        return self

    def small(self) -> SearchSpace[A]:
        """The space whose networks stand in for these where running them is too dear (`archcast.proxies`).

        The same specs with fewer repeats, less width or a lower resolution; itself where nothing smaller is known.
        """
        return self

    def read(self, spec: object, parse: Callable[[str], T]) -> T:
        """`parse(spec)`, with the ValueError that says what is wrong with it as the error of this space.

        Raises:
            SpecError: `spec` is no text, or `parse` refuses it.
        """
        if not isinstance(spec, str):
            raise self.refuse(spec, f"a spec is text, not {type(spec).__name__}")
        try:
            return parse(spec)
        except ValueError as error:
            raise self.refuse(spec, str(error)) from None

    def refuse(self, spec: object, reason: str) -> SpecError:
        """The error for a spec that does not belong here; the caller raises it."""
        text = repr(spec)
        shown = text if len(text) <= 120 else f"{text[:117]}..."
        return SpecError(f"{shown} is not a {self.name} architecture: {reason}. Example: {self.example!r}")

    def graph_names(self, specs: Sequence[str]) -> list[str]:
        return [f"{self.name}:{spec}" for spec in specs]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(input_shape={self.input_shape})"
