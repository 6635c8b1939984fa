"""Teaching graph encoders to rank: labelled pools are the examples, and no pool is ranked against another.

Every step draws a few families of pools, one pool and one task of each, and a handful of its networks, and lowers

    1 - corr(score, normal score of the rank of the label)

inside each handful (Pearson's correlation, with a small constant under the root, so that a pool whose networks cannot
be told apart does no harm). Families count alike, however many pools or labels they have. Training is short: encoders
that fit their own pools perfectly rank others worse (docs/EXPERIMENTS.md, "Graph encoders across spaces").

With clusters, the head is split at half-way: fuzzy c-means on the embeddings of all pools, one head for each cluster
(`archcast.predictor.fuzzy_heads`), trained like the rest for the remaining steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archcast.encoders.devices import accelerator
from archcast.encoders.fuzzy import FuzzyClusters
from archcast.encoders.gcn import GraphEncoder, GraphEncoderConfig
from archcast.encoders.graph_tensors import GraphTensors
from archcast.errors import ConfigError, DataError
from archcast.graphs.graph import GraphBatch
from archcast.predictor.calibration import rank_gauss
from archcast.predictor.fuzzy_heads import FuzzyHeads, head_arrays
from archcast.predictor.graph_ranker import HEAD, GraphRanker
from archcast.predictor.losses import correlation

_LEAST: Final = 8  # labelled networks of a pool that have a ranking worth learning
_CLUSTERED: Final = 200  # networks of each pool that clusters are made of


@dataclass(frozen=True, kw_only=True)
class PoolTraining:
    """How an ensemble is trained, whatever encodes its pools."""

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
    clusters: int = 0
    """Fuzzy clusters of embeddings with a head of their own in the second half of the steps; 0 for one head."""

    def __post_init__(self) -> None:
        if self.clusters < 0 or self.clusters == 1:
            raise ConfigError(f"clusters={self.clusters}: ask for at least 2, or for 0 to train one head")


@dataclass(frozen=True)
class GraphTraining(PoolTraining):
    """How an ensemble of graph encoders is trained."""

    encoder: GraphEncoderConfig = field(default_factory=lambda: GraphEncoderConfig(width=48, layers=3, dim=64))
    """Smaller than the encoder of the pretraining: it transfers as well, and twice as fast."""


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
    config = config or GraphTraining()
    members = train_members(
        pools, config, lambda: (GraphEncoder(config.encoder), config.encoder.dim), _graphs, seed=seed, on_step=on_step
    )
    return GraphRanker(asdict(config.encoder), tuple(pool.name for pool in pools), members)


def _graphs(pool: RankingPool, device: torch.device) -> GraphTensors:
    return pool.tensors.to(device)


class Readable(Protocol):
    """The networks of a pool as an encoder takes them."""

    def take(self, indices: NDArray[np.int64], /) -> Any:
        """What the encoder is called with to embed the networks at `indices`."""


def train_members(
    pools: Sequence[RankingPool],
    config: PoolTraining,
    build: Callable[[], tuple[nn.Module, int]],
    read: Callable[[RankingPool, torch.device], Readable],
    *,
    seed: int,
    on_step: Callable[[str], None],
) -> tuple[dict[str, NDArray[Any]], ...]:
    """The weights of an ensemble trained on `pools`, as `EncoderRanker` keeps them.

    Args:
        pools: what to learn from.
        config: how.
        build: makes an encoder with random weights, and tells the length of its embeddings.
        read: makes the encoder's inputs of a pool.
        seed: of weights, dropout and the order of examples.
        on_step: called after each member.

    Raises:
        ConfigError: fewer families than a step draws.
    """
    families: dict[str, list[int]] = {}
    for position, pool in enumerate(pools):
        families.setdefault(pool.family, []).append(position)
    if len(families) < config.families:
        raise ConfigError(
            f"{len(families)} families of pools ({', '.join(families)}) are too few to learn from "
            f"{config.families} a step; add pools of other spaces"
        )
    device = accelerator().device
    given = [read(pool, device) for pool in pools]
    members = []
    for member in range(config.members):
        with torch.random.fork_rng():
            run = _Member(pools, given, list(families.values()), config, [seed, member])
            members.append(run.train(build, device))
        on_step(f"encoder {member + 1}")
    return tuple(members)


@dataclass(frozen=True, eq=False)
class _Member:
    """The training of one member: the pools, their inputs, and the positions of each family's pools."""

    pools: Sequence[RankingPool]
    given: Sequence[Readable]
    families: Sequence[Sequence[int]]
    config: PoolTraining
    seed: list[int]

    def train(self, build: Callable[[], tuple[nn.Module, int]], device: torch.device) -> dict[str, NDArray[Any]]:
        config, rng = self.config, np.random.default_rng(self.seed)
        torch.manual_seed(int(rng.integers(2**31)))
        encoder, dim = build()
        encoder.to(device).train()
        head: nn.Module = nn.Linear(dim, 1, bias=False).to(device)
        parameters = [*encoder.parameters(), *head.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        for step in range(config.steps):
            if config.clusters and step == config.steps // 2:
                head = FuzzyHeads(self.clusters(encoder), head.get_parameter("weight")).to(device)
                optimizer.add_param_group({"params": list(head.parameters())})
                parameters = [*encoder.parameters(), *head.parameters()]
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * min(1.0, (step + 1) / config.warmup_steps)
            optimizer.zero_grad()
            self.loss(encoder, head, rng).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, config.clip)
            optimizer.step()
        weights = {name: value.cpu().numpy() for name, value in encoder.state_dict().items()}
        return {**weights, **{HEAD + name: array for name, array in head_arrays(head).items()}}

    def loss(self, encoder: nn.Module, head: nn.Module, rng: np.random.Generator) -> Tensor:
        """Mean over the handfuls of one step."""
        losses = []
        for family in rng.choice(len(self.families), self.config.families, replace=False):
            position = int(rng.choice(self.families[family]))
            rows, targets = _handful(self.pools[position], self.config.networks, rng)
            scores = head(encoder(self.given[position].take(rows)))[:, 0]
            losses.append(correlation(scores, torch.from_numpy(targets).to(scores)))
        return torch.stack(losses).mean()

    def clusters(self, encoder: nn.Module) -> FuzzyClusters:
        """Of the embeddings of as many networks of every pool."""
        rng = np.random.default_rng([*self.seed, 1])  # its own, so that clusters change no example
        embeddings = []
        encoder.eval()
        with torch.no_grad():
            for pool, given in zip(self.pools, self.given, strict=True):
                rows = rng.permutation(len(pool.graphs))[:_CLUSTERED]
                parts = range(0, len(rows), self.config.networks)
                embeddings += [encoder(given.take(rows[start : start + self.config.networks])) for start in parts]
        encoder.train()
        return FuzzyClusters.fit(torch.cat(embeddings).cpu().numpy(), self.config.clusters, seed=self.seed[-1])


def _handful(
    pool: RankingPool, networks: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions of some networks of one task, and the normal scores of their ranks."""
    labels = pool.labels[str(rng.choice(list(pool.labels)))]
    known = np.flatnonzero(np.isfinite(labels))
    rows = np.sort(rng.choice(known, min(networks, len(known)), replace=False)).astype(np.int64)
    return rows, rank_gauss(labels[rows])
