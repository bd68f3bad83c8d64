"""Artefacts: named results that are no rows (aliases, a matrix, a table, a picture), as files that any tool reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sftrecipe.lazy import np, pl

__all__ = ["load", "load_all", "path_of", "save"]

SUFFIXES = (".json", ".npy", ".parquet", ".svg", ".txt")


def save(folder: Path, name: str, value: Any) -> Path:
    """Writes one artefact: arrays as .npy, DataFrames as .parquet, text under `*_svg` as .svg, all else as .json."""
    base = folder / f"{name}.artefact"
    if isinstance(value, pl.DataFrame):
        path = base.with_name(base.name + ".parquet")
        value.rechunk().write_parquet(path)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        path = base.with_name(base.name + ".npy")
        np.save(path, value, allow_pickle=False)
    elif isinstance(value, str) and name.endswith("_svg"):
        path = base.with_name(base.name + ".svg")
        path.write_text(value, encoding="utf-8")
    else:
        path = base.with_name(base.name + ".json")
        path.write_text(json.dumps(value, ensure_ascii=False, default=_plain), encoding="utf-8")
    return path


def load(path: Path) -> Any:
    """Reads what `save` wrote."""
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r", allow_pickle=False)
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else text


def path_of(folder: Path, name: str) -> Path | None:
    """The file of an artefact, if it is there."""
    return next((p for s in SUFFIXES if (p := folder / f"{name}.artefact{s}").exists()), None)


def load_all(folder: Path) -> Mapping[str, Any]:
    """Every artefact of a folder, by name."""
    found = sorted(p for p in folder.iterdir() if ".artefact." in p.name)
    return {p.name.split(".artefact.")[0]: load(p) for p in found}


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
