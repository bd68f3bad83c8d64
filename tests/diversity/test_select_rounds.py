"""`select.kcenter` with a trainer in the loop: rows out, vectors in, round after round."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from sftrecipe import Pending, StepError
from sftrecipe_diversity.kcenter import KCenter
from tests.diversity.select_pools import choose, clumped, frame_of, ids_of, ready, slow_k_center, story

N, SIZE, ROUNDS = 80, 6, 3


def messages(n: int) -> pl.Series:
    return pl.Series(
        [[{"role": "user", "content": f"ask {i}"}, {"role": "assistant", "content": f"say {i} é"}] for i in range(n)]
    )


@pytest.fixture
def frame():
    return frame_of(np.ones((N, 1)), messages=messages(N)).drop("embedding")


def operator(folder, **params):
    paths = {"give": f"{folder}/out/round-{{round}}.jsonl", "take": f"{folder}/vectors/round-{{round}}.npz"}
    return ready(KCenter, **{"size": SIZE, "rounds": ROUNDS, **paths, **params})


def train(folder, frame: pl.DataFrame, number: int) -> np.ndarray:
    """A trainer: vectors of all rows, another space each round, in another order than the pool's."""
    vectors = clumped(N, 8, seed=100 + number)
    turned = np.random.default_rng(number).permutation(N)
    (folder / "vectors").mkdir(exist_ok=True)
    ids = np.array(frame["id"].to_list())
    np.savez(folder / "vectors" / f"round-{number}.npz", ids=ids[turned], vectors=vectors[turned].astype(np.float64))
    return vectors


def play(folder, frame: pl.DataFrame, **params):
    """Runs until nothing is awaited; returns the choice and how often it waited."""
    waited = 0
    while True:
        try:
            return choose(operator(folder, **params), frame), waited
        except Pending as pending:
            assert f"round-{waited}.npz" in str(pending)
            train(folder, frame, waited)
            waited += 1


def given(folder, number: int) -> list[dict]:
    return [json.loads(line) for line in (folder / "out" / f"round-{number}.jsonl").read_text().splitlines()]


def test_the_whole_loop(tmp_path, frame):
    choice, waited = play(tmp_path, frame)
    assert waited == ROUNDS
    kept = ids_of(frame, choice)
    assert len(kept) == len(set(kept)) == SIZE * (ROUNDS + 1)
    for number in range(ROUNDS):
        rows = given(tmp_path, number)
        assert [r["id"] for r in rows] == kept[: SIZE * (number + 1)]
        assert [r["round"] for r in rows] == np.repeat(np.arange(number + 1), SIZE).tolist()
        assert all(r["messages"] == frame.filter(pl.col("id") == r["id"])["messages"][0].to_list() for r in rows)


def test_each_round_is_k_center_in_its_own_vectors(tmp_path, frame):
    choice, _ = play(tmp_path, frame)
    ids, kept = frame["id"].to_list(), choice.kept.tolist()
    tie = np.argsort(np.argsort(ids))
    for number in range(ROUNDS):
        begun = kept[: SIZE * (number + 1)]
        expected = slow_k_center(clumped(N, 8, seed=100 + number), begun, SIZE, tie)
        assert kept[: SIZE * (number + 2)] == expected


def test_state_is_a_function_of_the_files_taken(tmp_path, frame):
    first, _ = play(tmp_path, frame)
    again, waited = play(tmp_path, frame)
    assert waited == 0
    assert again.kept.tolist() == first.kept.tolist()
    turned = frame.sample(fraction=1.0, shuffle=True, seed=5)
    assert ids_of(turned, choose(operator(tmp_path), turned)) == ids_of(frame, first)


def test_files_given_are_not_touched_when_nothing_changed(tmp_path, frame):
    play(tmp_path, frame)
    path = tmp_path / "out" / "round-1.jsonl"
    before = path.stat().st_mtime_ns
    play(tmp_path, frame)
    assert path.stat().st_mtime_ns == before
    assert sorted(p.name for p in path.parent.iterdir()) == [f"round-{r}.jsonl" for r in range(ROUNDS)]


def test_other_vectors_in_round_one_change_only_what_follows(tmp_path, frame):
    first, _ = play(tmp_path, frame)
    ids = np.array(frame["id"].to_list())
    np.savez(tmp_path / "vectors" / "round-1.npz", ids=ids, vectors=clumped(N, 8, seed=999))
    second = choose(operator(tmp_path), frame)
    assert second.kept.tolist()[: 2 * SIZE] == first.kept.tolist()[: 2 * SIZE]
    assert second.kept.tolist()[2 * SIZE :] != first.kept.tolist()[2 * SIZE :]


