"""Losses that teach scores to rank: `LOSSES`, name -> function of `[n]` scores and `[n]` targets -> scalar.

Lower is better. A better network has the higher target, and shall get the higher score. All but `mse` only look at
differences of scores. Pairs are the n (n - 1) / 2 pairs of networks; ds and dt are the differences of their scores and
targets, taken better minus worse, so dt >= 0. Pairs of equal targets have no order to learn: they give nothing.

**Targets must be standardised** (`standardise`, over all labels, once, before batches are drawn) for the losses that
look at their size: both DiffKendalls, `correlation`'s constant and `mse`. Accuracies in [0, 1] differ by a tenth, and
tanh of a tenth is the tenth: both DiffKendalls would be nearly linear, a plain covariance, and no rank correlation.

Half precision (also under autocast) is computed in float32, where sums over pairs neither overflow nor vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from archcast.errors import ConfigError, DataError

Loss = Callable[[Tensor, Tensor], Tensor]
Weighting = Callable[[Tensor], Tensor]
"""Ranks (how many networks of the batch are strictly better: 0 is the best) -> weights of that shape, positive."""

_SPREAD: Final = 1e-4  # variance of scores below which `correlation` counts less


def standardise(targets: Tensor) -> Tensor:
    """`[n]` targets in units of their standard deviation (of the population), of zero mean; zeros where all are equal.

    Raises:
        DataError: they are not `[n]` finite numbers, n > 1.
    """
    _check(targets, targets)
    centred = targets - targets.mean()
    spread = centred.square().mean().sqrt()
    return torch.where(spread > 0, centred / spread.clamp(min=torch.finfo(targets.dtype).tiny), 0)


def equally(ranks: Tensor) -> Tensor:
    """All weights 1."""
    return torch.ones_like(ranks)


def top_heavy(ranks: Tensor) -> Tensor:
    """1 / log2(2 + rank), the discount of DCG (Järvelin and Kekäläinen, TOIS 2002): 1 for the best, .5 for the third.

    A pair counts by the rank of its better network, so the order of the best is learnt before that of the rest.
    """
    return 1 / torch.log2(2 + ranks)


def diffkendall(
    scores: Tensor, targets: Tensor, beta: float = 1.0, temperature: float = 0.0125, weights: Weighting = equally
) -> Tensor:
    """-(1 / T) mean over pairs of tanh(beta ds dt / 2): `[n]`, `[n]` -> scalar in [-1 / T, 1 / T].

    Zheng et al., "DiffKendall: A Novel Approach for Few-Shot Learning with Differentiable Kendall's Rank Correlation",
    NeurIPS 2023, where tanh(x / 2) is written as 2 sigmoid(x) - 1 and T is the temperature of a softmax over classes;
    here it only scales the gradient. The product stands inside tanh: a pair whose targets hardly differ saturates late.
    """
    return _over_pairs(
        scores, targets, lambda ds, dt: -torch.tanh(beta * ds * dt / 2) / temperature, weights, ties=True
    )


def diffkendall_parzc(scores: Tensor, targets: Tensor, alpha: float = 0.5, weights: Weighting = equally) -> Tensor:
    """-mean over pairs of tanh(alpha ds / 2) tanh(alpha dt / 2): `[n]`, `[n]` -> scalar in [-1, 1].

    Dong et al., "ParZC: Parametric Zero-Cost Proxies for Efficient NAS", AAAI 2025. Another function than
    `diffkendall`: each sign of Kendall's tau is smoothed on its own, so a pair of very different scores has no gradient
    left, however close their targets are. The published code sums every pair twice, which doubles the value.
    """
    return _over_pairs(
        scores, targets, lambda ds, dt: -torch.tanh(alpha * ds / 2) * torch.tanh(alpha * dt / 2), weights, ties=True
    )


def hinge(scores: Tensor, targets: Tensor, margin: float = 1.0, weights: Weighting = equally) -> Tensor:
    """Mean over pairs of different targets of max(0, margin - ds): `[n]`, `[n]` -> scalar >= 0.

    Herbrich et al., "Large Margin Rank Boundaries for Ordinal Regression", 2000; on predictors of accuracy since GATES
    (Ning et al., ECCV 2020).
    """
    return _over_pairs(scores, targets, lambda ds, _: functional.relu(margin - ds), weights)


def margin(scores: Tensor, targets: Tensor, weights: Weighting = equally) -> Tensor:
    """`hinge` with a margin of .1, as in ONNX-Net (over all pairs, not a sample of them): `[n]`, `[n]` -> scalar."""
    return hinge(scores, targets, 0.1, weights)


def bce(scores: Tensor, targets: Tensor, weights: Weighting = equally) -> Tensor:
    """Mean over pairs of different targets of log(1 + exp(-ds)): `[n]`, `[n]` -> scalar > 0.

    The binary cross-entropy of "the better one wins" at the odds exp(ds): RankNet (Burges et al., "Learning to Rank
    using Gradient Descent", ICML 2005).
    """
    return _over_pairs(scores, targets, lambda ds, _: functional.softplus(-ds), weights)


def listmle(scores: Tensor, targets: Tensor, weights: Weighting = equally) -> Tensor:
    """Mean over networks i of log(sum over k with target_k <= target_i of exp(s_k)) - s_i: `[n]`, `[n]` -> scalar >= 0.

    The negative log-likelihood, per network, of the true order under the Plackett-Luce model: Xia et al., "Listwise
    Approach to Learning to Rank", ICML 2008. Networks of equal targets compete with each other (Breslow's treatment of
    ties), so the value does not depend on the order they come in. With weights: position-aware ListMLE (Lan et al.,
    UAI 2014).
    """
    scores, targets = _prepared(scores, targets)
    beaten = targets[None, :] <= targets[:, None]
    chosen = torch.where(beaten, scores[None, :], -torch.inf).logsumexp(dim=1)
    weight = weights(_ranks(targets))
    return (weight * (chosen - scores)).sum() / weight.sum()


def mse(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean of (score - target)^2: `[n]`, `[n]` -> scalar >= 0. The only one to fix level and scale of the scores."""
    scores, targets = _prepared(scores, targets)
    return (scores - targets).square().mean()


