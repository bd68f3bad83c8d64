"""The schemas that rows come in, and how each becomes a conversation.

| schema | rows look like | conversation |
|---|---|---|
| messages (openai) | `messages: [{role, content, ...}]` | as it stands |
| sharegpt | `conversations: [{from, value}]` | as it stands |
| alpaca | `instruction`, `input` (`context`), `output` (`response`), `history` | user: instruction, a newline, input |
| alpaca, seeds | `instruction`, `instances: [{input, output}]` (self-instruct) | of the first instance |
| prompt_completion | `prompt` + `completion` (`response`), texts or lists of messages | both sides |
| | `query` + `response`; `input` + `output` | both sides |
| problem | `question`, `problem` or `turns` + `answer`, `solution`, ... | user: the question, assistant: the answer |
| | `prompt` + `canonical_solution`; `text` + `code`; `input` + `golden` | the same |
| text | `text` | one assistant turn |

`system` or `system_prompt` beside the conversation becomes its first turn. A row without an answer (an evaluation
set) keeps its user turns. An adapter takes keys out of the row it is given; what it leaves there is the row's
`extra`. It never alters a text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sftrecipe import RowError, StepError
from sftrecipe.errors import did_you_mean
from sftrecipe_io.jsonio import dump, kind
from sftrecipe_io.turns import Turn, json_list, read_turns

__all__ = ["ANSWERS", "SCHEMAS", "Schema", "adapt", "guess", "preferences", "take_tools"]

Row = dict[str, Any]
NONE, QUESTION, WHOLE = 0, 1, 2

ANSWERS = (
    "response",
    "completion",
    "output",
    "solution",
    "canonical_solution",
    "generated_solution",
    "code",
    "answer",
    "golden",
    "ground_truth",
    "expected_answer",
    "target",
)
"""Keys of a problem's answer, the fullest first: a row with `solution` and `answer` is taught the solution."""

_KEYS = (
    "messages",
    "conversations",
    "instruction",
    "prompt",
    "completion",
    "query",
    "question",
    "problem",
    "turns",
    *ANSWERS,
)
_BESIDE = {
    "system",
    "system_prompt",
    "tools",
    "input",
    "context",
    "history",
    "id",
    "source",
    "license",
    "category",
    "name",
    *_KEYS,
}
_QUESTIONS = ("question", "problem", "turns", "prompt", "text", "input", "instruction")


@dataclass(frozen=True)
class Schema:
    """`fits`: 0 not at all, 1 the question only, 2 question and answer. `turns` takes its keys out of the row."""

    name: str
    fits: Callable[[Row], int]
    turns: Callable[[Row], list[Turn]]


def adapt(row: Row, schema: str) -> list[Turn]:
    """The conversation of a row; its keys leave the row. Raises RowError: `wrong_schema`, `no_messages` and others."""
    turns = SCHEMAS[schema].turns(row)
    if not turns:
        raise RowError("no_messages", "the conversation is empty")
    for key in ("system", "system_prompt"):
        if key in row and (row[key] is None or row[key] == ""):
            del row[key]
        elif row.get(key).__class__ is str and turns[0].role != "system":
            turns = [Turn("system", row.pop(key)), *turns]
    return turns


def take_tools(row: Row) -> str | None:
    """The row's `tools` as JSON text of a list. Raises RowError `bad_tools`."""
    value = row.pop("tools", None)
    return None if value is None else json_list(value, "bad_tools")


