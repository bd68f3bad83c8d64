"""tag.normalize: a worked example, each stage against an independent oracle, and what must always hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe import Rows, StepError
from sftrecipe.testing.memory import MemoryDataset
from sftrecipe_diversity.normalize import (
    STAGES,
    Normalize,
    fold,
    implications,
    merge_associated,
    merge_similar,
    read_aliases,
)

# Twelve rows worked out by hand with min_count 2, support 3, confidence 0.75.
# frequency: "rare" (1 row) goes. rules: "Sorting"/"sorting!" -> "sort", "Physics" -> "physic".
# semantic: "car" and "automobile" point the same way; car is on more rows.
# association: sort on rows 0-3, each with coding (4 of 4) -> coding; coding is on 6, 4 of them with sort: no rule.
ROWS: list[list[str] | None] = [
    ["Sorting", "coding"],
    ["sorting!", "coding", "rare"],
    ["Sorting", "coding"],
    ["sorting!", "coding"],
    ["coding", "Physics"],
    ["coding"],
    ["Physics", "car"],
    ["car", "automobile"],
    ["car"],
    ["automobile"],
    [],
    None,
]
EXPECTED: list[list[str] | None] = [["code"]] * 4 + [
    ["code", "physic"],
    ["code"],
    ["physic", "car"],
    ["car"],
    ["car"],
    ["car"],
    [],
    None,
]
SMALL: dict[str, Any] = {"min_count": 2, "support": 3, "confidence": 0.75}


class Places:
    """An embedder that knows where a few words lie; all other words are at right angles to everything."""

    fit_rows, language = 0, None

    def __init__(self, **known: Sequence[float]) -> None:
        self.known = known

    def embed(self, texts: Sequence[str], state: Mapping[str, Any] | None = None) -> np.ndarray:
        made = np.zeros((len(texts), 40), np.float32)
        for row, text in enumerate(texts):
            made[row, : 2 if text in self.known else None] = self.known.get(text, np.eye(40, dtype=np.float32)[4 + row])
        return made


class Told:
    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []

    def note(self, row_id: str, code: str, **facts: Any) -> None:
        self.notes.append((row_id, code))


def frame(rows: Sequence[list[str] | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {"id": [f"r{k}" for k in range(len(rows))], "tags": rows}, schema={"id": pl.String, "tags": pl.List(pl.String)}
    )


def run(
    rows: Sequence[list[str] | None], model: Any = None, shards: int = 1, **params: Any
) -> tuple[list[Any], Normalize]:
    op = Normalize(**params)
    op.model, op.context = model, Told()  # type: ignore[assignment]
    data = frame(rows)
    op.state = op.fit(MemoryDataset(data, shards))
    return op.tag(Rows(data))["tags"].to_list(), op


def table(op: Normalize) -> dict[str, str | None]:
    return dict(op.state["aliases"].select("tag", "canonical").iter_rows())


def course(op: Normalize) -> dict[str, tuple[int, int, int, int]]:
    columns = ["tags_in", "dropped", "merged", "tags_out"]
    return {r["stage"]: tuple(r[c] for c in columns) for r in op.state["stages"].iter_rows(named=True)}


def test_twelve_rows_by_hand() -> None:
    tags, op = run(ROWS, Places(car=[1, 0], automobil=[0.999, 0.04]), **SMALL)
    assert tags == EXPECTED
    assert table(op) == {
        "coding": "code", "Physics": "physic", "Sorting": "code", "automobile": "car", "car": "car", "rare": None,
        "sorting!": "code",
    }  # fmt: skip
    assert course(op) == {
        "frequency": (7, 1, 0, 6),
        "rules": (6, 0, 1, 5),
        "semantic": (5, 0, 1, 4),
        "association": (4, 0, 1, 3),
    }
    stages = dict(op.state["aliases"].select("tag", "stage").iter_rows())
    assert stages["rare"] == "frequency"
    assert stages["automobile"] == "semantic"
    assert stages["Sorting"] == "association"
    assert stages["Physics"] == "rules"
    assert stages["car"] is None
    assert op.context.notes == []  # type: ignore[attr-defined]


def test_a_row_that_loses_all_its_tags_is_told() -> None:
    tags, op = run([["a"], ["b", "!?"], ["a"], []], min_count=1, stages=["rules"], aliases=None)
    assert tags == [["a"], ["b"], ["a"], []]
    tags, op = run([["a"], ["b"], ["a"], []], min_count=2, stages=["frequency"])
    assert tags == [["a"], [], ["a"], []]
    assert op.context.notes == [("r1", "no_tags_left")]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["Problem-Solving", "problem solving", "PROBLEM  SOLVING!"], ["problem solv"] * 3),
        (["C", "C++", "C#", "a + b", "#tag"], ["c", "c++", "c#", "a b", "tag"]),
        (["data_science", "data/science", "\uff24ata science"], ["data scienc"] * 3),
        (["\u6570\u5b66", "\u6570\u5b66\uff01"], ["\u6570\u5b66"] * 2),
        (["...", ""], ["", ""]),
    ],
)
def test_fold(tags: list[str], expected: list[str]) -> None:
    assert fold(tags) == expected


def test_fold_without_stemming() -> None:
    assert fold(["Running Shoes"], None) == ["running shoes"]


@pytest.mark.parametrize("seed", range(6))
def test_semantic_merges_equal_dbscan(seed: int) -> None:
    from sklearn.cluster import DBSCAN

    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(8, 6))
    vectors = (centres[draw.integers(0, 8, 60)] + draw.normal(size=(60, 6)) * 0.25).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    tags = [f"t{k:02d}" for k in range(60)]
    merged = merge_similar(tags, vectors, 0.05)
    distance = np.clip(1 - vectors.astype(float) @ vectors.astype(float).T, 0, None)
    labels = DBSCAN(eps=0.05, min_samples=2, metric="precomputed").fit_predict(distance)
    assert 0 < (labels >= 0).sum() < 60
    for a, b in combinations(range(60), 2):
        assert (merged[tags[a]] == merged[tags[b]]) == (labels[a] == labels[b] >= 0)
    for tag in tags:
        assert merged[tag] <= tag  # the first of a cluster is the most frequent


def baskets(seed: int, rows: int = 200) -> list[list[str]]:
    """Random tag sets in which some tags nearly imply others."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(rows):
        row = {f"t{k}" for k in draw.integers(0, 12, draw.integers(0, 5))}
        for a, b, p in (("t1", "t2", 0.97), ("t3", "t4", 1.0), ("t4", "t5", 0.9), ("t6", "t7", 0.8)):
            if a in row and draw.random() < p:
                row.add(b)
        made.append(sorted(row))
    return made


