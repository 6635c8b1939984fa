"""A small pretraining in a process of its own, for tests that kill it or start several of it.

    python tests/encoders/pretraining_run.py FOLDER '{"steps": 20}' [seconds to sleep after each step]

Also holds the stand-in encoder and the networks those tests use.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archcast.datasets.spaces import SPACES
from archcast.encoders.graph_tensors import GraphTensors
from archcast.encoders.node_table import NUMBER_NAMES
from archcast.encoders.pretraining import PretrainConfig, pretrain
from archcast.encoders.pretraining_data import PretrainingData
from archcast.encoders.pretraining_model import Reader
from archcast.graphs.graph import GraphBatch

POOLS = ("nasbench201", "nats-sss", "nas-bench-macro")


class MeanReader(Reader):
    """Embeds a network as the mean of its embedded nodes."""

    def __init__(self, width: int = 16, dropout: float = 0.1) -> None:
        super().__init__()
        self.width = self.node_width = width
        self.node = nn.Sequential(nn.Linear(len(NUMBER_NAMES), width), nn.GELU(), nn.Dropout(dropout))
        self.out = nn.Linear(width, width)

    def tensors(self, graphs: GraphBatch, measured: NDArray[np.float32] | None) -> GraphTensors:
        return GraphTensors.of(graphs, measured)

    def forward(self, tensors: GraphTensors) -> tuple[Tensor, Tensor]:
        nodes = self.node(tensors.numbers)
        count = torch.bincount(tensors.graph, minlength=tensors.size).clamp_min(1)
        total = nodes.new_zeros(tensors.size, self.width).index_add(0, tensors.graph, nodes)
        return self.out(total / count[:, None]), nodes


def networks(each: int = 24) -> PretrainingData:
    rng = np.random.default_rng(0)
    graphs = GraphBatch.concatenate(
        [SPACES[name].stamp([SPACES[name].sample(rng) for _ in range(each)]) for name in POOLS]
    )
    return PretrainingData.of(graphs, np.repeat(np.arange(len(POOLS)), each))


def settings(**changes: Any) -> PretrainConfig:
    values: dict[str, Any] = {
        "objectives": {"spectral": 1.0, "augmentation": 1.0, "cross_modal": 1.0, "statistics": 0.5},
        "steps": 12, "batch_size": 12, "pools_per_batch": 3, "warmup_steps": 3, "learning_rate": 0.01,
        "checkpoint_every": 4, "cpu": True,
    }  # fmt: skip
    return PretrainConfig.from_dict({**values, **changes})


def readers(dropout: float = 0.1) -> dict[str, Any]:
    return {"graph": lambda: MeanReader(16, dropout), "text": lambda: MeanReader(8, dropout)}


if __name__ == "__main__":
    pause = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    changes = json.loads(sys.argv[2])
    rate = changes.pop("dropout", 0.1)
    pretrain(
        settings(**changes), networks(), sys.argv[1], readers=readers(rate), progress=False,
        on_step=lambda _: time.sleep(pause),
    )  # fmt: skip
