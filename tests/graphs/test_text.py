"""Text of a graph: an exact round trip, and errors that name the place."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.errors import GraphError
from archcast.graphs.builder import GraphBuilder, edges_of
from archcast.graphs.graph import ComputationGraph, Node
from archcast.graphs.nodes import conv, plain
from archcast.graphs.text import parse, render
from archcast.graphs.vocabulary import OPS

INTEGERS = st.integers(-(10**15), 10**15)
FLOATS = st.floats(allow_nan=False)
VALUES = st.one_of(
    st.booleans(),
    INTEGERS,
    FLOATS,
    st.text(max_size=12),
    st.lists(INTEGERS, max_size=4).map(tuple),
    st.lists(FLOATS, max_size=3).map(tuple),
)
ATTRIBUTES = st.dictionaries(
    st.one_of(st.from_regex(r"[a-z_]+", fullmatch=True), st.text(max_size=5)), VALUES, max_size=4
)
SIZES = st.lists(st.integers(0, 10**6), max_size=4).map(tuple)


@st.composite
def graphs(draw: st.DrawFn) -> ComputationGraph:
    size = draw(st.integers(0, 8))
    nodes, inputs = [], []
    for index in range(size):
        nodes.append(
            Node(
                draw(st.sampled_from(OPS)),
                draw(ATTRIBUTES),
                draw(SIZES),
                draw(st.integers(0, 10**9)),
                draw(st.integers(0, 10**12)),
            )
        )
        inputs.append(draw(st.lists(st.integers(0, index - 1), max_size=3)) if index else [])
    return ComputationGraph(tuple(nodes), edges_of(inputs), draw(st.integers(0, 10**9)), draw(st.text(max_size=10)))


def assert_equal(left: ComputationGraph, right: ComputationGraph) -> None:
    assert left.nodes == right.nodes
    assert [[type(value) for value in node.attributes.values()] for node in left.nodes] == [
        [type(value) for value in node.attributes.values()] for node in right.nodes
    ]
    assert left.edge_index.tolist() == right.edge_index.tolist()
    assert (left.unused_params, left.name) == (right.unused_params, right.name)


@given(graphs())
@settings(max_examples=200, deadline=None)
def test_round_trip(graph: ComputationGraph) -> None:
    text = render(graph)
    assert_equal(parse(text), graph)
    assert render(parse(text)) == text


def toy() -> ComputationGraph:
    builder = GraphBuilder()
    value = builder.input((1, 3, 8, 8))
    hidden = builder.add(plain("Relu", (1, 3, 8, 8)), builder.add(conv((1, 3, 8, 8), 3, 1, bias=True), value))
    builder.output(builder.add(plain("Add", (1, 3, 8, 8)), value, hidden))
    return builder.build(name="toy")


def test_reads_like_onnx_net() -> None:
    lines = toy().text().splitlines()
    assert lines[0] == 'graph "toy" unused_params=0'
    assert lines[1] == "Input():[1,3,8,8] --> V0:[1,3,8,8]"
    assert lines[2].startswith("Conv(V0, Param[12])(bias=True, dilation=(1, 1), groups=1,")
    assert lines[2].endswith("@576 --> Relu(prev) --> V2:[1,3,8,8]")
    assert lines[3] == "Add(V0, V2) --> Output(prev) --> V4:[1,3,8,8]"


BROKEN = {
    "": (1, "expected 'graph'"),
    "graph toy unused_params=0\n": (1, "a string in double quotes"),
    'graph "toy" unused_params=x\n': (1, "a whole number"),
    'graph "a\\qb" unused_params=0\n': (1, "not a JSON string"),
    'graph "t" unused_params=0\nFrob():[1] --> V0:[1]\n': (2, "not in the op vocabulary"),
    'graph "t" unused_params=0\nInput():[1]\n': (2, "expected '-->'"),
    'graph "t" unused_params=0\nInput():[1] --> V1:[1]\n': (2, "last node is number 0"),
    'graph "t" unused_params=0\nInput():[1] --> V0:[2]\n': (2, "not that of node 0"),
    'graph "t" unused_params=0\nInput():[1] --> V0:[1]\nRelu(V1) --> V1:[1]\n': (3, "read before it is made"),
    'graph "t" unused_params=0\nRelu(V0) --> V0:[1]\n': (2, "read before it is made"),
    'graph "t" unused_params=0\nInput():[1] --> Relu() --> V1:[1]\n': (2, "reads 'prev'"),
    'graph "t" unused_params=0\nInput()(a=1, a=2):[1] --> V0:[1]\n': (2, "given twice"),
    'graph "t" unused_params=0\nInput()(a=):[1] --> V0:[1]\n': (2, "a number"),
    'graph "t" unused_params=0\nInput():[99999999999999999999] --> V0:[1]\n': (2, "expected ']'"),
    'graph "t" unused_params=0\nInput():[1]@999999999999999999 --> Relu(prev)@999999999999999999 --> Relu(prev)'
    "@999999999999999999 --> Relu(prev)@999999999999999999 --> Relu(prev)@999999999999999999 --> V4:[1]\n": (
        3,
        "too many",
    ),
    'graph "t" unused_params=0\nInput():[1] --> V0:[1] rest\n': (2, "end of the line"),
}


@pytest.mark.parametrize("text", BROKEN)
def test_errors_name_the_place(text: str) -> None:
    line, message = BROKEN[text]
    with pytest.raises(GraphError, match="line") as caught:
        parse(text)
    assert message in str(caught.value)
    assert f"line {line}, column" in str(caught.value)


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_gives_a_graph_or_a_graph_error(text: str) -> None:
    try:
        parse('graph "t" unused_params=0\n' + text)
    except GraphError as error:
        message = str(error)
    else:
        message = "line"
    assert message.startswith("line")
