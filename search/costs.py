"""Costs known before training: counted on the graph, looked up, or computed by the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError, DataError
from archcast.graphs.graph import GraphBatch

FloatArray = NDArray[np.float64]
Cost = Callable[[Sequence[str]], Any] | Mapping[str, float]
"""What a spec costs: a function from a list of specs to one number each, or a table."""

_BYTES = 4


def activation_memory(graphs: GraphBatch) -> FloatArray:
    """`[n]` bytes: the most that any one node holds at a time, its inputs and its output, as 32-bit numbers.

    What inference needs at least, weights aside: max over nodes v of 4 (|out_v| + sum |out_u|, u an input of v).
    """
    sizes = graphs.column([float(np.prod(node.shape)) for node in graphs.nodes])
    held = sizes.astype(np.float64)
    source, target = graphs.edge_index
    np.add.at(held, target, sizes[source])
    return np.asarray(_BYTES * np.maximum.reduceat(held, graphs.ptr[:-1]))


COUNTED: Final[Mapping[str, Callable[[GraphBatch], Any]]] = {
    "params": lambda graphs: graphs.params,
    "macs": lambda graphs: graphs.macs,
    "activation_memory": activation_memory,
}
"""Costs that every graph tells."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """What is known of architectures before anything is trained.

    Attributes:
        features: `[n, F]` of `archcast.encoders.features`.
        counted: name in `COUNTED` -> `[n]`.
    """

    features: NDArray[np.float32]
    counted: Mapping[str, FloatArray]

    @classmethod
    def of(cls, graphs: GraphBatch) -> Encoded:
        from archcast.encoders.features import encode

        counted = {name: np.asarray(count(graphs), dtype=np.float64) for name, count in COUNTED.items()}
        return cls(encode(graphs), counted)


def given_cost(name: str, cost: Cost, specs: Sequence[str]) -> FloatArray:
    """`[n]` a cost of the user; NaN where a table does not have it.

    Raises:
        DataError: the function gives something else than one number per spec.
    """
    if isinstance(cost, Mapping):
        return np.asarray([cost.get(spec, np.nan) for spec in specs], dtype=np.float64)
    try:
        values = np.asarray(cost(list(specs)), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"cost {name!r} must give one number per spec of a list ({error})") from error
    if values.shape != (len(specs),):
        raise DataError(f"cost {name!r} gave shape {values.shape} for {len(specs)} specs; give one number each")
    return values


def check_costs(names: Sequence[str], given: Mapping[str, Cost]) -> None:
    """Every limited cost must be known.

    Raises:
        ConfigError: one is neither counted nor given.
    """
    if unknown := sorted(set(names) - set(COUNTED) - set(given)):
        raise ConfigError(
            f"unknown costs: {', '.join(unknown)}; counted are {', '.join(COUNTED)}, pass others as costs={{name: "
            "function or table}"
        )
