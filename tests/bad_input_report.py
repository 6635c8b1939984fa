"""A pytest plugin that writes docs/bad_input.md: every refusal the tests provoke, with its error and message.

python -m pytest -p tests.bad_input_report --bad-input docs/bad_input.md
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archcast.errors import ArchcastError

_LONGEST = 200
_HEAD = """# Bad input and what it gives

Every error archcast raises on purpose is an `archcast.ArchcastError`, is also the built-in error one would expect
(`ValueError`, `FileNotFoundError`, ...), and its message names the next step. The list below is written by the tests
themselves: each row is an input that a test hands in, and the error and message that it got.

    python -m pytest -p tests.bad_input_report --bad-input docs/bad_input.md

Apart from these, a graph cache that cannot be written (full disk, read-only folder) warns once and the work goes on
without it; an entry that is truncated, foreign or of another version is rebuilt. Random bytes as ONNX files and random
text as graphs give a graph or one of these errors (property tests in `tests/graphs`).
"""

_rows: dict[tuple[str, str, str], None] = {}
_current = {"test": ""}


class _Recording:
    """A `pytest.raises` context that notes what it caught."""

    def __init__(self, context: Any) -> None:
        self.context = context

    def __enter__(self) -> Any:
        return self.context.__enter__()

    def __exit__(self, *raised: Any) -> Any:
        accepted = self.context.__exit__(*raised)
        if accepted and isinstance(raised[1], ArchcastError):
            _rows[_current["test"], type(raised[1]).__name__, _clean(str(raised[1]))] = None
        return accepted


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bad-input", default="docs/bad_input.md", help="where to write the list")


def pytest_configure() -> None:
    raises = pytest.raises
    setattr(pytest, "raises", lambda *args, **options: _Recording(raises(*args, **options)))  # noqa: B010


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    _current["test"] = item.nodeid
    return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    Path(session.config.getoption("--bad-input")).write_text(_report(), encoding="utf-8")


def _report() -> str:
    files: dict[str, list[str]] = {}
    for test, error, message in _rows:
        file, _, case = test.partition("::")
        files.setdefault(file, []).append(f"| {_words(case)} | `{error}` | {message} |")
    counts = Counter(error for _, error, _ in _rows)
    parts = [_HEAD, f"{len(_rows)} cases: {', '.join(f'{n} {name}' for name, n in counts.most_common())}.\n"]
    for file, lines in sorted(files.items()):
        parts.append(
            f"## `{file}`: {len(lines)}\n\n| input | error | message |\n|---|---|---|\n" + "\n".join(lines) + "\n"
        )
    return "\n".join(parts)


def _words(case: str) -> str:
    name, _, parameters = case.removeprefix("test_").partition("[")
    text = name.replace("_", " ") + (f": {parameters[:-1][:80]}" if parameters else "")
    return _cell(text)


def _clean(message: str) -> str:
    checkout = str(Path(__file__).resolve().parents[1])
    message = re.sub(r"/tmp/pytest-of-[^/]+/pytest-\d+/[^/'; ,:]+", "DIR", message.replace(checkout, "CHECKOUT"))
    message = re.sub(r"http://(127\.0\.0\.1|localhost):\d+", "http://SERVER", message)
    message = re.sub(r"/\S*/shared/data", "DATA", message)
    return _cell(message if len(message) <= _LONGEST else f"{message[:_LONGEST]}...")


def _cell(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text).replace("|", "\\|").replace("<", "&lt;").strip()
