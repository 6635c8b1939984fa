"""The page about a search, the line about its progress, and its command."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import archcast
from archcast.cli import main
from archcast.errors import ConfigError, MissingDataError, NotFittedError
from archcast.search.config import SearchConfig
from archcast.search.core import Search
from archcast.search.progress import Progress
from archcast.search.report import expected_random, write_report
from archcast.search.run import run_search
from tests.search.toy import CountingSpace, score

OWN = """
import archcast
from torch import nn

def build(config):
    return nn.Sequential(nn.Conv2d(1, config["width"], 3), nn.Flatten(), nn.Linear(36 * config["width"], 2))

space = archcast.ChoiceSpace({"width": [1, 2, 3, 4, 5, 6]}, build, input_shape=(1, 1, 8, 8))

def evaluate(spec):
    width = space.config(spec)["width"]
    if width == 2:
        raise RuntimeError("<out of memory>")
    return {"score": -abs(width - 4), "heat": width}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN, encoding="utf-8")
    return path


def test_the_page_holds_everything_and_is_well_formed(tmp_path: Path) -> None:
    def evaluate(spec: str) -> float:
        if spec.startswith("4"):
            raise RuntimeError("<script>alert(1)</script>")
        return score(spec)

    result = run_search(CountingSpace(), evaluate, budget=25, strategy="weaknas", predictor=None)
    random = run_search(CountingSpace(), score, budget=25, strategy="random", predictor=None)
    page = write_report(result, tmp_path / "new" / "report.html", against={"random": random}).read_text("utf-8")
    assert page.count("<svg") == 4  # curve, trade-off, forecasts, network
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(svg)
    assert result.best.spec in page
    assert "<script" not in page  # what an evaluation says is text
    assert not re.search(r"""(src|href)=["']http""", page)


def test_a_page_about_a_front(tmp_path: Path) -> None:
    result = run_search(
        CountingSpace(), score, budget=15, strategy="random", predictor=None, objectives=("score", "-macs")
    )
    page = write_report(result, tmp_path / "report.html").read_text("utf-8")
    assert "<h2>Front</h2>" in page
    assert page.count('<tr><td class="spec">') == min(len(result.front), 10)


def test_random_search_is_expected_exactly() -> None:
    bench = archcast.load_benchmark("nasbench201")
    result = run_search(bench, budget=30, strategy="random")
    expected = expected_random(result)
    assert expected is not None
    rng = np.random.default_rng(0)
    drawn = [np.maximum.accumulate(rng.choice(bench.scores, 30, replace=False)) for _ in range(3000)]
    assert np.abs(expected - np.mean(drawn, axis=0))[[0, 9, 29]].max() < 0.5
    assert expected[0] == pytest.approx(bench.scores.mean())


def test_no_page_without_a_result(tmp_path: Path) -> None:
    result = run_search(CountingSpace(), lambda _: None, budget=2, strategy="random", predictor=None)
    with pytest.raises(NotFittedError):
        write_report(result, tmp_path / "report.html")


def test_progress_tells_the_best_and_the_time_left() -> None:
    out = StringIO()
    with Progress(out) as progress:
        run_search(
            CountingSpace(), score, budget=20, strategy="random", predictor=None,
            on_start=progress.start, on_result=progress.step,
        )  # fmt: skip
    told = out.getvalue().splitlines()
    assert told[0].startswith("1/20 evaluated; best score ")
    assert told[-1].startswith("20/20 evaluated")
    assert all(line.endswith("left") for line in told)
    assert len(told) < 20  # only what is better, where nobody watches
    Progress(out, quiet=True)


def test_the_last_result_is_told_whichever_it_is() -> None:
    """Results come in any order: here the trial proposed first ends last, and is not the best."""
    out = StringIO()
    search = Search(CountingSpace(), strategy="random", budget=2)
    first, second = search.ask(2)
    with Progress(out) as progress:
        progress.start(search)
        for spec, value in ((second, 90.0), (first, 80.0)):
            search.tell(spec, value)
            trial = search.history.of_spec(spec)
            assert trial is not None
            progress.step(search, trial)
    told = out.getvalue().splitlines()[1:]  # the first tells of trials that were there before
    assert [line.split(";")[0] for line in told] == ["1/2 evaluated", "2/2 evaluated"]


def test_a_search_of_a_file_by_the_command(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sqlalchemy")
    journal, page = tmp_path / "run.db", tmp_path / "report.html"
    command = ["search", "--space", str(own), "--strategy", "random", "--journal", str(journal), "--json",
               "--objectives", "score,-heat"]  # fmt: skip
    assert main([*command, "--budget", "3", "--report", str(page)]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["evaluations"] == 3
    assert page.exists()
    assert main([*command, "--budget", "6"]) == 2  # the journal has trials
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--budget", "6", "--resume"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["evaluations"] == 6
    assert found["failed"] == 1
    assert found["best"] == {"arch": '{"width":4}', "evaluation": found["best"]["evaluation"], "score": 0, "heat": 4}
    assert found["curve"][:3] == first["curve"]
    assert [trial["arch"] for trial in found["front"]].count('{"width":1}') == 1


def test_a_search_of_a_benchmark_by_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "search.yaml"
    config.write_text(
        "space: nasbench201\ntask: cifar100\nstrategy: evolution\nbudget: 12\n"
        "settings: {population: 5, tournament: 2}\nlimits: {params: 500000}\n",
        encoding="utf-8",
    )
    assert main(["search", "--config", str(config), "--budget", "15"]) == 0
    out = capsys.readouterr()
    assert "Best of 15 networks of nasbench201/cifar100" in out.out
    assert "nothing was kept" in out.err


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "name a space"),
        ({"space": "nasbench201", "colour": 1}, "colour"),
        ({"space": "nasbench201", "budget": "many"}, "whole number"),
        ({"space": "nasbench201", "budget": True}, "whole number"),
        ({"space": "nasbench201", "limits": {"macs": "few"}}, "limits"),
        ({"space": "own.py", "timeout": 3}, "isolate"),
        ({"space": "nasbench201", "isolate": True}, "your own"),
    ],
)
def test_configs_that_make_no_sense_are_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        SearchConfig.from_dict(values)


def test_files_that_are_no_space_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.py").write_text("", encoding="utf-8")
    config = SearchConfig(space=str(tmp_path / "empty.py"))
    with pytest.raises(ConfigError, match="must define"):
        config.run(lambda _: None, lambda *_: None)
    with pytest.raises(MissingDataError):
        SearchConfig(space="absent.py").run(lambda _: None, lambda *_: None)
    assert main(["search", "--space", "nasbench201", "--limits", "macs"]) == 2
    assert "macs=60e6" in capsys.readouterr().err
