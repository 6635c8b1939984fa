"""Worker processes: one thread each, and no longer life than the process that asked for them."""

from __future__ import annotations

import os
import sys
import threading
from multiprocessing import parent_process


def prepare_worker() -> None:
    """Initializer of a `ProcessPoolExecutor`: the processes share the cores, not threads.

    A parent that is killed cannot tell its workers, which would otherwise finish all they were sent, or wait forever.
    """
    use_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def use_threads(count: int) -> None:
    """Let the computations of this process take `count` threads."""
    os.environ["OMP_NUM_THREADS"] = str(count)  # read by torch when it is imported
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # only workers run this
    parent.join()
    os._exit(1)
