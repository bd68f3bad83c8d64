"""`[tool.sftrecipe]`: what belongs to a machine or a project, and therefore never stands in a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sftrecipe.errors import UsageError

__all__ = ["settings"]


def settings(folder: Path | None = None) -> Mapping[str, Any]:
    """`[tool.sftrecipe]` of the nearest pyproject.toml: store, workers, engine, with."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef, import-not-found, unused-ignore]
    for parent in [(folder or Path()).absolute(), *(folder or Path()).absolute().parents]:
        path = parent / "pyproject.toml"
        if path.is_file():
            try:
                data = tomllib.loads(path.read_text(encoding="utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise UsageError(f"{path}: {error}") from error
            found = data.get("tool", {}).get("sftrecipe", {})
            return found if isinstance(found, dict) else {}
    return {}
