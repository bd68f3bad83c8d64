"""filter.near_duplicates: what goes is alike, what is alike goes, and borders, order and crowds change nothing."""

from __future__ import annotations

import gzip
import json
import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe.testing.memory import MemoryDataset
from sftrecipe_clean.near_duplicates import NearDuplicates, enough_bands, sketched
from sftrecipe_clean.ratio import ratio
from sftrecipe_clean.set_store import SetStore
from tests.clean.whole import FakeContext, choose, components, families, jaccard, sentence, shingle_set

DATA = Path(__file__).parents[1] / "data" / "clean"


def frame_of(texts: list[str | None], **columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"text": pl.Series(texts, dtype=pl.String), **columns})


def similarities(texts: list[str], n: int = 5) -> dict[tuple[int, int], float]:
    sets = [shingle_set(t, n) for t in texts]
    return {(a, b): jaccard(sets[a], sets[b]) for a in range(len(texts)) for b in range(a + 1, len(texts))}


def between(like: dict[tuple[int, int], float], a: int, b: int) -> float:
    return like[min(a, b), max(a, b)]


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 0.7, 0.8, 0.95]), st.integers(1, 6))
def test_groups_are_chains_of_true_near_duplicates(seed: int, threshold: float, shards: int) -> None:
    texts = families(seed, 25)
    like = similarities(texts)
    kept, dropped = choose(NearDuplicates(threshold=threshold), frame_of(texts), shards)
    true = components(len(texts), [p for p, value in like.items() if value >= threshold])
    for row, (other, value) in dropped.items():
        assert other in kept
        assert other < row
        assert true[row] == true[other]
        assert value >= threshold
        assert any(between(like, row, near) == pytest.approx(value) for near in range(len(texts)) if near != row)


def test_what_is_alike_goes() -> None:
    # recall against brute force; a miss is a pair that met in no band, and then in no chain either
    texts = families(7, 300, copies=4, words=(20, 120), rate=0.01)
    like = similarities(texts)
    for threshold in (0.8, 0.9):
        wanted = len(set(components(len(texts), [p for p, value in like.items() if value >= threshold])))
        kept, _ = choose(NearDuplicates(threshold=threshold), frame_of(texts), 3)
        assert wanted <= len(kept) <= wanted + 0.02 * (len(texts) - wanted) + 1


def test_many_bands_find_everything() -> None:
    texts = families(11, 200, rate=0.02)
    like = similarities(texts)
    wanted = components(len(texts), [p for p, value in like.items() if value >= 0.6])
    kept, _ = choose(NearDuplicates(threshold=0.6, permutations=256, bands=128), frame_of(texts), 2)
    assert kept == sorted(set(wanted))


@pytest.mark.parametrize(
    "params", [{}, {"scope": "kept"}, {"verify": False}, {"method": "ratio", "threshold": 0.9}, {"keep": "longest"}]
)
def test_shards_change_nothing(params: dict[str, Any]) -> None:
    frame = frame_of([*families(3, 40, words=(5, 60)), None, "", " \n "])
    stories = [repr(choose(NearDuplicates(**params), frame, shards)) for shards in (1, 2, 7, frame.height)]
    assert len(set(stories)) == 1


@pytest.mark.parametrize("params", [{"threshold": 0.7}, {"method": "ratio", "threshold": 0.9}, {"verify": False}])
def test_the_order_of_rows_does_not_change_the_groups(params: dict[str, Any]) -> None:
    texts = families(5, 50)
    found = set()
    for seed in range(4):
        order = list(range(len(texts)))
        random.Random(seed).shuffle(order)
        kept, dropped = choose(NearDuplicates(**params), frame_of([texts[i] for i in order]), 2)
        leader = {r: r for r in kept} | {r: other for r, (other, _) in dropped.items()}
        groups: dict[int, set[int]] = {}
        for row, other in leader.items():
            groups.setdefault(other, set()).add(order[row])
        found.add(frozenset(frozenset(g) for g in groups.values()))
    assert len(found) == 1


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_scope_kept_drops_only_for_rows_that_stay(seed: int) -> None:
    texts = families(seed, 20, copies=5)
    like = similarities(texts)
    kept, dropped = choose(NearDuplicates(scope="kept", threshold=0.7), frame_of(texts), 2)
    for row, (other, value) in dropped.items():
        assert other in kept
        assert between(like, row, other) == pytest.approx(value)
        assert value >= 0.7
    everything, _ = choose(NearDuplicates(threshold=0.7), frame_of(texts), 2)
    assert set(everything) <= set(kept)


def test_a_chain_is_one_group_unless_scope_is_kept() -> None:
    rng = random.Random(1)
    words = sentence(rng, 100).split()
    chain = []
    for _ in range(8):
        chain.append(" ".join(words))
        words = words[3:] + sentence(rng, 3).split()
    assert similarities(chain)[0, 7] < 0.7
    assert choose(NearDuplicates(threshold=0.9), frame_of(chain))[0] == [0]
    kept, dropped = choose(NearDuplicates(threshold=0.9, scope="kept"), frame_of(chain))
    assert len(kept) == 4
    assert all(abs(row - other) == 1 for row, (other, _) in dropped.items())


