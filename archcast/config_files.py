"""Configs from YAML files and plain mappings: what is wrong in one is said before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from archcast.errors import ConfigError, MissingDataError


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        MissingDataError: there is no such file.
        ConfigError: the file is not YAML, or holds something else than a mapping.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise MissingDataError(f"there is no config file at {path.absolute()}; check the path")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}; a config is a mapping of keys to values")
    return values


def check_keys(config: type, values: Mapping[str, Any]) -> None:
    """Refuse keys that are no fields of the dataclass `config`.

    Raises:
        ConfigError: `values` is no mapping, or has unknown keys; the message lists the known ones.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"a config is a mapping of keys to values, not a {type(values).__name__}")
    known = [field.name for field in fields(config)]
    if unknown := sorted(str(key) for key in values if key not in known):
        raise ConfigError(f"unknown config keys: {', '.join(unknown)}; there are: {', '.join(known)}")
