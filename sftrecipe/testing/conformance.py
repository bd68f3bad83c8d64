"""A conformance kit: what every operator of a plugin should keep to, as one parametrised pytest test.

    from sftrecipe.testing.conformance import Example, conformance

    test_acme = conformance("acme", examples={
        "filter.acme.short": [{"response": "a b c"}, {"response": "a"}],
        "score.acme.toxicity": Example([{"response": "a b c"}], models={"model": {"use": "script", "default": "3"}}),
    })

Every operator that is installed under the owner's name is checked, each check a test of its own: it imports lightly,
says what it is, has a valid schema, refuses unknown parameters, pickles; and on the rows of its example, run by the
interpreter, it keeps its verb's law, leaves its input alone, gives the same result again, for one row at a time and
for no rows, and bears nulls and odd text.
"""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

from sftrecipe import params as declared
from sftrecipe.errors import StepError
from sftrecipe.operators import Operator
from sftrecipe.registry import Entry, Registry
from sftrecipe.testing.stand import Example, Outcome, Stand
from sftrecipe.types import parse_type

__all__ = ["CHECKS", "HEAVY", "Example", "conformance"]

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "sentence_transformers",
    "sklearn",
    "aiohttp",
    "pandas",
    "tensorflow",
    "jax",
    "spacy",
    "nltk",
)
"""Modules that an operator imports in `setup()` or later, never with its own module."""

ODD = (
    "",
    "   ",
    "\x00",
    "A\xa0B",
    "\u0130STANBUL \u03a3\u0391\u03a3",
    "\U0001f600" * 9,
    "e\u0301",
    "\u202eleft",
    "a\r\nb\u2028c",
    "word " * 3000,
)


@dataclass(frozen=True)
class Subject:
    """An operator under test."""

    entry: Entry
    cls: type[Operator]
    stand: Stand | None
    seen: list[Outcome] = field(default_factory=list)

    def first(self) -> Outcome:
        """What became of the example's rows the first time."""
        if not self.seen:
            self.seen.append(self.run())
        return self.seen[0]

    def run(self, rows: Sequence[Mapping[str, Any]] | None = None, *, apart: bool = False) -> Outcome:
        """What becomes of rows (of the example's, if none are given). `apart`: each in a shard of its own."""
        assert self.stand is not None
        return self.stand.run(self.stand.example.rows if rows is None else rows, apart=apart)


def conformance(
    owner: str,
    examples: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    *,
    complete: bool = True,
) -> Callable[..., None]:
    """A pytest test over all operators of `owner` (the first word of their names, or a distribution's name).

    Args:
        owner: `acme` for `score.acme.toxicity`.
        examples: operator -> rows as in a recipe's `given`, or an `Example` with parameters and models.
        expected_failures: "operator: check" -> the reason. Strict: what passes after all fails.
        complete: whether an operator without an example fails.

    Raises ValueError if nothing of the owner is installed, or an example or expected failure names nothing.
    """
    import pytest

    given = {name: e if isinstance(e, Example) else Example(e) for name, e in (examples or {}).items()}
    known = expected_failures or {}
    cases: dict[str, tuple[Entry, str]] = {}
    for entry in _entries(owner):
        for check, (_, needs_rows) in CHECKS.items():
            if not needs_rows or entry.full in given or (complete and check == "example"):
                cases[f"{entry.full}: {check}"] = (entry, check)
    strange = [n for n in given if n not in {e.full for e, _ in cases.values()}] + [n for n in known if n not in cases]
    if strange:
        raise ValueError(f"nothing that is checked is called `{strange[0]}`; checks are {', '.join(CHECKS)}")

    def marks(case: str) -> Any:
        return pytest.mark.xfail(reason=known[case], strict=True) if case in known else ()

    @cache
    def subject_of(full: str) -> Subject:
        entry = next(e for e, _ in cases.values() if e.full == full)
        return _subject(entry, given.get(full))

    @pytest.mark.parametrize("case", [pytest.param(c, id=c, marks=marks(c)) for c in cases])
    def test(case: str) -> None:
        entry, check = cases[case]
        subject = subject_of(entry.full)
        if CHECKS[check][1] and subject.stand is None:
            pytest.fail(f"give `{entry.full}` an example: {{{entry.full!r}: [{{'query': ..., 'response': ...}}]}}")
        CHECKS[check][0](subject)

    return test


