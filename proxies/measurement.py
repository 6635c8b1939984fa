"""`measure`: all statistics of one network from shared passes, per node and as a whole."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ArchcastError, ConfigError, NetworkError, one_line
from archcast.graphs.capture import InputShape
from archcast.graphs.graph import ComputationGraph
from archcast.graphs.modules import buildable
from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy, chosen, total
from archcast.proxies.subject import prepared

BATCH = 16
VERSION = 1
"""Raised whenever a change makes the same network measure differently; tables of measurements carry it."""


@dataclass(frozen=True, eq=False)
class Measurements:
    """What was measured at one network.

    Attributes:
        name: name of the network.
        scores: proxy -> score, higher is better; NaN where it does not exist (see `missing`).
        nodes: proxy -> `[N]` its value at each node of the graph, NaN at nodes it is not defined at, before the sign.
        ops: `[N]` ops of the nodes, those of `archcast.capture(network)`.
        missing: proxy -> why there is no score.
        notes: what a reader should know, such as frozen parameters.
        seconds: time of all passes.
    """

    name: str
    scores: Mapping[str, float]
    nodes: Mapping[str, NDArray[np.float64]]
    ops: tuple[str, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def measure(
    network: Any,
    proxies: str | Sequence[str] = "full",
    *,
    input_shape: InputShape | None = None,
    small: bool = False,
    batch: int = BATCH,
    seed: int = 0,
    device: str = "cpu",
    fresh: bool = False,
) -> Measurements:
    """Measure zero-cost statistics of a network at the weights it has.

    Deterministic: the same network, weights, batch and seed give the same numbers on one kind of machine. The network
    is left as it was.

    Args:
        network: a module, a callable that builds one (with the weights that `seed` draws), an ONNX file, a zoo name or
            a benchmark spec.
        proxies: "fast", "full", a name, or names.
        input_shape: shape or shapes of the inputs; by default what the network itself says.
        small: measure the cheap stand-in of a benchmark spec (`SearchSpace.small`).
        batch: number of samples, at least 2.
        seed: of weights that are drawn, inputs and labels.
        fresh: draw new weights for a module that is given.

    Raises:
        NetworkError: the network cannot be run, its outputs are not finite, or nothing in it can be trained.
        UnknownNameError: a proxy or network name that does not exist.
        ConfigError: `batch` below 2.
    """
    wanted = chosen(proxies)
    if batch < 2:
        raise ConfigError(f"batch={batch}: statistics compare samples, take at least 2")
    started = time.perf_counter()
    source = buildable(network, input_shape, small=small)
    with prepared(source, batch=batch, seed=seed, device=device, fresh=fresh) as subject:
        passes = Passes(subject)
        _try_forward(passes, source.name)
        scores, per_node, missing = _evaluate(passes, wanted)
        ops, nodes = _on_graph(passes, per_node)
        notes = tuple(subject.notes)
    seconds = time.perf_counter() - started
    return Measurements(source.name, scores, nodes, ops, missing, notes, seconds)


def _try_forward(passes: Passes, name: str) -> None:
    try:
        _ = passes.logits
    except ArchcastError:
        raise
    except Exception as error:  # whatever a user's forward raises
        raise NetworkError(
            f"{name} cannot be run on inputs of shape {passes.subject.feed} ({type(error).__name__}: {error}); "
            "give input_shape=... if it takes others"
        ) from error


def _evaluate(
    passes: Passes, wanted: Sequence[Proxy]
) -> tuple[dict[str, float], dict[str, NodeValues], dict[str, str]]:
    scores: dict[str, float] = {}
    per_node: dict[str, NodeValues] = {}
    missing: dict[str, str] = {}
    for proxy in wanted:
        try:
            nodes = proxy.nodes(passes)
            if not nodes and proxy.score is total:
                raise UnmeasurableError("no layer of the network has what it sums up")
            value = proxy.score(passes, nodes)
        except (UnmeasurableError, ArchcastError) as error:
            scores[proxy.name], missing[proxy.name] = math.nan, str(error)
            continue
        except Exception as error:  # an operation without the derivative it needs, a forward that wants this very batch
            scores[proxy.name], missing[proxy.name] = math.nan, f"{type(error).__name__}: {one_line(error)}"
            continue
        if not math.isfinite(value):
            scores[proxy.name], missing[proxy.name] = math.nan, "the value is not finite"
            continue
        scores[proxy.name] = proxy.sign * value
        per_node[proxy.name] = nodes
    return scores, per_node, missing


def _on_graph(
    passes: Passes, per_node: Mapping[str, NodeValues]
) -> tuple[tuple[str, ...], dict[str, NDArray[np.float64]]]:
    """Values of the tape as arrays over the nodes of the canonical graph; what falls on one node is added up."""
    tape, outputs = passes.tape, passes.outputs
    raw = tape.graph(outputs)
    places = tape.places(outputs, raw)
    graph = _canonical(raw)
    arrays = {}
    for name, values in per_node.items():
        if not values:
            continue
        array = np.full(len(graph), np.nan)
        for value, number in values.items():
            place = places.get(value)
            if place is not None:
                array[place] = number if math.isnan(array[place]) else array[place] + number
        arrays[name] = array
    return graph.ops, arrays


def _canonical(raw: ComputationGraph) -> ComputationGraph:
    from archcast.graphs.canonical import canonicalise

    return canonicalise(raw)
