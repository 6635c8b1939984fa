"""Exported programs are read, not run, and give the graph that recording gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from archcast.errors import CaptureError
from archcast.graphs.capture import capture


class Mixed(nn.Module):
    """Operations whose aten form orders its arguments differently from the torch function."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.SiLU(inplace=True))
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2)
        self.norm = nn.GroupNorm(2, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.up(self.stem(x)))
        x = nn.functional.interpolate(x, scale_factor=0.5, mode="bilinear") + 1
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        first, second = tokens.chunk(2, dim=1)
        out: Tensor = self.head(torch.cat([first[:, 1:], second], dim=1).mean(1))
        return out


def test_an_exported_program_is_the_recorded_graph() -> None:
    module, image = Mixed().eval(), torch.zeros(1, 3, 16, 16)
    recorded = capture(module, (1, 3, 16, 16))
    exported = capture(torch.export.export(module, (image,)))
    assert exported.op_counts == recorded.op_counts
    assert exported.nodes == recorded.nodes
    assert (exported.edge_index == recorded.edge_index).all()
    assert exported.params == sum(p.numel() for p in module.parameters())


def test_decomposed_programs_keep_parameters_and_macs() -> None:
    module, image = Mixed().eval(), torch.zeros(1, 3, 16, 16)
    program = torch.export.export(module, (image,)).run_decompositions()
    graph, recorded = capture(program), capture(module, (1, 3, 16, 16))
    assert (graph.params, graph.macs) == (recorded.params, recorded.macs)
    assert not graph.unknown_ops


def test_parameters_under_two_names_count_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(20, 4)
            self.head = nn.Linear(4, 20, bias=False)
            self.head.weight = self.table.weight

        def forward(self, tokens: Tensor) -> Tensor:
            out: Tensor = self.head(self.table(tokens))
            return out

    program = torch.export.export(Tied(), (torch.ones(1, 3, dtype=torch.long),))
    assert capture(program).params == 80


def test_dynamic_sizes_take_their_example_value() -> None:
    batch = torch.export.Dim("batch", min=2, max=64)
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    program = torch.export.export(module, (torch.zeros(7, 4),), dynamic_shapes=({0: batch},))
    assert capture(program).shapes[-1] == (7, 3)


def test_an_exported_program_fixes_its_own_input_shape() -> None:
    program = torch.export.export(nn.Linear(4, 3), (torch.zeros(1, 4),))
    with pytest.raises(CaptureError, match="fixes its own input shape"):
        capture(program, (1, 4))
