"""SPDX licence ids that data sets carry, and whether a licence expression satisfies a rule.

The list is no copy of SPDX's (which has some 700): it holds the ids that occur on data and model hubs, with the
spellings used there.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["ALIASES", "KNOWN", "UNKNOWN", "canonical", "satisfied", "strictness"]

_IDS = (
    "0BSD AFL-3.0 AGPL-3.0-only AGPL-3.0-or-later AGPL-3.0 Apache-1.1 Apache-2.0 Artistic-2.0 BSD-2-Clause "
    "BSD-3-Clause BSD-3-Clause-Clear BSD-4-Clause BSL-1.0 BUSL-1.1 C-UDA-1.0 CC-BY-1.0 CC-BY-2.0 CC-BY-2.5 "
    "CC-BY-3.0 CC-BY-4.0 CC-BY-NC-2.0 CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0 CC-BY-NC-SA-2.0 "
    "CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0 CC-BY-ND-3.0 CC-BY-ND-4.0 CC-BY-SA-2.5 CC-BY-SA-3.0 CC-BY-SA-4.0 CC-PDDC "
    "CC0-1.0 CDLA-Permissive-1.0 CDLA-Permissive-2.0 CDLA-Sharing-1.0 CECILL-2.1 DL-DE-BY-2.0 ECL-2.0 EPL-1.0 "
    "EPL-2.0 EUPL-1.1 EUPL-1.2 GFDL-1.3-only GFDL-1.3-or-later GPL-2.0 GPL-2.0-only GPL-2.0-or-later GPL-3.0 "
    "GPL-3.0-only GPL-3.0-or-later ISC LGPL-2.1 LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0 LGPL-3.0-only "
    "LGPL-3.0-or-later LPPL-1.3c MIT MIT-0 MPL-1.1 MPL-2.0 MS-PL NCSA OASL-1.0 ODbL-1.0 ODC-By-1.0 OFL-1.1 "
    "OGL-UK-3.0 OSL-3.0 PDDL-1.0 PostgreSQL Python-2.0 Unlicense UPL-1.0 W3C WTFPL Zlib etalab-2.0"
)
KNOWN = tuple(_IDS.split())
"""Ids in SPDX's spelling."""

ALIASES = {
    "odc-by": "ODC-By-1.0",
    "odbl": "ODbL-1.0",
    "pddl": "PDDL-1.0",
    "cc0": "CC0-1.0",
    "apache2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "mit license": "MIT",
    "bsd": "BSD-3-Clause",
    "gpl": "GPL-3.0",
    "gpl-3": "GPL-3.0",
    "lgpl": "LGPL-3.0",
    "agpl-3": "AGPL-3.0",
    "cdla-permissive-2": "CDLA-Permissive-2.0",
    "c-uda": "C-UDA-1.0",
    "ofl": "OFL-1.1",
    "unlicence": "Unlicense",
    "public domain": "CC-PDDC",
}
"""What hubs and authors write for an id, in lower case."""

UNKNOWN = frozenset({"", "noassertion", "none", "unknown", "other", "n/a", "tbd", "see source", "custom"})
"""What stands for no statement, in lower case."""

_COPYLEFT = (
    "agpl", "cdla-sharing", "cecill", "epl", "eupl", "gfdl", "gpl", "lgpl", "lppl", "mpl", "ms-pl", "odbl", "osl",
    "ofl",
)  # fmt: skip
_SPELLING = {id_.lower(): id_ for id_ in KNOWN}
_TOKEN = re.compile(r"\s*(\(|\)|[^\s()]+)")


def canonical(text: str) -> str:
    """SPDX's spelling of an id where it is known here, else the text without its outer spaces."""
    word = text.strip()
    small = word.lower()
    return ALIASES.get(small) or _SPELLING.get(small) or word


def strictness(expression: str | None) -> int:
    """How much a licence asks for, to tell the stricter of two; no legal advice.

    0 nothing (public domain), 1 notice or attribution, 2 the same licence again, 3 no changes, 4 no commerce, 5 a
    licence that is not known here, 6 no statement. Of an expression the strictest of AND, the least strict of OR.
    """
    if expression is None or expression.strip().lower() in UNKNOWN:
        return 6
    return next(level for level in range(6) if satisfied(expression, lambda one: _level(one) <= level))  # noqa: B023


def _level(license_id: str) -> int:
    word = license_id.lower()
    if word.startswith(("cc0", "pddl", "cc-pddc", "unlicense", "0bsd", "mit-0", "wtfpl")):
        return 0
    if not word.startswith("cc-by") and license_id not in _SPELLING.values():
        return 5
    for level, mark in ((4, "-nc"), (3, "-nd"), (2, "-sa")):
        if mark in word:
            return level
    return 2 if word.startswith(_COPYLEFT) else 1


def satisfied(expression: str, holds: Callable[[str], bool]) -> bool:
    """Whether an SPDX expression satisfies `holds(id)`: one side of OR, both sides of AND; WITH exceptions only widen.

    Text that is no expression (`Apache License 2.0`) is taken as one id.
    """
    whole = canonical(expression)
    if whole in _SPELLING.values():
        return holds(whole)
    tokens = _TOKEN.findall(expression)
    if not any(t.upper() in ("AND", "OR", "WITH") or t in "()" for t in tokens):
        return holds(whole)
    try:
        value, rest = _either(tokens, holds)
    except IndexError:
        return holds(whole)
    return value if not rest else holds(whole)


def _either(tokens: list[str], holds: Callable[[str], bool]) -> tuple[bool, list[str]]:
    value, rest = _both(tokens, holds)
    while rest and rest[0].upper() == "OR":
        other, rest = _both(rest[1:], holds)
        value = value or other
    return value, rest


def _both(tokens: list[str], holds: Callable[[str], bool]) -> tuple[bool, list[str]]:
    value, rest = _one(tokens, holds)
    while rest and rest[0].upper() == "AND":
        other, rest = _one(rest[1:], holds)
        value = value and other
    return value, rest


def _one(tokens: list[str], holds: Callable[[str], bool]) -> tuple[bool, list[str]]:
    """Raises IndexError where the expression breaks off."""
    if tokens[0] == "(":
        value, rest = _either(tokens[1:], holds)
        if rest[0] != ")":
            raise IndexError("no closing bracket")
        return value, rest[1:]
    value, rest = holds(canonical(tokens[0])), tokens[1:]
    return (value, rest[2:]) if rest and rest[0].upper() == "WITH" else (value, rest)
