"""Column types: few on purpose, written as words in recipes and operators.

    text int float bool json list[T] vector messages tokens candidates any

`json` is JSON text. `vector` is a list of 32-bit floats of one width. `messages` is the conversation, `tokens` a list
of token ids, `candidates` a list of sampled answers. `any` is a type that is not known before the run. Every column
may hold nulls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sftrecipe.lazy import pl

__all__ = ["CANDIDATE_FIELDS", "MESSAGE_FIELDS", "SCALARS", "Type", "parse_type"]

SCALARS = ("text", "int", "float", "bool", "json")
_WHOLE = ("vector", "messages", "tokens", "candidates", "any")

MESSAGE_FIELDS: Mapping[str, str] = {
    "role": "text",
    "content": "text",
    "reasoning": "text",
    "tool_calls": "json",
    "name": "text",
    "tool_call_id": "text",
}

CANDIDATE_FIELDS: Mapping[str, str] = {
    "text": "text",
    "reasoning": "text",
    "model": "text",
    "parent": "int",
    "finish_reason": "text",
    "tokens": "int",
    "passed": "bool",
    "score": "float",
    "verdict": "text",
}
"""What a sampled answer carries. `parent` is the index of the candidate that it repairs."""


@dataclass(frozen=True)
class Type:
    """A column type; `of` is the element type of a list."""

    kind: str
    of: Type | None = None

    def __str__(self) -> str:
        return f"list[{self.of}]" if self.of else self.kind

    @property
    def is_number(self) -> bool:
        return self.kind in ("int", "float")

    @property
    def is_text(self) -> bool:
        return self.kind in ("text", "json")

    def accepts(self, other: Type) -> bool:
        """Whether a value of type `other` may stand where this type is asked for."""
        if "any" in (self.kind, other.kind) or self == other:
            return True
        if self.kind == "list" and other.kind in ("vector", "tokens"):
            return self.of is None or self.of.is_number
        if self.kind == other.kind == "list" and self.of and other.of:
            return self.of.accepts(other.of)
        return (self.kind, other.kind) in (("float", "int"), ("text", "json"))

    def dtype(self) -> pl.DataType:
        """The Polars type that holds it (`any` is held as JSON text)."""
        if self.kind == "list" and self.of:
            return pl.List(self.of.dtype())
        plain: dict[str, pl.DataType] = {
            "text": pl.String(),
            "json": pl.String(),
            "any": pl.String(),
            "int": pl.Int64(),
            "float": pl.Float64(),
            "bool": pl.Boolean(),
            "vector": pl.List(pl.Float32()),
            "tokens": pl.List(pl.Int32()),
        }
        if self.kind in plain:
            return plain[self.kind]
        fields = MESSAGE_FIELDS if self.kind == "messages" else CANDIDATE_FIELDS
        return pl.List(pl.Struct({name: Type(kind).dtype() for name, kind in fields.items()}))


def parse_type(text: str) -> Type:
    """`list[text]` -> Type. Raises ValueError that names the types there are."""
    word = text.strip()
    if word.startswith("list[") and word.endswith("]"):
        return Type("list", parse_type(word[5:-1]))
    if word in SCALARS or word in _WHOLE:
        return Type(word)
    raise ValueError(f"`{text}` is no column type; there are {', '.join((*SCALARS, 'list[...]', *_WHOLE))}")
