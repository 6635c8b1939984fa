"""`PassState`: what a forward pass leaves behind in a module is put back, so that every pass starts from one state."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from archcast.errors import NetworkError

_OWN = frozenset(vars(nn.Module())) - {"training"}
"""Attributes that every module has; the others are its author's."""


class PassState:
    """Watches the first pass of a module; if it changes something, the later ones are given the first one's state.

    Args:
        module: the network.
        seed: of the random numbers that its forward pass draws, if it does.

    Attributes:
        changes: names of the buffers and attributes that a pass changes; None before the first.
        draws: whether a pass draws random numbers.
    """

    def __init__(self, module: nn.Module, seed: int) -> None:
        self.module = module
        self.seed = seed
        self.changes: tuple[str, ...] | None = None
        self.draws = False
        self._overwritten: list[tuple[Tensor, Tensor]] = []

    @contextlib.contextmanager
    def one_pass(self) -> Iterator[None]:
        """Around each forward pass.

        Raises:
            NetworkError: the first pass writes to the parameters of the network.
        """
        if self.draws:
            seed_everything(self.seed)
        if self.changes == ():
            yield
            return
        first = self.changes is None
        randomness = _random_states()
        snapshot = _Snapshot(self.module)
        try:
            yield
        finally:
            changes = snapshot.put_back()
            self._overwritten += snapshot.overwritten
            if first:
                self.changes = changes
                self.draws = not _same_states(randomness, _random_states())
        if snapshot.written:
            raise NetworkError(
                f"the forward pass writes to its own parameters ({', '.join(snapshot.written[:3])}), so that the "
                "weights differ from pass to pass; move that out of forward"
            )

    def finish(self) -> None:
        """Give tensors that a pass overwrote their values back; not before, since gradients may still need them."""
        with torch.no_grad():
            for tensor, value in reversed(self._overwritten):
                tensor.copy_(value)
        self._overwritten.clear()

    def notes(self) -> list[str]:
        """What a reader should know."""
        found = []
        if self.changes:
            names = ", ".join(self.changes[:3]) + (", ..." if len(self.changes) > 3 else "")
            found.append(f"the forward pass changes its own state ({names}); every pass starts from the state given")
        if self.draws:
            found.append("the forward pass draws random numbers in evaluation mode; every pass draws the same, by seed")
        return found


class _Snapshot:
    """Buffers are copied before the pass and the originals put back after it; attributes likewise."""

    def __init__(self, module: nn.Module) -> None:
        self.written: list[str] = []
        self.overwritten: list[tuple[Tensor, Tensor]] = []
        self._module = module
        self._versions = [(name, parameter, parameter._version) for name, parameter in module.named_parameters()]
        self._attributes = []
        self._buffers = []
        for name, part in module.named_modules():
            kept = {key: (item, _copied(item)) for key, item in vars(part).items() if key not in _OWN}
            self._attributes.append((name, part, kept))
            if part._buffers:
                originals = dict(part._buffers)
                self._buffers.append((name, part._buffers, originals))
                part._buffers.update(
                    {key: tensor.detach().clone() for key, tensor in originals.items() if tensor is not None}
                )

    def put_back(self) -> tuple[str, ...]:
        """Undo the pass; the names of what it had changed."""
        changes = []
        for name, store, originals in self._buffers:
            changes += [_dotted(name, key) for key, tensor in originals.items() if not _equal(tensor, store.get(key))]
            store.clear()
            store.update(originals)
        for name, part, kept in self._attributes:
            now = vars(part)
            for key in [key for key in now if key not in _OWN and key not in kept]:
                changes.append(_dotted(name, key))
                del now[key]
            for key, (item, copy) in kept.items():
                if now.get(key) is not item or not _unchanged(item, copy):
                    changes.append(_dotted(name, key))
                    now[key] = self._restored(item, copy)
        self.written = [name for name, parameter, version in self._versions if parameter._version != version]
        return tuple(changes)

    def _restored(self, item: Any, copy: Any) -> Any:
        """The object itself with its contents put back; for a tensor that was overwritten a copy of what it was."""
        if isinstance(item, list):
            item[:] = copy
        elif isinstance(item, (dict, set)):
            item.clear()
            item.update(copy)
        elif isinstance(copy, _Versioned) and item._version != copy.version:
            self.overwritten.append((item, copy.value.clone()))
            return copy.value
        return item


_CONTAINERS = (list, dict, set)


def _copied(item: Any) -> Any:
    """Containers and tensors one level deep; a tensor comes with its version."""
    if isinstance(item, _CONTAINERS):
        return item.copy()
    if isinstance(item, Tensor) and not isinstance(item, nn.Parameter):
        return _Versioned(item)
    return item


class _Versioned:
    def __init__(self, tensor: Tensor) -> None:
        self.value, self.version = tensor.detach().clone(), tensor._version


def _unchanged(item: Any, copy: Any) -> bool:
    if isinstance(item, (list, set)):
        return len(item) == len(copy) and all(a is b for a, b in zip(item, copy, strict=True))
    if isinstance(item, dict):
        return len(item) == len(copy) and all(copy.get(key, item) is value for key, value in item.items())
    return not isinstance(copy, _Versioned) or item._version == copy.version


def _equal(before: Tensor | None, after: Tensor | None) -> bool:
    if before is None or after is None:
        return before is after
    if before.shape != after.shape or before.dtype != after.dtype or before.device != after.device:
        return False
    return torch.equal(before, after) or torch.allclose(before, after, rtol=0.0, atol=0.0, equal_nan=True)


def _dotted(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name


def seed_everything(seed: int) -> None:
    """The global generators of torch, Python and NumPy, which constructors and forward passes draw from."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


@contextlib.contextmanager
def borrowed_randomness(device: torch.device) -> Iterator[None]:
    """The global generators are afterwards what they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _random_states() -> tuple[Tensor, Any, Any]:
    return torch.get_rng_state(), random.getstate(), tuple(np.random.get_state())[1:3]


def _same_states(before: tuple[Tensor, Any, Any], after: tuple[Tensor, Any, Any]) -> bool:
    same_numpy = before[2][1] == after[2][1] and bool(np.array_equal(before[2][0], after[2][0]))
    return same_numpy and torch.equal(before[0], after[0]) and before[1] == after[1]
