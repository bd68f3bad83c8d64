"""The chat-completions protocol as pure functions: a request's body, an answer's reading, an error's meaning.

Servers differ in what they take. `Dialect` says how this one wants three things, and `adapt` learns it from a 400:
structured output (`json_schema`, `json_object` or only told in words), and the name of the token limit. What the model
is asked stays the same, so the dialect is no part of a request's key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from sftrecipe.models import Broken, Failure, Fatal, Refused, Reply, Request, Unusable
from sftrecipe.models.keys import estimate_tokens
from sftrecipe.models.structured import instruction, is_strict

__all__ = ["Dialect", "adapt", "body", "failure", "read"]

OVERFLOW = re.compile(
    r"context.?(length|window|size)|maximum (model |sequence |prompt )?length|too many tokens|prompt is too long",
    re.I,
)
TOO_LARGE = re.compile(r"request (is )?too large", re.I)
FILTERED = re.compile(r"content.?(filter|policy|management)|safety system|moderation", re.I)
MODEL = re.compile(
    r"\bmodel\b[^.]{0,80}(not found|not exist|not available|not supported by this)|(no such|unknown|invalid) model\b",
    re.I,
)
CREDIT = re.compile(r"insufficient.?(quota|balance|credit|funds)|billing|exceeded your current quota", re.I)
FORMATS = ("json_schema", "json_object", "words")
SHOWN = 300


@dataclass(frozen=True)
class Dialect:
    """How a server takes structured output (one of FORMATS) and what it calls the token limit."""

    structured: str = "json_schema"
    limit: str = "max_tokens"


def body(model: str, request: Request, dialect: Dialect) -> bytes:
    """The JSON body of one request."""
    sampling = dict(request.sampling)
    schema, logprobs = sampling.pop("schema", None), sampling.pop("logprobs", None)
    asked = {"messages": request.messages} if request.prompt is None else {"prompt": request.prompt}
    out: dict[str, Any] = {"model": model, **asked}
    if sampling.get("max_tokens") is not None:
        out[dialect.limit] = sampling.pop("max_tokens")
    if sampling.get("seed") is not None:
        out["seed"] = sampling.pop("seed") + request.sample
    if logprobs:
        out |= {"logprobs": True, "top_logprobs": int(logprobs)}
    if schema is not None:
        _ask_for(out, schema, dialect.structured)
    out |= sampling
    try:
        return orjson.dumps(out)
    except TypeError:  # lone surrogates and integers over 64 bits: JSON can escape them, orjson refuses
        return json.dumps(out).encode("ascii")


def _ask_for(out: dict[str, Any], schema: Mapping[str, Any], structured: str) -> None:
    if structured == "json_schema":
        wanted = {"name": "answer", "schema": schema, "strict": is_strict(schema)}
        out["response_format"] = {"type": "json_schema", "json_schema": wanted}
        return
    if structured == "json_object":
        out["response_format"] = {"type": "json_object"}
    messages = [dict(m) for m in out["messages"]]
    last = messages[-1]
    if last["role"] == "user" and isinstance(last["content"], str):
        last["content"] = f"{last['content']}\n\n{instruction(schema)}"
    else:
        messages.append({"role": "user", "content": instruction(schema)})
    out["messages"] = messages


def adapt(dialect: Dialect, status: int, data: bytes) -> Dialect | None:
    """The dialect to try after this refusal, or None when it is about something else."""
    text = data.decode("utf-8", "replace")
    if status not in (400, 415, 422, 501):
        return None
    if "max_completion_tokens" in text and dialect.limit == "max_tokens":
        return replace(dialect, limit="max_completion_tokens")
    if re.search(r"response_format|json_schema|json_object|structured output", text, re.I):
        at = FORMATS.index(dialect.structured) + 1
        return replace(dialect, structured=FORMATS[at]) if at < len(FORMATS) else None
    return None


def read(data: bytes, content_type: str, prompt: str = "") -> Reply:
    """The answer in a response with status 200.

    Raises:
        Fatal: a page, not an answer. Broken: JSON that is cut or holds no choice.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        if "html" in content_type or data.lstrip()[:15].lower().startswith(
            (b"<!doctype", b"<html", b"<head", b"<body")
        ):
            raise _no_endpoint("it answers with a web page") from None
        raise Broken("bad_json", "the server's answer is no JSON (cut or malformed)", _text(data)) from None
    if not isinstance(value, dict):
        raise Broken("bad_json", "the server's answer is no JSON object", _text(data))
    if "error" in value and "choices" not in value:
        raise failure(_inner_status(value["error"]), data, None)
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices:
        if "choices" not in value:
            raise _no_endpoint("its answers have no `choices`")
        raise Broken("empty_choices", "the server's answer has an empty list of choices", _text(data))
    try:
        return _reply(choices[0], value.get("usage") or {}, prompt)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Broken("bad_json", f"the server's answer has not the form of one ({error!r})", _text(data)) from None


