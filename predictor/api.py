"""`archcast.predict`: the shortest way from networks to forecasts."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from archcast.predictor.prediction import Predictions
from archcast.predictor.predictor import Predictor


def predict(
    networks: Any, *, task: str = "cifar10", predictor: str | Path = "base", input_shape: tuple[int, ...] | None = None
) -> Predictions:
    """Forecast `networks` with a pretrained predictor.

    Args:
        networks: one network or a list: torch modules, callables that make them, ONNX files or protos, exported
            programs, zoo names ("timm:resnet50"), benchmark specs ("nasbench201:|...|"), computation graphs.
        task: the task whose value is wanted; the predictor must know it.
        predictor: built-in name, directory or hub id.
        input_shape: shape of one input batch, for networks that do not fix it.
    """
    loaded = _load(str(predictor), _made(Path(predictor) / "config.json"))
    loaded.input_shape = input_shape
    return loaded.predict(networks, task=task)


@lru_cache(4)
def _load(name: str, made: int) -> Predictor:
    del made  # only so that a folder that was written anew is read anew
    return Predictor.from_pretrained(name)


def _made(config: Path) -> int:
    try:
        return config.stat().st_mtime_ns
    except (OSError, ValueError):  # a built-in name or a hub id, neither of which changes while we run
        return 0