def _entries(owner: str) -> list[Entry]:
    found = [e for e in Registry().operators() if e.name.startswith(f"{owner}.") or e.distribution == owner]
    if not found:
        raise ValueError(f"no operator of `{owner}` is installed: `pip install -e .` in its folder first")
    return found


def _subject(entry: Entry, example: Example | None) -> Subject:
    cls = Registry().operator(entry.full)
    return Subject(entry, cls, Stand(entry.full, example) if example is not None else None)


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise AssertionError(text)


@lru_cache(maxsize=8)
def _heavy_imports(modules: tuple[str, ...]) -> Mapping[str, list[str]]:
    """module -> the heavy modules that importing it brought, in a process of its own."""
    code = f"""
import importlib, json, sys
found, heavy = {{}}, {HEAVY!r}
for name in {modules!r}:
    before = {{m for m in heavy if m in sys.modules}}
    importlib.import_module(name)
    found[name] = [m for m in heavy if m in sys.modules and m not in before]
print(json.dumps(found))
"""
    import json

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    _require(done.returncode == 0, done.stderr)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def imports_lightly(subject: Subject) -> None:
    """Importing its module brings no heavy library: listing and checking stay quick."""
    owner = subject.entry.distribution
    modules = tuple(sorted({e.point.module for e in Registry().operators() if e.point and e.distribution == owner}))
    module = subject.entry.point.module if subject.entry.point else subject.cls.__module__
    heavy = _heavy_imports(modules).get(module, [])
    _require(
        not heavy,
        f"importing {module} imports {', '.join(heavy)}: do that in `setup()`, or in the function that needs it",
    )


def documented(subject: Subject) -> None:
    """It and each of its parameters say what they are."""
    page = (subject.cls.__doc__ or "").strip()
    _require(bool(page) and subject.cls.__dict__.get("__doc__") is not None, "the class has no docstring of its own")
    bare = [s.name for s in declared.specs(subject.cls).values() if not s.doc and s.kind != "dataset"]
    _require(not bare, f"parameters without `doc=`: {', '.join(bare)}")


def has_a_valid_schema(subject: Subject) -> None:
    """Its schema is draft-07, its defaults keep to it, its columns have types."""
    from jsonschema import Draft7Validator

    Draft7Validator.check_schema(declared.schema(subject.cls))
    for spec in declared.specs(subject.cls).values():
        if not spec.required and spec.default is not None and spec.kind != "dataset":
            errors = [e.message for e in Draft7Validator(dict(spec.accepts)).iter_errors(spec.default)]
            _require(not errors, f"the default of `{spec.name}` does not fit: {errors[:1]}")
    for column, kind in subject.cls.writes.items():
        parse_type(kind)
        name = column[1:-1] if column.startswith("{") else ""
        _require(not name or name in declared.specs(subject.cls), f"writes `{column}`, but has no parameter `{name}`")


def refuses_unknown_parameters(subject: Subject) -> None:
    """What it does not know is an error, not ignored."""
    if declared.rest(subject.cls) is not None:
        return
    try:
        subject.cls(no_such_parameter_at_all=1)
    except TypeError:
        return
    _require(False, "takes a parameter that it does not have")


def pickles(subject: Subject) -> None:
    """It travels as its name and parameters."""
    operator = subject.stand.node().operator if subject.stand else _bare(subject.cls)
    if operator is None:
        return
    again = pickle.loads(pickle.dumps(operator))
    _require(
        type(again) is type(operator) and again.params == operator.params and again.name == operator.name,
        "pickling changes it",
    )


def _bare(cls: type[Operator]) -> Operator | None:
    return None if any(s.required for s in declared.specs(cls).values()) else cls()


def runs_its_example(subject: Subject) -> None:
    """The declared columns suffice, only declared ones are written, and every row is accounted for."""
    subject.first()


def keeps_its_law(subject: Subject) -> None:
    """Rows that stay are untouched and in order; whether rows may go or come is the verb's matter."""
    outcome = subject.first()
    verb, before, after = subject.cls.verb, outcome.before, outcome.after
    if verb in ("mix", "evolve", "pack"):
        return
    ids = [r["id"] for r in before]
    kept = [r["id"] for r in after]
    _require(kept == [i for i in ids if i in set(kept)], f"rows out are not rows in, in order: {kept}")
    if verb not in ("filter", "select"):
        _require(kept == ids, "rows are missing")
    lookup = {r["id"]: r for r in after}
    for row in before:
        changed = [
            c
            for c, v in row.items()
            if row["id"] in lookup and c not in outcome.writes and lookup[row["id"]].get(c) != v
        ]
        _require(not changed, f"row {row['id']} is changed in {', '.join(changed)}, which is not declared")
    _require(
        all(code.isidentifier() and code == code.lower() for code in outcome.codes.values()),
        f"codes are snake_case words: {outcome.codes}",
    )


