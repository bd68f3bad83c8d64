"""What every `select.*` of this package must hold, whatever its method."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sftrecipe import StepError
from sftrecipe.params import positional, schema
from sftrecipe.testing.memory import MemoryDataset
from sftrecipe_diversity.clusters import Clusters
from sftrecipe_diversity.diverse import Diverse
from sftrecipe_diversity.facility import Facility
from sftrecipe_diversity.instag import InsTag
from sftrecipe_diversity.kcenter import KCenter
from sftrecipe_diversity.longest import Longest
from sftrecipe_diversity.mig import Mig
from sftrecipe_diversity.quota import Quota
from sftrecipe_diversity.random import Random
from sftrecipe_diversity.rds import Rds
from sftrecipe_diversity.top import Top
from tests.diversity.select_pools import choose, clumped, frame_of, ids_of, ready, story, with_ties

SELECTORS: dict[str, tuple[type, dict[str, Any]]] = {
    "top": (Top, {"by": "score"}),
    "random": (Random, {}),
    "longest": (Longest, {}),
    "quota": (Quota, {"by": "domain"}),
    "quota-rank": (Quota, {"by": "domain", "temperature": 3, "rank": "score", "decay": 0.5, "keep": "picked"}),
    "kcenter": (KCenter, {}),
    "kcenter-medoid": (KCenter, {"init": "medoid"}),
    "kcenter-white": (KCenter, {"whiten": 3, "init": "ids", "keep": "picked"}),
    "diverse": (Diverse, {"by": "score", "max_similarity": 0.99}),
    "facility": (Facility, {}),
    "facility-quality": (Facility, {"by": "score", "alpha": 0.7}),
    "facility-sparse": (Facility, {"exact_up_to": 0, "neighbors": 8}),
    "mig": (Mig, {"by": "score"}),
    "clusters": (Clusters, {"by": "score"}),
    "instag": (InsTag, {}),
    "rds": (Rds, {}),
    "rds-tasks": (Rds, {"task": "task"}),
}
VECTORS = ["kcenter", "diverse", "facility", "facility-sparse", "clusters", "rds"]
SCORED = ["top", "quota-rank", "diverse", "facility-quality", "mig", "clusters"]


def pool(n: int = 90, make: Any = clumped, seed: int = 0) -> pl.DataFrame:
    """Rows with everything that a selector may ask for, ties in each of them."""
    rng = np.random.default_rng(seed)
    tags = [[f"t{t}" for t in rng.choice(9, rng.integers(1, 4), replace=False)] for _ in range(n)]
    return frame_of(
        make(n, 8, seed),
        score=rng.integers(0, 12, n).astype(float),
        tokens=rng.integers(1, 30, n),
        domain=[f"d{d}" for d in rng.integers(0, 4, n)],
        picked=[i % 17 == 3 for i in range(n)],
        response=["word " * int(k) for k in rng.integers(0, 6, n)],
        tags=tags,
    )


def operator(name: str, **budget: Any) -> Any:
    cls, params = SELECTORS[name]
    made = ready(cls, **params, **budget)
    if cls is Rds:
        made.against = MemoryDataset(frame_of(clumped(5, 8, 77), task=["a", "b", "a", "b", "c"]))
    return made


@pytest.mark.parametrize("size", [1, 12, 89])
@pytest.mark.parametrize("name", SELECTORS)
def test_kept_rows_are_a_subset_within_the_budget_and_every_row_is_accounted_for(name, size):
    if "picked" in SELECTORS[name][1].values():
        size = max(size, 6)
    frame = pool()
    choice = choose(operator(name, size=size), frame)
    kept = choice.kept.tolist()
    assert len(kept) == len(set(kept)) <= size
    gone = story(frame, choice)
    assert set(gone) == set(frame["id"].to_list()) - set(ids_of(frame, choice))
    assert len(kept) == size or name == "diverse"
    assert all(other is None or other in ids_of(frame, choice) for _, other, _ in gone.values())


@pytest.mark.parametrize("limit", [40, 200, 700])
@pytest.mark.parametrize("name", SELECTORS)
def test_token_budgets_are_respected_and_used(name, limit):
    if "picked" in SELECTORS[name][1].values():
        limit = max(limit, 200)
    frame = pool()
    choice = choose(operator(name, tokens=limit, count="tokens"), frame)
    spent = int(frame["tokens"].gather(choice.kept.astype(np.uint32)).sum())
    gone = story(frame, choice)
    cost = dict(zip(frame["id"].to_list(), frame["tokens"].to_list(), strict=True))
    assert spent <= limit
    assert all(cost[i] > limit - spent for i, (code, _, _) in gone.items() if code in ("over_budget", "not_chosen"))
    assert set(gone) == set(frame["id"].to_list()) - set(ids_of(frame, choice))


@pytest.mark.parametrize("make", [clumped, with_ties], ids=["clumped", "ties"])
@pytest.mark.parametrize("name", SELECTORS)
def test_the_order_of_rows_does_not_matter(name, make):
    frame = pool(make=make)
    first = choose(operator(name, size=25), frame)
    for seed in (1, 2):
        turned = frame.sample(fraction=1.0, shuffle=True, seed=seed)
        again = choose(operator(name, size=25), turned, shards=3)
        assert ids_of(turned, again) == ids_of(frame, first)
        assert story(turned, again) == story(frame, first)


@pytest.mark.parametrize("make", [clumped, with_ties], ids=["clumped", "ties"])
@pytest.mark.parametrize("name", SELECTORS)
def test_a_smaller_budget_is_a_prefix_of_a_larger(name, make):
    frame = pool(make=make)
    large = ids_of(frame, choose(operator(name, size=60), frame))
    for size in (8, 23, 59):
        assert ids_of(frame, choose(operator(name, size=size), frame)) == large[:size]


@pytest.mark.parametrize("name", SELECTORS)
def test_a_budget_above_the_pool_keeps_all_that_qualify(name, caplog):
    frame = pool(30)
    choice = choose(operator(name, size=31), frame)
    assert len(choice.kept) + sum(c == "near" for c, _, _ in story(frame, choice).values()) == 30
    assert "a budget of 31 rows, the pool holds 30" in caplog.text


@pytest.mark.parametrize("name", SELECTORS)
def test_an_empty_pool_gives_an_empty_choice(name):
    choice = choose(operator(name, size=3), pool(5).clear())
    assert not len(choice.kept) and not choice.dropped


@pytest.mark.parametrize("name", SELECTORS)
def test_a_pool_of_one(name):
    frame = pool(1)
    if SELECTORS[name][1].get("whiten"):
        with pytest.raises(StepError, match="fewer than 3 directions"):
            choose(operator(name, size=1), frame)
        return
    assert choose(operator(name, size=1), frame).kept.tolist() == [0]


@pytest.mark.parametrize("name", VECTORS)
def test_zero_vectors_are_counted(name):
    frame = pool(20)
    vectors = [[0.0] * 8 if i in (3, 9) else v for i, v in enumerate(frame["embedding"].to_list())]
    frame = frame.with_columns(pl.Series("embedding", vectors, dtype=pl.List(pl.Float32)))
    told = story(frame, choose(operator(name, size=10), frame))
    assert {i for i, (code, _, _) in told.items() if code == "zero_vector"} == {frame["id"][3], frame["id"][9]}


@pytest.mark.parametrize("name", VECTORS)
def test_nothing_but_zero_vectors_is_an_empty_choice(name):
    frame = frame_of(np.zeros((4, 8)), score=[1.0] * 4)
    choice = choose(operator(name, size=2), frame)
    assert not len(choice.kept)
    assert {code for code, _, _ in story(frame, choice).values()} == {"zero_vector"}


@pytest.mark.parametrize(
    ("value", "says"),
    [([1.0, 2.0], "one width is needed"), (None, "has no vector"), ([float("nan")] + [0.0] * 7, "no finite number")],
    ids=["width", "null", "nan"],
)
@pytest.mark.parametrize("name", VECTORS)
def test_bad_vectors_are_an_error(name, value, says):
    frame = pool(20)
    vectors = [value if i == 4 else v for i, v in enumerate(frame["embedding"].to_list())]
    frame = frame.with_columns(pl.Series("embedding", vectors, dtype=pl.List(pl.Float32)))
    with pytest.raises(StepError, match=says):
        choose(operator(name, size=5), frame)


@pytest.mark.parametrize("name", SCORED)
def test_text_for_a_score_is_an_error(name):
    with pytest.raises(StepError, match="numbers are needed"):
        choose(operator(name, size=6), pool(20).with_columns(score=pl.lit("high")))


@pytest.mark.parametrize("name", SCORED)
def test_missing_scores_are_counted(name):
    frame = pool(40)
    frame = frame.with_columns(score=pl.when(pl.int_range(40) % 8 == 1).then(None).otherwise("score"))
    choice = choose(operator(name, size=20), frame)
    undefined = {i for i, (code, _, _) in story(frame, choice).items() if code == "undefined"}
    assert undefined == set(frame.filter(pl.col("score").is_null())["id"].to_list())


@pytest.mark.parametrize("name", SELECTORS)
def test_the_positional_parameter_is_the_size_and_the_schema_is_whole(name):
    cls, _ = SELECTORS[name]
    spec = positional(cls)
    assert spec is not None and spec.name == "size"
    assert set(schema(cls)["properties"]) >= {"size", "tokens", "count"}
    assert all(entry.get("description") for entry in schema(cls)["properties"].values())


@pytest.mark.parametrize("name", SELECTORS)
def test_operators_pickle(name):
    made = operator(name, size=4)
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is type(made) and again.params == made.params


THREADED = """
import sys
sys.path[:0] = [{root!r}]
from tests.diversity.select_pools import choose, clumped, ids_of
from tests.diversity.test_select_laws import SELECTORS, operator, pool
frame = pool(400, clumped)
for name in SELECTORS:
    print(name, *ids_of(frame, choose(operator(name, size=60), frame)))
"""


def test_threads_of_the_linear_algebra_do_not_matter():
    def run(threads: str) -> str:
        import os

        env = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        code = THREADED.format(root=str(Path(__file__).parents[2]))
        return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env).stdout

    one, two = run("1"), run("2")
    assert len(one.splitlines()) == len(SELECTORS)
    assert one == two
