"""measure.diversity: each figure by hand or by another road, several inputs, bad vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sftrecipe import StepError
from sftrecipe.testing.memory import MemoryDataset
from sftrecipe_diversity import measure_diversity
from sftrecipe_diversity.measure_diversity import Diversity, nearest, spread, tag_figures, vendi

EYE = np.eye(4, dtype=np.float32)


def units(seed: int, n: int, d: int = 8) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def data(vectors: Any = None, tags: Any = None, shards: int = 1) -> MemoryDataset:
    n = len(vectors if vectors is not None else tags)
    columns: dict[str, pl.Series] = {"id": pl.Series([f"r{k}" for k in range(n)], dtype=pl.String)}
    if vectors is not None:
        columns["embedding"] = pl.Series(
            [None if v is None else [float(x) for x in v] for v in vectors], dtype=pl.List(pl.Float32)
        )
    if tags is not None:
        columns["tags"] = pl.Series(tags, dtype=pl.List(pl.String))
    return MemoryDataset(pl.DataFrame(columns), shards)


def figures(dataset: MemoryDataset, **params: Any) -> dict[str, Any]:
    made = Diversity(**params).measure({"one": dataset})
    return made["table"].row(0, named=True) | made["details"].row(0, named=True)


def test_nearest_by_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_diversity, "_BLOCK", 7)
    vectors = units(1, 40)
    cosines = vectors.astype(float) @ vectors.T.astype(float)
    np.fill_diagonal(cosines, -2)
    assert np.allclose(nearest(vectors), cosines.max(axis=1), atol=1e-6)


@pytest.mark.parametrize("n", [0, 1])
def test_nearest_needs_two(n: int) -> None:
    assert np.isnan(nearest(EYE[:n])).all()


def test_known_sets() -> None:
    assert vendi(EYE) == pytest.approx(4)
    assert vendi(np.repeat(EYE[:1], 5, axis=0)) == pytest.approx(1)
    assert vendi(np.vstack([EYE[:1]] * 3 + [EYE[1:2]] * 3)) == pytest.approx(2)
    assert spread(EYE) == pytest.approx(np.sqrt(3 / 4))
    assert spread(np.repeat(EYE[:1], 5, axis=0)) == 0


@pytest.mark.parametrize(("n", "d"), [(5, 12), (12, 5), (30, 30)])
def test_vendi_by_its_definition(n: int, d: int) -> None:
    vectors = units(n, n, d).astype(float)
    share = np.linalg.eigvalsh(vectors @ vectors.T / n).clip(1e-300)
    assert vendi(vectors) == pytest.approx(np.exp(-(share * np.log(share)).sum()))


def test_a_line_by_hand() -> None:
    line = figures(data([EYE[0], EYE[0] * 3, EYE[1], None, EYE[2] * 0]))
    assert line["rows"] == line["looked_at"] == 5
    assert line["without_vector"] == 2
    assert line["nearest"] == pytest.approx((1 + 1 + 0) / 3)
    assert line["duplicates"] == pytest.approx(2 / 3)
    assert line["vendi"] == pytest.approx(np.exp(-(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))))


def test_tags_are_covered_against_all_inputs() -> None:
    before = data(tags=[["a", "b"], ["a", "c"], [], None, ["d"]])
    after = data(tags=[["a", "b"], ["a"]])
    made = Diversity(embedding=None, tags="tags").measure({"before": before, "after": after})
    assert made["table"].columns == ["input", "rows", "tags", "coverage"]
    assert made["details"].columns == ["input", "rows", "tags_per_row", "tag_entropy"]
    table = made["table"].hstack(made["details"].drop("input", "rows"))
    assert table["tags"].to_list() == [4, 2]
    assert table["coverage"].to_list() == [1.0, 0.5]
    assert table["tags_per_row"].to_list() == [1.0, 1.5]
    assert table["tag_entropy"].to_list() == pytest.approx(
        [-(0.4 * np.log2(0.4) + 0.6 * np.log2(0.2)), -(2 / 3 * np.log2(2 / 3) + 1 / 3 * np.log2(1 / 3))]
    )


def test_one_input_without_tags_has_no_coverage() -> None:
    assert tag_figures(pl.Series([[], None], dtype=pl.List(pl.String)), 0) == {
        "tags": 0, "coverage": None, "tags_per_row": 0.0, "tag_entropy": None,
    }  # fmt: skip


def test_a_sample_is_the_same_whatever_the_order_and_the_shards() -> None:
    vectors = units(3, 200)
    whole = figures(data(vectors, shards=7), sample=50)
    assert whole["looked_at"] == 50
    frame = data(vectors)._frame.sample(fraction=1, shuffle=True, seed=1)
    mixed = figures(MemoryDataset(frame), sample=50)
    assert {k: mixed[k] for k in ("nearest", "spread", "vendi")} == pytest.approx(
        {k: whole[k] for k in ("nearest", "spread", "vendi")}
    )
    assert figures(data(vectors))["nearest"] > whole["nearest"]


@pytest.mark.parametrize(
    ("rows", "words"), [([], "0 rows"), ([EYE[0]], "1 rows"), ([None, None], "2 without a vector")]
)
def test_little_or_nothing_gives_nulls(rows: list[Any], words: str) -> None:
    made = Diversity().measure({"one": data(rows)})
    line = made["table"].row(0, named=True)
    assert line["nearest"] is None
    assert (line["spread"] is None) == (not any(v is not None for v in rows))
    assert words in made["summary"][0]


@pytest.mark.parametrize(
    ("vectors", "words"),
    [([[1.0], [1.0, 2.0]], "one width"), ([[1.0, float("nan")], [1.0, 2.0]], "no finite number")],
)
def test_bad_vectors_are_an_error_that_names_the_input(vectors: list[Any], words: str) -> None:
    with pytest.raises(StepError, match=f"`embedding` of `one`.*{words}"):
        figures(data(vectors))


def test_tags_of_another_type_are_an_error() -> None:
    frame = pl.DataFrame({"id": ["a"], "tags": ["x"]})
    with pytest.raises(StepError, match="`tags` of `one` holds String"):
        figures(MemoryDataset(frame), embedding=None, tags="tags")


def test_nothing_to_measure() -> None:
    assert list(Diversity(embedding=None).check())
    assert not list(Diversity(embedding=None, tags="tags").check())


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(2, 12), st.integers(1, 6)), elements=st.floats(-1, 1, width=32)))
def test_laws(raw: np.ndarray) -> None:
    norms = np.linalg.norm(raw, axis=1, keepdims=True)
    vectors = (raw / np.where(norms > 1e-3, norms, 1)).astype(np.float32)[norms[:, 0] > 1e-3]
    if len(vectors) < 2:
        return
    assert 1 - 1e-6 <= vendi(vectors) <= min(vectors.shape) + 1e-4
    assert 0 <= spread(vectors) <= 1 + 1e-6
    twice = np.vstack([vectors, vectors])
    assert np.allclose(nearest(twice), 1, atol=1e-5)
    assert vendi(twice) == pytest.approx(vendi(vectors), rel=1e-5)
    assert spread(twice) == pytest.approx(spread(vectors), rel=1e-5, abs=1e-6)
