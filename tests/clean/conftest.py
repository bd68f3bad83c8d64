"""Settings for the tests of this folder."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("sftrecipe", deadline=None)  # a slow machine is no failure
settings.load_profile("sftrecipe")
