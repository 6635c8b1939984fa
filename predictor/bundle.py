"""Bundles: a predictor as plain data on disk.

    config.json        schema, task, unit, versions, which parts follow
    model.safetensors  every array but those of the graph encoders
    encoders.safetensors
    gbdt.txt           LightGBM's own text
    vocab.json         op vocabulary and feature names it was trained with
    metrics.json       what was measured when it was made
    README.md          model card

Nothing in a bundle is executed: no pickle is read or written, and every field is checked before use.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.features import FEATURE_NAMES, VERSION
from archcast.encoders.pool import Pool
from archcast.errors import BundleError, NotFittedError, StorageError, UnknownNameError
from archcast.graphs.vocabulary import OPS
from archcast.predictor import graph_bundle
from archcast.predictor.blend import FURTHER_HEADS, Blend, head_class
from archcast.predictor.bundle_checks import check_arrays, check_config, check_trees, input_width
from archcast.predictor.bundle_upgrades import OLDEST, upgrade
from archcast.predictor.calibration import Agreement, ErrorScale, ValueMap
from archcast.predictor.fitted import Fitted
from archcast.predictor.heads.gaussian_process import AutomaticProcessHead, GaussianProcessHead
from archcast.predictor.heads.gbdt import GBDTHead, trees_only
from archcast.predictor.heads.networks import Head
from archcast.predictor.heads.ridge import RidgeHead
from archcast.predictor.heads.state import HeadState, part
from archcast.predictor.kernel_prior import KernelPrior
from archcast.predictor.measured_inputs import MeasuredInputs
from archcast.predictor.neighbourhood import Neighbourhood
from archcast.predictor.ranker import PoolRanker

if TYPE_CHECKING:
    from archcast.predictor.predictor import Predictor

Arrays = dict[str, NDArray[Any]]

SCHEMA_VERSION = 6
BUILT_IN = Path(__file__).resolve().parent.parent / "pretrained"
_FILES = ("config.json", "model.safetensors", "vocab.json")
_ARRAY_HEADS: dict[str, type[GaussianProcessHead] | type[RidgeHead]] = {
    "gp": GaussianProcessHead, "ard": AutomaticProcessHead, "ridge": RidgeHead,
}  # fmt: skip


def save(predictor: Predictor, directory: Path, *, metrics: dict[str, Any], card: str | None) -> Path:
    """Write `predictor` into `directory`: first beside it, then by one rename, so a crash leaves no half bundle."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    if predictor.fitted is None and predictor.ranker is None:
        raise NotFittedError("there is nothing to save: fit the predictor first")
    arrays, config, text = _pack(predictor)
    vocabulary = {"ops": list(OPS), "features": list(FEATURE_NAMES)}
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            save_file(arrays, fresh / "model.safetensors")
            if predictor.graph_ranker is not None:
                graph_bundle.write(predictor.graph_ranker, fresh)
            for name, content in (("config", config), ("vocab", vocabulary), ("metrics", metrics)):
                (fresh / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            if text is not None:
                (fresh / "gbdt.txt").write_text(text, encoding="utf-8")
            (fresh / "README.md").write_text(card or _plain_card(predictor), encoding="utf-8")
            fresh.chmod(0o755)
            _replace(fresh, directory)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except StorageError:
        raise
    except (OSError, SafetensorError) as error:  # safetensors has its own error for a full disk
        raise StorageError(
            f"could not write the bundle {directory}: {error}; free space or choose another folder"
        ) from error
    return directory


def load(name: str | Path) -> Predictor:
    """Read a bundle by built-in name, directory, or hub id."""
    directory = _find(str(name))
    config = _read_json(directory / "config.json")
    _check_version(directory, config)
    _check_files(directory)
    arrays = _read_arrays(directory / "model.safetensors")
    config, arrays = upgrade(config, arrays)
    check_config(directory, config, frozenset({*_ARRAY_HEADS, "gbdt"}), frozenset(FURTHER_HEADS))
    vocabulary = _read_json(directory / "vocab.json")
    if vocabulary.get("features") != list(FEATURE_NAMES) or config.get("feature_version") != VERSION:
        raise BundleError(f"{directory} was made with other features than this version has; train it again")
    check_arrays(directory / "model.safetensors", arrays, config, len(FEATURE_NAMES))
    return _unpack(directory, config, arrays)


def built_in_names() -> list[str]:
    """Names `from_pretrained` knows without a path."""
    return sorted(path.parent.name for path in BUILT_IN.glob("*/config.json"))


def _find(name: str) -> Path:
    try:
        for directory in (BUILT_IN / name, Path(name)):
            if (directory / "config.json").is_file():
                return directory
        if Path(name).is_dir():
            raise BundleError(f"{name} is a folder without config.json, not a saved predictor")
    except OSError as error:  # a name too long for a path, a folder without permission
        raise UnknownNameError(
            f"no predictor {name[:60]!r}: {error.strerror}; give one of {built_in_names()}"
        ) from error
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _from_hub(name)
    raise UnknownNameError(f"no predictor {name!r}: give one of {built_in_names()}, a folder, or a hub id 'owner/name'")


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "gbdt.txt", "README.md"]))
    except (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        OSError,
    ) as error:
        raise UnknownNameError(
            f"no predictor {name!r}: it is neither built in ({built_in_names()}) nor a folder; the hub says: {error}"
        ) from error


