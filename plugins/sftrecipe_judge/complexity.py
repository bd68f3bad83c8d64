"""`score.complexity`: how demanding a question is, from 1 to 6 (Liu et al. 2023, Deita; see token_expectation.py).

The authors fine-tuned LLaMA-1-13B on ChatGPT's joint scores of a question and its five evolutions (`score.joint` builds
such a set) and asked it; here any chat model that tells log-probabilities is asked, in our own words.
"""

from __future__ import annotations

from sftrecipe import Into, Param, Template
from sftrecipe_judge.asking import prompt_text
from sftrecipe_judge.token_expectation import TokenExpectation

__all__ = ["Complexity"]


class Complexity(TokenExpectation):
    """The complexity of each question, 1 to 6: the expectation over the digits that a model would answer.

    Looks at questions alone. Rows fail, and the step with them, as in `score.token_expectation`.
    """

    prompt: Template = Param(
        prompt_text("complexity"), doc="What is asked; it should call for one digit and nothing else."
    )
    into: Into = Param("complexity", doc="The number column that is written.")