def pairs(rows: Sequence[Sequence[str]]) -> pl.DataFrame:
    flat = [(k, tag) for k, row in enumerate(rows) for tag in set(row)]
    return pl.DataFrame(flat, schema={"row": pl.UInt32, "tag": pl.String}, orient="row")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("support", "confidence"), [(10, 0.853), (25, 0.653), (1, 0.951), (3, 0.5077)])
def test_rules_equal_fp_growth(seed: int, support: int, confidence: float) -> None:
    frequent = pytest.importorskip(
        "mlxtend.frequent_patterns", reason="mlxtend (dev) is not installed: FP-Growth is not compared"
    )
    import pandas as pd

    rows = baskets(seed)
    tags = sorted({t for row in rows for t in row})
    matrix = pd.DataFrame([[t in row for t in tags] for row in rows], columns=tags)
    sets = frequent.fpgrowth(matrix, min_support=(support - 0.5) / len(rows), use_colnames=True, max_len=2)
    found = frequent.association_rules(sets, metric="confidence", min_threshold=confidence)
    expected = {
        (next(iter(r.antecedents)), next(iter(r.consequents))): (
            round(r.support * len(rows)),
            pytest.approx(r.confidence),
        )
        for r in found.itertuples()
    }
    assert expected
    ours = implications(pairs(rows), support, confidence)
    assert {(a, b): (n, c) for a, b, n, c in ours.iter_rows()} == expected


def test_confidence_at_the_border_counts() -> None:
    rows = [["a", "b"]] * 99 + [["a"]] + [["b"]] * 50
    assert implications(pairs(rows), 99, 0.99).rows() == [("a", "b", 99, 0.99)]
    assert implications(pairs(rows), 100, 0.99).is_empty()


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([("c", "b", 1.0), ("b", "a", 1.0)], {"a": "a", "b": "a", "c": "a"}),
        ([("a", "b", 1.0), ("b", "a", 1.0)], {"a": "a", "b": "a", "c": "c"}),
        ([("c", "a", 0.99), ("c", "b", 1.0)], {"a": "a", "b": "b", "c": "b"}),
        ([("c", "b", 1.0), ("c", "a", 1.0)], {"a": "a", "b": "b", "c": "a"}),
        ([("a", "c", 1.0)], {"a": "a", "b": "b", "c": "c"}),
    ],
)
def test_where_rules_lead(rules: list[tuple[str, str, float]], expected: dict[str, str]) -> None:
    frame = pl.DataFrame(rules, schema=["antecedent", "consequent", "confidence"], orient="row")
    assert merge_associated(["a", "b", "c"], frame) == expected


def test_stages_left_out_are_told() -> None:
    _, op = run(ROWS, stages=["rules", "association"], **SMALL)
    notes = dict(op.state["stages"].select("stage", "note").iter_rows())
    assert notes == {"frequency": "switched off", "rules": "", "semantic": "switched off", "association": ""}
    _, op = run(ROWS, **SMALL)
    assert dict(op.state["stages"].select("stage", "note").iter_rows())["semantic"] == "skipped: no model is given"
    assert table(op)["automobile"] == "automobil"


