"""DiverseEvol's loop through the interpreter: rows out, the trainer's vectors in, round after round."""

from __future__ import annotations

import numpy as np

STEPS = """
  - load: {path: rows.jsonl, license: MIT}
  - id: chosen
    select.kcenter: {size: 3, rounds: 2, init: random, give: "give/round-{round}.jsonl", take: "vectors/round-{round}.npz"}
  - write: {path: out.jsonl, columns: [id, rank]}
"""


def vectors(kitchen, ids, number, seed):
    rng = np.random.default_rng(seed)
    (kitchen.folder / "vectors").mkdir(exist_ok=True)
    path = kitchen.folder / "vectors" / f"round-{number}.npz"
    np.savez(path, ids=np.array(ids), vectors=rng.normal(size=(len(ids), 4)).astype(np.float32))


def test_the_loop_waits_goes_on_and_sees_other_vectors(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(30))
    kitchen.recipe(STEPS)
    first = kitchen.cli("run", "recipe.yaml", check=5)
    assert "round-0.npz" in first.stdout
    assert len(kitchen.read("give/round-0.jsonl")) == 3
    outcome = kitchen.session().replay()
    ids = outcome.results["load.auto"].table.frame(("id",))["id"].to_list()
    vectors(kitchen, ids, 0, seed=1)
    assert "round-1.npz" in kitchen.cli("run", "recipe.yaml", check=5).stdout
    vectors(kitchen, ids, 1, seed=2)
    kitchen.cli("run", "recipe.yaml", check=0)
    before = kitchen.read("out.jsonl")
    assert len(before) == 9
    vectors(kitchen, ids, 1, seed=3)
    kitchen.cli("run", "recipe.yaml", check=0)
    after = kitchen.read("out.jsonl")
    assert {r["id"] for r in before if r["rank"] < 6} == {r["id"] for r in after if r["rank"] < 6}
    assert before != after
