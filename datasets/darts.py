"""DARTS (Liu et al., ICLR 2019): a normal and a reduction cell of four nodes; the space of NAS-Bench-301.

A node sums two operations, each on one of the two cells before or on an earlier node; a cell concatenates its nodes.
The network: a stem, a chain of normal cells with a reduction cell after one and two thirds, a linear classifier.
NAS-Bench-301 (Zela et al., ICLR 2022) trained networks of 32 channels and 8 cells; DARTS evaluates 36 and 20.

Cells of NASNet, AmoebaNet and their like (other numbers of nodes, one value twice, 7x7 operations, part of the nodes
concatenated) are read and built too; `all_specs` and `sample` give the 1.1e18 genotypes of NAS-Bench-301 only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations, permutations, product
from math import comb
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from archcast.datasets.darts_stamping import stamp_genotypes
from archcast.datasets.space import SearchSpace
from archcast.errors import ConfigError
from archcast.graphs.graph import GraphBatch, Shape

if TYPE_CHECKING:
    from torch import nn

OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""The operations of DARTS and NAS-Bench-301."""

WIDER_OPERATIONS = (*OPERATIONS, "sep_conv_7x7", "conv_7x1_1x7")
"""With those that NASNet and AmoebaNet use besides."""

NODES = 4
MAX_NODES = 6
CONFIGURATION_PREFIX = "NetworkSelectorDatasetInfo:darts:"

Node = tuple[tuple[str, int], tuple[str, int]]
"""Two pairs (operation, source); sources 0 and 1 are the cells before, 2 is the first node."""


@dataclass(frozen=True)
class Cell:
    """Nodes in order, and the states (2 is the first node) that are concatenated, ascending."""

    nodes: tuple[Node, ...]
    concat: tuple[int, ...]

    @property
    def plain(self) -> bool:
        """Whether it is a cell of NAS-Bench-301: four nodes, different inputs, its operations, all concatenated."""
        return (
            len(self.nodes) == NODES
            and self.concat == tuple(range(2, 2 + NODES))
            and all(left[1] != right[1] for left, right in self.nodes)
            and all(operation in OPERATIONS for node in self.nodes for operation, _ in node)
        )


@dataclass(frozen=True)
class Genotype:
    """A normal and a reduction cell."""

    normal: Cell
    reduce: Cell

    @property
    def plain(self) -> bool:
        return self.normal.plain and self.reduce.plain


