"""The store believes nothing that it did not write: every kind of file, damaged in every way, and outputs that bear the same bytes
however often they are written."""

from __future__ import annotations

import json
import shutil

import pytest

from sftrecipe import store as module
from sftrecipe.errors import StepError
from sftrecipe.run.interpreter import Options
from sftrecipe.store import read_sealed, write_sealed

STEPS = """
  - load: {path: rows.jsonl, license: MIT}
  - filter.length: {words: [8, 60]}
  - filter.duplicates:
  - score: {n: len(response)}
  - id: chosen
    select.top: {size: 30, by: n}
  - format.messages
  - write: out.jsonl
"""


def damaged(path, how, others):
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "flip":
        path.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])
    elif how == "swap":
        path.write_bytes(next((o for p, o in others.items() if p != path and p.name == path.name and o != data), data[:-1]))
    elif how == "link":
        moved = path.with_name("moved")
        shutil.move(path, moved)
        path.symlink_to(moved)
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["cut", "flip", "swap", "link", "gone"])
def test_any_file_of_the_store_may_be_damaged(kitchen, numbered, how):
    kitchen.rows("rows.jsonl", numbered(80))
    kitchen.recipe(STEPS)
    kitchen.run()
    wanted = [(kitchen.folder / n).read_bytes() for n in ("out.jsonl", "out.manifest.json")]
    objects = kitchen.folder / ".sftrecipe/objects"
    shutil.copytree(objects, kitchen.folder / "sound")
    names = [p.relative_to(objects) for p in sorted(objects.rglob("*")) if p.is_file()]
    assert {p.suffix for p in names} == {".json", ".npy", ".parquet"}
    for name in names:
        shutil.rmtree(objects)
        shutil.copytree(kitchen.folder / "sound", objects)
        module._verified.clear()
        (kitchen.folder / "out.jsonl").unlink()
        damaged(objects / name, how, {p: p.read_bytes() for p in objects.rglob("*") if p.is_file()})
        outcome = kitchen.run()
        assert [(kitchen.folder / n).read_bytes() for n in ("out.jsonl", "out.manifest.json")] == wanted, name
        if (name.name == "manifest.json" and how != "gone") or ".artefact." in name.name:
            assert outcome.evicted, name


def test_all_files_damaged_at_once(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(80))
    kitchen.recipe(STEPS)
    kitchen.run()
    wanted = (kitchen.folder / "out.jsonl").read_bytes()
    module._verified.clear()
    (kitchen.folder / "out.jsonl").unlink()
    for path in (kitchen.folder / ".sftrecipe/objects").rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            path.write_bytes(path.read_bytes()[:-1])
    kitchen.run()
    assert (kitchen.folder / "out.jsonl").read_bytes() == wanted


def test_a_stored_folder_that_is_a_link_is_not_followed(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(20))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    kitchen.run()
    outside = kitchen.folder / "outside"
    outside.mkdir()
    for folder in (kitchen.folder / ".sftrecipe/objects").iterdir():
        shutil.rmtree(folder)
        folder.symlink_to(outside)
    kitchen.run()
    assert not list(outside.iterdir())


def test_shards_of_a_killed_run_are_believed_only_when_sound(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(400))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    options = Options(shard_bytes=4_000, out=kitchen.folder)
    kitchen.run(options=options)
    wanted = (kitchen.folder / "out.jsonl").read_bytes()
    (kitchen.folder / "out.jsonl").unlink()
    module._verified.clear()
    shard = next((kitchen.folder / ".sftrecipe/objects").rglob("part-00001-000.rows.parquet"))
    (shard.parent / "manifest.json").unlink()  # as if killed before the end
    shard.write_bytes(shard.read_bytes()[:100])
    assert kitchen.run(options=options).evicted
    assert (kitchen.folder / "out.jsonl").read_bytes() == wanted


def test_sealed_json(tmp_path):
    path = tmp_path / "a.json"
    write_sealed(path, {"rows": 12, "text": "ü"})
    assert read_sealed(path) == {"rows": 12, "text": "ü"}
    assert json.loads(path.read_bytes())["rows"] == 12
    path.write_bytes(path.read_bytes().replace(b"12", b"13"))
    assert read_sealed(path) is None
    path.write_bytes(b'{"rows": 12}')
    assert read_sealed(path) is None


def test_a_manifest_is_the_same_however_often_it_is_written(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(20))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    manifest = kitchen.folder / "out.manifest.json"
    kitchen.run()
    first = manifest.read_bytes()
    (kitchen.folder / "out.jsonl").unlink()
    kitchen.run()
    assert manifest.read_bytes() == first
    manifest.unlink()
    kitchen.run()
    assert manifest.read_bytes() == first
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - select.random: 5\n  - write: out.jsonl\n")
    kitchen.run()
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    kitchen.run()
    assert manifest.read_bytes() == first  # what stood there in between leaves no trace


def test_an_edited_output_without_its_manifest_is_not_ours(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(20))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    kitchen.run()
    (kitchen.folder / "out.manifest.json").unlink()
    (kitchen.folder / "out.jsonl").write_text("mine")
    with pytest.raises(StepError, match="not written by sftrecipe"):
        kitchen.run()


def test_what_killed_runs_left_is_swept(kitchen, numbered):
    import socket

    kitchen.rows("rows.jsonl", numbered(20))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    kitchen.run()
    (kitchen.folder / "out.jsonl").unlink()
    dead, alive = 2**22 + 7, 1
    for pid in (dead, alive):
        (kitchen.folder / f".sftrecipe-{socket.gethostname()}-{pid}-0123456789ab").mkdir()
    load = next((kitchen.folder / ".sftrecipe/objects").rglob("piece-00000.json")).parent
    (load / ".part-00000-000.rows.parquet.7.7.part").touch()
    (load / "manifest.json").unlink()
    kitchen.run()
    assert [p.name.split("-")[-2] for p in kitchen.folder.glob(".sftrecipe-*")] == [str(alive)]
    assert not list(load.glob(".*.part"))
