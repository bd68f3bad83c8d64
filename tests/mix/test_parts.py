from __future__ import annotations

import logging
import pickle
from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe import StepError
from sftrecipe.run.context import RunContext
from sftrecipe.testing.memory import MemoryDataset
from sftrecipe_mix.parts import Parts


def pool(**sizes: int) -> pl.DataFrame:
    names = [name for name, size in sizes.items() for _ in range(size)]
    return pl.DataFrame(
        {
            "id": [f"{n}-{i:05d}" for i, n in enumerate(names)],
            "source": names,
            "tokens": [1 + i % 7 for i in range(len(names))],
        }
    )


def mix(frame: pl.DataFrame, context: RunContext, shards: int = 1, **params: Any) -> tuple[list[str], pl.DataFrame]:
    operator = pickle.loads(pickle.dumps(Parts(by="source", **params)))
    assert list(operator.check()) == []
    operator.context = context
    allotted = operator.allot({"pool": MemoryDataset(frame, shards)})
    assert allotted["input"].unique().to_list() in (["pool"], [])
    return frame["id"][allotted["row"]].to_list(), operator.artefacts["shares"]


def by_source(ids: list[str]) -> Counter[str]:
    return Counter(i.split("-")[0] for i in ids)


def test_rows_fraction_and_repeat(context: RunContext) -> None:
    parts = {"a": {"rows": 50}, "b": {"fraction": "1/3"}, "c": {"rows": 4, "repeat": 10}, "d": {"repeat": 2}}
    ids, shares = mix(pool(a=700, b=200, c=100, d=5), context, parts=parts)
    assert by_source(ids) == {"a": 50, "b": 67, "c": 40, "d": 10}
    copies = Counter(ids)
    assert {copies[i] for i in ids if i[0] == "c"} == {10}
    assert {copies[i] for i in ids if i[0] == "d"} == {2}
    assert shares.select("part", "asked", "rows_available", "rows", "max_repeat").rows() == [
        ("a", "rows 50", 700, 50, 1),
        ("b", "fraction 0.333333", 200, 67, 1),
        ("c", "rows 4 x 10", 100, 40, 10),
        ("d", "fraction 1 x 2", 5, 10, 2),
    ]
    assert shares["share"].to_list() == pytest.approx([50 / 167, 67 / 167, 40 / 167, 10 / 167])
    assert shares["tokens"].to_list() == [None] * 4


def test_weights_share_the_total_that_fixed_parts_leave(context: RunContext) -> None:
    ids, _ = mix(
        pool(a=700, b=200, c=100), context, parts={"a": {"weight": 2}, "b": {"weight": 1}, "c": {"rows": 40}}, total=340
    )
    assert by_source(ids) == {"a": 200, "b": 100, "c": 40}


def test_weights_without_total_take_the_most_that_repeats_nothing(context: RunContext) -> None:
    ids, _ = mix(pool(a=700, b=200), context, parts={"a": {"weight": 1}, "b": {"weight": 2}})
    assert by_source(ids) == {"a": 100, "b": 200}
    assert max(Counter(ids).values()) == 1


@pytest.mark.parametrize(
    ("on_short", "max_repeat", "counts"),
    [("repeat", None, {"a": 500, "b": 500}), ("repeat", 3, {"a": 700, "b": 300}), ("all", None, {"a": 900, "b": 100})],
)
def test_a_weight_that_asks_for_too_much(
    context: RunContext, on_short: str, max_repeat: int | None, counts: dict[str, int]
) -> None:
    params = {
        "parts": {"a": {"weight": 1}, "b": {"weight": 1}},
        "total": 1000,
        "on_short": on_short,
        "max_repeat": max_repeat,
    }
    ids, _ = mix(pool(a=2000, b=100), context, **params)
    assert by_source(ids) == counts
    per_row = Counter(i for i in ids if i[0] == "b").values()
    assert max(per_row) - min(per_row) <= 1


