"""filter.license and SPDX expressions."""

from __future__ import annotations

import polars as pl
import pytest

from sftrecipe import StepError
from sftrecipe.rows import Rows
from sftrecipe_clean.license import License, verdict
from sftrecipe_clean.spdx import ALIASES, KNOWN, canonical, satisfied, strictness

ALLOW = ["MIT", "apache-2.0", "ODC-BY", "CC-BY-4.0"]


def run(licenses, **params):
    kept = License(**params).keep(Rows(pl.DataFrame({"license": licenses}, schema={"license": pl.String})))
    return {code: mask.tolist() for code, mask in kept.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("mit", "MIT"), (" Apache-2.0 ", "Apache-2.0"), ("odc-by", "ODC-By-1.0"), ("cc0", "CC0-1.0"), ("llama3.1", "llama3.1")],
)
def test_spelling(text, expected):
    assert canonical(text) == expected


def test_aliases_stand_for_known_ids():
    assert set(ALIASES.values()) <= set(KNOWN)
    assert not {a for a in ALIASES if a != a.lower()}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("GPL-3.0", False),
        ("MIT OR GPL-3.0", True),
        ("GPL-3.0 or MIT", True),
        ("MIT AND GPL-3.0", False),
        ("MIT AND Apache-2.0", True),
        ("GPL-3.0 OR MIT AND Apache-2.0", True),  # AND binds closer
        ("(GPL-3.0 OR MIT) AND GPL-3.0", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0 WITH Classpath-exception-2.0 OR MIT", True),
        ("MIT OR", False),  # broken: taken as one id
        ("(MIT", False),
        ("MIT MIT", False),
        ("Apache License 2.0", True),
    ],
)
def test_expressions(expression, expected):
    assert satisfied(expression, lambda one: one in ("MIT", "Apache-2.0")) is expected


@pytest.mark.parametrize(
    ("text", "allow", "deny", "expected"),
    [
        ("MIT", ALLOW, [], "allowed"),
        ("ODC-By-1.0", ALLOW, [], "allowed"),
        ("CC-BY-NC-4.0", ALLOW, [], "denied"),
        ("CC-BY-NC-4.0", [], ["CC-BY-NC-*"], "denied"),
        ("cc-by-nc-sa-4.0", [], ["CC-BY-NC-*"], "denied"),
        ("CC-BY-4.0", [], ["CC-BY-NC-*"], "allowed"),
        ("CC-BY-NC-4.0", ["CC-BY-*"], ["*-NC-*"], "denied"),
        ("MIT OR CC-BY-NC-4.0", [], ["*-NC-*"], "allowed"),
        (None, ALLOW, [], "unknown"),
        ("", ALLOW, [], "unknown"),
        ("NOASSERTION", ALLOW, [], "unknown"),
        ("other", [], ["MIT"], "unknown"),
    ],
)
def test_verdicts(text, allow, deny, expected):
    assert verdict(text, allow, deny) == expected


def test_codes():
    assert run(["MIT", "GPL-3.0", None], allow=ALLOW) == {"license_unknown": [True, True, False], "license_denied": [True, False, True]}
    assert run(["MIT", "GPL-3.0", None], allow=ALLOW, unknown="keep") == {"license_denied": [True, False, True]}
    assert run([], allow=ALLOW) == {"license_unknown": [], "license_denied": []}


def test_unknown_can_stop_the_run():
    with pytest.raises(StepError, match="2 rows of a batch state no licence") as caught:
        run(["MIT", None, "NOASSERTION"], allow=ALLOW, unknown="error")
    assert "'NOASSERTION'" in str(caught.value)
    assert run(["MIT"], allow=ALLOW, unknown="error") == {"license_unknown": [True], "license_denied": [True]}


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, "give `allow` or `deny`"),
        ({"allow": ["Appache-2.0"]}, "did you mean `Apache-2.0`"),
        ({"deny": ["XX-*"]}, "matches no licence"),
        ({"allow": ["NOASSERTION"]}, "unknown: keep"),
    ],
)
def test_problems(params, problem):
    assert [problem in text for text in License(**params).check()] == [True]


def test_ids_of_ones_own_pass():
    assert list(License(allow=["LicenseRef-acme", "llama3.1", "CC-BY-NC-*", "mit"]).check()) == []


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("CC0-1.0", 0), ("MIT", 1), ("odc-by", 1), ("CC-BY-4.0", 1), ("Apache-2.0", 1), ("CC-BY-SA-4.0", 2), ("GPL-3.0-only", 2),
        ("CC-BY-ND-4.0", 3), ("CC-BY-NC-4.0", 4), ("CC-BY-NC-SA-4.0", 4), ("CC-BY-NC-ND-4.0", 4), ("LicenseRef-ours", 5), (None, 6), ("other", 6),
        ("MIT OR CC-BY-NC-4.0", 1), ("MIT AND CC-BY-NC-4.0", 4), ("MIT AND (CC-BY-SA-4.0 OR CC0-1.0)", 1),
    ],
)  # fmt: skip
def test_how_strict_a_licence_is(text, level):
    assert strictness(text) == level
