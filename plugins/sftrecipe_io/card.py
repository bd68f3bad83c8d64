"""The README of a written folder: what Hugging Face reads (YAML) and what people read (whence, under which terms)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from sftrecipe_io.licences import KNOWN

__all__ = ["card"]

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_HUB_NAMES = {
    "ODC-By-1.0": "odc-by",
    "ODbL-1.0": "odbl",
    "PDDL-1.0": "pddl",
    "AGPL-3.0-only": "agpl-3.0",
    "GPL-2.0-only": "gpl-2.0",
    "GPL-3.0-only": "gpl-3.0",
    "LGPL-3.0-only": "lgpl-3.0",
    "NOASSERTION": "unknown",
}
_NOT_ON_THE_HUB = ("0BSD", "MIT-0")


def card(
    name: str,
    *,
    rows: int,
    columns: Mapping[str, str],
    counts: Sequence[tuple[str, str | None, int]],
    files: str,
    recipe: bool,
) -> str:
    """README.md as text.

    Args:
        name: title of the data set.
        rows: how many there are.
        columns: name -> type as a word.
        counts: (source, licence or None, rows), as they shall be listed.
        files: pattern of the data files, from the folder.
        recipe: whether recipe.yaml lies beside.
    """
    licenses = sorted({license_ or "NOASSERTION" for _, license_, _ in counts})
    front = [
        "---",
        f"pretty_name: {json.dumps(name)}",
        *_license_lines(licenses),
        f"size_categories: [{json.dumps(_size(rows))}]",
        "tags: [sftrecipe, instruction-tuning]",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        f"    path: {json.dumps(files)}",
        "---",
    ]
    body = [f"# {name}", "", f"{rows:,} rows, made by sftrecipe{_from(recipe)}."]
    body += [
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'rows = load_dataset("path/to/this/folder", split="train")',
        "```",
    ]
    body += ["", "## Columns", "", "| column | type |", "|---|---|"]
    body += [f"| `{_cell(column)}` | {kind} |" for column, kind in columns.items()]
    if counts:
        body += [
            "",
            "## Sources and licences",
            "",
            "Each row says its own.",
            "",
            "| source | licence | rows |",
            "|---|---|---:|",
        ]
        body += [
            f"| {_cell(source)} | {_cell(license_ or 'not stated')} | {count:,} |" for source, license_, count in counts
        ]
    return "\n".join([*front, "", *body, ""])


def _license_lines(licenses: Sequence[str]) -> list[str]:
    """The licence, or a list of them, by the hub's names; one that it has no name for is `other` there, with its own
    beside."""
    if not licenses:
        return []
    names = {name: _hub_name(name) for name in licenses}
    here = sorted(set(names.values()))
    lines = [f"license: {json.dumps(here[0] if len(here) == 1 else here)}"]
    others = [name for name, known in names.items() if known == "other"]
    if others:
        lines.append(f"license_name: {json.dumps('-and-'.join(_dashed(name) for name in others))}")
    return lines


def _hub_name(name: str) -> str:
    if name not in KNOWN or name in _NOT_ON_THE_HUB:
        return "other"
    return _HUB_NAMES.get(name, name.lower())


def _dashed(name: str) -> str:
    """A name as the hub takes it: small letters, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-") or "unnamed"


def _size(rows: int) -> str:
    return next((name for limit, name in _SIZES if rows < limit), "n>10M")


def _from(recipe: bool) -> str:
    return " from the recipe in `recipe.yaml`" if recipe else ""


def _cell(text: str) -> str:
    """Text for a table cell: no bar, no line break."""
    return text.replace("|", "\\|").replace("\n", " ").replace("\r", " ")
