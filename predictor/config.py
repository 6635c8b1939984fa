"""What `train` needs to know, as frozen dataclasses: the same object on the command line, in YAML and in a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from archcast.config_files import check_keys, read_yaml
from archcast.errors import ConfigError


@dataclass(frozen=True)
class TrainConfig:
    """Training data and output of one predictor.

    Exactly one source of labels is used: `spaces` (several benchmarks, for a predictor that is asked about unseen
    spaces) if given, else `table` (the user's own), else `benchmark`.
    """

    benchmark: str = "nasbench201"
    """Benchmark to take labels from."""
    task: str | None = None
    """Data set, such as cifar10; the benchmark's first when left out. For a table: keep only rows of this task."""
    metric: str | None = None
    """val or test accuracy; each benchmark has a fixed default. For a table: keep only rows of this metric."""
    epochs: int | None = None
    """Length of the training the accuracy was measured after; the longest when left out."""
    labels: int | None = None
    """Number of labels, drawn at random; all of a table, 156 of a benchmark when left out."""
    table: str | None = None
    """CSV, Parquet or JSONL file with the columns arch and score, used instead of a benchmark."""
    spaces: tuple[str, ...] = ()
    """Benchmarks to pretrain on, all together."""
    pools: tuple[str, ...] = ()
    """Labelled pools that graph encoders learn to rank from, beside `spaces`: `space` or `space/task`."""
    exclude: tuple[str, ...] = ()
    """Spaces to leave out of `spaces` and `pools`, labelled or not."""
    seed: int = 0
    """Draws the labels and seeds every head."""
    output: str | None = None
    """Folder for the bundle; nothing is saved when left out."""
    name: str = ""
    """Name on the model card; the output folder's when left out."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "spaces", tuple(self.spaces))
        object.__setattr__(self, "pools", tuple(self.pools))
        object.__setattr__(self, "exclude", tuple(self.exclude))
        if self.labels is not None and self.labels < 2:
            raise ConfigError(f"labels must be at least 2, not {self.labels}")
        if self.seed < 0:
            raise ConfigError(f"seed must not be negative, and is {self.seed}")
        if self.epochs is not None and self.epochs < 1:
            raise ConfigError(f"epochs must be at least 1, not {self.epochs}")
        unknown = sorted(set(self.exclude) - set(self.spaces) - {space_of(pool) for pool in self.pools})
        if self.spaces and unknown:
            raise ConfigError(
                f"exclude names {', '.join(unknown)}, but spaces are {', '.join(self.spaces)}"
                + (f" and pools {', '.join(self.pools)}" if self.pools else "")
            )
        if self.pools and not self.spaces:
            raise ConfigError("pools are learnt from beside spaces; add --config configs/base.yaml or --spaces")
        if self.exclude and not self.spaces:
            raise ConfigError("exclude needs spaces to exclude from; add --config configs/base.yaml or --spaces")
        if self.spaces and not self.training_spaces:
            raise ConfigError("every space is excluded; leave at least one to train on")

    @property
    def training_spaces(self) -> tuple[str, ...]:
        """The spaces that remain after `exclude`."""
        return tuple(space for space in self.spaces if space not in self.exclude)

    @property
    def training_pools(self) -> tuple[str, ...]:
        """The pools that remain after `exclude`."""
        return tuple(pool for pool in self.pools if space_of(pool) not in self.exclude)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored in the bundle's metrics."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """A config from plain values.

        Raises:
            ConfigError: a key that does not exist, or a value of the wrong type or out of range.
        """
        check_keys(cls, values)
        types = {field.name: str(field.type) for field in fields(cls)}
        for key, value in values.items():
            _check_type(key, value, types[key])
        return cls(**values)

    @classmethod
    def from_file(cls, path: str | Path, **overrides: Any) -> TrainConfig:
        """A config from a YAML file; `overrides` that are not None replace its values.

        Raises:
            MissingDataError: there is no such file.
            ConfigError: the file is not YAML, or not a config.
        """
        values = read_yaml(path)
        return cls.from_dict({**values, **{key: value for key, value in overrides.items() if value is not None}})


def space_of(pool: str) -> str:
    """`space/task` -> `space`."""
    return pool.partition("/")[0]


def _check_type(key: str, value: Any, annotation: str) -> None:
    """Refuse what YAML lets through: `seed: yes`, `labels: many`, a single name where a list belongs."""
    if value is None and annotation.endswith("None"):
        return
    expected = annotation.removesuffix(" | None")
    good = {
        "str": isinstance(value, str),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "tuple[str, ...]": isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value),
    }[expected]
    if not good:
        wanted = {"str": "a text", "int": "a whole number", "tuple[str, ...]": "a list of names"}[expected]
        raise ConfigError(f"{key} must be {wanted}, not {value!r}")
