"""`select.clusters`."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe_diversity.clusters import Clusters, best_of_each, by_cluster, middle
from sftrecipe_diversity.kmeans import k_means
from tests.diversity.select_pools import choose, clumped, frame_of, ids_of, ready, story


def pool(n: int = 200, clumps: int = 8):
    rng = np.random.default_rng(0)
    return frame_of(
        clumped(n, 10, clumps=clumps, noise=0.02), score=rng.permutation(n).astype(float), tokens=rng.integers(5, 30, n)
    )


def labels(frame) -> np.ndarray:
    return k_means(np.array(frame.sort("id")["embedding"].to_list(), dtype=np.float32), 8, 7)[
        np.argsort(np.argsort(frame["id"].to_list()))
    ]


def test_clumps_are_found():
    x = clumped(200, 10, seed=4, clumps=5, noise=0.01)
    label = k_means(x.copy(), 5, 1)
    same = x.astype(np.float64) @ x.T > 0.9
    assert ((label[:, None] == label[None]) == same).mean() > 0.9


def test_top_takes_the_best_of_each_cluster_then_the_best_of_all():
    frame = pool()
    kept = choose(ready(Clusters, size=30, by="score", clusters=8), frame).kept
    label, score = labels(frame), frame["score"].to_numpy()
    best = {max(np.flatnonzero(label == c), key=lambda r: score[r]) for c in range(8)}
    assert set(kept[:8].tolist()) == best
    rest = [r for r in np.argsort(-score).tolist() if r not in best][:22]
    assert kept[8:].tolist() == rest


@pytest.mark.parametrize(("overall", "each"), [(0, 1), (10, 1), (25, 2), (60, 3)])
def test_car_is_the_union_of_both_lists_and_a_budget_of_its_size_the_same(overall, each):
    frame = pool()
    car = choose(ready(Clusters, by="score", clusters=8, overall=overall, each=each), frame)
    label, score = labels(frame), frame["score"].to_numpy()
    order = np.argsort(-score)
    union = set(order[:overall].tolist()) | {r for c in range(8) for r in order[label[order] == c][:each].tolist()}
    assert set(car.kept.tolist()) == union
    sized = choose(ready(Clusters, by="score", clusters=8, size=len(union), each=each), frame)
    assert sized.kept.tolist() == car.kept.tolist()


def test_middle_by_hand():
    values = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 100])
    rows = np.arange(10)
    # percentiles 25 and 75 are 3.25 and 7.75: rows 3 to 6 remain
    assert middle(rows, values, 2).tolist() == [3, 5]
    assert middle(rows, values, 4).tolist() == [3, 4, 5, 6]
    assert middle(rows, values, 5).tolist() == [3, 4, 5, 6]
    assert middle(rows, values, 11).tolist() == rows.tolist()
    assert middle(rows, values, 2, 0, 100).tolist() == [0, 5]


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 99))
def test_middle_keeps_at_most_each_and_only_the_middle(n, each, seed):
    values = np.random.default_rng(seed).normal(size=n)
    kept = middle(np.arange(n), values, each)
    assert len(set(kept.tolist())) == len(kept) <= each
    if n >= each:
        low, high = np.percentile(values, [25, 75])
        assert ((values[kept] >= low) & (values[kept] <= high)).all()


def test_middle_through_the_operator():
    frame = pool()
    choice = choose(ready(Clusters, by="score", clusters=8, rule="middle", each=5), frame)
    label, score = labels(frame), frame["score"].to_numpy()
    order = np.argsort(frame["id"].to_list())
    expected = [r for c in range(8) for r in middle(order[label[order] == c], score, 5).tolist()]
    assert choice.kept.tolist() == expected


def test_dropped_rows_name_the_first_of_their_cluster():
    frame = pool()
    choice = choose(ready(Clusters, size=8, by="score", clusters=8), frame)
    label, ids = labels(frame), frame["id"].to_list()
    told = story(frame, choice)
    first = {label[r]: ids[r] for r in choice.kept[::-1].tolist()}
    assert all(told[ids[r]] == ("not_chosen", first[label[r]], frame["score"][r]) for r in range(200) if ids[r] in told)


def test_tokens():
    frame = pool()
    choice = choose(ready(Clusters, tokens=200, count="tokens", by="score", clusters=8), frame)
    assert 170 < frame["tokens"].gather(choice.kept.astype(np.uint32)).sum() <= 200


def test_row_order_does_not_matter():
    frame = pool()
    turned = frame.sample(fraction=1.0, shuffle=True, seed=8)
    operator = ready(Clusters, size=40, by="score")
    assert ids_of(turned, choose(operator, turned)) == ids_of(frame, choose(operator, frame))


def test_components_first():
    frame = pool()
    assert len(choose(ready(Clusters, size=40, by="score", clusters=8, variance=0.9), frame).kept) == 40


def test_more_clusters_than_rows():
    frame = pool(6, 2)
    assert len(choose(ready(Clusters, size=3, by="score", clusters=50), frame).kept) == 3


def test_groups_in_order():
    order, label = np.array([3, 1, 0, 2, 4]), np.array([1, 0, 1, 0, 2])
    assert [g.tolist() for g in by_cluster(order, label)] == [[3, 1], [0, 2], [4]]
    assert best_of_each(order, label, 2).tolist() == [3, 0, 4, 1, 2]


def test_scikit_learn_is_not_imported_with_the_module():
    import subprocess

    code = (
        "import sys, sftrecipe_diversity.clusters, sftrecipe_diversity.rds, sftrecipe_diversity.kcenter, sftrecipe_diversity.mig;"
        "sys.exit(any(m.split('.')[0] in ('sklearn', 'scipy', 'torch') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "one of them"),
        ({"size": 5, "overall": 5}, "one of them"),
        ({"rule": "middle", "overall": 5}, "belongs to `rule: top`"),
        ({"size": 5, "low": 80.0}, "`low` is above `high`"),
    ],
)
def test_check_names_what_does_not_go_together(params, says):
    assert any(says in p for p in ready(Clusters, by="score", **params).check())
