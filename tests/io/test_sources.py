"""Paths, patterns, folders, formats; several sources with their defaults."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sftrecipe import StepError
from sftrecipe_io.load_auto import Auto
from sftrecipe_io.sources import format_of
from tests.io.conftest import read_all


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b.jsonl",
        "a.jsonl",
        "sub/c.jsonl",
        "sub/.hidden.jsonl",
        "_tmp/d.jsonl",
        "sub/dataset_info.json",
        "notes.txt",
    ):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"text": name}) + "\n")
    return tmp_path / "data"


def loaded(**params: object) -> list[tuple[str, str]]:
    made = read_all(Auto(**params))
    return [(source, messages[0]["content"]) for source, messages in made.frame.select("source", "messages").rows()]


def test_a_pattern_is_sorted_and_each_file_names_its_source(folder: Path) -> None:
    assert loaded(path=f"{folder}/*.jsonl") == [("a", "a.jsonl"), ("b", "b.jsonl")]
    assert loaded(path=f"{folder}/**/*.jsonl") == [
        ("d", "_tmp/d.jsonl"),
        ("a", "a.jsonl"),
        ("b", "b.jsonl"),
        ("c", "sub/c.jsonl"),
    ]


def test_a_folder_holds_its_data_files(folder: Path) -> None:
    assert loaded(path=str(folder)) == [("a", "a.jsonl"), ("b", "b.jsonl"), ("c", "sub/c.jsonl")]


def test_a_list_keeps_its_order(folder: Path) -> None:
    assert loaded(path=[f"{folder}/b.jsonl", f"{folder}/a.jsonl"], source="s") == [("s", "b.jsonl"), ("s", "a.jsonl")]


def test_a_name_with_pattern_characters_is_itself_first(tmp_path: Path) -> None:
    path = tmp_path / "x[1].jsonl"
    path.write_text('{"text":"a"}')
    assert loaded(path=str(path)) == [("x[1]", "a")]


@pytest.mark.parametrize(
    ("path", "what", "advice"),
    [
        ("a.jsonk", "matches no file", "did you mean `a.jsonl`?"),
        ("zzz.csv", "matches no file", "holds _tmp, a.jsonl, b.jsonl, notes.txt, sub"),
        ("*.parquet", "matches no file", "holds _tmp, a.jsonl"),
        ("subb/c.jsonl", "there is no folder", "did you mean `sub`?"),
        ("subb/*.jsonl", "there is no folder", "did you mean `sub`?"),
        ("notes.txt", "no format has the suffix `.txt`", "known suffixes: .jsonl"),
        ("_tmp/../sub/x", "matches no file", "holds .hidden.jsonl, c.jsonl"),
    ],
)
def test_a_path_that_names_nothing_says_what_is_near(folder: Path, path: str, what: str, advice: str) -> None:
    with pytest.raises(StepError, match=what) as caught:
        loaded(path=f"{folder}/{path}")
    assert caught.value.code == "R614"
    assert advice in caught.value.help


def test_one_file_named_twice_is_an_error(folder: Path) -> None:
    with pytest.raises(StepError, match=r"a\.jsonl is named twice") as caught:
        loaded(path=[f"{folder}/a.jsonl", f"{folder}/*.jsonl"])
    assert "repeat" in caught.value.help


def test_a_folder_of_several_formats_asks_which(folder: Path) -> None:
    (folder / "x.csv").write_text("text\nfrom csv\n")
    with pytest.raises(StepError, match=r"several formats \(1 csv, 3 jsonl\)"):
        loaded(path=str(folder))
    assert loaded(path=str(folder), format="csv") == [("x", "from csv")]


def test_a_folder_without_data(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="holds no data files"):
        loaded(path=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "format_", "packed"),
    [
        ("a.jsonl", "jsonl", ""),
        ("a.NDJSON.GZ", "jsonl", "gz"),
        ("a.b.json.zst", "json", "zst"),
        ("a.csv.gz", "csv", "gz"),
        ("a.tsv", "tsv", ""),
        ("a.parquet", "parquet", ""),
    ],
)
def test_formats_by_suffix(name: str, format_: str, packed: str) -> None:
    assert format_of(name, None) == (format_, packed)


def test_parquet_is_not_packed_again() -> None:
    with pytest.raises(StepError, match="compressed inside"):
        format_of("a.parquet.gz", None)


def test_sources_take_the_defaults_beside_them(folder: Path) -> None:
    rows = [{"prompt": "p", "completion": "c", "gold": "g", "toxic": False}]
    (folder / "p.jsonl").write_text(json.dumps(rows[0]))
    operator = Auto(
        license="ODC-BY",
        schema="text",
        set={"think": True},
        sources={
            "plain": f"{folder}/a.jsonl",
            "pairs": {
                "path": f"{folder}/p.jsonl",
                "schema": "prompt_completion",
                "license": "MIT",
                "columns": {"gold": "gold", "toxic": {"key": "toxic", "type": "bool"}},
                "set": {"think": False, "level": 3},
            },
        },
    )
    assert list(operator.check()) == []
    made = read_all(operator)
    assert made.frame.select("source", "license", "gold", "toxic", "think", "level").rows() == [
        ("plain", "ODC-By-1.0", None, None, True, None),
        ("pairs", "MIT", "g", False, False, 3),
    ]
    written = operator.flow({}).writes
    assert {n: written[n] for n in ("think", "gold", "toxic", "level")} == {
        "think": "bool",
        "gold": "text",
        "toxic": "bool",
        "level": "int",
    }
    assert set(written) == {"id", "messages", "source", "license", "tools", "extra", "think", "gold", "toxic", "level"}
    assert [name for name in made.frame.columns if name in ("think", "gold", "toxic", "level")] == [
        "think",
        "gold",
        "toxic",
        "level",
    ]


def test_one_path_may_serve_several_sources(folder: Path) -> None:
    sources = {"one": {"set": {"k": 1}}, "two": {"set": {"k": 2}}}
    assert [s for s, _ in loaded(path=f"{folder}/a.jsonl", sources=sources)] == ["one", "two"]


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({}, "no `path`: give a file"),
        ({"sources": {"a": {"schema": "text"}}}, "source `a`: no `path`"),
        ({"path": []}, "no `path`"),
        (
            {"sources": {"a": {"path": "x", "licence": "MIT"}}},
            "source `a` has no key `licence` did you mean `license`?",
        ),
        (
            {"sources": {"a": {"path": "x", "schema": "alpacca"}}},
            "source `a`: no schema `alpacca`; there are .* did you mean `alpaca`?",
        ),
        ({"path": "x", "columns": {"n": {"key": "n", "type": "integer"}}}, "column `n`: `integer` is no column type"),
        ({"path": "x", "columns": {"n": {"typ": "int"}}}, "column `n`: give a source key"),
        (
            {"path": "x", "columns": {"m": {"key": "m", "type": "messages"}}},
            "column `m`: a conversation is loaded by `schema`",
        ),
        ({"path": "x", "columns": {"messages": "m"}}, "`messages` is a column that every row has"),
        ({"path": "x", "set": {"response": "a"}}, "`response` is a column that every row has"),
        ({"path": "x", "set": {"license": "MIT"}}, "`license` is no constant column"),
        (
            {"sources": {"a": {"path": "x", "set": {"k": 1}}, "b": {"path": "y", "set": {"k": "1"}}}},
            "column `k` is int in one source and text in another",
        ),
    ],
)
def test_check_tells_what_is_wrong_before_the_run(params: dict[str, object], what: str) -> None:
    import re

    problems = list(Auto(**params).check())
    assert len(problems) == 1
    assert re.search(what, problems[0])


def test_check_reads_no_file() -> None:
    operator = Auto(path=os.devnull + "/nowhere.jsonl", columns={"gold": "answer"})
    assert list(operator.check()) == []
    assert operator.flow({}).writes["gold"] == "text"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("a", "text"),
        (1, "int"),
        (1.5, "float"),
        (True, "bool"),
        (["a"], "list[text]"),
        ([1, "a"], "json"),
        ({"a": 1}, "json"),
        ([], "json"),
    ],
)
def test_constants_have_the_type_of_their_value(folder: Path, value: object, kind: str) -> None:
    operator = Auto(path=f"{folder}/a.jsonl", set={"k": value})
    assert operator.flow({}).writes["k"] == kind
    got = read_all(operator).frame["k"][0]
    got = got.to_list() if hasattr(got, "to_list") else got
    assert (json.loads(got) if kind == "json" else got) == value
