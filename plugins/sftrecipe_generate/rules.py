"""Which evolved questions and answers are no gain: the elimination rules of Evol-Instruct, each with a name.

The first four stand in the paper (Xu et al. 2023, WizardLM, section 3.2); the released code has none of them. The
others cost nothing and catch what models do when they answer a request instead of rewriting it (after h2o-wizardlm's
checks).

    no_gain              a model judges it equal to its parent in conditions, depth and breadth (only with `judge`)
    refusal_short        its answer holds "sorry" and has fewer than 80 words
    only_punctuation     it, or its answer, is nothing but punctuation and stop words
    copied_prompt_words  it speaks of the prompt that made it ("rewritten prompt", "the given request", ...)
    same_as_parent       it differs from its parent in white space, case and punctuation at most
    assistant_talk       it talks like an assistant ("as an AI", "how can I help"), which its parent does not
    apology              it is short (under 400 characters) and apologises, which its parent does not
"""

from __future__ import annotations

import re

__all__ = ["answer_fault", "child_fault", "plain", "words"]

COPIED = (
    "given prompt", "rewritten prompt", "created prompt", "new prompt", "given request", "rewritten request",
    "new request:", "original request", "end of request", "----- request", "request between the lines",
)  # fmt: skip
TALK = ("as an ai", "as a language model", "how can i assist", "how can i help", "how may i help", "ai assistant")
SORRY = re.compile(r"\b(?:i['\u2019]m|i am|we are|we['\u2019]re) sorry\b|\bi apologi[sz]e\b", re.I)
CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
STOP_WORDS = """
a about all also am an and any are as at be been but by can could did do does for from had has have he her here
him his how i if in into is it its just me more my no not now of on one or our out she so some than that the
their them then there these they this those to too up us was we were what when where which who why will with
would yes you your
"""
STOP = frozenset(STOP_WORDS.split())
SHORT_ANSWER = 80
SHORT_CHILD = 400


def words(text: str) -> int:
    """Words of a text; each Chinese, Japanese or Korean character counts as one."""
    return len(CJK.findall(text)) + len(WORD.findall(CJK.sub(" ", text)))


def plain(text: str) -> str:
    """Letters and digits alone, case folded, one blank between words."""
    return " ".join(w.casefold() for w in WORD.findall(text))


def _empty(text: str) -> bool:
    return not CJK.search(text) and all(w.casefold() in STOP for w in WORD.findall(text))


def child_fault(child: str, parent: str) -> str | None:
    """The code of the first rule that a child breaks, or None."""
    low, before = child.casefold(), parent.casefold()
    if _empty(child):
        return "only_punctuation"
    if any(phrase in low and phrase not in before for phrase in COPIED):
        return "copied_prompt_words"
    if plain(child) == plain(parent):
        return "same_as_parent"
    if any(phrase in low and phrase not in before for phrase in TALK):
        return "assistant_talk"
    if len(child) < SHORT_CHILD and SORRY.search(child) and not SORRY.search(parent):
        return "apology"
    return None


def answer_fault(answer: str) -> str | None:
    """The code of the first rule that an answer breaks, or None."""
    if "sorry" in answer.casefold() and words(answer) < SHORT_ANSWER:
        return "refusal_short"
    return "only_punctuation" if _empty(answer) else None