class Darts(SearchSpace[Genotype]):
    """Specs list, node by node, both cells: `normal:sep_conv_3x3~0+skip_connect~1|...|...|...;reduce:...`.

    `~0` and `~1` are the cell before the last and the last one, `~2` the first node. A cell that concatenates only
    some nodes says so: `...|concat~4+5+6`. The printed `Genotype(normal=[('sep_conv_3x3', 0), ...], ...)` of the DARTS
    code is read too, and `from_configuration` reads what NAS-Bench-301 writes.

    Args:
        channels: channels of the first cells, even.
        layers: number of cells, at least 3.
    """

    name: ClassVar[str] = "darts"
    example: ClassVar[str] = (
        "normal:sep_conv_3x3~0+sep_conv_3x3~1|sep_conv_3x3~0+sep_conv_3x3~1|sep_conv_3x3~1+skip_connect~0|"
        "skip_connect~0+dil_conv_3x3~2;"
        "reduce:max_pool_3x3~0+max_pool_3x3~1|skip_connect~2+max_pool_3x3~1|max_pool_3x3~0+skip_connect~2|"
        "skip_connect~2+max_pool_3x3~1"
    )

    def __init__(self, input_shape: Shape | None = None, *, channels: int = 32, layers: int = 8) -> None:
        super().__init__(input_shape)
        if channels < 2 or channels % 2 or layers < 3:
            raise ConfigError(
                f"channels={channels} and layers={layers} do not suit {self.name}: "
                "channels must be even and layers at least 3, for example 36 and 20"
            )
        self.channels, self.layers = channels, layers

    def parse(self, spec: str) -> Genotype:
        return self.read(spec, _parse_cached)

    def format(self, arch: Genotype) -> str:
        return f"normal:{_format_cell(arch.normal)};reduce:{_format_cell(arch.reduce)}"

    def from_configuration(self, configuration: Mapping[str, Any]) -> str:
        """The spec of a NAS-Bench-301 configuration.

        Keys are `edge_normal_0`, `inputs_node_normal_3` and so on, with or without `NetworkSelectorDatasetInfo:darts:`;
        other keys are ignored. Edge numbers count the possible inputs of all nodes: 0-1, 2-4, 5-8, 9-13.

        Raises:
            SpecError: a key is missing or its value does not belong to the space.
        """
        try:
            cells = [_configured_cell(configuration, kind) for kind in ("normal", "reduce")]
        except KeyError as error:
            raise self.refuse(dict(configuration), f"the configuration has no {error.args[0]}") from None
        except ValueError as error:
            raise self.refuse(dict(configuration), str(error)) from None
        return self.format(self.parse(self.format(Genotype(*cells))))

    def to_configuration(self, spec: str) -> dict[str, str]:
        """The NAS-Bench-301 configuration of a spec, with its full keys.

        Raises:
            SpecError: `spec` is not a genotype of NAS-Bench-301.
        """
        genotype = self.parse(spec)
        if not genotype.plain:
            raise self.refuse(spec, "NAS-Bench-301 has four nodes a cell with different inputs, all concatenated")
        configuration: dict[str, str] = {}
        for kind, cell in (("normal", genotype.normal), ("reduce", genotype.reduce)):
            for number, node in enumerate(cell.nodes):
                start = _first_edge(number)
                for operation, source in node:
                    configuration[f"{CONFIGURATION_PREFIX}edge_{kind}_{start + source}"] = operation
                if number:
                    inputs = "_".join(str(source) for source in sorted(source for _, source in node))
                    configuration[f"{CONFIGURATION_PREFIX}inputs_node_{kind}_{number + 2}"] = inputs
        return configuration

    @property
    def size(self) -> int:
        pairs = [comb(number + 2, 2) for number in range(NODES)]
        return int(np.prod(pairs) * len(OPERATIONS) ** (2 * NODES)) ** 2

    def all_specs(self) -> Iterator[str]:
        """The genotypes of NAS-Bench-301, inputs in ascending order; lazily, there are 1.1e18."""
        return (self.format(Genotype(normal, reduce)) for normal in _plain_cells() for reduce in _plain_cells())

    def sample(self, rng: np.random.Generator) -> str:
        """Uniform over `all_specs`, as the random search of NAS-Bench-301."""
        return self.format(Genotype(_random_cell(rng), _random_cell(rng)))

    def neighbours(self, spec: str) -> list[str]:
        """Every spec with one other operation or one other input.

        A genotype of NAS-Bench-301 stays one; others may get any operation and the same input twice.
        """
        genotype = self.parse(spec)
        wide = not genotype.plain
        normals = [Genotype(cell, genotype.reduce) for cell in _changed(genotype.normal, wide)]
        reduces = [Genotype(genotype.normal, cell) for cell in _changed(genotype.reduce, wide)]
        return list(map(self.format, normals + reduces))

    def canonical(self, spec: str) -> str:
        """The order of the nodes, among those that respect their inputs, and of each node's inputs that sorts first.

        The order of the nodes decides only which channels of a cell's output are whose.
        """
        genotype = self.parse(spec)
        return self.format(Genotype(_canonical_cell(genotype.normal), _canonical_cell(genotype.reduce)))

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        """The CIFAR network without its auxiliary classifier; `darts_module.Network` has it as an option."""
        from archcast.datasets.darts_module import Network

        return Network(self.parse(spec), self.channels, self.layers, num_classes, in_channels=self.input_shape[1])

    def stamp(self, specs: Sequence[str], num_classes: int = 10) -> GraphBatch:
        genotypes = [self.parse(spec) for spec in specs]
        if not all(genotype.plain for genotype in genotypes):
            # Wider cells may hold nodes that nothing reads; capture knows what to do with those.
            return super().stamp(specs, num_classes)
        return stamp_genotypes(
            genotypes, self.input_shape, self.channels, self.layers, num_classes, self.graph_names(specs)
        )

    def small(self) -> Darts:
        """One normal cell a stage and the two reductions, 16 channels."""
        return type(self)(self.input_shape, channels=16, layers=5)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(input_shape={self.input_shape}, channels={self.channels}, layers={self.layers})"


