"""Giving rows to a trainer and taking its vectors: the files of `select.kcenter`'s rounds.

Given: JSON Lines, one chosen row a line: id, round (in which it was chosen) and messages, in order of choice.

Taken: an .npz file with `ids` (text [n]) and `vectors` (numbers [n, d]); every row of the pool must be in it, so the
trainer needs the pool with its ids: a `write` before this step gives it.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from sftrecipe import Dataset, Pending, StepError
from sftrecipe.lazy import np, pl

__all__ = ["give_rows", "read_ids", "take_vectors"]


def give_rows(path: Path, data: Dataset, rounds: Sequence[np.ndarray]) -> None:
    """Writes the rows of all rounds so far; the file appears whole, and only if it differs from what is there."""
    rows = np.concatenate(rounds)
    which = np.repeat(np.arange(len(rounds)), [len(r) for r in rounds])
    columns = ["id", "messages"] if "messages" in data.columns else ["id"]
    lines = [
        json.dumps({"id": row["id"], "round": int(at), **{k: row[k] for k in columns[1:]}}, ensure_ascii=False)
        for at, row in zip(which, data.take(rows, *columns).iter_rows(named=True), strict=True)
    ]
    text = "".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass")
    if path.exists() and path.read_bytes() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(text)
    os.replace(part, path)


def take_vectors(path: Path, ids: pl.Series, given: Path) -> np.ndarray:
    """The vectors of `ids`, float32 [N, d], in their order.

    Raises Pending when the file is not there, StepError when it is damaged, misses rows or holds no finite numbers.
    """
    if not path.exists():
        raise Pending(
            f"waits for {path}: vectors of all rows by the model trained on {given} (.npz with `ids` and `vectors`)"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            names, vectors = np.asarray(file["ids"]).astype(str), np.asarray(file["vectors"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StepError(
            f"{path}: {error}",
            help="an .npz with the arrays `ids` (text) and `vectors`; rename it into place when it is whole",
        ) from error
    if vectors.ndim != 2 or len(vectors) != len(names) or not np.issubdtype(vectors.dtype, np.number):
        raise StepError(f"{path}: `vectors` has shape {vectors.shape} for {len(names)} ids; numbers [n, d] are needed")
    place = {name: at for at, name in enumerate(names.tolist())}
    if len(place) != len(names):
        raise StepError(f"{path}: {len(names) - len(place)} ids stand there twice")
    missing = [i for i in ids.to_list() if i not in place]
    if missing:
        raise StepError(f"{path}: {len(missing)} rows of the pool have no vector, the first is {missing[0]}")
    out = vectors[[place[i] for i in ids.to_list()]].astype(np.float32)
    if not np.isfinite(out).all():
        at = int((~np.isfinite(out).all(axis=1)).argmax())
        raise StepError(f"{path}: the vector of row {ids[at]} holds a component that is no finite number")
    return out


def read_ids(path: Path) -> list[str]:
    """Ids from a file: JSON (a list), JSON Lines (objects with `id`, or texts), or text with one id a line."""
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("["):
        entries = json.loads(text)
    else:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        entries = [json.loads(line) if line[0] in '{"' else line for line in lines]
    named = [e.get("id") if isinstance(e, dict) else e for e in entries]
    ids = [i for i in named if isinstance(i, str)]
    if len(ids) < len(named):
        raise StepError(f"{path}: {len(named) - len(ids)} of {len(named)} entries have no `id`")
    return ids
