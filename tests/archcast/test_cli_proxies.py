"""`archcast proxies`: table, JSON, list, nodes, failures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from archcast.cli import main
from archcast.cli_proxies import markdown_table
from archcast.proxies import PROXY_NAMES, measure

CELL = "nasbench201:|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
SMALL = ("--proxies", "snip,zen", "--batch", "2")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., SimpleNamespace]:
    def call(*arguments: str) -> SimpleNamespace:
        code = main(["proxies", *arguments])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return call


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx2torch")
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    torch.onnx.export(net, (torch.zeros(1, 3, 8, 8),), str(path), dynamo=False)
    return path


def test_scores_stand_beside_sizes(run: Callable[..., SimpleNamespace]) -> None:
    done = run(CELL, *SMALL)
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines()]
    assert [row[0] for row in rows if row and row[0] in ("params", "macs", "snip", "zen", "seconds")] == [
        "params", "macs", "snip", "zen", "seconds",
    ]  # fmt: skip
    assert done.err == ""


def test_json_is_what_measure_gives(run: Callable[..., SimpleNamespace]) -> None:
    (document,) = json.loads(run(CELL, *SMALL, "--seed", "3", "--json", "--nodes").out)
    expected = measure(CELL, ["params", "macs", "snip", "zen"], batch=2, seed=3)
    assert document["scores"] == pytest.approx(dict(expected.scores))
    assert document["ops"] == list(expected.ops)
    assert [value is None for value in document["nodes"]["snip"]] == [
        bool(missing) for missing in torch.tensor(expected.nodes["snip"]).isnan()
    ]


def test_onnx_files_and_input_shapes(run: Callable[..., SimpleNamespace], onnx_file: Path) -> None:
    (document,) = json.loads(run(str(onnx_file), *SMALL, "--json").out)
    assert document["name"] == "small.onnx"
    assert document["scores"]["params"] == 3 * 4 * 9 + 4 + 4 * 36 * 5 + 5


def test_missing_values_come_with_their_reason(run: Callable[..., SimpleNamespace]) -> None:
    done = run(CELL, "--proxies", "attention_confidence", "--batch", "2")
    assert done.code == 0
    assert "no attention_confidence: the network has no attention layer" in done.err


def test_values_at_the_nodes(run: Callable[..., SimpleNamespace]) -> None:
    out = run(CELL, *SMALL, "--nodes").out
    assert "nodes" in out
    assert any("BatchNormalization" in line for line in out.splitlines())


def test_the_list_holds_every_proxy(run: Callable[..., SimpleNamespace]) -> None:
    entries = json.loads(run("--list", "--json").out)
    assert [entry["name"] for entry in entries] == list(PROXY_NAMES)
    assert all(all(entry.values()) for entry in entries)
    out = run("--list").out
    assert all(name in out for name in PROXY_NAMES)


def test_the_page_holds_the_table() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "proxies.md"
    table = re.search(r"<!-- proxies -->\n(.*?)\n<!-- /proxies -->", page.read_text(encoding="utf-8"), re.DOTALL)
    assert table is not None
    assert table[1] == markdown_table()


def test_a_network_that_fails_leaves_the_others(run: Callable[..., SimpleNamespace]) -> None:
    done = run(CELL, "nosuch:net", *SMALL, "--json")
    assert done.code == 1
    good, bad = json.loads(done.out)
    assert good["scores"]["snip"] > 0
    assert "nosuch" in bad["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "at least one NETWORK"),
        (["timm:resnet18", "--proxies", "snap"], "no proxy called 'snap'"),
        (["nosuch:net"], "nosuch"),
        (["resnet18"], "timm:resnet18"),
        ([CELL, "--batch", "1"], "at least 2"),
        ([CELL, "--jobs", "0"], "at least 1"),
        ([CELL, "--input-shape", "0"], "not a shape"),
    ],
)
def test_errors_are_one_line(run: Callable[..., SimpleNamespace], arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert message in done.err
    assert done.err.strip().count("\n") == 0
