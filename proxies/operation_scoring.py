"""Zero-Cost-PT (Xiang et al., "Zero-cost operation scoring in differentiable architecture search", AAAI 2023).

The worth of an operation is what a zero-cost proxy loses when the operation is taken out of a supernet at
initialisation:

    worth(e, o) = S(A) - S(A without o on edge e)

`discretise` goes through the edges one by one: it keeps the operation of the highest worth on an edge, throws the
others out, and scores the next edge on what is left. `search_operations` repeats that in several random orders of the
edges and takes the network to which the proxy gives the highest score on its own.

A supernet is any module with layers that have the attributes of `ChoiceLayer`; layers with the same `decision` are
decided together, as the copies of a cell. `archcast.datasets.nasbench201_supernet` is one.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from torch import nn

from archcast.errors import ConfigError, NetworkError
from archcast.graphs.capture import InputShape
from archcast.graphs.modules import buildable
from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import get_proxy
from archcast.proxies.subject import prepared

BATCH = 8
PROXY = "synflow"
"""On NAS-Bench-201 it finds better cells than NASWOT, with which the authors' released code scores."""

Choices = Mapping[str, str]
"""Decision -> operation."""


class ChoiceLayer(Protocol):
    """A layer of a supernet that sums up what several candidate operations make of its input.

    Attributes:
        decision: name of the choice it belongs to.
        candidates: name -> operation.
        kept: names of the candidates that its forward pass uses now; set from outside.
    """

    decision: str
    candidates: nn.ModuleDict
    kept: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What `search_operations` found.

    Attributes:
        choices: decision -> operation of the best network.
        score: of that network by the proxy, mean over `validation` batches.
        proposals: all distinct networks the orders led to, with their scores, in the order they were found.
    """

    choices: Choices
    score: float
    proposals: tuple[tuple[Choices, float], ...]


def score_operations(
    supernet: nn.Module,
    proxy: str = PROXY,
    *,
    input_shape: InputShape | None = None,
    batch: int = BATCH,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Decision -> operation -> its worth in the supernet as it is, in the unit of the proxy; higher is better.

    The worth is infinite where the supernet cannot be measured without the operation. Operations that were thrown out
    are not scored. The supernet is left as it was.

    Args:
        supernet: a module with `ChoiceLayer`s, with the weights it has.
        proxy: name of a proxy.
        input_shape: by default what the supernet itself says.
        batch: number of samples.
        seed: of the inputs.

    Raises:
        UnknownNameError: no such proxy.
        ConfigError: the supernet has no layer to decide, or layers of one decision have different candidates.
        NetworkError: the proxy does not exist for the supernet itself.
    """
    rating = _Rating(proxy, input_shape, batch, seed)
    whole = rating(supernet)
    if math.isnan(whole):
        raise NetworkError(f"{proxy} does not exist for this supernet; choose another proxy")
    return {
        decision: {
            operation: math.inf if math.isnan(left) else whole - left
            for operation, left in _without_each(supernet, layers, rating).items()
        }
        for decision, layers in decisions(supernet).items()
    }


def discretise(
    supernet: nn.Module,
    proxy: str = PROXY,
    *,
    input_shape: InputShape | None = None,
    batch: int = BATCH,
    seed: int = 0,
) -> dict[str, str]:
    """Decide edge by edge, in the random order that `seed` draws; gives decision -> operation.

    The supernet is left as it was. Arguments and errors are those of `score_operations`.
    """
    rating = _Rating(proxy, input_shape, batch, seed)
    groups = decisions(supernet)
    order = np.random.default_rng(seed).permutation(list(groups))
    chosen: dict[str, str] = {}
    with _restored(supernet):
        for decision in map(str, order):
            left = _without_each(supernet, groups[decision], rating)
            # What cannot be measured without an operation needs it most.
            chosen[decision] = min(left, key=lambda operation: _or_lowest(left[operation]))
            _keep(groups[decision], (chosen[decision],))
    return {decision: chosen[decision] for decision in groups}


