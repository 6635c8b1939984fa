"""`spread`: a function over a large pool, in chunks on an executor, results as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import TypeVar

from archcast.ray_executor import WorkerError

Item = TypeVar("Item")
Made = TypeVar("Made")

_AHEAD = 256  # chunks under way; more would only lie in memory


def spread(
    executor: Executor | None, function: Callable[[list[Item]], list[Made]], items: Sequence[Item], size: int = 1
) -> Iterator[tuple[int, Made | WorkerError]]:
    """Positions and results of `function` over `items`, `size` at a time, in the order in which they are ready.

    Without an executor, one item after the other in this process. Where the workers of a chunk die, its items are tried
    one by one; one that kills its workers even so has the error as its result. Where the iteration is given up, what
    is under way is cancelled.
    """
    if executor is None:
        yield from ((row, function([item])[0]) for row, item in enumerate(items))
        return
    waiting = deque(list(range(start, min(start + size, len(items)))) for start in range(0, len(items), size))
    running: dict[Future[list[Made]], list[int]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < _AHEAD:
                rows = waiting.popleft()
                running[executor.submit(function, [items[row] for row in rows])] = rows
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                rows = running.pop(future)
                error = future.exception()
                if not isinstance(error, WorkerError):
                    yield from zip(rows, future.result(), strict=True)
                elif len(rows) == 1:
                    yield rows[0], error
                else:
                    waiting.extend([row] for row in rows)
    finally:
        for future in running:
            future.cancel()


def chunk_size(count: int) -> int:
    """Items a task takes on other machines: few tasks for large pools, some for every machine of small ones."""
    return min(16, max(1, count // 64))
