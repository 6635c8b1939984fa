"""What every baseline can do, and how all of them are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archcast.errors import DataError, NotFittedError
from archcast.graphs.graph import GraphBatch

Part = TypeVar("Part")
FloatArray = NDArray[np.float64]
Sources = Mapping[str, tuple[GraphBatch, FloatArray]]
"""Labelled networks of each training space, by the name of the space."""


class Baseline(Protocol):
    """A ranker of networks. Its seed is given when it is made; equal seeds give equal scores on the same machine."""

    def fit(self, sources: Sources) -> None:
        """Learn from labelled networks of several spaces; whatever was learnt before is forgotten."""

    def predict(self, graphs: GraphBatch) -> FloatArray:
        """`[G]` scores, the higher the better; comparable within the pool `graphs` only."""


def joined(sources: Sources) -> tuple[GraphBatch, FloatArray, NDArray[np.int64]]:
    """All networks as one batch, their labels, and the number of the space each comes from.

    Raises:
        DataError: there is no network, or labels do not fit the networks.
    """
    if not sources or not all(len(graphs) for graphs, _ in sources.values()):
        raise DataError("a baseline learns from labelled networks of at least one space; none is empty")
    for name, (graphs, labels) in sources.items():
        if labels.shape != (len(graphs),) or not np.isfinite(labels).all():
            raise DataError(f"{name}: give one finite label for each of its {len(graphs)} networks")
    graphs = GraphBatch.concatenate([pair[0] for pair in sources.values()])
    labels = np.concatenate([pair[1] for pair in sources.values()]).astype(np.float64)
    return graphs, labels, np.repeat(np.arange(len(sources)), [len(pair[1]) for pair in sources.values()])


@contextmanager
def seeded(seed: int) -> Iterator[np.random.Generator]:
    """torch's generator seeded (weights, dropout) and given back afterwards; a generator for the choice of batches."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield np.random.default_rng(seed)


def train(
    module: nn.Module,
    loss: Callable[[int], Tensor],
    steps: int,
    learning_rate: float,
    weight_decay: float = 0.0,
    warm_up: float = 0.06,
) -> list[float]:
    """AdamW with warm-up, then linear decay to a tenth; the losses of all steps. Leaves `module` in evaluation mode."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=weight_decay)
    first = max(1.0, warm_up * steps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / first, 1 - 0.9 * max(0.0, step - first) / max(steps - first, 1.0))
    )
    module.train()
    losses = []
    for step in range(steps):
        value = loss(step)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
        scheduler.step()
        losses.append(float(value.detach()))
    module.eval()
    return losses


def required(part: Part | None, name: str) -> Part:
    """A part that `fit` makes."""
    if part is None:
        raise NotFittedError(f"{name} has learnt nothing yet; call fit first")
    return part