def test_longest_and_best_decide_who_stays() -> None:
    base = sentence(random.Random(2), 80)
    texts = [base, base + " more of it", "x " + base, sentence(random.Random(3), 80)]
    frame = frame_of(texts, q=[0.5, None, 0.9, 0.1])
    for scope in ("component", "kept"):
        assert choose(NearDuplicates(scope=scope), frame)[0] == [0, 3]
        assert choose(NearDuplicates(scope=scope, keep="longest"), frame)[0] == [1, 3]
        assert choose(NearDuplicates(scope=scope, keep="best", score="q"), frame)[0] == [2, 3]


def test_without_verification_all_candidates_go() -> None:
    texts = families(21, 120, copies=4, rate=0.04)
    loose, dropped = choose(NearDuplicates(verify=False, threshold=0.99), frame_of(texts), 2)
    strict, _ = choose(NearDuplicates(threshold=0.8), frame_of(texts), 2)
    assert set(loose) < set(strict)
    assert all(np.isnan(value) for _, value in dropped.values())


def test_texts_without_words_stay_and_short_ones_are_compared_whole() -> None:
    texts = ["", None, " \t", "", "one two", "One  TWO", "two one", None, "one two three"]
    kept, dropped = choose(NearDuplicates(threshold=0.5), frame_of(texts), 3)
    assert dropped == {5: (4, 1.0)}
    assert choose(NearDuplicates(), frame_of([])) == ([], {})
    assert choose(NearDuplicates(), frame_of([None, None]), 2)[0] == [0, 1]


def test_chinese_rows_are_compared_by_characters() -> None:
    one = "北京是中华人民共和国的首都，也是全国的政治中心和文化中心，有三千多年的建城史。"
    texts = [one, one.replace("三千", "四千"), "上海是中国最大的城市之一，位于长江入海口，是重要的港口和金融中心。"]
    assert choose(NearDuplicates(threshold=0.6), frame_of(texts))[0] == [0, 2]


def test_a_crowd_of_copies_is_one_group_at_linear_cost(caplog: pytest.LogCaptureFixture) -> None:
    rng = random.Random(0)
    base = sentence(rng, 60).split()
    texts = [" ".join([*base[:-1], f"ending{r % 50}"]) for r in range(3000)]
    operator = NearDuplicates(threshold=0.8)
    with caplog.at_level(logging.WARNING, logger="sftrecipe"):
        kept, dropped = choose(operator, frame_of(texts), 4)
    assert kept == [0]
    assert operator.artefacts["report"]["pairs_measured"] < 3 * len(texts)
    assert operator.artefacts["report"]["largest_group"] == 3000
    assert operator.artefacts["sizes"].rows() == [(3000, 1)]
    assert "largest group of near duplicates has 3000 rows" in caplog.text
    assert min(value for _, value in dropped.values()) >= 0.8


def test_the_report_adds_up() -> None:
    operator = NearDuplicates()
    texts = families(13, 60)
    kept, dropped = choose(operator, frame_of(texts), 2)
    report, sizes = operator.artefacts["report"], operator.artefacts["sizes"]
    assert report["rows"] == len(texts)
    assert report["dropped"] == len(dropped)
    assert report["groups"] == sizes["groups"].sum()
    assert (sizes["group_size"] * sizes["groups"]).sum() - report["groups"] == len(dropped)
    assert report["pairs_measured"] >= report["pairs_joined"] >= len(dropped)


def identity_dialogues() -> list[str]:
    data = json.loads(gzip.decompress((DATA / "fastchat_dummy_conversation.json.gz").read_bytes()))
    return ["\n".join(turn["value"] for turn in row["conversations"]) for row in data]


def test_on_dialogues_that_are_nearly_the_same() -> None:
    texts = identity_dialogues()
    like = similarities(texts)
    true = components(len(texts), [p for p, value in like.items() if value >= 0.7])
    kept, dropped = choose(NearDuplicates(threshold=0.7, bands=32), frame_of(texts), 3)
    assert len(set(true)) <= len(kept) <= len(set(true)) + 1
    assert len(dropped) > 100
    assert all(true[row] == true[other] for row, (other, _) in dropped.items())


@settings(max_examples=40)
@given(
    st.lists(st.text("ab c", max_size=25), min_size=1, max_size=14),
    st.sampled_from([0.8, 0.9, 0.95, 1.0]),
    st.integers(1, 4),
    st.sampled_from(["component", "kept"]),
)
def test_ratio_finds_every_pair_there_is(texts: list[str], threshold: float, shards: int, scope: str) -> None:
    kept, dropped = choose(NearDuplicates(method="ratio", threshold=threshold, scope=scope), frame_of(texts), shards)
    pairs = {
        (a, b): ratio(texts[a], texts[b])
        for a in range(len(texts))
        for b in range(a + 1, len(texts))
        if texts[a] and texts[b] and ratio(texts[a], texts[b]) >= threshold
    }
    if scope == "component":
        assert kept == sorted(set(components(len(texts), sorted(pairs))))
        assert all(value in {v for p, v in pairs.items() if row in p} for row, (_, value) in dropped.items())
        return
    stays: list[int] = []
    for row in range(len(texts)):
        if not any((other, row) in pairs for other in stays):
            stays.append(row)
    assert kept == stays
    assert all(pairs[other, row] == value for row, (other, value) in dropped.items())


