"""filter.answer_style: LIMA's rules for answers that read like a knowledgeable assistant.

Zhou et al. 2023, arXiv 2305.11206, section 2.1.

    chars            1,200 to 4,096 characters, both included (the whole text)
    first_person     no I, me, my, myself; in Chinese no \u6211
    cross_reference  no word about other answers, their authors or the site ("as mentioned", "the accepted answer",
                     "@anna", "stack exchange")
    markup           no HTML, links or images; code, lists and paragraphs marked as such (`code pre ul ol li`) may stay

The last three look at the text without its code (fenced and inline). Roman numerals (World War I, a line that starts
with "I."), "I/O" and \u6211\u4eec, \u81ea\u6211 are no first person.
Deviations: the authors' word lists were not published beyond the examples, so these are ours. The authors then stripped
links, images and tags from what they kept; a filter changes no text, so it drops such answers (switch `markup` off to
keep them).
Cost: about 10 microseconds for a text of 2 kB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from sftrecipe import Expr, Filter, Param
from sftrecipe.lazy import pl
from sftrecipe_clean.length import bounds
from sftrecipe_clean.texts import text_of

if TYPE_CHECKING:
    from sftrecipe.rows import Rows

__all__ = ["LIMA_CHARS", "AnswerStyle", "without_code"]

LIMA_CHARS = (1200, 4096)
_CODE = r"(?s:```.*?```|~~~.*?~~~)|`[^`\n]*`|(?si:<(?:code|pre)\b.*?</(?:code|pre)>)"
_NUMERAL = (
    r"(?m:^\s*I[.)]\s)|\bI/O\b|"
    r"\b(?:Act|Article|Book|Chapter|Class|Figure|Grade|Group|Level|Mark|Part|Phase|Section|Stage|Table|Title|Type|Volume"
    r"|War|Charles|Elizabeth|Francis|Frederick|George|Henry|James|Napoleon|Nicholas|William) I\b"
    r"|\u6211\u4eec|\u81ea\u6211"
)
_FIRST_PERSON = r"\b(?:I|[Mm]e|[Mm]y|[Mm]yself)\b|\u6211"
_CROSS_REFERENCE = (
    r"\bOP\b|(?:^|\s)@[A-Za-z]\w+|(?i:"
    r"\bas (?:\w+ )?mentioned\b|"
    r"\bas (?:\w+ )?(?:explained|noted|pointed out|said|stated|suggested) (?:above|before|by|earlier|in)\b|"
    r"\b(?:accepted|another|earlier|other|previous|top) (?:answer|comment|commenter|poster|post|reply|replie)s?\b|"
    r"\b(?:answers?|comments?|posts?) (?:above|below)\b|\b\w+['\u2019]s (?:answer|comment|post)\b|"
    r"\boriginal poster\b|\b(?:down|up)-?vot(?:ed?|es|ing)\b|"
    r"\bstack ?(?:exchange|overflow)\b|\bthis (?:forum|site|thread)\b)|"
    r"\u5982\u4e0a\u6240\u8ff0|\u5982\u524d\u6240\u8ff0|\u697c\u4e0a|\u697c\u4e3b|\u8bc4\u8bba\u533a|"
    r"(?:\u5176\u4ed6|\u522b\u7684|\u4e0a\u9762\u7684|\u524d\u9762\u7684)\u56de\u7b54"
)
_TAGS = (
    r"a|abbr|article|audio|b|blockquote|body|br|button|center|cite|dd|del|div|dl|dt|em|embed|figcaption|figure|font|footer"
    r"|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|kbd|label|link|main|meta|nav|object|option|p|picture|q|s|script"
    r"|section|select|small|source|span|strike|strong|style|sub|sup|svg|table|tbody|td|textarea|tfoot|th|thead|title|tr|tt|u|video"
)
# a tag with more than its name must have an attribute with a value: `a <b and c> d` is arithmetic
_MARKUP = (
    rf"(?i:</?(?:{_TAGS})(?:\s+[\w:-]+\s*=[^<>]*)?\s*/?>)|<!--|(?i:\bhttps?://|\bwww\.\w)|!?\[[^\]\n]*\]\([^)\n]*\)"
    r"|(?i:\[/?(?:img|url)\b)|&(?:amp|gt|lt|nbsp|quot|#\d+);"
)
_RULES: Mapping[str, str] = {"first_person": _FIRST_PERSON, "cross_reference": _CROSS_REFERENCE, "markup": _MARKUP}


def without_code(texts: pl.Series) -> pl.Series:
    """Texts with a space where code stood."""
    return texts.str.replace_all(_CODE, " ")


class AnswerStyle(Filter):
    """Keep answers of a fair length that stand alone: impersonal, without words about other answers, without markup.

    Codes, in this order: `too_short`, `too_long` (value: characters), `first_person`, `cross_reference`, `markup`
    (value: how often). A null text is `undefined`.
    """

    wants: ClassVar[Mapping[str, str]] = {"text": "text"}
    source = "Zhou et al. 2023, LIMA (arXiv 2305.11206), section 2.1"

    chars: int | list[int | None] | None = Param(
        list(LIMA_CHARS), doc="[least, most] characters, both included; null: any."
    )
    first_person: bool = Param(True, doc="Drop answers in the first person.")
    cross_reference: bool = Param(
        True, doc="Drop answers that speak of other answers, of their authors or of the site."
    )
    markup: bool = Param(True, doc="Drop answers with HTML, links or images.")
    text: Expr = Param("response", doc="The text that is looked at.")

    def check(self) -> list[str]:
        """Bounds that cannot be, and a filter that is all switched off."""
        if self.chars is None:
            return [] if any(getattr(self, rule) for rule in _RULES) else ["every rule is switched off"]
        try:
            bounds(self.chars)
        except ValueError as error:
            return [f"`chars` {error}"]
        return []

    def keep(self, rows: Rows) -> Mapping[str, Any]:
        """A mask for each rule that is on; null texts give null."""
        texts = text_of(rows, self.text, self.name)
        found: dict[str, tuple[pl.Series, pl.Series]] = {}
        if self.chars is not None:
            low, high = bounds(self.chars)
            length = texts.str.len_chars().cast(pl.Int64)
            found["too_short"] = (length >= (low or 0), length)
            if high is not None:
                found["too_long"] = (length <= high, length)
        prose = without_code(texts)
        for rule, pattern in _RULES.items():
            if getattr(self, rule):
                counts = (prose.str.replace_all(_NUMERAL, " ") if rule == "first_person" else prose).str.count_matches(
                    pattern
                )
                found[rule] = (counts == 0, counts.cast(pl.Int64))
        return found
