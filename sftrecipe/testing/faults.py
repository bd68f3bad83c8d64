"""What the scripted server does wrong, and when: a function of the request and how often it came, never of time or
order.

So two clients that send the same rows meet the same faults, whatever their order and concurrency.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FAULTS", "Behaviour", "digest", "fraction", "pick_fault", "shaped", "text_for"]

FAULTS = ("429", "500", "503", "malformed", "bad_json", "truncated", "drop", "hang", "html", "empty")
"""429 and 500, 503: that status. malformed: a broken JSON text as the answer. bad_json: a body that is no JSON.
truncated: fewer bytes than announced. drop: the connection closes without an answer. hang: the answer takes
`hang_seconds`. html: a page with status 200. empty: no choices."""

WORDS = ("amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "heron", "islet", "jetty", "knoll", "ledge",
         "north", "ocean", "pebble", "quartz", "ridge", "shore", "tidal")  # fmt: skip


@dataclass(frozen=True)
class Behaviour:
    """How the server behaves.

    Attributes:
        latency, jitter: seconds an answer takes, plus or minus.
        faults: share of tries per fault, such as {"429": 0.05}.
        fault_tries: only the first so many tries of a request may fail; 0: any.
        always: {text: fault}: requests that hold this text always fail so (also `400` and `context`).
        max_in_flight: more are refused with 429.
        per_minute: requests a minute, a second's worth at once; more are refused with 429.
        retry_after: seconds in the Retry-After header of refusals; 0: no header.
        key: what `Authorization: Bearer` must hold; None: anything.
        models: names that exist; empty: all.
        replies: {text: answer or list of answers per sample}: the first text found in the last user message decides.
        words: length of answers that are not scripted.
        response_formats: which of `json_schema`, `json_object` the server takes; others are refused with 400.
        seed: of faults, latency and answers.
    """

    latency: float = 0.0
    jitter: float = 0.0
    faults: Mapping[str, float] = field(default_factory=dict)
    fault_tries: int = 0
    always: Mapping[str, str] = field(default_factory=dict)
    max_in_flight: int = 0
    per_minute: float = 0
    retry_after: float = 0
    hang_seconds: float = 60.0
    key: str | None = None
    models: Sequence[str] = ()
    replies: Mapping[str, Any] = field(default_factory=dict)
    words: int = 40
    response_formats: Sequence[str] = ("json_schema", "json_object")
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = set(self.faults) - set(FAULTS)
        if unknown:
            raise ValueError(f"unknown faults {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")


def digest(body: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of a request's whole body."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def pick_fault(behaviour: Behaviour, body: Mapping[str, Any], name: str, tries: int) -> str | None:
    """What goes wrong at try number `tries` (from 0) of this request."""
    if behaviour.always:
        text = json.dumps(body.get("messages"), ensure_ascii=False)
        for part, fault in behaviour.always.items():
            if part in text:
                return fault
    if behaviour.fault_tries and tries >= behaviour.fault_tries:
        return None
    drawn = fraction(f"{behaviour.seed}/{name}/{tries}")
    for fault, share in behaviour.faults.items():
        if drawn < share:
            return fault
        drawn -= share
    return None


def text_for(behaviour: Behaviour, body: Mapping[str, Any], name: str) -> str:
    """The answer's text: scripted, or shaped by the schema asked for, or words that depend on the request alone."""
    users = [m.get("content") for m in body.get("messages", ()) if m.get("role") == "user"]
    last = str(users[-1]) if users else str(body.get("prompt", ""))
    for part, reply in behaviour.replies.items():
        if part in last:
            return str(reply[int(name, 16) % len(reply)] if isinstance(reply, list) else reply)
    wanted = body.get("response_format") or {}
    drawn = random.Random(f"{behaviour.seed}/{name}") if wanted else None  # noqa: S311
    if drawn and wanted.get("type") == "json_schema":
        return json.dumps(shaped(wanted["json_schema"]["schema"], drawn))
    if drawn and wanted.get("type") == "json_object":
        return json.dumps({"answer": drawn.choice(WORDS), "score": drawn.randint(1, 6)})
    numbers = hashlib.shake_128(f"{behaviour.seed}/{name}".encode()).digest(behaviour.words)
    return f"Answer to <{last[:40]}>: " + " ".join([WORDS[number % len(WORDS)] for number in numbers])


def fraction(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone.

    A hash: seeding a generator for one number costs ten times as much.
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56


def shaped(schema: Mapping[str, Any], drawn: random.Random) -> Any:
    """A value of the form that a JSON Schema asks for (plain types, enums, nested)."""
    if schema.get("enum"):
        return drawn.choice(list(schema["enum"]))
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        return {name: shaped(part, drawn) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [shaped(schema.get("items", {}), drawn) for _ in range(max(1, schema.get("minItems", 1)))]
    low = schema.get("minimum", 1)
    plain = {"integer": low, "number": float(low), "boolean": True, "null": None}
    return plain.get(kind, f"{drawn.choice(WORDS)} {drawn.choice(WORDS)}")
