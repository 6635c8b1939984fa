"""A small training of a head in a process of its own, for the test that starts two of it.

    python tests/predictor/head_training_run.py FILE '{"steps": 20}'

Also holds the toy model of those tests.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

from archcast.predictor.heads.training import HeadTraining, Weights, train_head
from archcast.predictor.losses import correlation


def toy(count: int = 50, seed: int = 0) -> tuple[torch.Tensor, np.ndarray[Any, np.dtype[np.float64]]]:
    """Rows, and targets that a small network can learn."""
    rows = np.random.default_rng(seed).normal(size=(count, 6))
    return torch.as_tensor(rows, dtype=torch.float32), rows[:, 0] + np.abs(rows[:, 1]) - rows[:, 2] * rows[:, 3]


def model(dropout: float = 0.0) -> nn.Module:
    """The same weights every time. The loss does not see a bias of scores: Adam would blow up its rounding errors."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Dropout(dropout), nn.Linear(32, 1, bias=False))


def run(changes: Mapping[str, Any]) -> Weights:
    inputs, targets = toy()
    config = HeadTraining(**{"steps": 20, "batch_size": 17, "learning_rate": 0.01, "cpu": True, **changes})
    return train_head(model(), lambda rows: inputs[torch.from_numpy(rows)], targets, correlation, config)


if __name__ == "__main__":
    weights = run(json.loads(sys.argv[2]))
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        save_file(weights, sys.argv[1])
