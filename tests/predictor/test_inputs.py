"""Whatever a caller hands in becomes graphs and numbers, or an error that says which element is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper as make
import pandas as pd
import pytest
import torch
from torch import nn

from archcast.errors import ArchcastError, DataError, MissingDataError, NetworkError, SpecError, UnknownNameError
from archcast.graphs.capture import capture
from archcast.graphs.graph import GraphBatch
from archcast.predictor.inputs import as_batch, as_numbers, as_scores

CELL = "nasbench201:|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
NONE = "nasbench201:|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


def small_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )


def small_onnx() -> onnx.ModelProto:
    """One convolution of 3 x 3 without a bias, from 3 to 4 channels."""
    weight = onnx.numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    values = [
        make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, c, 8, 8)) for name, c in (("x", 3), ("y", 4))
    ]
    node = make.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    return make.make_model(make.make_graph([node], "small", values[:1], values[1:], [weight]))


@pytest.fixture
def onnx_path(tmp_path: Path) -> Path:
    onnx.save(small_onnx(), tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def test_a_list_of_every_kind(onnx_path: Path) -> None:
    graph = capture(small_net(), (1, 3, 32, 32))
    kinds: list[Any] = [small_net(), small_net, onnx_path, str(onnx_path), small_onnx(), CELL, graph]
    batch, names = as_batch(kinds)
    assert batch.params.tolist()[:5] == [269, 269, 108, 108, 108]
    assert batch.params[6] == 269
    assert batch[6].hash() == graph.hash()
    assert names[2:4] == (str(onnx_path), str(onnx_path))
    assert names[5] == CELL
    assert len(names) == len(batch) == 7


@pytest.mark.parametrize(
    "one", [CELL, small_net(), small_net, small_onnx()], ids=["spec", "module", "callable", "proto"]
)
def test_one_network_needs_no_list(one: Any) -> None:
    batch, names = as_batch(one)
    assert len(batch) == len(names) == 1


def test_a_module_list_like_network_is_one_network() -> None:
    """`nn.Sequential` can be iterated over, but its layers are not what is meant."""
    assert len(as_batch(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (1, 3, 8, 8))[0]) == 1


def generator() -> Iterator[str]:
    yield from (CELL, NONE)


@pytest.mark.parametrize(
    "networks",
    [[CELL, NONE], (CELL, NONE), np.asarray([CELL, NONE]), pd.Series([CELL, NONE]), generator(), {CELL: 1, NONE: 2}],
    ids=["list", "tuple", "array", "series", "generator", "keys"],
)
def test_any_collection(networks: Any) -> None:
    batch, names = as_batch(networks)
    assert names == (CELL, NONE)
    assert batch.macs[0] > batch.macs[1]


def test_specs_of_several_spaces_keep_their_places() -> None:
    batch, names = as_batch([NONE, "nas-bench-macro:02012100", CELL])
    alone = [as_batch(name)[0].params[0] for name in names]
    assert batch.params.tolist() == alone


def test_a_batch_passes_through() -> None:
    batch, _ = as_batch([CELL, NONE])
    again, names = as_batch(batch)
    assert again is batch
    assert len(names) == 2


def test_the_input_shape_is_for_networks_that_do_not_fix_theirs() -> None:
    open_size = small_onnx()
    for axis in (2, 3):
        open_size.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "side"
    wide, _ = as_batch([CELL, small_net(), open_size], (1, 3, 64, 64))
    usual, _ = as_batch([CELL, small_net(), small_onnx()])
    assert wide.macs[0] == usual.macs[0]
    assert wide.macs[1] < usual.macs[1]  # 64 and not the 224 that is guessed
    assert wide.macs[2] == 64 * usual.macs[2]
    with pytest.raises(NetworkError, match="is fixed to 8"):
        as_batch(small_onnx(), (1, 3, 64, 64))


def test_progress_is_shown_for_many(capsys: pytest.CaptureFixture[str]) -> None:
    as_batch([small_net] * 8)
    assert "capturing" in capsys.readouterr().err


BAD: dict[str, tuple[Any, type[ArchcastError], str]] = {
    "empty list": ([], NetworkError, "no networks were given"),
    "empty batch": (GraphBatch.from_graphs([]), NetworkError, "no networks were given"),
    "a number": ([CELL, 7], NetworkError, "element 1: a int is not a network"),
    "nothing": (None, NetworkError, "not a network"),
    "a tensor": ([torch.zeros(3)], NetworkError, "not a network"),
    "bytes": (b"model", NetworkError, "not a network"),
    "a layer's weights": ({"weights": 1}, ArchcastError, "weights"),
    "unknown benchmark": ("nasbench301:x", UnknownNameError, "nasbench301"),
    "broken spec": ([CELL, "nasbench201:|nor_conv_3x3~0|+|"], SpecError, "Example: "),
    "spec of another space": ("nas-bench-macro:|none~0|", SpecError, "Example: "),
    "empty spec": ("nasbench201:", SpecError, "Example: "),
    "unknown operation": (CELL.replace("skip_connect", "warp"), SpecError, "warp"),
    "absent file": ("gone.onnx", MissingDataError, "gone.onnx does not exist"),
    "absent file in a list": ([CELL, CELL, "gone.onnx"], MissingDataError, "element 2: gone.onnx does not exist"),
    "empty text": ("", MissingDataError, "is a folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_network_is_refused(case: str) -> None:
    networks, error, message = BAD[case]
    with pytest.raises(error) as caught:
        as_batch(networks)
    assert message in str(caught.value)


def complex_scores() -> Any:
    return np.ones(12) * 1j


SCORES: dict[str, tuple[Callable[[], Any], str]] = {
    "NaN": (lambda: [1.0] * 11 + [float("nan")], r"score nan at position 11 \(1 in all\)"),
    "infinite": (lambda: [1.0, float("inf"), -float("inf")] + [1.0] * 9, r"score inf at position 1 \(2 in all\)"),
    "None": (lambda: [1.0] * 11 + [None], "position 11"),
    "words": (lambda: ["good"] * 12, "scores must be numbers"),
    "digits as text": (lambda: [str(i) for i in range(12)], "scores must be numbers"),
    "one text among numbers": (lambda: [*range(11), "11"], "scores must be numbers"),
    "bytes": (lambda: [b"1"] * 12, "scores must be numbers"),
    "complex": (complex_scores, "scores must be numbers"),
    "dates": (lambda: pd.date_range("2020-01-01", periods=12).to_numpy(), "scores must be numbers"),
    "ragged": (lambda: [[1.0], [1.0, 2.0]] * 6, "scores must be numbers"),
    "too short": (lambda: range(11), r"12 networks came with scores of shape \(11,\)"),
    "too long": (lambda: range(13), r"12 networks came with scores of shape \(13,\)"),
    "a column": (lambda: np.ones((12, 1)), r"shape \(12, 1\)"),
    "one number": (lambda: 3.0, r"shape \(\)"),
    "all equal": (lambda: [5.0] * 12, "nothing to rank"),
}


@pytest.mark.parametrize("case", SCORES)
def test_bad_scores_are_refused(case: str) -> None:
    build, message = SCORES[case]
    with pytest.raises(DataError, match=message):
        as_scores(build(), 12)


def test_too_few_labels() -> None:
    with pytest.raises(DataError, match=r"9 labels are too few.*at least 10"):
        as_scores(range(9), 9)


@pytest.mark.parametrize(
    "scores",
    [range(12), np.arange(12, dtype=np.int8), torch.arange(12), pd.Series(range(12)), [True] + [False] * 11,
     np.arange(12, dtype=object), np.arange(12, dtype=np.float16)],
    ids=["range", "int8", "tensor", "series", "bool", "object", "float16"],
)  # fmt: skip
def test_numbers_of_any_kind(scores: Any) -> None:
    assert as_scores(scores, 12).dtype == np.float64


def test_few_or_equal_numbers_can_be_compared_with() -> None:
    assert as_numbers([1, 1], 2).tolist() == [1, 1]