def _replace(fresh: Path, directory: Path) -> None:
    if not directory.exists():
        fresh.rename(directory)
        return
    if not _is_replaceable(directory):
        raise StorageError(f"{directory} holds other files than a bundle; choose an empty or new folder")
    old = Path(tempfile.mkdtemp(prefix=f".{directory.name}-old-", dir=directory.parent)) / "bundle"
    directory.rename(old)
    try:
        fresh.rename(directory)
    except OSError:
        old.rename(directory)
        raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)


def _is_replaceable(directory: Path) -> bool:
    """Empty, or one of our bundles and nothing else: replacing it deletes all that is inside."""
    present = {path.name for path in directory.iterdir()}
    if not present:
        return True
    try:
        ours = "feature_version" in _read_json(directory / "config.json")
    except BundleError:
        return False
    return ours and present <= {*_FILES, graph_bundle.FILE, "gbdt.txt", "metrics.json", "README.md"}


def _pack(predictor: Predictor) -> tuple[Arrays, dict[str, Any], str | None]:
    arrays: Arrays = {}
    config: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "feature_version": VERSION,
        "task": predictor.task,
        "unit": predictor.unit,
        "input_shape": predictor.input_shape,
        "blend": None,
        "measured": None,
        "ranker": None,
        "kernel_prior": None if predictor.kernel_prior is None else list(predictor.kernel_prior.families),
        "agreement": None,
        "heads": {},
        "graph_ranker": None if predictor.graph_ranker is None else graph_bundle.describe(predictor.graph_ranker),
    }
    text = None
    if predictor.fitted is not None:
        blend = predictor.fitted.blend
        config["blend"] = {name: blend.weights[name] for name in blend.heads}
        for name, head in blend.heads.items():
            if isinstance(head, GBDTHead):
                text = head.text
            elif name in FURTHER_HEADS:
                state = head.state()  # type: ignore[attr-defined]  # every further head has one
                config["heads"][name] = dict(state.settings)
                arrays.update({f"head.{name}.{key}": value for key, value in state.arrays.items()})
            else:
                arrays.update(_flat(name, head))
        arrays.update(_flat("value", predictor.fitted.value))
        arrays.update(_flat("neighbourhood", predictor.fitted.neighbourhood))
        arrays["factor"] = np.asarray(predictor.fitted.factor)
        arrays["zero_shot"] = np.asarray(predictor.fitted.zero_shot)
        arrays.update(_flat("error_scale", predictor.fitted.error_scale))
        if predictor.fitted.agreement is not None:
            config["agreement"] = asdict(predictor.fitted.agreement)
        if predictor.fitted.prior_pool is not None:
            arrays.update(_flat("prior_pool", predictor.fitted.prior_pool))
        if predictor.fitted.measured is not None:
            config["measured"] = list(predictor.fitted.measured.names)
            arrays["measured.floors"] = predictor.fitted.measured.floors
    if predictor.kernel_prior is not None:
        arrays["kernel_prior.weights"] = predictor.kernel_prior.weights
    if predictor.ranker is not None:
        config["ranker"] = list(predictor.ranker.names)
        arrays["ranker.weights"] = predictor.ranker.weights
        arrays["ranker.amplitudes"] = predictor.ranker.amplitudes
        arrays.update(_flat("ranker.reference", predictor.ranker.reference))
    return {name: np.array(array, order="C") for name, array in arrays.items()}, config, text


def _flat(prefix: str, part: Any) -> Arrays:
    """The fields of a dataclass of arrays and floats. Large standardised rows need no double precision."""
    result = {f"{prefix}.{name}": np.asarray(getattr(part, name)) for name in part.__dataclass_fields__}
    return {
        name: array.astype(np.float32) if array.dtype == np.float64 and array.size > 100_000 else array
        for name, array in result.items()
    }


