"""`archcast.predict`: the shortest way from networks to forecasts."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archcast.errors import ConfigError
from archcast.predictor.consensus import PROXIES
from archcast.predictor.inputs import as_batch
from archcast.predictor.prediction import Predictions
from archcast.predictor.predictor import POOL_SIZE, Predictor

if TYPE_CHECKING:
    from archcast.proxies.scoring import ProxyScores


def predict(
    networks: Any,
    *,
    task: str = "cifar10",
    predictor: str | Path = "base",
    input_shape: tuple[int, ...] | None = None,
    proxies: str = "none",
    jobs: int = 1,
) -> Predictions:
    """Forecast `networks` with a pretrained predictor.

    Args:
        networks: one network or a list: torch modules, callables that make them, ONNX files or protos, exported
            programs, zoo names ("timm:resnet50"), benchmark specs ("nasbench201:|...|"), computation graphs.
        task: the task whose value is wanted; the predictor must know it.
        predictor: built-in name, directory or hub id.
        input_shape: shape of one input batch, for networks that do not fix it.
        proxies: zero-cost proxies to measure first, on a batch of noise: `none`, `fast` or `full`. They sharpen the
            order of 16 or more networks of an unfamiliar space, and cost .1 to some seconds a network.
        jobs: processes that measure.

    Raises:
        ConfigError: proxies for fewer than 16 networks, or another choice than the three.
    """
    loaded = _load(str(predictor), _made(Path(predictor) / "config.json"))
    loaded.input_shape = input_shape
    if proxies == "none":
        return loaded.predict(networks, task=task)
    if proxies not in ("fast", "full"):
        raise ConfigError(f"proxies={proxies!r}: choose none, fast or full")
    batch, names = as_batch(networks, input_shape)
    if len(batch) < POOL_SIZE:  # said before minutes are spent on measuring
        raise ConfigError(
            f"{len(batch)} networks are too few for proxies, which rank networks among themselves: give {POOL_SIZE} or "
            "more, or leave proxies out"
        )
    measured = _measured(networks, proxies, input_shape, jobs)
    return loaded.predict(replace(batch, names=names), task=task, measured=measured)


def _measured(networks: Any, proxies: str, input_shape: tuple[int, ...] | None, jobs: int) -> ProxyScores:
    """Those of the asked-for proxies that the predictor can use."""
    from archcast.proxies.proxy import chosen
    from archcast.proxies.scoring import score

    names = [proxy.name for proxy in chosen(proxies) if proxy.name in PROXIES]
    return score(networks, names, input_shape=input_shape, jobs=jobs)


@lru_cache(4)
def _load(name: str, made: int) -> Predictor:
    del made  # only so that a folder that was written anew is read anew
    return Predictor.from_pretrained(name)


def _made(config: Path) -> int:
    try:
        return config.stat().st_mtime_ns
    except (OSError, ValueError):  # a built-in name or a hub id, neither of which changes while we run
        return 0
