"""The answer that a text ends in, in a form that can be compared: for agreement and exact matches.

Looked for in this order, the last of each kind: a line `#### x`; \\boxed{x}; what follows "answer is" or "answer:"; the
last line of the text. Then: mathematical and Markdown dressing off, white space collapsed, case folded, numbers written
plainly ("1,000.50" is "1000.5"). This compares words, not mathematics: "1/2" and "0.5" differ; a verifier knows better.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

__all__ = ["agreement", "final_answer", "normal"]

HASHES = re.compile(r"^\s*####\s*(.+?)\s*$", re.M)
PHRASE = re.compile(r"\banswer\s*(?:is|:|=)\s*[:=]?\s*(.+?)\s*$", re.I | re.M)
DRESS = re.compile(r"\\[()\[\]]|[$`*_]|\\(?:text|mathrm|mathbf)\b")
NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")


def final_answer(text: str | None) -> str | None:
    """The normalised final answer of a text; None for a blank one."""
    if not (text or "").strip():
        return None
    assert text is not None
    found = HASHES.findall(text)
    boxed = _boxed(text)
    phrases = PHRASE.findall(text)
    last = [line for line in text.splitlines() if line.strip()][-1]
    for place in (found[-1:], [boxed] if boxed else [], phrases[-1:], [last]):
        if place and (answer := normal(place[0])):
            return answer
    return normal(text) or text.strip()


def normal(text: str) -> str:
    """`text` without dressing, its case folded, a lone number written plainly."""
    bare = " ".join(DRESS.sub(" ", text.replace("\u2212", "-")).replace("{", " ").replace("}", " ").split())
    bare = bare.strip(" .;:!?").casefold()
    if NUMBER.fullmatch(bare):
        try:
            value = Decimal(bare.replace(",", ""))
        except InvalidOperation:
            return bare
        return format(value.normalize() + 0, "f")
    return bare


def agreement(answers: Sequence[str | None]) -> tuple[str | None, int]:
    """(the answer given most often, how often); of equally frequent ones the first given. None is no answer."""
    counts = Counter(a for a in answers if a is not None)
    return counts.most_common(1)[0] if counts else (None, 0)


def _boxed(text: str) -> str | None:
    """What the last \\boxed{...} holds, braces inside it balanced."""
    at = text.rfind("\\boxed{")
    if at < 0:
        return None
    start, depth = at + len("\\boxed{"), 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if not depth:
            return text[start:end]
    return None
