"""GENNAPE (Mills et al., "Towards Generalized Neural Architecture Performance Estimators", AAAI 2023).

1. A k-GNN (`benchmarks.baselines.k_gnn`) is pretrained without labels: two dropout views of each network, soft targets
   from the 21 smallest eigenvalues of the normalised Laplacian (`SpectralContrast`). It is frozen then.
2. Its embeddings are clustered by fuzzy c-means, and perceptrons, one per cluster, learn the target

       T = Z(accuracy / (log10(GFLOPs + 1) + 1)),   Z over all training networks,

   which `scores` turns back into accuracies. Others learn which of two networks is better.
3. Beside them stand a k-GNN trained end to end on Z(accuracy), and FLOPs. The scores of all members are standardised in
   the pool and summed: with equal weights zero-shot, after `fine_tune` with the softmax of the members' Kendall tau.

The authors train on 50,000 networks of NAS-Bench-101 for 40 epochs. What paper and release leave open was chosen:
width 64 and dropout 0.1 of the contrastive encoder, eight clusters, heads with two hidden layers of 128, learning rates
for few steps. The targets of the contrast have a temperature (see `SpectralContrast`), and the pairwise logit changes
its sign when the networks change places. For the weights, tau is taken on the labelled networks before any
member has learnt from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional

from archcast.encoders.contrastive import SpectralContrast, Views, Widths
from archcast.encoders.fuzzy import FuzzyClusters
from archcast.encoders.graph_tensors import GraphTensors
from archcast.encoders.spectra import laplacian_spectra
from archcast.graphs.graph import GraphBatch
from benchmarks.baselines.contract import FloatArray, Sources, joined, required, seeded, train
from benchmarks.baselines.gennape_heads import Head
from benchmarks.baselines.k_gnn import KGnn, KGnnConfig, computational_graphs

HEADS: Final = {
    "contrastive+fcm+t": (True, False), "contrastive+t": (False, False),
    "contrastive+pairwise": (False, True), "contrastive+pairwise+fcm": (True, True),
}  # fmt: skip
"""Members on frozen embeddings: whether clustered, whether pairwise."""

MEMBERS: Final = (*HEADS, "k-gnn", "flops")


@dataclass(frozen=True)
class GennapeConfig:
    """Shape and training of a `Gennape`; one budget of steps for the contrastive encoder and one for the k-GNN."""

    steps: int = 2000
    batch_size: int = 64
    head_steps: int = 1000
    fine_tune_steps: int = 100
    clusters: int = 8
    learning_rate: float = 2e-3
    head_learning_rate: float = 1e-3
    contrastive: KGnnConfig = field(default_factory=lambda: KGnnConfig(width=64, dropout=0.1))
    supervised: KGnnConfig = field(default_factory=KGnnConfig)


@dataclass(frozen=True)
class Standardised:
    """`(values - mean) / deviation` with the mean and deviation of the training networks."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: FloatArray) -> Standardised:
        return cls(float(values.mean()), max(float(values.std()), 1e-9))

    def __call__(self, values: FloatArray) -> FloatArray:
        return (values - self.mean) / self.deviation

    def inverse(self, values: FloatArray) -> FloatArray:
        return values * self.deviation + self.mean


def flops_term(graphs: GraphBatch) -> FloatArray:
    """`log10(GFLOPs + 1) + 1` of each network, FLOPs = 2 MACs."""
    return np.asarray(np.log10(2 * graphs.macs / 1e9 + 1) + 1)


class KGnnRegressor:
    """The end-to-end member: k-GNN, perceptron, squared error of Z(accuracy). Also a baseline by itself."""

    def __init__(self, seed: int = 0, config: GennapeConfig | None = None) -> None:
        self.seed, self.config = seed, config or GennapeConfig()
        self.network: nn.Sequential | None = None
        self.scale = Standardised(0, 1)

    def fit(self, sources: Sources) -> None:
        graphs, labels, _ = joined(sources)
        self.fit_tensors(computational_graphs(graphs), labels)

    def fit_tensors(self, tensors: GraphTensors, labels: FloatArray) -> None:
        """`fit` on tensors that are made already."""
        self.scale = Standardised.of(labels)
        with seeded(self.seed) as rng:
            width = self.config.supervised.width
            tail = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)]
            self.network = nn.Sequential(KGnn(self.config.supervised), *tail)
            self._train(tensors, labels, self.config.steps, rng)

    def fine_tune(self, tensors: GraphTensors, labels: FloatArray) -> None:
        """Train on with labels of the target pool."""
        with seeded(self.seed) as rng:
            self._train(tensors, labels, self.config.fine_tune_steps, rng)

    def _train(self, tensors: GraphTensors, labels: FloatArray, steps: int, rng: np.random.Generator) -> None:
        network, target = required(self.network, "KGnnRegressor"), torch.from_numpy(self.scale(labels)).float()

        def loss(_: int) -> Tensor:
            rows = rng.choice(len(target), min(self.config.batch_size, len(target)), replace=False)
            return functional.mse_loss(network(tensors.take(rows)).squeeze(1), target[rows])

        train(network, loss, steps, self.config.learning_rate)

    def predict(self, graphs: GraphBatch) -> FloatArray:
        return self.predict_tensors(computational_graphs(graphs))

    def predict_tensors(self, tensors: GraphTensors) -> FloatArray:
        """`predict` on tensors that are made already."""
        network = required(self.network, "KGnnRegressor")
        encoder = network[0]
        assert isinstance(encoder, KGnn)
        with torch.inference_mode():
            return np.asarray(network[1:](encoder.encode_all(tensors)).squeeze(1).double().numpy())


