"""Teaching graph encoders to rank: labelled pools are the examples, and no pool is ranked against another.

Every step draws a few families of pools, one pool and one task of each, and a handful of its networks, and lowers

    1 - corr(score, normal score of the rank of the label)

inside each handful (Pearson's correlation, with a small constant under the root, so that a pool whose networks cannot
be told apart does no harm). Families count alike, however many pools or labels they have. Training is short: encoders
that fit their own pools perfectly rank others worse (docs/EXPERIMENTS.md, "Graph encoders across spaces").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from archcast.encoders.gcn import GraphEncoder, GraphEncoderConfig
from archcast.encoders.graph_tensors import GraphTensors
from archcast.errors import ConfigError, DataError
from archcast.graphs.graph import GraphBatch
from archcast.predictor.calibration import rank_gauss
from archcast.predictor.graph_ranker import GraphRanker
from archcast.predictor.losses import correlation

_LEAST = 8  # labelled networks of a pool that have a ranking worth learning


@dataclass(frozen=True)
class GraphTraining:
    """How an ensemble is trained."""

    encoder: GraphEncoderConfig = field(default_factory=lambda: GraphEncoderConfig(width=48, layers=3, dim=64))
    """Smaller than the encoder of the pretraining: it transfers as well, and twice as fast."""
    members: int = 3
    """Encoders of the ensemble."""
    steps: int = 240
    """Updates of each."""
    families: int = 2
    """Families a step learns from."""
    networks: int = 48
    """Networks of each."""
    learning_rate: float = 2e-3
    """AdamW's, after the warm-up."""
    warmup_steps: int = 15
    """Updates over which the rate rises from 0."""
    weight_decay: float = 0.1
    """AdamW's."""
    clip: float = 1.0
    """Largest norm of the gradient."""


@dataclass(frozen=True, eq=False)
class RankingPool:
    """Labelled networks of one space, measured for one or more tasks.

    Attributes:
        name: of the pool.
        family: pools of one family share what they are made of, and are drawn as one.
        graphs: the networks.
        labels: task -> `[n]` labels, higher is better, NaN where there is none.
    """

    name: str
    family: str
    graphs: GraphBatch
    labels: Mapping[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        for task, values in self.labels.items():
            if len(values) != len(self.graphs):
                raise DataError(f"{self.name}: {len(values)} labels of {task} for {len(self.graphs)} networks")
            if np.isfinite(values).sum() < _LEAST:
                raise DataError(f"{self.name}: {task} has fewer than {_LEAST} labels; leave it out")

    @cached_property
    def tensors(self) -> GraphTensors:
        """The networks as the encoders take them, on the CPU."""
        return GraphTensors.of(self.graphs)


def train_graph_ranker(
    pools: Sequence[RankingPool],
    config: GraphTraining | None = None,
    *,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda _: None,
) -> GraphRanker:
    """Train an ensemble on `pools`, on the accelerator there is.

    Args:
        pools: what to learn from, of two families at least.
        config: sizes and rates.
        seed: of weights, dropout and the order of examples.
        on_step: called after each member.

    Raises:
        ConfigError: fewer families than a step draws.
    """
    from accelerate import Accelerator

    config = config or GraphTraining()
    families: dict[str, list[int]] = {}
    for position, pool in enumerate(pools):
        families.setdefault(pool.family, []).append(position)
    if len(families) < config.families:
        raise ConfigError(
            f"{len(families)} families of pools ({', '.join(families)}) are too few to learn from "
            f"{config.families} a step; add pools of other spaces"
        )
    device = Accelerator().device
    tensors = [pool.tensors.to(device) for pool in pools]
    members = []
    for member in range(config.members):
        members.append(_train_member(pools, tensors, list(families.values()), config, [seed, member], device))
        on_step(f"graph encoder {member + 1}")
    return GraphRanker(asdict(config.encoder), tuple(pool.name for pool in pools), tuple(members))


def _train_member(
    pools: Sequence[RankingPool],
    tensors: Sequence[GraphTensors],
    families: Sequence[Sequence[int]],
    config: GraphTraining,
    seed: list[int],
    device: torch.device,
) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(2**31)))
        encoder = GraphEncoder(config.encoder).to(device).train()
        head = nn.Linear(config.encoder.dim, 1, bias=False).to(device)
        model = nn.ModuleList([encoder, head])
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        for step in range(config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * min(1.0, (step + 1) / config.warmup_steps)
            losses = []
            for family in rng.choice(len(families), config.families, replace=False):
                position = int(rng.choice(families[family]))
                rows, targets = _handful(pools[position], config.networks, rng)
                scores = head(encoder(tensors[position].take(rows)))[:, 0]
                losses.append(correlation(scores, torch.from_numpy(targets).to(scores)))
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
    weights = {**encoder.state_dict(), "head.weight": head.weight.detach()}
    return {name: value.cpu().numpy() for name, value in weights.items()}


def _handful(
    pool: RankingPool, networks: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions of some networks of one task, and the normal scores of their ranks."""
    labels = pool.labels[str(rng.choice(list(pool.labels)))]
    known = np.flatnonzero(np.isfinite(labels))
    rows = np.sort(rng.choice(known, min(networks, len(known)), replace=False)).astype(np.int64)
    return rows, rank_gauss(labels[rows])
