"""`Proxy`: what a zero-cost proxy is, and the registry of those there are."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Literal

from archcast.errors import UnknownNameError

if TYPE_CHECKING:
    from archcast.proxies.passes import Passes

NodeValues = Mapping[int, float]
"""Value of the tape (a recorded node) -> number."""


def total(_passes: Passes, nodes: NodeValues) -> float:
    """Sum over the nodes: what most proxies make of their node values."""
    return float(sum(nodes.values()))


def no_nodes(_passes: Passes) -> NodeValues:
    """For proxies of the network as a whole."""
    return {}


@dataclass(frozen=True)
class Proxy:
    """One zero-cost proxy.

    Attributes:
        name: as users type it.
        paper: authors and venue.
        formula: what is computed, in one line.
        sign: +1 where higher means better as computed, -1 where `measure` turns it round.
        unit: of the score.
        invariances: what the score does not depend on.
        reads: what it needs besides the network.
        cost: "fast" proxies are those of `--proxies fast`; `full` takes all.
        nodes: one number for each node it is defined at, before the sign.
        score: one number for the network, before the sign.
    """

    name: str
    paper: str
    formula: str
    sign: Literal[1, -1]
    unit: str
    invariances: str
    reads: str
    cost: Literal["fast", "full"]
    nodes: Callable[[Passes], NodeValues] = no_nodes
    score: Callable[[Passes, NodeValues], float] = total


_MODULES: Final[dict[str, str]] = {
    "params": "size", "macs": "size",
    "l2_norm": "l2_norm", "grad_norm": "grad_norm", "snip": "snip", "plain": "plain", "grasp": "grasp",
    "fisher": "fisher", "synflow": "synflow", "jacob_cov": "jacob_cov", "epe_nas": "epe_nas",
    "naswot": "naswot", "swap": "swap", "swap_reg": "swap", "zen": "zen", "gradsign": "gradsign", "zico": "zico",
    "ntk": "ntk", "linear_regions": "linear_regions",
    "az_expressivity": "az_expressivity", "az_progressivity": "az_expressivity",
    "az_trainability": "az_trainability", "meco": "meco", "vkdnw": "vkdnw",
    "hidden_covariance": "hidden_covariance", "attention_confidence": "attention_confidence",
    "head_importance": "head_importance", "w_pca": "w_pca",
}  # fmt: skip
"""Name -> the module in `archcast.proxies.scores` whose `PROXIES` hold it."""

PROXY_NAMES: Final = tuple(_MODULES)
SEQUENCE_PROXIES: Final = ("hidden_covariance", "attention_confidence", "head_importance", "w_pca")
"""Defined for recurrent networks and transformers only."""


@cache
def get_proxy(name: str) -> Proxy:
    """The proxy called `name`.

    Raises:
        UnknownNameError: there is none; the message lists the names.
    """
    if name not in _MODULES:
        raise UnknownNameError(f"there is no proxy called {name!r}; there are: {', '.join(PROXY_NAMES)}")
    module = importlib.import_module(f"archcast.proxies.scores.{_MODULES[name]}")
    found: Proxy = next(proxy for proxy in module.PROXIES if proxy.name == name)
    return found


def chosen(names: str | Sequence[str]) -> tuple[Proxy, ...]:
    """The proxies a user asked for: "fast", "full", "none", one name, several with commas, or a list of names.

    Raises:
        UnknownNameError: a name that does not exist.
    """
    if isinstance(names, str):
        if names == "none":
            return ()
        if names in ("fast", "full"):
            every = tuple(get_proxy(name) for name in PROXY_NAMES)
            return tuple(proxy for proxy in every if names == "full" or proxy.cost == "fast")
        names = [name.strip() for name in names.split(",")]
    return tuple(get_proxy(name) for name in dict.fromkeys(names))
