"""A drawing of a graph for people: SVG, top to bottom, coloured by class of operation.

A layer and the normalisation and activation behind it share a box; a sequence of boxes that repeats is drawn once with
its count; long graphs run on in further columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from archcast.graphs.graph import ComputationGraph, Node, Shape

COLOURS: Final[dict[str, str]] = {
    "io": "#d9dde3", "constant": "#eceff1", "conv": "#a9d3f5", "linear": "#b9c4f7", "normalization": "#e4e7ee",
    "activation": "#fbe3a0", "pool": "#b5e3c6", "attention": "#f4b8d0", "recurrent": "#d9bdf0",
    "elementwise": "#fbd0ad", "reduce": "#c9ead0", "index": "#d6ebee", "resample": "#bfe6df", "graph": "#cfd8a8",
    "spectral": "#e2cfc4", "quantization": "#dcd3e6", "control": "#e8c7c7", "unknown": "#ff9c8f",
}  # fmt: skip
"""Class of operation -> fill."""

_ROW, _BOX, _GAP, _MARGIN, _HEAD, _BETWEEN = 58, 38, 22, 28, 84, 96
_CHARACTER = 6.7  # width of a 12 px character
_LONGEST_PERIOD = 64
_LONGEST_NAME = 110
_TIMES = "\u00d7"
_JOINS: Final = frozenset({"normalization", "activation"})


@dataclass
class _Box:
    """Some consecutive nodes drawn as one; `inputs` are positions of boxes."""

    title: str
    tail: list[str]
    kind: str
    shape: Shape
    inputs: list[int] = field(default_factory=list)
    repeat: int = 1
    group: int = -1
    level: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def detail(self) -> str:
        size = _TIMES.join(map(str, self.shape[1:])) or "scalar"
        return " · ".join([*self.tail, size])

    @property
    def width(self) -> float:
        return max(92.0, 20 + _CHARACTER * max(1.12 * len(self.title), 0.88 * len(self.detail)))


def draw_svg(graph: ComputationGraph) -> str:
    """The drawing as the text of an SVG file."""
    boxes = _fold_repeats(_boxes(graph))
    width, height = _lay_out(boxes)
    heading, head_width = _heading(graph, {box.kind for box in boxes})
    width = max(width, head_width)
    edges = [_edge(boxes[source], box) for box in boxes for source in box.inputs]
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica, Arial, sans-serif">',
            f"<title>{escape(_printable(graph.name or 'network'))}</title>",
            '<rect width="100%" height="100%" fill="white"/>',
            *heading,
            *_brackets(boxes),
            f'<g fill="none" stroke="#8793a6" stroke-width="1.3" stroke-opacity="{0.9 if len(edges) < 300 else 0.35}">',
            *edges,
            "</g>",
            *(_draw_box(box) for box in boxes),
            "</svg>",
            "",
        ]
    )


def _boxes(graph: ComputationGraph) -> list[_Box]:
    inputs: list[list[int]] = [[] for _ in graph.nodes]
    for source, target in graph.edge_index.T.tolist():
        inputs[target].append(source)
    readers = Counter(graph.edge_index[0].tolist())
    boxes: list[_Box] = []
    box_of: list[int] = []
    last_node: list[int] = []
    for index, node in enumerate(graph.nodes):
        source = inputs[index][0] if len(inputs[index]) == 1 else -1
        joins = node.op_class in _JOINS and source >= 0 and readers[source] == 1
        if joins and last_node[box_of[source]] == source and boxes[box_of[source]].kind != "io":
            box_of.append(box_of[source])
            boxes[box_of[index]].tail.append(_SHORT.get(node.op, node.op))
            boxes[box_of[index]].shape = node.shape
            last_node[box_of[index]] = index
            continue
        sources = list(dict.fromkeys(box_of[value] for value in inputs[index]))
        boxes.append(_Box(_title(node), [], node.op_class, node.shape, sources))
        box_of.append(len(boxes) - 1)
        last_node.append(index)
    return boxes


_SHORT: Final = {
    "BatchNormalization": "BN", "LayerNormalization": "LN", "GroupNormalization": "GN", "InstanceNormalization": "IN",
    "RMSNormalization": "RMS", "GlobalAveragePool": "Global average", "AveragePool": "Average pool",
    "MaxPool": "Max pool",
}  # fmt: skip


def _title(node: Node) -> str:
    name = _SHORT.get(node.op, node.op) if node.op_class == "pool" else node.op
    if node.op == "Unknown":
        return f"? {node.get('name', '')}"
    if node.op == "Gemm":
        return f"Gemm {node.get('in_features')} → {node.get('out_features')}"
    if node.op == "Attention":
        return f"Attention {node.get('heads')} {_TIMES} {node.get('head_width')}"
    if node.op_class == "recurrent":
        return f"{name} {node.get('hidden_size')} {_TIMES} {node.get('layers')}"
    kernel = node.get("kernel", ())
    parts = [name, *([_TIMES.join(map(str, kernel))] if kernel else [])]
    if any(size > 1 for size in node.get("stride", ())):
        parts.append(f"/{max(node.get('stride'))}")
    groups, dilation = node.get("groups", 1), node.get("dilation", ())
    if groups > 1:
        parts.append("depthwise" if groups == node.get("in_channels") else f"{groups} groups")
    if any(size > 1 for size in dilation):
        parts.append(f"dilated {max(dilation)}")
    return " ".join(parts)


def _fold_repeats(boxes: list[_Box]) -> list[_Box]:
    """Draw a run of equal sequences once: equal titles, shapes and relative inputs."""
    signs = [
        (box.title, tuple(box.tail), box.shape, tuple(index - source for source in box.inputs))
        for index, box in enumerate(boxes)
    ]
    kept: list[_Box] = []
    place: list[int] = []  # box -> position of the box that stands for it
    index = group = 0
    while index < len(boxes):
        period, count = _best_period(signs, index)
        start = len(kept)
        for offset in range(period):
            box = boxes[index + offset]
            box.inputs = list(dict.fromkeys(place[source] for source in box.inputs))
            place.append(len(kept))
            kept.append(box)
            if count > 1:
                box.repeat, box.group = count, group
        place.extend(start + offset for _ in range(count - 1) for offset in range(period))
        index += period * count
        group += count > 1
    return kept


def _best_period(signs: Sequence[tuple[object, ...]], start: int) -> tuple[int, int]:
    """(length, count) of the run of repeats at `start` that saves most boxes; (1, 1) if none does."""
    best, saved = (1, 1), 1
    for period in range(1, min(_LONGEST_PERIOD, (len(signs) - start) // 2) + 1):
        if signs[start] != signs[start + period]:
            continue
        block = signs[start : start + period]
        count = 1
        while signs[start + count * period : start + (count + 1) * period] == block:
            count += 1
        if (count - 1) * period > saved:
            best, saved = (period, count), (count - 1) * period
    return best


def _lay_out(boxes: list[_Box]) -> tuple[float, float]:
    """Set `level`, `x`, `y` of every box; return the size of the drawing."""
    rows: list[list[_Box]] = []
    for box in boxes:
        box.level = 1 + max((boxes[source].level for source in box.inputs), default=-1)
        if box.level == len(rows):
            rows.append([])
        rows[box.level].append(box)
    per_column = max(14, min(40, round((len(rows) * 4.5) ** 0.5) + 4))
    for row in rows:
        for box in row:
            parents = [boxes[source].x for source in box.inputs if box.level - boxes[source].level == 1]
            box.x = sum(parents) / len(parents) if parents else _loose(box, boxes)
        _spread(row)
    left, height = float(_MARGIN), 0.0
    for first, stop in pairwise(_breaks(boxes, len(rows), per_column)):
        column = [box for row in rows[first:stop] for box in row]
        low = min(box.x - box.width / 2 for box in column)
        high = max(box.x + box.width / 2 for box in column)
        for box in column:
            box.x += left - low
            box.y = _HEAD + (box.level - first) * _ROW + _BOX / 2
            height = max(height, box.y)
        left += high - low + _BETWEEN
    return left - _BETWEEN + 64 + _MARGIN, max(height, _HEAD) + _BOX / 2 + _MARGIN


def _breaks(boxes: list[_Box], rows: int, longest: int) -> list[int]:
    """Where columns begin, and the end: behind at most `longest` rows, where the fewest edges are cut."""
    change = [0] * (rows + 1)
    for box in boxes:
        for source in box.inputs:
            change[boxes[source].level + 1] += 1
            change[box.level + 1] -= 1
    crossing = list(accumulate(change))
    breaks = [0]
    while rows - breaks[-1] > longest * 1.2:
        nearest = breaks[-1] + longest
        breaks.append(min(range(nearest - longest // 4, nearest + 1), key=lambda row: (crossing[row], -row)))
    return [*breaks, rows] if rows else breaks


def _loose(box: _Box, boxes: list[_Box]) -> float:
    """Where a box without neighbours right above it goes: beside its inputs."""
    return sum(boxes[source].x for source in box.inputs) / len(box.inputs) + 40 if box.inputs else 0.0


def _spread(row: list[_Box]) -> None:
    """Push the boxes of a row apart, keeping their order and their middle."""
    row.sort(key=lambda box: box.x)
    middle = sum(box.x for box in row) / len(row)
    for left, right in pairwise(row):
        right.x = max(right.x, left.x + (left.width + right.width) / 2 + _GAP)
    shift = middle - sum(box.x for box in row) / len(row)
    for box in row:
        box.x += shift


def _edge(source: _Box, target: _Box) -> str:
    """Straight down to the next row, round the boxes between for a skip, across for the next column."""
    top, bottom = source.y + _BOX / 2, target.y - _BOX / 2
    if target.y < source.y:  # the next column
        right, left = source.x + source.width / 2, target.x - target.width / 2
        bend = (right + left) / 2
        path = (
            f"M{right:.0f} {source.y:.0f}C{bend:.0f} {source.y:.0f} {bend:.0f} {target.y:.0f} {left:.0f} {target.y:.0f}"
        )
    elif target.level - source.level == 1:
        half = (top + bottom) / 2
        path = (
            f"M{source.x:.0f} {top:.0f}C{source.x:.0f} {half:.0f} {target.x:.0f} {half:.0f} {target.x:.0f} {bottom:.0f}"
        )
    else:
        start, end = source.x + source.width / 2, target.x + target.width / 2
        bend = max(start, end) + 18 + 5 * min(target.level - source.level, 9)
        path = (
            f"M{start:.0f} {source.y:.0f}C{bend:.0f} {source.y:.0f} {bend:.0f} {target.y:.0f} {end:.0f} {target.y:.0f}"
        )
    return f'<path d="{path}"/>'


def _draw_box(box: _Box) -> str:
    x, y = box.x - box.width / 2, box.y - _BOX / 2
    title, detail = escape(_printable(box.title)), escape(_printable(box.detail))
    return (
        f'<g><rect x="{x:.0f}" y="{y:.0f}" width="{box.width:.0f}" height="{_BOX}" rx="6" '
        f'fill="{COLOURS[box.kind]}" stroke="#5c6775" stroke-width="0.8"/>'
        f'<text x="{box.x:.0f}" y="{box.y - 3:.0f}" font-size="12" font-weight="600" text-anchor="middle" '
        f'fill="#1c2430">{title}</text>'
        f'<text x="{box.x:.0f}" y="{box.y + 12:.0f}" font-size="10.5" text-anchor="middle" '
        f'fill="#4a5564">{detail}</text></g>'
    )


def _brackets(boxes: list[_Box]) -> list[str]:
    """A shaded frame around each repeated sequence, with its count; one frame per column it spans."""
    frames: dict[tuple[int, int], list[_Box]] = {}
    for box in boxes:
        if box.group >= 0:
            column = box.level - round((box.y - _HEAD) / _ROW)
            frames.setdefault((box.group, column), []).append(box)
    lines = []
    for members in frames.values():
        left = min(box.x - box.width / 2 for box in members) - 10
        right = max(box.x + box.width / 2 for box in members) + 44
        top = min(box.y for box in members) - _BOX / 2 - 8
        bottom = max(box.y for box in members) + _BOX / 2 + 8
        lines.append(
            f'<rect x="{left:.0f}" y="{top:.0f}" width="{right - left:.0f}" height="{bottom - top:.0f}" rx="10" '
            'fill="#f4f6fa" stroke="#9aa6b8" stroke-dasharray="4 3"/>'
            f'<text x="{right - 8:.0f}" y="{top + 17:.0f}" font-size="14" font-weight="700" text-anchor="end" '
            f'fill="#5c6775">{_TIMES} {members[0].repeat}</text>'
        )
    return lines


def _heading(graph: ComputationGraph, kinds: set[str]) -> tuple[list[str], float]:
    """Name, size, and a legend of the classes that occur; also the width they need."""
    facts = f"{len(graph)} nodes · {_count(graph.params)} parameters · {_count(graph.macs)} MACs"
    name = _printable(graph.name or "network")
    name = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 2] + " …"
    lines = [
        f'<text x="{_MARGIN}" y="30" font-size="17" font-weight="700" fill="#1c2430">{escape(name)}</text>',
        f'<text x="{_MARGIN + 10.8 * len(name) + 16:.0f}" y="30" font-size="12" fill="#4a5564">{facts}</text>',
    ]
    x = float(_MARGIN)
    for kind in COLOURS:
        if kind in kinds:
            lines.append(
                f'<rect x="{x:.0f}" y="42" width="12" height="12" rx="3" fill={quoteattr(COLOURS[kind])} '
                f'stroke="#5c6775" stroke-width="0.8"/><text x="{x + 17:.0f}" y="52" font-size="11" '
                f'fill="#4a5564">{kind}</text>'
            )
            x += 34 + 6.2 * len(kind)
    return lines, max(x, _MARGIN + 10.8 * len(name) + 16 + 6.4 * len(facts)) + _MARGIN


def _count(number: int) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return str(number)


def _printable(text: str) -> str:
    """Without the control characters that XML forbids."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
