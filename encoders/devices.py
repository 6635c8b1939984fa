"""The device, precision and processes of a training, and the way out of it.

Several processes (`accelerate launch`, `torchrun`) talk through a process group that the first accelerator opens. A
thread of Gloo that lets go of the last gathered tensors while the interpreter goes aborts the process, after all its
results were written, and the launcher reports a failure (pytorch/pytorch#190489; one run in ten on a busy machine).
Groups opened here are closed first, and their threads get the time to let go.
"""

from __future__ import annotations

import atexit
import sys
import time
from typing import TYPE_CHECKING, Final

from torch import distributed

from archcast.errors import ConfigError

if TYPE_CHECKING:
    from accelerate import Accelerator

_LETTING_GO: Final = 0.3  # seconds; a thread needs microseconds once it has the processor and the interpreter


def accelerator(*, mixed_precision: str | None = None, cpu: bool = False) -> Accelerator:
    """The accelerator of this process: `mixed_precision` is `no`, `fp16` or `bf16` (None: what accelerate was told
    outside, else `no`); `cpu` leaves a GPU alone.

    Raises:
        ConfigError: the device has no such precision, or an accelerator of other settings is alive in this process.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    # Parameters without a gradient (the embedding of a measurement nobody took) must not stop the reduction.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    foreign = group_is_open()
    try:
        made = Accelerator(mixed_precision=mixed_precision, cpu=cpu, kwargs_handlers=[unused])
    except ValueError as error:
        raise ConfigError(f"{error} (accelerate keeps one precision and device as long as a process lives)") from error
    if group_is_open() and not foreign:
        atexit.register(_close)
    return made


def group_is_open() -> bool:
    """Whether this process talks to others."""
    return distributed.is_available() and distributed.is_initialized()


def _close() -> None:
    # After an error the others may be waiting in a collective, and closing could wait for them.
    if group_is_open() and not hasattr(sys, "last_value"):
        distributed.destroy_process_group()
        # DistributedDataParallel keeps the group's threads alive, so there is nothing to join.
        time.sleep(_LETTING_GO)
