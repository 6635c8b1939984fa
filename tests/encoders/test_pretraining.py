"""Pretraining: batches, losses that fall, and trainings that go on as if nothing had happened."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from archcast.datasets.corpus import make_corpus
from archcast.encoders.checkpoints import MetricsLog, latest_checkpoint, read_metrics
from archcast.encoders.contrastive import CrossModalContrast
from archcast.encoders.gcn import GraphEncoder, GraphEncoderConfig
from archcast.encoders.graph_tensors import GraphTensors
from archcast.encoders.pretraining import PretrainConfig, load_encoders, pretrain
from archcast.encoders.pretraining_data import BatchOrder, PretrainingData, StepMaker
from archcast.encoders.pretraining_model import PretrainingModel
from archcast.encoders.readers import GraphReader, TextReader
from archcast.errors import BundleError, ConfigError, DataError, MissingDataError, StorageError
from tests import launching
from tests.encoders.pretraining_run import MeanReader, networks, readers, settings

SCRIPT = Path(__file__).parent / "pretraining_run.py"


class KilledError(Exception):
    """Stands for a crash between two steps."""


@pytest.fixture(scope="module")
def data() -> PretrainingData:
    return networks()


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    """accelerate keeps precision and device as long as the process lives; every test starts anew."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def whole(data: PretrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    pretrain(settings(), data, folder, readers=readers(), progress=False)
    return folder


def curve(folder: Path) -> list[tuple[Any, ...]]:
    """Everything a step leaves but the time it took."""
    lines = read_metrics(folder / "metrics.jsonl")
    return [
        (line["step"], line["loss"], line["losses"], line["learning_rate"], line["gradient_norm"]) for line in lines
    ]


def run_until(step: int, config: PretrainConfig, data: PretrainingData, folder: Path) -> None:
    def stop(record: Any) -> None:
        if record["step"] == step:
            raise KilledError

    with pytest.raises(KilledError):
        pretrain(config, data, folder, readers=readers(), progress=False, on_step=stop)


# --- configuration -------------------------------------------------------------------------------------------------


