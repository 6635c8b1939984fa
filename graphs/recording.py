"""Record what a torch module calls: a `TorchFunctionMode` that turns each functional call into a node.

The module runs once, normally on the meta device. Every torch function it calls passes through `Recorder`,
which looks the function up in `archcast.graphs.torch_ops` and follows the identity of tensors:

- an *activation* depends on a network input and is the value of a node;
- a *constant* does not. What is computed from constants alone is folded away, and remembers which parameters it
  was made of; the first node that uses the constant owns those parameters.

Views and no-ops hand on the value of their input. Python functions that have no entry in the table are opened: they
run again with their own torch-function check switched off, so that what they call inside is recorded instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from types import FunctionType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from archcast.errors import CaptureError
from archcast.graphs.builder import edges_of
from archcast.graphs.calls import Alias, Call, Chain
from archcast.graphs.graph import ComputationGraph, Node
from archcast.graphs.nodes import plain, unknown
from archcast.graphs.shadows import READS, Shadows
from archcast.graphs.shortcuts import shortcut
from archcast.graphs.torch_ops import DECOMPOSED, HANDLERS

_NO_PARAMS: frozenset[int] = frozenset()
_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


class Recorder(TorchFunctionMode):
    """Collects the nodes of one forward pass. Use as a context manager around the call, then `graph`.

    Args:
        parameters: the trainable parameters of the network, each distinct one once.
    """

    def __init__(self, parameters: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self.sources: list[tuple[int, ...]] = []
        self.used: list[frozenset[int]] = []
        self.sizes: list[int] = []
        self._value: dict[int, int] = {}
        self._params: dict[int, frozenset[int]] = {}
        self._base: dict[int, tuple[torch.Tensor, bool]] = {}
        self._alive: list[torch.Tensor] = []
        self._on_meta: dict[int, torch.Tensor] = {}
        self._shadows = Shadows()
        for parameter in parameters:
            if id(parameter) not in self._params:
                self._hold(parameter)
                self._params[id(parameter)] = frozenset([len(self.sizes)])
                self.sizes.append(parameter.numel())

    def input(self, tensor: torch.Tensor) -> None:
        """Declare `tensor` as an input of the network."""
        self._add(plain("Input", tuple(tensor.shape)), (), _NO_PARAMS, tensor)

    def value_of(self, tensor: torch.Tensor) -> int | None:
        """Position of the node that made `tensor`, or None for a constant."""
        return self._value.get(id(tensor))

    def has_params(self, tensor: torch.Tensor) -> bool:
        return bool(self._params.get(id(tensor)))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").split(".")[0]  # an OpOverload is called "add.Tensor"
        if name == "__get__":
            result = func(*args, **kwargs)
            if isinstance(result, torch.Tensor):
                self._alias(result, args[0])
            return result
        tensors = tensors_in((args, kwargs))
        if not any(id(tensor) in self._value for tensor in tensors):
            return self._fold(func, args, kwargs, tensors)
        if name == "__contains__" and tensors[0].device.type == "meta":
            return False  # "is the padding token among the inputs?": without data, no
        if name in DECOMPOSED:
            with self:
                return DECOMPOSED[name](*args, **kwargs)
        handler = HANDLERS.get(name)
        if handler is None and isinstance(func, FunctionType):
            with self:
                return opened(func)(*args, **kwargs)
        if any(tensor.device.type == "meta" for tensor in tensors):
            args, kwargs, tensors = self._move_to_meta(args, kwargs, tensors)
        before = tuple(tensors[0].shape)
        result = shortcut(name, args, kwargs)
        if result is None:
            result = self.run(name, func, args, kwargs)
        call = Call(name, args, kwargs, result, tensors, before, self)
        made = handler(call) if handler else None
        if made == [] and isinstance(result, torch.Tensor):
            self._shadows.follow(func, args, kwargs, result, shape_only=True)
        self._bind(call, made, known=handler is not None)
        return result

    def run(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call `func`, known as `name`; a subclass may compute something else in its place."""
        del name
        return func(*args, **kwargs)

    def note(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Record a call that already ran, `name(*args, **kwargs) = result`; for programs that are read, not run."""
        tensors = tensors_in((args, kwargs))
        if not any(id(tensor) in self._value for tensor in tensors):
            self._inherit(result, tensors)
            return
        handler = HANDLERS.get(name)
        call = Call(name, args, kwargs, result, tensors, tuple(tensors[0].shape), self)
        self._bind(call, handler(call) if handler else None, known=handler is not None)

    def layer(self, node: Node, inputs: Any, parameters: list[torch.Tensor], result: Any) -> None:
        """Record a whole module as one node that owns `parameters`; the first tensor of `result` is its value."""
        sources = tuple(value for tensor in tensors_in(inputs) if (value := self.value_of(tensor)) is not None)
        params = _NO_PARAMS.union(*(self._params.get(id(tensor), _NO_PARAMS) for tensor in parameters))
        self._add(node, sources, params, tensors_in(result)[0])

    def _bind(self, call: Call, made: Any, *, known: bool) -> None:
        """Give the tensors of a result their values: `made` is a node, a list of nodes, or a tensor to alias."""
        results = tensors_in(call.result)
        if made is None:
            made = [] if known else [unknown(call.name, tuple(result.shape)) for result in results]
        if isinstance(made, Alias):
            for result in results:
                self._alias(result, made.tensor)
            return
        inputs = tuple(value for tensor in call.tensors if (value := self.value_of(tensor)) is not None)
        params = _NO_PARAMS.union(*(self._params.get(id(tensor), _NO_PARAMS) for tensor in call.tensors))
        if isinstance(made, Chain):
            for node in made.nodes[:-1]:
                inputs, params = (self._add(node, inputs, params, None),), _NO_PARAMS
            made = made.nodes[-1]
        for node, result in zip([made] if isinstance(made, Node) else made, results, strict=False):
            value = self._add(node, inputs, params, result)
            if node.op_class == "recurrent":  # the final states are slices of what the layer computed
                inputs, params = (value,), _NO_PARAMS
            if node.op == "Slice":
                self._remember_base(result, call.tensors[0], whole=False)
        if call.name == "__setitem__":
            self._add(made, inputs, params, call.tensors[0])
        if call.name == "__setitem__" or (results and results[0] is call.tensors[0]):
            self._reach_bases(call.tensors[0])

    def _remember_base(self, view: torch.Tensor, base: torch.Tensor, *, whole: bool) -> None:
        """Note that `view` shares the memory of `base` (of all of it, if `whole`)."""
        if view is not base and view.untyped_storage()._cdata == base.untyped_storage()._cdata:
            self._base[id(view)] = (base, whole)

    def _reach_bases(self, changed: torch.Tensor) -> None:
        """A tensor changed in place: so did what it is a view of."""
        while (link := self._base.get(id(changed))) is not None:
            base, whole = link
            value = self._value[id(changed)]
            if whole:
                self._value[id(base)] = value
            else:
                before = self.value_of(base)
                inputs = (value,) if before is None else (before, value)
                self._add(plain("ScatterND", tuple(base.shape)), inputs, _NO_PARAMS, base)
            changed = base

    def _add(self, node: Node, inputs: tuple[int, ...], params: frozenset[int], result: torch.Tensor | None) -> int:
        self.nodes.append(node)
        self.sources.append(inputs)
        self.used.append(params)
        value = len(self.nodes) - 1
        if result is not None:
            self._hold(result)
            self._value[id(result)] = value
            self._params.pop(id(result), None)
        return value

    def _alias(self, result: torch.Tensor, source: torch.Tensor) -> None:
        self._hold(result)
        if (value := self.value_of(source)) is not None:
            self._value[id(result)] = value
            self._remember_base(result, source, whole=True)
        elif id(source) in self._params:
            self._params[id(result)] = self._params[id(source)]

    def _fold(self, func: Callable[..., Any], args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> Any:
        """Run a call on constants alone; its results remember the parameters they were made of."""
        if len(tensors) > 1 and any(tensor.device.type == "meta" for tensor in tensors):
            args, kwargs, _ = self._move_to_meta(args, kwargs, tensors)
        name = getattr(func, "__name__", "")
        if name in READS and any(tensor.device.type == "meta" for tensor in tensors):
            try:
                return self._shadows.read(func, args, kwargs)
            except KeyError:  # no value: let torch raise its own error, so that the next stage is tried
                return func(*args, **kwargs)
        trained = any(self.has_params(tensor) for tensor in tensors)
        result = shortcut(name, args, kwargs) if trained else None  # only what has no parameters has values
        if result is None:
            result = func(*args, **kwargs)
        self._inherit(result, tensors)
        if not trained:
            self._shadows.follow(func, args, kwargs, result)
        return result

    def _inherit(self, result: Any, tensors: list[torch.Tensor]) -> None:
        """Constants made of constants are made of the same parameters."""
        params = _NO_PARAMS.union(*(self._params.get(id(tensor), _NO_PARAMS) for tensor in tensors))
        if params:
            for tensor in [tensors[0]] if result is None else tensors_in(result):
                self._hold(tensor)
                self._params[id(tensor)] = params

    def _hold(self, tensor: torch.Tensor) -> None:
        """Keep `tensor` alive, so that its id stays its own."""
        self._alive.append(tensor)

    def _move_to_meta(
        self, args: Any, kwargs: Any, tensors: list[torch.Tensor]
    ) -> tuple[Any, dict[str, Any], list[torch.Tensor]]:
        """Constants that a module keeps on the CPU join the meta device; scalars may stay."""
        if all(tensor.device.type == "meta" or tensor.dim() == 0 for tensor in tensors):
            return args, kwargs, tensors

        def move(item: Any) -> Any:
            if isinstance(item, torch.Tensor) and item.device.type != "meta":
                if id(item) not in self._on_meta:
                    self._hold(item)
                    self._on_meta[id(item)] = item.to("meta")
                    self._shadows.give(self._on_meta[id(item)], item)
                return self._on_meta[id(item)]
            if isinstance(item, (list, tuple)) and not hasattr(item, "_fields"):
                return type(item)(move(part) for part in item)
            return item

        args, kwargs = move(args), {key: move(item) for key, item in kwargs.items()}
        return args, kwargs, tensors_in((args, kwargs))

    def graph(self, outputs: Any, *, name: str = "") -> ComputationGraph:
        """The graph of everything the tensors in `outputs` depend on.

        Raises:
            CaptureError: no output depends on an input.
        """
        values = list(dict.fromkeys(v for tensor in tensors_in(outputs) if (v := self.value_of(tensor)) is not None))
        live = self.reached(values)
        if not any(self.nodes[value].op == "Input" for value in live):
            raise CaptureError(
                f"no output of {name or 'the network'} depends on its input, as far as torch functions show; "
                "return a tensor computed from the input"
            )
        place = {value: position for position, value in enumerate(live)}
        owned: set[int] = set()
        nodes, sources = [], []
        for value in live:
            first_used = self.used[value] - owned
            owned |= first_used
            node, params = self.nodes[value], sum(self.sizes[index] for index in first_used)
            nodes.append(node if node.params == params else node.replace(params=params))
            sources.append([place[source] for source in self.sources[value]])
        for value in values:
            nodes.append(plain("Output", self.nodes[value].shape))
            sources.append([place[value]])
        return ComputationGraph(tuple(nodes), edges_of(sources), sum(self.sizes) - self._sum(owned), name)

    def _sum(self, params: Iterable[int]) -> int:
        return sum(self.sizes[index] for index in params)

    def reached(self, values: list[int]) -> list[int]:
        """The nodes the `values` depend on, themselves included, in order: the nodes of `graph` before its outputs."""
        seen, stack = set(values), list(values)
        while stack:
            for source in self.sources[stack.pop()]:
                if source not in seen:
                    seen.add(source)
                    stack.append(source)
        return sorted(seen)


def tensors_in(item: Any) -> list[torch.Tensor]:
    """All tensors in nested lists, tuples, dicts and objects with fields, in order."""
    found: list[torch.Tensor] = []
    _gather(item, found)
    return found


def _gather(item: Any, found: list[torch.Tensor]) -> None:
    if isinstance(item, torch.Tensor):
        found.append(item)
    elif isinstance(item, _LEAVES):  # most of what layers are called with; asked early, to save the questions below
        return
    elif isinstance(item, (list, tuple, set)):
        for part in item:
            _gather(part, found)
    elif isinstance(item, dict):
        for part in item.values():
            _gather(part, found)
    elif hasattr(item, "__dataclass_fields__"):
        for field in item.__dataclass_fields__:
            _gather(getattr(item, field), found)


_LEAVES = (int, float, str, type(None), torch.dtype, torch.device)


@lru_cache(maxsize=4096)
def opened(func: FunctionType) -> Callable[..., Any]:
    """A copy of `func` that does not hand itself to the recorder, only what it calls."""
    blind = dict.fromkeys(_CHECKS, _never)
    copy = FunctionType(
        func.__code__, {**func.__globals__, **blind}, func.__name__, func.__defaults__, func.__closure__
    )
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


def _never(*_: object) -> bool:
    return False
