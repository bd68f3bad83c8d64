"""The interpreter's promises: same bytes for any shards and workers, nothing done twice, every row accounted for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from sftrecipe.errors import StepError, UsageError
from sftrecipe.run.interpreter import Options

STEPS = """
  - load: {path: rows.jsonl, schema: messages, license: MIT}
  - filter.length: {words: [8, 40]}
  - score: {size: len(response), half: words(response) / 2}
  - id: dedup
    filter.duplicates
  - tag: {first: first(lower(query))}
    where: size > 60
  - id: chosen
    select.top: {size: 60, by: size}
  - mix: {by: source, parts: {rows: {repeat: 2}}}
  - format.messages
  - write: {path: out.jsonl, columns: [id, messages, size, half, rank, source]}
"""
STEPS = STEPS.replace("    filter.duplicates\n", "    filter.duplicates:\n").replace("  - tag: {first: first(lower(query))}\n", "  - tag: {first: lower(query)}\n")


def digest(folder, *names):
    return [hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names]


def test_same_bytes_for_any_shards_and_workers(kitchen, numbered):
    rows = numbered(400)
    kitchen.rows("rows.jsonl", rows)
    size = (kitchen.folder / "rows.jsonl").stat().st_size
    kitchen.recipe(STEPS)
    seen = set()
    for shards in (1, 2, 7):
        for workers in (1, 2):
            options = Options(shard_bytes=-(-size // shards), out=kitchen.folder)
            store = kitchen.folder / f"store-{shards}-{workers}"
            outcome = kitchen.run(options=options, workers=workers, store=store)
            seen.add(tuple(digest(kitchen.folder, "out.jsonl", "out.manifest.json")))
            loaded = outcome.results["load.auto"].table
            assert len(loaded.parts) >= shards
    assert len(seen) == 1
    assert len(kitchen.read("out.jsonl")) == 120


def test_same_bytes_in_a_process_pool(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(300))
    kitchen.recipe(STEPS)
    kitchen.run(store=kitchen.folder / "threads")
    before = digest(kitchen.folder, "out.jsonl")
    options = Options(pool_bytes=0, pool_rows=0, shard_bytes=20_000, out=kitchen.folder)
    kitchen.run(store=kitchen.folder / "pool", options=options, workers=2)
    assert digest(kitchen.folder, "out.jsonl") == before


def test_second_run_computes_nothing(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(100))
    kitchen.recipe(STEPS)
    kitchen.run()
    outcome = kitchen.run()
    assert all(r.cached for r in outcome.results.values())


def test_an_edit_reruns_only_what_it_changes(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(100))
    kitchen.recipe(STEPS)
    kitchen.run()
    kitchen.recipe(STEPS.replace("size: 60", "size: 50"))
    cached = {id: r.cached for id, r in kitchen.run().results.items()}
    assert cached["dedup"]
    assert not cached["chosen"]
    # a change that leaves the rows as they were re-runs nothing below it
    kitchen.recipe(STEPS.replace("size: 60", "size: 50").replace("words: [8, 40]", "words: [7, 41]"))
    cached = {id: r.cached for id, r in kitchen.run().results.items()}
    assert not cached["filter.length"]
    assert cached["dedup"]
    assert cached["chosen"]


def test_seed_of_a_step_does_not_hang_on_what_stands_above(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(200))
    steps = "  - load: {path: rows.jsonl, license: MIT}\n%s  - id: some\n    select.random: {size: 20}\n  - write: {path: %s, columns: [id]}\n"
    kitchen.recipe(steps % ("", "a.jsonl"))
    kitchen.run()
    kitchen.recipe(steps % ("  - score: {n: len(query)}\n", "b.jsonl"))
    kitchen.run()
    assert kitchen.read("a.jsonl") == kitchen.read("b.jsonl")


def test_a_larger_trial_contains_the_smaller(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(200))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: {path: out.jsonl, columns: [id]}\n")
    ids = {}
    for n in (10, 50):
        outcome = kitchen.run(options=Options(limit=n, out=kitchen.folder))
        ids[n] = {r["id"] for r in kitchen.read(f"out.limit-{n}.jsonl")}
        assert len(ids[n]) == n
        assert outcome.counts[0].codes == {"limit": 200 - n}
    assert ids[10] < ids[50]
    assert not (kitchen.folder / "out.jsonl").exists()


def test_to_runs_only_what_a_step_needs(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(30))
    kitchen.recipe(STEPS)
    outcome = kitchen.run(options=Options(to="dedup", out=kitchen.folder))
    assert "dedup" in outcome.results
    assert "chosen" not in outcome.results
    with pytest.raises(UsageError, match="did you mean `dedup`"):
        kitchen.run(options=Options(to="dedpu", out=kitchen.folder))


def test_dropped_rows_are_a_port(kitchen):
    from tests.conftest import chat

    kitchen.rows("rows.jsonl", [chat("a", "short"), chat("b", "this one is long enough to stay here")])
    kitchen.recipe("""
  - load: {path: rows.jsonl, license: MIT}
  - score: {n: words(response)}
  - id: good
    filter: n > 3
  - write: {path: good.jsonl, columns: [query, n]}
  - from: good.dropped
    write: {path: bad.jsonl, columns: [query, n]}