def _part(kind: type[Any], prefix: str, arrays: Arrays) -> Any:
    fields = {name: arrays[f"{prefix}.{name}"] for name in kind.__dataclass_fields__}
    return kind(
        **{
            name: float(array)
            if array.ndim == 0
            else array.astype(np.float64)
            if array.dtype == np.float32 and kind is not Pool
            else array
            for name, array in fields.items()
        }
    )


def _unpack(directory: Path, config: dict[str, Any], arrays: Arrays) -> Predictor:
    from archcast.predictor.predictor import Predictor

    shape = config.get("input_shape")
    predictor = Predictor(tuple(shape) if shape else None)
    predictor.task, predictor.unit = str(config["task"]), str(config["unit"])
    if config["ranker"] is not None:
        predictor.ranker = PoolRanker(
            tuple(config["ranker"]),
            arrays["ranker.weights"],
            arrays["ranker.amplitudes"],
            _part(Pool, "ranker.reference", arrays),
        )
    if config["kernel_prior"] is not None:
        predictor.kernel_prior = KernelPrior(tuple(config["kernel_prior"]), arrays["kernel_prior.weights"])
    if config["graph_ranker"] is not None:
        weights = _read_arrays(directory / graph_bundle.FILE)
        predictor.graph_ranker = graph_bundle.read(directory, config["graph_ranker"], weights)
    if config["blend"] is not None:
        heads: dict[str, Head] = {}
        for name in config["blend"]:
            heads[name] = _head(name, directory, config, arrays)
        names = config["measured"]
        predictor.fitted = Fitted(
            Blend(heads, {name: float(weight) for name, weight in config["blend"].items()}),
            _part(ValueMap, "value", arrays),
            _part(Neighbourhood, "neighbourhood", arrays),
            float(arrays["factor"]),
            _part(ErrorScale, "error_scale", arrays),
            None if config["agreement"] is None else Agreement(**config["agreement"]),
            _part(Pool, "prior_pool", arrays) if "prior_pool.rows" in arrays else None,
            None if names is None else MeasuredInputs(tuple(names), arrays["measured.floors"]),
            float(arrays["zero_shot"]),
        )
    return predictor


def _head(name: str, directory: Path, config: dict[str, Any], arrays: Arrays) -> Head:
    if name == "gbdt":
        return _gbdt(directory, arrays)
    if name in _ARRAY_HEADS:
        head: Head = _part(_ARRAY_HEADS[name], name, arrays)
        return head
    kind: Any = head_class(name)
    read: Head = kind.from_state(HeadState(kind.kind, config["heads"][name], part(arrays, f"head.{name}.")))
    return read


def _gbdt(directory: Path, arrays: Arrays) -> GBDTHead:
    path = directory / "gbdt.txt"
    if not path.is_file():
        raise BundleError(f"{path} is missing; the bundle is incomplete, save or download it again")
    text = path.read_text(encoding="utf-8", errors="replace")
    check_trees(path, text, input_width(arrays, len(FEATURE_NAMES)))
    return GBDTHead(trees_only(text))  # what follows the trees was not checked


def _check_version(directory: Path, config: dict[str, Any]) -> None:
    version = config.get("schema_version")
    if type(version) is not int or not OLDEST <= version <= SCHEMA_VERSION:
        raise BundleError(
            f"{directory} has schema {version!r}; this version reads schemas {OLDEST} to {SCHEMA_VERSION}. "
            "Upgrade archcast"
        )


def _check_files(directory: Path) -> None:
    for name in _FILES:
        if not (directory / name).is_file():
            raise BundleError(f"{directory / name} is missing; the bundle is incomplete, save or download it again")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"{path} is missing; the bundle is incomplete, save or download it again") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON ({error}); the bundle is damaged") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path} must hold a JSON object; the bundle is damaged, save or download it again")
    return content


def _read_arrays(path: Path) -> Arrays:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays: Arrays = load_file(path)
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:  # types numpy lacks
        raise BundleError(f"{path} is not a readable safetensors file ({error}); the bundle is damaged") from error
    return arrays


def _plain_card(predictor: Predictor) -> str:
    task = predictor.task or "unnamed task"
    unit = predictor.unit or "the unit of the labels"
    return f"# archcast predictor: {task}\n\nFitted by `Predictor.fit`; values in {unit}.\n"
