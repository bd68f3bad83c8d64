"""`tag.instag`: free tags with explanations, asked of a chat model (Lu et al. 2023, #InsTag, arXiv 2308.07074).

The paper asks ChatGPT for fine-grained intention and semantics tags of each query, as JSON of tag and explanation, and
then makes a vocabulary of them (`tag.normalize`). The prompt here is our own; the form of the answer is a JSON Schema,
so that servers which can do so enforce it. Cost: one call a row, about 40 tokens a tag.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from sftrecipe import Chat, Cost, Into, Param, Tag, Template
from sftrecipe.lazy import pl
from sftrecipe.models.asking import asks, demand, estimate, reads_of, render
from sftrecipe_judge.asking import prompt_text

__all__ = ["InsTag", "clean_tags"]

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "tags": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"tag": {"type": "string"}, "explanation": {"type": "string"}},
                "required": ["tag", "explanation"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["tags"],
    "additionalProperties": False,
}


def clean_tags(given: Iterable[Mapping[str, str]], most: int) -> dict[str, str]:
    """tag -> explanation, white space collapsed, blank tags and repeats (whatever their case) left out, at most
    `most`.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    for entry in given:
        tag = " ".join(entry["tag"].split())
        if tag and tag.casefold() not in seen:
            seen.add(tag.casefold())
            found[tag] = " ".join(entry["explanation"].split())
    return dict(list(found.items())[:most])


class InsTag(Tag):
    """Tags of each query by a chat model, as a list of text; `explanations` may name a JSON column for the reasons.

    A row fails with `no_query`, or with the codes of the model layer (`invalid_json`, `truncated`, `refused`, ...). An
    empty list is an answer. Normalise with `tag.normalize` before selecting by tags.
    """

    reads = ("query",)
    writes: ClassVar[Mapping[str, str]] = {"{into}": "list[text]", "{explanations}": "json"}
    source = "Lu et al. 2023, #InsTag: Instruction Tagging for Analyzing Supervised Fine-tuning of LLMs"

    model: Chat = Param(doc="A chat model from `models:`.", positional=True)
    prompt: Template = Param(
        prompt_text("instag"), doc="What is asked; the answer must be {tags: [{tag, explanation}]}."
    )
    system: str | None = Param(None, doc="System text of the request.")
    max_tags: int = Param(12, ge=1, doc="Most tags of a row; later ones are left out.")
    temperature: float | None = Param(0, ge=0, doc="Sampling temperature; null leaves it to the server.")
    max_tokens: int | None = Param(1024, ge=1, doc="Most tokens of an answer.")
    into: Into = Param("tags", doc="The list-of-text column that is written.")
    explanations: Into | None = Param(None, doc="A JSON column for {tag: explanation}.")

    async def tag_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """One request."""
        demand(row, reads_of(self.prompt))
        asked = asks(render(self.prompt, row), self.system)
        settings: dict[str, Any] = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        reply = (await self.model.chat(asked, schema=SCHEMA, **settings))[0]
        found = clean_tags(reply.parsed["tags"], self.max_tags)
        more: dict[str, Any] = {self.explanations: json.dumps(found, ensure_ascii=False)} if self.explanations else {}
        return {self.into: list(found), **more}

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """One call a row, a second one where the JSON must be repaired."""
        yield estimate(sample, [self.prompt], calls=(1, 1, 1.1), tokens_out=(30, 120, 400))