@pytest.mark.parametrize("rows", [[], [None, None], [[], []], [["x"]]])
def test_nothing_left(rows: list[list[str] | None]) -> None:
    tags, op = run(rows, Places())
    assert tags == [None if r is None else [] for r in rows]
    assert course(op)["association"][3] == 0


def test_a_tag_counts_once_a_row() -> None:
    tags, _ = run([["a", "a", "b"], ["b"]], min_count=2, stages=["frequency"])
    assert tags == [["b"], ["b"]]


@pytest.mark.parametrize("kind", ["json", "csv", "parquet", "artefact"])
def test_aliases_from_a_file(tmp_path: Path, kind: str) -> None:
    known: dict[str, str | None] = {"Sorting": "sort", "car": "vehicle", "rare": None}
    path = tmp_path / f"aliases.{kind}"
    made = pl.DataFrame({"tag": list(known), "canonical": list(known.values()), "stage": None, "rows": 1})
    if kind == "json":
        path.write_text(json.dumps(known))
    elif kind == "csv":
        made.select("tag", "canonical").write_csv(path)
    else:
        made.write_parquet(path)
    tags, op = run([["Sorting", "car"], ["sorting!", "rare"], ["plane", "cars"]], aliases=str(path))
    assert tags == [["sort", "vehicle"], ["sort"], ["vehicle"]]
    stages = {t: s for t, _, s, _ in op.state["aliases"].iter_rows()}
    assert stages == {
        "Sorting": "aliases",
        "car": "aliases",
        "rare": "aliases",
        "sorting!": "rules",
        "plane": "unknown",
        "cars": "rules",
    }
    assert course(op) == {"aliases": (6, 1, 0, 5), "rules": (5, 0, 2, 3), "unknown": (3, 1, 0, 2)}
    tags, _ = run([["sorting!", "car", "sort"]], aliases=str(path), stages=["frequency"])
    assert tags == [["vehicle", "sort"]]


def test_aliases_of_one_run_repeat_it(tmp_path: Path) -> None:
    first, op = run(ROWS, Places(car=[1, 0], automobil=[0.999, 0.04]), **SMALL)
    path = tmp_path / "aliases.parquet"
    op.state["aliases"].write_parquet(path)
    again, second = run(ROWS, aliases=str(path))
    assert first == again
    assert table(op) == table(second)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": 3}', "neither text nor null"),
        ("{", "cannot be read"),
        ("tag,other\na,b\n", "no column `canonical`"),
        (None, "cannot be read"),
    ],
)
def test_aliases_that_are_none(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "aliases"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StepError, match=words):
        read_aliases(path)


@pytest.mark.parametrize("values", [["a", "b"], [[1], [2]], [1.0, 2.0]])
def test_a_column_that_holds_no_tags_is_an_error(values: list[Any]) -> None:
    op = Normalize()
    with pytest.raises(StepError, match="not lists of text"):
        op.fit(MemoryDataset(pl.DataFrame({"id": ["a", "b"], "tags": values})))


def test_check_names_what_cannot_be() -> None:
    assert any("no Snowball language" in p for p in Normalize(stem="klingon").check())
    assert any("is off" in p for p in Normalize(model="encoder", stages=["rules"]).check())
    assert not list(Normalize(model="encoder").check())


TAGS = st.lists(
    st.lists(st.sampled_from(["Run", "running", "runs!", "jump", "c++", "...", "swim", "\u6570\u5b66"]), max_size=5),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(TAGS, st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.5, 0.8, 1.0]), st.randoms(use_true_random=False))
def test_laws(rows: list[list[str]], min_count: int, support: int, confidence: float, random: Any) -> None:
    params = {"min_count": min_count, "support": support, "confidence": confidence}
    tags, op = run(rows, Places(run=[1, 0], swim=[0.999, 0.04]), **params)
    aliases = table(op)
    for before, after in zip(rows, tags, strict=True):
        assert after == list(dict.fromkeys(c for t in before if (c := aliases[t]) is not None))
    left = {c for c in aliases.values() if c is not None}
    assert len(left) == course(op)["association"][3]
    order = list(range(len(rows)))
    random.shuffle(order)
    mixed, other = run([rows[k] for k in order], Places(run=[1, 0], swim=[0.999, 0.04]), shards=3, **params)
    assert table(other) == aliases
    assert mixed == [tags[k] for k in order]
    assert all(
        f["tags_in"] - f["dropped"] - f["merged"] == f["tags_out"] for f in op.state["stages"].iter_rows(named=True)
    )


def test_all_stages_are_on_by_default() -> None:
    assert Normalize().stages == list(STAGES)
