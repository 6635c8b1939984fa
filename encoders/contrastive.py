"""Objectives of pretraining: what embeddings of unlabelled networks are pulled towards.

Every objective is a module under one contract: from `Views` of a batch it gives one scalar that is lower the better
the embeddings are. None reads a label. A batch may come in any order; the same network twice in one batch
(`Views.identity`) is never its own negative. `OBJECTIVES` names them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from math import log
from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from archcast.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Views:
    """B networks as the objectives see them. What no objective asks for is None.

    Attributes:
        embedding: `[B, D]` by the encoder that learns.
        again: `[B, D]` by the same encoder under another dropout mask.
        augmented: `[B, D]` of other renderings of the networks, `archcast.encoders.augmentations`.
        other: `[B, D2]` by another encoder (the text of the networks).
        spectra: `[B, k]` smallest Laplacian eigenvalues, ascending.
        statistics: `[B, S]` statistics of the graphs, standardised over the corpus.
        measured: `[B, M]` measured statistics of the networks, standardised; NaN where not measured.
        nodes: `[N, D3]` embeddings of the nodes of all networks.
        node_measured: `[N, S2]` standardised statistics of nodes where they were measured but not shown; NaN else.
        identity: `[B]` int64, equal for equal networks.
    """

    embedding: Tensor
    again: Tensor | None = None
    augmented: Tensor | None = None
    other: Tensor | None = None
    spectra: Tensor | None = None
    statistics: Tensor | None = None
    measured: Tensor | None = None
    nodes: Tensor | None = None
    node_measured: Tensor | None = None
    identity: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Views:
        """The views with `function` applied to every tensor, such as a gathering over processes."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(value) for name, value in values.items() if value is not None})


@dataclass(frozen=True)
class Widths:
    """Numbers of columns that objectives are built for; 0 for what there is not."""

    embedding: int
    other: int = 0
    statistics: int = 0
    measured: int = 0
    nodes: int = 0
    node_measured: int = 0


class Objective(nn.Module):
    """A loss on `Views`.

    Args:
        widths: of the views it will be given.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    """Fields of `Views`, beyond `embedding`, that must not be None."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.widths = widths

    def forward(self, views: Views) -> Tensor:
        raise NotImplementedError

    def view(self, views: Views, name: str) -> Tensor:
        """A field of `views` that must be there."""
        value = getattr(views, name)
        if value is None:
            raise ConfigError(f"{type(self).__name__} needs the view {name}; provide {', '.join(sorted(self.needs))}")
        tensor: Tensor = value
        return tensor


class SpectralContrast(Objective):
    """Networks that are wired alike are embedded alike; the two dropout views of a network most of all.

    GENNAPE (Mills et al., AAAI 2023), after Han et al. (SDM 2023): over the 2B views, i without itself,

        loss = - mean over i of sum over j of t_ij log softmax_j(cos(z_i, z_j) / temperature)
        t_i  = softmax_j(-|lambda_i - lambda_j| / target_temperature)

    with lambda the smallest eigenvalues of the normalised Laplacian: 21 in GENNAPE, 11 in the SDM paper, whose
    temperature is 0.05. The targets have a temperature too: distances are a few tenths, so that without one they are
    close to uniform, and a constant embedding close to optimal.
    """

    needs = frozenset({"again", "spectra"})

    def __init__(self, widths: Widths, temperature: float = 0.05, target_temperature: float = 0.05) -> None:
        super().__init__(widths)
        self.temperature = temperature
        self.target_temperature = target_temperature

    def forward(self, views: Views) -> Tensor:
        both = _unit(torch.cat([views.embedding, self.view(views, "again")]))
        spectra = self.view(views, "spectra").to(both.dtype).repeat(2, 1)
        itself = torch.eye(len(both), dtype=torch.bool, device=both.device)
        similarity = (both @ both.T / self.temperature).masked_fill(itself, -torch.inf)
        distance = (spectra[:, None] - spectra[None]).square().sum(dim=2).sqrt()
        targets = (-distance / self.target_temperature).masked_fill(itself, -torch.inf).softmax(dim=1)
        surprise = -similarity.log_softmax(dim=1).masked_fill(itself, 0)
        return (targets * surprise).sum(dim=1).mean()