def test_repeats_of_a_row_differ_by_at_most_one(context: RunContext) -> None:
    ids, shares = mix(pool(a=30), context, parts={"a": {"rows": 100}}, on_short="repeat")
    assert sorted(Counter(ids).values()) == [3] * 20 + [4] * 10
    assert shares["max_repeat"].to_list() == [4]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"parts": {"a": {"rows": 31}}}, ["part `a` asks for 31 rows, it has 30"]),
        ({"parts": {"a": {"fraction": 1.5}}}, ["asks for 45 rows, it has 30"]),
        ({"parts": {"a": {"rows": 100}}, "on_short": "repeat", "max_repeat": 3}, ["4 copies", "`max_repeat` is 3"]),
        ({"parts": {"a": {"weight": 1}}, "total": 31}, ["asks for 31 rows, it has 30"]),
        (
            {"parts": {"a": {"weight": 1}}, "total": 91, "on_short": "repeat", "max_repeat": 3},
            ["cannot fill the total", "90 can be had"],
        ),
        ({"parts": {"a": {"tokens": 10_000}}}, ["asks for 10,000 tokens, it has "]),
    ],
)
def test_too_much_is_an_error_with_numbers_and_advice(
    context: RunContext, params: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(StepError) as caught:
        mix(pool(a=30), context, **params)
    for word in words:
        assert word in str(caught.value)
    assert "on_short" in caught.value.help or "max_repeat" in caught.value.help


def test_nothing_left_for_weights(context: RunContext) -> None:
    with pytest.raises(StepError, match="nothing is left"):
        mix(pool(a=30, b=30), context, parts={"a": {"rows": 20}, "b": {"weight": 1}}, total=20)


def test_values_that_no_part_names(context: RunContext) -> None:
    frame = pool(flan=10, oasst=5, gsm=5)
    with pytest.raises(StepError) as caught:
        mix(frame, context, parts={"flan": {"rows": 3}}, unlisted="error")
    assert "leaves out 2 values of `source`: `oasst`, `gsm`" in str(caught.value)
    assert "unlisted: drop" in caught.value.help
    assert by_source(mix(frame, context, parts={"flan": {"rows": 3}}, unlisted="drop")[0]) == {"flan": 3}
    assert by_source(mix(frame, context, parts={"flan": {"rows": 3}}, unlisted="keep")[0]) == {
        "flan": 3,
        "oasst": 5,
        "gsm": 5,
    }


def test_a_part_that_matches_nothing(context: RunContext) -> None:
    with pytest.raises(StepError, match="`oast` did you mean `oasst`") as caught:
        mix(pool(flan=10, oasst=5), context, parts={"oast": {"rows": 3}}, unlisted="drop")
    assert "`flan`, `oasst`" in caught.value.help


def test_parts_are_inputs_without_by(context: RunContext) -> None:
    a, b = pool(x=10), pool(y=10)
    operator = Parts(parts={"one": {"rows": 3}, "two": {"rows": 4}})
    operator.context = context
    allotted = operator.allot({"one": MemoryDataset(a), "two": MemoryDataset(b)})
    assert Counter(allotted["input"]) == {"one": 3, "two": 4}
    with pytest.raises(StepError) as caught:
        operator.allot({"only": MemoryDataset(a)})
    assert "`by: source`" in caught.value.help


def test_a_bare_mix_concatenates_in_order(context: RunContext, caplog: pytest.LogCaptureFixture) -> None:
    operator = Parts()
    operator.context = context
    inputs = {"a": MemoryDataset(pool(x=3)), "empty": MemoryDataset(pool(x=0)), "b": MemoryDataset(pool(y=2))}
    assert operator.allot(inputs).rows() == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)]
    assert not caplog.records


def test_one_step_given_twice_is_warned_about(context: RunContext, caplog: pytest.LogCaptureFixture) -> None:
    operator = Parts()
    operator.context = context
    with caplog.at_level(logging.WARNING):
        operator.allot({"a": MemoryDataset(pool(x=3)), "a#2": MemoryDataset(pool(x=3))})
    assert "3 rows are in several inputs (a, a#2)" in caplog.text


def test_bool_and_number_columns_name_parts(context: RunContext) -> None:
    frame = pool(a=10).with_columns(think=pl.Series([True] * 4 + [False] * 5 + [None]))
    operator = Parts(by="think", parts={"true": {"rows": 2}, "false": {"rows": 3}, "null": {"rows": 1}})
    operator.context = context
    picked = frame["think"][operator.allot({"p": MemoryDataset(frame)})["row"]]
    assert Counter(picked.to_list()) == {True: 2, False: 3, None: 1}
    operator = Parts(by="tags", parts={"x": {"rows": 1}})
    operator.context = context
    with pytest.raises(StepError, match="`by: tags` holds List"):
        operator.allot({"p": MemoryDataset(frame.with_columns(tags=pl.Series([["x"]] * 10)))})


def test_a_token_budget_is_a_prefix_that_fits(context: RunContext) -> None:
    frame = pool(a=100, b=50)
    small, shares = mix(frame, context, parts={"a": {"tokens": 60}, "b": {"rows": 5}})
    tokens = dict(frame.select("id", "tokens").iter_rows())
    spent = sum(tokens[i] for i in small if i[0] == "a")
    assert shares["tokens"].to_list() == [spent, sum(tokens[i] for i in small if i[0] == "b")]
    assert spent <= 60
    larger, _ = mix(frame, context, parts={"a": {"tokens": 60 + 7}, "b": {"rows": 5}})
    assert set(small) < set(larger)  # the next row has at most 7 tokens
    assert sum(tokens[i] for i in larger if i[0] == "a") > 60 - 7


