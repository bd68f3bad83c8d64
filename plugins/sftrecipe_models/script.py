"""`use: script`: a chat model that reads its lines from a file: for tests and for variants that run offline.

Each line of `replies` is an object; a plain text stands for `{"reply": text}`:

    match, regex    a text or pattern that the last user text must contain (`"in": "all"`: any message)
    reply           the answer, or a list of answers that sample 0, 1, 2, ... get, round and round
    logprobs        per token {token: log-probability}, given when a step asks for log-probabilities
    finish_reason, reasoning, refusal, tool_calls    as in a real answer

The first line that matches answers, as often as it is asked. Lines without `match` and `regex` answer one request each,
in order: for tests of a few rows, since with many rows at once the order is not fixed. When no line fits, `default`
answers, then `behaviour`, a simple function of the request; without them the run ends and names the prompt.

Behaviours (they are no models, and say nothing about one): `echo` the last user text; `upper` the same in capitals;
`words` how many words it has; `score` a digit from 1 to 6 that depends on nothing but the conversation's hash, with
log-probabilities of the six digits; `schema` a value of the form that the step's schema asks for, filled with words of
the prompt.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sftrecipe import File, Param, Provider, StepError
from sftrecipe.models import Fatal, Reply, Request
from sftrecipe.models.keys import canonical, estimate_tokens, preview
from sftrecipe.models.transport import RAW

__all__ = ["Script", "ScriptTransport"]

LINE_KEYS = {"match", "regex", "in", "reply", "logprobs", "finish_reason", "reasoning", "refusal", "tool_calls"}
SCORE_KEYS = {"match", "regex", "in", "score"}
DIGITS = "123456"


class Script(Provider):
    """Canned replies, or a simple function of the prompt."""

    serves = ("Chat", "Reward")
    place = "loop"

    replies: File | list[Any] | None = Param(
        None, doc="JSON lines (or a list): {match or regex, reply, ...}; see the provider's page."
    )
    default: str | None = Param(None, doc="The answer when no line fits.")
    behaviour: Literal["echo", "upper", "words", "score", "schema"] | None = Param(
        None, doc="What answers when no line fits."
    )
    scores: File | list[Any] | None = Param(None, doc="JSON lines (or a list) for rewards: {match or regex, score}.")
    model: str = Param("script", doc="A name to stand in the record.")

    def identity(self) -> Mapping[str, Any]:
        """The name and a hash of all that is scripted: other lines, other answers."""
        lines = {"replies": _lines(self.replies), "scores": _lines(self.scores)}
        script = {**lines, "default": self.default, "behaviour": self.behaviour}
        return {"provider": "script", "model": self.model, "script": hashlib.sha256(canonical(script)).hexdigest()[:16]}

    def open(self) -> ScriptTransport:
        """Reads the lines. Raises StepError that names a bad one."""
        replies = [_Line(number, line, LINE_KEYS, "reply") for number, line in enumerate(_lines(self.replies), 1)]
        scores = [_Line(number, line, SCORE_KEYS, "score") for number, line in enumerate(_lines(self.scores), 1)]
        return ScriptTransport(replies, scores, self.default, self.behaviour)


class _Line:
    """One line of a script."""

    def __init__(self, number: int, given: Any, keys: set[str], needs: str) -> None:
        line = {"reply": given} if isinstance(given, str) and needs == "reply" else given
        if not isinstance(line, dict) or needs not in line or set(line) - keys:
            may = ", ".join(sorted(keys - {needs}))
            raise StepError(f"line {number} of the script needs `{needs}` and may have {may}: {json.dumps(given)[:80]}")
        self.given: dict[str, Any] = line
        self.everywhere = line.get("in") == "all"
        self.text = line.get("match")
        try:
            self.pattern = re.compile(line["regex"]) if "regex" in line else None
        except re.error as error:
            raise StepError(f"line {number} of the script has a broken regex: {error}") from error
        self.in_order = self.text is None and self.pattern is None

    def fits(self, last: str, everything: str) -> bool:
        where = everything if self.everywhere else last
        return (self.text is None or self.text in where) and (self.pattern is None or bool(self.pattern.search(where)))


class ScriptTransport:
    """The lines, and how far those that answer in order have been read."""

    concurrency = 64
    adaptive = False
    completes = True

    def __init__(self, replies: list[_Line], scores: list[_Line], default: str | None, behaviour: str | None) -> None:
        self._matching = [line for line in replies if not line.in_order]
        self._ordered = iter([line for line in replies if line.in_order])
        self._scores, self._default, self._behaviour = scores, default, behaviour

    async def send(self, request: Request) -> Reply:
        """The scripted answer. Raises Fatal when there is none."""
        line = _find(self._matching, request.messages) or next(self._ordered, None)
        if line is not None:
            return _said(line.given, request)
        if self._default is not None:
            return _reply(self._default, request)
        if self._behaviour is not None:
            return _behave(self._behaviour, request)
        raise Fatal(
            "no_reply", f"the script has no reply for `{preview(request.messages)}`", "add a line, or `default:`"
        )

    async def reward(self, messages: Sequence[Mapping[str, Any]]) -> float:
        """The scripted score of a conversation:

        `match` is looked for in the last message. Raises StepError when there is none.
        """
        line = _find(self._scores, messages, last_role=None)
        if line is None:
            raise StepError(
                f"the script has no score for `{preview(messages)}`", code="R628", help="add a line to `scores`"
            )
        return float(line.given["score"])

    def redact(self, text: str) -> str:
        """Nothing is secret here."""
        return text

    async def leave(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is held."""


