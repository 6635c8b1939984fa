"""What a search wants: objectives, each bigger or smaller the better, and limits on costs known before training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError, DataError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Objectives:
    """Names and directions of what is optimised. Build it with `Objectives.of`.

    Attributes:
        names: one each.
        signs: +1 where more is better, -1 where less is.
        measured: whether `evaluate` gives it; costs (MACs ...) are known without training.
    """

    names: tuple[str, ...]
    signs: tuple[float, ...]
    measured: tuple[bool, ...]

    @classmethod
    def of(cls, texts: str | Sequence[str], costs: Sequence[str] = ()) -> Objectives:
        """`("score", "-macs")`: a minus means less is better; names in `costs` are not measured.

        Raises:
            ConfigError: none, one named twice, or none that is measured.
        """
        given = [texts] if isinstance(texts, str) else list(texts)
        names = tuple(text.removeprefix("-") for text in given)
        if not names or not all(names) or len(set(names)) < len(names):
            raise ConfigError(f"objectives {given}: name at least one, each once, such as ('score', '-macs')")
        measured = tuple(name not in costs for name in names)
        if not any(measured):
            raise ConfigError(f"objectives {given} are all known without training; add one that evaluate gives")
        return cls(names, tuple(-1.0 if text.startswith("-") else 1.0 for text in given), measured)

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        return ", ".join(("-" if sign < 0 else "") + name for name, sign in zip(self.names, self.signs, strict=True))

    def read(self, given: Any, costs: Mapping[str, float]) -> tuple[float, ...]:
        """One finite number per objective from what `evaluate` gave: a number, several, or a mapping by name.

        Numbers are those of the measured objectives in their order; the others come from `costs`.

        Raises:
            DataError: something is missing, is no number, or is not finite.
        """
        wanted = [name for name, measured in zip(self.names, self.measured, strict=True) if measured]
        if isinstance(given, Mapping):
            found = dict(given)
        else:
            values = list(given) if np.ndim(given) else [given]
            if len(values) != len(wanted):
                raise DataError(f"evaluate gave {len(values)} scores for {', '.join(wanted)}; give one number each")
            found = dict(zip(wanted, values, strict=True))
        scores = []
        for name, measured in zip(self.names, self.measured, strict=True):
            value = found.get(name) if measured else found.get(name, costs.get(name))
            try:
                number = float(value)  # type: ignore[arg-type]  # None and text are refused by float itself
            except (TypeError, ValueError):
                raise DataError(f"evaluate gave {value!r} for {name!r}; give a number") from None
            if not math.isfinite(number):
                raise DataError(f"evaluate gave {number} for {name!r}")
            scores.append(number)
        return tuple(scores)

    def maximised(self, scores: Sequence[Sequence[float]]) -> FloatArray:
        """`[n, K]` the scores with every objective turned so that more is better."""
        table = np.asarray(scores, dtype=np.float64).reshape(-1, len(self))
        return np.asarray(table * np.asarray(self.signs))


@dataclass(frozen=True)
class Limits:
    """Bounds on costs: a network that breaks one is never proposed.

    Attributes:
        upper: name of a cost -> most that is allowed.
    """

    upper: Mapping[str, float]

    def __post_init__(self) -> None:
        bad = {name: limit for name, limit in self.upper.items() if not math.isfinite(limit)}
        if bad:
            raise ConfigError(f"limits {bad} must be finite numbers; leave out what is not limited")

    def allows(self, costs: Mapping[str, FloatArray], count: int) -> NDArray[np.bool_]:
        """`[count]` whether each network keeps every limit; an unknown (NaN) cost does not."""
        kept = np.ones(count, dtype=bool)
        for name, limit in self.upper.items():
            kept &= costs[name] <= limit
        return kept