class AugmentationContrast(Objective):
    """A network and an augmented rendering of it find each other among all others of the batch.

    NT-Xent of SimCLR (Chen et al., ICML 2020) as GraphCL (You et al., NeurIPS 2020) uses it on graphs: both
    directions, negatives from both sets of views.
    """

    needs = frozenset({"augmented"})

    def __init__(self, widths: Widths, temperature: float = 0.1) -> None:
        super().__init__(widths)
        self.temperature = temperature

    def forward(self, views: Views) -> Tensor:
        count = len(views.embedding)
        both = _unit(torch.cat([views.embedding, self.view(views, "augmented")]))
        partner = torch.arange(2 * count, device=both.device).roll(count)
        same = _same(views, count, both.device).repeat(2, 2)
        same[torch.arange(2 * count, device=both.device), partner] = False
        logits = (both @ both.T / self.temperature).masked_fill(same, -torch.inf)
        return functional.cross_entropy(logits, partner)


class CrossModalContrast(Objective):
    """The graph and the text of a network find each other in the batch.

    CLIP (Radford et al., ICML 2021): both embeddings are projected to one space, and the inverse temperature is learnt
    on a log scale between 1 and 100.
    """

    needs = frozenset({"other"})
    LARGEST: Final = log(100.0)

    def __init__(self, widths: Widths, width: int = 128, temperature: float = 0.07) -> None:
        super().__init__(widths)
        self.graph = nn.Linear(widths.embedding, width, bias=False)
        self.text = nn.Linear(widths.other, width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(-log(temperature)))

    def forward(self, views: Views) -> Tensor:
        # Clamped in place, as in CLIP: a clamp inside the graph would give no gradient back at the border.
        with torch.no_grad():
            self.log_scale.clamp_(0, self.LARGEST)
        graph, text = _unit(self.graph(views.embedding)), _unit(self.text(self.view(views, "other")))
        partner = torch.arange(len(graph), device=graph.device)
        same = _same(views, len(graph), graph.device)
        same[partner, partner] = False
        logits = (graph @ text.T * self.log_scale.exp()).masked_fill(same, -torch.inf)
        return (functional.cross_entropy(logits, partner) + functional.cross_entropy(logits.T, partner)) / 2


class StatisticsRegression(Objective):
    """The embedding tells the statistics that every graph has for free: parameters, MACs, depths, widths, shares.

    Huber loss of a small head, mean over networks and statistics. FBNetV3 (Dai et al., CVPR 2021) pretrains its
    predictor so.
    """

    needs = frozenset({"statistics"})

    def __init__(self, widths: Widths) -> None:
        super().__init__(widths)
        self.head = _head(widths.embedding, widths.statistics)

    def forward(self, views: Views) -> Tensor:
        return masked_huber(self.head(views.embedding), self.view(views, "statistics"))


class MeasuredRegression(Objective):
    """The embedding tells the measured statistics of the network where there are some: zero-cost scores."""

    needs = frozenset({"measured"})

    def __init__(self, widths: Widths) -> None:
        super().__init__(widths)
        self.head = _head(widths.embedding, widths.measured)

    def forward(self, views: Views) -> Tensor:
        return masked_huber(self.head(views.embedding), self.view(views, "measured"))


class NodeRegression(Objective):
    """The embeddings of nodes tell the measured statistics that were hidden from the encoder."""

    needs = frozenset({"nodes", "node_measured"})

    def __init__(self, widths: Widths) -> None:
        super().__init__(widths)
        self.head = _head(widths.nodes, widths.node_measured)

    def forward(self, views: Views) -> Tensor:
        return masked_huber(self.head(self.view(views, "nodes")), self.view(views, "node_measured"))


OBJECTIVES: Final[dict[str, type[Objective]]] = {
    "spectral": SpectralContrast,
    "augmentation": AugmentationContrast,
    "cross_modal": CrossModalContrast,
    "statistics": StatisticsRegression,
    "measured": MeasuredRegression,
    "nodes": NodeRegression,
}
"""Every objective by the name that configs use."""


def masked_huber(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean Huber loss over the entries of `target` that are not NaN; 0, with gradients, where all are."""
    known = ~target.isnan()
    error = functional.smooth_l1_loss(predicted.float(), target.nan_to_num().float(), reduction="none")
    return (error * known).sum() / known.sum().clamp_min(1)


def _head(width: int, columns: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, columns))


def _unit(rows: Tensor) -> Tensor:
    """Rows of length 1 in single precision at least: half precision rounds cosines near 1 to a few values."""
    return functional.normalize(rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows, dim=1)


def _same(views: Views, count: int, device: torch.device) -> Tensor:
    """`[B, B]` whether two rows are the same network."""
    if views.identity is None:
        return torch.eye(count, dtype=torch.bool, device=device)
    return views.identity[:, None] == views.identity[None]
