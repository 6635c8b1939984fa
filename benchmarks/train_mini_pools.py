"""Train the `mini-` pools: 300 small networks of each space, two seeds, seconds each on one core.

    python -m benchmarks.train_mini_pools [--spaces mini-cells ...] [--count 300] [--seeds 2] [--output FILE]

Every network is trained by the same recipe (`RECIPE`) on `cluttered_digits`; the seed decides initial weights and order
of the images, the images are always the same. One row per training (space, spec, seed, accuracy in percent, epochs,
processor seconds) is appended to `datasets/mini_pools.csv` as soon as it is known; rows that are there are not trained
again, so a stopped run goes on where it was and a second process can help (`--backwards`). Needs mlxtend, which
`pip install 'archcast[benchmarks]'` brings.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from archcast.datasets.mini_cells import MiniCells
from archcast.datasets.mini_mixers import MiniMixers
from archcast.datasets.mini_shapes import MiniShapes
from archcast.datasets.mini_transformers import MiniTransformers
from archcast.datasets.space import SearchSpace
from benchmarks.cluttered_digits import Images, load

OUTPUT = Path(__file__).parent.parent / "datasets" / "mini_pools.csv"
COLUMNS = ("space", "spec", "seed", "accuracy", "epochs", "seconds")
SPACES: dict[str, SearchSpace[Any]] = {
    space.name: space for space in (MiniCells(), MiniShapes(), MiniTransformers(), MiniMixers())
}
SAMPLING_SEED = 0
MAX_MACS = 500_000
"""Larger networks are left out, so that each training takes seconds."""


@dataclass(frozen=True)
class Recipe:
    """AdamW under a one-cycle learning rate with cosine decay."""

    epochs: int = 3
    batch: int = 64
    rate: float = 4e-3
    warm_up: float = 0.15
    weight_decay: float = 0.02
    clip: float = 1.0


RECIPE = Recipe()


def train(module: nn.Module, images: Images, seed: int, recipe: Recipe = RECIPE) -> None:
    """Train `module` in place; `seed` decides the order of the images."""
    steps = recipe.epochs * (len(images.labels) // recipe.batch)
    optimizer = torch.optim.AdamW(module.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, total_steps=steps, pct_start=recipe.warm_up, cycle_momentum=False
    )
    generator = torch.Generator().manual_seed(seed)
    module.train()
    for _ in range(recipe.epochs):
        order = torch.randperm(len(images.labels), generator=generator)
        for rows in torch.split(order, recipe.batch):
            if len(rows) < recipe.batch:
                break
            loss = F.cross_entropy(module(images.pixels[rows]), images.labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(module.parameters(), recipe.clip)
            optimizer.step()
            schedule.step()


@torch.inference_mode()
def accuracy(module: nn.Module, images: Images, batch: int = 250) -> float:
    """Share of right answers in percent."""
    module.eval()
    parts = zip(torch.split(images.pixels, batch), torch.split(images.labels, batch), strict=True)
    right = sum(int((module(pixels).argmax(1) == labels).sum()) for pixels, labels in parts)
    return 100 * right / len(images.labels)


def measure(
    space: SearchSpace[Any], spec: str, seed: int, data: tuple[Images, Images], recipe: Recipe = RECIPE
) -> dict[str, Any]:
    """One training from scratch, as a row of the table."""
    start = time.process_time()
    torch.manual_seed(seed)
    module = space.module(spec).to(memory_format=torch.channels_last)
    train(module, data[0], seed, recipe)
    score = accuracy(module, data[1])
    seconds = round(time.process_time() - start, 2)
    values = (space.name, spec, seed, round(score, 3), recipe.epochs, seconds)
    return dict(zip(COLUMNS, values, strict=True))


def sample_pool(space: SearchSpace[Any], count: int, seed: int = SAMPLING_SEED) -> list[str]:
    """`count` different networks of at most `MAX_MACS`: random specs in canonical form, each once.

    A longer pool starts with a shorter one.
    """
    rng = np.random.default_rng(seed)
    pool: dict[str, None] = {}
    while len(pool) < count:
        spec = space.canonical(space.sample(rng))
        if spec not in pool and space.graph(spec).macs <= MAX_MACS:
            pool[spec] = None
    return list(pool)


def finished(path: Path) -> set[tuple[str, str, int]]:
    """Space, spec and seed of the trainings in the table."""
    if not path.is_file():
        return set()
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["space"], row["spec"], int(row["seed"])) for row in csv.DictReader(file)}


def append(path: Path, row: dict[str, Any]) -> None:
    """One line, in one write."""
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", choices=list(SPACES), default=list(SPACES))
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument(
        "--backwards", action="store_true", help="start from the end: a second process beside the first"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pools = [sample_pool(SPACES[name], arguments.count) for name in arguments.spaces]
    trainings = [
        (name, spec, seed)
        for specs in zip(*pools, strict=True)  # all pools grow together
        for name, spec in zip(arguments.spaces, specs, strict=True)
        for seed in range(arguments.seeds)
    ]
    data = load()
    bar = tqdm(trainings[:: -1 if arguments.backwards else 1], "trainings")
    for training in bar:
        if training in finished(arguments.output):
            continue
        name, spec, seed = training
        row = measure(SPACES[name], spec, seed, data)
        if training not in finished(arguments.output):  # by another process in the meantime
            append(arguments.output, row)
        bar.set_postfix_str(f"{name} {row['accuracy']:.1f} % in {row['seconds']:.1f} s")


if __name__ == "__main__":
    main()