""".replace("query, n", "id, messages, n"))
    kitchen.run()
    assert [r["n"] for r in kitchen.read("good.jsonl")] == [8]
    assert [r["n"] for r in kitchen.read("bad.jsonl")] == [1]


def test_expectations_stop_a_run(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(50))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - filter: words(response) > 15\n    expect: dropped <= 0.05 * rows_in\n")
    with pytest.raises(StepError, match="was expected to have dropped"):
        kitchen.run()


def test_a_trial_run_goes_on_where_a_whole_run_would_stop(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(50))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - filter: words(response) > 15\n    expect: dropped == 0\n  - write: out.jsonl\n")
    done = kitchen.cli("run", "recipe.yaml", "--limit", "10", check=0)
    assert "was expected to have dropped == 0" in done.stderr


def test_where_leaves_other_rows_untouched(kitchen):
    from tests.conftest import chat

    kitchen.rows("rows.jsonl", [chat("a", "x", kind="one"), chat("b", "y", kind="two")])
    kitchen.recipe("""
  - load: {path: rows.jsonl, license: MIT, columns: {kind: kind}}
  - score: {n: len(query) + 5}
    where: kind == "one"
  - filter: n < 3
    where: kind == "one"
  - write: {path: out.jsonl, columns: [kind, n]}
""")
    outcome = kitchen.run()
    assert kitchen.read("out.jsonl") == [{"kind": "two", "n": None}]
    assert outcome.counts[2].dropped == 1


def test_an_output_that_is_gone_is_written_again(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(20))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    kitchen.run()
    before = digest(kitchen.folder, "out.jsonl")
    (kitchen.folder / "out.jsonl").unlink()
    kitchen.run()
    assert digest(kitchen.folder, "out.jsonl") == before


@pytest.mark.parametrize("target", ["out.jsonl", "folder"])
def test_a_file_that_is_not_ours_is_never_replaced(kitchen, numbered, target):
    kitchen.rows("rows.jsonl", numbered(20))
    kitchen.recipe(f"  - load: {{path: rows.jsonl, license: MIT}}\n  - write: {target}\n")
    precious = kitchen.folder / target
    if target == "folder":
        precious.mkdir()
        precious = precious / "notes.txt"
    precious.write_text("mine")
    with pytest.raises(StepError, match="not written by sftrecipe") as error:
        kitchen.run()
    assert error.value.code == "R664"
    assert precious.read_text() == "mine"
    kitchen.run(options=Options(overwrite=True, out=kitchen.folder))


def test_an_output_that_was_edited_is_not_replaced(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(20))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    kitchen.run()
    (kitchen.folder / "out.jsonl").write_text("edited by hand\n")
    with pytest.raises(StepError, match="was changed since"):
        kitchen.run()
    assert (kitchen.folder / "out.jsonl").read_text() == "edited by hand\n"


PARTED = """  - load: {path: rows.jsonl, license: MIT}
  - tag: {half: '"a" if words(response) > 3 else "b"'}
  - write: PATH
