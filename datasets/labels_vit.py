"""Labels of ViT-Bench-101 (Wei et al., Auto-Prox, AAAI 2024): test accuracy of vision transformers on small data sets.

The authors publish two files of AutoFormer networks and one of PiT networks, each a list with one entry a network:

    {"arch": {"hidden_dim": 192, "depth": 12, "num_heads": [3, ...], "mlp_ratio": [3.5, ...]},
     "c100_base_acc": 76.1, "c100_kd_acc": 77.9, "flower_base_acc": ..., "chaoyang_kd_acc": ..., ...}

`base` was trained on the labels alone, `kd` with a ResNet-56 as teacher besides, 300 epochs each. The files are PyTorch
archives, opened without running any code of theirs; the same list as JSON is read too. The inherited ImageNet accuracy
of the AutoFormer files is not offered.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from archcast.datasets.autoformer import Transformer, ViTBenchAutoFormer
from archcast.datasets.home import find_table
from archcast.datasets.labels import LabelSource, LabelTable, Measurement
from archcast.datasets.pit import PiT, PooledTransformer
from archcast.errors import DataError, SpecError

KEYS = {
    "cifar100": "c100_base_acc",
    "flowers102": "flower_base_acc",
    "chaoyang": "chaoyang_base_acc",
    "cifar100-distilled": "c100_kd_acc",
    "flowers102-distilled": "flower_kd_acc",
    "chaoyang-distilled": "chaoyang_kd_acc",
}
"""Task -> what the files call its accuracy. `distilled`: trained with a teacher besides the labels."""

_LOG = logging.getLogger(__name__)
_AUTOFORMER, _PIT = ViTBenchAutoFormer(), PiT()


def read(
    benchmark: str, file: str, spec_of: Callable[[Mapping[str, Any]], str], task: str, _: Measurement
) -> LabelTable:
    return read_file(find_table(benchmark, [f"{file}.pth", f"{file}.json"]), spec_of, task)


def read_file(path: Path, spec_of: Callable[[Mapping[str, Any]], str], task: str) -> LabelTable:
    """`read` for a given file; `spec_of` turns the `arch` of an entry into a spec.

    Networks come in the order of their specs. Those without an accuracy on `task` are left out and counted in the log.

    Raises:
        DataError: the file is damaged, has no accuracy on `task`, or names a network the space does not have.
    """
    entries = _entries(path)
    try:
        rows = [(spec_of(entry["arch"]), entry.get(KEYS[task])) for entry in entries]
        scores = [(spec, float(score)) for spec, score in rows if score is not None]
    except (ValueError, KeyError, TypeError, AttributeError, SpecError) as error:
        raise DataError(f"{path} is not a file of ViT-Bench-101 ({type(error).__name__}: {error})") from error
    if not scores:
        known = sorted({key for entry in entries for key in entry} - {"arch"})
        raise DataError(f"{path} holds no {KEYS[task]!r} for {task}; it holds: {', '.join(known) or 'nothing'}")
    if len(scores) < len(rows):
        _LOG.info("%s: %d of %d networks have no %s", path.name, len(rows) - len(scores), len(rows), KEYS[task])
    scores.sort()
    return LabelTable(tuple(spec for spec, _ in scores), np.array([[score] for _, score in scores]))


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else _load_archive(path)
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); write the list of entries again") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path} is not a file of ViT-Bench-101: it must be a list with one entry a network")
    return entries


def _load_archive(path: Path) -> Any:
    """A PyTorch archive of plain numbers, texts, lists and dictionaries; anything else in it is refused."""
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever a damaged or hostile archive leads to
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(
            f"{path} cannot be opened without running code it holds, or is damaged ({reason}); download it again, or "
            f"write its list as {path.stem}.json where you trust it"
        ) from error


def autoformer_spec(arch: Mapping[str, Any]) -> str:
    """The spec of an AutoFormer entry."""
    heads, ratios = arch["num_heads"], arch["mlp_ratio"]
    if not len(heads) == len(ratios) == int(arch["depth"]):
        raise ValueError(f"{len(heads)} heads and {len(ratios)} ratios for depth {arch['depth']}")
    layers = tuple((int(count), float(ratio)) for count, ratio in zip(heads, ratios, strict=True))
    return _AUTOFORMER.canonical(_AUTOFORMER.format(Transformer(int(arch["hidden_dim"]), layers)))


def pit_spec(arch: Mapping[str, Any]) -> str:
    """The spec of a PiT entry."""
    depths, heads = (tuple(int(value) for value in arch[key]) for key in ("depth", "num_heads"))
    return _PIT.canonical(_PIT.format(PooledTransformer(int(arch["base_dim"]), int(arch["mlp_ratio"]), depths, heads)))


def _source(benchmark: str, file: str, spec_of: Callable[[Mapping[str, Any]], str], space: str) -> LabelSource:
    return LabelSource(
        tasks=tuple(KEYS),
        measurements=(Measurement("test", 300),),
        read=partial(read, benchmark, file, spec_of),
        space=space,
    )


AUTOFORMER = _source("vit-bench-autoformer", "gt_autoformer", autoformer_spec, _AUTOFORMER.name)
AUTOFORMER_2 = _source("vit-bench-autoformer-2", "gt_autoformer_2", autoformer_spec, _AUTOFORMER.name)
PIT = _source("pit", "gt_pit", pit_spec, _PIT.name)
