"""What a bundle must look like before any of it is used.

Arrays are checked by name, shape, kind and range; tree text is checked field by field, because LightGBM itself
follows whatever indices the text holds, past the end of its arrays and round in circles.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.variation import KINDS
from archcast.errors import BundleError

Arrays = dict[str, NDArray[Any]]

KEYS: Final = (
    "schema_version",
    "feature_version",
    "task",
    "unit",
    "input_shape",
    "blend",
    "measured",
    "ranker",
    "graph_ranker",
    "kernel_prior",
    "agreement",
    "heads",
)
"""Keys of config.json."""

_POOL: Final = {"rows": "{0}F", "amplitude": "F", "variation": "V"}
_PROCESS: Final = {
    "columns": "d", "center": "d", "scale": "d", "inputs": "nd", "lengths": "L", "shares": "L", "joint": "L",
    "weights": "Ln", "mean": "", "measured": "", "relevance": "Kd", "metric": "L",
}  # fmt: skip
_SHAPES: Final[dict[str, dict[str, str]]] = {
    "gp": _PROCESS,
    "ard": {name: shape.translate(str.maketrans("dnLK", "eqlm")) for name, shape in _PROCESS.items()},
    "ridge": {"center": "I", "scale": "I", "weights": "I", "mean": ""},
    "value": {"knots": "k", "heights": "k"},
    "neighbourhood": {"center": "F", "projection": "cF", "rows": "rc", "errors": "r", "spacing": "r"},
    "error_scale": {"factor": "", "share": ""},
    "measured": {"floors": "M"},
    "kernel_prior": {"weights": "F"},
    "prior_pool": {name: shape.format("p") for name, shape in _POOL.items()},
    "ranker": {"weights": "SF", "amplitudes": "SF",
               **{f"reference.{name}": shape.format("u") for name, shape in _POOL.items()}},
}  # fmt: skip
"""Part -> array -> one letter an axis. F: features, I: inputs of heads, S: source pools, M: measured, V: kinds of
variation; others agree within a part."""

_MAY_BE_INFINITE: Final = (
    "ridge.scale",
    "factor",
    "error_scale.factor",
)  # a constant column; too few labels for an interval
_POSITIVE: Final = (
    "gp.scale", "gp.lengths", "ard.scale", "ard.lengths", "ridge.scale", "neighbourhood.spacing",
    "error_scale.factor", "kernel_prior.weights",
)  # fmt: skip
_MOST_ZERO_SHOT: Final = 1.0  # ten labels, and an order that agrees with them entirely
_HEAVY: Final = 1e-6  # how far blend weights may miss a sum of 1

_INTEGERS: Final = r"(?:-?\d{1,15}(?: -?\d{1,15})*)?"
_REAL: Final = r"-?\d{1,25}(?:\.\d{1,25})?(?:e[+-]\d{1,3})?"
_REALS: Final = rf"(?:{_REAL}(?: {_REAL})*)?"
_TREE_LINES: Final = {
    "num_leaves": r"\d{1,6}", "num_cat": "0", "split_feature": _INTEGERS, "split_gain": _REALS, "threshold": _REALS,
    "decision_type": _INTEGERS, "left_child": _INTEGERS, "right_child": _INTEGERS, "leaf_value": _REALS,
    "leaf_weight": _REALS, "leaf_count": _INTEGERS, "internal_value": _REALS, "internal_weight": _REALS,
    "internal_count": _INTEGERS, "is_linear": "0", "shrinkage": _REAL,
}  # fmt: skip
_TREE: Final = re.compile(
    r"Tree=(?P<position>\d{1,6})\n" + "".join(rf"{k}=(?P<{k}>{v})\n" for k, v in _TREE_LINES.items()) + r"\n\n"
)
_PER_LEAF: Final = ("leaf_value", "leaf_weight", "leaf_count")
_PER_SPLIT: Final = tuple(
    name for name in _TREE_LINES if name.startswith(("split", "internal", "thr", "dec", "left_", "right_"))
)
_HEADER: Final = re.compile(
    r"tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=(?P<last>\d{1,6})\n"
    r"objective=regression\nfeature_names=(?P<names>[^\n]*)\n"
    rf"feature_infos=(?P<infos>(?:none|\[{_REAL}:{_REAL}\])(?: (?:none|\[{_REAL}:{_REAL}\]))*)\n"
    r"tree_sizes=(?P<sizes>[\d ]+)\n\n"
)


def check_config(
    directory: Path, config: dict[str, Any], heads: frozenset[str], further: frozenset[str] = frozenset()
) -> None:
    """Refuse unknown keys, unknown heads, and values of the wrong type."""
    where = f"{directory}/config.json"
    if unknown := sorted(set(config) - set(KEYS)):
        raise BundleError(f"{where} has unknown keys {unknown}; it was made by another program or version")
    if absent := sorted(set(KEYS) - set(config)):
        raise BundleError(f"{where} lacks {absent}; the bundle is damaged, save or download it again")
    for key in ("task", "unit"):
        if not isinstance(config[key], str):
            raise BundleError(f"{where}: {key} must be text, not {config[key]!r}")
    shape = config["input_shape"]
    if shape is not None and not (isinstance(shape, list) and all(type(size) is int and size > 0 for size in shape)):
        raise BundleError(f"{where}: input_shape must be a list of positive integers or null, not {shape!r}")
    for key, what in (("ranker", "source names"), ("measured", "proxies"), ("kernel_prior", "families")):
        given = config[key]
        if given is not None and not (isinstance(given, list) and given and all(isinstance(n, str) for n in given)):
            raise BundleError(f"{where}: {key} must be a list of {what} or null, not {given!r}")
    names = config["ranker"]
    agreement = config["agreement"]
    if agreement is not None and not (
        isinstance(agreement, dict)
        and set(agreement) == {"tau", "deviation", "labels"}
        and all(type(value) in (int, float) for value in agreement.values())
    ):
        raise BundleError(f"{where}: agreement must have tau, deviation and labels, or be null, not {agreement!r}")
    if names is None and config["graph_ranker"] is not None:
        raise BundleError(f"{where} has a graph_ranker without a ranker; the bundle is damaged")
    blend, settings = config["blend"], config["heads"]
    if not isinstance(settings, dict) or set(settings) != further & set(blend if isinstance(blend, dict) else ()):
        raise BundleError(f"{where}: heads must have the settings of every further head of blend, not {settings!r}")
    if blend is None:
        if names is None:
            raise BundleError(f"{where} has neither blend nor ranker; the bundle is empty")
        return
    if not isinstance(blend, dict) or not blend or not set(blend) <= heads | further:
        raise BundleError(f"{where} names unknown heads; known are {sorted(heads | further)}")
    if not all(isinstance(weight, float | int) and 0 <= weight <= 1 for weight in blend.values()) or (
        abs(sum(blend.values()) - 1) > _HEAVY
    ):
        raise BundleError(f"{where}: the weights of blend must be numbers that sum to 1, not {blend!r}")


def check_arrays(path: Path, arrays: Arrays, config: dict[str, Any], features: int) -> None:
    """Refuse missing, unknown, misshapen and senseless arrays."""
    expected = _expected(arrays, config)
    if absent := sorted(set(expected) - set(arrays)):
        raise BundleError(f"{path} lacks {absent}; the bundle is incomplete, save or download it again")
    # The arrays of further heads are checked by those.
    own = {name for name in arrays if not any(name.startswith(f"head.{head}.") for head in config["heads"])}
    if unknown := sorted(own - set(expected)):
        raise BundleError(f"{path} has unknown arrays {unknown}; it was made by another program or version")
    inputs = input_width(arrays, features)
    sizes = {"F": features, "I": inputs, "S": len(config["ranker"] or ()), "M": len(config["measured"] or ())}
    sizes["V"] = len(KINDS)
    for name, letters in expected.items():
        _check_shape(path, name, arrays[name], letters, sizes)
        _check_values(path, name, arrays[name], inputs)
    for head in ("gp", "ard"):
        if f"{head}.columns" in arrays:
            _check_process(path, arrays, head, sizes["M"])
    for name in ("value.knots", "value.heights"):
        if name in arrays and (np.diff(arrays[name]) < 0).any():
            raise BundleError(f"{path}: {name} must rise; the bundle is damaged")


def _check_process(path: Path, arrays: Arrays, head: str, measured: int) -> None:
    if not 0 <= float(arrays[f"{head}.measured"]) <= min(measured, len(arrays[f"{head}.columns"])):
        raise BundleError(f"{path}: {head}.measured is no number of measured columns; the bundle is damaged")
    metric = arrays[f"{head}.metric"]
    if not np.isin(metric, np.arange(len(arrays[f"{head}.relevance"]))).all():
        raise BundleError(f"{path}: {head}.metric must name rows of {head}.relevance; the bundle is damaged")


def input_width(arrays: Arrays, features: int) -> int:
    """Number of columns the heads take: features, the ranker's score where there is a prior pool, what was measured."""
    return features + ("prior_pool.rows" in arrays) + arrays.get("measured.floors", np.zeros(0)).size


