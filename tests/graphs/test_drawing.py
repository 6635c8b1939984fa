"""Drawings: valid XML for any graph, everything inside the picture, repeats folded."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from archcast.graphs.builder import GraphBuilder
from archcast.graphs.drawing import COLOURS, draw_svg
from archcast.graphs.graph import ComputationGraph
from archcast.graphs.nodes import attention, batch_norm, conv, gemm, plain, unknown
from archcast.graphs.vocabulary import OP_CLASSES

SHAPE = (1, 8, 16, 16)
SVG = "{http://www.w3.org/2000/svg}"


def residual(blocks: int, width_step: int = 0, name: str = "net") -> ComputationGraph:
    builder = GraphBuilder()
    value = builder.input(SHAPE)
    for index in range(blocks):
        shape = (1, 8 + width_step * index, 16, 16)
        layers = [conv(builder.shape(value), shape[1], 3, padding=1), batch_norm(shape), plain("Relu", shape)]
        hidden = builder.chain(layers, value)
        value = builder.add(plain("Add", shape), value, hidden)
    builder.output(value)
    return builder.build(name=name)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_every_class_has_a_colour() -> None:
    assert set(COLOURS) == set(OP_CLASSES)


@pytest.mark.parametrize("blocks", [0, 1, 12, 500])
def test_valid_xml_with_everything_inside(blocks: int) -> None:
    root = ElementTree.fromstring(draw_svg(residual(blocks, width_step=1)))
    width, height = (float(root.attrib[side]) for side in ("width", "height"))
    for box in root.iter(f"{SVG}rect"):
        if box.attrib["width"] != "100%":
            assert 0 <= float(box.attrib["x"]) <= width - float(box.attrib["width"])
            assert 0 <= float(box.attrib["y"]) <= height - float(box.attrib["height"])
    assert width < 25 * height  # neither a ribbon nor a thread
    assert height < 25 * width


def test_a_layer_shares_its_box_with_what_follows() -> None:
    labels = texts(draw_svg(residual(1)))
    assert "Conv 3\u00d73" in labels
    assert "BN · Relu · 8\u00d716\u00d716" in labels


def test_repeats_are_drawn_once() -> None:
    folded, unfolded = draw_svg(residual(40)), draw_svg(residual(40, width_step=1))
    assert texts(folded).count("Conv 3\u00d73") <= 2
    assert texts(unfolded).count("Conv 3\u00d73") == 40
    assert any(label.startswith("\u00d7 ") for label in texts(folded))


def test_boxes_of_one_row_do_not_overlap() -> None:
    builder = GraphBuilder()
    value = builder.input(SHAPE)
    branches = [builder.add(conv(SHAPE, 8, size, padding=size // 2), value) for size in (1, 3, 5, 7)]
    builder.output(builder.add(plain("Add", SHAPE), *branches))
    root = ElementTree.fromstring(draw_svg(builder.build()))
    boxes = [rect for rect in root.iter(f"{SVG}rect") if rect.attrib.get("height") == "38"]
    row = sorted(
        (float(box.attrib["x"]), float(box.attrib["width"])) for box in boxes if box.attrib["y"] == boxes[1].attrib["y"]
    )
    assert len(row) == 4
    assert all(left + width < right for (left, width), (right, _) in pairwise(row))


def test_text_is_escaped() -> None:
    builder = GraphBuilder()
    value = builder.input(SHAPE)
    builder.output(builder.add(unknown("<script>alert('&')</script>\x00", SHAPE), value))
    svg = draw_svg(builder.build(name='<b>"&\x07'))
    assert "<script>" not in svg
    assert any("<script>" in label for label in texts(svg))


def test_labels_tell_the_layer() -> None:
    builder = GraphBuilder()
    value = builder.input((1, 10, 64))
    value = builder.add(gemm((1, 10, 64), 32), value)
    heads = (1, 4, 10, 8)
    value = builder.add(attention(heads, heads, heads, heads), value, value, value)
    builder.output(value)
    image = builder.input(SHAPE)
    builder.output(builder.add(conv(SHAPE, 8, 3, stride=2, dilation=2, groups=8), image))
    builder.output(builder.add(conv(SHAPE, 8, 3, groups=2), image))
    labels = " | ".join(texts(draw_svg(builder.build())))
    for label in (
        "Gemm 64 → 32",
        "Attention 4 \u00d7 8",
        "Conv 3\u00d73 /2 depthwise dilated 2",
        "Conv 3\u00d73 2 groups",
    ):
        assert label in labels


def test_an_edge_for_every_connection() -> None:
    svg = draw_svg(residual(3, width_step=1))
    assert len(re.findall("<path ", svg)) == 3 * 3 + 1  # to Conv, to Add, round the Conv; and to the output


def test_empty_graph() -> None:
    assert "0 nodes" in " ".join(texts(draw_svg(GraphBuilder().build())))
