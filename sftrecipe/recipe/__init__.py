"""From a file to a Recipe: structure, parameters, variants and sub-recipes, with the place of every word kept."""

from __future__ import annotations

from sftrecipe.recipe.model import ModelSpec, Place, Recipe, Ref, Step, TestCase
from sftrecipe.recipe.reader import read_recipe

__all__ = ["ModelSpec", "Place", "Recipe", "Ref", "Step", "TestCase", "read_recipe"]
