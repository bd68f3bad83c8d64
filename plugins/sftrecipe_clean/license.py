"""filter.license: keep rows whose licence is allowed.

Each row carries an SPDX id or expression in `license`. `allow` and `deny` hold ids, case ignored, with `*` for any
characters (`CC-BY-NC-*`); spellings of data hubs (`odc-by`, `cc0`) are understood. An expression is allowed if one
side of each OR and all sides of each AND are. A licence is decided once a batch and value, so the cost does not
depend on the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from sftrecipe import Filter, Param, StepError
from sftrecipe.errors import did_you_mean
from sftrecipe.lazy import np, pl
from sftrecipe_clean.spdx import KNOWN, UNKNOWN, canonical, satisfied

if TYPE_CHECKING:
    from sftrecipe.rows import Rows

__all__ = ["License", "matches", "verdict"]


def matches(license_id: str, patterns: Sequence[str]) -> bool:
    """Whether an id is one of the patterns, case ignored."""
    word = license_id.lower()
    return any(fnmatchcase(word, canonical(pattern).lower()) for pattern in patterns)


def verdict(license_text: str | None, allow: Sequence[str], deny: Sequence[str]) -> str:
    """`allowed`, `denied` or `unknown`. Without `allow`, all that is not denied is allowed."""
    if license_text is None or license_text.strip().lower() in UNKNOWN:
        return "unknown"
    fine = satisfied(license_text, lambda one: (not allow or matches(one, allow)) and not matches(one, deny))
    return "allowed" if fine else "denied"


class License(Filter):
    """Keep rows whose licence is in `allow` (if given) and not in `deny`.

    Codes: `license_denied`; `license_unknown` (null, NOASSERTION, `other` and the like; with `unknown: error` the run
    stops there).
    """

    reads = ("license",)
    source = "Apertus (licence filter: exclude and include lists)"

    allow: list[str] = Param([], positional=True, doc="SPDX ids that may stay; `*` stands for any characters.")
    deny: list[str] = Param([], doc="SPDX ids that must go, whatever `allow` says.")
    unknown: Literal["drop", "keep", "error"] = Param("drop", doc="What becomes of rows that state no licence.")

    def check(self) -> list[str]:
        problems = [] if self.params["allow"] or self.params["deny"] else ["give `allow` or `deny`"]
        for pattern in (*self.params["allow"], *self.params["deny"]):
            if problem := _problem(pattern):
                problems.append(problem)
        return problems

    def keep(self, rows: Rows) -> Mapping[str, np.ndarray]:
        licenses = rows["license"].cast(pl.String)
        known = {text: verdict(text, self.allow, self.deny) for text in licenses.unique().to_list()}
        verdicts = licenses.replace_strict(known, return_dtype=pl.String)
        without = (verdicts == "unknown").to_numpy()
        if self.unknown == "error" and without.any():
            spelled = sorted({repr(text) for text, found in known.items() if found == "unknown"})
            raise StepError(
                f"{int(without.sum())} rows of a batch state no licence ({', '.join(spelled)})",
                step=self.name,
                help="give the source its `license:` in `load`, or set `unknown: drop`",
            )
        kept = {"license_denied": (verdicts != "denied").to_numpy()}
        return kept if self.unknown == "keep" else {"license_unknown": ~without, **kept}


def _problem(pattern: str) -> str:
    """What is wrong with an entry of `allow` or `deny`, or an empty string."""
    word = canonical(pattern)
    if word.lower() in UNKNOWN:
        return f"`{pattern}` states no licence; `unknown: keep` keeps such rows"
    if word.lower().startswith("licenseref-") or _is_known(word):
        return ""
    if "*" in word:
        return f"`{pattern}` matches no licence that is known here"
    near = did_you_mean(word, KNOWN)
    return f"`{pattern}` is no SPDX id; {near}" if near else ""


def _is_known(pattern: str) -> bool:
    """Whether a pattern matches at least one id known here."""
    return any(matches(known, [pattern]) for known in KNOWN)
