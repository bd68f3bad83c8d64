"""Licence names as SPDX writes them."""

from __future__ import annotations

import pytest

from sftrecipe_io.licences import KNOWN, advice, spdx


@pytest.mark.parametrize(
    ("given", "id_"),
    [
        ("mit", "MIT"),
        ("MIT License", "MIT"),
        (" apache-2.0 ", "Apache-2.0"),
        ("Apache 2.0", "Apache-2.0"),
        ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
        ("cc_by_sa_4.0", "CC-BY-SA-4.0"),
        ("ODC-BY", "ODC-By-1.0"),
        ("unknown", "NOASSERTION"),
        ("LicenseRef-own", "LicenseRef-own"),
        ("My Terms", "My Terms"),
    ],
)
def test_common_names(given: str, id_: str) -> None:
    assert spdx(given) == id_


@pytest.mark.parametrize("id_", KNOWN)
def test_ids_are_their_own_names(id_: str) -> None:
    assert spdx(id_) == spdx(id_.lower()) == id_
    assert advice(id_) == ""


def test_advice_for_unknown_names() -> None:
    assert "did you mean `CC-BY-4.0`?" in advice("CC-BY-4.1")
    assert advice("LicenseRef-own") == ""