@lru_cache(100_000)
def _parse_cached(text: str) -> Genotype:
    text = text.strip()
    if text.startswith("Genotype("):
        return _parse_printed(text)
    normal, semicolon, reduce = text.partition(";")
    if not semicolon or not normal.startswith("normal:") or not reduce.startswith("reduce:"):
        raise ValueError("it must be normal:...;reduce:..., or the printed Genotype(normal=[...], ...)")
    return Genotype(_parse_cell(normal[7:]), _parse_cell(reduce[7:]))


def _parse_cell(text: str) -> Cell:
    *nodes, last = text.split("|")
    if not last.startswith("concat~"):
        return _cell([[_parse_edge(edge) for edge in node.split("+")] for node in (*nodes, last)], None)
    concat = [_number(number) for number in last[7:].split("+")]
    return _cell([[_parse_edge(edge) for edge in node.split("+")] for node in nodes], concat)


def _parse_edge(text: str) -> tuple[str, int]:
    operation, _, source = text.partition("~")
    return operation, _number(source)


def _number(text: str) -> int:
    if len(text) != 1 or text not in "0123456789":
        raise ValueError(f"{text[:20]!r} is not the number of a cell before (0, 1) or of a node (2 and up)")
    return int(text)


def _parse_printed(text: str) -> Genotype:
    if len(text) > 5_000:
        raise ValueError("it is too long for a printed Genotype")
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("not Genotype(name=...)")
        fields = {str(keyword.arg): _literal(keyword.value) for keyword in call.keywords}
        cells = [
            _cell([*zip(edges[::2], edges[1::2], strict=True)], list(fields[f"{kind}_concat"]))
            for kind in ("normal", "reduce")
            if (edges := list(fields[kind])) is not None
        ]
    except (SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ValueError(f"it cannot be read as Genotype(normal=, normal_concat=, reduce=, ...): {error!r}") from None
    return Genotype(*cells)


def _literal(value: ast.expr) -> Any:
    """A literal, or `range(a, b)`, as the DARTS code prints `concat`."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "range":
        first, last = (ast.literal_eval(argument) for argument in value.args)
        if not isinstance(first, int) or not isinstance(last, int) or not 0 <= first <= last <= 2 + MAX_NODES:
            raise ValueError(f"range({first}, {last}) is no range of nodes")
        return list(range(first, last))
    return ast.literal_eval(value)


def _cell(nodes: Sequence[Sequence[Any]], concat: Sequence[Any] | None) -> Cell:
    """A checked cell; `concat` None means all nodes."""
    if not 1 <= len(nodes) <= MAX_NODES:
        raise ValueError(f"a cell has {len(nodes)} nodes; use 1 to {MAX_NODES}")
    for number, node in enumerate(nodes):
        if len(node) != 2 or any(len(edge) != 2 for edge in node):
            raise ValueError("every node needs two inputs, such as sep_conv_3x3~0+skip_connect~1")
        for operation, source in node:
            if operation not in WIDER_OPERATIONS:
                raise ValueError(f"operation {str(operation)[:30]!r} is unknown; use {', '.join(WIDER_OPERATIONS)}")
            if type(source) is not int or not 0 <= source < number + 2:
                raise ValueError(f"node {number + 2} reads {source!r}, but only 0 to {number + 1} come before it")
    states = range(2, 2 + len(nodes))
    concat = list(states) if concat is None else concat
    if not concat or any(type(state) is not int or state not in states for state in concat):
        raise ValueError(f"concat must name some of the nodes {', '.join(map(str, states))}")
    if len(set(concat)) != len(concat):
        raise ValueError("concat names a node twice")
    left_and_right = (tuple((str(operation), int(source)) for operation, source in node) for node in nodes)
    return Cell(tuple((left, right) for left, right in left_and_right), tuple(sorted(concat)))


def _format_cell(cell: Cell) -> str:
    text = "|".join("+".join(f"{operation}~{source}" for operation, source in node) for node in cell.nodes)
    if len(cell.concat) == len(cell.nodes):
        return text
    return f"{text}|concat~{'+'.join(map(str, cell.concat))}"


def _first_edge(number: int) -> int:
    """NAS-Bench-301 numbers the possible inputs of all nodes; the first one of node `number`."""
    return sum(range(2, number + 2))


def _configured_cell(configuration: Mapping[str, Any], kind: str) -> Cell:
    def value(key: str) -> Any:
        return configuration[key] if key in configuration else configuration[CONFIGURATION_PREFIX + key]

    nodes = []
    for number in range(NODES):
        inputs = str(value(f"inputs_node_{kind}_{number + 2}")).split("_") if number else ["0", "1"]
        sources = [_number(text) for text in inputs]
        nodes.append([(value(f"edge_{kind}_{_first_edge(number) + source}"), source) for source in sources])
    return _cell(nodes, None)


def _plain_cells() -> Iterator[Cell]:
    concat = tuple(range(2, 2 + NODES))
    for pairs in product(*(combinations(range(number + 2), 2) for number in range(NODES))):
        for operations in product(OPERATIONS, repeat=2 * NODES):
            edges = list(zip(operations, chain.from_iterable(pairs), strict=True))
            yield Cell(tuple(zip(edges[::2], edges[1::2], strict=True)), concat)


def _random_cell(rng: np.random.Generator) -> Cell:
    nodes: list[Node] = []
    for number in range(NODES):
        left, right = sorted(rng.choice(number + 2, 2, replace=False).tolist())
        first, second = (OPERATIONS[index] for index in rng.integers(len(OPERATIONS), size=2))
        nodes.append(((first, left), (second, right)))
    return Cell(tuple(nodes), tuple(range(2, 2 + NODES)))


def _changed(cell: Cell, wide: bool) -> Iterator[Cell]:
    for number, node in enumerate(cell.nodes):
        for side, (operation, source) in enumerate(node):
            other = node[1 - side]
            edges = [(name, source) for name in (WIDER_OPERATIONS if wide else OPERATIONS) if name != operation]
            sources = [state for state in range(number + 2) if state != source and (wide or state != other[1])]
            edges += [(operation, state) for state in sources]
            for edge in edges:
                new: Node = (other, edge) if side else (edge, other)
                yield Cell((*cell.nodes[:number], new, *cell.nodes[number + 1 :]), cell.concat)


@lru_cache(100_000)
def _canonical_cell(cell: Cell) -> Cell:
    return min(_relabelled(cell), key=lambda other: (other.nodes, other.concat))


def _relabelled(cell: Cell) -> Iterator[Cell]:
    """The cell with its nodes in every order that keeps inputs before their readers; inputs of a node sorted."""
    count = len(cell.nodes)
    for order in permutations(range(count)):
        place = {0: 0, 1: 1, **{2 + old: 2 + new for new, old in enumerate(order)}}
        nodes = []
        for new, old in enumerate(order):
            left, right = sorted(((name, place[source]) for name, source in cell.nodes[old]), key=lambda e: e[::-1])
            if right[1] >= new + 2:
                break
            nodes.append((left, right))
        else:
            yield Cell(tuple(nodes), tuple(sorted(place[state] for state in cell.concat)))
