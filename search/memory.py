"""`Journal`, what keeps the trials of a search, and the one that keeps them in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from archcast.search.history import Trial


class Journal(Protocol):
    """Keeps trials. Whatever it has accepted counts, for every process that shares it."""

    def news(self) -> list[Trial]:
        """Trials that are new or changed since the last call."""
        ...

    def append(self, trials: Sequence[Trial], budget: int | None) -> list[Trial]:
        """Add pending trials, as they are numbered here, and return those that are in.

        Left out are networks that are in already, and whatever exceeds `budget` trials in all.
        """
        ...

    def finish(self, trial: Trial) -> bool:
        """Set the state, scores, reason and seconds of a pending trial; False if it is not pending any more."""
        ...

    def claim(self) -> list[Trial]:
        """Pending trials whose process has died; they are this process's now."""
        ...


class MemoryJournal:
    """A journal that ends with the process."""

    def __init__(self) -> None:
        self._trials: dict[str, Trial] = {}
        self._news: list[Trial] = []

    def news(self) -> list[Trial]:
        news, self._news = self._news, []
        return news

    def append(self, trials: Sequence[Trial], budget: int | None) -> list[Trial]:
        accepted = []
        for trial in trials:
            if trial.identity in self._trials or (budget is not None and len(self._trials) >= budget):
                continue
            numbered = replace(trial, number=len(self._trials))
            self._trials[trial.identity] = numbered
            accepted.append(numbered)
        self._news += accepted
        return accepted

    def finish(self, trial: Trial) -> bool:
        if self._trials[trial.identity].state != "pending":
            return False
        self._trials[trial.identity] = trial
        self._news.append(trial)
        return True

    def claim(self) -> list[Trial]:
        return []