def _inner_status(error: Any) -> int:
    """The status that an error inside a response with status 200 stands for (gateways pass errors on like that)."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def _reply(choice: Mapping[str, Any], usage: Mapping[str, Any], prompt: str) -> Reply:
    message = choice["message"] if "message" in choice else {"content": choice["text"]}  # /completions says `text`
    text = message.get("content") or ""
    if isinstance(text, list):  # some servers send content parts
        text = "".join(part.get("text", "") for part in text)
    calls = message.get("tool_calls")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    return Reply(
        text=text,
        finish_reason=choice.get("finish_reason") or "stop",
        reasoning=reasoning if isinstance(reasoning, str) else None,
        tool_calls=json.dumps(calls) if calls else None,
        tokens_in=int(usage.get("prompt_tokens") or estimate_tokens(prompt)),
        tokens_out=int(usage.get("completion_tokens") or estimate_tokens(text)),
        logprobs=_logprobs(choice.get("logprobs")),
        refusal=message.get("refusal") or None,
    )


def _logprobs(given: Any) -> tuple[dict[str, float], ...]:
    if not given or not given.get("content"):
        return ()
    steps = []
    for step in given["content"]:
        tops = {top["token"]: float(top["logprob"]) for top in step.get("top_logprobs") or ()}
        tops.setdefault(step["token"], float(step["logprob"]))
        steps.append(tops)
    return tuple(steps)


def failure(status: int, data: bytes, retry_after: str | None) -> Failure:
    """What a response with another status means. Order matters: what names the model or the money comes first."""
    code, message = _error(data)
    told = f"HTTP {status}: {message}"
    if status in (401, 403):
        return Fatal("key_refused", f"the server refuses the key ({told})", "check `api_key` and what it may use")
    if status == 402 or (status == 429 and CREDIT.search(f"{code} {message}")):
        return Fatal(
            "no_credit", f"the account has no credit left ({told})", "answers so far are kept; top up and run again"
        )
    if status == 429 and TOO_LARGE.search(message):  # more tokens than a minute allows: no waiting helps
        return Unusable("too_large", f"the request alone is above the rate limit ({told})")
    if status in (429, 503, 529):
        return Refused("overloaded", told, _seconds(retry_after))
    if status == 413 or code == "context_length_exceeded" or (status < 500 and OVERFLOW.search(message)):
        return Unusable("context_overflow", f"the conversation is too long for the model ({told})")
    if code in ("model_not_found", "invalid_model") or (status in (400, 404, 422) and MODEL.search(message)):
        return Fatal(
            "unknown_model",
            f"the server does not know the model ({told})",
            "check `model`, and ask the server's /v1/models",
        )
    if status in (404, 405) or 300 <= status < 400:
        return _no_endpoint(told)
    if status >= 500 or status in (408, 409, 425):
        return Broken("server_error", told, _text(data))
    if code == "content_filter" or FILTERED.search(message):
        return Unusable("content_filter", f"the provider's filter refuses the request ({told})")
    return Unusable("bad_request", f"the server refuses the request ({told})")


def _no_endpoint(why: str) -> Fatal:
    help = "check `base_url`: it is the part before /chat/completions and usually ends in /v1"
    return Fatal("wrong_address", f"this is no OpenAI-compatible endpoint ({why})", help)


def _error(data: bytes) -> tuple[str, str]:
    """(code, message) of an error body, in any of the forms that servers use."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return "", _text(data)
    error = value.get("error", value) if isinstance(value, dict) else value
    if not isinstance(error, dict):
        return "", str(error)[:SHOWN]
    message = error.get("message") or error.get("detail") or error.get("msg") or json.dumps(error)
    return str(error.get("code") or error.get("type") or ""), str(message)[:SHOWN]


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds: a number, or a date (against the machine's clock)."""
    if not retry_after:
        return None
    try:
        return max(0.0, min(float(retry_after), 3600.0))
    except ValueError:
        pass
    try:
        import datetime

        when = parsedate_to_datetime(retry_after)
        return max(0.0, min((when - datetime.datetime.now(when.tzinfo)).total_seconds(), 3600.0))
    except (TypeError, ValueError):
        return None


def _text(data: bytes) -> str:
    """The start of a body on one line, for people."""
    return " ".join(data[: 2 * SHOWN].decode("utf-8", "replace").split())[:SHOWN] or "(empty body)"
