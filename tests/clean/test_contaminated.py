"""Contamination: what each method sees and misses, told of every row that is dropped."""

from __future__ import annotations

import gzip
import json
import random
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe import StepError, message
from sftrecipe.artefacts import load_all, save
from sftrecipe.rows import Rows, frame_of
from sftrecipe.testing.memory import MemoryDataset
from sftrecipe_clean.contaminated import Contaminated, TagContaminated
from sftrecipe_clean.eval_index import coverage
from sftrecipe_clean.ratio import ratio
from sftrecipe_clean.tokens import token_list
from tests.clean.whole import FakeContext, sentence

TULIPS = (
    "Mira planted 48 tulips along the garden path in March and then she planted half as many in April. "
    "How many tulips did Mira plant altogether in March and April?"
)
HARBOUR = (
    "Please answer the following question in one sentence: which river flows through the old harbour of the city "
    "before it reaches the northern sea?"
)
STOCK = "Please answer the following question in one sentence: why do cats purr when they sleep in the sun?"
SHORT = "Name three famous alpine passes"

# eval item, training row, and what the methods must say (True: flagged), in the columns of METHODS
METHODS: Mapping[str, Mapping[str, Any]] = {
    "any 8": {"method": "any", "n": 8, "short_items": False},
    "any 13": {"method": "any", "n": 13, "short_items": False},
    "coverage": {"method": "coverage", "short_items": False},
    "ratio": {"method": "ratio"},
    "exact": {"method": "exact"},
    "default": {},
}
PROBES: Mapping[str, tuple[str, str, tuple[bool, ...]]] = {
    "word for word": (TULIPS, TULIPS, (True, True, True, True, True, True)),
    "inside a wrapper": (
        TULIPS,
        f"You are a careful tutor who explains every step. Solve this for a child of nine years. {TULIPS} "
        "Write the solution as numbered steps, check it, and give the final number on a line of its own.",
        (True, True, True, False, True, True),
    ),
    "only the numbers changed": (
        TULIPS.replace("March and April", "March and May, in all 72 beds of 3 rows"),
        TULIPS.replace("48", "52").replace("March and April", "March and May, in all 96 beds of 5 rows"),
        (True, True, True, True, False, True),
    ),
    "upper case, punctuation gone": (
        TULIPS,
        TULIPS.upper().replace(".", "").replace("?", ""),
        (True, True, True, False, True, True),
    ),
    "a paraphrase": (
        TULIPS,
        "In spring a gardener sets out 48 bulbs one month and 24 the next. What is the total over both months?",
        (False, False, False, False, False, False),
    ),
    "one stock phrase": (HARBOUR, STOCK, (True, False, False, False, False, False)),
    "five words": (SHORT, SHORT, (False, False, False, True, True, True)),
    "five words in a longer prompt": (
        SHORT,
        "I am planning a trip with my bicycle. Name three famous alpine passes, and say which one is the steepest.",
        (False, False, False, False, True, True),
    ),
}


