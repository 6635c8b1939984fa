"""`Progress`: a line for people: how far, the best so far, time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TextIO

from archcast.search.core import Search
from archcast.search.history import Trial


class Progress:
    """Rewrites one line of a terminal; elsewhere, writes a line whenever something better is found.

    Args:
        out: where to write.
        quiet: write nothing.
    """

    def __init__(self, out: TextIO, *, quiet: bool = False) -> None:
        self._out, self._quiet = out, quiet
        self._terminal = not quiet and out.isatty()
        self._started, self._before = time.monotonic(), 0
        self._best: Trial | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal:
            print(file=self._out, flush=True)

    def start(self, search: Search) -> None:
        """The search begins, perhaps with trials of an earlier run."""
        self._started, self._before = time.monotonic(), len(search.history)
        if self._before and not self._quiet:
            print(f"resumed with {self._before} trials", file=self._out, flush=True)

    def step(self, search: Search, trial: Trial) -> None:
        """A trial has come to an end."""
        if self._quiet:
            return
        best = search.history.best
        better = best is not None and best != self._best
        self._best = best
        text = self._line(search, trial, best)
        if self._terminal:
            print(f"\r\x1b[K{text}", end="", file=self._out, flush=True)
        elif better or search.done:
            print(text, file=self._out, flush=True)

    def _line(self, search: Search, trial: Trial, best: Trial | None) -> str:
        over = len(search.history) - len(search.history.pending)
        text = f"{over}/{search.budget} evaluated" if search.budget else f"{over} evaluated"
        if failed := len(search.history.failed):
            text += f", {failed} failed"
        if best is not None:
            scores = ", ".join(
                f"{name} {score:.6g}" for name, score in zip(search.objectives.names, best.scores, strict=True)
            )
            text += f"; best {scores} (evaluation {best.number + 1})"
        elif trial.reason:
            text += f"; {trial.reason}"
        here = over - self._before
        if search.budget and here > 0:
            text += f"; {_duration((time.monotonic() - self._started) / here * (search.budget - over))} left"
        return text


def _duration(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {left:02} s" if minutes else f"{left} s"
