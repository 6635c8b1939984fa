"""`Isolated`: every evaluation in a process of its own, which may crash or hang without taking the search along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from archcast.errors import ArchcastError, ConfigError


class EvaluationError(ArchcastError, RuntimeError):
    """An evaluation crashed, hung, or raised in its own process."""


@dataclass(frozen=True)
class Isolated:
    """`evaluate` in a fresh process for every call.

    Attributes:
        evaluate: a function at the top of a module, because it is sent to the process.
        timeout: seconds after which the process is killed; None waits for ever.
    """

    evaluate: Callable[[str], Any]
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise ConfigError(f"timeout={self.timeout}: give a positive number of seconds")

    def __call__(self, spec: str) -> Any:
        """What `evaluate(spec)` gives.

        Raises:
            EvaluationError: it raised, died, or took longer than `timeout`; the message says which.
        """
        context = get_context("spawn")  # a fork of a process with threads may hang
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_answer, args=(theirs, self.evaluate, spec), daemon=True)
        process.start()
        theirs.close()
        try:
            if not ours.poll(self.timeout):
                raise EvaluationError(f"no result after {self.timeout:g} s; it was stopped")
            kind, answer = ours.recv()
        except EOFError:
            process.join()
            raise EvaluationError(f"its process died with exit code {process.exitcode}") from None
        finally:
            process.kill()
            process.join()
            ours.close()
        if kind == "error":
            raise EvaluationError(answer)
        return answer


def _answer(pipe: Connection, evaluate: Callable[[str], Any], spec: str) -> None:
    try:
        answer = ("result", evaluate(spec))
    except Exception as error:  # told to the search, which records it
        answer = ("error", f"{type(error).__name__}: {error}")
    pipe.send(answer)
    pipe.close()
