"""What users hand in -> one `GraphBatch`, quickly and with progress."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ArchcastError, DataError, NetworkError
from archcast.graphs.graph import ComputationGraph, GraphBatch

_SHOW_PROGRESS_FROM = 8


def as_batch(networks: Any, input_shape: Any = None) -> tuple[GraphBatch, tuple[str, ...]]:
    """Graphs and names of `networks`: a `GraphBatch`, one network, or an iterable of networks.

    Benchmark specs of one space (`"nasbench201:|...|"`) are stamped together, thousands a second.

    Raises:
        NetworkError: `networks` is empty, or an element is no network; the message names its position.
    """
    if isinstance(networks, GraphBatch) and len(networks):
        names = networks.names or ("",) * len(networks)
        return networks, names
    items = list(networks) if _is_collection(networks) else [networks]
    if not items:
        raise NetworkError("no networks were given; pass at least one")
    graphs: list[ComputationGraph | None] = [item if isinstance(item, ComputationGraph) else None for item in items]
    pieces = _stamp_specs(items)  # a spec fixes its own input shape
    missing = [i for i, graph in enumerate(graphs) if graph is None and i not in pieces]
    for position in _with_progress(missing):
        graphs[position] = _capture(items[position], input_shape, position if len(items) > 1 else None)
    ready = [pieces.get(i) or graphs[i] for i in range(len(items))]
    batch = GraphBatch.from_graphs(graph for graph in ready if graph is not None)
    return batch, tuple(_name(item, graph) for item, graph in zip(items, ready, strict=True))


def as_scores(scores: Any, expected: int) -> NDArray[np.float64]:
    """`[n]` finite numbers.

    Raises:
        DataError: text, NaN, infinity, a wrong length, too few, or all equal.
    """
    values = as_numbers(scores, expected)
    if len(values) < MIN_LABELS:
        raise DataError(f"{len(values)} labels are too few to fit and calibrate; give at least {MIN_LABELS}")
    if np.ptp(values) == 0:
        raise DataError("all scores are equal, so there is nothing to rank; check the score column")
    return values


def as_numbers(scores: Any, expected: int) -> NDArray[np.float64]:
    """`[expected]` finite numbers, however few or equal.

    Raises:
        DataError: text, NaN, infinity or a wrong length.
    """
    try:
        given = np.asarray(scores)
        if given.dtype.kind in "USO" and any(isinstance(value, (str, bytes)) for value in given.flat):
            raise TypeError("text was given")
        values = given.astype(np.float64, casting="unsafe" if given.dtype.kind == "O" else "same_kind")
    except (TypeError, ValueError) as error:
        raise DataError(f"scores must be numbers, one per network ({error})") from error
    if values.ndim != 1 or len(values) != expected:
        raise DataError(f"{expected} networks came with scores of shape {values.shape}; give one score per network")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise DataError(f"score {values[bad[0]]} at position {bad[0]} ({len(bad)} in all): drop or repair those rows")
    return values


MIN_LABELS = 10


def _is_collection(networks: Any) -> bool:
    if isinstance(networks, (str, bytes, Path, ComputationGraph)):
        return False
    if type(networks).__module__.split(".")[0] in ("onnx", "torch"):
        return False
    if hasattr(networks, "forward") or hasattr(networks, "graph"):  # a torch module or an ONNX model
        return False
    return isinstance(networks, Iterable)


def _stamp_specs(items: list[Any]) -> dict[int, ComputationGraph]:
    """Graphs of all elements that are benchmark specs, by position."""
    by_space: dict[str, list[int]] = {}
    for position, item in enumerate(items):
        if isinstance(item, str) and ":" in item:
            by_space.setdefault(item.split(":", 1)[0], []).append(position)
    if not by_space:
        return {}
    from archcast.datasets.spaces import SPACES, get_space

    stamped: dict[int, ComputationGraph] = {}
    for prefix, positions in by_space.items():
        if prefix in SPACES:
            batch = get_space(prefix).stamp([items[i].split(":", 1)[1] for i in positions])
            stamped.update(zip(positions, batch, strict=True))
    return stamped


def _capture(item: Any, input_shape: Any, position: int | None) -> ComputationGraph:
    from archcast.graphs.capture import capture

    place = "" if position is None else f"element {position}: "
    try:
        return capture(item, input_shape)
    except TypeError as error:
        raise NetworkError(f"{place}{type(item).__name__} is not a network: {error}") from error
    except ArchcastError as error:
        if not place:
            raise
        raise type(error)(f"{place}{error}") from error


def _with_progress(positions: list[int]) -> Iterable[int]:
    if len(positions) < _SHOW_PROGRESS_FROM:
        return positions
    from tqdm.auto import tqdm

    return tqdm(positions, desc="capturing", unit="network", leave=False)


def _name(item: Any, graph: ComputationGraph | None) -> str:
    if isinstance(item, (str, Path)):
        return str(item)
    return (graph.name if graph is not None else "") or type(item).__name__
