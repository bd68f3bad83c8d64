"""`select.mig`."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe import StepError
from sftrecipe_diversity.budget import Budget
from sftrecipe_diversity.mig import Graph, Mig, information, propagate, tag_graph
from sftrecipe_diversity.tagsets import tag_sets
from tests.diversity.select_pools import choose, document, ids_of, ready, story

ORACLE = document("mig.json")
ADJACENCY = np.array(ORACLE["adjacency"])


def pool(tags: list, quality: list, **more) -> pl.DataFrame:
    ids = [f"{(i * 7919 + 13) % 10007:05d}" for i in range(len(tags))]
    return pl.DataFrame({"id": ids, "tags": pl.Series(tags, dtype=pl.List(pl.String)), "quality": quality, **more})


def slow_mig(dense: np.ndarray, p: np.ndarray, count: int, a: float, b: float) -> list[int]:
    """The formula with dense matrices, float64."""
    v, x, chosen = dense @ p, np.zeros(len(p)), []
    for _ in range(count):
        gains = v @ (b * (x + a) ** (b - 1))
        gains[chosen] = -np.inf
        chosen.append(int(np.flatnonzero(gains >= gains.max() - 1e-9)[0]))
        x = x + v[chosen[-1]]
    return chosen


@pytest.mark.parametrize("case", ORACLE["cases"], ids=lambda c: str(c["params"]))
def test_oracle(case):
    tags = tag_sets(pl.Series([r["labels"] for r in ORACLE["rows"]]), "tags")
    assert tags.names == ORACLE["labels"]
    source, target = np.nonzero(ADJACENCY)
    graph = Graph(source, target, ADJACENCY[source, target], len(ADJACENCY))
    quality = np.array([r["score"] for r in ORACLE["rows"]])
    rows = propagate(tags, quality, graph, normalize=case["params"].get("norm", True))
    made, _ = information(rows, np.arange(len(quality)), len(tags.names), Budget(len(case["selected"])))
    assert made.kept.tolist() == case["selected"]


@pytest.mark.parametrize("case", ORACLE["cases"], ids=lambda c: str(c["params"]))
def test_oracle_through_the_operator(case, tmp_path):
    np.savez(tmp_path / "tags.npz", tags=np.array(ORACLE["labels"]), weights=ADJACENCY)
    frame = pool([r["labels"] for r in ORACLE["rows"]], [r["score"] for r in ORACLE["rows"]])
    operator = ready(Mig, size=60, graph=tmp_path / "tags.npz", normalize=case["params"].get("norm", True))
    assert choose(operator, frame).kept.tolist() == case["selected"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4), min_size=2, max_size=25),
    st.floats(0.1, 0.95),
    st.floats(0, 2),
    st.booleans(),
    st.integers(0, 99),
)
def test_sparse_and_lazy_is_the_formula(lists, power, spread, normalize, seed):
    rng = np.random.default_rng(seed)
    tags, quality = tag_sets(pl.Series(lists), "tags"), rng.random(len(lists)) * 5
    graph = tag_graph(rng.normal(size=(len(tags.names), 2)), len(tags.names), 0.8, spread)
    w = np.zeros((len(tags.names),) * 2)
    w[graph.source, graph.target] = graph.weight
    dense = np.zeros((len(lists), len(tags.names)))
    for row in range(len(lists)):
        dense[row, tags.of(row)] = quality[row] / (len(tags.of(row)) if normalize else 1)
    expected = slow_mig(dense, w / w.sum(axis=0), len(lists), 1e-6, power)
    rows = propagate(tags, quality, graph, normalize=normalize)
    made, _ = information(rows, np.arange(len(lists)), len(tags.names), Budget(None), b=power)
    assert made.kept.tolist() == expected


def test_graph_by_hand():
    graph = tag_graph(np.array([[1, 0], [0.95, 0.3122], [0, 1.0]]), 3, 0.9, 0.5)
    edges = {
        (s, t): w for s, t, w in zip(graph.source.tolist(), graph.target.tolist(), graph.weight.tolist(), strict=True)
    }
    assert edges == pytest.approx({(0, 0): 1, (1, 1): 1, (2, 2): 1, (0, 1): 0.475, (1, 0): 0.475}, abs=1e-4)
    assert graph.spread().weight == pytest.approx([1 / 1.475, 0.475 / 1.475, 0.475 / 1.475, 1 / 1.475, 1], abs=1e-4)


def test_like_tags_share_their_information():
    frame = pool([["sum"], ["addition"], ["poem"]], [5.0, 4.9, 1.0])
    alone = choose(ready(Mig, size=2), frame)
    assert alone.kept.tolist() == [0, 1]

    class Embedder:
        fit_rows, language = 0, None

        def embed(self, texts, state=None):
            return np.array([[0.0, 1.0] if t == "poem" else [1.0, 0.0] for t in texts], dtype=np.float32)

    operator = ready(Mig, size=2, power=0.1)
    operator.model = Embedder()
    assert choose(operator, frame).kept.tolist() == [0, 2]


def test_exp_returns_diminish_faster_than_a_second_tag():
    frame = pool([["a"], ["a"], ["b"]], [3.0, 3.0, 0.5])
    assert choose(ready(Mig, size=2, phi="exp"), frame).kept.tolist()[1] == 2


def test_nested():
    frame = pool([r["labels"] for r in ORACLE["rows"]], [r["score"] for r in ORACLE["rows"]])
    large = ids_of(frame, choose(ready(Mig, size=200), frame))
    assert ids_of(frame, choose(ready(Mig, size=100), frame)) == large[:100]


def test_dropped_rows_say_why():
    frame = pool([["a"], ["a"], [], None, ["b"], ["  "]], [5.0, 1.0, 9.0, 9.0, None, 9.0])
    choice = choose(ready(Mig, size=1), frame)
    told = story(frame, choice)
    ids = frame["id"].to_list()
    assert choice.kept.tolist() == [0]
    assert [told[ids[i]][0] for i in (2, 3, 5)] == ["no_tags"] * 3
    assert told[ids[4]][0] == "undefined"
    assert told[ids[1]] == ("not_chosen", None, round(0.8 * (5 + 1e-6) ** -0.2, 6))


def test_tokens():
    frame = pool([["a"], ["b"], ["c"]], [3.0, 2.0, 1.0], tokens=[5, 50, 5])
    choice = choose(ready(Mig, tokens=12, count="tokens"), frame)
    assert choice.kept.tolist() == [0, 2]
    assert story(frame, choice)[frame["id"][1]][0] == "over_budget"


@pytest.mark.parametrize("tags", [[[], []], [None, None]])
def test_no_tags_at_all_is_an_error(tags):
    with pytest.raises(StepError, match="no row has a tag in `tags`"):
        choose(ready(Mig, size=1), pool(tags, [1.0, 1.0]))


def test_negative_quality_is_an_error():
    with pytest.raises(StepError, match="negative"):
        choose(ready(Mig, size=1), pool([["a"], ["b"]], [1.0, -1.0]))


def test_a_text_column_is_no_tag_column():
    frame = pool([["a"]], [1.0]).with_columns(tags=pl.lit("a, b"))
    with pytest.raises(StepError, match="lists of text are needed"):
        choose(ready(Mig, size=1), frame)


@pytest.mark.parametrize(
    "arrays",
    [
        {"tags": np.array(["a"])},
        {"tags": np.array(["a"]), "vectors": np.ones((2, 3))},
        {"vectors": np.ones((1, 2))},
        {"tags": np.array(["a"]), "vectors": np.array([[np.nan]])},
        {"tags": np.array(["a", "b"]), "weights": np.ones((2, 3))},
        {"tags": np.array(["a"]), "weights": np.array([[-1.0]])},
    ],
)
def test_bad_tag_graphs_are_named(tmp_path, arrays):
    np.savez(tmp_path / "tags.npz", **arrays)
    with pytest.raises(StepError, match=r"tags\.npz"):
        choose(ready(Mig, size=1, graph=tmp_path / "tags.npz"), pool([["a"]], [1.0]))


@pytest.mark.parametrize("kind", ["vectors", "weights"])
def test_tags_that_the_graph_does_not_know_stand_alone(tmp_path, kind):
    arrays = {"vectors": np.ones((2, 3))} if kind == "vectors" else {"weights": np.ones((2, 2))}
    np.savez(tmp_path / "tags.npz", tags=np.array(["sum", "addition"]), **arrays)
    frame = pool([["sum"], ["addition"], ["poem"]], [5.0, 4.9, 1.0])
    assert choose(ready(Mig, size=2, power=0.1, graph=tmp_path / "tags.npz"), frame).kept.tolist() == [0, 2]
    assert choose(ready(Mig, size=2, power=0.1), frame).kept.tolist() == [0, 1]


def test_tag_sets_by_hand():
    made = tag_sets(pl.Series([["b", "a", "b"], [], None, [" a ", "", None]]), "tags")
    assert made.names == ["a", "b"]
    assert made.counts.tolist() == [2, 0, 0, 1]
    assert [made.of(i).tolist() for i in range(4)] == [[0, 1], [], [], [0]]
