"""The command line, called as a function: output, exit codes, one-line errors."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from archcast.cli import COMMANDS, main
from archcast.cli_output import count, figure, figure_with_interval, write_csv
from archcast.cli_predict import forecast_rows, input_shape, shortened
from archcast.errors import ConfigError, StorageError
from archcast.predictor.evaluation import Result
from archcast.predictor.prediction import Predictions

CELL = "nasbench201:|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., SimpleNamespace]:
    def call(*arguments: str) -> SimpleNamespace:
        code = main(arguments)
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return call


@pytest.fixture
def forecast(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands in for `archcast.predict`; the dictionary holds what it was called with."""
    import archcast

    called: dict[str, Any] = {}

    def predict(networks: list[str], **options: Any) -> Predictions:
        called.update(options, networks=networks)
        row = np.arange(len(networks), dtype=float)
        macs = np.full(len(networks), 3_500_000)
        unknown: tuple[dict[str, int], ...] = ({"Fancy": 2}, *({},) * (len(networks) - 1))
        return Predictions(tuple(networks), row, row + 90, row + 89, row * np.nan, row, macs, macs, unknown, "%")

    monkeypatch.setattr(archcast, "predict", predict, raising=False)
    return called


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from archcast.cli import main; code = main(['--help']);"
        "heavy = {'torch', 'numpy', 'lightgbm', 'pandas', 'onnx', 'jsonargparse'} & set(sys.modules);"
        "sys.exit(code or ', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert leave.value.code == 0
    assert f"archcast {command}" in text
    assert "example" in text
    assert "--json" in text


def test_version_and_front_page(run: Callable[..., SimpleNamespace]) -> None:
    assert run("--version").out.startswith("archcast ")
    assert run().code == 2
    assert "usage" in run().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["forecast"], "no command 'forecast'"),
        (["predict"], "required: networks"),
        (["predict", "x", "--input-shape", "3,-1"], "not a shape"),
        (["train", "--label", "3x"], "archcast train --help"),
        (["train", "--labels", "many"], "labels"),
        (["train", "--benchmark", "imagenet"], "no benchmark 'imagenet'"),
        (["train", "--config", "absent.yaml"], "no config file"),
        (["evaluate", "--protocol", "one-shot"], "few-shot, zero-shot"),
        (["evaluate", "--seeds", "-1"], "negative"),
        (["evaluate", "--benchmark", "imagenet"], "no benchmark 'imagenet'"),
        (["datasets", "remove"], "unknown action"),
        (["datasets", "info"], "needs a NAME"),
        (["datasets", "info", "imagenet"], "imagenet"),
        (["capture", "nasbench201:|oops|"], "oops"),
        (["capture", "no-such-file.onnx"], "no-such-file.onnx"),
    ],
)
def test_an_error_is_one_line_and_code_two(
    run: Callable[..., SimpleNamespace], arguments: list[str], message: str
) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert message in done.err
    assert done.err.startswith("archcast: ")
    assert done.err.count("\n") == 1
    assert done.out == ""


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(ConfigError):
        main(["predict", "x", "--input-shape", "0", "--debug"])


