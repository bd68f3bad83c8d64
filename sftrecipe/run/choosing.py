"""Steps that choose with all rows in sight: `filter.choose` and `select`. Rows are numbers here; no text moves."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftrecipe.errors import StepError
from sftrecipe.lazy import np, pl
from sftrecipe.ledger import Events
from sftrecipe.plan import Node
from sftrecipe.run.kinds import bound, fitted, guarded, manifest_of, types_of
from sftrecipe.run.part import write_bytes, write_frame
from sftrecipe.run.result import part_entry
from sftrecipe.table import Table
from sftrecipe.types import parse_type
from sftrecipe.verbs import Choice

if TYPE_CHECKING:
    from sftrecipe.run.interpreter import Run

__all__ = ["choose", "matching"]


def choose(run: Run, node: Node, folder: Path, source: Table, ports: Mapping[str, Table]) -> dict[str, Any]:
    """The operator's choice as row numbers, ranks and reasons."""
    state, files = fitted(run, node, folder, source, ports)
    spec, operator = bound(run, node, folder, ports, state)
    rows = np.arange(len(source), dtype=np.int64)
    run.progress.begin(node.id, 1, 0)
    inside = matching(run, node, spec, source)
    view = source if inside is None else source.keep(inside)
    choice = guarded(node, operator.choose, run.dataset(view, spec.scratch, operator.heavy))
    kept = _checked(node, choice, len(view))
    if inside is not None:
        choice, kept = _outside_too(choice, kept, inside, rows)
    files |= run.save_artefacts(folder, getattr(operator, "artefacts", {}))
    ranks = np.full(len(source), -1, dtype=np.int64)
    ranks[kept] = np.arange(len(kept))
    reasons = _reasons(node, choice, ranks < 0, len(source))
    parts, counts = _parts(node, folder, source, choice, kept, ranks, reasons, operator)
    run.progress.advance(node.id, len(source))
    return manifest_of(parts, types_of(node), [counts], files)


def matching(run: Run, node: Node, spec: Any, source: Table) -> np.ndarray | None:
    """The rows that `where` names; None for all. The others pass untouched."""
    if node.step.where is None:
        return None
    from sftrecipe.run.part import compiled_where

    expression = compiled_where(spec)
    mask = run.dataset(source, spec.scratch).eval(expression).fill_null(False)
    return np.flatnonzero(mask.to_numpy())


def _outside_too(choice: Choice, kept: np.ndarray, inside: np.ndarray, rows: np.ndarray) -> tuple[Choice, np.ndarray]:
    from sftrecipe.verbs import Dropped

    def outer(at: np.ndarray | None) -> np.ndarray | None:
        return None if at is None else np.where(np.asarray(at) >= 0, inside[np.maximum(at, 0)], -1)

    dropped = [Dropped(inside[np.asarray(d.rows)], d.code, outer(d.other), d.value) for d in choice.dropped]
    others = np.setdiff1d(rows, inside)
    columns = {
        n: np.concatenate([np.asarray(v, dtype=object), np.full(len(others), None)]) for n, v in choice.columns.items()
    }
    kept = np.concatenate([inside[kept], others])
    return Choice(kept, dropped, columns), kept


def _checked(node: Node, choice: Any, rows: int) -> np.ndarray:
    who = f"`{node.entry.full}` ({node.entry.origin})"
    if not isinstance(choice, Choice):
        raise StepError(f"{who} answered {type(choice).__name__}; a Choice is needed", step=node.id, code="P010")
    kept = _numbers(who, node, choice.kept, "kept")
    if len(kept) and (kept.min() < 0 or kept.max() >= rows or len(np.unique(kept)) != len(kept)):
        raise StepError(f"{who} chose rows that are not there, or one twice", step=node.id, code="P010")
    declared = node.flow.writes
    wrong = [n for n in choice.columns if n not in declared]
    if wrong:
        text = f"{who} wrote column `{wrong[0]}`, which it did not declare"
        raise StepError(text, step=node.id, code="P010")
    missing = [n for n in declared if n not in choice.columns and n != "rank"]
    if missing:
        text = f"{who} did not write column `{missing[0]}`, which it declares"
        raise StepError(text, step=node.id, code="P010")
    for name, values in choice.columns.items():
        if len(values) != len(kept):
            text = f"{who} gave {len(values)} values of `{name}` for {len(kept)} rows kept"
            raise StepError(text, step=node.id, code="P010")
    return kept


def _numbers(who: str, node: Node, given: Any, what: str) -> np.ndarray:
    """Row numbers; a mask or text is told."""
    array = np.asarray(given)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        text = f"{who} gave `{what}` as {array.dtype} values; row numbers are needed"
        raise StepError(text, step=node.id, code="P010")
    return array.astype(np.int64)


class _Reasons:
    """Code, other row and value of every row that goes."""

    def __init__(self, rows: int) -> None:
        self.codes: list[str] = ["not_chosen"]
        self.code = np.zeros(rows, dtype=np.int16)
        self.other = np.full(rows, -1, dtype=np.int64)
        self.value = np.full(rows, np.nan)
        self.told = np.zeros(rows, dtype=bool)


