"""One step over one batch: what the operator hands back is checked against its verb's law and turned into masks and
columns.

This is the border to plugins. Whatever they raise or return wrongly is told with the operator, its distribution and
the row.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from sftrecipe.errors import Pending, RowError, SftRecipeError, StepError, described
from sftrecipe.lazy import np, pl
from sftrecipe.operators import Operator, overrides
from sftrecipe.rows import DERIVED, Rows, derive
from sftrecipe.run.bind import StepSpec
from sftrecipe.run.series import to_series, typed
from sftrecipe.types import parse_type
from sftrecipe.verbs import VERBS

if TYPE_CHECKING:
    from sftrecipe.run.context import RunContext

__all__ = ["Live", "Outcome", "awaited", "columns_of_batch", "guarded_row", "run_filter"]

ROW = "__row"
BATCH_FORMS = {"filter": "keep", "tag": "tag", "score": "score", "format": "format"}
ROW_FORMS = {
    "filter": "keep_row",
    "tag": "tag_row",
    "score": "score_row",
    "answer": "answer_row",
    "evolve": "evolve_row",
}


@dataclass
class Live:
    """A bound operator with its spec and its row results so far."""

    spec: StepSpec
    operator: Operator
    where: Any = None
    checked: bool = False
    inherited: Sequence[str] = ()

    @property
    def context(self) -> RunContext:
        """The operator's context, with the notes it left."""
        return cast("RunContext", self.operator.context)

    @property
    def batch_form(self) -> Callable[..., Any] | None:
        """keep, tag, score or format, if the operator writes it."""
        name = BATCH_FORMS.get(self.spec.verb)
        return (
            getattr(self.operator, name)
            if name and overrides(type(self.operator), name, VERBS[self.spec.verb])
            else None
        )

    @property
    def row_form(self) -> Callable[..., Any]:
        """keep_row, tag_row, ..."""
        name = ROW_FORMS.get(self.spec.verb)
        if name is None or not overrides(type(self.operator), name, VERBS[self.spec.verb]):
            raise self.fault(f"writes neither `{BATCH_FORMS.get(self.spec.verb)}` nor `{name}`")
        return getattr(self.operator, name)  # type: ignore[no-any-return]

    @property
    def is_async(self) -> bool:
        """Whether its rows are awaited, many at once."""
        return self.batch_form is None and inspect.iscoroutinefunction(self.row_form)

    def fault(self, text: str, row: str = "") -> StepError:
        """A StepError that names step, operator and distribution."""
        where = f", row {row}" if row else ""
        return StepError(f"`{self.spec.name}` ({self.spec.origin}) {text}{where}", step=self.spec.id, code="P010")

    def raised(self, error: BaseException, row: str = "") -> StepError:
        """The fault of code that raised, with a word on what looks like a read that was not declared."""
        known = {**DERIVED, **self.spec.columns}
        word = next(iter(re.findall(r"^['\"](\w+)['\"]", str(error))), "")
        hint = f"; `{word}` is not among its `reads`" if word in known and word not in self.spec.reads else ""
        return self.fault(f"raised {described(error)}{hint}", row)

    def call(self, function: Callable[..., Any], *args: Any, row: str = "") -> Any:
        """Calls into the plugin. Anything but our own errors becomes a StepError that names it."""
        try:
            return function(*args)
        except (SftRecipeError, RowError, Pending):
            raise
        except (Exception, SystemExit) as error:  # the plugin border
            raise self.raised(error, row) from error

    def call_batch(self, function: Callable[..., Any], view: Rows) -> Any:
        """Calls a batch form, which cannot fail one row alone."""
        try:
            return self.call(function, view)
        except RowError as error:
            raise self.fault(f"raised RowError ({error}); only forms that take one row may") from error


@dataclass
class Outcome:
    """What a batch gave: a mask of the rows that stay with why the others go, or new columns; rows that failed."""

    reason: np.ndarray | None = None
    codes: list[str] = field(default_factory=list)
    values: np.ndarray | None = None
    columns: dict[str, pl.Series] = field(default_factory=dict)
    failed: list[tuple[int, str, str]] = field(default_factory=list)
    undefined: dict[str, int] = field(default_factory=dict)


def view_of(live: Live, rows: Rows) -> Rows:
    """The rows with the columns that the operator declared, and `id`."""
    wanted = list(dict.fromkeys(("id", *live.spec.reads)))
    missing = [c for c in wanted if c in DERIVED and c not in rows.frame.columns]
    if missing:
        rows.frame = derive(rows.frame, missing)
    return rows.view(wanted)


def guarded_row(live: Live) -> Callable[[Mapping[str, Any]], Awaitable[Any]]:
    """An async row form, its own errors told as the plugin's; with `on_error` given they fail their row alone."""

    async def work(row: Mapping[str, Any]) -> Any:
        try:
            return await live.row_form(row)
        except (SftRecipeError, RowError, Pending):
            raise
        except Exception as error:  # the plugin border
            if live.spec.on_error in ("null", "drop"):
                raise RowError("error", f"{type(error).__name__}: {error}") from error
            raise live.raised(error, str(row["id"])) from error

    return work


