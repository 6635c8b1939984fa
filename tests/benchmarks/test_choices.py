"""A family is judged by what the other families chose, never by its own scores."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks.choices import by_family, chosen


def lines() -> pd.DataFrame:
    """Two options: `a` is better in three families, `b` in one, where it is much better."""
    families = {"one": (0.8, 0.7), "two": (0.8, 0.7), "three": (0.8, 0.7), "four": (0.1, 0.6)}
    records = [
        {"option": option, "family": family, "space": family, "task": task, "spearman": score + 0.01 * seed}
        for family, scores in families.items()
        for option, score in zip("ab", scores, strict=True)
        for task in (("x", "y") if family == "one" else ("x",))
        for seed in (0, 1, 2)
    ]
    return pd.DataFrame(records)


def test_families_count_alike_and_seeds_by_their_median() -> None:
    table = by_family(lines())
    assert table.at["one", "a"] == pytest.approx(0.81)
    assert list(table.columns) == ["a", "b"]


def test_the_family_itself_has_no_say() -> None:
    found = {str(line["family"]): line for line in chosen(by_family(lines()), "a")}
    # With all four, b is the better on average; without the fourth it is a.
    assert by_family(lines()).mean().idxmax() == "b"
    assert found["four"]["chosen"] == "a"
    assert found["four"]["best"] == "b"
    assert found["four"]["spearman"] == pytest.approx(0.11)
    assert found["one"]["chosen"] == "b"
    assert found["one"]["spearman_shipped"] == pytest.approx(0.81)