def evals_of(texts: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame({
        "id": [f"item{k}" for k in range(len(texts))],
        "source": ["bench"] * len(texts),
        "question": pl.Series(texts, dtype=pl.String),
    })  # fmt: skip


def ready(kind: type, evals: list[str | None] | pl.DataFrame, **params: Any) -> Any:
    """An operator with its index, as a worker has it: made anew, with the state read from artefacts."""
    frame = evals if isinstance(evals, pl.DataFrame) else evals_of(evals)
    fitted = kind(**params)
    fitted.against, fitted.against_text = MemoryDataset(frame, 2), pl.col("question")
    live = kind(**params)
    live.state, live.artefacts = fitted.fit(MemoryDataset(pl.DataFrame({"id": ["x"]}))), fitted.artefacts
    live.text, live.context = pl.col("text"), FakeContext()
    live.setup()
    return live


def rows_of(texts: list[str | None]) -> Rows:
    return Rows(pl.DataFrame({"id": [f"row{k}" for k in range(len(texts))], "text": pl.Series(texts, dtype=pl.String)}))


def dropped(operator: Any, texts: list[str | None]) -> dict[int, float]:
    mask, values = operator.keep(rows_of(texts))["contaminated"]
    return {k: v for k, (stays, v) in enumerate(zip(mask.to_list(), values.to_list(), strict=True)) if not stays}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("probe", PROBES)
def test_what_each_method_sees(probe: str, method: str) -> None:
    item, row, seen = PROBES[probe]
    assert bool(dropped(ready(Contaminated, [item], **METHODS[method]), [row])) is seen[list(METHODS).index(method)]


def test_the_numbers_behind_the_probes() -> None:
    tokens = {name: (token_list(item), token_list(row)) for name, (item, row, _) in PROBES.items()}
    assert coverage(*tokens["inside a wrapper"], 8) == 1.0
    assert 0.5 < coverage(*tokens["only the numbers changed"], 8) < 0.9
    assert 0 < coverage(*tokens["one stock phrase"], 8) < 0.5
    assert ratio(*PROBES["only the numbers changed"][:2]) >= 0.95
    assert ratio(*PROBES["inside a wrapper"][:2]) < 0.8


def test_the_story_names_the_item() -> None:
    operator = ready(Contaminated, ["something else entirely that nobody asked for ever", TULIPS])
    assert dropped(operator, ["a clean row", TULIPS, None]) == {1: 1.0}
    ((row, code, facts),) = operator.context.notes
    assert (row, code) == ("row1", "contaminated")
    shown = {"text": TULIPS[:120], "eval_text": TULIPS[:120]}
    assert facts == {"eval": "item1", "eval_source": "bench", "share": 1.0, **shown}


def test_the_report_counts_hits_by_set_and_shows_pairs() -> None:
    facts = [("eval1", "bench", 1.0), ("eval1", "bench", 0.62), ("eval9", "other", 0.55)]
    told = [json.dumps({"eval": e, "eval_source": s, "share": x, "text": "t", "eval_text": "e"}) for e, s, x in facts]
    rows = ["a", "b", "c"]
    events = pl.DataFrame({"id": rows, "kind": ["note"] * 3, "code": ["contaminated"] * 3, "facts": told})
    report = Contaminated().report(events)
    assert report["hits"].select("source", "items", "rows", "0.5", "0.6", "0.9").rows() == [
        ("bench", 1, 2, 0, 1, 1),
        ("other", 1, 1, 1, 0, 0),
    ]
    assert report["pairs"]["row"].to_list() == ["a", "b", "c"]
    assert Contaminated().report(events.clear())["hits"].height == 0


def test_the_tag_writes_every_share_and_its_item() -> None:
    operator = ready(TagContaminated, [TULIPS, HARBOUR, SHORT])
    made = operator.tag(rows_of([TULIPS, STOCK, "clean", None, f"{SHORT}!"]))
    shares, names = made["contaminated"].tolist(), made["contaminated_by"].to_list()
    assert shares[0] == shares[4] == 1.0
    assert 0 < shares[1] < 0.5
    assert shares[2:4] == [0.0, 0.0]
    assert names == ["bench/item0", "bench/item1", None, None, "bench/item2"]
    filtered = ready(TagContaminated, [TULIPS, HARBOUR, SHORT], threshold=0.5).tag(rows_of([STOCK, TULIPS]))
    assert filtered["contaminated"].tolist() == [0.0, 1.0]


def test_of_equal_shares_the_first_item_is_named() -> None:
    operator = ready(
        TagContaminated,
        ["unrelated words that no row will ever hold in this order", TULIPS, TULIPS, f"{TULIPS} Why so many?"],
    )
    assert operator.tag(rows_of([TULIPS]))["contaminated_by"].to_list() == ["bench/item1"]


@pytest.mark.parametrize(
    ("item", "row", "words", "found"),
    [
        ("What is the answer?", "Read this. What is the answer? Explain.", 5, False),
        ("What is the answer?", "Read this. What is the answer? Explain.", 4, True),
        ("no no no no no no", "he said no no no no no no twice", 5, False),
        ("Name five lakes in Peru", "name five lakes in peruvian towns", 5, False),
        ("Name five lakes in Peru", "rename five lakes in Peru", 5, False),
        ("Name five lakes in Peru", "(name FIVE lakes, in Peru)", 5, True),
    ],
)
def test_short_items_are_found_whole_and_only_if_they_say_enough(item: str, row: str, words: int, found: bool) -> None:
    for method in ("coverage", "exact", "any"):
        assert bool(dropped(ready(Contaminated, [item], method=method, min_words=words), [row])) is found


def test_chinese_items_are_found_by_their_characters() -> None:
    item = "小明有48个苹果，他把一半送给了小红，还剩下多少个苹果？"
    operator = ready(Contaminated, [item])
    assert list(dropped(operator, [f"请回答下面的问题：{item}请一步一步地想。", "小红有三本书，小明有五本书。"])) == [0]


def test_grams_scattered_over_rows_do_not_add_up() -> None:
    rng = random.Random(0)
    words = sentence(rng, 40).split()
    rows = [" ".join(words[k : k + 10]) for k in range(0, 40, 10)]
    operator = ready(Contaminated, [" ".join(words)])
    assert dropped(operator, rows) == {}
    assert list(dropped(operator, [" ".join(rows)])) == [0]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(list(METHODS)), st.integers(1, 4))
