"""Files and folders: what is in them, that others can read them, that their bytes depend on the rows alone."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sftrecipe import StepError
from sftrecipe.rows import FIXED, message
from sftrecipe.testing.memory import MemoryDataset
from sftrecipe.types import Type, parse_type
from sftrecipe_io import outfiles
from sftrecipe_io.card import card
from sftrecipe_io.load_auto import Auto as Load
from sftrecipe_io.write_auto import Auto
from tests.io.conftest import read_all

KINDS = {**FIXED, "score": "float", "tags": "list[text]", "stage": "text"}


class Typed(MemoryDataset):
    """An in-memory Dataset that knows its types, cut anywhere."""

    @property
    def columns(self) -> dict[str, str]:
        return {name: KINDS.get(name, "any") for name in self._frame.columns}


def rows(count: int, *, tools: bool = False) -> pl.DataFrame:
    """Rows of all columns; with `tools`, one of them has a call."""
    made: list[dict[str, Any]] = []
    for n in range(count):
        talk = [message("user", f"question {n} é"), message("assistant", f"=answer\n{n}")]
        if tools and n == count - 1:
            talk.append(message("assistant", None, tool_calls='[{"name":"f"}]'))
        made.append(
            {
                "id": f"{n:016x}",
                "messages": talk,
                "source": "ab"[n % 2],
                "license": "MIT" if n % 2 else None,
                "tools": '[{"name": "f"}]' if tools else None,
                "extra": json.dumps({"n": n}) if n % 3 == 0 else None,
                "score": n / 7,
                "tags": ["x"] * (n % 3),
                "stage": ("warm", "cold")[n % 2],
            }
        )
    return pl.DataFrame(made, schema={name: parse_type(kind).dtype() for name, kind in KINDS.items()})


def write(
    frame: pl.DataFrame, folder: Path, path: str, shards: int = 1, context: Any = None, **params: Any
) -> dict[str, Any]:
    operator = Auto(path=path, **params)
    if context:
        operator.context = context
    folder.mkdir(parents=True, exist_ok=True)
    facts = dict(operator.write(Typed(frame, shards), folder))
    for file in facts["files"]:
        assert (folder / file["path"]).stat().st_size == file["bytes"]
    assert sorted(f["path"] for f in facts["files"]) == sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()
    )
    return facts


def test_jsonl_holds_objects_not_texts(tmp_path: Path) -> None:
    facts = write(rows(4, tools=True), tmp_path, "out/x.jsonl")
    made = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert made[0] == {
        "id": "0" * 16,
        "messages": [{"role": "user", "content": "question 0 é"}, {"role": "assistant", "content": "=answer\n0"}],
        "source": "a",
        "license": None,
        "tools": [{"name": "f"}],
        "extra": {"n": 0},
        "score": 0.0,
        "tags": [],
        "stage": "warm",
    }
    assert "extra" not in made[1]
    assert made[3]["messages"][2] == {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}
    assert (facts["rows"], facts["licenses"], facts["sources"]) == (4, {"MIT": 2, "NOASSERTION": 2}, {"a": 2, "b": 2})
    assert [(f["path"], f["rows"]) for f in facts["files"]] == [("x.jsonl", 4)]


PATHS = [
    "x.jsonl",
    "x.jsonl.gz",
    "x.json",
    "x.json.zst",
    "x.parquet",
    "folder",
    "{stage}.jsonl",
    "by/{stage}/{source}.parquet",
    "{stage}",
]


@pytest.mark.parametrize("path", PATHS)
def test_bytes_do_not_depend_on_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(outfiles, "GROUP_ROWS", 16)
    frame = rows(101, tools=True)
    made = [write(frame, tmp_path / str(shards), path, shards, shard_rows=40)["files"] for shards in (1, 2, 7, 101)]
    assert made[0] == made[1] == made[2] == made[3]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shards=st.integers(1, 30), count=st.integers(0, 30), group=st.integers(1, 9))
def test_row_groups_are_cut_at_fixed_rows(tmp_path: Path, shards: int, count: int, group: int) -> None:
    before, outfiles.GROUP_ROWS = outfiles.GROUP_ROWS, group
    folder = tmp_path / f"{shards}-{count}-{group}"
    try:
        write(rows(count), folder, "x.parquet", shards)
    finally:
        outfiles.GROUP_ROWS = before
    meta = pq.read_metadata(folder / "x.parquet")
    sizes = [meta.row_group(n).num_rows for n in range(meta.num_row_groups)]
    assert sizes == [group] * (count // group) + [count % group] * bool(count % group)


@pytest.mark.parametrize("path", ["x.jsonl", "x.json", "x.parquet", "x.jsonl.zst", "x.json.gz"])
def test_what_was_written_loads_again(tmp_path: Path, path: str) -> None:
    frame = rows(20, tools=True)
    write(frame, tmp_path, path)
    columns = {
        "source": "source",
        "score": {"key": "score", "type": "float"},
        "tags": {"key": "tags", "type": "list[text]"},
        "stage": "stage",
    }
    made = read_all(Load(path=str(tmp_path / path), id="id", columns=columns))
    assert made.bad == []
    again = made.frame.select(frame.columns)
    again = again.with_columns(pl.col("extra").str.json_path_match("$.extra"))  # what was extra lies in the new extra
    frame = frame.with_columns(pl.when(pl.col("extra").is_not_null()).then(pl.col("extra").str.replace_all(" ", "")))
    again = again.with_columns(pl.col("extra").str.replace_all(" ", ""), pl.col("tools").str.replace_all(" ", ""))
    assert again.equals(frame.with_columns(pl.col("tools").str.replace_all(" ", "")))


def test_parquet_keeps_only_the_fields_that_are_used(tmp_path: Path) -> None:
    write(rows(5), tmp_path, "a.parquet", 3)
    write(rows(5, tools=True), tmp_path / "b", "b.parquet", 3)
    kinds = [pq.read_schema(p).field("messages").type for p in (tmp_path / "a.parquet", tmp_path / "b" / "b.parquet")]
    text = pa.string()
    assert kinds[0] == pa.list_(pa.struct([("role", text), ("content", text)]))
    assert kinds[1] == pa.list_(pa.struct([("role", text), ("content", text), ("tool_calls", text)]))


def test_a_folder_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    context = SimpleNamespace(formatted=("messages",), recipe="recipe: r\nsteps: []\n")
    facts = write(rows(250), tmp_path / "mix", "out/mix", 4, context=context, shard_rows=100)
    assert [f["path"] for f in facts["files"]] == [
        "README.md",
        "data/train-00000-of-00003.parquet",
        "data/train-00001-of-00003.parquet",
        "data/train-00002-of-00003.parquet",
        "recipe.yaml",
    ]
    assert (tmp_path / "mix" / "recipe.yaml").read_text() == context.recipe
    found = datasets.load_dataset(str(tmp_path / "mix"), cache_dir=str(tmp_path / "cache"))
    assert list(found) == ["train"]
    assert found["train"].column_names == ["id", "messages", "source", "license"]
    assert found["train"].num_rows == 250
    assert found["train"][249]["messages"] == [
        {"role": "user", "content": "question 249 é"},
        {"role": "assistant", "content": "=answer\n249"},
    ]


def test_a_written_folder_loads_again(tmp_path: Path) -> None:
    write(rows(30, tools=True), tmp_path / "mix", "out/mix", shard_rows=20)
    (tmp_path / "mix" / "manifest.json").write_text("{}")
    (tmp_path / "mix" / "x.manifest.json").write_text("{}")
    made = read_all(Load(path=str(tmp_path / "mix"), id="id"))
    assert (made.bad, made.frame["id"].to_list()) == ([], [f"{n:016x}" for n in range(30)])
    assert made.frame["messages"].equals(rows(30, tools=True)["messages"])


def test_the_card_tells_sources_licences_and_columns(tmp_path: Path) -> None:
    write(rows(5), tmp_path, "out/mix", columns=["id", "messages"])
    text = (tmp_path / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front == {
        "pretty_name": "mix",
        "license": ["mit", "unknown"],
        "size_categories": ["n<1K"],
        "tags": ["sftrecipe", "instruction-tuning"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }
    assert "| a | not stated | 3 |\n| b | MIT | 2 |" in text
    assert "| `messages` | messages |" in text


def test_one_licence_has_the_hub_s_name_for_it(tmp_path: Path) -> None:
    frame = rows(3).with_columns(license=pl.lit("CC-BY-4.0"), source=pl.lit("a|b\nc"))
    write(frame, tmp_path, "mix", format="jsonl")
    text = (tmp_path / "README.md").read_text()
    assert yaml.safe_load(text.split("---")[1])["license"] == "cc-by-4.0"
    assert "| a\\|b c | CC-BY-4.0 | 3 |" in text
    assert (tmp_path / "data" / "train-00000-of-00001.jsonl").read_bytes().count(b"\n") == 3


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["MIT"], {"license": "mit"}),
        (["GPL-3.0-only"], {"license": "gpl-3.0"}),
        ([None], {"license": "unknown"}),
        (["Apache-2.0", "ODC-By-1.0", "MIT"], {"license": ["apache-2.0", "mit", "odc-by"]}),
        (["LicenseRef-Our Own"], {"license": "other", "license_name": "licenseref-our-own"}),
        (["MIT", "0BSD", "Home: made"], {"license": ["mit", "other"], "license_name": "0bsd-and-home-made"}),
    ],
)
def test_the_card_names_licences_as_the_hub_does(names: list[str | None], shown: dict[str, Any]) -> None:
    counts = [("s", name, 1) for name in names]
    text = card("x", rows=len(names), columns={"id": "text"}, counts=counts, files="data/*", recipe=False)
    front = yaml.safe_load(text.split("---")[1])
    assert {key: value for key, value in front.items() if key.startswith("license")} == shown


def test_braces_write_one_file_a_value_in_row_order(tmp_path: Path) -> None:
    facts = write(rows(11), tmp_path, "out/{stage}.jsonl", 3, columns=["id"])
    assert [(f["path"], f["rows"]) for f in facts["files"]] == [("cold.jsonl", 5), ("warm.jsonl", 6)]
    ids = [json.loads(line)["id"] for line in (tmp_path / "warm.jsonl").read_text().splitlines()]
    assert ids == [f"{n:016x}" for n in range(0, 11, 2)]


def test_braces_write_one_folder_a_value(tmp_path: Path) -> None:
    facts = write(rows(11), tmp_path, "out/{stage}", 3)
    assert [(f["path"], f["rows"]) for f in facts["files"]] == [
        ("cold/README.md", 0),
        ("cold/data/train-00000-of-00001.parquet", 5),
        ("warm/README.md", 0),
        ("warm/data/train-00000-of-00001.parquet", 6),
    ]
    assert "6 rows" in (tmp_path / "warm" / "README.md").read_text()


def test_braces_in_a_folder_s_name(tmp_path: Path) -> None:
    facts = write(rows(2), tmp_path, "out/{stage}/{source}-x.jsonl", columns=["id"])
    assert [f["path"] for f in facts["files"]] == ["cold/b-x.jsonl", "warm/a-x.jsonl"]
    assert Auto(path="out/a/{stage}/x.jsonl").target().root == str(Path("out/a"))


@pytest.mark.parametrize("value", [None, "", "a/b", "..", "a:b", "x\n"])
def test_a_value_that_can_name_no_file_is_an_error(tmp_path: Path, value: str | None) -> None:
    frame = rows(3).with_columns(stage=pl.Series([value, "a", "b"], dtype=pl.String))
    with pytest.raises(StepError, match="column `stage` holds .* which can name no file") as caught:
        write(frame, tmp_path, "out/{stage}.jsonl")
    assert caught.value.code == "R672"


def test_formulas_in_csv_are_disarmed(tmp_path: Path) -> None:
    cells = ["=1+1", "+1", "-1", "@a", "\tx", "\rx", "plain", 'a "b", c', "", None, "x\ny=1"]
    frame = pl.DataFrame({"id": [str(n) for n in range(len(cells))], "text": cells, "n": [-1.5] * len(cells)})
    write(frame, tmp_path, "x.csv", 3)
    with (tmp_path / "x.csv").open(newline="") as file:
        made = list(csv.DictReader(file))
    expected = ["'" + c if c and c[0] in "=+-@\t\r" else c or "" for c in cells]
    assert [row["text"] for row in made] == expected
    assert {row["n"] for row in made} == {"-1.5"}
    write(frame, tmp_path / "t", "x.tsv")
    assert (tmp_path / "t" / "x.tsv").read_text().startswith("id\ttext\tn\n")


def test_nested_columns_do_not_go_into_csv(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="`messages`, `tags` cannot stand in a cell") as caught:
        write(rows(2), tmp_path, "x.csv")
    assert caught.value.code == "R671"
    write(rows(2), tmp_path, "y.csv", columns=["id", "query", "response"])
    assert "'=answer" in (tmp_path / "y.csv").read_text()


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="there is no column `scor` to write") as caught:
        write(rows(2), tmp_path, "x.jsonl", columns=["scor"])
    assert (caught.value.code, caught.value.help) == ("R673", "did you mean `score`?")
    with pytest.raises(StepError, match="no column `phase`"):
        write(rows(2), tmp_path, "{phase}.jsonl")


def test_what_format_made_is_the_default(tmp_path: Path) -> None:
    context = SimpleNamespace(formatted=("tags", "messages"))
    write(rows(1), tmp_path, "x.jsonl", context=context)
    assert list(json.loads((tmp_path / "x.jsonl").read_text())) == ["id", "tags", "messages", "source", "license"]


@pytest.mark.parametrize(
    ("path", "content"),
    [("x.jsonl", b""), ("x.json", b"[]\n"), ("x.csv", b"id,source\n"), ("x.jsonl.gz", b"")],
)
def test_no_rows_still_make_a_file(tmp_path: Path, path: str, content: bytes) -> None:
    write(rows(0), tmp_path, path, columns=["id", "source"])
    data = (tmp_path / path).read_bytes()
    assert (gzip.decompress(data) if path.endswith("gz") else data) == content


def test_no_rows_still_make_a_data_set(tmp_path: Path) -> None:
    class Nothing(Typed):
        def frames(self, *columns: str) -> Iterator[pl.DataFrame]:
            return iter(())

    folder = tmp_path / "mix"
    folder.mkdir()
    facts = Auto(path="out/mix").write(Nothing(rows(0)), folder)
    assert facts["rows"] == 0
    found = pl.read_parquet(folder / "data" / "train-00000-of-00001.parquet")
    assert found.schema["messages"] == Type("messages").dtype()
    assert found.height == 0


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"path": "out/x.txt"}, "no format has the suffix `.txt`"),
        ({"path": "out/x.parqet"}, "did you mean `.parquet`?"),
        ({"path": "out/x.gz"}, "no format has the suffix `.gz`"),
        ({"path": "out/x.jsonl", "format": "csv"}, "`path` says .jsonl, `format` says csv"),
        ({"path": "out/x.parquet.gz"}, "write out/x.parquet"),
        ({"path": "out/{stage"}, "name columns: {stage}"),
        ({"path": "out/x.jsonl"}, ""),
        ({"path": "out/v1.2"}, ""),
        ({"path": "out/{stage}.json.zst"}, ""),
        ({"path": "out/mix", "format": "csv"}, ""),
    ],
)
def test_check_tells_what_is_wrong_before_the_run(params: dict[str, Any], what: str) -> None:
    problems = list(Auto(**params).check())
    assert len(problems) == bool(what)
    assert what in "".join(problems)


def test_only_named_columns_are_declared_as_read() -> None:
    assert Auto(path="out/{stage}.jsonl", columns=["id"]).flow({}).reads == ("id", "stage")
    assert Auto(path="out/x.jsonl").flow({}).reads == ()


def test_memory_is_bounded_by_frames_not_rows(tmp_path: Path) -> None:
    class Endless(Typed):
        most = 0

        def frames(self, *columns: str) -> Iterator[pl.DataFrame]:
            for frame in super().frames(*columns):
                self.most += 1
                yield frame

    data = Endless(rows(64), 16)
    folder = tmp_path / "f"
    folder.mkdir()
    Auto(path="x.jsonl").write(data, folder)
    assert data.most == 16
