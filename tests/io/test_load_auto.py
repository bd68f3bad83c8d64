"""The operator: packed files, files that change, facts, samples, hub data sets."""

from __future__ import annotations

import gzip
import json
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

from sftrecipe import StepError
from sftrecipe.params import positional, schema
from sftrecipe_io.load_auto import Auto
from tests.io.conftest import Loaded, read_all

ROWS = [{"prompt": f"q{n}", "completion": "é" * n} for n in range(50)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def packed(data: bytes, how: str) -> bytes:
    if how == "gz":
        return gzip.compress(data)
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("how", ["gz", "zst"])
@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv"])
def test_packed_files_give_the_same_rows(load, how: str, name: str) -> None:
    text = LINES
    if name == "x.json":
        text = json.dumps(ROWS).encode()
    if name == "x.csv":
        text = b"prompt,completion\n" + b"".join(f"{r['prompt']},{r['completion']}\n".encode() for r in ROWS)
    plain: Loaded = load(text, name=name)
    again: Loaded = load(packed(text, how), name=f"{name}.{how}")
    assert plain.frame.height == 50
    assert again.frame.equals(plain.frame)


def test_offsets_in_packed_files_are_those_of_the_unpacked_text(load) -> None:
    made: Loaded = load(gzip.compress(LINES + b"{\n"), name="x.jsonl.gz")
    assert made.reasons == [(51, len(LINES), "bad_json")]


@pytest.mark.parametrize("how", ["gz", "zst"])
def test_a_truncated_packed_file_is_named(load, how: str) -> None:
    data = packed(os.urandom(20_000).hex().encode(), how)
    with pytest.raises(StepError, match=r"x\.jsonl\." + how + " cannot be read") as caught:
        load(data[: len(data) // 2], name=f"x.jsonl.{how}", schema="text")
    assert caught.value.code == "R613"


@pytest.mark.parametrize("how", ["gz", "zst"])
def test_a_file_that_is_not_packed_as_its_name_says(load, how: str) -> None:
    with pytest.raises(StepError, match="cannot be read"):
        load(LINES, name=f"x.jsonl.{how}")


def test_a_file_that_changes_while_it_is_read_stops_the_run(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(LINES)
    operator = Auto(path=str(path))
    (piece,) = operator.pieces(1 << 30)
    frames = operator.read(piece)
    next(frames)
    with path.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(StepError, match="changed while it was read") as caught:
        list(frames)
    assert caught.value.code == "R612"


def test_a_file_that_another_one_replaces_stops_the_run(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(LINES)
    operator = Auto(path=str(path))
    (piece,) = operator.pieces(1 << 30)
    frames = operator.read(piece)
    next(frames)
    (tmp_path / "y").write_bytes(LINES)
    os.replace(tmp_path / "y", path)
    with pytest.raises(StepError, match="changed while it was read"):
        list(frames)


def test_a_file_that_changed_since_the_plan_stops_the_run(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(LINES)
    operator = Auto(path=str(path))
    (piece,) = operator.pieces(1 << 30)
    path.write_bytes(LINES + LINES)
    with pytest.raises(StepError, match="changed"):
        list(operator.read(piece))


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(LINES)
    operator = Auto(path=str(path))
    (piece,) = operator.pieces(1 << 30)
    path.unlink()
    with pytest.raises(StepError, match=r"x\.jsonl cannot be read") as caught:
        list(operator.read(piece))
    assert caught.value.code == "R613"


def test_facts_and_log_say_what_was_guessed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "b.csv").write_text("question,answer\n1,2\n")
    operator = Auto(path=[f"{tmp_path}/a.jsonl", f"{tmp_path}/b.csv"], source="s", license="Apache 2.0")
    assert operator.facts() == {}
    operator.pieces(1 << 20)
    assert operator.facts() == {
        "s": {
            "files": 2,
            "bytes": len(LINES) + 20,
            "format": ["jsonl", "csv"],
            "schema": ["prompt_completion (guessed)", "problem (guessed)"],
            "license": "Apache-2.0",
        }
    }
    assert "a.jsonl: schema prompt_completion (guessed from 50 rows)" in caplog.text
    assert operator.remarks() == ["guessed schemas: s prompt_completion and problem"]


def test_of_an_empty_file_nothing_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    operator = Auto(path=f"{tmp_path}/a.jsonl")
    operator.pieces(1 << 20)
    assert (operator.facts()["a"]["schema"], operator.remarks()) == (["messages"], [])


def test_a_run_tells_what_was_guessed_and_what_was_odd(kitchen) -> None:
    rows = [
        {"id": "a", "prompt": "1", "completion": "2"},
        {"id": "b", "prompt": "3", "completion": "4", "license": "Apache 2.0"},
        {"id": "a", "prompt": "5", "completion": "6", "license": "mit"},
    ]
    kitchen.rows("x.jsonl", rows)
    kitchen.recipe("  - load: {path: x.jsonl, license: MIT, id: id}\n  - write: out.jsonl\n")
    for stored in (False, True):
        done = kitchen.cli("run", "recipe.yaml", check=0)
        assert "load.auto: guessed schemas: x prompt_completion" in done.stdout
        if not stored:
            assert "warning: load.auto: x: rows say `license: Apache 2.0`, the recipe says MIT (1 times)" in done.stderr
            assert "warning: load.auto: ids that came before, now called `ID~2` and so on: 1" in done.stderr
    manifest = json.loads((kitchen.folder / "out.manifest.json").read_bytes())
    assert manifest["steps"][0]["facts"]["x"]["schema"] == ["prompt_completion (guessed)"]
    assert [row["id"] for row in kitchen.read("out.jsonl")] == ["a", "b", "a~2"]


def test_hub_rows_of_mixed_types_are_read(hub: dict[str, Any], tmp_path: Path) -> None:
    calls = [{"function": {"name": "f", "arguments": {"a": a}}} for a in (1, "x")]
    rows = [{"messages": [{"role": "assistant", "content": "", "tool_calls": [c]}], "at": "2026-01-02"} for c in calls]
    for split in ("train", "test"):
        path = tmp_path / "repo" / "data" / f"{split}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = read_all(Auto(path="hf://acme/chat"))  # the library stores such messages as JSON texts, the date as a time
    assert [json.loads(m[0]["tool_calls"]) for m in made.frame["messages"]] == [[c] for c in calls]
    assert made.extra == [{"at": "2026-01-02T00:00:00"}] * 2


def test_an_unknown_licence_is_logged_with_the_nearest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "a.jsonl").write_bytes(LINES)
    made = read_all(Auto(path=f"{tmp_path}/a.jsonl", license="Apache-2.1"))
    assert "`Apache-2.1` is no SPDX id known here did you mean `Apache-2.0`?" in caplog.text
    assert made.frame["license"][0] == "Apache-2.1"


def test_the_first_bad_rows_do_not_hide_the_schema(load) -> None:
    made: Loaded = load(b"{\n\nNaN\n" + LINES)
    assert made.frame.height == 50
    assert len(made.bad) == 2


def test_a_file_whose_first_rows_are_all_bad_asks_for_the_schema(load) -> None:
    with pytest.raises(StepError, match="none of the first rows can be read") as caught:
        load(b"{\n" * 100)
    assert caught.value.code == "R611"


def test_parameters_are_the_recipe_s(tmp_path: Path) -> None:
    given = schema(Auto)
    assert given["properties"]["schema"]["enum"][:3] == ["auto", "messages", "openai"]
    assert positional(Auto).name == "path"  # type: ignore[union-attr]
    operator = Auto(path=str(tmp_path), schema="openai")
    again = pickle.loads(pickle.dumps(operator))
    assert again.params == operator.params
    (tmp_path / "a.jsonl").write_text('{"messages":[{"role":"user","content":"a"}]}')
    assert read_all(again).turns == [[("user", "a")]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The hub, played by a local folder that the library really loads."""
    folder = tmp_path / "repo"
    (folder / "data").mkdir(parents=True)
    for split, count in (("train", 30), ("test", 3)):
        rows = [{"messages": [{"role": "user", "content": f"{split} {n}"}], "n": n} for n in range(count)]
        (folder / "data" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    real, asked = datasets.load_dataset, {}

    def load_dataset(name: str, config: str | None = None, *, revision: str | None = None) -> Any:
        asked.update(name=name, config=config, revision=revision)
        if name != "acme/chat":
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{name}' doesn't exist on the Hub")
        return real(str(folder), cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_a_hub_data_set_in_pieces(hub: dict[str, Any]) -> None:
    operator = Auto(path="hf://acme/chat/SFT", revision="v1", columns={"n": {"key": "n", "type": "int"}}, license="MIT")
    whole, cut = read_all(operator), read_all(operator, 200)
    assert hub == {"name": "acme/chat", "config": "SFT", "revision": "v1"}
    assert whole.frame.equals(cut.frame)
    assert whole.turns[:2] == [[("user", "train 0")], [("user", "train 1")]]
    assert whole.frame["n"].to_list() == list(range(30))
    assert set(whole.frame["source"]) == {"chat"}
    pieces = operator.pieces(200)
    assert len(pieces) > 1
    identity = pieces[0]["identity"]
    assert (identity["repo"], identity["split"], identity["revision"], identity["rows"]) == (
        "acme/chat",
        "train",
        "v1",
        30,
    )
    assert identity["fingerprint"]
    assert "file" not in pieces[0]
    assert operator.facts()["chat"]["schema"] == ["messages (guessed)"]


def test_a_named_split_of_the_hub(hub: dict[str, Any]) -> None:
    assert read_all(Auto(sources={"t": {"path": "hf://acme/chat", "split": "test"}})).frame.height == 3
    with pytest.raises(StepError, match=r"has no split `tset`; there are train, test") as caught:
        read_all(Auto(path="hf://acme/chat", split="tset"))
    assert (caught.value.code, caught.value.help) == ("R616", "did you mean `test`?")


def test_a_hub_data_set_that_cannot_be_had(hub: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(StepError, match="hf://acme/none cannot be loaded") as caught:
        read_all(Auto(path="hf://acme/none"))
    assert caught.value.code == "R615"
    (tmp_path / "repo" / "data" / "test.jsonl").write_text('{"other": 1}\n')
    with pytest.raises(StepError, match="cannot be loaded: An error occurred .*: .*other") as caught:
        read_all(Auto(path="hf://acme/chat"))
    with pytest.raises(StepError, match="names no data set"):
        read_all(Auto(path="hf://acme"))


def test_preference_data_is_told(kitchen) -> None:
    row = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    kitchen.rows("rows.jsonl", [row] * 3)
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    told = kitchen.cli("run", "recipe.yaml", check=0).stderr
    assert "rows hold `chosen` and `rejected`: they are left in `extra`, no answer is taken from them" in told
    assert kitchen.read("out.jsonl")[0]["extra"] == {"chosen": "good", "rejected": "bad"}
