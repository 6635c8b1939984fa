"""A graph as text, and back: chains of operations in the manner of ONNX-Net, with every attribute kept.

    graph "toy" unused_params=0
    Input():[1,3,8,8] --> V0:[1,3,8,8]
    Conv(V0, Param[224])(bias=True, ..., kernel=(3, 3)):[1,8,8,8]@13824 --> Relu(prev) --> V2:[1,8,8,8]
    Add(V0, V2) --> Output(prev) --> V4:[1,8,8,8]

Nodes stand in topological order. A line is a chain in which each node reads only the one before it (`prev`); a node
that has other inputs, or several, opens a new line, and a value that is read elsewhere ends its line. Grammar:

    text   = header { line }
    header = "graph" string "unused_params=" integer
    line   = node { "-->" node } "-->" "V" integer ":" shape     the position and shape of the line's last node
    node   = op "(" [ input { "," input } ] ")" [ "(" attribute { "," attribute } ")" ] [ ":" shape ] [ "@" macs ]
    input  = "V" integer | "prev" | "Param[" integer "]"         Param comes last and counts parameters
    attribute = (identifier | string) "=" value
    value  = integer | float | "True" | "False" | string | "(" [ number { "," number } [","] ] ")"
    shape  = "[" [ integer { "," integer } ] "]"

A shape equal to that of the first input, and MACs of 0, are left out. Strings are JSON strings.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, Final

import numpy as np

from archcast.errors import GraphError
from archcast.graphs.builder import edges_of
from archcast.graphs.graph import AttributeValue, ComputationGraph, Node, Shape

_ARROW: Final = " --> "


def render(graph: ComputationGraph) -> str:
    """The text of `graph`; `parse` gives back an equal graph."""
    lines = [f"graph {json.dumps(graph.name, ensure_ascii=False)} unused_params={graph.unused_params}"]
    inputs: list[list[int]] = [[] for _ in graph.nodes]
    for source, target in graph.edge_index.T.tolist():
        inputs[target].append(source)
    readers = Counter(graph.edge_index[0].tolist())
    chain: list[str] = []
    for index, node in enumerate(graph.nodes):
        first_shape = graph.nodes[inputs[index][0]].shape if inputs[index] else None
        chain.append(_node(node, ["prev"] if chain else [f"V{source}" for source in inputs[index]], first_shape))
        follows = index + 1 < len(graph) and inputs[index + 1] == [index] and readers[index] == 1
        if not follows:
            lines.append(_ARROW.join([*chain, f"V{index}:{_shape(node.shape)}"]))
            chain = []
    return "\n".join(lines) + "\n"


def _node(node: Node, inputs: list[str], first_shape: Shape | None) -> str:
    if node.params:
        inputs = [*inputs, f"Param[{node.params}]"]
    text = f"{node.op}({', '.join(inputs)})"
    if node.attributes:
        text += f"({', '.join(f'{_name(name)}={_value(value)}' for name, value in node.attributes.items())})"
    if node.shape != first_shape:
        text += f":{_shape(node.shape)}"
    return text + (f"@{node.macs}" if node.macs else "")


def _name(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (tuple, list)):
        inner = ", ".join(_value(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def _shape(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"


def parse(text: str) -> ComputationGraph:
    """The graph that `render` wrote.

    Raises:
        GraphError: the text does not follow the grammar; the message names line and column.
    """
    return _Parser(text).graph()


class _Parser:
    """Recursive descent over the text; `position` is the next character."""

    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0
        self.nodes: list[Node] = []
        self.inputs: list[tuple[int, ...]] = []

    def graph(self) -> ComputationGraph:
        self._expect("graph")
        name = self._string()
        self._expect("unused_params=")
        unused = self._integer()
        self._end_line()
        while self.position < len(self.text):
            self._line()
            self._end_line()
        if unused + sum(node.params + node.macs for node in self.nodes) >= 2**62:
            raise self._error("parameters and MACs are too many to be real")
        return ComputationGraph(tuple(self.nodes), edges_of(self.inputs), unused, name)

    def _line(self) -> None:
        self._node(chained=False)
        while True:
            self._expect("-->")
            if (start := self._take(r"V(\d{1,18})")) is not None:
                break
            self._node(chained=True)
        last = len(self.nodes) - 1
        if int(start[1]) != last:
            raise self._error(f"the line ends with value {start[1]}, but its last node is number {last}")
        self._expect(":")
        if self._read_shape() != self.nodes[last].shape:
            raise self._error(f"the shape at the end of the line is not that of node {last}")

    def _node(self, *, chained: bool) -> None:
        op = self._required(r"[A-Za-z]\w*", "the name of an operation")[0]
        start = self.position
        inputs, params = self._inputs(chained=chained)
        attributes = self._attributes() if self._accept("(") else {}
        shape = self.nodes[inputs[0]].shape if inputs else ()
        if self._accept(":"):
            shape = self._read_shape()
        macs = self._integer() if self._accept("@") else 0
        try:
            self.nodes.append(Node(op, attributes, shape, params, macs))
        except GraphError as error:
            self.position = start
            raise self._error(str(error)) from error
        self.inputs.append(inputs)

    def _inputs(self, *, chained: bool) -> tuple[tuple[int, ...], int]:
        self._expect("(")
        inputs, params = list[int](), 0
        closed = self._accept(")")
        while not closed:
            if (match := self._take(r"Param\[(\d{1,18})\]")) is not None:
                params = int(match[1])
                self._expect(")")
                break
            inputs.append(self._reference(chained=chained))
            closed = self._accept(")")
            if not closed:
                self._expect(",")
        if chained and inputs != [len(self.nodes) - 1]:
            raise self._error("a node inside a chain reads 'prev' and nothing else")
        return tuple(inputs), params

    def _reference(self, *, chained: bool) -> int:
        if chained:
            self._expect("prev")
            return len(self.nodes) - 1
        source = int(self._required(r"V(\d{1,18})", "an input such as V3, or Param[...]")[1])
        if source >= len(self.nodes):
            raise self._error(f"V{source} is read before it is made")
        return source

    def _attributes(self) -> dict[str, AttributeValue]:
        attributes: dict[str, AttributeValue] = {}
        while True:
            match = self._take(r"[A-Za-z_]\w*")
            name = match[0] if match is not None else self._string()
            if name in attributes:
                raise self._error(f"attribute {name!r} is given twice")
            self._expect("=")
            attributes[name] = self._attribute_value()
            if self._accept(")"):
                return attributes
            self._expect(",")

    def _attribute_value(self) -> AttributeValue:
        if self._accept("True"):
            return True
        if self._accept("False"):
            return False
        if not self._accept("("):
            return self._string() if self._peek('"') else self._number()
        numbers: list[Any] = []
        while not self._accept(")"):
            numbers.append(self._number())
            if not self._accept(","):
                self._expect(")")
                break
        return tuple(numbers)

    def _number(self) -> int | float:
        text = self._required(r"-?(?:inf|nan|\d{1,18}(?:\.\d+)?(?:[eE][+-]?\d+)?)", "a number")[0]
        return int(text) if text.lstrip("-").isdigit() else float(text)

    def _read_shape(self) -> Shape:
        self._expect("[")
        if self._accept("]"):
            return ()
        sizes = [self._integer()]
        while self._accept(","):
            sizes.append(self._integer())
        self._expect("]")
        return tuple(sizes)

    def _integer(self) -> int:
        return int(self._required(r"\d{1,18}", "a whole number")[0])

    def _string(self) -> str:
        match = self._required(r'"(?:[^"\\\n]|\\.)*"', "a string in double quotes")
        try:
            return str(json.loads(match[0]))
        except json.JSONDecodeError as error:
            raise self._error(f"not a JSON string: {error.msg}") from error

    def _end_line(self) -> None:
        if self._take(r"(?:\s*\n)+\s*|\s*$") is None:
            raise self._error("expected the end of the line")

    def _peek(self, literal: str) -> bool:
        return self.text.startswith(literal, self.position)

    def _accept(self, literal: str) -> bool:
        return self._take(re.escape(literal)) is not None

    def _expect(self, literal: str) -> None:
        self._required(re.escape(literal), repr(literal))

    def _required(self, pattern: str, what: str) -> re.Match[str]:
        match = self._take(pattern)
        if match is None:
            found = self.text[self.position : self.position + 20].split("\n")[0]
            raise self._error(f"expected {what}, found {found!r}" if found else f"expected {what}, found the end")
        return match

    def _take(self, pattern: str) -> re.Match[str] | None:
        """Match `pattern` here and skip it and the spaces behind it."""
        match = re.compile(pattern).match(self.text, self.position)
        if match is not None:
            self.position = match.end()
            while self._peek(" "):
                self.position += 1
        return match

    def _error(self, message: str) -> GraphError:
        before = self.text[: self.position]
        line, column = before.count("\n") + 1, self.position - (before.rfind("\n") + 1) + 1
        return GraphError(f"line {line}, column {column}: {message}")