def awaited(live: Live, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What an async row form gave, or the RowError it raised, row by row."""
    from sftrecipe.models.pull import run_rows

    return run_rows(rows, guarded_row(live)) if rows else []


def run_filter(live: Live, rows: Rows, results: Sequence[Any] | None = None) -> Outcome:
    """The reason (-1 stays, else an index into `codes`) of every row. `results`: what an async row form gave."""
    view = view_of(live, rows)
    if live.batch_form is None:
        return _filter_rows(live, view, awaited(live, list(view)) if results is None and live.is_async else results)
    verdict = live.call_batch(live.batch_form, view)
    if not live.checked and live.spec.halves:
        _same_in_halves(live, view, verdict)
        live.checked = True
    return _verdict(live, view, verdict)


def _verdict(live: Live, view: Rows, verdict: Any) -> Outcome:
    named = verdict if isinstance(verdict, Mapping) else {live.spec.name.rsplit(".", 1)[-1]: verdict}
    reason = np.full(len(view), -1, dtype=np.int16)
    values = np.full(len(view), np.nan)
    codes: list[str] = []
    for code, item in named.items():
        mask, figures = item if isinstance(item, tuple) else (item, None)
        series = to_series(live, mask, view, str(code))
        if series.dtype != pl.Boolean:
            raise live.fault(f"gave {series.dtype} values for `{code}`; a mask of True and False is needed")
        kept = series.fill_null(False).to_numpy()
        new = ~kept & (reason < 0)
        if not new.any():
            continue
        empty = series.is_null().to_numpy() & new
        if (new & ~empty).any():
            codes.append(str(code))
            reason[new & ~empty] = len(codes) - 1
        if empty.any():
            codes.append("undefined")
            reason[empty] = len(codes) - 1
        if figures is not None:
            found = to_series(live, figures, view, f"{code} values").cast(_float()).to_numpy()
            values[new] = found[new]
    return Outcome(reason=reason, codes=codes, values=values)


def _filter_rows(live: Live, view: Rows, results: Sequence[Any] | None) -> Outcome:
    reason = np.full(len(view), -1, dtype=np.int16)
    codes: list[str] = []
    out = Outcome(reason=reason, codes=codes)
    plain = live.spec.name.rsplit(".", 1)[-1]
    for at, row in enumerate(view):
        try:
            answer = live.call(live.row_form, row, row=row["id"]) if results is None else results[at]
            if isinstance(answer, BaseException):
                raise answer
        except (RowError, StepError) as error:
            _fail(live, out, at, row["id"], error)
            continue
        if answer is True:
            continue
        code = plain if answer is False else str(answer)
        if (not isinstance(answer, (bool, str)) and not hasattr(answer, "dtype")) or not code:
            raise live.fault(f"answered {answer!r}; True, False or a code is needed", row["id"])
        if hasattr(answer, "dtype") and bool(answer):
            continue
        if code not in codes:
            codes.append(code)
        reason[at] = codes.index(code)
    return out


def _fail(live: Live, out: Outcome, at: int, row: str, error: RowError | StepError) -> None:
    """A row that failed: told by its code; what stops the run is the step's `on_error`."""
    policy = live.spec.on_error
    if isinstance(error, StepError) and policy in (None, "stop"):
        raise error
    code, message = (error.code, error.message) if isinstance(error, RowError) else ("error", str(error))
    if policy == "stop":
        raise live.fault(f"failed with {error}", row) from error
    out.failed.append((at, code, message))


def columns_of_batch(live: Live, rows: Rows, results: Sequence[Any] | None = None) -> Outcome:
    """The new columns of a tag, score, format or answer step. `results`: what an async row form gave, row by row."""
    view = view_of(live, rows)
    out = Outcome()
    if live.batch_form is not None:
        given = live.call_batch(live.batch_form, view)
        if not isinstance(given, Mapping):
            raise live.fault(f"answered {type(given).__name__}; a mapping of columns is needed")
        if not live.checked and live.spec.halves:
            _same_in_halves(live, view, given)
            live.checked = True
        made = {str(name): to_series(live, value, view, str(name)) for name, value in given.items()}
    else:
        made = _columns_of_rows(live, view, out, results)
    _only_declared(live, made, rows)
    out.columns = {name: typed(live, series, live.spec.writes[name]) for name, series in made.items()}
    if live.spec.verb == "score":
        out.undefined = _undefined(out)
    if live.spec.verb == "format" and out.columns:
        _unformatted(live, view, out)
    return out


def _undefined(out: Outcome) -> dict[str, int]:
    """Rows for which a score says nothing, by column; those that failed are told by their code."""
    failed = [at for at, _, _ in out.failed]
    found = {}
    for name, series in out.columns.items():
        if series.null_count():
            nulls = series.is_null().to_numpy().copy()
            nulls[failed] = False
            found[name] = int(nulls.sum())
    return {name: count for name, count in found.items() if count}


def _unformatted(live: Live, view: Rows, out: Outcome) -> None:
    """A row for which a format wrote nothing but nulls has failed; what the operator noted of it is the code."""
    nulls = pl.DataFrame(out.columns).select(pl.all_horizontal(pl.all().is_null()).alias("null"))["null"]
    at = nulls.arg_true().to_list()
    if not at:
        return
    why: dict[str, tuple[str, str]] = {}
    notes = live.context.notes
    ids = view["id"]
    failed = {ids[i] for i in at}
    for id, code, facts in notes:
        if id in failed:
            why[id] = (code, str(facts.get("why", "")))
    notes[:] = [n for n in notes if n[0] not in failed]
    out.failed += [(i, *why.get(ids[i], ("not_formatted", ""))) for i in at]


def _columns_of_rows(live: Live, view: Rows, out: Outcome, results: Sequence[Any] | None) -> dict[str, pl.Series]:
    names = list(live.spec.writes)
    lists: dict[str, list[Any]] = {name: [None] * len(view) for name in names}
    if results is None and live.is_async:
        results = awaited(live, list(view))
    for at, row in enumerate(view):
        try:
            answer = live.call(live.row_form, row, row=row["id"]) if results is None else results[at]
            if isinstance(answer, BaseException):
                raise answer
        except (RowError, StepError) as error:
            _fail(live, out, at, row["id"], error)
            if live.spec.verb == "answer" and "messages" in lists:
                from sftrecipe.run.answers import after_failure

                lists["messages"][at] = after_failure(live, row)
            continue
        for name, value in _as_columns(live, row, answer).items():
            if name not in lists:
                raise live.fault(f"wrote column `{name}`, which it did not declare", row["id"])
            lists[name][at] = value
    made = {}
    for name, values in lists.items():
        dtype = parse_type(live.spec.writes[name]).dtype()
        if live.spec.verb == "score" and dtype.is_numeric():
            _only_numbers(live, name, values, view)
        try:
            made[name] = pl.Series(name, values, dtype=dtype, strict=live.spec.verb != "score")
        except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
            raise live.fault(f"gave values for `{name}` that are no {live.spec.writes[name]}: {error}") from error
    return made


def _only_numbers(live: Live, name: str, values: Sequence[Any], view: Rows) -> None:
    """A score that is no number is a mistake, never a null."""
    for at, value in enumerate(values):
        if value is not None and not isinstance(value, (int, float, np.number, np.bool_)):
            raise live.fault(f"gave {value!r:.80} for the score `{name}`", view["id"][at])


def _as_columns(live: Live, row: Mapping[str, Any], answer: Any) -> Mapping[str, Any]:
    if live.spec.verb == "answer":
        from sftrecipe.run.answers import as_columns

        return as_columns(live, row, answer)
    if isinstance(answer, Mapping):
        return answer
    if len(live.spec.writes) == 1:
        return {next(iter(live.spec.writes)): answer}
    raise live.fault(f"answered {answer!r}; a mapping of columns is needed", row["id"])


def _only_declared(live: Live, made: Mapping[str, Any], rows: Rows) -> None:
    """Every declared column and no other. One that was there before may be left out: it stays as it is."""
    extra = [n for n in made if n not in live.spec.writes]
    missing = [n for n in live.spec.writes if n not in made and n not in rows.frame.columns]
    if extra or missing:
        text = (
            f"wrote column `{extra[0]}`, which it did not declare"
            if extra
            else f"did not write column `{missing[0]}`, which it declares"
        )
        raise live.fault(text)


def _float() -> Any:
    return pl.Float64


def _same_in_halves(live: Live, view: Rows, whole: Any) -> None:
    """A result that depends on where batches end is no result: the first rows are run again as two halves."""
    size = min(len(view), 256)
    if size < 2 or live.operator.approximate or live.batch_form is None:
        return
    cuts = [(0, size // 2), (size // 2, size - size // 2)]
    parts = [Rows(view.frame.slice(at, n)) for at, n in cuts]
    notes = list(live.context.notes)
    halves = [live.call_batch(live.batch_form, p) for p in parts]
    live.context.notes[:] = notes  # told once, by the whole batch
    for name in whole if isinstance(whole, Mapping) else [None]:
        one = _pick(live, whole, name, view).slice(0, size)
        two = pl.concat([_pick(live, h, name, p) for h, p in zip(halves, parts, strict=True)])
        if not one.equals(two.cast(one.dtype), null_equal=True, check_names=False):
            text = "gives other results when the batch is cut in two: it looks at other rows"
            raise StepError(f"`{live.spec.name}` ({live.spec.origin}) {text}", step=live.spec.id, code="R640")


def _pick(live: Live, value: Any, name: Any, view: Rows) -> pl.Series:
    item = value if name is None else value[name]
    return to_series(live, item[0] if isinstance(item, tuple) else item, view, str(name or "mask"))
