"""From a Recipe to a Plan: names resolved, parameters validated, columns checked, stages and keys made."""

from __future__ import annotations

from sftrecipe.plan.check import check_recipe
from sftrecipe.plan.graph import Plan
from sftrecipe.plan.node import Node
from sftrecipe.plan.stages import Stage, make_stages

__all__ = ["Node", "Plan", "Stage", "check_recipe", "make_stages"]
