"""The graph encoders of a bundle: `encoders.safetensors` and their description in `config.json`.

What they are made of is checked before anything is built, so that a hostile description cannot ask for more memory than
its weights take.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.fuzzy import FuzzyClusters
from archcast.encoders.node_table import VERSION
from archcast.errors import BundleError
from archcast.predictor.graph_ranker import HEAD, GraphRanker

FILE: Final = "encoders.safetensors"
_LARGEST: Final = {"width": 4096, "layers": 64, "dim": 4096, "bins": 64, "slots": 64, "measured": 0, "extra": 0}
_SHARES: Final = ("dropout", "op_dropout")


def describe(ranker: GraphRanker) -> dict[str, Any]:
    """What `config.json` holds of it."""
    return {"encoder": dict(ranker.encoder), "pools": list(ranker.pools), "members": len(ranker.members)}


def write(ranker: GraphRanker, folder: Path) -> None:
    """Its weights, as one file of `folder`."""
    from safetensors.numpy import save_file

    members = enumerate(ranker.members)
    arrays = {f"{number}.{name}": np.array(value) for number, member in members for name, value in member.items()}
    save_file(arrays, folder / FILE)


def read(folder: Path, description: Any, arrays: dict[str, NDArray[Any]]) -> GraphRanker:
    """The encoders of a bundle from the `arrays` of its file.

    Raises:
        BundleError: the description or an array is not what `write` makes.
    """
    _check(f"{folder}/config.json: graph_ranker", description)
    count = description["members"]
    for name, array in arrays.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise BundleError(f"{folder / FILE}: {name} must hold finite real numbers; the bundle is damaged")
    members = tuple(
        {name.partition(".")[2]: array for name, array in arrays.items() if name.partition(".")[0] == str(number)}
        for number in range(count)
    )
    if not all(members) or sum(map(len, members)) != len(arrays):
        raise BundleError(f"{folder / FILE} does not hold {count} encoders; the bundle is damaged")
    for member in members:
        _check_head(str(folder / FILE), member, description["encoder"]["dim"])
    return GraphRanker(description["encoder"], tuple(description["pools"]), members)


def _check_head(where: str, member: Mapping[str, NDArray[Any]], dim: int) -> None:
    """One linear head, or one for each cluster with the centres of all."""
    head = {name: array for name, array in member.items() if name.startswith(HEAD)}
    clusters = {name[len(HEAD) :]: array for name, array in head.items() if name != f"{HEAD}weight"}
    heads = len(FuzzyClusters.from_arrays(clusters)) if clusters else 1
    shapes = {name: array.shape for name, array in head.items()}
    wanted: dict[str, tuple[int, ...]] = {f"{HEAD}weight": (heads, dim)}
    if clusters:
        wanted |= {f"{HEAD}centres": (heads, dim), f"{HEAD}fuzziness": (1,), f"{HEAD}partition_coefficient": (1,)}
    if shapes != wanted:
        raise BundleError(f"{where}: heads of shapes {shapes}, not {wanted}; the bundle is damaged")


def _check(where: str, description: Any) -> None:
    if not isinstance(description, dict) or set(description) != {"encoder", "pools", "members"}:
        raise BundleError(f"{where} must have encoder, pools and members; the bundle is damaged")
    encoder, pools, members = description["encoder"], description["pools"], description["members"]
    if not (isinstance(pools, list) and all(isinstance(name, str) for name in pools)):
        raise BundleError(f"{where}: pools must be a list of names, not {pools!r}")
    if type(members) is not int or not 1 <= members <= 100:
        raise BundleError(f"{where}: members must be 1 to 100, not {members!r}")
    if not isinstance(encoder, dict) or set(encoder) != {*_LARGEST, *_SHARES, "node_table"}:
        raise BundleError(f"{where}: the encoder has other settings than this version knows; train it again")
    if encoder["node_table"] != VERSION:
        raise BundleError(f"{where} was made with other node features than this version has; train it again")
    sizes = all(type(encoder[name]) is int and 0 <= encoder[name] <= most for name, most in _LARGEST.items())
    if not sizes or not all(isinstance(encoder[name], float | int) and 0 <= encoder[name] < 1 for name in _SHARES):
        raise BundleError(f"{where}: a setting of the encoder is out of range; the bundle is damaged")
