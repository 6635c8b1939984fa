"""The NAS-Bench-101 network as a PyTorch module."""

from __future__ import annotations

import torch
from torch import nn

from archcast.datasets.nasbench101_cells import Operations, Predecessors, members, vertex_channels
from archcast.datasets.nasbench101_stamping import FULL, STACKS, SkeletonSize


class ConvBnRelu(nn.Sequential):
    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        # Momentum and epsilon as in the original: TensorFlow's momentum .997 is .003 here.
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(out_channels, eps=1e-5, momentum=0.003),
            nn.ReLU(),
        )


def make_operation(name: str, channels: int) -> nn.Module:
    if name == "mp":
        return nn.MaxPool2d(3, stride=1, padding=1)
    return ConvBnRelu(channels, channels, int(name[1]))


class CellModule(nn.Module):
    """Vertices sum truncated outputs of earlier vertices and 1x1 projections of the cell's input."""

    def __init__(self, predecessors: Predecessors, operations: Operations, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.predecessors = predecessors
        self.widths = vertex_channels(predecessors, out_channels)
        self.projections = nn.ModuleDict(
            {
                str(vertex): ConvBnRelu(in_channels, self.widths[vertex], 1)
                for vertex, mask in enumerate(predecessors)
                if mask & 1
            }
        )
        self.operations = nn.ModuleList(
            make_operation(operation, width) for operation, width in zip(operations, self.widths[1:], strict=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = [x]
        for vertex, operation in enumerate(self.operations, start=1):
            width = self.widths[vertex]
            terms = []
            for source in members(self.predecessors[vertex] & ~1):
                value = values[source]
                terms.append(value if value.shape[1] == width else value[:, :width])
            values.append(operation(self._add_projection(vertex, x, terms)))
        last = len(self.predecessors) - 1
        feeding = [values[vertex] for vertex in members(self.predecessors[last]) if vertex]
        joined = [torch.cat(feeding, dim=1)] if len(feeding) > 1 else feeding
        return self._add_projection(last, x, joined)

    def _add_projection(self, vertex: int, x: torch.Tensor, terms: list[torch.Tensor]) -> torch.Tensor:
        if self.predecessors[vertex] & 1:
            terms.append(self.projections[str(vertex)](x))
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


class Network(nn.Module):
    def __init__(
        self,
        predecessors: Predecessors,
        operations: Operations,
        num_classes: int = 10,
        in_channels: int = 3,
        skeleton: SkeletonSize = FULL,
    ) -> None:
        super().__init__()
        stem = skeleton.stem_channels
        layers: list[nn.Module] = [ConvBnRelu(in_channels, stem, 3)]
        entering = stem
        for stack in range(STACKS):
            if stack:
                layers.append(nn.MaxPool2d(2, 2))
            for _ in range(skeleton.cells_per_stack):
                layers.append(CellModule(predecessors, operations, entering, stem << stack))
                entering = stem << stack
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(entering, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.layers(x))
        return logits
