"""sftrecipe: fine-tuning data as one YAML file that anyone can read, run, check and extend.

All that an operator author imports stands here. Names are loaded when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "sftrecipe.params": ("Column", "Expr", "File", "Given", "Into", "Param", "Secret", "Taken", "Template"),
    "sftrecipe.operators": ("Context", "Cost", "Flow", "Operator"),
    "sftrecipe.verbs": (
        "Answer", "BadRow", "Child", "Choice", "Dropped", "Evolve", "Evolved", "Filter", "Format", "Load", "Measure",
        "Mix", "Pack", "Score", "Select", "Tag", "Write",
    ),
    "sftrecipe.dataset": ("Dataset",),
    "sftrecipe.rows": ("Rows", "message"),
    "sftrecipe.errors": ("Pending", "Problem", "RecipeError", "RowError", "SftRecipeError", "StepError"),
    "sftrecipe.models": ("Chat", "Embedder", "Likelihood", "Reward", "Sandbox", "Tokenizer"),
    "sftrecipe.models.provider": ("Provider",),
    "sftrecipe.hooks": ("hookimpl",),
    "sftrecipe.expressions": ("Function",),
}  # fmt: skip
_WHERE = {name: home for home, names in _HOME.items() for name in names}

__all__ = [
    "Answer",
    "BadRow",
    "Chat",
    "Child",
    "Choice",
    "Column",
    "Context",
    "Cost",
    "Dataset",
    "Dropped",
    "Embedder",
    "Evolve",
    "Evolved",
    "Expr",
    "File",
    "Filter",
    "Flow",
    "Format",
    "Function",
    "Given",
    "Into",
    "Likelihood",
    "Load",
    "Measure",
    "Mix",
    "Operator",
    "Pack",
    "Param",
    "Pending",
    "Problem",
    "Provider",
    "RecipeError",
    "Reward",
    "RowError",
    "Rows",
    "Sandbox",
    "Score",
    "Secret",
    "Select",
    "SftRecipeError",
    "StepError",
    "Tag",
    "Taken",
    "Template",
    "Tokenizer",
    "Write",
    "__version__",
    "hookimpl",
    "message",
]

if TYPE_CHECKING:
    from sftrecipe.dataset import Dataset
    from sftrecipe.errors import Pending, Problem, RecipeError, RowError, SftRecipeError, StepError
    from sftrecipe.expressions import Function
    from sftrecipe.hooks import hookimpl
    from sftrecipe.models import Chat, Embedder, Likelihood, Reward, Sandbox, Tokenizer
    from sftrecipe.models.provider import Provider
    from sftrecipe.operators import Context, Cost, Flow, Operator
    from sftrecipe.params import Column, Expr, File, Given, Into, Param, Secret, Taken, Template
    from sftrecipe.rows import Rows, message
    from sftrecipe.verbs import (
        Answer,
        BadRow,
        Child,
        Choice,
        Dropped,
        Evolve,
        Evolved,
        Filter,
        Format,
        Load,
        Measure,
        Mix,
        Pack,
        Score,
        Select,
        Tag,
        Write,
    )  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module `sftrecipe` has no attribute `{name}`")
    return getattr(import_module(_WHERE[name]), name)
