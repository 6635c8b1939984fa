"""The exported graph encoder answers like the original, for any number of nodes, edges and networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from archcast.datasets.spaces import SPACES
from archcast.encoders.gcn import GraphEncoder, GraphEncoderConfig
from archcast.encoders.graph_export import OUTPUT, export_onnx, onnx_inputs
from archcast.encoders.graph_tensors import GraphTensors
from archcast.graphs.graph import GraphBatch

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CONFIG = GraphEncoderConfig(width=16, layers=2, dim=8, measured=2)


@pytest.fixture(scope="module")
def encoder() -> GraphEncoder:
    torch.manual_seed(0)
    result = GraphEncoder(CONFIG).eval()
    torch.nn.init.normal_(result.embed.op.weight)
    return result


@pytest.fixture(scope="module")
def session(encoder: GraphEncoder, tmp_path_factory: pytest.TempPathFactory) -> object:
    path = tmp_path_factory.mktemp("onnx") / "graph.onnx"
    export_onnx(encoder, path)
    assert path.stat().st_size > 1000
    return onnxruntime.InferenceSession(str(path))


def networks(space: str, count: int) -> GraphBatch:
    rng = np.random.default_rng(count)
    result: GraphBatch = SPACES[space].stamp([SPACES[space].sample(rng) for _ in range(count)])
    return result


@pytest.mark.slow
@pytest.mark.parametrize(("space", "count"), [("nasbench201", 1), ("nasbench201", 9), ("ofa-mobilenetv3", 3)])
@pytest.mark.parametrize("with_measured", [False, True])
def test_onnxruntime_agrees(
    encoder: GraphEncoder, session: object, space: str, count: int, with_measured: bool
) -> None:
    batch = networks(space, count)
    rng = np.random.default_rng(0)
    measured = rng.normal(size=(len(batch.kinds), 2))
    measured[rng.random(measured.shape) < 0.3] = np.nan
    tensors = GraphTensors.of(batch, measured if with_measured else None)
    answer = session.run([OUTPUT], onnx_inputs(tensors, measured=CONFIG.measured))[0]  # type: ignore[attr-defined]
    with torch.inference_mode():
        np.testing.assert_allclose(answer, encoder(tensors).numpy(), atol=1e-4)


@pytest.mark.slow
def test_axes_are_named(session: object) -> None:
    shapes = {given.name: given.shape for given in session.get_inputs()}  # type: ignore[attr-defined]
    assert shapes["kinds"] == ["nodes"]
    assert shapes["edge_index"] == [2, "edges"]
    assert shapes["batch"] == ["batch"]


@pytest.mark.slow
def test_the_mode_of_the_encoder_is_kept(tmp_path: Path) -> None:
    encoder = GraphEncoder(GraphEncoderConfig(width=8, layers=1, dim=4)).train()
    export_onnx(encoder, tmp_path / "graph.onnx")
    assert encoder.training
