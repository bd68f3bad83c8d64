"""`pack.bfd`: exact best-fit-decreasing over all rows (the algorithm is in `histogram`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sftrecipe.lazy import np
from sftrecipe_pack.histogram import Packs, best_fit_decreasing
from sftrecipe_pack.packing import Packing

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Bfd"]


class Bfd(Packing):
    """Pack rows into sequences of `length` tokens, the best way that a greedy rule finds, over all rows at once.

    Writes `input_ids`, `labels` (-100 at the start of every row, so that none is trained to foretell the next),
    `seq_lengths` and `members`. Rows that are left out have the code `overlong` (too long, with `overlong: drop`) or
    `no_tokens` (none, or null). The artefact `packing` has packs, efficiency, lower bounds, and how many rows and
    tokens were cut, split or left out.
    """

    version: ClassVar[int] = 1
    source: ClassVar[str] = (
        "Johnson 1973 (best-fit-decreasing); Krell et al. 2021, arXiv 2107.02027 (histogram packing)"
    )

    def packs(self, lengths: NDArray[np.int64], keys: NDArray[np.uint64] | None) -> Packs:
        return best_fit_decreasing(lengths, self.length, self.max_members, keys)
