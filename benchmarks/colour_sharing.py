"""What sharing by colours saves the graph encoder, and that it changes nothing.

    python -m benchmarks.colour_sharing

Encodes the whole of NAS-Bench-201 (15,625 networks), and 2,000 networks of other spaces, by the plain pass and by the
shared one, with one thread and (NAS-Bench-201) with two. The encoder has the default shape and random weights; tensors
are made beforehand and timed apart. Both passes run once to warm up on a few networks. Seconds are by the clock;
`cpu_ratio` compares processor time, which other work on the machine disturbs less. One row per run in
`benchmarks/results/colour_sharing.csv`.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from archcast.datasets.spaces import SPACES
from archcast.encoders.colours import encode_shared
from archcast.encoders.gcn import GraphEncoder
from archcast.encoders.graph_tensors import GraphTensors
from archcast.graphs.graph import GraphBatch

RESULT = Path(__file__).parent / "results" / "colour_sharing.csv"
SAMPLED = ("nasbench101", "nas-bench-macro", "nats-sss", "transnas101-macro", "darts", "ofa-mobilenetv3")
SAMPLE = 2000
CHUNK = 256
"""Networks per plain pass: more do not fit the cache and take longer each."""


def networks(space: str) -> GraphBatch:
    """All networks of NAS-Bench-201, a sample of the others."""
    grammar, rng = SPACES[space], np.random.default_rng(0)
    whole = space == "nasbench201"
    batch: GraphBatch = grammar.stamp(
        list(grammar.all_specs()) if whole else [grammar.sample(rng) for _ in range(SAMPLE)]
    )
    return batch


def random_encoder() -> GraphEncoder:
    """The default encoder; ops get vectors as after training."""
    torch.manual_seed(0)
    encoder = GraphEncoder().eval()
    torch.nn.init.normal_(encoder.embed.op.weight, std=0.5)
    return encoder


@torch.inference_mode()
def encode_plain(encoder: GraphEncoder, tensors: GraphTensors) -> Tensor:
    """The plain pass, some networks at a time."""
    starts = tqdm(range(0, tensors.size, CHUNK), desc="plain", leave=False)
    parts = [encoder(tensors.take(torch.arange(start, min(start + CHUNK, tensors.size)))) for start in starts]
    return torch.cat(parts)


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result, and the seconds it took by the clock and by the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - clock, time.process_time() - processor


def measure(encoder: GraphEncoder, space: str, batch: GraphBatch, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    few = GraphTensors.of(batch[:32])
    encode_plain(encoder, few), encode_shared(encoder, few)
    tensors, preparing, _ = timed(lambda: GraphTensors.of(batch))
    shared, shared_clock, shared_cpu = timed(lambda: encode_shared(encoder, tensors))
    plain, plain_clock, plain_cpu = timed(lambda: encode_plain(encoder, tensors))
    return {
        "space": space,
        "networks": len(batch),
        "nodes": len(tensors.kinds),
        "threads": threads,
        "tensor_seconds": round(preparing, 2),
        "plain_seconds": round(plain_clock, 2),
        "shared_seconds": round(shared_clock, 2),
        "ratio": round(plain_clock / shared_clock, 2),
        "cpu_ratio": round(plain_cpu / shared_cpu, 2),
        "plain_rate": round(len(batch) / plain_clock),
        "shared_rate": round(len(batch) / shared_clock),
        "shared_rate_with_tensors": round(len(batch) / (shared_clock + preparing)),
        "max_difference": float(f"{(shared - plain).abs().max():.2g}"),
        "deviation": round(float(plain.std(dim=0).mean()), 4),
    }


def main() -> None:
    encoder = random_encoder()
    runs = [("nasbench201", 1), ("nasbench201", 2), *((space, 1) for space in SAMPLED)]
    rows = []
    for space, threads in runs:
        rows.append(measure(encoder, space, networks(space), threads))
        print(rows[-1], flush=True)
        with RESULT.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
