"""Pattern fusions: several nodes that spell out one operation become that operation.

Front ends leave scalars out of the graph, so that `x * 0.5` is a `Mul` with one input. The patterns are therefore
matched by structure, each anchored at an op that is rare in networks. A pattern is fused only if nothing outside it
reads its inner values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod
from typing import Final

from archcast.graphs.graph import AttributeValue, Node
from archcast.graphs.nodes import global_average_pool, normalization, plain


class Draft:
    """A graph under edit: `nodes[i]` is None once removed, `inputs[i]` its sources, `users[i]` its readers."""

    def __init__(self, nodes: list[Node], inputs: list[tuple[int, ...]]) -> None:
        self.nodes: list[Node | None] = list(nodes)
        self.inputs = inputs
        self.users: list[list[int]] = []

    def link(self) -> None:
        """Compute `users`; a reader that uses a value twice is listed twice."""
        self.users = [[] for _ in self.nodes]
        for index, sources in enumerate(self.inputs):
            for source in sources:
                self.users[source].append(index)

    def op(self, index: int) -> str:
        node = self.nodes[index]
        return node.op if node is not None else ""

    def node(self, index: int) -> Node:
        node = self.nodes[index]
        if node is None:  # matched positions are alive by construction
            raise IndexError(index)
        return node

    def only_input(self, index: int) -> int | None:
        inputs = self.inputs[index]
        return inputs[0] if len(inputs) == 1 else None

    def only_user(self, index: int) -> int | None:
        users = self.users[index]
        return users[0] if len(users) == 1 else None

    def is_scalar(self, index: int, *ops: str) -> bool:
        """Whether the node is one of `ops` applied to one activation and a constant, without parameters."""
        node = self.nodes[index]
        return node is not None and node.op in ops and len(self.inputs[index]) == 1 and node.params == 0

    def fuse(self, last: int, inner: Iterable[int], node: Node, inputs: tuple[int, ...]) -> bool:
        """Put `node` with `inputs` at `last` and remove `inner`, unless others read an inner value."""
        parts = set(inner) - {last}
        if any(user != last and user not in parts for part in parts for user in self.users[part]):
            return False
        extra = sum(self.node(part).params for part in parts) + self.node(last).params
        for part in (*parts, last):
            for source in self.inputs[part]:
                self.users[source].remove(part)
            if part != last:
                self.nodes[part], self.inputs[part] = None, ()
        self.nodes[last] = node if node.params == extra else node.replace(params=extra)
        self.inputs[last] = inputs
        for source in inputs:
            self.users[source].append(last)
        return True


def fuse_patterns(draft: Draft) -> None:
    """Apply every pattern at its anchors, in the order of `_PATTERNS`."""
    anchors: dict[str, list[int]] = {}
    for index, node in enumerate(draft.nodes):
        if node is not None:
            anchors.setdefault(node.op, []).append(index)
    for ops, pattern in _PATTERNS:
        for op in ops:
            for index in anchors.get(op, ()):
                if draft.op(index) == op:
                    pattern(draft, index)


def _product_with(draft: Draft, value: int, gate: int) -> int | None:
    """The node that multiplies `value` with `gate`, if `gate` has no other reader."""
    user = draft.only_user(gate)
    if user is None or draft.op(user) != "Mul" or set(draft.inputs[user]) != {value, gate}:
        return None
    return user


def _relu(draft: Draft, index: int) -> None:
    """`Clip` with only a lower bound of 0."""
    node = draft.node(index)
    if node.get("min") == 0 and node.get("max") is None and len(draft.inputs[index]) == 1:
        draft.nodes[index] = plain("Relu", node.shape).replace(params=node.params)


def _gated(fused: dict[str, str]) -> Callable[[Draft, int], None]:
    """`x * f(x)`, keyed by f."""

    def pattern(draft: Draft, index: int) -> None:
        value = draft.only_input(index)
        if value is None:
            return
        product = _product_with(draft, value, index)
        if product is not None:
            draft.fuse(product, (index,), plain(fused[draft.op(index)], draft.node(product).shape), (value,))

    return pattern


def _glu(draft: Draft, index: int) -> None:
    """`a * Sigmoid(b)` with a, b the halves of one value."""
    half = draft.only_input(index)
    product = draft.only_user(index)
    if half is None or product is None or draft.op(half) != "Slice" or draft.op(product) != "Mul":
        return
    others = [source for source in draft.inputs[product] if source != index]
    if len(others) != 1 or draft.op(others[0]) != "Slice" or others[0] == half:
        return
    other, node = others[0], draft.node(product)
    if draft.inputs[half] != draft.inputs[other] or draft.node(half).shape != draft.node(other).shape:
        return
    if draft.node(half).get("axis") == draft.node(other).get("axis"):
        draft.fuse(product, (index, half, other), plain("Glu", node.shape), draft.inputs[half])


def _mish(draft: Draft, index: int) -> None:
    """`x * Tanh(Softplus(x))`."""
    value, tanh = draft.only_input(index), draft.only_user(index)
    if value is None or tanh is None or draft.op(tanh) != "Tanh":
        return
    product = _product_with(draft, value, tanh)
    if product is not None:
        draft.fuse(product, (index, tanh), plain("Mish", draft.node(product).shape), (value,))


def _hard_sigmoid(draft: Draft, index: int) -> None:
    """`Clip(x + 3, 0, 6) / 6`, and `x * Clip(x + 3, 0, 6) / 6` as HardSwish."""
    node = draft.node(index)
    shift, user = draft.only_input(index), draft.only_user(index)
    if node.get("min") != 0 or node.get("max") != 6 or shift is None or user is None:
        return
    if not draft.is_scalar(shift, "Add"):
        return
    value = draft.inputs[shift][0]
    if draft.is_scalar(user, "Div", "Mul"):
        draft.fuse(user, (index, shift), plain("HardSigmoid", node.shape), (value,))
        _gated({"HardSigmoid": "HardSwish"})(draft, user)
        return
    product = _product_with(draft, value, index)
    scale = draft.only_user(product) if product is not None else None
    if product is not None and scale is not None and draft.is_scalar(scale, "Div", "Mul"):
        draft.fuse(scale, (index, shift, product), plain("HardSwish", node.shape), (value,))


def _gelu(draft: Draft, index: int) -> None:
    """`x / 2 * (1 + Erf(x / sqrt 2))`, the 1/2 anywhere; and with Tanh of a cubic in x."""
    shift = draft.only_user(index)
    if shift is None or not draft.is_scalar(shift, "Add"):
        return
    inner = {index, shift}
    last = draft.only_user(shift)
    if last is not None and draft.is_scalar(last, "Mul", "Div"):  # 0.5 * (1 + erf)
        inner.add(last)
        last, shift = draft.only_user(last), last
    if last is None or draft.op(last) != "Mul" or len(draft.inputs[last]) != 2:
        return
    left, right = draft.inputs[last]
    value = right if left == shift else left
    cone = _polynomial_cone(draft, draft.inputs[index][0], value)
    if cone is None and draft.is_scalar(value, "Mul", "Div"):  # (0.5 * x) * (1 + erf)
        inner.add(value)
        value = draft.inputs[value][0]
        cone = _polynomial_cone(draft, draft.inputs[index][0], value)
    if cone is None:
        return
    inner |= cone
    scale = draft.only_user(last)
    if len(inner) == len(cone) + 2 and scale is not None and draft.is_scalar(scale, "Mul", "Div"):
        inner.add(last)  # (x * (1 + erf)) * 0.5
        last = scale
    node = Node("Gelu", {"approximate": "tanh"} if draft.op(index) == "Tanh" else {}, draft.node(last).shape)
    draft.fuse(last, inner, node, (value,))


def _polynomial_cone(draft: Draft, index: int, value: int, limit: int = 8) -> set[int] | None:
    """The elementwise nodes between `value` and `index`, or None if anything else feeds `index`."""
    cone: set[int] = set()
    stack = [index]
    while stack:
        current = stack.pop()
        if current == value or current in cone:
            continue
        if draft.op(current) not in ("Add", "Mul", "Div", "Pow") or draft.node(current).params or len(cone) == limit:
            return None
        cone.add(current)
        stack.extend(draft.inputs[current])
    return cone if cone else None


def _layer_norm(draft: Draft, index: int) -> None:
    """LayerNormalization and RMSNormalization from `Sqrt(mean(square) + eps)`, anchored at the mean."""
    squares = draft.only_input(index)
    if squares is None or draft.op(squares) not in ("Pow", "Mul"):
        return
    if len(set(draft.inputs[squares])) != 1 or draft.node(squares).params:
        return
    centred = draft.inputs[squares][0]
    inner = {index, squares}
    step = draft.only_user(index)
    while step is not None and draft.is_scalar(step, "Add", "Sqrt", "Reciprocal", "Pow", "Div", "Max"):
        inner.add(step)
        step = draft.only_user(step)
    if step is None or draft.op(step) not in ("Div", "Mul") or len(inner) < 4 or centred not in draft.inputs[step]:
        return
    op, value = "RMSNormalization", centred
    if draft.op(centred) == "Sub" and len(draft.inputs[centred]) == 2:
        source, mean = draft.inputs[centred]
        if draft.op(mean) == "ReduceMean" and draft.inputs[mean] == (source,):
            op, value = "LayerNormalization", source
            inner |= {centred, mean}
    shape = draft.node(step).shape
    channels = prod(shape) // max(1, prod(draft.node(index).shape))
    last = _affine(draft, step, inner, ("Mul",) if op == "RMSNormalization" else ("Mul", "Add"))
    draft.fuse(last, inner, normalization(op, shape, 0, channels), (value,))


def _affine(draft: Draft, last: int, inner: set[int], ops: tuple[str, ...]) -> int:
    """Follow the scale and shift with parameters behind `last`; `inner` gets all but the final node."""
    for op in ops:
        user = draft.only_user(last)
        if user is None or draft.op(user) != op or len(draft.inputs[user]) != 1 or not draft.node(user).params:
            break
        inner.add(last)
        last = user
    return last


def _group_norm(draft: Draft, index: int) -> None:
    """An InstanceNormalization of (N, groups, -1) with scale and shift per channel behind it."""
    node = draft.node(index)
    user = draft.only_user(index)
    if node.params or len(node.shape) != 3 or user is None or draft.op(user) != "Mul" or not draft.node(user).params:
        return
    inner = {index}
    last = _affine(draft, index, inner, ("Mul", "Add"))
    shape = draft.node(last).shape
    groups = node.shape[1]
    if len(shape) >= 2 and shape[1] % groups == 0 and prod(shape) == prod(node.shape):
        fused = normalization("GroupNormalization", shape, 0, shape[1], groups)
        draft.fuse(last, inner, fused, draft.inputs[index])


def _attention(draft: Draft, index: int) -> None:
    """`Softmax(q k^T [scaled] [masked]) v`; scales folded into q, k or the scores are part of it."""
    shape = draft.node(index).shape
    if draft.node(index).get("axis") != len(shape) - 1:
        return
    inner = {index}
    step, masks = draft.inputs[index][0] if draft.inputs[index] else -1, list[int]()
    while step >= 0 and draft.op(step) in ("Mul", "Div", "Add", "Where") and not draft.node(step).params:
        inputs = draft.inputs[step]
        scores = [source for source in inputs if draft.node(source).shape == draft.node(step).shape]
        if not inputs or (len(inputs) > 1 and len(scores) != 1):
            return
        inner.add(step)
        following = inputs[0] if len(inputs) == 1 else scores[0]
        masks.extend(source for source in inputs if source != following)
        step = following
    mixing = draft.only_user(_skip_nan_guard(draft, index, inner))
    if step < 0 or mixing is None or draft.op(step) != "MatMul" or draft.op(mixing) != "MatMul":
        return
    if len(draft.inputs[step]) != 2 or len(draft.inputs[mixing]) != 2 or draft.inputs[mixing][0] not in inner:
        return
    inner.add(step)
    query, key = (_unscaled(draft, source, step, inner) for source in draft.inputs[step])
    draft.fuse(mixing, inner, _attention_node(draft, step, mixing), (query, key, draft.inputs[mixing][1], *masks))


def _skip_nan_guard(draft: Draft, index: int, inner: set[int]) -> int:
    """Exporters follow a masked Softmax by `Where(IsNaN(p), 0, p)`; return the value behind it."""
    users = sorted(set(draft.users[index]))
    if len(users) == 2 and draft.op(users[0]) == "IsNaN" and draft.op(users[1]) == "Where":
        inner.update(users)
        return users[1]
    return index


def _unscaled(draft: Draft, source: int, reader: int, inner: set[int]) -> int:
    while draft.is_scalar(source, "Mul", "Div") and draft.users[source] == [reader]:
        inner.add(source)
        reader, source = source, draft.inputs[source][0]
    return source


def _attention_node(draft: Draft, scores: int, mixing: int) -> Node:
    """Same attributes as `nodes.attention`; q, k, v are views of wider values, so the products tell the sizes."""
    left, right = draft.node(scores), draft.node(mixing)
    attributes: dict[str, AttributeValue] = {
        "heads": left.shape[-3] if len(left.shape) > 2 else 1,
        "head_width": left.get("contracted", 0),
    }
    return Node("Attention", attributes, right.shape, 0, left.macs + right.macs)


def _whole_pool(draft: Draft, index: int) -> None:
    """An AveragePool whose one window covers its input."""
    node, source = draft.node(index), draft.only_input(index)
    if source is None or any(size != 1 for size in node.shape[2:]) or any(node.get("padding", ())):
        return
    shape = draft.node(source).shape
    if shape[:2] == node.shape[:2] and shape[2:] == node.get("kernel"):
        draft.nodes[index] = global_average_pool(shape)


def _padded_pool(draft: Draft, index: int) -> None:
    """`AveragePool(Pad(x))`, how exporters write a padded pool that counts its padding."""
    node, pad = draft.node(index), draft.only_input(index)
    if pad is None or draft.op(pad) != "Pad" or draft.only_user(pad) != index or any(node.get("padding", ())):
        return
    source = draft.only_input(pad)
    before, after = draft.node(source).shape if source is not None else (), draft.node(pad).shape
    widths = [wide - narrow for wide, narrow in zip(after[2:], before[2:], strict=False)]
    if source is None or len(before) != len(after) or before[:2] != after[:2] or any(width % 2 for width in widths):
        return
    padding = tuple(width // 2 for width in widths)
    draft.fuse(index, (pad,), node.replace(attributes={**node.attributes, "padding": padding}), (source,))


def _slices(draft: Draft, index: int) -> None:
    """Slices of a slice are slices of its source."""
    users = draft.users[index]
    if users and not draft.node(index).params and all(draft.op(user) == "Slice" for user in users):
        for user in users:
            draft.inputs[user] = draft.inputs[index]
            draft.users[draft.inputs[index][0]].append(user)
        draft.users[draft.inputs[index][0]].remove(index)
        draft.nodes[index], draft.inputs[index], draft.users[index] = None, (), []


def _halves(draft: Draft, index: int) -> None:
    """Two slices of one value put together again in another order are a roll."""
    parts = draft.inputs[index]
    if len(parts) != 2 or draft.node(index).params or any(draft.op(part) != "Slice" for part in parts):
        return
    source = draft.only_input(parts[0])
    if source is None or parts[0] == parts[1] or draft.inputs[parts[1]] != (source,):
        return
    whole = draft.node(index).shape
    same_size = prod(draft.node(source).shape) == prod(whole)
    if same_size and draft.fuse(index, parts, plain("Roll", whole), (source,)):
        _rolls(draft, index)


def _rolls(draft: Draft, index: int) -> None:
    """A roll of a roll, one axis after the other."""
    source = draft.only_input(index)
    if source is not None and draft.op(source) == "Roll" and draft.only_user(source) == index:
        draft.fuse(index, (source,), draft.node(index), draft.inputs[source])


def _stacked_recurrence(draft: Draft, index: int) -> None:
    """Recurrent layers one upon the other are one operation with several layers, as torch writes them."""
    node, source = draft.node(index), draft.only_input(index)
    if source is None or draft.op(source) != node.op or draft.only_user(source) != index:
        return
    below = draft.node(source)
    same = all(node.get(name) == below.get(name) for name in ("hidden_size", "directions", "bias"))
    if not same or node.get("input_size") != node.get("hidden_size") * node.get("directions"):
        return
    attributes = {**below.attributes, "layers": below.get("layers") + node.get("layers")}
    fused = node.replace(attributes=attributes, macs=node.macs + below.macs)
    draft.fuse(index, (source,), fused, draft.inputs[source])


def _batch_first(draft: Draft, index: int) -> None:
    """Recurrent layers put out (batch, steps, width), whichever layout they were run in."""
    node = draft.node(index)
    if len(node.shape) == 3 and node.shape[1] == 1 < node.shape[0]:
        draft.nodes[index] = node.replace(shape=(1, node.shape[0], node.shape[2]))


_PATTERNS: Final[tuple[tuple[tuple[str, ...], Callable[[Draft, int], None]], ...]] = (
    (("Clip",), _relu),
    (("Clip",), _hard_sigmoid),
    (("Sigmoid",), _gated({"Sigmoid": "Swish"})),
    (("Sigmoid",), _glu),
    (("HardSigmoid",), _gated({"HardSigmoid": "HardSwish"})),
    (("Softplus",), _mish),
    (("Erf", "Tanh"), _gelu),
    (("ReduceMean",), _layer_norm),
    (("InstanceNormalization",), _group_norm),
    (("Softmax",), _attention),
    (("AveragePool",), _padded_pool),
    (("AveragePool",), _whole_pool),
    (("Slice",), _slices),
    (("Concat",), _halves),
    (("Roll",), _rolls),
    (("LSTM", "GRU", "RNN"), _stacked_recurrence),
    (("LSTM", "GRU", "RNN"), _batch_first),
)
