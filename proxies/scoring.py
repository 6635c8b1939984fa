"""`score`: proxies of many networks, in parallel processes, each network measured once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from archcast.errors import ArchcastError, ConfigError
from archcast.graphs.capture import InputShape, canonical, is_path
from archcast.graphs.modules import Buildable, buildable
from archcast.graphs.tracing import trace
from archcast.proxies.measurement import BATCH, Measurements, measure
from archcast.proxies.proxy import chosen
from archcast.proxies.store import MeasurementStore, measurement_key
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
    cache: bool = True,
    progress: bool = True,
) -> ProxyScores:
    """Zero-cost proxies of many networks.

    Args:
        networks: as for `measure`.
        proxies: "fast", "full", a name, or names.
        small: measure the cheap stand-ins of benchmark specs (`SearchSpace.small`).
        jobs: number of processes; each computes on one thread. Networks are sent to them: callables must be importable.
        cache: read and keep measurements of networks that `seed` draws the weights of (`MeasurementStore`). Modules
            and ONNX files are measured with the weights they have and never cached.
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
        for index, result in _measured(networks, settings, jobs):
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


def _measured(networks: Sequence[Any], settings: _Settings, jobs: int) -> Iterator[tuple[int, Measurements | str]]:
    if jobs == 1:
        for index, network in enumerate(networks):
            yield index, _measure_one(network, settings)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=prepare_worker) as pool:
        futures = {pool.submit(_measure_one, network, settings): index for index, network in enumerate(networks)}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _measure_one(network: Any, settings: _Settings) -> Measurements | str:
    """Measurements, or the message of the error."""
    options = {"batch": settings.batch, "seed": settings.seed, "device": settings.device}
    try:
        source = buildable(network, settings.input_shape, small=settings.small)
        store = MeasurementStore() if settings.cache and _drawn_by_seed(network) else None
        key = _key(source, settings) if store else ""
        known = store.read([key]).get(key) if store else None
        if known is not None:
            return known
        made = measure(source, settings.names, **options)  # type: ignore[arg-type]
        if store:
            store.write(key, made)
        return made
    except ArchcastError as error:
        return str(error)


def _drawn_by_seed(network: Any) -> bool:
    """Whether a network comes without weights of its own, unlike modules and ONNX files."""
    if isinstance(network, str):
        return not network.lower().endswith(".onnx") and not is_path(network)
    return not isinstance(network, (torch.nn.Module, Path)) and type(network).__name__ != "ModelProto"


def _key(source: Buildable, settings: _Settings) -> str:
    options = (source.feed_key, settings.names, settings.batch, settings.seed, settings.device)
    if source.identity:
        return measurement_key(source.identity, (), *options)
    graph = canonical(trace(source.build, None, name=source.name, feed_rule=source.feed)[0])
    return measurement_key(graph.hash(), graph.ops, *options)


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
