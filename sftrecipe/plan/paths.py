"""Read paths: from the recipe's folder, or from the working folder for `-p`; never out of both unless that is allowed.

A recipe is data that may come from anywhere, so a path that it names must lie below its own folder or the working
folder, links followed. What the command line names (`-p path=...`) is the user's own word and may lie anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sftrecipe.errors import Problems
from sftrecipe.recipe import Place
from sftrecipe.recipe.model import CommandLinePath

__all__ = ["Paths", "lies_outside"]


def lies_outside(path: Path, roots: list[Path]) -> bool:
    """Whether a path, links followed, is below none of the folders."""
    real = path.resolve()
    return not any(real.is_relative_to(root.resolve()) for root in roots)


class Paths:
    """Makes paths of one recipe absolute. Those that lead out are problems (R140), unless `outside` allows them."""

    def __init__(self, problems: Problems, outside: bool) -> None:
        self.problems, self.outside = problems, outside
        self.refused: set[Path] = set()
        self.outputs: dict[str, Path] = {}

    def absolute(self, text: str, place: Place) -> Path:
        """The path that a text names, where it stands."""
        if "\x00" in text:
            self.problems.error("R140", "a path cannot hold the character NUL", place.span())
            return place.folder
        if isinstance(text, CommandLinePath):
            return Path(text).expanduser().absolute()
        path = Path(place.folder, Path(text).expanduser()).absolute()
        fixed = Path(*_before_pattern(path))
        if not self.outside and lies_outside(fixed, [place.folder, Path()]):
            help = "move it, give it with -p, or run with --allow-outside"
            self.refused.add(path)
            self.problems.error(
                "R140", f"{text} lies outside the recipe's folder and the working folder", place.span(), help=help
            )
        return path

    def output(self, text: str, place: Place) -> None:
        """Tells of an output that a recipe would put outside the working folder, or over another one of its own."""
        if "\x00" in text:
            self.problems.error("R140", "a path cannot hold the character NUL", place.span())
            return
        self._apart(text, place)
        fixed = Path(text.partition("{")[0]).expanduser()
        if not self.outside and not isinstance(text, CommandLinePath) and lies_outside(fixed, [Path()]):
            help = "give it with -p, or run with --allow-outside"
            self.problems.error("R140", f"{text} lies outside the working folder", place.span(), help=help)

    def _apart(self, text: str, place: Place) -> None:
        """R141 for two outputs in one place: the second would replace the first, or lie in a folder that is."""
        path = Path(os.path.abspath(Path(text).expanduser()))
        for other, taken in self.outputs.items():
            if path == taken:
                self.problems.error(
                    "R141", f"a step above writes {other} too", place.span(), help="give it another name"
                )
            elif path.is_relative_to(taken) or taken.is_relative_to(path):
                inner, outer = (text, other) if path.is_relative_to(taken) else (other, text)
                what = f"{inner} lies within {outer}, a folder that is written as a whole"
                self.problems.error("R141", what, place.span(), help="write them side by side")
            else:
                continue
            return
        self.outputs[text] = path

    def locate(self, value: Any, place: Place) -> Any:
        """`path` or `sources` of a load with every local path made absolute."""
        if isinstance(value, str):
            return value if "://" in value else str(self.absolute(value, place))
        if isinstance(value, list):
            return [self.locate(v, place.at(i)) for i, v in enumerate(value)]
        if isinstance(value, Mapping):
            # a source is a path, or a mapping with `path` and its own options
            return {
                k: self._source(v, place.at(k)) if isinstance(v, Mapping) else self.locate(v, place.at(k))
                for k, v in value.items()
            }
        return value

    def _source(self, value: Mapping[str, Any], place: Place) -> dict[str, Any]:
        return {k: self.locate(v, place.at(k)) if k == "path" else v for k, v in value.items()}


def _before_pattern(path: Path) -> list[str]:
    """The parts of a path before its first glob pattern."""
    parts = []
    for part in path.parts:
        if any(c in part for c in "*?["):
            break
        parts.append(part)
    return parts
