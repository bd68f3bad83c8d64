from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe_pack.layout import IGNORE, boundary_labels, cu_seqlens, document_ids, position_ids, starts

CASES = json.loads((Path(__file__).parents[1] / "data" / "mix_pack" / "position_ids.json").read_text(encoding="utf-8"))[
    "cases"
]


@pytest.mark.parametrize("case", CASES, ids=[str(c["seq_lengths"]) for c in CASES])
def test_layouts_are_those_of_the_trainers_collator(case: dict[str, Any]) -> None:
    lengths = [n for sequence in case["seq_lengths"] for n in sequence]  # the collator puts sequences end to end
    total = sum(lengths)
    assert [position_ids(lengths).tolist()] == case["position_ids"]
    assert cu_seqlens(lengths).tolist() == case["cu_seq_lens_q"]
    assert [(document_ids(lengths) - 1).tolist()] == case["seq_idx"]
    labels = boundary_labels(np.arange(1, total + 1), lengths)
    assert np.flatnonzero(labels == IGNORE).tolist() == case["labels_minus100_at"]
    assert max(lengths) == case["max_length_q"]


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), max_size=12))
def test_all_say_the_same_borders(lengths: list[int]) -> None:
    begins = starts(lengths).tolist()
    assert np.flatnonzero(position_ids(lengths) == 0).tolist() == begins
    assert np.flatnonzero(np.diff(document_ids(lengths), prepend=0)).tolist() == begins
    assert cu_seqlens(lengths).dtype == np.int32
    assert len(position_ids(lengths)) == len(document_ids(lengths)) == sum(lengths)


def test_labels_are_copied_and_must_fit() -> None:
    labels = [5, 6, 7]
    assert boundary_labels(labels, [2, 1]).tolist() == [-100, 6, -100]
    assert labels == [5, 6, 7]
    with pytest.raises(ValueError, match="3 labels, documents of 4 tokens"):
        boundary_labels(labels, [2, 2])