def test_config_survives_yaml_and_json(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "objectives: {spectral: 2, graph/statistics: 0.5}\nsteps: 7\nclip: 2\ntext: null\ngraph: {layers: 3}\n"
    )
    config = PretrainConfig.from_file(tmp_path / "config.yaml")
    assert config.objectives == {"spectral": 2.0, "graph/statistics": 0.5}
    assert (config.steps, config.clip, config.batch_size) == (7, 2.0, PretrainConfig().batch_size)
    assert (config.text, config.graph) == (None, GraphEncoderConfig(layers=3))
    assert PretrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": 3}, "unknown config keys: step; there are: .*steps"),
        ({"steps": "many"}, "steps"),
        ({"seed": True}, "seed"),
        ({"objectives": ["spectral"]}, "objectives"),
        ({"objectives": {"magic": 1.0}}, "magic; choose among spectral"),
        ({"objectives": {}}, "none; choose among"),
        ({"augmentations": ["rotate"]}, "there are widen"),
        ({"mixed_precision": "fp8"}, "choose no, bf16 or fp16"),
        ({"batch_size": 0}, "at least 1"),
        ({"learning_rate": -1.0}, "positive"),
        ({"warmup_steps": -1}, "negative"),
        ({"graph": {"breadth": 3}}, "breadth"),
        ({"text": {"layers": 0}}, "at least 1"),
        ([1], "mapping"),
    ],
)
def test_bad_configs_are_refused(values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PretrainConfig.from_dict(values)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"none\.yaml"):
        PretrainConfig.from_file(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("steps: [")
    with pytest.raises(ConfigError, match="not YAML"):
        PretrainConfig.from_file(tmp_path / "broken.yaml")


def test_the_rate_warms_up_and_falls_as_half_a_cosine() -> None:
    config = PretrainConfig(steps=110, warmup_steps=10, learning_rate=2.0, final_rate=0.1)
    rates = [config.rate(step) for step in range(110)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[60] == pytest.approx(1.1)
    assert config.rate(110) == pytest.approx(0.2)
    assert rates[10:] == sorted(rates[10:], reverse=True)


# --- batches -------------------------------------------------------------------------------------------------------


def test_every_network_is_seen_once_an_epoch_beside_others_of_its_pool() -> None:
    pool = np.repeat([5, 7, 9, 11], [40, 33, 7, 20])
    order = BatchOrder(pool, batch_size=20, pools_per_batch=4, seed=0)
    assert order.steps_per_epoch == 5
    for epoch in range(2):
        seen = [order.batch(epoch * 5 + step) for step in range(5)]
        assert sorted(np.concatenate(seen)) == list(range(100))
        groups = np.concatenate(seen).reshape(-1, 5)
        assert sum(len(set(pool[group])) == 1 for group in groups) >= len(groups) - 2
    assert not np.array_equal(order.batch(0), order.batch(5))
    np.testing.assert_array_equal(order.batch(7), BatchOrder(pool, 20, 4, 0).batch(7))


def test_impossible_batches_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of pools_per_batch"):
        BatchOrder(np.zeros(9, np.int64), 4, 3, 0)
    with pytest.raises(ConfigError, match="make it smaller"):
        BatchOrder(np.zeros(9, np.int64), 12, 3, 0)


def maker(data: PretrainingData, process: int = 0, processes: int = 1) -> StepMaker:
    order = BatchOrder(data.pool, 12, 3, 0)
    return StepMaker(data, order, {"graph": MeanReader()}, ("mask", "drop"), 0.5, process, processes)


def test_a_step_is_a_function_of_its_number_and_processes_share_it(data: PretrainingData) -> None:
    first, again, whole = maker(data)[3], maker(data)[3], maker(data)[3]
    assert torch.equal(first.augmented["graph"].kinds, again.augmented["graph"].kinds)
    halves = [maker(data, process, 2)[3] for process in range(2)]
    for name in ("identity", "spectra", "statistics"):
        torch.testing.assert_close(torch.cat([half.targets[name] for half in halves]), whole.targets[name])
    assert sum(half.plain["graph"].size for half in halves) == 12
    with pytest.raises(ConfigError, match="5 processes"):
        maker(data, 0, 5)


def test_hidden_measurements_are_targets_and_only_they(data: PretrainingData) -> None:
    graphs = data.graphs

    def values(rows: Any) -> Any:
        count = len(graphs.take(rows).kinds)
        table = np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)
        table[::3, 1] = np.nan
        return table

    inputs = maker(replace(data, node_measured=values))[0]
    nodes = inputs.plain["graph"].nodes
    shown, hidden = inputs.plain["graph"].measured, inputs.targets["node_measured"][nodes]
    known = ~torch.from_numpy(np.isnan(values(maker(data).order.batch(0))))[nodes]
    torch.testing.assert_close(shown.isfinite() ^ hidden.isfinite(), known)
    share = float(hidden[:, 0].isfinite().float().mean())
    assert 0.3 < share < 0.9
    assert inputs.augmented["graph"].measured.shape[0] == len(inputs.augmented["graph"].kinds)


def test_a_corpus_gives_the_same_targets_in_its_pools(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", graphs=60, zoo=False, progress=False)
    made = PretrainingData.of_corpus(corpus)
    direct = PretrainingData.of(corpus.take(np.arange(len(corpus))), made.pool)
    assert made.fingerprint == direct.fingerprint == PretrainingData.of_corpus(corpus).fingerprint
    for number, pool in enumerate(corpus.pools):
        assert set(made.pool[pool.positions]) == {number}


def test_targets_that_do_not_fit_are_refused(data: PretrainingData) -> None:
    with pytest.raises(DataError, match="pool has 3 rows"):
        replace(data, pool=np.zeros(3, np.int64))


# --- training ------------------------------------------------------------------------------------------------------


def test_losses_fall_and_graphs_find_their_texts(data: PretrainingData, tmp_path: Path) -> None:
    config = settings(steps=60, batch_size=24, objectives={"cross_modal": 1.0, "statistics": 1.0}, learning_rate=0.02)
    model = pretrain(config, data, tmp_path, readers=readers(0.0), progress=False)
    losses = [line["losses"] for line in read_metrics(tmp_path / "metrics.jsonl")]
    for name in ("cross_modal", "graph/statistics", "text/statistics"):
        assert np.mean([line[name] for line in losses[-10:]]) < 0.8 * np.mean([line[name] for line in losses[:5]])
    objective = model.objectives["cross_modal"]
    assert isinstance(objective, CrossModalContrast)
    everything = data.graphs.take(np.arange(len(data)))
    with torch.no_grad():
        rows = {name: reader(reader.tensors(everything, None))[0] for name, reader in model.named_readers.items()}
        graph = functional.normalize(objective.graph(rows["graph"]))
        text = functional.normalize(objective.text(rows["text"]))
        similarity = graph @ text.T
    rank = (similarity > similarity.diagonal()[:, None]).float().sum(dim=1)
    assert rank.mean() < len(data) / 8  # by chance it is a half


def test_measured_and_node_objectives_train_on_what_is_measured(data: PretrainingData, tmp_path: Path) -> None:
    scores = np.random.default_rng(0).normal(size=(len(data), 3))
    scores[::2] = np.nan
    table = {row: np.full((1, 1), float(row % 5), np.float32) for row in range(len(data))}

    def of_nodes(rows: Any) -> Any:
        sizes = np.diff(data.graphs.take(rows).ptr)
        return np.concatenate([np.repeat(table[row], size, axis=0) for row, size in zip(rows, sizes, strict=True)])

    measured = replace(data, measured=scores.astype(np.float32), node_measured=of_nodes)
    config = settings(steps=4, objectives={"measured": 1.0, "nodes": 1.0})
    pretrain(config, measured, tmp_path, readers=readers(), progress=False)
    losses = read_metrics(tmp_path / "metrics.jsonl")[-1]["losses"]
    assert set(losses) == {"graph/measured", "text/measured", "graph/nodes", "text/nodes"}
    assert all(np.isfinite(list(losses.values())))


@pytest.mark.parametrize(
    ("objectives", "names", "message"),
    [
        ({"cross_modal": 1.0}, ["graph"], "graph and text"),
        ({"text/spectral": 1.0}, ["graph"], "no encoder text"),
        ({"measured": 1.0}, ["graph"], "data has no measured"),
        ({"nodes": 1.0}, ["graph"], "data has no node_measured"),
    ],
)
def test_objectives_that_cannot_be_are_refused(
    objectives: dict[str, float], names: list[str], message: str, data: PretrainingData
) -> None:
    with pytest.raises(ConfigError, match=message):
        PretrainingModel({name: MeanReader() for name in names}, objectives, data)


def test_bfloat16_trains_and_another_precision_needs_another_process(data: PretrainingData, tmp_path: Path) -> None:
    pretrain(settings(steps=3, mixed_precision="bf16"), data, tmp_path, readers=readers(), progress=False)
    assert all(np.isfinite(line["loss"]) for line in read_metrics(tmp_path / "metrics.jsonl"))
    with pytest.raises(ConfigError, match="one precision"):
        pretrain(settings(steps=3), data, tmp_path / "other", readers=readers(), progress=False)


def test_as_many_eigenvalues_are_compared_as_the_config_says(data: PretrainingData, tmp_path: Path) -> None:
    few = replace(data, spectra=data.spectra[:, :5])
    changes: dict[str, Any] = {"steps": 2, "objectives": {"spectral": 1.0}, "eigenvalues": 5}
    for name, given in (("many", data), ("few", few)):
        pretrain(settings(**changes), given, tmp_path / name, readers=readers(), progress=False)
    assert curve(tmp_path / "many") == curve(tmp_path / "few")
    with pytest.raises(ConfigError, match="5 eigenvalues a network, the config compares 21"):
        pretrain(settings(), few, tmp_path / "other", readers=readers(), progress=False)


def test_a_loss_that_explodes_is_told(data: PretrainingData, tmp_path: Path) -> None:
    broken = replace(data, statistics=np.full_like(data.statistics, np.inf))
    with pytest.raises(DataError, match="lower learning_rate"):
        pretrain(settings(), broken, tmp_path, readers=readers(), progress=False)


def test_generators_of_the_caller_are_left_alone(data: PretrainingData, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"], random.getstate()
    pretrain(settings(steps=2), data, tmp_path, readers=readers(), progress=False)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], before[1])
    assert random.getstate() == before[2]


TINY = {
    "graph": {"width": 8, "layers": 2, "dim": 12, "measured": 1},
    "text": {"width": 16, "layers": 2, "heads": 2, "inner_width": 16, "window": 32},
}


def test_the_encoders_of_the_config_are_trained_and_come_back(data: PretrainingData, tmp_path: Path) -> None:
    def of_nodes(rows: Any) -> Any:
        return np.random.default_rng(0).normal(size=(len(data.graphs.take(rows).kinds), 1)).astype(np.float32)

    config = settings(**TINY, steps=4, objectives={**settings().objectives, "nodes": 1.0})
    model = pretrain(config, replace(data, node_measured=of_nodes), tmp_path, progress=False)
    losses = read_metrics(tmp_path / "metrics.jsonl")[-1]["losses"]
    assert {"cross_modal", "graph/nodes", "text/spectral"} < set(losses)
    assert "text/nodes" not in losses
    assert all(np.isfinite(list(losses.values())))
    encoders = load_encoders(tmp_path)
    for name, encoder in encoders.items():
        reader = model.named_readers[name]
        assert isinstance(reader, (GraphReader, TextReader))
        trained = reader.encoder.state_dict()
        assert all(torch.equal(value, trained[key]) for key, value in encoder.state_dict().items())
        assert not encoder.training
    graph = encoders["graph"]
    assert isinstance(graph, GraphEncoder)
    assert graph(GraphTensors.of(data.graphs.take(np.arange(3)))).shape == (3, 12)
    (tmp_path / "config.json").write_text(json.dumps({**config.to_dict(), "text": None, "graph": {"width": 10}}))
    with pytest.raises(ConfigError, match="other weights"):
        load_encoders(tmp_path)
    with pytest.raises(MissingDataError, match="pretrain into this folder"):
        load_encoders(tmp_path / "none")


# --- interruption --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [[1], [4], [5, 7], [11, 12]])
def test_a_training_that_crashed_goes_on_bit_by_bit(
    stops: list[int], data: PretrainingData, whole: Path, tmp_path: Path
) -> None:
    for stop in stops:
        run_until(stop, settings(), data, tmp_path)
    pretrain(settings(), data, tmp_path, readers=readers(), progress=False)
    assert curve(tmp_path) == curve(whole)
    assert (tmp_path / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_how_often_it_is_saved_and_who_prepares_batches_changes_nothing(
    data: PretrainingData, whole: Path, tmp_path: Path
) -> None:
    run_until(7, settings(checkpoint_every=3, keep_checkpoints=1), data, tmp_path)
    pretrain(settings(checkpoint_every=5, workers=1), data, tmp_path, readers=readers(), progress=False)
    assert curve(tmp_path) == curve(whole)


def test_a_finished_training_is_not_trained_again(data: PretrainingData, whole: Path) -> None:
    before = (whole / "metrics.jsonl").read_bytes()
    pretrain(settings(), data, whole, readers=readers(), progress=False, on_step=lambda _: pytest.fail("trained again"))
    assert (whole / "metrics.jsonl").read_bytes() == before


def test_checkpoints_are_plain_data_and_few(whole: Path) -> None:
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["step-00000008", "step-00000012"]
    assert {path.suffix for path in whole.rglob("*") if path.is_file()} == {".safetensors", ".json", ".jsonl"}
    stored = latest_checkpoint(whole / "checkpoints")
    assert stored is not None
    assert stored.record["config"] == settings().to_dict()
    assert any(name.endswith("/exp_avg_sq") for name in stored.part("optimizer/"))
    assert stored.part("generator/")["cpu"].dtype == torch.uint8


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(
    name: str, data: PretrainingData, whole: Path, tmp_path: Path
) -> None:
    run_until(9, settings(), data, tmp_path)
    last = tmp_path / "checkpoints" / "step-00000008"
    (last / name).write_bytes((last / name).read_bytes()[:40])
    with pytest.raises(BundleError, match="remove it to go on"):
        pretrain(settings(), data, tmp_path, readers=readers(), progress=False)
    for path in last.iterdir():
        path.unlink()
    last.rmdir()
    pretrain(settings(), data, tmp_path, readers=readers(), progress=False)
    assert curve(tmp_path) == curve(whole)


def test_another_training_is_not_gone_on_with(data: PretrainingData, whole: Path) -> None:
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.01 and is 0\.1"):
        pretrain(settings(learning_rate=0.1), data, whole, readers=readers(), progress=False)
    with pytest.raises(DataError, match="other networks"):
        pretrain(settings(), networks(20), whole, readers=readers(), progress=False)
    with pytest.raises(ConfigError, match="other encoders"):
        pretrain(settings(), data, whole, readers={**readers(), "text": without_bias}, progress=False)


def without_bias() -> MeanReader:
    reader = MeanReader(8)
    reader.out.bias = None  # type: ignore[assignment]
    return reader


def test_the_log_forgets_what_will_be_done_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    log = MetricsLog(path, 2)
    log.append({"step": 3, "loss": 0.5})
    log.close()
    assert read_metrics(path) == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 0.5}]


