"""filter.duplicates: one of equal rows stays, and every other names it."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe import StepError
from sftrecipe.rows import message
from sftrecipe.testing.memory import MemoryDataset
from sftrecipe_clean.duplicates import Duplicates, equal_groups, normalized, text_hashes
from sftrecipe_clean.near_duplicates import NearDuplicates
from tests.clean.whole import FakeContext, choose, story

TEXTS = st.lists(
    st.one_of(st.none(), st.sampled_from(["", "a", "b", "A", "a ", "ab", "ß", "日本"]), st.text(max_size=3)),
    max_size=30,
)


def frame_of(texts: list[str | None], **columns: object) -> pl.DataFrame:
    return pl.DataFrame({"text": pl.Series(texts, dtype=pl.String), **columns})


@given(TEXTS, st.integers(1, 7))
def test_the_first_of_equal_rows_stays_and_the_others_name_it(texts: list[str | None], shards: int) -> None:
    kept, dropped = choose(Duplicates(), frame_of(texts), shards)
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        if text is None or text not in first:
            assert row in kept
            if text is not None:
                first[text] = row
        else:
            assert dropped[row][0] == first[text]


@given(st.lists(st.text(max_size=20), max_size=8))
def test_hashes_are_blake2b_of_the_text(texts: list[str]) -> None:
    wanted = [hashlib.blake2b(t.encode(), digest_size=16).digest() for t in texts]
    assert [row.astype("<u8").tobytes() for row in text_hashes(pl.Series(texts, dtype=pl.String))] == wanted


def test_both_halves_of_a_hash_count() -> None:
    hashes = np.array([[7, 1], [7, 2], [7, 1], [8, 1], [7, 2], [9, 9]], dtype=np.uint64)
    assert equal_groups(hashes).tolist() == [0, 1, 0, 3, 1, 5]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Hello,  World!", "hello world", True),
        ("\tHELLO\n\nworld ", "hello world", True),
        ("ﬁne １２", "fine 12", True),
        ("“quoted” – text…", "quoted text", True),
        ("你好，世界！", "你好 世界", True),
        ("3.5", "35", False),
        ("1/2", "1*2", False),
        ("3 - 2", "3 2", False),
        ("a_b", "a b", True),
        ("don't", "dont", False),
        ("x + y", "x = y", False),
    ],
)
def test_what_normalize_takes_for_equal(one: str, other: str, same: bool) -> None:
    a, b = normalized(pl.Series([one, other])).to_list()
    assert (a == b) is same
    assert len(choose(Duplicates(normalize="text"), frame_of([one, other]))[0]) == (1 if same else 2)


def test_a_null_stays_null_when_normalized() -> None:
    assert normalized(pl.Series([None, "É", None], dtype=pl.String)).to_list() == [None, "é", None]


def test_longest_and_best_decide_who_stays() -> None:
    frame = frame_of(["a b", "A, B!", "a  b", "c"], quality=[1.0, None, 3.0, 9.0])
    assert choose(Duplicates(normalize="text"), frame)[0] == [0, 3]
    kept, dropped = choose(Duplicates(normalize="text", keep="longest"), frame)
    assert kept == [1, 3]
    assert {other for other, _ in dropped.values()} == {1}
    assert choose(Duplicates(normalize="text", keep="best", score="quality"), frame)[0] == [2, 3]


@pytest.mark.parametrize("values", [[2.0, 2.0], [None, None], [float("nan"), None], [True, True]])
def test_of_equal_scores_the_first_row_stays(values: list[object]) -> None:
    frame = frame_of(["x", "x"]).with_columns(pl.Series("q", values, strict=False))
    assert choose(Duplicates(keep="best", score="q"), frame)[0] == [0]


def test_a_score_without_numbers_is_refused() -> None:
    with pytest.raises(StepError, match="`q`, which holds String"):
        choose(Duplicates(keep="best", score="q"), frame_of(["x", "x"], q=["1", "2"]))


def test_by_may_be_a_number_but_no_list() -> None:
    frame = pl.DataFrame({"n": [1, 2, 1], "list": [[1], [1], [2]]})
    operator = Duplicates(by="n")
    operator.by, operator.context = pl.col("n"), FakeContext()
    assert story(operator.choose(MemoryDataset(frame, 2)), 3)[0] == [0, 1]
    operator.by = pl.col("list")
    with pytest.raises(StepError, match=r"`by` gives List\(Int64\)"):
        operator.choose(MemoryDataset(frame))


def test_the_conversation_is_compared_when_nothing_is_said() -> None:
    talks = [[message("user", "hi"), message("assistant", t)] for t in ("yo", "yo", "no")]
    operator = Duplicates()
    operator.by, operator.context = pl.col(str(operator.params["by"])), FakeContext()
    assert story(operator.choose(MemoryDataset(pl.DataFrame({"messages": talks}))), 3)[0] == [0, 2]


def test_no_rows_and_a_constant() -> None:
    assert choose(Duplicates(), frame_of([])) == ([], {})
    operator = Duplicates(by="1")
    operator.by, operator.context = pl.lit(1), FakeContext()
    assert story(operator.choose(MemoryDataset(pl.DataFrame({"id": ["a", "b", "c"]}), 2)), 3)[0] == [0]


def test_the_report_counts() -> None:
    operator = Duplicates()
    choose(operator, frame_of(["a", "a", "b", None, "a", "b", None]), 3)
    assert operator.artefacts["report"] == {"rows": 7, "dropped": 3, "groups": 2, "largest_group": 3, "without_text": 2}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"keep": "best"}, "needs `score`"),
        ({"score": "q"}, "not by `keep: first`"),
        ({"keep": "longest", "score": "q"}, "keep: best` only"),
    ],
)
def test_keep_and_score_go_together(params: dict[str, str], words: str) -> None:
    assert words in next(iter(Duplicates(**params).check()))
    assert not list(Duplicates(keep="best", score="q").check())


@pytest.mark.parametrize("kind", [Duplicates, NearDuplicates])
def test_equal_rows_under_several_licences(kind, caplog, tmp_path) -> None:
    talk = "one and the same long text that two sources publish"
    frame = frame_of(
        [talk, talk, talk, talk, "another text that nobody else has", "the third text, twice", "the third text, twice"],
        license=["MIT", "cc-by-nc-4.0", None, "mit", "MIT", "Apache-2.0", "Apache-2.0"],
    )
    operator = kind()
    operator.by, operator.context = pl.col("text"), FakeContext(tmp_path)
    with caplog.at_level("WARNING"):
        kept, dropped = story(operator.choose(MemoryDataset(frame, 2)), frame.height)
    assert kept == [0, 4, 5]
    assert operator.artefacts["licenses"].rows() == [("MIT", None, 1), ("MIT", "CC-BY-NC-4.0", 1)]
    assert "2 rows go for one under a less strict licence (none stated for MIT, CC-BY-NC-4.0 for MIT)" in caplog.text
    caplog.clear()
    strict = kind(keep="strictest")
    strict.by, strict.context = pl.col("text"), FakeContext(tmp_path)
    kept, dropped = story(strict.choose(MemoryDataset(frame, 3)), frame.height)
    assert (kept, dropped[0][0], dropped[1][0]) == ([2, 4, 5], 2, 2)
    assert not caplog.text
    assert strict.artefacts["licenses"].height == 2


def test_two_licences_in_a_recipe(kitchen) -> None:
    row = {"instruction": "Name a colour of the sky.", "output": "Blue, by day."}
    kitchen.rows("a.jsonl", [row])
    kitchen.rows("b.jsonl", [row])
    load = "  - load: {sources: {a: {path: a.jsonl, license: MIT}, b: {path: b.jsonl, license: CC-BY-NC-4.0}}}\n"
    kitchen.recipe(load + "  - filter.duplicates: {keep: strictest}\n  - write: out.jsonl\n")
    kitchen.run()
    assert [r["license"] for r in kitchen.read("out.jsonl")] == ["CC-BY-NC-4.0"]
