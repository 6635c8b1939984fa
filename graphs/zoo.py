"""Networks by name: `timm:`, `torchvision:`, `pytorchcv:` and `transformers:`. All imports are deferred."""

from __future__ import annotations

import difflib
import importlib
import inspect
import io
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from torch import nn

from archcast.errors import MissingExtraError, UnknownNameError
from archcast.graphs.feeds import IMAGE_SIZE, Feed, Slot


@dataclass(frozen=True)
class ZooModel:
    """How to build a network of a zoo (without weights) and what to feed it with."""

    build: Callable[[], nn.Module]
    feed: Callable[[nn.Module], Feed]


def zoo_model(zoo: str, name: str) -> ZooModel:
    """The network `name` of `zoo`.

    Raises:
        MissingExtraError: the zoo's package is not installed.
        UnknownNameError: the zoo has no such network; the message proposes close ones.
    """
    return ZOOS[zoo](name)


def import_zoo(package: str, module: str = "") -> Any:
    try:
        return importlib.import_module(module or package)
    except ImportError as error:
        raise MissingExtraError(
            f"{package} is needed for this network: pip install 'archcast[zoo]' ({error})"
        ) from error


def known(zoo: str, name: str, names: Iterable[str]) -> None:
    """Raise `UnknownNameError` with close matches unless `name` is one of `names`."""
    names = list(names)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
        hint = f"; close: {', '.join(close)}" if close else ""
        raise UnknownNameError(f"{zoo} has no network called {name!r}{hint}")


def _image(channels: int, *size: int) -> Feed:
    return Feed((Slot((1, channels, *size)),))


def _timm(name: str) -> ZooModel:
    timm = import_zoo("timm")
    if not timm.is_model(name.split(".")[0]):  # listing all of them takes a tenth of the time of building one
        known("timm", name.split(".")[0], timm.list_models())

    def feed(module: nn.Module) -> Feed:
        config: dict[str, Any] = getattr(module, "pretrained_cfg", None) or {}
        return _image(*config.get("input_size", (3, IMAGE_SIZE, IMAGE_SIZE)))

    return ZooModel(lambda: timm.create_model(name, pretrained=False), feed)


def _torchvision(name: str) -> ZooModel:
    models = import_zoo("torchvision", "torchvision.models")
    known("torchvision", name, models.list_models())

    def feed(module: nn.Module) -> Feed:
        family = models.get_model_builder(name).__module__
        if ".video" in family:
            return _image(3, 16, *((112, 112) if "resnet" in family else (224, 224)))
        if "optical_flow" in family:
            return Feed((Slot((1, 3, IMAGE_SIZE, IMAGE_SIZE)),) * 2)
        size = getattr(module, "image_size", None) or _crop_size(models, name)
        return _image(3, size, size)

    accepted = inspect.signature(models.get_model_builder(name)).parameters
    options = {"weights_backbone": None} if "weights_backbone" in accepted else {}
    return ZooModel(lambda: models.get_model(name, weights=None, **options), feed)


def _crop_size(models: Any, name: str) -> int:
    """The size the first published weights were evaluated at."""
    weights = next(iter(models.get_model_weights(name)), None)
    keywords = getattr(getattr(weights, "transforms", None), "keywords", {})
    size = keywords.get("crop_size", IMAGE_SIZE)
    return int(size[0] if isinstance(size, (tuple, list)) else size)


def _pytorchcv(name: str) -> ZooModel:
    provider = import_zoo("pytorchcv", "pytorchcv.model_provider")
    known("pytorchcv", name, provider._models)

    def feed(module: nn.Module) -> Feed:
        size = getattr(module, "in_size", None) or (IMAGE_SIZE, IMAGE_SIZE)
        return _image(int(getattr(module, "in_channels", 3)), *size)

    def build() -> nn.Module:
        with redirect_stdout(io.StringIO()):  # a few of its builders print
            module: nn.Module = provider.get_model(name, pretrained=False)
        return module

    return ZooModel(build, feed)


def _transformers(name: str) -> ZooModel:
    from archcast.graphs.zoo_transformers import transformers_model

    build, feed = transformers_model(name)
    return ZooModel(build, feed)


ZOOS: dict[str, Callable[[str], ZooModel]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "pytorchcv": _pytorchcv,
    "transformers": _transformers,
}
"""Prefix of a zoo name -> the function that resolves the rest of it."""
