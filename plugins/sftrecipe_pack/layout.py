"""What trainers and attention kernels derive from `seq_lengths`: pure functions, one packed sequence (or several end to
end) at a time.

    seq_lengths    3 1 2
    position_ids   0 1 2 0 0 1            restart with every document
    document_ids   1 1 1 2 3 3            as an attention mask of LLaMA-Factory and axolotl; minus one it is `seq_idx`
    cu_seqlens     0 3 4 6                int32, for FlashAttention's varlen kernels
    starts         0 3 4                  where labels are -100

Packed documents stay apart only if the trainer is told so. With transformers 5.23, position_ids do that only without an
attention mask and without a cache (`use_cache=False`); an all-ones mask undoes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sftrecipe.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Lengths = Sequence[int] | NDArray[np.integer]


__all__ = ["IGNORE", "boundary_labels", "cu_seqlens", "document_ids", "position_ids", "starts"]

IGNORE = -100


def cu_seqlens(lengths: Lengths) -> NDArray[np.int32]:
    """[documents + 1]: 0 and the running ends."""
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype(np.int32)


def starts(lengths: Lengths) -> NDArray[np.int32]:
    """[documents]: the first token of each."""
    return cu_seqlens(lengths)[:-1]


def position_ids(lengths: Lengths) -> NDArray[np.int32]:
    """[tokens]: the place of each token in its document, from 0."""
    sizes = np.asarray(lengths, dtype=np.int64)
    return (np.arange(sizes.sum()) - np.repeat(starts(lengths), sizes)).astype(np.int32)


def document_ids(lengths: Lengths) -> NDArray[np.int32]:
    """[tokens]: the number of each token's document, from 1 (0 is left for padding)."""
    sizes = np.asarray(lengths, dtype=np.int64)
    return np.repeat(np.arange(1, len(sizes) + 1), sizes).astype(np.int32)


def boundary_labels(labels: Sequence[int] | NDArray[np.integer], lengths: Lengths) -> NDArray[np.int32]:
    """The labels with -100 at the start of every document: nothing is trained to foretell the next one. Raises
    ValueError on misfit."""
    made = np.array(labels, dtype=np.int32)
    if len(made) != int(np.sum(np.asarray(lengths, dtype=np.int64))):
        raise ValueError(f"{len(made)} labels, documents of {int(np.sum(lengths))} tokens")
    made[starts(lengths)] = IGNORE
    return made
