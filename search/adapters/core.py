"""What the adapters share: settings, and `Asker`, which a framework asks for one trial at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archcast.errors import ConfigError, DataError, MissingExtraError, SpecError
from archcast.search.core import Search
from archcast.search.costs import Cost
from archcast.search.history import Trial
from archcast.search.strategy import Strategy, make_strategy

if TYPE_CHECKING:
    from archcast.predictor.predictor import Predictor
    from archcast.search.space import Space
    from archcast.search.spaces import ChoiceSpace


@dataclass(frozen=True)
class Settings:
    """What every adapter takes beside the space."""

    strategy: str | Strategy = "guided"
    """How to search (`archcast.search.strategy.STRATEGIES`)."""
    predictor: Predictor | str | Path | None = "base"
    """Pretrained predictor: an object, a name or a folder; None for a search without."""
    seed: int = 0
    """The same seed gives the same proposals, if results come in the same order."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Cost -> most that is allowed; a network that breaks one is never proposed."""
    costs: Mapping[str, Cost] = field(default_factory=dict)
    """Further costs: name -> function from a list of specs to numbers, or a table spec -> number."""
    pool: int = 1000
    """Architectures looked at for each proposal where the space cannot be enumerated."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Settings by name.

        Raises:
            ConfigError: one that does not exist.
        """
        known = [one.name for one in fields(cls)]
        if unknown := sorted(set(given) - set(known)):
            raise ConfigError(f"adapters have no setting {', '.join(unknown)}; they have: {', '.join(known)}")
        return cls(**given)

    def search(self, space: Space, objectives: Sequence[str]) -> Search:
        """A search with nothing in its history."""
        strategy = make_strategy(self.strategy)
        predictor = self.predictor if getattr(strategy, "uses_predictor", False) else None
        if isinstance(predictor, (str, Path)):
            from archcast.predictor.predictor import Predictor

            predictor = Predictor.from_pretrained(predictor)
        return Search(
            space, strategy=strategy, objectives=objectives, costs=self.costs, limits=self.limits, seed=self.seed,
            predictor=predictor, pool=self.pool,
        )  # fmt: skip


class Asker:
    """Trials of a framework, by its own name for each, and the search that proposes them.

    Args:
        space: where architectures come from.
        objectives: names, "-" in front where less is better.
        settings: see `Settings`.
    """

    def __init__(self, space: Space, objectives: Sequence[str], settings: Settings) -> None:
        self.search = settings.search(space, objectives)
        self._specs: dict[str, str] = {}

    def ask(self, key: str) -> str | None:
        """The architecture of trial `key`; None where the space is at its end."""
        if key not in self._specs:
            proposed = self.search.ask(1)
            if not proposed:
                return None
            self._specs[key] = proposed[0]
        return self._specs[key]

    def tell(self, key: str, result: Any) -> None:
        """The scores of trial `key`, or what was raised; a trial that was not asked for here is none of ours."""
        if key in self._specs:
            self.search.tell(self._specs[key], result)

    def state(self) -> dict[str, Any]:
        """Plain values that bring everything back (`restore`)."""
        trials = [{name: getattr(trial, name) for name in Trial.__slots__} for trial in self.search.history]
        return {"space": self.search.space.name, "trials": trials, "specs": dict(self._specs)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken.

        Raises:
            DataError: it belongs to another space, or something is known here already.
        """
        if state.get("space") != self.search.space.name or len(self.search.history):
            raise DataError(
                f"{state.get('space')!r} is not {self.search.space.name!r}, or this search has begun already"
            )
        for values in state["trials"]:
            trial = Trial(**{**values, "scores": tuple(values["scores"])})
            self.search.journal.append([trial], None)
            if trial.state != "pending":
                self.search.journal.finish(trial)
        self.search.sync()
        self._specs = dict(state["specs"])


def spec_or_none(space: ChoiceSpace, chosen: Mapping[str, Any]) -> str | None:
    """The architecture of a trial's parameters; None where its choices are not, or not yet, those of one."""
    try:
        return space.spec_of(chosen)
    except SpecError:
        return None


def missing(framework: str, error: ImportError, extra: str = "archcast[adapters]") -> MissingExtraError:
    """What to raise where a framework is not installed."""
    return MissingExtraError(f"this adapter needs {framework} ({error}); run `pip install '{extra}'`")
