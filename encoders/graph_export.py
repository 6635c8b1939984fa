"""The graph encoder as an ONNX model with any number of nodes, edges and networks."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archcast.encoders.gcn import GraphEncoder
from archcast.encoders.graph_tensors import GraphTensors
from archcast.encoders.node_table import NUMBER_NAMES
from archcast.encoders.op_text import WIDTH
from archcast.errors import MissingExtraError

OPSET: Final = 18
"""The first ONNX version whose scatter knows sums and maxima of rows."""

_AXES: Final[dict[str, tuple[int, str]]] = {
    "distinct_op": (0, "distinct"), "distinct_numbers": (0, "distinct"), "distinct_text": (0, "distinct"),
    "kinds": (0, "nodes"), "edge_index": (1, "edges"), "slot": (0, "edges"), "graph": (0, "nodes"),
    "live": (0, "nodes"), "visits": (0, "nodes"), "depth": (0, "nodes"), "batch": (0, "batch"),
    "measured": (0, "nodes"), "extra": (0, "nodes"),
}  # fmt: skip
"""Input -> the axis that may have any length, and what it counts."""

OUTPUT: Final = "networks"


class _Exported(nn.Module):
    """`GraphEncoder` with plain tensors as inputs; the length of `batch` is the number of networks."""

    def __init__(self, encoder: GraphEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self,
        distinct_op: Tensor,
        distinct_numbers: Tensor,
        distinct_text: Tensor,
        kinds: Tensor,
        edge_index: Tensor,
        slot: Tensor,
        graph: Tensor,
        live: Tensor,
        visits: Tensor,
        depth: Tensor,
        batch: Tensor,
        measured: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> Tensor:
        tensors = GraphTensors(
            kinds, distinct_op, distinct_numbers, distinct_text, kinds, edge_index, slot, graph, live, visits, depth,
            measured, extra, batch.shape[0],
        )  # fmt: skip
        result: Tensor = self.encoder(tensors)
        return result + 0 * batch[:, None].to(result.dtype)  # else the export drops the input that tells the size


def export_onnx(encoder: GraphEncoder, path: str | Path) -> None:
    """Write `encoder` to `path`; onnxruntime then maps `onnx_inputs(tensors)` to `OUTPUT` `[batch, dim]`.

    Raises:
        MissingExtraError: onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("exporting needs onnxscript: pip install 'archcast[onnx]'") from error
    was_training = encoder.training
    example = _example(encoder)
    names = [name for name in _AXES if name in example]
    axes = {name: dict([_AXES[name]]) for name in names}
    try:
        program = torch.onnx.export(
            _Exported(encoder).eval(), kwargs={name: torch.from_numpy(example[name]) for name in names},
            dynamic_shapes=axes, input_names=names, output_names=[OUTPUT], opset_version=OPSET, dynamo=True,
            verbose=False,
        )  # fmt: skip
    finally:
        encoder.train(was_training)
    assert program is not None
    program.save(path)


def onnx_inputs(tensors: GraphTensors, *, measured: int = 0) -> dict[str, NDArray[np.generic]]:
    """What the exported model eats.

    Args:
        tensors: the networks.
        measured: columns of measured statistics the encoder knows; without any in `tensors`, all are missing.
    """
    arrays = {
        name: getattr(tensors, name).cpu().numpy() for name in _AXES if isinstance(getattr(tensors, name, None), Tensor)
    }
    arrays["batch"] = np.arange(tensors.size)
    if measured and tensors.measured is None:
        arrays["measured"] = np.full((len(tensors.kinds), measured), np.nan, np.float32)
    return arrays


def _example(encoder: GraphEncoder) -> dict[str, NDArray[np.generic]]:
    """Two networks of five nodes in all: sizes that differ from each other and from one."""
    config, generator = encoder.config, torch.Generator().manual_seed(0)
    tensors = GraphTensors(
        nodes=torch.arange(5), distinct_op=torch.arange(4),
        distinct_numbers=torch.rand(4, len(NUMBER_NAMES), generator=generator),
        distinct_text=torch.rand(4, WIDTH, generator=generator), kinds=torch.tensor([0, 1, 2, 3, 1]),
        edge_index=torch.tensor([[0, 0, 1, 3, 0, 1], [1, 2, 2, 4, 2, 2]]), slot=torch.tensor([0, 0, 1, 0, 2, 3]),
        graph=torch.tensor([0, 0, 0, 1, 1]), live=torch.ones(5), visits=torch.ones(5),
        depth=torch.tensor([[0.0, 1], [0.5, 0.5], [1, 0], [0, 1], [1, 0]]),
        measured=torch.rand(5, config.measured, generator=generator) if config.measured else None,
        extra=torch.rand(5, config.extra, generator=generator) if config.extra else None, size=2,
    )  # fmt: skip
    return onnx_inputs(tensors)
