"""What a recipe asks of a part, read and checked: `{rows: 240, repeat: 10}`, `{fraction: 1/256}`, `{tokens: 2000000}`,
`{weight: 3}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from sftrecipe.errors import did_you_mean

__all__ = ["KINDS", "Part", "problems", "read_parts"]

KINDS = ("rows", "fraction", "tokens", "weight")
_KEYS = (*KINDS, "repeat")
_EXAMPLES = "`{rows: 1000}`, `{fraction: 0.5}`, `{tokens: 2000000}`, `{weight: 3}` or `{repeat: 2}`"


@dataclass(frozen=True)
class Part:
    """One part. `amount` is exact; `repeat` is how often each row drawn is written."""

    name: str
    kind: str
    amount: Fraction
    repeat: int = 1

    def __str__(self) -> str:
        amount = f"{int(self.amount):,}" if self.amount.denominator == 1 else f"{float(self.amount):.6g}"
        return f"{self.kind} {amount}" + (f" x {self.repeat}" if self.repeat > 1 else "")


def read_parts(parts: Mapping[str, Mapping[str, Any]]) -> list[Part]:
    """The parts of a mapping that `problems` found nothing wrong with, in the order written."""
    return [_read(name, given) for name, given in parts.items()]


def problems(parts: Mapping[str, Any], where: str = "parts") -> Iterator[str]:
    """What is wrong with the mapping, in words that say what to write instead."""
    if not parts:
        yield f"`{where}` is empty: name at least one part, for example `{where}: {{flan: {{rows: 1000}}}}`"
    for name, given in parts.items():
        at = f"`{where}.{name}`"
        if not isinstance(given, Mapping):
            yield f"{at} is {given!r}: write {_EXAMPLES}"
            continue
        yield from _key_problems(at, given)
        yield from _value_problems(at, given)


def _key_problems(at: str, given: Mapping[str, Any]) -> Iterator[str]:
    unknown = [key for key in given if key not in _KEYS]
    for key in unknown:
        yield f"{at} has no key `{key}`; {did_you_mean(str(key), _KEYS) or 'there are ' + ', '.join(_KEYS)}"
    main = [k for k in KINDS if k in given]
    if len(main) > 1:
        yield f"{at} has {' and '.join(f'`{k}`' for k in main)}: keep one of them"
    if not main and "repeat" not in given and not unknown:
        yield f"{at} says no amount: write one of {', '.join(f'`{k}`' for k in _KEYS)}"
    if "weight" in given and "repeat" in given:
        why = "a weight says how many rows the part gives; let rows come again with `on_short: repeat`"
        yield f"{at} has `weight` and `repeat`: {why}"


def _value_problems(at: str, given: Mapping[str, Any]) -> Iterator[str]:
    for key in (k for k in _KEYS if k in given):
        value = _exact(given[key])
        if value is None:
            yield f"{at}: `{key}: {given[key]}` is no number"
        elif key in ("rows", "tokens", "repeat") and value.denominator != 1:
            yield f"{at}: `{key}: {given[key]}` is no whole number" + (
                " (a share is a `fraction`)" if key == "rows" else ""
            )
        elif value <= 0:
            yield f"{at}: `{key}: {given[key]}` must be above 0 (to leave a part out, do not name it: `unlisted: drop`)"


def _read(name: str, given: Mapping[str, Any]) -> Part:
    kind = next((k for k in KINDS if k in given), "fraction")
    amount, repeat = _exact(given.get(kind, 1)), _exact(given.get("repeat", 1))
    if amount is None or repeat is None:
        raise ValueError(f"part `{name}` is not checked: {given!r}")
    return Part(name, kind, amount, int(repeat))


def _exact(value: Any) -> Fraction | None:
    """A number as it was written: `1/256`, `2%`, 0.1 (one tenth, not its nearest binary fraction). None for anything
    else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    text = (str(Decimal(repr(value))) if isinstance(value, float) else str(value)).strip()
    try:
        if text.endswith("%"):
            return Fraction(text[:-1].strip()) / 100
        top, _, bottom = text.partition("/")
        return Fraction(top.strip()) / Fraction(bottom.strip() or "1")
    except (ValueError, ZeroDivisionError):
        return None