"""


def halves(kitchen, path, lengths):
    from tests.conftest import chat

    kitchen.rows("rows.jsonl", [chat(f"q{n}", "word " * length) for n, length in enumerate(lengths)])
    kitchen.recipe(PARTED.replace("PATH", path))
    return kitchen.run()


@pytest.mark.parametrize(
    ("path", "file", "manifest"),
    [
        ("out/{half}.jsonl", "out/a.jsonl", "out/half.manifest.json"),
        ("out/{half}", "out/a/data/train-00000-of-00001.parquet", "out/half.manifest.json"),
        ("out/{half}/x.jsonl", "out/a/x.jsonl", "out/half-x.manifest.json"),
        ("out/{half}/{source}.jsonl", "out/a/rows.jsonl", "out/half-source.manifest.json"),
    ],
)
def test_an_output_for_each_value_of_a_column(kitchen, path, file, manifest):
    halves(kitchen, path, [5, 5, 1])
    known = json.loads((kitchen.folder / manifest).read_bytes())
    names = {p.relative_to(kitchen.folder / "out").as_posix() for p in (kitchen.folder / "out").rglob("*") if p.is_file()}
    assert names == {*known["files"], Path(manifest).name}
    mine, other = kitchen.folder / file, kitchen.folder / file.replace("out/a", "out/b")
    assert mine.is_file() and other.is_file()
    halves(kitchen, path, [5, 5])  # no row is in b any more: what stood there would be trained on
    assert mine.is_file() and not other.exists() and not (kitchen.folder / "out" / "b").exists()
    assert set(json.loads((kitchen.folder / manifest).read_bytes())) == set(known)
    mine.write_text("edited by hand\n")
    with pytest.raises(StepError, match="was changed since") as error:
        halves(kitchen, path, [5])
    assert error.value.code == "R664"
    assert mine.read_text() == "edited by hand\n"


@pytest.mark.parametrize(("path", "precious"), [("out/{half}.jsonl", "out/b.jsonl"), ("out/{half}", "out/a/notes.txt")])
def test_of_outputs_for_each_value_none_replaces_what_is_not_ours(kitchen, path, precious):
    mine = kitchen.folder / precious
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(StepError, match=f"{mine.name} is there already and was not written by sftrecipe"):
        halves(kitchen, path, [5, 1])
    assert mine.read_text() == "mine"
    assert [p for p in (kitchen.folder / "out").rglob("*") if p.is_file()] == [mine]


def test_outputs_of_one_name_have_a_manifest_each(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(3))
    writes = "".join(f"  - write: {name}\n" for name in ("x.jsonl", "x.parquet", "y.jsonl"))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n" + writes)
    kitchen.run()
    assert sorted(p.name for p in kitchen.folder.glob("*.manifest.json")) == [
        "x.jsonl.manifest.json",
        "x.parquet.manifest.json",
        "y.manifest.json",
    ]
    (kitchen.folder / "x.jsonl").write_text("edited by hand\n")
    with pytest.raises(StepError, match="was changed since"):
        kitchen.run()


def test_ids_tell_equal_rows_apart(kitchen):
    from tests.conftest import chat

    kitchen.rows("rows.jsonl", [chat("same", "same")] * 5 + [chat("other", "row")])
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: {path: out.jsonl, columns: [id]}\n")
    kitchen.run()
    ids = [r["id"] for r in kitchen.read("out.jsonl")]
    assert len(set(ids)) == 6
    assert all(len(i) == 16 for i in ids)


def test_the_manifest_tells_where_rows_come_from(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(20))
    kitchen.recipe(STEPS.replace("size: 60", "size: 5"))
    kitchen.run()
    manifest = json.loads((kitchen.folder / "out.manifest.json").read_text())
    steps = {s["id"]: s for s in manifest["steps"]}
    assert steps["chosen"]["params"]["size"] == 5
    assert steps["dedup"]["counts"]["codes"]["duplicate"] > 0
    assert list(manifest["files"]) == ["out.jsonl"]
    assert str(kitchen.folder) not in json.dumps(manifest)
