"""Durable runs: killed at random moments, shared by processes, refused where they do not belong."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from archcast.errors import ConfigError, DataError
from archcast.search.core import Search
from archcast.search.history import Trial
from archcast.search.journal import SQLiteJournal
from archcast.search.owners import is_alive, this_owner
from archcast.search.run import run_search
from tests.search.toy import CountingSpace, score

pytest.importorskip("sqlalchemy")

CHECKOUT = Path(__file__).resolve().parents[2]
ABOUT = {"space": "toy"}


def start(journal: Path, log: Path, budget: int, strategy: str = "evolution") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.search.killed_run", str(journal), str(log), str(budget), strategy]
    return subprocess.Popen(command, cwd=CHECKOUT)


def lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").split() if log.exists() else []


def killed_until_done(folder: Path, kills: int, budget: int, seed: int) -> tuple[list[Trial], list[str], int]:
    """The trials in the journal, what was evaluated, and how often the process was really killed at work."""
    rng, killed = random.Random(seed), 0
    journal, log = folder / "run.db", folder / "log.txt"
    for _ in range(kills):
        before = len(lines(log))
        process = start(journal, log, budget)
        while process.poll() is None and len(lines(log)) == before:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.15)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(journal, log, budget).wait() == 0
    return SQLiteJournal.open(journal, {}, resume=True).news(), lines(log), killed


def test_kill_9_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    trials, evaluated, killed = killed_until_done(tmp_path, kills=3, budget=60, seed=0)
    assert killed >= 1
    assert [trial.number for trial in sorted(trials, key=lambda trial: trial.number)] == list(range(60))
    assert all(trial.state == "done" and trial.scores == (score(trial.spec),) for trial in trials)
    # What was under way when the process died is evaluated again: at most one network a kill.
    times = Counter(evaluated)
    assert set(times) == {trial.spec for trial in trials}
    assert sum(times.values()) - 60 <= killed
    straight = run_search(CountingSpace(), score, budget=60, strategy="evolution", predictor=None)
    assert [trial.spec for trial in straight.history] == [
        trial.spec for trial in sorted(trials, key=lambda trial: trial.number)
    ]


def test_two_processes_share_one_run(tmp_path: Path) -> None:
    journal, log = tmp_path / "run.db", tmp_path / "log.txt"
    both = [start(journal, log, 50, "random") for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    trials = SQLiteJournal.open(journal, {}, resume=True).news()
    assert len(trials) == 50
    assert all(trial.state == "done" for trial in trials)
    assert Counter(lines(log)) == Counter(trial.spec for trial in trials)  # each once, by one of them
    assert len({CountingSpace().identity(trial.spec) for trial in trials}) == 50


def test_two_searches_see_each_other(tmp_path: Path) -> None:
    journals = [SQLiteJournal.open(tmp_path / "run.db", ABOUT, resume=True) for _ in range(2)]
    one, other = (Search(CountingSpace(), strategy="random", budget=8, journal=journal) for journal in journals)
    first, second = one.ask(5), other.ask(5)
    assert len(second) == 3
    assert not set(first) & set(second)
    assert other.tell(first[0], 1.0) == 1
    assert one.tell(first[0], 2.0) == 0  # the first result counts
    one.sync()
    assert [trial.scores for trial in one.history.done] == [(1.0,)]
    assert one.claim() == []  # this process lives


def test_what_a_dead_process_had_under_way_is_claimed_once(tmp_path: Path) -> None:
    journal = SQLiteJournal.open(tmp_path / "run.db", ABOUT)
    host, _, _ = this_owner().rsplit(":", 2)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    journal.owner = f"{host}:{dead.pid}:1"
    journal.append([Trial(0, "a", "a"), Trial(0, "b", "b")], None)
    journal.owner = "elsewhere:1:1"
    journal.append([Trial(0, "c", "c")], None)
    journal.owner = this_owner()
    assert [trial.spec for trial in journal.claim()] == ["a", "b"]
    assert journal.claim() == []


def test_who_lives() -> None:
    assert is_alive(this_owner())
    host, pid, begin = this_owner().rsplit(":", 2)
    assert not is_alive(f"{host}:{pid}:{begin}1")  # another process had this number
    assert not is_alive("")
    assert is_alive("elsewhere:1:1")


def test_a_journal_of_another_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    SQLiteJournal.open(path, ABOUT).append([Trial(0, "a", "a")], None)
    with pytest.raises(ConfigError, match="--resume"):
        SQLiteJournal.open(path, ABOUT)
    with pytest.raises(ConfigError, match="another search"):
        SQLiteJournal.open(path, {"space": "other"}, resume=True)
    (tmp_path / "text.db").write_text("no database, but long enough to look like one " * 30, encoding="utf-8")
    with pytest.raises(DataError, match="no journal"):
        SQLiteJournal.open(tmp_path / "text.db", ABOUT)
    with pytest.raises(ConfigError, match="nothing to resume"):
        run_search(CountingSpace(), score, predictor=None, resume=True)


def test_everything_is_kept(tmp_path: Path) -> None:
    journal = SQLiteJournal.open(tmp_path / "run.db", ABOUT)
    [asked] = journal.append([Trial(9, "spec", "identity", forecast=1.5, origin="model")], 1)
    assert asked.number == 0
    assert journal.append([Trial(0, "spec", "identity"), Trial(0, "more", "more")], 1) == []
    told = Trial(0, "spec", "identity", "done", (1.0, 2.5), "", 1.5, "model", 3.0, asked.owner)
    assert journal.finish(told)
    assert not journal.finish(told)
    assert SQLiteJournal.open(tmp_path / "run.db", ABOUT, resume=True).news() == [told]