def test_ratio_on_questions_with_typing_errors() -> None:
    rng = random.Random(4)
    texts = [sentence(rng, rng.randint(8, 40)).capitalize() + "?" for _ in range(150)]
    for _ in range(60):
        letters = list(rng.choice(texts[:150]))
        for _ in range(rng.randint(1, 12)):
            letters[rng.randrange(len(letters))] = rng.choice("aeiou")
        texts.append("".join(letters))
    pairs = [(a, b) for a in range(210) for b in range(a + 1, 210) if ratio(texts[a], texts[b]) >= 0.95]
    kept, _ = choose(NearDuplicates(method="ratio"), frame_of(texts), 3)
    assert kept == sorted(set(components(210, pairs)))
    assert len(kept) < 200


def test_a_shard_done_twice_does_no_harm(tmp_path: Path) -> None:
    texts = families(9, 30)
    frame = frame_of(texts).with_row_index("row")
    made = [sketched(frame, pl.col("text"), 5, 128, 16, str(tmp_path), "step") for _ in range(2)]
    assert made[0].equals(made[1])
    store = SetStore(tmp_path, np.array([0]), made[0]["members"].to_numpy().astype(np.int64), 0.0)
    a, b = np.triu_indices(len(texts), 1)
    like = similarities(texts)
    assert store(a, b).tolist() == pytest.approx([like[x, y] for x, y in zip(a.tolist(), b.tolist(), strict=True)])
    assert not list(tmp_path.glob("*.part"))


def test_sets_are_read_across_shards_in_any_order(tmp_path: Path) -> None:
    operator = NearDuplicates()
    operator.context = FakeContext(tmp_path)
    frame = frame_of(families(15, 20))
    made = MemoryDataset(frame, 5).map(sketched, pl.col("text"), 5, 64, 8, str(tmp_path), "", columns=["text"])
    sizes = made.frame("members")["members"].to_numpy().astype(np.int64)
    store = SetStore(tmp_path, np.unique(made.frame("first")["first"].to_numpy()), sizes, 0.8)
    rows = np.random.default_rng(0).integers(0, frame.height, 60)
    single = [store.members(np.array([r])) for r in rows]
    assert store.members(rows).tolist() == np.concatenate(single).tolist()
    assert [len(s) for s in single] == [len(shingle_set(frame["text"][int(r)], 5)) for r in rows]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.75, 0.9])
def test_without_bands_enough_are_taken_for_the_threshold(threshold: float) -> None:
    texts = families(31, 70, copies=3, words=(15, 60), rate=0.012)
    sets = [shingle_set(text, 5) for text in texts]
    labels = list(range(len(texts)))
    for b in range(len(texts)):
        for a in range(b):
            either = len(sets[a] | sets[b])
            if either and len(sets[a] & sets[b]) / either >= threshold and labels[a] != labels[b]:
                old, new = max(labels[a], labels[b]), min(labels[a], labels[b])
                labels = [new if label == old else label for label in labels]
    wanted = {row for row, label in enumerate(labels) if row != label}
    gone = set(choose(NearDuplicates(threshold=threshold), frame_of(texts), 3)[1])
    assert gone <= wanted
    assert len(gone) >= 0.97 * len(wanted) > 50


def test_bands_that_are_taken() -> None:
    assert [enough_bands(128, t) for t in (1.0, 0.8, 0.79, 0.7, 0.54, 0.5, 0.1)] == [16, 16, 32, 32, 32, 64, 128]
    assert [enough_bands(size, 0.8) for size in (1, 10, 100)] == [1, 10, 20]
    assert not list(NearDuplicates(permutations=100).check())


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"permutations": 100, "bands": 16}, "`permutations` (100) must be a multiple of `bands` (16)"),
        ({"method": "ratio", "threshold": 0.5}, "at least 0.8"),
        ({"scope": "kept", "verify": False}, "`scope: kept` needs `verify: true`"),
        ({"keep": "best"}, "needs `score`"),
    ],
)
def test_parameters_that_do_not_go_together(params: dict[str, Any], words: str) -> None:
    assert words in next(iter(NearDuplicates(**params).check()))


@pytest.mark.parametrize("params", [{}, {"method": "ratio"}, {"threshold": 0.9}, {"method": "ratio", "threshold": 0.8}])
def test_parameters_that_do(params: dict[str, Any]) -> None:
    assert not list(NearDuplicates(**params).check())