def test_tokens_as_unit_and_as_expression(context: RunContext) -> None:
    frame = pool(a=300, b=300).rename({"tokens": "n"})
    operator = Parts(by="source", parts={"a": {"weight": 3}, "b": {"weight": 1}}, unit="tokens", total=800, tokens="n")
    operator.tokens, operator.context = pl.col("n"), context
    rows = frame[operator.allot({"p": MemoryDataset(frame)})["row"]]
    spent = dict(rows.group_by("source").agg(pl.col("n").sum()).iter_rows())
    assert 600 - 7 < spent["a"] <= 600
    assert 200 - 7 < spent["b"] <= 200


def test_a_token_budget_above_what_there_is(context: RunContext) -> None:
    frame = pool(a=14)  # 1..7 twice: 56 tokens
    ids, _ = mix(frame, context, parts={"a": {"tokens": 120}}, on_short="repeat")
    assert set(Counter(ids).values()) <= {2, 3}
    assert len(mix(frame, context, parts={"a": {"tokens": 120}}, on_short="all")[0]) == 14


@pytest.mark.parametrize("bad", [[None] + [1] * 9, [-1] + [1] * 9])
def test_rows_without_a_token_count(context: RunContext, bad: list[int | None]) -> None:
    frame = pool(a=10).with_columns(tokens=pl.Series(bad, dtype=pl.Int64))
    with pytest.raises(StepError, match="1 rows of input `pool` have no token count"):
        mix(frame, context, parts={"a": {"tokens": 5}})


def test_a_larger_sample_contains_the_smaller(context: RunContext) -> None:
    frame = pool(a=400)
    samples = [set(mix(frame, context, parts={"a": {"fraction": k}})[0]) for k in ("1/256", "1/64", "1/16", "1/4", 1)]
    assert [len(s) for s in samples] == [2, 6, 25, 100, 400]
    assert all(small < large for small, large in zip(samples, samples[1:], strict=False))


def test_rows_that_leave_move_no_draw_but_their_own(context: RunContext) -> None:
    frame = pool(a=400)
    sample = mix(frame, context, parts={"a": {"rows": 40}})[0]
    others = [i for i in frame["id"] if i not in sample]
    assert mix(frame.filter(~pl.col("id").is_in(others[:300])), context, parts={"a": {"rows": 40}})[0] == sample
    fewer = mix(frame.filter(pl.col("id") != sample[0]), context, parts={"a": {"rows": 40}})[0]
    assert len(set(fewer) & set(sample)) == 39


def test_the_seed_re_rolls_draw_and_order(context: RunContext) -> None:
    frame = pool(a=400)
    first = mix(frame, context, parts={"a": {"rows": 40}})[0]
    context.seed = 8
    second = mix(frame, context, parts={"a": {"rows": 40}})[0]
    assert len(set(first) & set(second)) < 20


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(1, 150), st.randoms(use_true_random=False), st.integers(1, 5)
)
def test_the_result_depends_on_ids_alone(a: int, b: int, asked: int, random: Any, shards: int) -> None:
    frame = pool(a=a, b=b)
    context = RunContext("step", 7, None)  # type: ignore[arg-type]
    params = {"parts": {"a": {"rows": asked, "repeat": 2}, "b": {"fraction": 0.5}}, "on_short": "repeat"}
    straight, _ = mix(frame, context, **params)
    mixed = frame.sample(fraction=1, shuffle=True, seed=random.randrange(1000))
    again, _ = mix(mixed, context, shards, **params)
    assert straight == again
    assert by_source(straight)["a"] == 2 * asked


def test_input_order_when_it_is_not_shuffled(context: RunContext) -> None:
    ids, _ = mix(pool(a=50, b=50), context, parts={"b": {"rows": 5, "repeat": 2}, "a": {"rows": 5}}, shuffle=False)
    assert ids == sorted(ids, key=lambda i: i.split("-")[1])
    assert len(ids) == 15


def test_the_order_is_mixed_through(context: RunContext) -> None:
    ids, _ = mix(pool(a=500, b=500), context, parts={"a": {"rows": 500}, "b": {"rows": 500}})
    assert 200 < sum(i[0] == "a" for i in ids[:500]) < 300


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"parts": {"a": {"row": 1}}}, "did you mean `rows`"),
        ({"parts": {"a": {"rows": 1}}, "total": 5}, "none has one"),
        ({"parts": {"a": {"repeat": 5}}, "max_repeat": 3}, "`max_repeat` is 3"),
        ({"by": "source"}, "no `parts`"),
        ({"total": 3}, "no `parts`"),
    ],
)
def test_check_finds_what_the_schema_cannot(params: dict[str, Any], words: str) -> None:
    assert any(words in problem for problem in Parts(**params).check())


def test_the_token_column_is_read_only_where_it_is_needed() -> None:
    columns = {"id": "text", "source": "text", "tokens": "int"}
    assert Parts(by="source", parts={"a": {"rows": 1}}).flow(columns).reads == ("id", "source")
    assert Parts(by="source", parts={"a": {"tokens": 1}}).flow(columns).reads == ("id", "source", "tokens")
