"""Zero-cost statistics: what one forward and backward pass at initialisation tells about a network.

`measure` looks at one network, per node and as a whole; `score` ranks many in parallel processes.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC: dict[str, str] = {
    "Measurements": "archcast.proxies.measurement",
    "PROXY_NAMES": "archcast.proxies.proxy",
    "Proxy": "archcast.proxies.proxy",
    "ProxyScores": "archcast.proxies.scoring",
    "get_proxy": "archcast.proxies.proxy",
    "measure": "archcast.proxies.measurement",
    "score": "archcast.proxies.scoring",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'archcast.proxies' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
