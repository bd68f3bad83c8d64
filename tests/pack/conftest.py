from __future__ import annotations

from pathlib import Path

import pytest

from sftrecipe.run.context import RunContext


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    """The context of a step with seed 7."""
    return RunContext("step", 7, tmp_path)
