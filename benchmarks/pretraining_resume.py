"""A pretraining that is killed at random moments ends at the same loss curve.

    python -m benchmarks.pretraining_resume [--kills 10] [--seed 0]

A small graph and a small text encoder are pretrained twice on networks of four spaces: once undisturbed, and once in a
process that gets SIGKILL at random moments, start-up and the writing of checkpoints included, and is started again.
Writes benchmarks/results/pretraining_resume.csv, one row per step: the loss of either training, their difference, and
how often the process was killed while this was the next step to put on record. About two minutes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # forked processes must not inherit a pool of threads

import numpy as np
import pandas as pd

from archcast.datasets.spaces import SPACES
from archcast.encoders.checkpoints import read_metrics
from archcast.encoders.gcn import GraphEncoderConfig
from archcast.encoders.pretraining import PretrainConfig, pretrain
from archcast.encoders.pretraining_data import PretrainingData
from archcast.encoders.text import TextEncoderConfig
from archcast.graphs.graph import GraphBatch

RESULTS = Path(__file__).parent / "results" / "pretraining_resume.csv"
POOLS = ("nasbench201", "nas-bench-macro", "nats-sss", "mini-mixers")

CONFIG = PretrainConfig(
    graph=GraphEncoderConfig(width=24, layers=3, dim=32),
    text=TextEncoderConfig(width=32, layers=2, heads=2, inner_width=32, window=64),
    steps=60,
    batch_size=8,
    pools_per_batch=4,
    warmup_steps=10,
    learning_rate=3e-3,
    checkpoint_every=5,
    cpu=True,
)


def networks(each: int = 40) -> PretrainingData:
    """Random networks of every pool."""
    rng = np.random.default_rng(0)
    batches = [SPACES[name].stamp([SPACES[name].sample(rng) for _ in range(each)]) for name in POOLS]
    return PretrainingData.of(GraphBatch.concatenate(batches), np.repeat(np.arange(len(POOLS)), each))


def train(data: PretrainingData, folder: Path) -> None:
    pretrain(CONFIG, data, folder, progress=False)


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(folder / "metrics.jsonl")]


def disturbed(data: PretrainingData, folder: Path, kills: int, seconds: float, seed: int) -> list[int]:
    """Train in processes that are killed; the steps on record at each kill.

    Args:
        data: the networks.
        folder: of the training.
        kills: how often.
        seconds: an undisturbed training takes; a process lives for up to a quarter of it.
        seed: of the moments.
    """
    rng = np.random.default_rng(seed)
    context = multiprocessing.get_context("fork")  # imports once; what is killed is a process all the same
    at: list[int] = []
    while len(at) < kills:
        process = context.Process(target=train, args=(data, folder))
        process.start()
        process.join(rng.uniform(0, seconds / 4))
        if process.exitcode is not None:
            raise SystemExit(f"the training ended after {len(at)} kills; give it more steps")
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        at.append(len(losses(folder)))
        print(f"kill {len(at)} with {at[-1]} steps on record", flush=True)
    train(data, folder)
    return at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data = networks()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        # In a process of its own: what is forked later must come from one that never trained.
        undisturbed = multiprocessing.get_context("fork").Process(target=train, args=(data, folder / "whole"))
        undisturbed.start()
        undisturbed.join()
        seconds = time.perf_counter() - started
        print(f"undisturbed: {seconds:.0f} s, {len(losses(folder / 'whole'))} steps", flush=True)
        at = disturbed(data, folder / "killed", arguments.kills, seconds, arguments.seed)
        whole, killed = losses(folder / "whole"), losses(folder / "killed")
    frame = pd.DataFrame({"step": np.arange(1, len(whole) + 1), "loss": whole, "loss_after_kills": killed})
    frame["difference"] = (frame.loss_after_kills - frame.loss).abs()
    frame["kills"] = [sum(done == step - 1 for done in at) for step in frame.step]
    frame.to_csv(RESULTS, index=False)
    print(f"{arguments.kills} kills, {len(frame)} steps, largest difference of a loss {frame.difference.max():g}")
    print(f"loss {frame.loss[:5].mean():.3f} in the first, {frame.loss[-5:].mean():.3f} in the last five steps")


if __name__ == "__main__":
    main()
