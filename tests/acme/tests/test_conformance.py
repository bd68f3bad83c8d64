"""What every operator should keep to, checked by sftrecipe's own kit."""

from __future__ import annotations

from sftrecipe.testing.conformance import Example, conformance

ROWS = [
    {"query": "Why?", "response": "Because it is so."},
    {"query": "Really? Why?", "response": "Yes."},
    {"query": "Say nothing.", "response": "Nothing at all was said by anybody."},
]

test_acme = conformance(
    "acme",
    examples={"filter.acme.short": Example(ROWS, 3), "score.acme.questions": ROWS},
)
