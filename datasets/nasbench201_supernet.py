"""The supernet of NAS-Bench-201: every edge holds all operations at once, and the cells share their decisions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from archcast.datasets.nasbench201 import CELLS_PER_STAGE, CHANNELS, EDGES, OPERATIONS, Cell, NASBench201
from archcast.datasets.nasbench201_module import ReductionBlock, make_operation
from archcast.errors import ConfigError

DECISIONS = tuple(f"edge {source}-{target}" for source, target in EDGES)
"""Names of what is to be decided, in the order of the spec."""


class MixedEdge(nn.Module):
    """Weighted sum of the operations an edge can still hold.

    Attributes:
        decision: name of the choice; edges with the same name hold the same operation in the end.
        candidates: name -> operation.
        kept: names of those that are still there. Each has the weight 1 / number of all candidates, as with the equal
            architecture weights of DARTS, whether others were removed or not; the only one that is left has weight 1.
    """

    def __init__(self, decision: str, channels: int) -> None:
        super().__init__()
        self.decision = decision
        self.candidates = nn.ModuleDict({name: make_operation(name, channels, channels) for name in OPERATIONS})
        self.kept: tuple[str, ...] = OPERATIONS

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = self.candidates[self.kept[0]](x)
        if len(self.kept) == 1:
            return total
        for name in self.kept[1:]:
            total = total + self.candidates[name](x)
        return total / len(self.candidates)


class MixedCell(nn.Module):
    """The cell of NAS-Bench-201 with a `MixedEdge` on each edge."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(MixedEdge(decision, channels) for decision in DECISIONS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        points: list[torch.Tensor] = [x]
        for point in range(1, 4):
            incoming = [self.edges[edge](points[source]) for edge, (source, to) in enumerate(EDGES) if to == point]
            points.append(torch.stack(incoming).sum(dim=0) if len(incoming) > 1 else incoming[0])
        return points[-1]


class NASBench201Supernet(nn.Module):
    """Stem, three stages of mixed cells with reduction blocks between them, BN-ReLU, global pooling, classifier.

    Args:
        cells: cells in each stage. One is enough to compare operations; the networks themselves have five.
        width: channels of the stages, as multiples of 16, 32, 64.
    """

    def __init__(
        self, num_classes: int = 10, *, cells: int = CELLS_PER_STAGE, width: float = 1.0, in_channels: int = 3
    ) -> None:
        super().__init__()
        channels = [round(width * count) for count in CHANNELS]
        if cells < 1 or min(channels) < 1:
            raise ConfigError(f"cells={cells}, width={width}: a stage needs one cell and one channel at least")
        first = channels[0]
        self.stem = nn.Sequential(nn.Conv2d(in_channels, first, 3, padding=1, bias=False), nn.BatchNorm2d(first))
        layers: list[nn.Module] = []
        for stage, count in enumerate(channels):
            if stage:
                layers.append(ReductionBlock(channels[stage - 1], count))
            layers += [MixedCell(count) for _ in range(cells)]
        self.layers = nn.Sequential(*layers)
        last = channels[-1]
        self.head = nn.Sequential(nn.BatchNorm2d(last), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.head(self.layers(self.stem(x))))
        return logits


def discretise(choices: Mapping[str, str]) -> str:
    """The spec of the cell that holds the chosen operation, decision -> operation, on each edge.

    Raises:
        ConfigError: an edge without a decision, or an operation that is not one of the space's.
    """
    wrong = [f"{name}: {choices.get(name, 'nothing')}" for name in DECISIONS if choices.get(name) not in OPERATIONS]
    if wrong:
        raise ConfigError(f"undecided edges ({', '.join(wrong)}); choose among {', '.join(OPERATIONS)} for each")
    return NASBench201().format(Cell(tuple(choices[name] for name in DECISIONS)))
