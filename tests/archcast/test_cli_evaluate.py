"""`archcast evaluate` beyond the protocols of the literature: reports and learning curves, on real labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from archcast.cli import main
from archcast.datasets.benchmark import load_benchmark
from archcast.predictor.heads import gbdt


@pytest.fixture(autouse=True)
def quick_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = gbdt._parameters
    monkeypatch.setattr(gbdt, "_parameters", lambda count, seed: (parameters(count, seed)[0], 10))


def test_a_report_of_a_benchmark(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from archcast import cli_evaluate

    monkeypatch.setattr(cli_evaluate, "_JUDGED", 80)
    path = tmp_path / "report.png"
    given = ["evaluate", "--protocol", "report", "--sizes", "40", "--seeds", "0"]
    assert main([*given, "--plot", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["labels"] == 40
    assert document["tau"] > 0.4
    assert document["cross_validated"]["labels"] == 40
    assert {"levels", "observed", "error"} == set(document["calibration"])
    assert document["gains"][1]["count"] == 10
    assert document["importance"]
    assert path.stat().st_size > 1000
    assert main(given) == 0
    printed = capsys.readouterr()
    assert "share of what is to be gained" in printed.out
    assert "cross-validated tau" in printed.err


def test_a_learning_curve_of_a_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bench = load_benchmark("nasbench201")
    lines = [f'"nasbench201:{bench.specs[row]}",{bench.scores[row]}' for row in range(0, 15_000, 220)]
    table, path = tmp_path / "measured.csv", tmp_path / "curve.svg"
    table.write_text("arch,score\n" + "\n".join(lines) + "\n")
    given = ["evaluate", "--protocol", "learning-curve", "--table", str(table), "--seeds", "0", "--more", "50"]
    assert main([*given, "--plot", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["labels"] for row in document["curve"]] == [17, 34, 69]
    assert document["forecast"]["low"] <= document["forecast"]["tau"] <= document["forecast"]["high"]
    assert document["more"] == 50
    assert path.read_text().lstrip().startswith("<?xml")
    assert main(given) == 0
    assert "50 more labels: tau" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "report", "--benchmark", "nasbench201", "nasbench101"], "looks at one benchmark, not at 2"),
        (["--plot", "x.png"], "--plot belongs to report"),
        (["--protocol", "learning-curve", "--sizes", "8", "40"], "between 16 and the 40 labels"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *arguments]) == 2
    assert message in capsys.readouterr().err
