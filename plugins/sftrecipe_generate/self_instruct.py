"""`evolve.self_instruct`: new questions from a few seeds, round by round, each unlike all before (Wang et al. 2023).

A request shows `human` seeds and `machine` questions made in earlier rounds, drawn from (seed, round, request), and asks for
`count` more. A round sends all its requests at once; when every answer is there, the questions are looked at in the order of
the requests: the rules, then the similarity gate (ROUGE-L F above `max_similarity` to any seed or any question let in). So
neither the order in which answers arrive nor concurrency changes anything. Rounds end at `size` questions, or when
`max_rounds` are over.

Original: 175 seeds, 6 human and 2 machine examples, 52,000 questions, threshold 0.7, rules on length (4 to 150 words), on
words that call for other media, on a first character that is no ASCII letter. Differences: the answer is JSON; several
questions a request (as Alpaca does); no rule on ASCII, which would delete other languages. Cost: about 1 call for `count`/2
questions; the gate compares each with all before, O(size^2) pairs, most ruled out by their words.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sftrecipe import Chat, Child, Cost, Dataset, Evolve, Expr, Param, RowError, StepError, Template, message
from sftrecipe.models import run_rows
from sftrecipe.models.asking import asks, estimate, prompt_file, render
from sftrecipe_generate.rules import words
from sftrecipe_generate.similarity import Gate

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SelfInstruct", "drawn", "query_fault", "requests_schema"]
