"""Bundles: what goes in comes out; what is broken, foreign or hostile is refused with a reason; nothing is executed."""

from __future__ import annotations

import errno
import json
import pickle
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from archcast.errors import BundleError, NotFittedError, StorageError, UnknownNameError
from archcast.predictor import bundle as bundles
from archcast.predictor.bundle_upgrades import upgrade
from archcast.predictor.predictor import Predictor

from .conftest import Sample

CHECKOUT = Path(bundles.__file__).resolve().parents[1]


@pytest.mark.parametrize("kind", ["fitted", "pretrained", "adapted", "ranker_only"])
def test_round_trip_is_exact(kind: str, request: pytest.FixtureRequest, unseen: Sample, tmp_path: Path) -> None:
    predictor: Predictor = request.getfixturevalue(kind)
    loaded = Predictor.from_pretrained(predictor.save_pretrained(tmp_path / "bundle"))
    before, after = predictor.predict(unseen.graphs), loaded.predict(unseen.graphs)
    for name in ("scores", "values", "low", "high", "familiarity"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), rtol=0, atol=1e-9)
    assert (loaded.task, loaded.unit) == (predictor.task, predictor.unit)
    again = loaded.save_pretrained(tmp_path / "again")
    for path in (tmp_path / "bundle").iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_files_are_plain_data(fitted: Predictor, tmp_path: Path) -> None:
    directory = fitted.save_pretrained(tmp_path / "deep" / "bundle", metrics={"tau": 0.5}, card="# Kärtchen")
    names = {"config.json", "model.safetensors", "vocab.json", "metrics.json", "README.md", "gbdt.txt"}
    assert {path.name for path in directory.iterdir()} == names
    assert json.loads((directory / "metrics.json").read_text()) == {"tau": 0.5}
    assert (directory / "README.md").read_text(encoding="utf-8") == "# Kärtchen"
    assert [path.name for path in directory.parent.iterdir()] == ["bundle"]


def test_input_shape_is_kept(fitted: Predictor, tmp_path: Path) -> None:
    predictor = Predictor((1, 3, 32, 32))
    predictor.fitted = fitted.fitted
    assert Predictor.from_pretrained(predictor.save_pretrained(tmp_path / "b")).input_shape == (1, 3, 32, 32)


# --- refusals ---------------------------------------------------------------------------------------------------------


