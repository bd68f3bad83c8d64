"""The command line. typer and rich are imported here and nowhere else but in report/."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Entry point of `sftrecipe`."""
    from sftrecipe.cli.app import run_app

    run_app()
