"""Rows of all processes as one batch, with gradients.

`torch.distributed.all_gather` cuts the graph: negatives of other processes would only push, never be pushed. Here the
gradient of a gathered row flows back to the process that made it, summed over all processes. When every process
computes the same loss on the gathered batch and gradients of parameters are then averaged over processes, as
`DistributedDataParallel` does, the result is the gradient of one process on the whole batch: the sum of W equal
gradients, divided by W.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed

from archcast.encoders.devices import group_is_open


def gather_rows(rows: Tensor) -> Tensor:
    """`[sum of R, ...]` the rows `[R, ...]` of every process, in the order of processes; R may differ between them."""
    if not group_is_open() or distributed.get_world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        processes, own = distributed.get_world_size(), distributed.get_rank()
        counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(processes)]
        distributed.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
        sizes = [int(count) for count in counts]
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(processes)]
        distributed.all_gather(parts, padded)
        ctx.own = slice(sum(sizes[:own]), sum(sizes[: own + 1]))
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total[ctx.own]