class Payload:
    """What a hostile pickle would run: it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("name", ["model.safetensors", "gbdt.txt", "config.json", "vocab.json"])
@pytest.mark.parametrize("protocol", [0, 4])
def test_a_pickle_under_any_name_is_refused_and_not_run(bundle: Path, tmp_path: Path, name: str, protocol: int) -> None:
    marker = tmp_path / "executed"
    payload = pickle.dumps(Payload(marker), protocol)
    pickle.loads(payload)
    assert marker.exists(), "the payload works"
    marker.unlink()
    (bundle / name).write_bytes(payload)
    with pytest.raises(BundleError, match=re.escape(name)):
        Predictor.from_pretrained(bundle)
    assert not marker.exists()


def with_config(**changes: Any) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        path = bundle / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def with_text(name: str, text: str) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        (bundle / name).write_text(text)

    return change


def with_binary_config(bundle: Path) -> None:
    (bundle / "config.json").write_bytes(b"\xff\xfe\x00")


def without_config_key(bundle: Path) -> None:
    path = bundle / "config.json"
    config = json.loads(path.read_text())
    del config["task"]
    path.write_text(json.dumps(config))


def with_other_features(bundle: Path) -> None:
    path = bundle / "vocab.json"
    vocabulary = json.loads(path.read_text())
    path.write_text(json.dumps(vocabulary | {"features": vocabulary["features"][::-1]}))


CONFIGS: dict[str, tuple[Callable[[Path], None], str]] = {
    "unknown keys": (with_config(hook="os.system", extra=1), r"unknown keys \['extra', 'hook'\]"),
    "absent key": (without_config_key, r"lacks \['task'\]"),
    "newer schema": (with_config(schema_version=99), "schema 99.*Upgrade archcast"),
    "schema as text": (with_config(schema_version="1"), "schema '1'"),
    "no schema": (with_text("config.json", "{}"), "schema None"),
    "not JSON": (with_text("config.json", "schema: 1"), "not JSON"),
    "empty": (with_text("config.json", ""), "not JSON"),
    "a list": (with_text("config.json", "[1, 2]"), "JSON object"),
    "deeply nested": (with_text("config.json", "[" * 200_000), "not JSON"),
    "binary": (with_binary_config, "not JSON"),
    "unknown head": (with_config(blend={"svm": 1.0}), "unknown heads"),
    "heads as a list": (with_config(blend=["gp"]), "unknown heads"),
    "no heads": (with_config(blend={}), "unknown heads"),
    "neither part": (with_config(blend=None), "the bundle is empty"),
    "weights off one": (with_config(blend={"gp": 0.2, "gbdt": 0.2}), "sum to 1"),
    "NaN weight": (with_config(blend={"gp": float("nan"), "gbdt": 0.2}), "sum to 1"),
    "text weight": (with_config(blend={"gp": "1.0"}), "sum to 1"),
    "negative weight": (with_config(blend={"gp": -1, "gbdt": 2}), "sum to 1"),
    "task is a number": (with_config(task=7), "task must be text"),
    "input shape is text": (with_config(input_shape="1x3x32x32"), "input_shape must be a list"),
    "negative input shape": (with_config(input_shape=[1, 3, -32, 32]), "input_shape must be a list"),
    "ranker is a number": (with_config(ranker=3), "ranker must be a list"),
    "ranker without arrays": (with_config(ranker=["cells"]), r"lacks \['ranker\.amplitudes'"),
    "other feature version": (with_config(feature_version=-1), "other features"),
    "other feature names": (with_other_features, "other features"),
    "vocabulary is a list": (with_text("vocab.json", "[]"), "JSON object"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_bad_configs_are_refused(bundle: Path, case: str) -> None:
    change, message = CONFIGS[case]
    change(bundle)
    with pytest.raises(BundleError, match=message):
        Predictor.from_pretrained(bundle)


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.json", "gbdt.txt"])
def test_missing_files_are_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=rf"{re.escape(name)} is missing.*save or download it again"):
        Predictor.from_pretrained(bundle)


@pytest.mark.parametrize("kept", [0.0, 0.0001, 0.3, 0.99])
@pytest.mark.parametrize("name", ["model.safetensors", "gbdt.txt", "vocab.json", "config.json"])
def test_truncated_files_are_refused(bundle: Path, name: str, kept: float) -> None:
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content[: int(kept * len(content))])
    with pytest.raises(BundleError, match=re.escape(name)):
        Predictor.from_pretrained(bundle)


def replaced(name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[dict[str, NDArray[Any]]], None]:
    def apply(arrays: dict[str, NDArray[Any]]) -> None:
        arrays[name] = np.array(change(arrays[name]), order="C")

    return apply


def filled(value: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def fill(array: NDArray[Any]) -> NDArray[Any]:
        changed = array.copy()
        changed.flat[0] = value
        return changed

    return fill


def removed(name: str) -> Callable[[dict[str, NDArray[Any]]], None]:
    def remove(arrays: dict[str, NDArray[Any]]) -> None:
        del arrays[name]

    return remove


ARRAYS: dict[str, tuple[Callable[[dict[str, NDArray[Any]]], None], str]] = {
    "NaN": (replaced("gp.weights", filled(np.nan)), "gp.weights holds NaN or infinity"),
    "infinity": (replaced("value.heights", filled(np.inf)), "value.heights holds NaN or infinity"),
    "NaN factor": (replaced("factor", filled(np.nan)), "factor holds NaN"),
    "transposed": (replaced("gp.inputs", np.transpose), r"gp.inputs has shape \[\d+, 60\] instead of \[n, \d+\]"),
    "too few features": (replaced("neighbourhood.center", lambda array: array[:-1]), "neighbourhood.center has shape"),
    "too few rows": (replaced("neighbourhood.errors", lambda array: array[1:]), "neighbourhood.errors has shape"),
    "another rank": (replaced("gp.mean", lambda array: array.reshape(1)), "gp.mean has shape"),
    "empty": (replaced("value.knots", lambda array: array[:0]), r"value.knots has shape \[0\] instead of \[k\]"),
    "text of another width": (replaced("value.knots", lambda array: array[:-1]), "has shape"),
    "integers for reals": (replaced("gp.center", lambda array: array.astype(np.int64)), "must hold real numbers"),
    "reals for columns": (replaced("gp.columns", lambda array: array.astype(np.float64)), "positions of columns"),
    "column out of range": (replaced("gp.columns", filled(10**6)), "positions of columns"),
    "negative column": (replaced("gp.columns", filled(-1)), "positions of columns"),
    "zero scale": (replaced("gp.scale", filled(0)), "gp.scale must be positive"),
    "negative spacing": (replaced("neighbourhood.spacing", filled(-1)), "neighbourhood.spacing must be positive"),
    "falling values": (replaced("value.heights", lambda array: array[::-1]), "value.heights must rise"),
    "lacking": (removed("gp.weights"), r"lacks \['gp\.weights'\]"),
    "foreign": (lambda arrays: arrays.update(backdoor=np.zeros(3)), r"unknown arrays \['backdoor'\]"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_bad_arrays_are_refused(bundle: Path, case: str) -> None:
    change, message = ARRAYS[case]
    path = bundle / "model.safetensors"
    arrays = load_file(path)
    change(arrays)
    save_file(arrays, path)
    with pytest.raises(BundleError, match=message):
        Predictor.from_pretrained(bundle)


def test_arrays_of_a_type_numpy_lacks_are_refused(bundle: Path) -> None:
    header = json.dumps({"factor": {"dtype": "F8_E5M2", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (bundle / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        Predictor.from_pretrained(bundle)


@pytest.mark.parametrize("part", ["weights", "amplitudes", "reference.rows", "reference.amplitude"])
def test_misshapen_rankers_are_refused(pretrained: Predictor, tmp_path: Path, part: str) -> None:
    path = pretrained.save_pretrained(tmp_path / "bundle") / "model.safetensors"
    arrays = load_file(path)
    arrays[f"ranker.{part}"] = np.ascontiguousarray(arrays[f"ranker.{part}"][..., :-1])
    save_file(arrays, path)
    with pytest.raises(BundleError, match=rf"ranker\.{re.escape(part)} has shape"):
        Predictor.from_pretrained(path.parent)


TREES: dict[str, tuple[str, str, str]] = {
    "feature beyond the input": (r"(split_feature=)\d+", r"\g<1>999999", "inconsistent trees"),
    "negative feature": (r"(split_feature=)\d+", r"\g<1>-5", "inconsistent trees"),
    "node that is its own child": (r"(left_child=)-?\d+", r"\g<1>0", "inconsistent trees"),
    "child beyond the tree": (r"(right_child=)-?\d+", r"\g<1>5000", "inconsistent trees"),
    "leaf beyond the tree": (r"(left_child=)-?\d+", r"\g<1>-5000", "inconsistent trees"),
    "more leaves than values": (r"num_leaves=\d+", "num_leaves=400000", "inconsistent trees"),
    "digits with a gap": (r"num_leaves=\d", "num_leaves=1_0", "inconsistent trees"),
    "two sizes": (r"(num_leaves=\d)", r"\g<1>\nnum_leaves=2", "inconsistent trees"),
    "categories": (r"num_cat=0", "num_cat=7", "inconsistent trees"),
    "linear leaves": (r"is_linear=0", "is_linear=1", "inconsistent trees"),
    "NaN leaf": (r"(leaf_value=)\S+", r"\g<1>nan", "inconsistent trees"),
    "jump out of the text": (r"(tree_sizes=)\d+", r"\g<1>99999999", "inconsistent trees"),
    "several classes": (r"num_class=1", "num_class=9", "inconsistent trees"),
    "other number of features": (r"max_feature_idx=\d+", "max_feature_idx=3", "other features"),
    "other line ends": (r"\nnum_leaves", "\r\nnum_leaves", "inconsistent trees"),
}


def test_what_follows_the_trees_is_not_read(bundle: Path, fitted: Predictor, unseen: Sample) -> None:
    with (bundle / "gbdt.txt").open("a") as file:
        file.write("\nparameters:\n[num_class: 99999999]\nend of parameters\npandas_categorical:[[[\n")
    np.testing.assert_allclose(Predictor.from_pretrained(bundle)(unseen.graphs), fitted(unseen.graphs), atol=1e-9)


@pytest.mark.parametrize("case", TREES)
def test_trees_that_would_lead_lightgbm_astray_are_refused(bundle: Path, case: str) -> None:
    pattern, replacement, message = TREES[case]
    path = bundle / "gbdt.txt"
    text, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count == 1
    sizes = " ".join(str(len(tree)) for tree in re.findall(r"^Tree=(?:.|\n)*?(?=^Tree=|^end of)", text, re.MULTILINE))
    if case != "jump out of the text":  # the sizes are right, so that the check at hand must see it
        text = re.sub(r"tree_sizes=.*", f"tree_sizes={sizes}", text)
    path.write_bytes(text.encode())
    with pytest.raises(BundleError, match=message):
        Predictor.from_pretrained(bundle)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # huge numbers overflow
@pytest.mark.parametrize("name", ["gbdt.txt", "model.safetensors", "config.json"])
def test_random_damage_is_refused_or_harmless(bundle: Path, name: str, unseen: Sample) -> None:
    """One to three bytes overwritten, inserted or removed: a forecast or a `BundleError`, never a crash."""
    rng, content = np.random.default_rng(0), (bundle / name).read_bytes()
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        for position in rng.integers(0, min(len(content), 20_000), rng.integers(1, 4)):
            damaged[position : position + rng.integers(0, 3)] = rng.choice(
                list(b"0123456789-=. e"), rng.integers(0, 3)
            ).tolist()
        (bundle / name).write_bytes(damaged)
        try:
            assert len(Predictor.from_pretrained(bundle).predict(unseen.graphs[:3])) == 3
        except BundleError:
            refused += 1
    assert refused > 20


# --- where bundles are looked for and written -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["no-such-predictor", "a/b/c", "owner/no such name", "x" * 300, "../nowhere/bundle", "nul\0byte"]
)
def test_unknown_names_say_what_exists(name: str) -> None:
    with pytest.raises(UnknownNameError, match="no predictor"):
        Predictor.from_pretrained(name)


def test_hub_names_are_not_asked_for_offline() -> None:
    with pytest.raises(UnknownNameError, match=r"neither built in.*nor a folder"):
        Predictor.from_pretrained("archcast/never-uploaded")


def test_a_folder_without_config_is_no_predictor(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"folder without config\.json"):
        Predictor.from_pretrained(tmp_path)


def test_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match="fit the predictor first"):
        Predictor().save_pretrained(tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "files",
    [
        {"thesis.txt": "years of work"},
        {"config.json": "{}", "notes.txt": "x"},
        {"config.json": '{"model_type": "bert"}', "model.safetensors": "x"},
        {"config.json": "damaged", "README.md": "x"},
    ],
)
def test_folders_with_other_files_are_left_alone(fitted: Predictor, tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(StorageError, match="holds other files than a bundle; choose an empty or new folder"):
        fitted.save_pretrained(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


def test_a_bundle_with_notes_beside_it_is_left_alone(fitted: Predictor, bundle: Path) -> None:
    (bundle / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="other files"):
        fitted.save_pretrained(bundle)
    assert (bundle / "notes.txt").read_text() == "mine"


def test_empty_folders_and_old_bundles_are_replaced(fitted: Predictor, adapted: Predictor, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    fitted.save_pretrained(tmp_path / "b")
    adapted.save_pretrained(tmp_path / "b")
    assert Predictor.from_pretrained(tmp_path / "b").ranker is not None
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_file_in_the_way_is_not_replaced(fitted: Predictor, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("a file")
    with pytest.raises(StorageError, match="choose another folder"):
        fitted.save_pretrained(tmp_path / "b")
    with pytest.raises(StorageError, match="choose another folder"):
        fitted.save_pretrained(tmp_path / "b" / "below")
    assert (tmp_path / "b").read_text() == "a file"


def full_disk(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("stage", ["arrays", "json", "folder", "rename"])
def test_a_full_disk_leaves_the_old_bundle(
    adapted: Predictor, bundle: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    if stage == "arrays":
        monkeypatch.setattr(safetensors.numpy, "save_file", full_disk)
    elif stage == "json":
        monkeypatch.setattr(Path, "write_text", full_disk)
    elif stage == "folder":
        monkeypatch.setattr(tempfile, "mkdtemp", full_disk)
    else:
        rename = Path.rename
        fails = iter([False, True])  # the old bundle steps aside, the new one cannot take its place

        def second_fails(path: Path, target: Path) -> Path:
            return full_disk() if next(fails, False) else rename(path, target)

        monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(StorageError, match=r"No space left on device.*free space"):
        adapted.save_pretrained(bundle)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_a_read_only_folder_is_a_storage_error(
    fitted: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(StorageError, match=r"Permission denied.*choose another folder"):
        fitted.save_pretrained(tmp_path / "bundle")


def test_a_copy_elsewhere_loads(bundle: Path, tmp_path: Path, unseen: Sample, fitted: Predictor) -> None:
    shutil.copytree(bundle, tmp_path / "elsewhere")
    copy = Predictor.from_pretrained(str(tmp_path / "elsewhere"))
    np.testing.assert_allclose(copy(unseen.graphs), fitted(unseen.graphs))


# --- nothing in the package unpickles ---------------------------------------------------------------------------------


def test_no_pickle_anywhere_but_the_restricted_readers() -> None:
    """torch.load, joblib, np.load(allow_pickle) and friends are pickles too.

    Two label files come as pickles only: one is read by an unpickler without globals, the other by torch's, which
    knows tensors and containers (weights_only). What goes to workers on Ray and comes back is pickled, by the program
    that started them; it is never a file.
    """
    pattern = re.compile(
        r"^\s*(import|from)\s+(pickle|_pickle|dill|cloudpickle|joblib|shelve|marshal)\b"
        r"|allow_pickle|torch\.load|read_pickle|to_pickle|\bexec\(|(?<![.\w])eval\(",
        re.MULTILINE,
    )
    found = {
        f"{folder}/{path.relative_to(CHECKOUT / folder)}"
        for folder in ("archcast", "graphs", "datasets", "proxies", "encoders", "predictor", "search", "pretrained")
        for path in (CHECKOUT / folder).rglob("*.py")
        if pattern.search(path.read_text(encoding="utf-8"))
    }
    messages = {"archcast/ray_executor.py", "archcast/shipping.py"}
    assert found == {"datasets/labels_nasbench201.py", "datasets/labels_vit.py", *messages}
    for name in messages:
        text = (CHECKOUT / name).read_text(encoding="utf-8")
        assert "open(" not in text
        assert "pickle.load(" not in text
    loads = re.findall(r"torch\.load\(.*\)", (CHECKOUT / "datasets" / "labels_vit.py").read_text(encoding="utf-8"))
    assert loads
    assert all("weights_only=True" in load for load in loads)


@pytest.mark.parametrize("schema", [2, 3])
def test_a_bundle_of_an_older_schema_is_read(bundle: Path, fitted: Predictor, unseen: Sample, schema: int) -> None:
    """What was added since is taken out again, from a predictor whose process has one metric, as all had."""
    config, arrays = json.loads((bundle / "config.json").read_text()), load_file(bundle / "model.safetensors")
    config.update(schema_version=schema, blend={"gp": 1.0})
    for key in ("kernel_prior", "agreement", "heads"):
        del config[key]
    old = {
        name: array for name, array in arrays.items()
        if not name.startswith(("error_scale.", "ard.", "ridge.")) and name not in ("gp.relevance", "gp.metric")
        and not (schema == 2 and name.endswith(".variation"))
    }  # fmt: skip
    (bundle / "config.json").write_text(json.dumps(config))
    save_file(old, bundle / "model.safetensors")
    again = Predictor.from_pretrained(bundle)
    assert fitted.fitted is not None
    inputs = fitted.fitted.inputs(unseen.features, None, {})
    np.testing.assert_allclose(again(unseen.graphs), fitted.fitted.blend.heads["gp"].predict(inputs), atol=1e-5)
    assert again.cross_validated is None
    assert (again.predict(unseen.graphs).spread > 0).all()


def test_rankers_of_older_schemas_are_read_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="deviations instead of ranks"):
        config, _ = upgrade({"schema_version": 4, "ranker": ["cells"]}, {})
    assert config["schema_version"] == bundles.SCHEMA_VERSION


def test_pools_of_schema_2_count_as_pools_of_sizes() -> None:
    arrays: dict[str, np.ndarray] = {
        "ranker.reference.rows": np.zeros((4, 3), np.float32),
        "ranker.reference.amplitude": np.zeros(3),
    }
    config, upgraded = upgrade({"schema_version": 2}, arrays)
    assert config["schema_version"] == bundles.SCHEMA_VERSION
    np.testing.assert_array_equal(upgraded["ranker.reference.variation"], [0, 0, 1])
    assert "prior_pool.variation" not in upgraded