def guess(rows: Sequence[Any], place: str) -> str:
    """The one schema that most of these rows fit. Raises StepError R611 where it is none, or more than one.

    A schema that finds question and answer goes before those that find a question only.
    """
    dicts = [row for row in rows if row.__class__ is dict]
    fits = {name: [schema.fits(row) for row in dicts] for name, schema in SCHEMAS.items()}
    for least in (WHOLE, QUESTION):
        found = [name for name, marks in fits.items() if 2 * sum(mark >= least for mark in marks) > len(dicts)]
        if len(found) > 1 and least == QUESTION:
            found = [name for name in found if name != "text"]
        if len(found) == 1:
            return found[0]
        if found:
            raise _unclear(
                f"{place}: rows fit {' and '.join(f'`{n}`' for n in found)}", dicts, "say which with `schema:`"
            )
    raise _unclear(
        f"{place}: rows fit no schema",
        dicts,
        f"there are {', '.join(SCHEMAS)}; name one with `schema:`, or rename keys",
    )


def preferences(rows: Sequence[Any]) -> bool:
    """Whether most rows hold two answers to compare, which no schema reads: data for preference training."""
    both = sum(row.__class__ is dict and {"chosen", "rejected"} <= row.keys() for row in rows)
    return 2 * both > len(rows)


def _unclear(what: str, rows: Sequence[Row], advice: str) -> StepError:
    seen = Counter(key for row in rows for key in row)
    keys = ", ".join(f"`{key}`" for key, _ in seen.most_common(20)) or "none"
    inside = next((k for r in rows for k, v in r.items() if v.__class__ is list and v and v[0].__class__ is dict), None)
    if inside and len(rows) == 1:
        advice = f"the rows seem to stand under `{inside}`: put them into a list, or write one a line"
    near = next((f"`{key}`: {hint} " for key in seen if key not in _BESIDE and (hint := did_you_mean(key, _KEYS))), "")
    return StepError(f"{what} (keys found: {keys})", code="R611", help=near + advice)


def _text(row: Row, key: str) -> str:
    """Takes a text key out of the row; null is no text."""
    value = row.get(key)
    if value is None:
        row.pop(key, None)
        return ""
    if value.__class__ is not str:
        raise RowError("bad_content", f"`{key}` is {kind(value)}, not text")
    del row[key]
    return value


def _present(row: Row, keys: Iterable[str]) -> str | None:
    return next((key for key in keys if row.get(key) is not None), None)


def _of_list(*names: str) -> tuple[Callable[[Row], int], Callable[[Row], list[Turn]]]:
    """The schemas whose rows hold a list of messages under one of these keys."""

    def fits(row: Row) -> int:
        return WHOLE if any(row.get(name).__class__ is list for name in names) else NONE

    def turns(row: Row) -> list[Turn]:
        key = next((name for name in names if row.get(name).__class__ is list), None)
        if key is None:
            raise RowError("wrong_schema", f"no list under `{names[0]}`")
        return _listed(row, key)

    return fits, turns


def _listed(row: Row, key: str) -> list[Turn]:
    """A list of messages under a key; what they held beside stays there, aligned with them."""
    made, rest = read_turns(row[key])
    if rest is None:
        del row[key]
    else:
        row[key] = rest
    return made


def _alpaca_fits(row: Row) -> int:
    if row.get("instruction").__class__ is not str:
        return NONE
    return WHOLE if any(key in row for key in ("output", "response", "instances")) else QUESTION


def _alpaca(row: Row) -> list[Turn]:
    if "instruction" not in row:
        raise RowError("wrong_schema", "no key `instruction`")
    if row.get("instances").__class__ is list and row["instances"]:
        return _seed_task(row)
    instruction = _text(row, "instruction")
    given = _text(row, "input" if "input" in row else "context")
    turns = _history(row)
    turns.append(Turn("user", f"{instruction}\n{given}" if instruction and given else instruction or given))
    answer = _present(row, ("output", "response"))
    return [*turns, Turn("assistant", _text(row, answer))] if answer else turns


def _history(row: Row) -> list[Turn]:
    """Earlier rounds: a list of [question, answer]."""
    rounds = row.pop("history", None) or []
    if rounds.__class__ is not list or any(r.__class__ is not list or len(r) != 2 for r in rounds):
        raise RowError("bad_content", "`history` is no list of [question, answer]")
    if any(text.__class__ is not str for r in rounds for text in r):
        raise RowError("bad_content", "`history` holds something that is not text")
    return [Turn(role, text) for r in rounds for role, text in zip(("user", "assistant"), r, strict=True)]


