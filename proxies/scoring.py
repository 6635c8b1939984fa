"""`score`: proxies of many networks, in parallel processes, each network measured once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from archcast.errors import ArchcastError, ConfigError
from archcast.graphs.capture import InputShape, canonical, is_path
from archcast.graphs.modules import buildable
from archcast.graphs.tracing import trace
from archcast.proxies.measurement import BATCH, Measurements, measure
from archcast.proxies.proxy import chosen
from archcast.proxies.store import MeasurementStore, measurement_key
from archcast.spreading import chunk_size, spread
from archcast.workers import prepare_worker

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class ProxyScores:
    """Scores of many networks.

    Attributes:
        networks: `[n]` their names.
        names: `[S]` the proxies.
        values: `[n, S]` scores, higher is better, NaN where there is none.
        missing: (network, proxy) -> why there is none.
        measurements: `[n]` everything that was measured, per node too; None where the network failed.
    """

    networks: tuple[str, ...]
    names: tuple[str, ...]
    values: NDArray[np.float64]
    missing: Mapping[tuple[str, str], str] = field(default_factory=dict)
    measurements: tuple[Measurements | None, ...] = ()

    def __len__(self) -> int:
        return len(self.networks)

    def column(self, name: str) -> NDArray[np.float64]:
        """`[n]` the scores of one proxy."""
        result: NDArray[np.float64] = self.values[:, self.names.index(name)]
        return result

    def to_frame(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(self.values, index=pd.Index(self.networks, name="network"), columns=list(self.names))


def score(
    networks: Sequence[Any],
    proxies: str | Sequence[str] = "fast",
    *,
    input_shape: InputShape | None = None,
    small: bool = False,
    batch: int = BATCH,
    seed: int = 0,
    device: str = "cpu",
    jobs: int = 1,
    executor: Executor | None = None,
    cache: bool = True,
    progress: bool = True,
) -> ProxyScores:
    """Zero-cost proxies of many networks.

    Args:
        networks: as for `measure`.
        proxies: "fast", "full", a name, or names.
        small: measure the cheap stand-ins of benchmark specs (`SearchSpace.small`).
        jobs: number of processes; each computes on one thread. Networks are sent to them: callables must be importable.
        executor: measures instead of processes of this machine: `archcast.ray_executor.RayExecutor` on a cluster.
        cache: read and keep measurements of networks that `seed` draws the weights of (`MeasurementStore`). Modules
            and ONNX files are measured with the weights they have and never cached. Whatever measures, each result is
            kept on this machine as it comes: a call that was killed goes on where it was.
        progress: show a bar with the time left.

    A network that cannot be measured has NaN scores and its error in `missing`; the others are not lost.

    Raises:
        ConfigError: no networks, or `jobs` below 1.
        UnknownNameError: a proxy that does not exist.
    """
    if isinstance(networks, (str, torch.nn.Module)) or not len(networks):
        raise ConfigError("give a list of networks, at least one")
    if jobs < 1:
        raise ConfigError(f"jobs={jobs}: give the number of processes, at least 1")
    names = tuple(proxy.name for proxy in chosen(proxies))
    settings = _Settings(names, input_shape, small, batch, seed, device, cache)
    results: list[Measurements | str] = [""] * len(networks)
    from tqdm import tqdm

    with tqdm(total=len(networks), desc="measure", disable=not progress) as bar:
        for index, result in _measured(networks, settings, jobs, executor):
            results[index] = result
            bar.update()
    return _table(networks, names, results)


@dataclass(frozen=True)
class _Settings:
    names: tuple[str, ...]
    input_shape: Any
    small: bool
    batch: int
    seed: int
    device: str
    cache: bool


def _measured(
    networks: Sequence[Any], settings: _Settings, jobs: int, executor: Executor | None
) -> Iterator[tuple[int, Measurements | str]]:
    """Positions and results as they come: one by one, from processes, or from whatever the executor has."""
    if executor is not None:
        yield from _measured_by(executor, networks, settings, chunk_size(len(networks)))
    elif jobs > 1:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=prepare_worker) as pool:
            yield from _measured_by(pool, networks, settings, 1)
    else:
        for index, network in enumerate(networks):
            yield from ((index, result) for _, result in _measured_by(None, [network], settings, 1))


def _measured_by(
    executor: Executor | None, networks: Sequence[Any], settings: _Settings, size: int
) -> Iterator[tuple[int, Measurements | str]]:
    """Nothing is measured that this machine's store holds, and everything measured goes there: workers may be on
    machines with stores of their own, so they only compute the keys."""
    keys: dict[int, str] = {}
    known: dict[str, Measurements] = {}
    store = MeasurementStore()
    if settings.cache:
        made = spread(executor, partial(_keys, settings=settings), networks, size)
        keys = {row: key for row, key in made if isinstance(key, str) and key}
        known = store.read(keys.values())
    yield from ((row, known[key]) for row, key in keys.items() if key in known)
    left = [row for row in range(len(networks)) if keys.get(row) not in known]
    for place, result in spread(executor, partial(_measure, settings=settings), [networks[row] for row in left], size):
        row = left[place]
        if row in keys and isinstance(result, Measurements):
            store.write(keys[row], result)
        yield row, result if isinstance(result, Measurements) else str(result)


def _keys(networks: Sequence[Any], settings: _Settings) -> list[str]:
    """Where measurements are kept; nothing for a network that is never cached, or broken."""
    return [_key_of(network, settings) if _drawn_by_seed(network) else "" for network in networks]


def _measure(networks: Sequence[Any], settings: _Settings) -> list[Measurements | str]:
    return [_measure_one(network, settings) for network in networks]


def _measure_one(network: Any, settings: _Settings) -> Measurements | str:
    """Measurements, or the message of the error."""
    try:
        source = buildable(network, settings.input_shape, small=settings.small)
        return measure(source, settings.names, batch=settings.batch, seed=settings.seed, device=settings.device)
    except ArchcastError as error:
        return str(error)


def _drawn_by_seed(network: Any) -> bool:
    """Whether a network comes without weights of its own, unlike modules and ONNX files."""
    if isinstance(network, str):
        return not network.lower().endswith(".onnx") and not is_path(network)
    return not isinstance(network, (torch.nn.Module, Path)) and type(network).__name__ != "ModelProto"


def _key_of(network: Any, settings: _Settings) -> str:
    options = (settings.names, settings.batch, settings.seed, settings.device)
    try:
        source = buildable(network, settings.input_shape, small=settings.small)
        if source.identity:
            return measurement_key(source.identity, (), source.feed_key, *options)
        graph = canonical(trace(source.build, None, name=source.name, feed_rule=source.feed)[0])
        return measurement_key(graph.hash(), graph.ops, source.feed_key, *options)
    except ArchcastError:
        return ""  # measuring it tells what is wrong


def _table(networks: Sequence[Any], names: tuple[str, ...], results: Sequence[Measurements | str]) -> ProxyScores:
    values = np.full((len(networks), len(names)), math.nan)
    missing: dict[tuple[str, str], str] = {}
    labels = []
    for row, (network, result) in enumerate(zip(networks, results, strict=True)):
        label = result.name if isinstance(result, Measurements) else _label(network, row)
        labels.append(label)
        if isinstance(result, str):
            missing.update({(label, name): result for name in names})
            continue
        values[row] = [result.scores[name] for name in names]
        missing.update({(label, name): reason for name, reason in result.missing.items()})
    measurements = tuple(result if isinstance(result, Measurements) else None for result in results)
    return ProxyScores(tuple(labels), names, values, missing, measurements)


def _label(network: Any, row: int) -> str:
    return network if isinstance(network, str) else str(getattr(network, "name", f"network {row}"))
