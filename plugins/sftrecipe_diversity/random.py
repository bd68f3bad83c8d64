"""`select.random`: a sample in hash order, the baseline that every comparison needs."""

from __future__ import annotations

from sftrecipe import Choice, Dataset
from sftrecipe_diversity.budget import Budgeted
from sftrecipe_diversity.draws import uniform

__all__ = ["Random"]


class Random(Budgeted):
    """Keep a random sample. The order is that of hash(seed, row id): a larger sample contains the smaller.

    Drops: `not_chosen` (value: its draw in (0, 1); the smallest draws stay), `over_budget` (it did not fit into the
    tokens left).
    """

    def choose(self, data: Dataset) -> Choice:
        """In hash order."""
        pool = self.pool(data)
        draws = uniform(self.context.seed, pool.ids)
        return pool.spend(pool.order(draws), draws)