def _seed_task(row: Row) -> list[Turn]:
    """A seed task of self-instruct: the first instance is taught, the others stay in `instances`."""
    first, *others = row["instances"]
    if first.__class__ is not dict:
        raise RowError("bad_content", "`instances` holds something that is no object")
    inner = {"instruction": row.pop("instruction"), **first}
    turns = _alpaca(inner)
    row["instances"] = [inner, *others] if inner else others
    if not row["instances"]:
        del row["instances"]
    return turns


def _pair_keys(row: Row) -> tuple[str | None, str | None]:
    """The keys of prompt and completion, where the row has them."""
    if "prompt" in row and "canonical_solution" not in row:
        return "prompt", _present(row, ("completion", "response"))
    if "query" in row and "response" in row:
        return "query", "response"
    if "input" in row and "output" in row and "instruction" not in row:
        return "input", "output"
    return None, None


def _pair_fits(row: Row) -> int:
    prompt, completion = _pair_keys(row)
    return NONE if prompt is None else QUESTION if completion is None else WHOLE


def _pair(row: Row) -> list[Turn]:
    prompt, completion = _pair_keys(row)
    if prompt is None:
        raise RowError("wrong_schema", "no keys `prompt` and `completion`")
    turns = _side(row, prompt, "user")
    return turns + _side(row, completion, "assistant") if completion else turns


def _side(row: Row, key: str, role: str) -> list[Turn]:
    """One side of a pair: a text, texts, a message, or messages."""
    value = row[key]
    if value.__class__ is dict:
        row[key] = value = [value]
    if value.__class__ is not list:
        return [Turn(role, _text(row, key))]
    if value and all(item.__class__ is str for item in value):
        return [Turn(role, text) for text in row.pop(key)]
    return _listed(row, key)


def _problem_fits(row: Row) -> int:
    if _present(row, ("question", "problem", "turns")):
        return WHOLE if _answer_key(row) else QUESTION
    pairs = (
        ("prompt", "canonical_solution"),
        ("text", "code"),
        *(("input", key) for key in ("golden", "answer", "target")),
    )
    return WHOLE if any(a in row and b in row for a, b in pairs) else NONE


def _problem(row: Row) -> list[Turn]:
    asked = _present(row, _QUESTIONS)
    if asked is None:
        raise RowError("wrong_schema", "no key `question` or `problem`")
    turns = _side(row, asked, "user")
    answer = _answer_key(row)
    if answer is None or len(turns) > 1:  # a question of several turns has one answer for each, if any
        return turns
    value = row.pop(answer)
    return [*turns, Turn("assistant", value if value.__class__ is str else dump(value).decode())]


def _answer_key(row: Row) -> str | None:
    """The key of the answer: text, or a plain number. Lists and objects (choices, test cases) stay in `extra`."""
    return next((key for key in ANSWERS if row.get(key).__class__ in (str, int, float, bool)), None)


def _document_fits(row: Row) -> int:
    return QUESTION if row.get("text").__class__ is str else NONE


def _document(row: Row) -> list[Turn]:
    if row.get("text").__class__ is not str:
        raise RowError("wrong_schema", "no text under `text`")
    return [Turn("assistant", row.pop("text"))]


SCHEMAS: Mapping[str, Schema] = {
    "messages": Schema("messages", *_of_list("messages")),
    "sharegpt": Schema("sharegpt", *_of_list("conversations", "conversation")),
    "alpaca": Schema("alpaca", _alpaca_fits, _alpaca),
    "prompt_completion": Schema("prompt_completion", _pair_fits, _pair),
    "problem": Schema("problem", _problem_fits, _problem),
    "text": Schema("text", _document_fits, _document),
}
