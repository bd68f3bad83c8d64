"""measure.overlap: pairs by hand, against Python's sets, and inputs that cannot be compared."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe import StepError
from sftrecipe.testing.memory import MemoryDataset
from sftrecipe_diversity.measure_overlap import Overlap, overlaps


def arm(ids: list[str | None], column: str = "id") -> MemoryDataset:
    return MemoryDataset(pl.DataFrame({column: pl.Series(ids, dtype=pl.String)}))


def test_three_arms_by_hand() -> None:
    arms = {"random": arm(["a", "b", "c"]), "longest": arm(["c", "d"]), "input": arm(["c", "b", "a", "e"])}
    made = Overlap(pool=12).measure(arms)
    assert made["table"].rows() == [
        ("random", "longest", 3, 2, 1, 0.25, 0.5, 0.5),
        ("random", "input", 3, 4, 3, 0.75, 1.0, 1.0),
        ("longest", "input", 2, 4, 1, 0.2, 0.5, 8 / 12),
    ]
    assert made["jaccard"].rows() == [
        ("random", 1.0, 0.25, 0.75),
        ("longest", 0.25, 1.0, 0.2),
        ("input", 0.75, 0.2, 1.0),
    ]
    assert made["jaccard"].columns == ["input_", "random", "longest", "input"]
    assert (made["everywhere"], made["anywhere"]) == (1, 5)
    assert made["summary"][0] == "random and longest: 1 rows in common (Jaccard 0.250, 0.5 by chance)"
    assert made["summary"][-1] == "in all 3: 1 of 5 rows"


def test_another_column_is_compared_as_a_set_without_nulls() -> None:
    arms = {"a": arm(["x", "x", None, "y"], "source"), "b": arm(["y", None], "source")}
    assert Overlap(by="source").measure(arms)["table"].row(0)[:6] == ("a", "b", 2, 1, 1, 0.5)


def test_empty_arms_have_no_share() -> None:
    made = Overlap().measure({"a": arm([]), "b": arm([]), "c": arm(["x"])})
    assert made["table"]["jaccard"].to_list() == [None, 0.0, 0.0]
    assert made["table"]["share"].to_list() == [None, None, None]
    assert made["summary"][0] == "a and b: both empty"


@pytest.mark.parametrize("count", [0, 1])
def test_one_input_cannot_be_compared(count: int) -> None:
    with pytest.raises(StepError, match="compares inputs"):
        Overlap().measure({f"a{k}": arm(["x"]) for k in range(count)})


KEYS = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(st.lists(KEYS, min_size=2, max_size=4))
def test_equals_python_sets(arms: list[list[str]]) -> None:
    made = overlaps({f"arm{k}": pl.Series(keys, dtype=pl.String) for k, keys in enumerate(arms)})
    expected = [
        (len(set(x) & set(y)), len(set(x) & set(y)) / len(set(x) | set(y)) if x or y else None)
        for i, x in enumerate(arms)
        for y in arms[i + 1 :]
    ]
    assert made.select("both", "jaccard").rows() == expected
