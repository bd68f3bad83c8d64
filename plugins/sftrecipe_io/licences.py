"""Licence names as SPDX writes them. A name that is not known stays as it is: nobody's terms are guessed."""

from __future__ import annotations

from sftrecipe.errors import did_you_mean

__all__ = ["KNOWN", "advice", "spdx"]

KNOWN = (
    *("0BSD", "AGPL-3.0-only", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0"),
    *("CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0"),
    *(
        "CC-BY-NC-SA-3.0",
        "CC-BY-NC-SA-4.0",
        "CC-BY-ND-4.0",
        "CC-BY-NC-ND-4.0",
        "CDLA-Permissive-1.0",
        "CDLA-Permissive-2.0",
    ),
    *(
        "CDLA-Sharing-1.0",
        "GPL-2.0-only",
        "GPL-3.0-only",
        "ISC",
        "LGPL-3.0-only",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "NOASSERTION",
    ),
    *("ODC-By-1.0", "ODbL-1.0", "PDDL-1.0", "Unlicense", "Zlib"),
)

_ALIASES = {
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "cc0": "CC0-1.0",
    "cc by 4.0": "CC-BY-4.0",
    "cc by sa 4.0": "CC-BY-SA-4.0",
    "cc by nc 4.0": "CC-BY-NC-4.0",
    "mit license": "MIT",
    "odc by": "ODC-By-1.0",
    "odbl": "ODbL-1.0",
    "unknown": "NOASSERTION",
}
_BY_WORDS = {**{name.lower().replace("-", " "): name for name in KNOWN}, **_ALIASES}


def spdx(name: str) -> str:
    """The SPDX id of a common name (`mit`, `apache 2.0`, `odc-by`); other names unchanged but for outer white space."""
    words = " ".join(name.lower().replace("-", " ").replace("_", " ").split())
    return _BY_WORDS.get(words, name.strip())


def advice(name: str) -> str:
    """Which id is meant by an unknown name, perhaps. Empty for known names and for `LicenseRef-` ones."""
    if spdx(name) in KNOWN or name.startswith("LicenseRef-"):
        return ""
    return f"`{name}` is no SPDX id known here {did_you_mean(name, KNOWN)}".rstrip()