def leaves_its_input_alone(subject: Subject) -> None:
    """The frame that it is handed is the same afterwards, and so is every row."""
    assert subject.stand is not None
    handed = subject.stand.handed()
    if handed is None:
        return
    live, rows = handed
    before, columns = rows.frame.clone(), list(rows.frame.columns)
    if live.batch_form is not None:
        live.call(live.batch_form, rows)
    elif not subject.stand.is_async():
        for row in list(rows):
            given = copy.deepcopy(row)
            live.call(live.row_form, row)
            _require(row == given, f"row {row['id']} was changed in place")
    _require(
        list(rows.frame.columns) == columns and rows.frame.equals(before, null_equal=True),
        "the frame was changed in place",
    )


def gives_the_same_again(subject: Subject) -> None:
    """The same seed, the same result."""
    _same(subject, subject.first(), subject.run(), "a second time")


def does_not_see_batches(subject: Subject) -> None:
    """Each row in a shard of its own: the same result."""
    _same(subject, subject.first(), subject.run(apart=True), "row by row")


def _same(subject: Subject, one: Outcome, two: Outcome, when: str) -> None:
    exact = not subject.cls.approximate
    for a, b in zip(one.after, two.after, strict=False):
        wrong = [c for c in a if not _alike(a[c], b.get(c), exact)]
        _require(not wrong, f"{when}, row {a['id']} has another value in {', '.join(wrong)}")
    _require([r["id"] for r in one.after] == [r["id"] for r in two.after], f"{when}, other rows come out")
    _require(one.codes == two.codes, f"{when}, other reasons: {one.codes} and {two.codes}")


def _alike(a: Any, b: Any, exact: bool) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (not exact and abs(a - b) <= 1e-4 * max(1.0, abs(a)))
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(_alike(x, y, exact) for x, y in zip(a, b, strict=True))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_alike(a[k], b[k], exact) for k in a)
    return bool(a == b)


def bears_no_rows(subject: Subject) -> None:
    """No rows in, no rows out."""
    if subject.cls.verb not in ("mix", "evolve"):
        outcome = subject.run([])
        _require(not outcome.after, "made rows of nothing")


def bears_nulls_and_odd_text(subject: Subject) -> None:
    """Columns without a value, and text in any script: a result, a row that fails by its code, or an error that says
    why.
    """
    assert subject.stand is not None
    rows = subject.stand.example.rows
    odd = [{**_texts(rows[n % len(rows)], text), "id": f"odd{n}"} for n, text in enumerate(ODD)]
    bare = [{**{c: None for c in row if c != "id"}, "id": f"null{n}"} for n, row in enumerate(rows)]
    for given in (odd, [*rows, *bare], [*odd, *bare]):
        try:
            subject.run(given)
        except StepError as error:
            _require(error.code not in ("P010", "R650"), str(error))


def _texts(row: Mapping[str, Any], text: str) -> dict[str, Any]:
    made = {c: text if isinstance(v, str) and c not in ("id", "source", "license") else v for c, v in row.items()}
    if isinstance(row.get("messages"), list):
        made["messages"] = [{**m, "content": text} for m in row["messages"]]
    return made


CHECKS: Mapping[str, tuple[Callable[[Subject], None], bool]] = {
    "light import": (imports_lightly, False),
    "documented": (documented, False),
    "schema": (has_a_valid_schema, False),
    "unknown parameter": (refuses_unknown_parameters, False),
    "pickle": (pickles, False),
    "example": (runs_its_example, True),
    "law": (keeps_its_law, True),
    "input untouched": (leaves_its_input_alone, True),
    "same again": (gives_the_same_again, True),
    "batches": (does_not_see_batches, True),
    "no rows": (bears_no_rows, True),
    "nulls and odd text": (bears_nulls_and_odd_text, True),
}
"""Name -> (the check, whether it needs an example)."""
