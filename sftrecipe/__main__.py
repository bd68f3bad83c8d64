"""`python -m sftrecipe`."""

from __future__ import annotations

from sftrecipe.cli import main

main()