def _lines(given: Any) -> list[Any]:
    if given is None or isinstance(given, list):
        return given or []
    path, out = Path(given), []
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StepError(f"the script {path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                out.append(json.loads(line))
            except ValueError as error:
                raise StepError(f"{path}:{number}: not JSON: {error}") from error
    return out


def _find(
    lines: Sequence[_Line], messages: Sequence[Mapping[str, Any]], last_role: str | None = "user"
) -> _Line | None:
    texts = [str(m.get("content") or "") for m in messages if last_role is None or m.get("role") in (last_role, RAW)]
    last = texts[-1] if texts else ""
    everything = "\n".join(str(m.get("content") or "") for m in messages)
    return next((line for line in lines if line.fits(last, everything)), None)


def _said(line: Mapping[str, Any], request: Request) -> Reply:
    reply = line["reply"]
    text = reply[request.sample % len(reply)] if isinstance(reply, list) else reply
    told = text if isinstance(text, str) else json.dumps(text)
    logprobs = tuple(line.get("logprobs") or ()) if request.sampling.get("logprobs") else ()
    more = {name: line[name] for name in ("finish_reason", "reasoning", "refusal", "tool_calls") if name in line}
    return _reply(told, request, logprobs=logprobs, **more)


def _reply(text: str, request: Request, **more: Any) -> Reply:
    prompt = "".join(str(m.get("content") or "") for m in request.messages)
    return Reply(text, tokens_in=estimate_tokens(prompt), tokens_out=estimate_tokens(text), **more)


def _behave(behaviour: str, request: Request) -> Reply:
    texts = [
        m["content"] for m in request.messages if m.get("role") in ("user", RAW) and isinstance(m.get("content"), str)
    ]
    last = texts[-1] if texts else ""
    digest = hashlib.sha256(canonical([request.messages, request.sample])).digest()
    if behaviour == "score":
        weights = [1 + digest[at] for at in range(6)]
        tops = {digit: math.log(weight / sum(weights)) for digit, weight in zip(DIGITS, weights, strict=True)}
        best = max(DIGITS, key=lambda digit: tops[digit])
        return _reply(best, request, logprobs=(tops,) if request.sampling.get("logprobs") else ())
    if behaviour == "schema":
        return _reply(
            json.dumps(_shaped(request.sampling.get("schema") or {}, last.split() or ["empty"], digest)), request
        )
    plain = {"echo": last, "upper": last.upper(), "words": str(len(last.split()))}
    return _reply(plain[behaviour], request)


def _shaped(schema: Mapping[str, Any], words: list[str], digest: bytes) -> Any:
    """A value of this form; what it holds is taken from the prompt's words and the hash."""
    if "const" in schema or schema.get("enum"):
        return schema["const"] if "const" in schema else schema["enum"][digest[0] % len(schema["enum"])]
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return _shaped(options[0], words, digest)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        parts = schema.get("properties", {})
        return {
            name: _shaped(part, words, hashlib.sha256(digest + name.encode()).digest()) for name, part in parts.items()
        }
    if kind == "array":
        count = max(int(schema.get("minItems", 1)), 1)
        return [
            _shaped(schema.get("items", {}), words, hashlib.sha256(digest + bytes([at])).digest())
            for at in range(count)
        ]
    if kind in ("integer", "number"):
        low = schema.get("minimum", 1)
        high = schema.get("maximum", low + 5)
        return low + digest[1] % (int(high - low) + 1)
    return {"boolean": digest[2] % 2 == 0, "null": None}.get(kind, words[digest[3] % len(words)])
