from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe import StepError
from sftrecipe.rows import Rows, message
from sftrecipe.run.context import RunContext
from sftrecipe.testing.memory import MemoryDataset
from sftrecipe.types import Type
from sftrecipe_format.tokenizer import TokenizerModel
from sftrecipe_pack.bfd import Bfd
from sftrecipe_pack.next_fit import NextFit, next_fit
from sftrecipe_pack.packing import Packing, pieces


def planned(operator: Packing, lengths: list[int], context: RunContext, **columns: Any) -> pl.DataFrame:
    operator.context = context
    frame = pl.DataFrame(
        {"id": [f"row-{i}" for i in range(len(lengths))], **columns},
        schema_overrides={"stage": pl.String} if "stage" in columns else None,
    )
    return operator.plan(np.array(lengths, dtype=np.int64), MemoryDataset(frame))


def facts(operator: Packing) -> dict[str, Any]:
    return dict(operator.artefacts["packing"])


def test_the_plan_and_its_figures(context: RunContext) -> None:
    operator = Bfd(length=10, shuffle=False)
    plan = planned(operator, [6, 4, 3, 0, 7, 2], context)
    assert plan.filter(pl.col("pack") >= 0).rows() == [
        (0, 4, 0, 7, None),
        (0, 2, 0, 3, None),
        (1, 0, 0, 6, None),
        (1, 1, 0, 4, None),
        (2, 5, 0, 2, None),
    ]
    assert plan.filter(pl.col("pack") < 0).rows() == [(-1, 3, 0, 0, "no_tokens")]
    assert facts(operator) == {
        "capacity": 10,
        "rows": 6,
        "tokens": 22,
        "packs": 3,
        "packed_tokens": 22,
        "efficiency": 22 / 30,
        "lower_bound": {"volume": 3, "l2": 3},
        "truncated": {"rows": 0, "tokens": 0},
        "dropped": {"rows": 0, "tokens": 0},
        "split": {"rows": 0, "tokens": 0, "pieces": 0},
        "no_tokens": 1,
        "max_members": 2,
        "mean_members": 5 / 3,
        "groups": 1,
    }


def test_too_long_is_an_error_with_numbers_and_a_way_out(context: RunContext) -> None:
    with pytest.raises(
        StepError, match=r"2 of 3 rows are longer than 10 tokens: the longest has 30, 25 tokens are beyond"
    ) as caught:
        planned(Bfd(length=10), [15, 30, 5], context)
    for way in ("truncate", "split", "drop", "length"):
        assert way in caught.value.help


@pytest.mark.parametrize(
    ("overlong", "packed", "dropped", "figure"),
    [
        ("drop", {(2, 0, 5)}, [(0, "overlong"), (1, "overlong")], ("dropped", {"rows": 2, "tokens": 45})),
        ("truncate", {(0, 0, 10), (1, 0, 10), (2, 0, 5)}, [], ("truncated", {"rows": 2, "tokens": 25})),
        (
            "split",
            {(0, 0, 10), (0, 10, 15), (1, 0, 10), (1, 10, 20), (1, 20, 30), (2, 0, 5)},
            [],
            ("split", {"rows": 2, "tokens": 45, "pieces": 5}),
        ),
    ],
)
def test_rows_that_are_too_long(
    context: RunContext, overlong: str, packed: set[Any], dropped: list[Any], figure: Any
) -> None:
    operator = Bfd(length=10, overlong=overlong)
    plan = planned(operator, [15, 30, 5], context)
    used = plan.filter(pl.col("pack") >= 0)
    assert set(used.select("row", "start", "stop").rows()) == packed
    assert plan.filter(pl.col("pack") < 0).select("row", "code").rows() == dropped
    assert facts(operator)[figure[0]] == figure[1]
    assert sum(facts(operator)[k]["rows"] for k in ("truncated", "dropped", "split")) == 2


def test_stages_never_share_a_pack_and_come_in_order(context: RunContext) -> None:
    stages = ["two"] * 5 + ["one"] * 5 + [None]
    plan = planned(Bfd(length=10), [2] * 11, context, stage=stages)
    per_pack = plan.group_by("pack", maintain_order=True).agg("row")
    found = [{stages[r] for r in rows} for rows in per_pack["row"].to_list()]
    assert found == [{"two"}, {"one"}, {None}]