def test_results_do_not_depend_on_batches(seed: int, method: str, size: int) -> None:
    rng = random.Random(seed)
    items = [sentence(rng, rng.randint(0, 30)) for _ in range(12)]
    rows = [
        " ".join([sentence(rng, 3), rng.choice(items), sentence(rng, rng.randint(0, 3))]).strip() for _ in range(10)
    ]
    rows += [rng.choice(items), sentence(rng, 20)]
    operator = ready(Contaminated, items, **METHODS[method])
    whole = dropped(operator, rows)
    cut = {at + k: v for at in range(0, len(rows), size) for k, v in dropped(operator, rows[at : at + size]).items()}
    assert whole == cut


@settings(max_examples=25)
@given(
    st.lists(st.text("ab c", max_size=20), min_size=1, max_size=6),
    st.lists(st.one_of(st.none(), st.text("ab c", max_size=20)), min_size=1, max_size=8),
    st.sampled_from([0.8, 0.9, 0.95]),
)
def test_ratio_finds_the_best_item_of_all(items: list[str], rows: list[str | None], threshold: float) -> None:
    made = ready(TagContaminated, items, method="ratio", threshold=threshold).tag(rows_of(rows))
    for row, share, by in zip(rows, made["contaminated"].tolist(), made["contaminated_by"].to_list(), strict=True):
        values = [ratio(row, i) if row and i else 0.0 for i in items]
        best = max(values)
        assert share == (best if best >= threshold else 0.0)
        assert by == (f"bench/item{values.index(best)}" if best >= threshold else None)


def test_ratio_among_texts_of_one_kind() -> None:
    rng = random.Random(5)
    items = [sentence(rng, rng.randint(5, 40)) for _ in range(200)]
    rows = [
        *items[:20],
        *(t[:-1] for t in items[20:40]),
        *(sentence(rng, 20) for _ in range(100)),
        *(f"{t} {t}" for t in items[:10]),
    ]
    found = dropped(ready(Contaminated, items, method="ratio"), rows)
    wanted = {k: max(ratio(r, i) for i in items) for k, r in enumerate(rows)}
    assert found == {k: v for k, v in wanted.items() if v >= 0.95}
    assert len(found) >= 40


def test_what_a_method_cannot_see_is_counted() -> None:
    frame = evals_of([TULIPS, SHORT, "Too short", "", None]).with_columns(
        pl.Series("source", ["a", "a", "a", "b", "b"])
    )
    for params, wanted in (
        ({}, [("a", 3, 2), ("b", 2, 0)]),
        ({"short_items": False}, [("a", 3, 1), ("b", 2, 0)]),
        ({"method": "exact"}, [("a", 3, 2), ("b", 2, 0)]),
        ({"method": "ratio"}, [("a", 3, 3), ("b", 2, 0)]),
    ):
        assert ready(Contaminated, frame, **params).artefacts["evals"].rows() == wanted


