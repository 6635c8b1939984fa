"""A head fitted to the toy space in a process of its own, for the test that starts two of it.

    python tests/predictor/head_fit_run.py FOLDER

Writes the weights and scores of each process to FOLDER/RANK.safetensors.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.numpy import save_file

from archcast.predictor.heads.graph_statistics import GraphStatisticsConfig, GraphStatisticsHead
from archcast.predictor.heads.training import HeadTraining

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.predictor.measured_toy import toy_space

CONFIG = GraphStatisticsConfig(
    width=12, layers=2, dim=12, members=2, training=HeadTraining(steps=30, batch_size=30, learning_rate=0.01, cpu=True)
)

if __name__ == "__main__":
    head = GraphStatisticsHead.fit(*toy_space(60, 0), seed=0, config=CONFIG)
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    state = head.state()
    save_file({**state.arrays, "asked": head.predict(toy_space(100, 1)[0])}, Path(sys.argv[1]) / f"{rank}.safetensors")