def correlation(scores: Tensor, targets: Tensor) -> Tensor:
    """1 - Pearson's correlation: `[n]`, `[n]` -> scalar in [0, 2]; near 1 while the scores hardly differ.

    A small constant beside the variance of the scores keeps the gradient of scores that cannot be told apart finite.
    On normal scores of ranks it is a smooth relative of Spearman's correlation.
    """
    scores, targets = _prepared(scores, targets)
    centred = scores - scores.mean()
    spread = (centred.square().mean() + _SPREAD) * targets.var(correction=0).clamp(min=1e-12)
    return 1 - (centred * (targets - targets.mean())).mean() / spread.sqrt()


LOSSES: Final[Mapping[str, Loss]] = MappingProxyType({
    "diffkendall": diffkendall,
    "diffkendall_parzc": diffkendall_parzc,
    "hinge": hinge,
    "margin": margin,
    "bce": bce,
    "listmle": listmle,
    "mse": mse,
    "correlation": correlation,
    "diffkendall_top": partial(diffkendall, weights=top_heavy),
    "diffkendall_parzc_top": partial(diffkendall_parzc, weights=top_heavy),
    "hinge_top": partial(hinge, weights=top_heavy),
    "bce_top": partial(bce, weights=top_heavy),
    "listmle_top": partial(listmle, weights=top_heavy),
})  # fmt: skip
"""The losses by name; `_top` weights a pair (or place) by `top_heavy`."""


def get_loss(name: str) -> Loss:
    """The loss called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in LOSSES:
        raise ConfigError(f"there is no loss {name!r}; choose one of {', '.join(LOSSES)}")
    return LOSSES[name]


def _over_pairs(
    scores: Tensor,
    targets: Tensor,
    pair: Callable[[Tensor, Tensor], Tensor],
    weights: Weighting,
    ties: bool = False,
) -> Tensor:
    """Weighted mean of `pair(ds, dt)`; pairs of equal targets only count where `ties`, and 0 where nothing counts."""
    scores, targets = _prepared(scores, targets)
    one, two = torch.triu_indices(len(scores), len(scores), 1, device=scores.device)
    flipped = targets[one] < targets[two]
    better, worse = torch.where(flipped, two, one), torch.where(flipped, one, two)
    ds, dt = scores[better] - scores[worse], targets[better] - targets[worse]
    weight = weights(_ranks(targets)[better])
    if not ties:
        weight = torch.where(dt > 0, weight, 0)
    return (weight * pair(ds, dt)).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def _ranks(targets: Tensor) -> Tensor:
    """`[n]` how many targets are greater, in the type of the targets."""
    ascending = targets.sort().values
    return (len(targets) - torch.searchsorted(ascending, targets, right=True)).to(targets)


def _prepared(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Both, checked, of one type of at least 32 bits, on the device of the scores."""
    _check(scores, targets)
    scores = scores if scores.dtype == torch.float64 else scores.float()
    return scores, targets.detach().to(scores)


def _check(scores: Tensor, targets: Tensor) -> None:
    if scores.ndim != 1 or scores.shape != targets.shape:
        raise DataError(
            f"scores {list(scores.shape)} and targets {list(targets.shape)} must be [n]; give one each of a network"
        )
    if len(scores) < 2:
        raise DataError("a ranking needs at least two networks; make the batch larger")
    if not bool(torch.isfinite(targets).all()):
        raise DataError("some targets are NaN or infinite; leave networks without a label out")