@pytest.mark.parametrize("method", METHODS)
def test_the_index_survives_the_store(method: str, tmp_path: Path) -> None:
    rows = [row for _, row, _ in PROBES.values()]
    operator = ready(Contaminated, [TULIPS, HARBOUR, SHORT], **METHODS[method])
    before = dropped(operator, rows)
    for name, value in operator.state.items():
        save(tmp_path, name, value)
    operator.state = load_all(tmp_path)
    operator.setup()
    assert dropped(operator, rows) == before


@pytest.mark.parametrize("method", METHODS)
def test_no_items_and_no_rows(method: str) -> None:
    operator = ready(Contaminated, [], **METHODS[method])
    assert dropped(operator, [TULIPS, None]) == {}
    assert dropped(operator, []) == {}
    assert dropped(ready(Contaminated, ["", None], **METHODS[method]), [TULIPS, "", None]) == {}


def talk(*turns: tuple[str, str | None]) -> list[dict[str, Any]]:
    return [message(role, text) for role, text in turns]


def talking(kind: type, evals: list[Any], **params: Any) -> Any:
    """An operator that looks at messages of both sides."""
    frame = frame_of(
        [{"id": f"e{k}", "source": "bench", "messages": m} for k, m in enumerate(evals)],
        {"id": "text", "source": "text", "messages": "messages"},
    )
    fitted, live = kind(**params), kind(**params)
    fitted.against = MemoryDataset(frame, 2)
    live.state = fitted.fit(MemoryDataset(pl.DataFrame({"id": ["x"]})))
    live.artefacts, live.context = fitted.artefacts, FakeContext()
    live.setup()
    return live


def talks(messages: list[Any]) -> Rows:
    return Rows(
        frame_of([{"id": f"r{k}", "messages": m} for k, m in enumerate(messages)], {"id": "text", "messages": "messages"})
    )


FIRST = talk(("user", TULIPS), ("assistant", "72"), ("user", "Thanks!"), ("assistant", "Welcome."))
SPOKEN = talk(("user", "Give me a riddle about bees, please."), ("assistant", TULIPS))
CLEAN = talk(("system", TULIPS), ("user", "How do bees find their way?"), ("assistant", "By the sun."))


@pytest.mark.parametrize("method", METHODS)
def test_every_user_message_is_searched(method: str) -> None:
    params = METHODS[method]
    rows = talks([FIRST, SPOKEN, CLEAN, None, []])
    operator = talking(Contaminated, [talk(("user", TULIPS))], **params)
    mask, shares = operator.keep(rows)["contaminated"]
    assert mask.to_list() == [False, True, True, True, True]
    assert shares.to_list() == [1.0, 0.0, 0.0, 0.0, 0.0]
    ((row, _, facts),) = operator.context.notes
    assert (row, facts["eval"], facts["text"]) == ("r0", "e0", TULIPS[:120])
    answers = talking(Contaminated, [talk(("user", TULIPS))], roles=["user", "assistant"], **params)
    assert answers.keep(rows)["contaminated"][0].to_list() == [False, False, True, True, True]
    assert answers.keep(talks([]))["contaminated"][0].to_list() == []


def test_each_user_message_of_an_evaluation_row_is_an_item() -> None:
    evals = [talk(("user", SHORT), ("assistant", "-"), ("user", TULIPS)), talk(("assistant", "no question")), None]
    operator = talking(TagContaminated, evals)
    assert operator.artefacts["evals"].rows() == [("bench", 4, 2)]
    made = operator.tag(talks([FIRST, talk(("user", f"{SHORT}!"), ("user", "And now?")), CLEAN]))
    assert made["contaminated"].tolist() == [1.0, 1.0, 0.0]
    assert made["contaminated_by"].to_list() == ["bench/e0", "bench/e0", None]