def test_by_and_stage_together(context: RunContext) -> None:
    operator = Bfd(length=10, by="language")
    plan = planned(operator, [1] * 8, context, stage=["a", "a", "b", "b"] * 2, language=[1, 2] * 4)
    assert plan["pack"].n_unique() == 4
    assert facts(operator)["groups"] == 4


def test_max_members(context: RunContext) -> None:
    operator = Bfd(length=100, max_members=3)
    plan = planned(operator, [1] * 10, context)
    assert max(Counter(plan["pack"]).values()) == 3
    assert facts(operator)["max_members"] == 3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 20), max_size=60), st.sampled_from(["drop", "truncate", "split"]), st.booleans(), st.data()
)
def test_every_token_is_where_the_figures_say(
    lengths: list[int], overlong: str, shuffle: bool, data: st.DataObject
) -> None:
    context = RunContext("step", 7, None)  # type: ignore[arg-type]
    groups = data.draw(st.lists(st.sampled_from("ab"), min_size=len(lengths), max_size=len(lengths)))
    for operator in (
        Bfd(length=12, overlong=overlong, shuffle=shuffle),
        NextFit(length=12, overlong=overlong, shuffle=shuffle),
    ):
        plan = planned(operator, lengths, context, stage=groups)
        used, gone = plan.filter(pl.col("pack") >= 0), plan.filter(pl.col("pack") < 0)
        assert sorted(set(used["row"]) | set(gone["row"])) == list(range(len(lengths)))
        assert not set(used["row"]) & set(gone["row"])
        size = used.with_columns(size=pl.col("stop") - pl.col("start")).group_by("pack").agg(pl.col("size").sum())
        assert size["size"].max() is None or int(size["size"].max()) <= 12  # type: ignore[arg-type]
        figures = facts(operator)
        spent = int((used["stop"] - used["start"]).sum())
        assert (
            spent
            == figures["packed_tokens"]
            == sum(lengths) - figures["truncated"]["tokens"] - figures["dropped"]["tokens"]
        )
        assert figures["packs"] == used["pack"].n_unique() >= max(figures["lower_bound"].values())
        assert sorted(set(used["pack"])) == list(range(figures["packs"]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 10), min_size=2, max_size=40), st.randoms(use_true_random=False))
def test_the_result_depends_on_ids_alone(lengths: list[int], random: Any) -> None:
    frame = pl.DataFrame({"id": [f"r{i}" for i in range(len(lengths))], "n": lengths})
    mixed = frame.sample(fraction=1, shuffle=True, seed=random.randrange(1000))
    outs = []
    for rows, shards in ((frame, 1), (mixed, 3)):
        operator = Bfd(length=10)
        operator.context = RunContext("step", 7, None)  # type: ignore[arg-type]
        plan = operator.plan(rows["n"].to_numpy(), MemoryDataset(rows.select("id"), shards))
        outs.append(list(zip(plan["pack"], rows["id"][plan["row"]], strict=True)))
    assert outs[0] == outs[1]


def test_packs_come_in_seeded_order_not_longest_first(context: RunContext) -> None:
    lengths = list(range(1, 200)) * 2
    shuffled = planned(Bfd(length=200), lengths, context)
    longest = (
        shuffled.group_by("pack", maintain_order=True).agg((pl.col("stop") - pl.col("start")).max())["stop"].to_list()
    )
    assert longest != sorted(longest, reverse=True)
    context.seed = 8
    assert planned(Bfd(length=200), lengths, context)["row"].to_list() != shuffled["row"].to_list()
    plain = planned(Bfd(length=200, shuffle=False), lengths, context)
    first = plain.unique("pack", keep="first", maintain_order=True)
    assert (first["stop"] - first["start"]).to_list() == sorted(
        (first["stop"] - first["start"]).to_list(), reverse=True
    )


@pytest.mark.parametrize("lengths", [[], [0, 0], [99]])
def test_nothing_to_pack(context: RunContext, lengths: list[int]) -> None:
    for columns in ({}, {"stage": ["a"] * len(lengths)}):
        operator = Bfd(length=10, overlong="drop")
        plan = planned(operator, lengths, context, **columns)
        assert plan.filter(pl.col("pack") >= 0).height == 0
        assert plan.height == len(lengths)
        assert facts(operator)["efficiency"] is None