def _expected(arrays: Arrays, config: dict[str, Any]) -> dict[str, str]:
    parts = []
    result: dict[str, str] = {}
    if config["blend"] is not None:
        parts += [*(name for name in config["blend"] if name in _SHAPES), "value", "neighbourhood"]
        result |= {"factor": "", "zero_shot": ""}
        parts.append("error_scale")
        if any(name.startswith("prior_pool.") for name in arrays):
            parts.append("prior_pool")
        if config["measured"] is not None:
            parts.append("measured")
    if config["ranker"] is not None:
        parts.append("ranker")
    if config["kernel_prior"] is not None:
        parts.append("kernel_prior")
    return result | {f"{part}.{name}": letters for part in parts for name, letters in _SHAPES[part].items()}


def _check_shape(path: Path, name: str, array: NDArray[Any], letters: str, sizes: dict[str, int]) -> None:
    wanted = ", ".join(str(sizes.get(letter, letter)) for letter in letters)
    fits = array.ndim == len(letters) and all(
        sizes.setdefault(letter, size) == size for letter, size in zip(letters, array.shape, strict=True)
    )
    # A Gaussian process may have dropped all columns; nothing else is ever empty.
    if not fits or (array.size == 0 and not set("de") & set(letters)):
        raise BundleError(
            f"{path}: {name} has shape {list(array.shape)} instead of [{wanted}]; the bundle is damaged or was made "
            "with other features"
        )