@pytest.mark.parametrize("change", ["nfd", "full width", "blanks", "soft hyphens"])
@pytest.mark.parametrize("method", ["coverage", "any 8", "exact"])
def test_the_same_text_in_another_form(change: str, method: str) -> None:
    item = "Mira a plant\u00e9 48 tulipes le long du sentier en mars, puis la moiti\u00e9 en avril. Combien de tulipes ?"
    row = {
        "nfd": unicodedata.normalize("NFD", item),
        "full width": "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in item),
        "blanks": item.replace(" ", "\n\u00a0\u2003"),
        "soft hyphens": item.replace("ip", "i\u00adp"),
    }[change]
    assert dropped(ready(Contaminated, [item], **METHODS[method]), [row]) == {0: 1.0}


def test_what_is_searched_and_read() -> None:
    assert tuple(Contaminated().flow({"messages": "messages"}).reads) == ("id", "messages")
    assert tuple(Contaminated(text="response").flow({"response": "text"}).reads) == ("id", "response")
    assert ["not both" in p for p in Contaminated(text="response", roles=["user"]).check()] == [True]
    assert ["empty" in p for p in Contaminated(roles=[]).check()] == [True]


def test_mistakes_are_told() -> None:
    operator = Contaminated()
    with pytest.raises(StepError, match="nothing to search for"):
        operator.fit(MemoryDataset(pl.DataFrame({"id": ["x"]})))
    operator.against, operator.against_text = (
        MemoryDataset(evals_of(["a"]).with_columns(question=1)),
        pl.col("question"),
    )
    with pytest.raises(StepError, match="`against_text` gives Int32, not text"):
        operator.fit(MemoryDataset(pl.DataFrame({"id": ["x"]})))
    assert "at least 0.8" in next(iter(Contaminated(method="ratio", threshold=0.5).check()))
    assert "has no threshold" in next(iter(Contaminated(method="any", threshold=0.5).check()))
    assert not list(Contaminated(method="coverage", threshold=0.3).check())


def test_on_real_questions() -> None:
    path = Path(__file__).parents[1] / "data" / "clean" / "fastchat_dummy_conversation.json.gz"
    questions = sorted(
        {turn["value"] for row in json.loads(gzip.decompress(path.read_bytes())) for turn in row["conversations"]}
    )
    items = [q for q in questions if len(set(token_list(q))) >= 5][::3]
    found = dropped(ready(Contaminated, items), questions)
    for k, question in enumerate(questions):
        shares = [
            1.0
            if len(token_list(i)) < 8 and f" {' '.join(token_list(i))} " in f" {' '.join(token_list(question))} "
            else 0.0
            for i in items
        ]
        shares += [coverage(token_list(i), token_list(question), 8) for i in items]
        assert found.get(k, 0.0) == (max(shares) if max(shares) > 0.5 else 0.0)
    assert len(items) <= len(found) < len(questions)


def test_in_a_recipe(kitchen: Any) -> None:
    kitchen.rows("evals.jsonl", [{"question": TULIPS, "answer": "72"}, {"question": SHORT, "answer": "-"}])
    talks = [TULIPS, f"Please: {SHORT}?", "How do bees find their way home?", f"Solve: {TULIPS}"]
    kitchen.rows(
        "pool.jsonl",
        [{"messages": [{"role": "user", "content": t}, {"role": "assistant", "content": "ok"}]} for t in talks],
    )
    kitchen.recipe(
        "  - id: evals\n    load: {path: evals.jsonl, schema: problem, role: eval}\n"
        "  - load: {path: pool.jsonl, license: MIT}\n"
        "  - id: tagged\n    tag.contaminated:\n    from: {against: evals}\n"
        "  - id: clean\n    filter.contaminated: {method: coverage, n: 8, threshold: 0.5}\n    from: {against: evals}\n"
        "  - filter.duplicates:\n  - filter.near_duplicates:\n  - format.messages:\n  - write: out.jsonl\n"
    )
    outcome = kitchen.run()
    assert [row["messages"][0]["content"] for row in kitchen.read("out.jsonl")] == [talks[2]]
    counts = {c.step: c for c in outcome.counts}
    assert counts["clean"].codes == {"contaminated": 3}
    evals = pl.read_parquet(outcome.artefacts["clean.evals"])
    assert evals["items"].to_list() == evals["looked_for"].to_list() == [2]
