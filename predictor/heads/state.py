"""A fitted head as data: settings that JSON holds and arrays that safetensors holds, checked before they are used.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from archcast.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from torch import nn

Arrays = dict[str, NDArray[Any]]
Config = TypeVar("Config")

_AGAIN = "the bundle is damaged or was made by another version; fit the head again"


@dataclass(frozen=True, eq=False)
class HeadState:
    """All that a fitted head is.

    Attributes:
        kind: which head.
        settings: what JSON can hold.
        arrays: name -> array.
    """

    kind: str
    settings: Mapping[str, Any]
    arrays: Arrays

    def __post_init__(self) -> None:
        # safetensors writes the memory of an array, in whatever order it lies there.
        rows_first = {name: np.array(value, order="C") for name, value in self.arrays.items()}
        object.__setattr__(self, "arrays", rows_first)


def settings_of(config: Any) -> dict[str, Any]:
    """The fields of a config but those that only training reads (nested configs)."""
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return {name: value for name, value in values.items() if not is_dataclass(value)}


def config_of(kind: type[Config], settings: Any, where: str) -> Config:
    """The config that `settings_of` described.

    Raises:
        BundleError: a setting is missing, unknown, of another type, or refused by the config.
    """
    hints = get_type_hints(kind)
    known = {name: hint for name, hint in hints.items() if not is_dataclass(hint)}
    if not isinstance(settings, Mapping) or set(settings) != set(known):
        raise BundleError(f"{where} must have the settings {sorted(known)}; {_AGAIN}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    for name, hint in known.items():
        if not _fits(values[name], hint):
            raise BundleError(f"{where}: {name} cannot be {settings[name]!r}; {_AGAIN}")
    try:
        return kind(**values)
    except ConfigError as error:
        raise BundleError(f"{where}: {error}") from error


def check_kind(state: HeadState, kind: str) -> None:
    """Refuse the state of another head."""
    if state.kind != kind:
        raise BundleError(f"this is the state of {state.kind!r}, not of {kind!r}; {_AGAIN}")


def part(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def check_shapes(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Refuse arrays of other names, shapes or kinds, and numbers that are not finite.

    Raises:
        BundleError: which one, and what it should be.
    """
    if set(arrays) != set(shapes):
        odd = sorted(set(arrays) ^ set(shapes))[:5]
        raise BundleError(f"{where} must hold {len(shapes)} arrays and differs in {odd}; {_AGAIN}")
    for name, shape in shapes.items():
        array = arrays[name]
        if tuple(array.shape) != tuple(shape):
            raise BundleError(f"{where}: {name} has shape {list(array.shape)} instead of {list(shape)}; {_AGAIN}")
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise BundleError(f"{where}: {name} must hold finite real numbers; {_AGAIN}")


def weight_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight of a module; one on the meta device takes no memory."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def load_weights(module: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> nn.Module:
    """Weights that were checked, put into `module`, in evaluation mode."""
    import torch

    module.load_state_dict({name: torch.from_numpy(np.array(value, np.float32)) for name, value in arrays.items()})
    return module.eval()


def _fits(value: Any, hint: Any) -> bool:
    if hint is float:
        return isinstance(value, float | int) and not isinstance(value, bool) and bool(np.isfinite(value))
    if hint in (int, str, bool):
        return type(value) is hint
    if hint == float | None:
        return value is None or _fits(value, float)
    if hint == tuple[str, ...]:
        return isinstance(value, tuple) and all(isinstance(entry, str) for entry in value)
    return hint == tuple[int, ...] and isinstance(value, tuple) and all(type(entry) is int for entry in value)
