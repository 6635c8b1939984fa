"""Tokens of networks: what is said, what goes without saying, what happens where it does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archcast
from archcast.datasets.spaces import SPACES
from archcast.encoders.token_vocabulary import ROLES, Vocabulary, magnitude
from archcast.encoders.tokens import Texts, Tokenizer
from archcast.errors import BundleError, ConfigError, DataError
from archcast.graphs.builder import GraphBuilder, edges_of
from archcast.graphs.graph import ComputationGraph, GraphBatch, Node
from archcast.graphs.nodes import attributed, batch_norm, concat, conv, gemm, plain, unknown
from archcast.graphs.vocabulary import OPS

LONG = 1_000_000
VOCABULARY = Vocabulary()
WRITTEN_OUT = Tokenizer(VOCABULARY, LONG, fold=False)
FOLDED = Tokenizer(VOCABULARY, LONG)
CELL = "nasbench201:|nor_conv_3x3~0|+|skip_connect~0|none~1|+|nor_conv_1x1~0|nor_conv_3x3~1|none~2|"

VALUES = st.one_of(
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(0, 40), max_size=3).map(tuple),
)
ATTRIBUTES = st.dictionaries(st.sampled_from([*VOCABULARY.attributes, "never_seen"]), VALUES, max_size=3)


@st.composite
def graphs(draw: st.DrawFn) -> ComputationGraph:
    """Any graph, with stretches that repeat."""
    palette = [
        Node(
            draw(st.sampled_from(OPS)),
            draw(ATTRIBUTES),
            draw(st.lists(st.integers(0, 10**4), max_size=5).map(tuple)),
            draw(st.integers(0, 10**9)),
            draw(st.integers(0, 10**12)),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    nodes = [draw(st.sampled_from(palette)) for _ in range(draw(st.integers(0, 8)))] * draw(st.integers(1, 4))
    back = st.integers(1, 4)
    inputs = [
        [max(index - draw(back), 0) for _ in range(draw(st.integers(0, 5)))] if index else []
        for index in range(len(nodes))
    ]
    return ComputationGraph(tuple(nodes), edges_of(inputs), draw(st.integers(0, 10**6)))  # fmt: skip


def spoken(graph: ComputationGraph, tokenizer: Tokenizer = FOLDED) -> str:
    """Names of the tokens after `[CLS]`."""
    texts = tokenizer.encode(graph)
    return " ".join(tokenizer.names(texts.row(0)[0])[1:])


def chain(*nodes: Node) -> ComputationGraph:
    builder = GraphBuilder()
    value = builder.input((1, 8, 16, 16))
    for node in nodes:
        value = builder.add(node, value)
    return builder.build()


def repeating(blocks: int, width: int = 8) -> ComputationGraph:
    layers = [conv((1, 8, 16, 16), width, 3, padding=1), plain("Relu", (1, width, 16, 16))]
    return chain(*layers, *[plain("Tanh", (1, width, 16, 16)), plain("Sigmoid", (1, width, 16, 16))] * blocks)


class TestWhatIsSaid:
    def test_expected_attributes_go_without_saying(self) -> None:
        graph = chain(conv((1, 8, 16, 16), 8, 3, padding=1), batch_norm((1, 8, 16, 16)))
        assert spoken(graph) == "Input rank=4 axis1:3.0 side:4.0 Conv kernel=3 BatchNormalization"

    def test_unexpected_ones_are_said(self) -> None:
        layer = conv((1, 8, 16, 16), 24, 5, stride=2, padding=0, dilation=2, groups=4, bias=True)
        said = spoken(chain(layer)).split("Conv ")[1]
        assert said == "bias=True dilation=2 groups=4 kernel=5 padding=0 stride=2 axis1:4.5 side:2.0"

    def test_depthwise_and_other_groups(self) -> None:
        assert "groups=channels" in spoken(chain(conv((1, 8, 16, 16), 8, 3, padding=1, groups=8)))
        assert "groups=2" in spoken(chain(conv((1, 8, 16, 16), 8, 3, padding=1, groups=2)))

    def test_kernels_with_two_sides(self) -> None:
        assert "Conv kernel =1 =7 " in spoken(chain(conv((1, 8, 16, 16), 16, (1, 7), padding=(0, 3))))

    def test_scalar_and_text_attributes(self) -> None:
        shape = (1, 8, 16, 16)
        said = spoken(chain(attributed("LeakyRelu", shape, alpha=0.01), attributed("Clip", shape, min=-3.5, max=6.0)))
        assert said.endswith("LeakyRelu alpha #-7.3 Clip max=6 min - #1.6")
        assert spoken(chain(attributed("Resize", shape, mode="nearest"))).endswith("Resize mode word:nearest")

    def test_inputs_other_than_the_node_before(self) -> None:
        builder = GraphBuilder()
        start = builder.input((1, 8, 16, 16))
        relu = builder.add(plain("Relu", (1, 8, 16, 16)), start)
        builder.add(plain("Add", (1, 8, 16, 16)), start, relu)
        builder.add(plain("Constant", (1, 8, 16, 16)))
        assert spoken(builder.build()).endswith("Relu Add ^2 ^1 Constant [NONE] rank=4 axis1:3.0 side:4.0")

    def test_long_concatenations_repeat_their_steps(self) -> None:
        shape = (1, 8, 16, 16)
        builder = GraphBuilder()
        values = [builder.input(shape)]
        for _ in range(10):
            values.append(builder.add(plain("Relu", shape), values[-1]))
        builder.add(concat((shape,) * 11), *values)
        assert "Concat ^11 repeat=10 +1 [END] axis=1 axis1:6.4" in spoken(builder.build())
        assert spoken(builder.build(), WRITTEN_OUT).count("+1") == 10

    def test_what_shapes_do_not_tell_is_said(self) -> None:
        heads = Node("Gemm", {"in_features": 96, "out_features": 64, "bias": False}, (1, 8, 16, 64), 96 * 64, 0)
        assert "Gemm in_features #6.5 axis3:6.0" in spoken(chain(heads))
        assert "in_features" not in spoken(chain(gemm((1, 8, 16, 16), 64)))

    def test_numbers_beside_an_op(self) -> None:
        layer = conv((1, 8, 16, 16), 8, 3, padding=1)
        ids, sizes = FOLDED.encode(chain(layer)).row(0)
        place = FOLDED.names(ids).index("Conv")
        expected = np.log2([1 + layer.macs, 1 + layer.params, 1 + 8 * 16 * 16])
        np.testing.assert_allclose(sizes[place], expected, rtol=1e-6)

    def test_equal_structure_of_another_width_has_equal_ops(self) -> None:
        narrow, wide = spoken(repeating(3, 16)).split(), spoken(repeating(3, 24)).split()
        assert [one for one, other in zip(narrow, wide, strict=True) if one != other] == ["axis1:4.0"]

    def test_same_tokens_in_another_process(self) -> None:
        assert spoken(chain(unknown("FancyGate", (1, 8, 16, 16)))).endswith(FANCY_GATE)


FANCY_GATE = "Unknown name [UNK] char:57 char:47 char:32"


class TestNeverSeen:
    def test_an_attribute(self) -> None:
        said = spoken(chain(attributed("Relu", (1, 8, 16, 16), sharpness=3)))
        assert "Relu [UNK] char:" in said
        assert said.endswith("=3")

    def test_an_op_of_a_later_version(self) -> None:
        before = Vocabulary(tuple(pair for pair in VOCABULARY.ops if pair[0] != "Mish"))
        said = spoken(chain(plain("Mish", (1, 8, 16, 16))), Tokenizer(before))
        assert said.split("side:4.0 ")[1].startswith("[UNK] char:")

    def test_other_names_have_other_tokens(self) -> None:
        first, second = (spoken(chain(unknown(name, (1, 8, 16, 16)))) for name in ("fused_norm", "gated_delta"))
        assert first != second


class TestFolding:
    @given(graphs())
    @settings(max_examples=150, deadline=None)
    def test_any_graph_comes_back(self, graph: ComputationGraph) -> None:
        long, short = WRITTEN_OUT.encode(graph), FOLDED.encode(graph)
        ids, sizes = FOLDED.expand(*short.row(0))
        np.testing.assert_array_equal(ids, long.row(0)[0])
        np.testing.assert_array_equal(sizes, long.row(0)[1])
        assert short.lengths[0] <= long.lengths[0] == short.written_out[0]
        assert not short.notes

    @given(st.lists(graphs(), min_size=1, max_size=4), st.integers(16, 60))
    @settings(max_examples=100, deadline=None)
    def test_a_batch_says_what_each_graph_says_and_keeps_the_limit(
        self, several: list[ComputationGraph], most: int
    ) -> None:
        tokenizer = Tokenizer(VOCABULARY, most)
        together = tokenizer.encode(several)
        assert together.lengths.max() <= most
        for network, graph in enumerate(several):
            alone = tokenizer.encode(graph)
            for of_batch, of_graph in zip(together.row(together.row_of[network]), alone.row(0), strict=True):
                np.testing.assert_array_equal(of_batch, of_graph)
            assert together.notes.get(network) == alone.notes.get(0)

    def test_blocks_are_counted(self) -> None:
        assert spoken(repeating(7)).endswith("Relu repeat=7 Tanh Sigmoid [END]")

    @pytest.mark.parametrize("name", ["torchvision:resnet50", "torchvision:swin_t", CELL])
    def test_known_networks_fit(self, name: str) -> None:
        graph = archcast.capture(name)
        texts = Tokenizer().encode(graph)
        assert texts.lengths[0] < 600
        assert texts.lengths[0] < 0.7 * texts.written_out[0]
        ids, _ = FOLDED.expand(*texts.row(0))
        np.testing.assert_array_equal(ids, WRITTEN_OUT.encode(graph).row(0)[0])

    @pytest.mark.parametrize("names", [["repeat=2", "Relu"], ["Relu", "[END]"]])
    def test_a_torn_text_is_refused(self, names: list[str]) -> None:
        ids = np.asarray([VOCABULARY.index[name] for name in names])
        with pytest.raises(DataError, match="whole text"):
            FOLDED.expand(ids, np.zeros((2, 3), dtype=np.float32))


def varied(length: int) -> ComputationGraph:
    """A network in which nothing repeats."""
    shape = (1, 8, 16, 16)
    return chain(
        *(
            Node(
                "Conv", {"kernel": (3, 3), "dilation": (2 + index % 7,) * 2}, (*shape[:1], 8 + index, *shape[2:]), index
            )
            for index in range(length)
        )
    )


class TestWhatDoesNotFit:
    def test_shapes_go_first(self) -> None:
        texts = Tokenizer(max_length=150).encode(varied(40))
        assert texts.detail.tolist() == [1]
        assert texts.notes[0] == "164 tokens written out do not fit: shapes and further inputs left out"
        said = Tokenizer().names(texts.row(0)[0])
        assert said[:2] == ["[CLS]", "detail=1"]
        assert "dilation=3" in said
        assert not any(name.startswith("axis1") for name in said)

    def test_then_all_but_ops(self) -> None:
        texts = Tokenizer(max_length=100).encode(varied(40))
        assert texts.detail.tolist() == [2]
        assert Tokenizer().names(texts.row(0)[0]) == ["[CLS]", "detail=2", "Input", *["Conv"] * 40]

    def test_then_the_middle(self) -> None:
        texts = Tokenizer(max_length=21).encode(varied(40))
        assert Tokenizer().names(texts.row(0)[0]) == [
            "[CLS]",
            "detail=2",
            "Input",
            *["Conv"] * 8,
            "[CUT]",
            *["Conv"] * 9,
        ]
        assert texts.left_out.tolist() == [23]
        assert "23 nodes in the middle" in texts.notes[0]
        assert texts.row(0)[1][11, 0] == pytest.approx(np.log2(24))

    def test_others_of_the_batch_are_untouched(self) -> None:
        texts = Tokenizer(max_length=100).encode([repeating(2), varied(40), repeating(3), varied(12), varied(2_000)])
        assert list(texts.notes) == [1, 4]
        assert texts.detail[texts.row_of].tolist() == [0, 2, 0, 0, 2]
        assert texts.written_out[1] == 164

    def test_a_limit_below_all_sense_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="at least"):
            Tokenizer(max_length=5)


class TestSharing:
    def test_equal_networks_share_a_row(self) -> None:
        texts = FOLDED.encode([repeating(2), repeating(3), repeating(2)])
        assert texts.row_of.tolist() == [0, 1, 0]
        assert len(texts) == 3

    def test_a_batch_of_none_and_an_empty_graph(self) -> None:
        assert len(FOLDED.encode([])) == 0
        empty = ComputationGraph((), edges_of([]))
        assert FOLDED.encode([empty, repeating(1)]).lengths.tolist()[0] == 1

    def test_cells_of_a_space(self) -> None:
        space = SPACES["nasbench201"]
        batch = space.stamp(list(space.all_specs())[::50])
        texts: Texts = Tokenizer().encode(batch)
        assert not texts.notes
        assert texts.lengths.max() < 200
        shuffled = GraphBatch.from_graphs(list(batch)[::-1])
        np.testing.assert_array_equal(Tokenizer().encode(shuffled).lengths[::-1], texts.lengths)


class TestVocabulary:
    def test_every_op_and_every_name_once(self) -> None:
        assert set(OPS) < set(VOCABULARY.index)
        assert len(VOCABULARY.index) == len(VOCABULARY) < 5_000
        assert VOCABULARY.index["[PAD]"] == 0
        assert VOCABULARY.piece_table.shape == (len(VOCABULARY), 3)
        assert set(VOCABULARY.role_table.tolist()) == set(range(len(ROLES)))

    def test_magnitudes_tell_the_usual_sizes_apart(self) -> None:
        usual = [*range(1, 13), 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 512, 768]
        assert len({magnitude(size, 0, 32) for size in usual}) == len(usual)
        assert magnitude(768, 0, 32) == "9.5"
        assert magnitude(2.0**40, 0, 32) == "31.7"

    def test_round_trip(self, tmp_path: Path) -> None:
        VOCABULARY.save(tmp_path / "vocab.json")
        again = Vocabulary.load(tmp_path / "vocab.json")
        assert again == VOCABULARY
        assert again.tokens == VOCABULARY.tokens

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"version": 99}, "version 99"),
            ({"words": ["nearest", "nearest"]}, "twice"),
            ({"ops": [["Relu", "nonsense"]]}, "nonsense"),
            ({"ops": 3}, "not a vocabulary"),
            ({"more": 1}, "must hold"),
        ],
    )
    def test_another_file_is_refused(self, tmp_path: Path, change: dict[str, object], reason: str) -> None:
        path = tmp_path / "vocab.json"
        VOCABULARY.save(path)
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        with pytest.raises(BundleError, match=reason):
            Vocabulary.load(path)

    def test_a_missing_or_torn_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError):
            Vocabulary.load(tmp_path / "vocab.json")
        (tmp_path / "vocab.json").write_text("{")
        with pytest.raises(BundleError):
            Vocabulary.load(tmp_path / "vocab.json")
