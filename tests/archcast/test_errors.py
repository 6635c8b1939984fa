"""What other people's errors say, inside messages of ours."""

from __future__ import annotations

import pytest

from archcast.errors import one_line


@pytest.mark.parametrize(
    ("said", "expected"),
    [("a\n  b\tc ", "a b c"), ("", ""), ("x" * 10, "x" * 10), ("x" * 11, "x" * 10 + " ..."), ("y\n" * 4, "y y y y")],
)
def test_errors_on_one_line_of_a_given_length(said: str, expected: str) -> None:
    assert one_line(ValueError(said), 10) == expected
