from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sftrecipe.rows import Rows
from sftrecipe.run.context import RunContext
from sftrecipe.types import Type

Batch = Callable[..., Rows]


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    """The context of a step with seed 7."""
    return RunContext("step", 7, tmp_path)


@pytest.fixture
def batch() -> Batch:
    """Rows r0, r1, ... of these conversations."""

    def make(*talks: Sequence[dict[str, Any]] | None, tools: Sequence[str | None] | None = None) -> Rows:
        ids = [f"r{i}" for i in range(len(talks))]
        messages = pl.Series(talks, dtype=Type("messages").dtype())
        return Rows(
            pl.DataFrame(
                {"id": ids, "messages": messages, "tools": pl.Series(tools or [None] * len(talks), dtype=pl.String)}
            )
        )

    return make