def test_what_is_awaited_is_said(tmp_path, frame):
    with pytest.raises(Pending, match=r"waits for .*vectors/round-0\.npz.*trained on .*out/round-0\.jsonl"):
        choose(operator(tmp_path), frame)
    assert len(given(tmp_path, 0)) == SIZE


def test_dropped_rows_name_the_nearest_row_of_the_last_round(tmp_path, frame):
    choice, _ = play(tmp_path, frame)
    codes = story(frame, choice)
    assert len(codes) == N - len(choice.kept)
    assert all(code == "not_chosen" and other and figure > 0 for code, other, figure in codes.values())


def test_whitening_in_the_loop(tmp_path, frame):
    choice, _ = play(tmp_path, frame, whiten=4)
    assert len(choice.kept) == SIZE * (ROUNDS + 1)


def test_rounds_end_when_the_pool_does(tmp_path, frame):
    choice, _ = play(tmp_path, frame, size=30)
    assert sorted(choice.kept.tolist()) == list(range(N))


def test_the_static_form_is_the_same_without_files(frame):
    full = frame.with_columns(pl.Series("embedding", clumped(N, 8).tolist(), dtype=pl.List(pl.Float32)))
    rounds = choose(ready(KCenter, size=5, rounds=3), full)
    once = choose(ready(KCenter, size=20, first=5), full)
    assert rounds.kept.tolist() == once.kept.tolist()


def vectors(**changes):
    ids = np.array(changes.pop("ids"))
    return {"ids": ids, "vectors": np.ones((len(ids), 3)), **changes}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda ids: vectors(ids=ids[1:]), "1 rows of the pool have no vector"),
        (lambda ids: vectors(ids=[*ids, ids[0]]), "1 ids stand there twice"),
        (lambda ids: vectors(ids=ids, vectors=np.full((len(ids), 3), np.nan)), "no finite number"),
        (lambda ids: vectors(ids=ids, vectors=np.ones(len(ids))), r"numbers \[n, d\] are needed"),
        (lambda ids: vectors(ids=ids, vectors=np.full((len(ids), 3), "x")), r"numbers \[n, d\] are needed"),
        (lambda ids: {"vectors": np.ones((len(ids), 3))}, "ids is not a file in the archive"),
    ],
)
def test_bad_vectors_are_named(tmp_path, frame, spoil, says):
    (tmp_path / "vectors").mkdir()
    np.savez(tmp_path / "vectors" / "round-0.npz", **spoil(frame["id"].to_list()))
    with pytest.raises(StepError, match=says):
        choose(operator(tmp_path), frame)


def test_half_a_file_is_an_error(tmp_path, frame):
    train(tmp_path, frame, 0)
    path = tmp_path / "vectors" / "round-0.npz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(StepError, match=r"round-0\.npz"):
        choose(operator(tmp_path), frame)


def test_no_vector_column_is_read_with_take_and_the_messages_are():
    columns = {"id": "text", "messages": "messages"}
    looped = operator("x").flow(columns).reads
    assert "embedding" not in looped and "messages" in looped
    static = ready(KCenter, size=3).flow(columns).reads
    assert "embedding" in static and "messages" not in static


def test_rows_beyond_the_pool_are_ignored(tmp_path, frame):
    (tmp_path / "vectors").mkdir()
    ids = [*frame["id"].to_list(), "stranger"]
    np.savez(tmp_path / "vectors" / "round-0.npz", ids=np.array(ids), vectors=clumped(N + 1, 4))
    assert len(choose(operator(tmp_path, rounds=1), frame).kept) == 2 * SIZE


@pytest.mark.parametrize(
    "text", ['["a", "b"]', '{"id": "a", "x": 1}\n{"id": "b"}\n', "a\n\nb\n", '"a"\n"b"\n', '[{"id": "a"}, "b"]']
)
def test_ids_are_read_from_any_of_the_forms(tmp_path, text):
    from sftrecipe_diversity.exchange import read_ids

    (tmp_path / "ids").write_text(text)
    assert read_ids(tmp_path / "ids") == ["a", "b"]


def test_an_entry_without_id_is_an_error(tmp_path):
    from sftrecipe_diversity.exchange import read_ids

    (tmp_path / "ids").write_text('{"name": "a"}\n')
    with pytest.raises(StepError, match="have no `id`"):
        read_ids(tmp_path / "ids")