def test_a_full_disk_is_told_and_leaves_the_last_checkpoint(
    data: PretrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_until(5, settings(), data, tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(StorageError, match="No space left"):
        pretrain(settings(), data, tmp_path, readers=readers(), progress=False)
    stored = latest_checkpoint(tmp_path / "checkpoints")
    assert stored is not None
    assert stored.step == 4


def start(folder: Path, changes: dict[str, Any], *, processes: int = 1, pause: float = 0.0) -> subprocess.Popen[str]:
    return launching.start(SCRIPT, str(folder), json.dumps(changes), str(pause), processes=processes)


@pytest.mark.slow
def test_a_killed_process_goes_on_bit_by_bit(tmp_path: Path) -> None:
    """Against another process of as many threads: the last bits of a sum depend on how many there are."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    rng = random.Random(0)
    for _ in range(2):
        done = len(read_metrics(killed / "metrics.jsonl"))
        process = start(killed, {}, pause=0.1)
        while len(read_metrics(killed / "metrics.jsonl")) <= min(done, 9) and process.poll() is None:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    for folder in (killed, whole):
        process = start(folder, {})
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert curve(killed) == curve(whole)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(data: PretrainingData, tmp_path: Path) -> None:
    """Negatives of all processes, with their gradients: only then do all later losses agree as well."""
    changes = {"objectives": {"spectral": 1.0, "cross_modal": 1.0, "statistics": 0.5}}
    process = start(tmp_path / "two", {**changes, "dropout": 0.0}, processes=2)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    pretrain(settings(**changes), data, tmp_path / "one", readers=readers(0.0), progress=False)
    one, two = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    assert len(one) == len(two) == 12
    for name in one[0]["losses"]:
        np.testing.assert_allclose(
            [line["losses"][name] for line in two], [line["losses"][name] for line in one], rtol=2e-4
        )
    np.testing.assert_allclose(
        [line["gradient_norm"] for line in two], [line["gradient_norm"] for line in one], rtol=2e-3
    )
    with pytest.warns(RuntimeWarning, match="begun by 2 processes"):
        pretrain(settings(**changes), data, tmp_path / "two", readers=readers(0.0), progress=False)