def _reasons(node: Node, choice: Choice, gone: np.ndarray, rows: int) -> _Reasons:
    found = _Reasons(rows)
    for dropped in choice.dropped:
        who = f"`{node.entry.full}` ({node.entry.origin})"
        at = _numbers(who, node, dropped.rows, "dropped")
        other = None if dropped.other is None else _numbers(who, node, dropped.other, "other")
        if len(at) and (at.min() < 0 or at.max() >= rows or not gone[at].all()):
            text = f"{who} gives a reason for a row that it keeps, or that is not there"
            raise StepError(text, step=node.id, code="P010")
        if other is not None and len(other) and other.max() >= rows:
            raise StepError(f"{who} names a row as cause that is not there", step=node.id, code="P010")
        codes = [dropped.code] * len(at) if isinstance(dropped.code, str) else list(dropped.code)
        for what, given in (("codes", codes), ("`other`", dropped.other), ("`value`", dropped.value)):
            if given is not None and len(given) != len(at):
                text = f"{who} gave {len(given)} {what} for {len(at)} rows dropped"
                raise StepError(text, step=node.id, code="P010")
        for code in dict.fromkeys(codes):
            if code not in found.codes:
                found.codes.append(code)
        lookup = {c: i for i, c in enumerate(found.codes)}
        found.code[at] = [lookup[c] for c in codes]
        found.told[at] = True
        if other is not None:
            found.other[at] = other
        if dropped.value is not None:
            found.value[at] = dropped.value
    return found


def _parts(
    node: Node,
    folder: Path,
    source: Table,
    choice: Choice,
    kept: np.ndarray,
    ranks: np.ndarray,
    reasons: _Reasons,
    operator: Any,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    from sftrecipe.ledger import merge_counts

    offsets = source.offsets()
    extra = {n: _by_row(node, n, v, kept, len(source)) for n, v in choice.columns.items()}
    ids = source.frame(("id",))["id"] if (ranks < 0).any() else None
    entries, tallies = [], []
    for number, part in enumerate(source.parts):
        lo, hi = int(offsets[number]), int(offsets[number + 1])
        mine = ranks[lo:hi]
        stays = mine >= 0
        name = f"part-{number:05d}"
        events = Events([node.id])
        if not stays.all() and ids is not None:
            gone = np.flatnonzero(~stays)
            other = reasons.other[lo + gone]
            others = [o if at >= 0 else None for at, o in zip(other, ids.gather(np.maximum(other, 0)), strict=True)]
            codes = [reasons.codes[c] for c in reasons.code[lo + gone].tolist()]
            events.dropped(
                0, gone, ids[lo + gone], codes, reasons.value[lo + gone], kinds=["dropped"] * len(gone), others=others
            )
        if number == 0:
            events.noted(operator.context, 0)
        index = None if stays.all() else _array(folder / f"{name}.index.npy", np.flatnonzero(stays).astype(np.uint32))
        after = _after(node, folder / f"{name}.rows.parquet", mine[stays], extra, lo + np.flatnonzero(stays))
        ledger = write_frame(folder / f"{name}.ledger.parquet", events.frame(), "lz4") if len(events) else None
        entries.append(part_entry(int(stays.sum()), source=number, index=index, after=after, ledger=ledger))
        tallies += events.counts(part.rows)
    return entries, vars(merge_counts(node.id, tallies))


def _after(
    node: Node, path: Path, ranks: np.ndarray, extra: Mapping[str, Any], rows: np.ndarray
) -> list[tuple[str, str, list[str]]]:
    """The columns that a choice writes: `rank` for selects, and what the operator adds."""
    columns: dict[str, pl.Series] = {}
    if node.verb == "select":
        columns["rank"] = pl.Series("rank", ranks, dtype=pl.Int64)
    for name, values in extra.items():
        columns[name] = values.gather(rows)
    if not columns:
        return []
    return [(*write_frame(path, pl.DataFrame(columns), "lz4"), list(columns))]


def _by_row(node: Node, name: str, values: Any, kept: np.ndarray, rows: int) -> pl.Series:
    """Values aligned with `kept`, laid out by row number, in the type declared."""
    word = node.flow.writes[name]
    try:
        series = (values if isinstance(values, pl.Series) else pl.Series(values)).cast(parse_type(word).dtype())
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        text = f"`{node.entry.full}` ({node.entry.origin}) gave values for `{name}` that are no {word}: {error}"
        raise StepError(text, step=node.id, code="P010") from error
    at = np.zeros(rows, dtype=np.uint32)
    at[kept] = np.arange(len(kept), dtype=np.uint32)
    return series.gather(at) if len(series) else pl.Series([None] * rows, dtype=series.dtype)


def _array(path: Path, array: np.ndarray) -> tuple[str, str]:
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    return write_bytes(path, data.getvalue())
