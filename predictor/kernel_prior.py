"""How much each feature counts for accuracy, learnt on labelled search spaces for a space that is not among them.

A Gaussian process compares networks by their distance in feature space, and a few dozen labels cannot tell which of
some four hundred features matter. Other spaces can: the weights w of the columns (one metric for all spaces) maximise
the mean log marginal likelihood of many small tasks, each of 20 to 120 random labelled networks of one family,

    max_w  E_tasks [ log sum_(l, s) p(y | a (K_w,l + s I)) ] / n  -  reg |log w|^2

over lengths l, noise shares s and the most likely amplitude a (Rasmussen & Williams, 2006, section 5.4; hyperparameters
shared between tasks as in Wistuba & Grabocka, "Few-shot Bayesian optimization with deep kernel surrogates", 2021).
log w is the sum of a term for the column and one for its group, so that columns that rarely vary follow their group.
The labelled networks of the new space then decide, by likelihood, between this metric, its root and equal weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.features import FEATURE_NAMES
from archcast.errors import ConfigError
from archcast.predictor.calibration import rank_gauss
from archcast.predictor.heads.relevance import feature_groups

if TYPE_CHECKING:
    from torch import Tensor

FloatArray = NDArray[np.float64]
Pools = Mapping[str, Sequence[tuple[NDArray[np.float32], FloatArray]]]
"""Family -> its labelled pools, each (features `[n, F]`, labels `[n]`)."""

_LENGTHS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_NOISES: Final = (1e-3, 1e-2, 0.05, 0.2, 1.0)
_LABELS: Final = (20, 120)  # of a task
LEAST_LABELS: Final = 2 * _LABELS[0]
"""A pool needs as many labels: a task takes at most half of them."""
_FAMILIES: Final = 6  # tasks of a step, of different families
_CLIP: Final = 4.0


@dataclass(frozen=True)
class KernelPriorConfig:
    """How the metric is learnt."""

    steps: int = 250
    """Gradient steps (Adam)."""
    rate: float = 0.03
    """Step size in log w."""
    reg: float = 0.2
    """Weight of the mean square of log w."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.rate <= 0 or self.reg < 0:
            raise ConfigError("steps must be at least 1, rate positive and reg not negative")


@dataclass(frozen=True)
class KernelPrior:
    """Metrics that other spaces taught. Build it with `KernelPrior.learn`.

    Attributes:
        families: the families it was learnt from.
        weights: `[F]` weight of each feature.
    """

    families: tuple[str, ...]
    weights: FloatArray

    @property
    def relevance(self) -> FloatArray:
        """`[2, F]` the metrics that a Gaussian process tries beside equal weights: the square root, and the whole."""
        return np.stack([np.sqrt(self.weights), self.weights])

    @classmethod
    def learn(
        cls,
        pools: Pools,
        *,
        config: KernelPriorConfig | None = None,
        seed: int = 0,
        on_step: Callable[[str], None] = lambda _: None,
    ) -> KernelPrior:
        """Learn from labelled pools by family; leave a family out to use the prior on it.

        Args:
            seed: of the tasks.
            on_step: called every 50 steps with the step and the loss.

        Raises:
            ConfigError: no pools, or one of fewer than 40 networks.
        """
        if not pools or any(len(labels) < LEAST_LABELS for each in pools.values() for _, labels in each):
            raise ConfigError(f"the kernel prior needs pools of at least {LEAST_LABELS} labelled networks")
        import torch

        config, rng = config or KernelPriorConfig(), np.random.default_rng(seed)
        group = torch.from_numpy(feature_groups(len(FEATURE_NAMES)))
        own = torch.zeros(len(FEATURE_NAMES), requires_grad=True)
        shared = torch.zeros(int(group.max()) + 1, requires_grad=True)
        optimiser = torch.optim.Adam([own, shared], lr=config.rate)
        families = sorted(pools)
        for step in range(config.steps):
            optimiser.zero_grad()
            loss = config.reg * (own.square().sum() + shared.square().sum()) / len(own)
            for family in rng.permutation(families)[:_FAMILIES]:
                each = pools[str(family)]
                features, labels = each[int(rng.integers(len(each)))]
                rows, targets, columns = _task(features, labels, rng)
                weights = torch.exp(own + shared[group])[columns]
                loss = loss - _log_likelihood(rows, targets, weights) / min(_FAMILIES, len(families))
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if (step + 1) % 50 == 0:
                on_step(f"kernel step {step + 1} of {config.steps}, loss {loss.item():.3f}")
        return cls(tuple(families), torch.exp(own + shared[group]).detach().numpy().astype(np.float64))


def _task(features: NDArray[np.float32], labels: FloatArray, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Standardised rows, centred normal scores, and the columns in use, of some networks of a pool."""
    import torch

    count = int(np.exp(rng.uniform(*np.log(_LABELS))))
    rows = rng.permutation(len(labels))[: min(count, len(labels) // 2)]
    picked = features[rows].astype(np.float64)
    columns = np.flatnonzero(picked.std(axis=0) > 1e-6)
    picked = picked[:, columns]
    standard = np.clip((picked - picked.mean(axis=0)) / picked.std(axis=0), -_CLIP, _CLIP)
    targets = rank_gauss(labels[rows])
    return (
        torch.from_numpy(standard.astype(np.float32)),
        torch.from_numpy((targets - targets.mean()).astype(np.float32)),
        torch.from_numpy(columns),
    )


def _log_likelihood(rows: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean log marginal likelihood of a label, summed over lengths and noise shares, at the most likely amplitude."""
    import torch

    count = len(targets)
    scaled = rows * weights / torch.sqrt(weights.square().sum())
    size = scaled.square().sum(1)
    squared = size[:, None] + size - 2 * scaled @ scaled.T
    distance = torch.sqrt(torch.clamp(squared, min=1e-9))
    r = 3**0.5 * distance / torch.tensor(_LENGTHS)[:, None, None]
    kernel = (1 + r) * torch.exp(-r)
    noisy = kernel[:, None] + torch.tensor(_NOISES)[:, None, None] * torch.eye(count)
    factor = torch.linalg.cholesky(noisy)
    solved = torch.cholesky_solve(targets[:, None].expand(*noisy.shape[:2], count, 1), factor)[..., 0]
    amplitude = torch.clamp((solved * targets).sum(-1) / count, min=1e-9)
    log_det = 2 * torch.log(torch.diagonal(factor, dim1=-2, dim2=-1)).sum(-1)
    each: Any = -0.5 * (count * torch.log(amplitude) + log_det)
    total: Tensor = torch.logsumexp(each.reshape(-1), 0) / count
    return total
