"""`score.quality`: how good an answer is, from 1 to 6 (Liu et al. 2023, Deita; see token_expectation.py)."""

from __future__ import annotations

from sftrecipe import Into, Param, Template
from sftrecipe_judge.asking import prompt_text
from sftrecipe_judge.token_expectation import TokenExpectation

__all__ = ["Quality"]


class Quality(TokenExpectation):
    """The quality of each answer to its question, 1 to 6: the expectation over the digits that a model would answer.

    Rows fail, and the step with them, as in `score.token_expectation`.
    """

    prompt: Template = Param(
        prompt_text("quality"), doc="What is asked; it should call for one digit and nothing else."
    )
    into: Into = Param("quality", doc="The number column that is written.")