def test_next_fit_keeps_the_order() -> None:
    packs = next_fit(np.array([4, 4, 4, 8, 1, 1, 1]), 9)
    assert packs.items.tolist() == list(range(7))
    assert packs.offsets.tolist() == [0, 2, 3, 5, 7]
    assert next_fit(np.array([1] * 5), 9, 2).offsets.tolist() == [0, 2, 4, 5]
    assert next_fit(np.array([], dtype=np.int64), 9).count == 0


def test_pieces_of_rows() -> None:
    row, start, stop, dropped = pieces(np.array([5, 0, 25, 10]), 10, "split")
    assert list(zip(row.tolist(), start.tolist(), stop.tolist(), strict=True)) == [
        (0, 0, 5),
        (2, 0, 10),
        (2, 10, 20),
        (2, 20, 25),
        (3, 0, 10),
    ]
    assert dropped.tolist() == [0, 2, 0, 0]


TOKENS = Type("tokens").dtype()


def rows_of(**columns: Any) -> Rows:
    talk = [message("user", "x"), message("assistant", "y")]
    messages = pl.Series([talk, talk[:1], talk], dtype=Type("messages").dtype())
    return Rows(pl.DataFrame({"id": ["a", "b", "c"], "messages": messages, **columns}))


def test_tokens_that_are_there_are_handed_over() -> None:
    operator = Bfd(length=10)
    ids = pl.Series([[1, 2], None, []], dtype=TOKENS)
    out = operator.tokens(rows_of(input_ids=ids, labels=pl.Series([[-100, 2], None, []], dtype=TOKENS)))
    assert (out["input_ids"].to_list(), out["labels"].to_list()) == ([[1, 2], None, []], [[-100, 2], None, []])
    alone = operator.tokens(rows_of(input_ids=ids))
    assert alone["labels"].to_list() == alone["input_ids"].to_list() == [[1, 2], None, []]


@pytest.mark.parametrize("labels", [[[1], None, []], [None, None, []]])
def test_labels_of_another_length(labels: Any) -> None:
    with pytest.raises(StepError, match="1 rows have `labels` of another length than `input_ids`, the first is a"):
        Bfd(length=10).tokens(
            rows_of(input_ids=pl.Series([[1, 2], None, []], dtype=TOKENS), labels=pl.Series(labels, dtype=TOKENS))
        )


@pytest.mark.parametrize("given", [None, [[7, 8], None, None]])
def test_a_tokenizer_makes_what_is_missing(context: RunContext, given: Any) -> None:
    tokenizer = TokenizerModel().open()
    operator = Bfd(length=100, tokenizer=tokenizer)
    operator.context = context
    operator.setup()
    columns = {} if given is None else {"input_ids": pl.Series(given, dtype=TOKENS)}
    out = operator.tokens(rows_of(**columns))
    whole = tokenizer.encode("<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\ny<|im_end|>\n")
    assert out["input_ids"].to_list() == [whole if given is None else [7, 8], None, whole]
    trained = [i for i in out["labels"][2] if i != -100]
    assert trained == tokenizer.encode("y<|im_end|>")
    assert [(i, code) for i, code, _ in context.notes] == [("b", "nothing_to_train")]


@pytest.mark.parametrize(
    ("params", "columns", "reads"),
    [
        ({}, {"input_ids": "tokens", "labels": "tokens"}, ("id", "input_ids", "labels")),
        ({}, {"input_ids": "tokens", "stage": "text"}, ("id", "input_ids", "stage")),
        ({"tokenizer": "tok"}, {"messages": "messages", "tools": "json"}, ("id", "messages", "tools")),
        (
            {"tokenizer": "tok", "by": "lang"},
            {"messages": "messages", "input_ids": "tokens", "lang": "text"},
            ("id", "lang", "input_ids", "messages"),
        ),
        ({}, {"": "any"}, ("id", "input_ids", "labels")),
    ],
)
def test_what_it_reads(params: dict[str, Any], columns: dict[str, str], reads: tuple[str, ...]) -> None:
    flow = Bfd(length=10, **params).flow({"id": "text", **columns})
    assert set(flow.reads) == set(reads)
    made = {"input_ids": "tokens", "labels": "tokens", "seq_lengths": "list[int]", "members": "list[text]"}
    assert flow.writes == made | ({"stage": "text"} if "stage" in columns else {})


def test_no_tokens_and_no_tokenizer_is_told_before_the_run() -> None:
    with pytest.raises(ValueError, match=r"put `format\.tokens` above, or give a `tokenizer:`"):
        Bfd(length=10).flow({"id": "text", "messages": "messages"})
