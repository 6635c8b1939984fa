"""NAS-Bench-BERT: published parameter counts, the operations against their formulas, graphs and labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.nas_bench_bert import LAYERS, NASBenchBert, NASBenchBertTrained
from archcast.datasets.nas_bench_bert_module import LinearTransform, SelfAttention, SpanConvolution
from archcast.errors import ConfigError, DataError
from archcast.graphs.capture import capture
from archcast.graphs.modules import buildable
from benchmarks.published_sizes import BERT_SIZES

SPACES = [NASBenchBert(), NASBenchBertTrained()]
spaces = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("layers", "params"), BERT_SIZES.items())
def test_encoders_have_the_size_of_the_authors_model(layers: str, params: int) -> None:
    """Their table of measurements, which leaves hidden size and width at 256 and 1024 for every network."""
    space = NASBenchBert()
    with torch.device("meta"):
        module = space.module(f"256:{layers}", 2)
    assert count(module) == params + 2 * 256 + 2  # they have no classifier
    graph = space.graph(f"256:{layers}", 2)
    assert graph.params == count(module)
    assert not graph.unknown_ops


def test_training_code_reads_hidden_size_heads_and_stacks_only() -> None:
    space = NASBenchBertTrained()
    one, other = "128:dct.4.512x1,wma.2.1024x3", "128:dsc9.4.1024x1,sdp.2.1024x3"
    assert space.canonical(one) == space.canonical(other) == "128:sdp.4.512x1,sdp.2.1024x3"
    assert space.isomorphism_hash(one) == space.isomorphism_hash(other)
    graph = space.graph(one)
    assert graph.ops.count("Attention") == 2
    assert graph.nodes == space.graph(other).nodes
    widths = [graph.shapes[i + 1][-1] for i in range(len(graph) - 1) if graph.ops[i + 1] == "Gelu"]
    assert widths == [512, 512, 1024, 1024]  # the first of each is four times the hidden size
    assert NASBenchBert().isomorphism_hash(one) != NASBenchBert().isomorphism_hash(other)


def test_weighted_attention_follows_its_formula() -> None:
    torch.manual_seed(0)
    attention, x = SelfAttention(12, 2, weighted=True).double(), torch.randn(3, 7, 12, dtype=torch.float64)
    query, key, value = (part(x).reshape(3, 7, 2, 6) for part in (attention.query, attention.key, attention.value))
    weighted = torch.einsum("oi,bti->bto", attention.weight.weight, query.flatten(2)).reshape(3, 7, 2, 6)
    scores = torch.einsum("bihd,bjhd->bhij", weighted, key) / 6**0.5
    expected = torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), value).flatten(2)
    assert torch.allclose(attention(x), expected)


@pytest.mark.parametrize("cosine", [True, False])
def test_transforms_are_those_of_each_head(cosine: bool) -> None:
    torch.manual_seed(0)
    transform, x = LinearTransform(12, 2, cosine=cosine).double(), torch.randn(3, 8, 12, dtype=torch.float64)
    heads = transform.input(x).detach().numpy().reshape(3, 8, 2, 6)
    expected = dctn(heads, axes=(1, 3)) if cosine else np.fft.fft2(heads, axes=(1, 3)).real
    assert np.allclose(transform(x).detach().numpy(), expected.reshape(3, 8, 12))


def test_span_convolution_weighs_neighbouring_tokens() -> None:
    """Token by token: a softmax over 5 neighbours, kernels from (separable convolution) * query."""
    torch.manual_seed(0)
    layer, x = SpanConvolution(8, 4, 5).double(), torch.randn(2, 6, 8, dtype=torch.float64)
    out = layer(x)[..., 4:].reshape(2, 6, 2, 2)  # the second half; the first attends
    span = layer.pointwise(layer.depthwise(x.transpose(1, 2))).transpose(1, 2) * layer.query(x)
    kernels = layer.kernels(span).reshape(2, 6, 2, 5).softmax(-1)
    inputs = torch.nn.functional.pad(layer.inputs(x).reshape(2, 6, 2, 2), (0, 0, 0, 0, 2, 2))
    expected = sum(kernels[..., k, None] * inputs[:, k : k + 6] for k in range(5))
    assert isinstance(expected, torch.Tensor)
    assert torch.allclose(out, expected)


@spaces
def test_networks_read_tokens_of_any_number(space: NASBenchBert) -> None:
    module = space.small().module(space.example, 3)
    tokens = torch.randint(30_522, (2, 24))
    assert module(tokens).shape == (2, 3)
    assert torch.allclose(module.eval()(tokens)[:1], module(tokens[:1]), atol=1e-5)
    source = buildable(f"{space.name}:{space.example}")
    assert source.feed is not None
    assert [(slot.shape, slot.kind) for slot in source.feed(source.build()).slots] == [((1, 128), "index")]


@spaces
@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 30), (2, 32), (1, 1024), (1, 0)])
def test_shapes_that_are_no_tokens_are_refused(space: NASBenchBert, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="multiples of 8 up to 512"):
        type(space)(shape)


@spaces
def test_shorter_inputs_cost_less(space: NASBenchBert) -> None:
    whole, small = space.graph(space.example, 3), space.small().graph(space.example, 3)
    assert small.shapes[0] == (1, 32)
    assert whole.shapes[-1] == small.shapes[-1] == (1, 3)
    assert small.params == whole.params
    assert small.macs < whole.macs / 3


@spaces
def test_every_layer_can_be_captured(space: NASBenchBert) -> None:
    for first, second in zip(LAYERS[::5], LAYERS[2::5], strict=False):
        spec = space.format(replace(space.parse(space.example), layers=(first, second)))
        graph, module = space.graph(spec), space.module(spec, space.classes)
        assert graph.params == count(module)
        assert not graph.unknown_ops


def entry(first: dict[str, Any], **scores: float) -> dict[str, Any]:
    second = {**LAYER, "operation_type": "DSC", "operation_parameter": 5}
    overrides = {"hidden_size": 128, "nas_config": {"encoder_layers": [first, second]}}
    return {"scores": scores, "time_to_train": 2000.0, "hparams": {"model_hparam_overrides": overrides}}


LAYER: dict[str, Any] = {
    "operation_type": "SA",
    "operation_parameter": "WMA",
    "num_operation_heads": 4,
    "feed_forward_dimension": 512,
    "num_feed_forward": 3,
}


def test_runs_of_one_network_are_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {**LAYER, "operation_type": "LT", "operation_parameter": "DFT"}
    entries = [entry(LAYER, glue=70.0, sts=80.0), entry(other, glue=60.0, sts=70.0), entry(LAYER, glue=72.0, sts=81.0)]
    (tmp_path / "BERT_benchmark.json").write_text(json.dumps(entries))
    monkeypatch.setenv("ARCHCAST_DATA", str(tmp_path))
    bench = load_benchmark("nas-bench-bert")
    assert bench.specs == ("128:dft.4.512x3,dsc5.4.512x3", "128:wma.4.512x3,dsc5.4.512x3")
    assert bench.scores.tolist() == [60.0, 71.0]
    assert bench.graph(0).shapes[-1] == (1, 2)
    trained = load_benchmark("nas-bench-bert-trained", task="glue-sts")
    assert trained.scores.tolist() == [70.0, 80.5]
    assert trained.graph(0).shapes[-1] == (1, 1)
    assert len(set(trained.groups.tolist())) == 1


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "{}",
        "[]",
        "[1]",
        '[{"scores": {"glue": 1}}]',
        json.dumps([entry({**LAYER, "num_operation_heads": 3}, glue=1.0)]),
        json.dumps([entry(LAYER, cola=1.0)]),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "BERT_benchmark.json").write_text(text)
    monkeypatch.setenv("ARCHCAST_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"BERT_benchmark\.json"):
        load_benchmark("nas-bench-bert")


@pytest.mark.shared
def test_official_labels() -> None:
    bench = load_benchmark("nas-bench-bert")
    assert len(bench) == 491
    assert bench.seeds is not None
    assert int(np.isfinite(bench.seeds).sum()) == 500
    assert bench.scores.max() == pytest.approx(75.13)
    assert all(map(bench.space.contains, bench.specs))
    trained = load_benchmark("nas-bench-bert-trained", task="glue-mnli")
    assert trained.num_classes == 3
    assert len(set(trained.groups.tolist())) == 301


@pytest.mark.shared
def test_larger_networks_score_higher() -> None:
    from scipy.stats import spearmanr

    bench = load_benchmark("nas-bench-bert-trained")
    some = range(0, len(bench), 10)
    params = [count(bench.module(i)) for i in some]
    assert spearmanr(params, bench.scores[list(some)]).statistic > 0.5
    captured = capture(bench.module(0), bench.space.input_shape)
    assert captured.params == params[0]