def test_unknown_config_keys_are_refused(run: Callable[..., SimpleNamespace], tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("benchmark: nasbench201\nlearning_rate: 3\n")
    assert "unknown config keys: learning_rate" in run("train", "--config", str(path)).err


def test_predict_prints_a_table(run: Callable[..., SimpleNamespace], forecast: dict[str, Any], tmp_path: Path) -> None:
    done = run("predict", "a", "b", "--task", "svhn", "--input-shape", "1x3x32x32", "--csv", str(tmp_path / "f.csv"))
    assert done.code == 0
    assert forecast == {
        "networks": ["a", "b"], "task": "svhn", "predictor": "base", "input_shape": (1, 3, 32, 32), "proxies": "none",
        "jobs": 1,
    }  # fmt: skip
    assert "value %" in done.out
    assert "3.50 M" in done.out
    assert "2 x Fancy" in done.out
    rows = list(csv.DictReader((tmp_path / "f.csv").open()))
    assert [row["name"] for row in rows] == ["a", "b"]
    assert rows[0]["high"] == ""


def test_predict_prints_json_without_nan(run: Callable[..., SimpleNamespace], forecast: dict[str, Any]) -> None:
    rows = json.loads(run("predict", "a", "b", "--json").out)
    assert rows[1]["value"] == 91
    assert rows[0]["high"] is None
    assert rows[0]["unknown_ops"] == {"Fancy": 2}
    assert forecast["predictor"] == "base"


def test_rank_one_is_the_highest_score(forecast: dict[str, Any]) -> None:
    import archcast

    rows = forecast_rows(archcast.predict(["a", "b", "c"]).to_records())
    assert [row[1] for row in rows] == ["3", "2", "1"]
    assert forecast["networks"] == ["a", "b", "c"]


def test_long_names_lose_their_middle() -> None:
    assert shortened("timm:resnet50") == "timm:resnet50"
    assert len(shortened(CELL)) <= 44
    assert shortened(CELL).startswith("nasbench201:")


def test_capture_as_summary_text_json_and_svg(run: Callable[..., SimpleNamespace], tmp_path: Path) -> None:
    assert "Conv" in run("capture", CELL).out
    assert "Conv" in run("capture", CELL, "--text").out
    document = json.loads(run("capture", CELL, "--json").out)
    assert document["params"] == sum(node["params"] for node in document["nodes"])
    assert len(document["edges"][0]) == 2
    assert run("capture", CELL, "--svg", str(tmp_path / "cell.svg")).code == 0
    assert (tmp_path / "cell.svg").read_text().startswith("<svg")
    assert run("capture", CELL, "--svg", str(tmp_path / "absent" / "cell.svg")).code == 2


def test_datasets_list_and_info(run: Callable[..., SimpleNamespace]) -> None:
    names = [entry["name"] for entry in json.loads(run("datasets", "list", "--json").out)]
    assert "nasbench201" in names
    assert "nasbench201" in run("datasets", "list").out
    info = json.loads(run("datasets", "info", "nasbench201", "--json").out)
    assert info["licence"]
    assert "licence" in run("datasets", "info", "nasbench201").out


def made_up_results(**_: Any) -> list[Result]:
    draws = {"tau": np.linspace(0.7, 0.9, 50)}
    ours = Result(
        "few-shot", "b", "cifar10", "m", "archcast", 9, 0, "whole space", 99, 3, 0.8, 0.9, 0.5, 2, 0.9, 3.0, draws
    )
    return [ours, replace(ours, method="MACs", tau=0.4, coverage=float("nan"), width=float("nan"), draws={})]


def test_evaluate_prints_intervals_and_writes_every_run(
    run: Callable[..., SimpleNamespace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from archcast.datasets import benchmark
    from archcast.predictor import evaluation

    asked: dict[str, Any] = {}
    monkeypatch.setattr(benchmark, "load_benchmark", lambda name, task, metric: (name, task, metric))
    monkeypatch.setattr(
        evaluation, "few_shot", lambda *given, **options: asked.update(given=given) or made_up_results(**options)
    )
    path = tmp_path / "runs.csv"
    done = run("evaluate", "--benchmark", "b", "--sizes", "9", "--seeds", "0", "--csv", str(path))
    assert done.code == 0
    assert asked["given"] == (("b", None, None), [9], [0])
    assert "0.800 [0.7" in done.out
    assert "MACs" in done.out
    rows = list(csv.DictReader(path.open()))
    assert [row["method"] for row in rows] == ["archcast", "MACs"]
    assert rows[1]["coverage"] == ""
    document = json.loads(run("evaluate", "--benchmark", "b", "--json").out)
    assert document["summary"][0]["tau"] == 0.8
    assert document["runs"][1]["coverage"] is None


def test_train_prints_figures_and_where_the_bundle_is(
    run: Callable[..., SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    from archcast.predictor import training

    def made_up(config: Any, **_: Any) -> SimpleNamespace:
        results = [result.to_record() for result in made_up_results()]
        return SimpleNamespace(metrics={"results": results, "seconds": 1.0, "labels": config.labels}, output=None)

    monkeypatch.setattr(training, "run_training", made_up)
    done = run("train", "--labels", "9", "--exclude", "a", "--spaces", "a", "b")
    assert "archcast" in done.out
    assert "nothing was saved" in done.err
    assert json.loads(run("train", "--labels", "9", "--json").out)["labels"] == 9


def test_doctor_reports_a_broken_check_and_goes_on(
    run: Callable[..., SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    from archcast import cli_doctor

    def broken() -> tuple[str, str]:
        raise RuntimeError("nothing works")

    monkeypatch.setattr(cli_doctor, "_CHECKS", {"broken": broken, "python": cli_doctor._python})
    done = run("doctor", "--json")
    assert done.code == 1
    assert [check["status"] for check in json.loads(done.out)] == ["fail", "ok"]
    assert "RuntimeError: nothing works" in run("doctor").out
    monkeypatch.setattr(cli_doctor, "_CHECKS", {"python": cli_doctor._python})
    assert run("doctor").code == 0


def test_doctor_notices_a_torchvision_that_does_not_match(monkeypatch: pytest.MonkeyPatch) -> None:
    from archcast import cli_doctor

    monkeypatch.setattr(cli_doctor, "_version", {"torch": "2.0.0", "torchvision": "0.29.1"}.get)
    monkeypatch.setattr("importlib.metadata.requires", lambda _: ["numpy", "torch (==2.14.1)"])
    status, text = cli_doctor._torch_pair()
    assert status == "fail"
    assert "needs torch 2.14.1" in text
    monkeypatch.setattr("importlib.metadata.requires", lambda _: ["torch==2.0.0"])
    assert cli_doctor._torch_pair()[0] == "ok"


def test_doctor_knows_every_extra() -> None:
    from importlib.metadata import metadata

    from archcast import cli_doctor

    assert {*cli_doctor.EXTRAS, "dev"} == set(metadata("archcast").get_all("Provides-Extra") or ())


def test_doctor_passes_its_own_checks_here() -> None:
    from archcast import cli_doctor

    for name in ("python", "versions", "torch pair", "devices", "home", "bundle", "self-check"):
        status, text = cli_doctor._CHECKS[name]()
        assert status == "ok", text


@pytest.mark.parametrize("text", ["", "3", "1,3,224,224", "1x3x224x224", "(1, 3, 224, 224)"])
def test_input_shapes(text: str) -> None:
    if not text:
        assert input_shape(None) is None
        with pytest.raises(ConfigError):
            input_shape("")
    else:
        assert input_shape(text) in ((3,), (1, 3, 224, 224))


def test_numbers_are_readable() -> None:
    assert [count(value) for value in (0, 999, 1234, 25_557_032, 4.1e9)] == ["0", "999", "1.23 k", "25.56 M", "4.10 G"]
    assert figure(float("nan")) == figure(None) == "-"
    row = {"tau": 0.5, "tau_low": 0.4, "tau_high": 0.6, "rho": 0.7}
    assert figure_with_interval(row, "tau", 1) == "0.5 [0.4, 0.6]"
    assert figure_with_interval(row, "rho") == "0.700"


def test_csv_refuses_an_impossible_file(tmp_path: Path) -> None:
    write_csv(tmp_path / "new" / "rows.csv", [{"a": 1}, {"b": [1, 2]}])
    assert (tmp_path / "new" / "rows.csv").read_text().splitlines() == ["a,b", "1,", ',"[1, 2]"']
    with pytest.raises(StorageError):
        write_csv(tmp_path, [{"a": 1}])
