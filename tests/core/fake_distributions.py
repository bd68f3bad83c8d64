"""Plugin packages that exist as files only: a module and its dist-info, on sys.path for the time of a test."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

__all__ = ["Shelf"]


class Shelf:
    """A folder on sys.path into which distributions are put."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        monkeypatch.syspath_prepend(str(folder))
        self._monkeypatch = monkeypatch

    def put(self, name: str, points: Mapping[str, Mapping[str, str]], code: str = "", version: str = "1.0") -> None:
        """A distribution `name` with the entry points {group: {name: value}} and a module of its name with `code`."""
        module = name.replace("-", "_")
        if code:
            (self.folder / f"{module}.py").write_text(code)
            self._monkeypatch.delitem(sys.modules, module, raising=False)
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        text = "".join(
            f"[sftrecipe.{g}]\n" + "".join(f"{k} = {v}\n" for k, v in named.items()) for g, named in points.items()
        )
        (info / "entry_points.txt").write_text(text)
        sys.path_importer_cache.clear()
        self.forget()

    @staticmethod
    def forget() -> None:
        """The registry looks at installed packages once a process: look again."""
        from sftrecipe import registry

        registry._installed.cache_clear()
