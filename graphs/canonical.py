"""`canonicalise`: the pass both front ends run last, so that one network has one graph.

What it does, in this order:

1. Nodes that reach no `Output` are dropped; their parameters become `unused_params`.
2. Nodes that depend on no `Input` are constants and are folded, as exporters do; if one carries parameters (a
   position table, a standardised weight), they move to the first node that reads the constant.
3. Decompositions are fused to the operation they spell out (see `archcast.graphs.fusions`): Swish, Gelu,
   HardSwish, Mish, Glu, LayerNormalization, RMSNormalization, GroupNormalization, Attention ...

Topological order, the order of inputs and the total of parameters are kept.
"""

from __future__ import annotations

from typing import Final

from archcast.graphs.builder import edges_of
from archcast.graphs.fusions import Draft, fuse_patterns
from archcast.graphs.graph import ComputationGraph, Node

_SOURCES: Final = frozenset({"Input", "Random"})  # values that differ from call to call


def canonicalise(graph: ComputationGraph) -> ComputationGraph:
    """The canonical form of `graph`; idempotent."""
    draft, unused = _reduced(graph)
    return _compact(draft, unused, graph.name)


def survivors(graph: ComputationGraph) -> list[int]:
    """For each node of `canonicalise(graph)` its position in `graph`; a fused node is where its last part was."""
    draft, _ = _reduced(graph)
    return [index for index, node in enumerate(draft.nodes) if node is not None]


def _reduced(graph: ComputationGraph) -> tuple[Draft, int]:
    """The graph without what canonicalising removes, and the parameters no node uses."""
    draft = Draft(list(graph.nodes), _inputs(graph))
    unused = graph.unused_params + _drop_dead(draft)
    _fold_constants(draft)
    _drop_dead(draft)
    draft.link()
    fuse_patterns(draft)
    return draft, unused


def _inputs(graph: ComputationGraph) -> list[tuple[int, ...]]:
    inputs: list[list[int]] = [[] for _ in graph.nodes]
    for source, target in graph.edge_index.T.tolist():
        inputs[target].append(source)
    return [tuple(row) for row in inputs]


def _drop_dead(draft: Draft) -> int:
    """Remove the nodes no `Output` needs and return the parameters they held. Inputs stay."""
    needed = [False] * len(draft.nodes)
    lost = 0
    for index in range(len(draft.nodes) - 1, -1, -1):
        node = draft.nodes[index]
        if node is None:
            continue
        if needed[index] or node.op in ("Output", "Input"):
            for source in draft.inputs[index]:
                needed[source] = True
        else:
            lost += node.params
            draft.nodes[index] = None
            draft.inputs[index] = ()
    return lost


def _fold_constants(draft: Draft) -> None:
    """Cut the nodes that depend on no input out of the inputs of those that do."""
    varies = [False] * len(draft.nodes)
    carried: dict[int, int] = {}  # constant that still holds parameters -> how many
    for index, node in enumerate(draft.nodes):
        if node is None:
            continue
        inputs = draft.inputs[index]
        varies[index] = node.op in _SOURCES or any(varies[source] for source in inputs)
        if node.op == "Output":
            continue
        constants = [source for source in dict.fromkeys(inputs) if not varies[source]]
        moved = sum(carried.pop(source, 0) for source in constants)
        if not varies[index]:
            # A constant that an Output shows stays whole; _drop_dead removes all the others.
            if node.params + moved:
                carried[index] = node.params + moved
        elif constants:
            draft.inputs[index] = tuple(source for source in inputs if varies[source])
        if moved:
            draft.nodes[index] = node.replace(params=node.params + moved)
            _take_params(draft, constants, moved)


def _take_params(draft: Draft, constants: list[int], moved: int) -> None:
    """Zero the parameters of `constants` and of what they are computed from, `moved` in all."""
    stack, seen = list(constants), set(constants)
    while stack and moved:
        index = stack.pop()
        node = draft.nodes[index]
        if node is not None and node.params:
            moved -= node.params
            draft.nodes[index] = node.replace(params=0)
        fresh = [source for source in draft.inputs[index] if source not in seen]
        seen.update(fresh)
        stack.extend(fresh)


def _compact(draft: Draft, unused: int, name: str) -> ComputationGraph:
    nodes: list[Node] = []
    inputs: list[tuple[int, ...]] = []
    position: dict[int, int] = {}
    for index, node in enumerate(draft.nodes):
        if node is not None:
            position[index] = len(nodes)
            nodes.append(node)
            inputs.append(tuple(position[source] for source in draft.inputs[index]))
    return ComputationGraph(tuple(nodes), edges_of(inputs), unused, name)
