"""The canonical key of a request: equal for equal questions, whoever asks and wherever the server is.

A key is the sha256 of canonical JSON (sorted keys, no spaces, ASCII, 1.0 written as 1, nulls left out) over the
format's version, the model's identity, the messages, the sampling parameters and the sample's index. What is not in it:
address, API key, limits, retries, the operator's name, the row's id. Cost: about 10 microseconds for a short
conversation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["FORMAT", "canonical", "canonical_request", "clean_messages", "estimate_tokens", "preview", "request_key"]

FORMAT = 1
"""Raised when the meaning of a key changes: older answers are then never found again."""

SENT = ("role", "content", "name", "tool_calls", "tool_call_id")


ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> bytes:
    """Canonical JSON of plain data. Raises ValueError for NaN, infinities and what is not JSON."""
    return ENCODER.encode(_plain(value)).encode("ascii")


def _plain(value: Any) -> Any:
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, (int, float)):
        return value
    raise ValueError(f"a request holds {type(value).__name__}, which is not JSON")


def clean_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as a server takes them: nulls and `reasoning` left out, tool calls as JSON values."""
    out = []
    for message in messages:
        clean = {name: message[name] for name in SENT if message.get(name) is not None}
        if isinstance(clean.get("tool_calls"), str):
            clean["tool_calls"] = json.loads(clean["tool_calls"])
        clean.setdefault("content", "" if "tool_calls" not in clean else None)
        out.append(clean)
    return out


def canonical_request(
    identity: bytes, messages: list[dict[str, Any]], sampling: Mapping[str, Any], sample: int
) -> bytes:
    """One question to one model, as canonical JSON.

    `identity` is canonical already, `messages` come from `clean_messages`.
    """
    said = ENCODER.encode(messages).encode("ascii")
    return b'{"format":%d,"messages":%b,"model":%b,"sample":%d,"sampling":%b}' % (
        FORMAT,
        said,
        identity,
        sample,
        canonical(sampling),
    )


def request_key(asked: bytes) -> bytes:
    """32 bytes that name a canonical request."""
    return hashlib.sha256(asked).digest()


def preview(messages: Sequence[Mapping[str, Any]], width: int = 60) -> str:
    """The start of the last user text, on one line, for error messages."""
    texts = [m["content"] for m in messages if m.get("role") in ("user", "raw") and isinstance(m.get("content"), str)]
    line = " ".join(texts[-1].split()) if texts else ""
    return line if len(line) <= width else line[: width - 3] + "..."


def estimate_tokens(text: str) -> int:
    """Tokens of a text without its tokenizer: four characters of Latin script, one and a half of others, a token."""
    if text.isascii():
        return len(text) // 4 + 1
    wide = sum(1 for c in text if c >= "\u2e80")
    return (len(text) - wide) // 4 + int(wide / 1.5) + 1