class Gennape:
    """The whole ensemble; see the top of this file and `benchmarks.baselines.contract.Baseline`."""

    def __init__(self, seed: int = 0, config: GennapeConfig | None = None) -> None:
        self.seed, self.config = seed, config or GennapeConfig()
        self.encoder: KGnn | None = None
        self.heads: dict[str, Head] = {}
        self.regressor = KGnnRegressor(seed, self.config)
        self.weights = dict.fromkeys(MEMBERS, 1 / len(MEMBERS))
        self.target = Standardised(0, 1)
        self.losses: list[float] = []

    def fit(self, sources: Sources) -> None:
        graphs, labels, space = joined(sources)
        tensors = computational_graphs(graphs)
        self.weights = dict.fromkeys(MEMBERS, 1 / len(MEMBERS))
        with seeded(self.seed) as rng:
            self._pretrain(tensors, torch.from_numpy(laplacian_spectra(graphs)), rng)
            raw = required(self.encoder, "Gennape").encode_all(tensors)
            self.centre, self.spread = raw.mean(dim=0), raw.std(dim=0).clamp_min(1e-6)
            embeddings = self._standardised(raw)
            self.target = Standardised.of(labels / flops_term(graphs))
            clusters = FuzzyClusters.fit(embeddings.numpy(), self.config.clusters, seed=self.seed)
            self.heads = {
                name: Head(embeddings.shape[1], clusters if clustered else None, pairwise=pairwise)
                for name, (clustered, pairwise) in HEADS.items()
            }
            steps = self.config.head_steps
            self._train_heads(embeddings, labels, flops_term(graphs), torch.from_numpy(space), steps, rng)
        self.regressor.fit_tensors(tensors, labels)

    def _pretrain(self, tensors: GraphTensors, spectra: Tensor, rng: np.random.Generator) -> None:
        encoder = KGnn(self.config.contrastive)
        objective = SpectralContrast(Widths(embedding=self.config.contrastive.width))

        def loss(_: int) -> Tensor:
            rows = rng.choice(tensors.size, min(self.config.batch_size, tensors.size), replace=False)
            batch = tensors.take(rows)
            value: Tensor = objective(Views(encoder(batch), encoder(batch), spectra=spectra[rows]))
            return value

        self.losses = train(encoder, loss, self.config.steps, self.config.learning_rate)
        self.encoder = encoder

    def _train_heads(
        self, embeddings: Tensor, labels: FloatArray, term: FloatArray, space: Tensor,
        steps: int, rng: np.random.Generator,
    ) -> None:  # fmt: skip
        target = torch.from_numpy(self.target(labels / term)).float()
        for head in self.heads.values():
            learnt = torch.from_numpy(labels).float() if head.pairwise else target
            head.fit(embeddings, learnt, space, steps, self.config.head_learning_rate, rng)

    def fine_tune(self, graphs: GraphBatch, labels: FloatArray) -> None:
        """Learn from labelled networks of the target pool: heads and k-GNN train on, the encoder stays frozen."""
        before = self.members(graphs)
        taus = {name: float(np.nan_to_num(kendalltau(scores, labels).statistic)) for name, scores in before.items()}
        total = sum(np.exp(tau) for tau in taus.values())
        tensors = computational_graphs(graphs)
        with seeded(self.seed) as rng:
            space = torch.zeros(len(labels), dtype=torch.int64)
            embeddings = self._embeddings(tensors)
            self._train_heads(embeddings, labels, flops_term(graphs), space, self.config.fine_tune_steps, rng)
        self.regressor.fine_tune(tensors, labels)
        self.weights = {name: float(np.exp(tau) / total) for name, tau in taus.items()}

    def members(self, graphs: GraphBatch) -> dict[str, FloatArray]:
        """Scores of each member: accuracies, or mean probabilities to be the better one, or GFLOPs."""
        tensors, term = computational_graphs(graphs), flops_term(graphs)
        embeddings = self._embeddings(tensors)
        found = {}
        for name, head in self.heads.items():
            scores = head.scores(embeddings)
            found[name] = scores if head.pairwise else self.target.inverse(scores) * term
        return {**found, "k-gnn": self.regressor.predict_tensors(tensors), "flops": 2 * graphs.macs / 1e9}

    def predict(self, graphs: GraphBatch) -> FloatArray:
        return self.combined(self.members(graphs))

    def combined(self, members: dict[str, FloatArray]) -> FloatArray:
        """The weighted sum of what `members` gave."""
        total = np.zeros(len(next(iter(members.values()))))
        for name, scores in members.items():
            total += self.weights[name] * Standardised.of(scores)(scores)
        return total

    def _embeddings(self, tensors: GraphTensors) -> Tensor:
        return self._standardised(required(self.encoder, "Gennape").encode_all(tensors))

    def _standardised(self, raw: Tensor) -> Tensor:
        return (raw - self.centre) / self.spread
