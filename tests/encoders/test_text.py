"""The text encoder: shapes, padding, batches, learning, ONNX."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr

from archcast.datasets.spaces import SPACES
from archcast.encoders.text import TextEncoder, TextEncoderConfig, TextTensors, export_onnx, length_buckets
from archcast.encoders.token_vocabulary import Vocabulary
from archcast.encoders.tokens import Texts, Tokenizer
from archcast.errors import ConfigError
from archcast.graphs.builder import GraphBuilder
from archcast.graphs.graph import ComputationGraph, GraphBatch
from archcast.graphs.nodes import batch_norm, conv, global_average_pool, plain

TINY = TextEncoderConfig(width=32, layers=3, heads=2, inner_width=48, window=16, dropout=0.0)


def tower(width: int, depth: int) -> ComputationGraph:
    """Layers that grow by one channel each, so that nothing folds."""
    builder = GraphBuilder()
    value, channels = builder.input((1, 3, 16, 16)), 3
    for layer in range(depth):
        value = builder.add(conv((1, channels, 16, 16), width + layer, 3, padding=1), value)
        channels = width + layer
        value = builder.add(batch_norm((1, channels, 16, 16)), value)
        value = builder.add(plain("Relu", (1, channels, 16, 16)), value)
    builder.add(global_average_pool((1, channels, 16, 16)), value)
    return builder.build()


TOWERS = [tower(width, depth) for width, depth in ((8, 2), (12, 5), (8, 9), (30, 1), (8, 2), (9, 14))]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(TINY).eval()


@pytest.fixture(scope="module")
def texts() -> Texts:
    return Tokenizer().encode(TOWERS)


class TestTensors:
    def test_of_texts(self, texts: Texts) -> None:
        tensors = TextTensors.of(texts)
        assert tensors.ids.shape == tensors.mask.shape == (6, int(texts.lengths.max()))
        assert tensors.sizes.shape == (*tensors.ids.shape, 3)
        assert tensors.size == 6
        assert tensors.mask.sum(1).tolist() == texts.lengths.tolist()
        assert not tensors.ids[~tensors.mask].any()
        for network, row in enumerate(texts.row_of):
            ids, sizes = texts.row(row)
            np.testing.assert_array_equal(tensors.ids[network][tensors.mask[network]].numpy(), ids)
            np.testing.assert_array_equal(tensors.sizes[network][tensors.mask[network]].numpy(), sizes)

    def test_chosen_rows(self, texts: Texts) -> None:
        some = TextTensors.of(texts, np.asarray([3, 0]))
        assert some.mask.sum(1).tolist() == texts.row_lengths[[3, 0]].tolist()


class TestEmbedding:
    def test_shape_and_default_size(self, encoder: TextEncoder, texts: Texts) -> None:
        assert encoder(TextTensors.of(texts)).shape == (6, 32)
        default = TextEncoder()
        assert sum(weight.numel() for weight in default.parameters()) < 4_000_000

    @pytest.mark.parametrize("pooling", ["attention", "mean", "cls"])
    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    def test_padding_changes_nothing(self, texts: Texts, pooling: Any, attention: Any) -> None:
        encoder = TextEncoder(replace(TINY, pooling=pooling, attention=attention)).eval()
        together = encoder(TextTensors.of(texts))
        for network, row in enumerate(texts.row_of):
            alone = encoder(TextTensors.of(texts, np.asarray([row])))
            torch.testing.assert_close(together[network], alone[0], atol=1e-5, rtol=1e-4)

    def test_both_attentions_agree(self, encoder: TextEncoder, texts: Texts) -> None:
        eager = TextEncoder(replace(TINY, attention="eager")).eval()
        eager.load_state_dict(encoder.state_dict())
        tensors = TextTensors.of(texts)
        torch.testing.assert_close(eager(tensors), encoder(tensors), atol=1e-5, rtol=1e-4)

    def test_attention_is_local_but_in_every_third_layer(self, texts: Texts) -> None:
        """With global layers left out a token sees `layers x window / 2` tokens to each side."""
        encoder = TextEncoder(replace(TINY, layers=2, global_every=2, window=4, pooling="mean")).eval()
        encoder.transformer.layers[0].attention_type = "sliding_attention"
        tensors = TextTensors.of(texts, np.asarray([texts.row_of[5]]))
        changed = TextTensors(tensors.ids.clone(), tensors.mask, tensors.sizes)
        changed.ids[0, 10] = Vocabulary().index["Tanh"]
        states = [encoder.hidden(each.ids, each.mask, each.sizes)[0] for each in (tensors, changed)]
        reached = (states[0] - states[1]).abs().amax(1).nonzero().flatten()
        assert reached.min() == 6
        assert reached.max() == 14

    def test_exact_sizes_are_read_not_only_their_tokens(self, encoder: TextEncoder) -> None:
        texts = Tokenizer().encode([tower(64, 1), tower(65, 1)])
        first, second = texts.row(0), texts.row(1)
        np.testing.assert_array_equal(first[0], second[0])  # both widths round to the same eighth of an octave
        embeddings = encoder(TextTensors.of(texts))
        assert (embeddings[0] - embeddings[1]).abs().max() > 1e-5

    def test_every_weight_is_trained(self, texts: Texts) -> None:
        encoder = TextEncoder(TINY)
        encoder(TextTensors.of(texts)).square().sum().backward()
        assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []

    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    def test_mixed_precision(self, texts: Texts, attention: Any) -> None:
        encoder = TextEncoder(replace(TINY, attention=attention))
        exact = encoder(TextTensors.of(texts))
        with torch.autocast("cpu", torch.bfloat16):
            rough = encoder(TextTensors.of(texts))
        rough.float().sum().backward()
        assert torch.isfinite(rough).all()
        assert (rough.float() - exact).abs().max() < 0.1

    def test_weights_survive_a_file_without_the_tables(
        self, encoder: TextEncoder, texts: Texts, tmp_path: Path
    ) -> None:
        state = encoder.state_dict()
        assert not {"embedding.pieces", "embedding.roles"} & set(state)
        save_file(state, tmp_path / "model.safetensors")
        encoder.vocabulary.save(tmp_path / "vocab.json")
        again = TextEncoder(TINY, Vocabulary.load(tmp_path / "vocab.json")).eval()
        again.load_state_dict(load_file(tmp_path / "model.safetensors"))
        torch.testing.assert_close(again(TextTensors.of(texts)), encoder(TextTensors.of(texts)), atol=0, rtol=0)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"width": 30, "heads": 4}, "multiple"),
            ({"layers": 0}, "at least 1"),
            ({"dropout": 1.0}, "dropout"),
            ({"pooling": "max"}, "none of"),
            ({"attention": "flash_attention_2"}, "neither"),
        ],
    )
    def test_impossible_shapes_are_refused(self, change: dict[str, Any], reason: str) -> None:
        with pytest.raises(ConfigError, match=reason):
            TextEncoderConfig(**change)


class TestEncodeAll:
    def test_equals_one_at_a_time(self, encoder: TextEncoder, texts: Texts) -> None:
        together = encoder.encode_all(TOWERS, batch_tokens=200)
        assert together.shape == (6, 32)
        for network, row in enumerate(texts.row_of):
            alone = encoder(TextTensors.of(texts, np.asarray([row])))[0]
            torch.testing.assert_close(together[network], alone, atol=1e-5, rtol=1e-4)

    def test_equal_texts_are_read_once(self, texts: Texts) -> None:
        encoder = TextEncoder(replace(TINY, dropout=0.5))
        read: list[int] = []
        encoder.embedding.register_forward_hook(lambda _module, inputs, _output: read.append(len(inputs[0])))
        found = encoder.encode_all(texts, batch_tokens=150)
        assert sum(read) == 5
        assert len(read) > 1
        assert torch.equal(found[0], found[4])
        assert encoder.training
        assert not found.requires_grad

    def test_buckets_hold_every_text_once_within_the_limit(self) -> None:
        lengths = np.random.default_rng(0).integers(1, 300, 500)
        buckets = list(length_buckets(lengths, 1_000))
        assert sorted(np.concatenate(buckets).tolist()) == list(range(500))
        assert all(len(bucket) * lengths[bucket].max() <= 1_000 for bucket in buckets)
        assert [len(bucket) for bucket in length_buckets(np.asarray([5_000, 10]), 1_000)] == [1, 1]

    def test_none_at_all(self, encoder: TextEncoder) -> None:
        assert encoder.encode_all([]).shape == (0, 32)

    def test_another_vocabulary_is_refused(self, encoder: TextEncoder) -> None:
        other = Tokenizer(Vocabulary(words=("nearest",)))
        with pytest.raises(ConfigError, match="another vocabulary"):
            encoder.encode_all(TOWERS, tokenizer=other)


def fit(encoder: TextEncoder, texts: Texts, target: np.ndarray[Any, Any], steps: int) -> torch.nn.Linear:
    """Regression of `target` by a linear head, encoder and head trained together."""
    head = torch.nn.Linear(encoder.width, 1)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-3)
    wanted = torch.from_numpy((target - target.mean()) / target.std()).float()
    tensors = TextTensors.of(texts)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(torch.nn.functional.mse_loss(head(encoder(tensors)).squeeze(1), wanted))
        optimizer.step()
    return head


class TestLearning:
    def test_sizes_never_met_are_ranked(self) -> None:
        """Trained on every fourth width, it ranks parameters at the widths between."""
        torch.manual_seed(0)
        graphs = [tower(8 + 3 * index, 1 + index // 4 % 2) for index in range(64)]
        params = np.log([graph.params for graph in graphs])
        known = np.arange(len(graphs)) % 4 == 0
        encoder = TextEncoder(TINY)
        batch = GraphBatch.from_graphs(graphs)
        head = fit(encoder, Tokenizer().encode(batch.take(np.flatnonzero(known))), params[known], 60)
        with torch.inference_mode():
            forecast = head(encoder.encode_all(batch.take(np.flatnonzero(~known)))).squeeze(1).numpy()
        assert spearmanr(forecast, params[~known]).statistic > 0.95

    def test_a_ranking_of_cells_is_learned_from_structure(self) -> None:
        """Number of 3x3 convolutions of NAS-Bench-201 cells; test cells are others than the training cells."""
        torch.manual_seed(0)
        space = SPACES["nasbench201"]
        specs = list(space.all_specs())[::130]
        count = np.asarray([spec.count("nor_conv_3x3") for spec in specs], dtype=np.float64)
        texts = Tokenizer().encode(space.stamp(specs))
        encoder = TextEncoder(replace(TINY, layers=2))
        head = fit(encoder, Tokenizer().encode(space.stamp(specs[::2])), count[::2], 30)
        with torch.inference_mode():
            forecast = head(encoder.encode_all(texts)).squeeze(1).numpy()
        assert spearmanr(forecast[1::2], count[1::2]).statistic > 0.8


@pytest.mark.parametrize("pooling", ["attention", "mean", "cls"])
def test_onnx_gives_the_same_answers(tmp_path: Path, texts: Texts, pooling: Any) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    encoder = TextEncoder(replace(TINY, pooling=pooling))
    export_onnx(encoder, tmp_path / "text.onnx")
    assert encoder.training
    encoder.eval()
    session = onnxruntime.InferenceSession(tmp_path / "text.onnx", providers=["CPUExecutionProvider"])
    for rows in ([0], [1, 3], [0, 1, 2, 3, 4]):
        tensors = TextTensors.of(texts, np.asarray(rows))
        feed = {name: getattr(tensors, name).numpy() for name in ("ids", "mask", "sizes")}
        (found,) = session.run(None, feed)
        with torch.inference_mode():
            np.testing.assert_allclose(found, encoder(tensors).numpy(), atol=1e-4)
