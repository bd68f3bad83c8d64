"""`select.instag`: complexity-first diverse sampling over tag sets (Lu et al. 2024, InsTag, algorithm 1).

Rows are sorted by their number of tags, most first, ties by id. A pass goes down the list and takes a row iff it has a
tag that no row of this pass had; when the list ends the pass's tags are forgotten, and the next pass goes over the rows
that are left, until the budget is spent or every row with tags is taken. Rows without tags never add one: they go as
`no_tags` and are never waited for.

Cost: within a pass only the first remaining row of each tag can be taken, so a pass looks at T tags, not N rows: O(P T
log T) for P passes, where the published loops take O(N) a pick.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import ClassVar

from sftrecipe import Choice, Column, Dataset, Dropped, Expr, Param, StepError
from sftrecipe.lazy import np
from sftrecipe_diversity.budget import Budget, Budgeted, column_of, numbers
from sftrecipe_diversity.tagsets import TagSets, tag_sets

__all__ = ["InsTag", "complexity_first"]


def complexity_first(tags: TagSets, order: np.ndarray, budget: Budget) -> tuple[list[int], list[int], list[int]]:
    """(rows kept, the pass that took each, rows that did not fit) of passes down `order`, rows with at least one tag,
    best first.
    """
    sets = [tags.of(row).tolist() for row in order.tolist()]
    queues: list[list[int]] = [[] for _ in tags.names]
    for place, codes in enumerate(sets):
        for code in codes:
            queues[code].append(place)
    heads = [0] * len(queues)
    gone = bytearray(len(order))
    left = len(order) if budget.limit is None else budget.limit
    kept: list[int] = []
    passes: list[int] = []
    passed: list[int] = []
    number = 0

    def head(code: int) -> int | None:
        """The first row left that has this tag."""
        queue = queues[code]
        while heads[code] < len(queue) and gone[queue[heads[code]]]:
            heads[code] += 1
        return queue[heads[code]] if heads[code] < len(queue) else None

    while left > 0:
        heap = [(first, code) for code in range(len(queues)) if (first := head(code)) is not None]
        if not heap:
            break
        heapq.heapify(heap)
        covered: set[int] = set()
        while heap and left > 0:
            place, code = heapq.heappop(heap)
            if code in covered:
                continue
            price = budget.price(int(order[place]))
            if gone[place] or price > left:
                if not gone[place]:
                    gone[place] = True
                    passed.append(int(order[place]))
                following = head(code)
                if following is not None:
                    heapq.heappush(heap, (following, code))
                continue
            gone[place] = True
            covered.update(sets[place])
            kept.append(int(order[place]))
            passes.append(number)
            left -= price
        number += 1
    return kept, passes, passed


class InsTag(Budgeted):
    """Keep rows with many tags first, each of a pass bringing a tag that the pass has not seen.

    Drops: `not_chosen` (value: its number of tags, or `by`), `no_tags` (nothing to go by), `over_budget` (it did not
    fit into the tokens left), `undefined` (no figure in `by`). A pool without any tag is an error.
    """

    source = "Lu et al. 2024, #InsTag: Instruction Tagging for Analyzing Supervised Fine-tuning of LLMs"

    wants: ClassVar[Mapping[str, str]] = {"by": "number"}

    tags: Column = Param("tags", doc="List-of-text column.")
    by: Expr | None = Param(None, doc="Complexity: a number, highest first. Default: how many tags a row has.")

    def choose(self, data: Dataset) -> Choice:
        """Pass after pass."""
        pool = self.pool(data)
        tags = tag_sets(column_of(data, self.tags), f"{self.title}: `tags`")
        if len(pool) and not tags.names:
            raise StepError(
                f"{self.title}: no row has a tag in `{self.tags}`", help="tag the rows first (tag.judge, tag.normalize)"
            )
        counts = tags.counts.astype(np.float64)
        pool.let_go(counts == 0, "no_tags")
        rank = counts if self.by is None else numbers(column_of(data, self.by), pool, f"{self.title}: `by`")
        kept, _, passed = complexity_first(tags, pool.order(-rank), pool.budget)
        late = np.array(sorted(passed), dtype=np.int64)
        return pool.choice(np.array(kept, dtype=np.int64), [Dropped(late, "over_budget", None, rank[late])], value=rank)