def _check_values(path: Path, name: str, array: NDArray[Any], inputs: int) -> None:
    if name in ("gp.columns", "ard.columns"):
        if array.dtype.kind not in "iu" or (array.size and not 0 <= array.min() <= array.max() < inputs):
            raise BundleError(f"{path}: {name} must hold positions of columns below {inputs}; the bundle is damaged")
        return
    if array.dtype.kind != "f":
        raise BundleError(f"{path}: {name} must hold real numbers, not {array.dtype}; the bundle is damaged")
    if np.isnan(array).any() or (name not in _MAY_BE_INFINITE and not np.isfinite(array).all()):
        raise BundleError(f"{path}: {name} holds NaN or infinity; the bundle is damaged")
    if name == "zero_shot" and not 0 <= float(array) <= _MOST_ZERO_SHOT:
        raise BundleError(f"{path}: zero_shot must lie in 0..{_MOST_ZERO_SHOT:g}; the bundle is damaged")
    if name in _POSITIVE and (array <= 0).any():
        raise BundleError(f"{path}: {name} must be positive; the bundle is damaged")


def check_trees(path: Path, text: str, inputs: int) -> None:
    """Refuse a LightGBM model whose indices lead outside its arrays or back to where they came from.

    The text must be, line by line, what LightGBM writes for plain regression trees: its reader crashes on much else.
    """
    if not text.startswith("tree\n") or "end of trees" not in text or "Tree=0" not in text:
        raise BundleError(f"{path} is truncated or not a LightGBM model; save or download the bundle again")
    head, *trees = re.split(r"^(?=Tree=)", text.partition("end of trees")[0], flags=re.MULTILINE)
    header = _HEADER.fullmatch(head)
    if header is not None and header["last"] != str(inputs - 1):
        raise BundleError(f"{path} was made with other features than this version has; train it again")
    sound = (
        header is not None
        and header["names"].split() == [f"Column_{i}" for i in range(inputs)]
        and len(header["infos"].split()) == inputs
        # LightGBM jumps by these sizes without looking.
        and header["sizes"].split() == [str(len(tree)) for tree in trees]
        and all(_is_sound(tree, i, inputs) for i, tree in enumerate(trees))
        and not re.search(r"[^\x20-\x7e\n]", text)
    )
    if not sound:
        raise BundleError(f"{path} holds inconsistent trees; save or download the bundle again")


def _is_sound(text: str, position: int, inputs: int) -> bool:
    match = _TREE.fullmatch(text)
    if match is None or match["position"] != str(position):
        return False
    leaves = int(match["num_leaves"])
    columns = {name: [float(word) for word in match[name].split()] for name in (*_PER_SPLIT, *_PER_LEAF)}
    if leaves < 1 or any(len(columns[name]) != leaves - 1 for name in _PER_SPLIT):
        return False
    # A tree of one leaf has no weight, and a count only in some versions.
    if any(len(columns[name]) != leaves for name in (_PER_LEAF if leaves > 1 else ("leaf_value",))):
        return False
    if not all(np.isfinite(column).all() for column in columns.values()):  # 1e999 is written like a number
        return False
    children = [(i, child) for side in ("left_child", "right_child") for i, child in enumerate(columns[side])]
    pointed = sorted(child for _, child in children)
    return (
        all(0 <= column < inputs for column in columns["split_feature"])
        and all(kind in (0, 2, 4, 6, 8, 10) for kind in columns["decision_type"])  # odd ones are categories
        # A node points to later nodes, or by ~leaf to a leaf, and each is pointed to once.
        and all(child < 0 or child > i for i, child in children)
        and (leaves == 1 or pointed == [*range(-leaves, 0), *range(1, leaves - 1)])
    )