def search_operations(
    build: Callable[[], nn.Module],
    network: Callable[[Choices], Any],
    proxy: str = PROXY,
    *,
    orders: int = 10,
    validation: int = 1,
    input_shape: InputShape | None = None,
    batch: int = BATCH,
    seed: int = 0,
) -> Found:
    """`discretise` in several random orders, then the best of the networks found, each scored on its own.

    The authors take 10 orders and validate on 100 batches.

    Args:
        build: gives a supernet; called once for each order, with other random weights each time.
        network: makes the network of the choices: anything that `archcast.proxies.measure` takes and that tells its
            own input shape, such as a benchmark spec.
        input_shape: of the supernet; it may be smaller than that of the networks.
        orders: number of proposals.
        validation: number of batches (and draws of weights) that proposals are scored on.

    Raises:
        ConfigError: `orders` or `validation` below 1.
        NetworkError: the proxy exists for none of the networks found.
    """
    if orders < 1 or validation < 1:
        raise ConfigError(f"orders={orders}, validation={validation}: give at least 1 of each")
    found: dict[tuple[tuple[str, str], ...], float] = {}
    for draw in range(orders):
        one = seed * 1_009 + draw
        supernet = _built(build, one)
        choices = discretise(supernet, proxy, input_shape=input_shape, batch=batch, seed=one)
        key = tuple(choices.items())
        if key not in found:
            found[key] = _mean_score(network(choices), proxy, batch, seed, validation)
    proposals = tuple((dict(key), score) for key, score in found.items())
    best, score = max(proposals, key=lambda proposal: _or_lowest(proposal[1]))
    if math.isnan(score):
        raise NetworkError(f"{proxy} does not exist for any network found; choose another proxy")
    return Found(best, score, proposals)


def decisions(supernet: nn.Module) -> dict[str, list[ChoiceLayer]]:
    """Decision -> its layers, in the order of the modules.

    Raises:
        ConfigError: there are none, or layers of one decision differ in their candidates.
    """
    found: dict[str, list[ChoiceLayer]] = {}
    for part in supernet.modules():
        if all(hasattr(part, name) for name in ("decision", "candidates", "kept")):
            layer = cast(ChoiceLayer, part)
            found.setdefault(layer.decision, []).append(layer)
    if not found:
        raise ConfigError(
            "the supernet has no layer with the attributes decision, candidates and kept; see ChoiceLayer for what "
            "they hold"
        )
    for decision, layers in found.items():
        if len({(*layer.candidates, "|", *layer.kept) for layer in layers}) > 1:
            raise ConfigError(f"the layers of {decision!r} have different candidates; give them different decisions")
    return found


@dataclass(frozen=True)
class _Rating:
    """A proxy as a function of a network: its score, higher is better, NaN where it does not exist."""

    proxy: str
    input_shape: InputShape | None
    batch: int
    seed: int

    def __call__(self, network: Any) -> float:
        proxy = get_proxy(self.proxy)
        source = buildable(network, self.input_shape)
        with prepared(source, batch=self.batch, seed=self.seed) as subject:
            passes = Passes(subject)
            try:
                value = proxy.sign * proxy.score(passes, proxy.nodes(passes))
            except UnmeasurableError:
                return math.nan
        return value if math.isfinite(value) else math.nan


def _mean_score(network: Any, proxy: str, batch: int, seed: int, validation: int) -> float:
    scores = [_Rating(proxy, None, batch, seed * 1_009 + draw)(network) for draw in range(validation)]
    return float(np.mean(scores))


def _without_each(supernet: nn.Module, layers: list[ChoiceLayer], rating: _Rating) -> dict[str, float]:
    """Operation -> score of the supernet without it."""
    kept = layers[0].kept
    if len(kept) == 1:
        return {kept[0]: math.nan}
    left = {}
    with _restored(supernet):
        for operation in kept:
            _keep(layers, tuple(name for name in kept if name != operation))
            left[operation] = rating(supernet)
    return left


def _keep(layers: list[ChoiceLayer], kept: tuple[str, ...]) -> None:
    for layer in layers:
        layer.kept = kept


@contextlib.contextmanager
def _restored(supernet: nn.Module) -> Iterator[None]:
    """Whatever the block removes comes back at its end."""
    before = [(layer, layer.kept) for layers in decisions(supernet).values() for layer in layers]
    try:
        yield
    finally:
        for layer, kept in before:
            layer.kept = kept


def _built(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """The supernet with the weights that `seed` draws."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _or_lowest(score: float) -> float:
    return -math.inf if math.isnan(score) else score
