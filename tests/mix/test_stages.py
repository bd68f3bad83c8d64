from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from sftrecipe import StepError
from sftrecipe.run.context import RunContext
from sftrecipe.testing.memory import MemoryDataset
from sftrecipe_mix.stages import Stages


def pool() -> pl.DataFrame:
    names = ["math"] * 512 + ["code"] * 256 + ["chat"] * 100
    return pl.DataFrame({"id": [f"{n}-{i}" for i, n in enumerate(names)], "source": names})


def stages(context: RunContext, k: Any, **params: Any) -> tuple[dict[str, list[str]], Stages]:
    plan = {
        "special": {"math": {"fraction": 1}, "code": {"fraction": 1}},
        "general": {"chat": {"fraction": 1}, "math": {"fraction": k}, "code": {"fraction": k}},
    }
    operator = Stages(by="source", stages=plan, **params)
    assert list(operator.check()) == []
    operator.context = context
    frame = pool()
    allotted = operator.allot({"p": MemoryDataset(frame)})
    ids = frame["id"][allotted["row"]]
    assert allotted["stage"].unique(maintain_order=True).to_list() == ["special", "general"]
    return {s: ids.filter(allotted["stage"] == s).to_list() for s in ("special", "general")}, operator


def test_dual_stage_mixing_has_exact_counts(context: RunContext) -> None:
    out, operator = stages(context, "1/256")
    assert (len(out["special"]), len(out["general"])) == (768, 103)
    table = operator.artefacts["shares"].select("stage", "part", "rows").rows()
    assert table == [
        ("special", "math", 512),
        ("special", "code", 256),
        ("general", "chat", 100),
        ("general", "math", 2),
        ("general", "code", 1),
    ]


def test_replay_is_nested_in_k_and_within_the_first_stage(context: RunContext) -> None:
    samples = [set(stages(context, k)[0]["general"]) for k in ("1/256", "1/64", "1/16", "1/4", 1)]
    assert all(small < large for small, large in zip(samples, samples[1:], strict=False))
    special = set(stages(context, "1/4")[0]["special"])
    assert {i for i in samples[3] if not i.startswith("chat")} < special


def test_a_source_that_no_stage_names(context: RunContext) -> None:
    operator = Stages(by="source", stages={"one": {"math": {"rows": 1}}})
    operator.context = context
    with pytest.raises(StepError, match="`stages` leaves out 2 values of `source`: `code`, `chat`"):
        operator.allot({"p": MemoryDataset(pool())})
    operator = Stages(by="source", stages={"one": {"math": {"rows": 1}}}, unlisted="drop")
    operator.context = context
    assert operator.allot({"p": MemoryDataset(pool())}).height == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "is empty"),
        ({"one": 3}, "`stages.one` is 3"),
        ({"one": {"math": {"row": 1}}}, "`stages.one.math` has no key `row`"),
    ],
)
def test_check_names_the_stage(given: Any, words: str) -> None:
    assert any(words in problem for problem in Stages(stages=given).check())


def test_it_writes_a_stage() -> None:
    flow = Stages(by="source", stages={"one": {"math": {"tokens": 9}}}).flow(
        {"id": "text", "source": "text", "tokens": "int"}
    )
    assert flow.writes == {"stage": "text"}
    assert flow.reads == ("id", "source", "tokens")
