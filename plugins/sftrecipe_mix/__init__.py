"""Several inputs, or one input by a column, to one output with exact shares."""

from __future__ import annotations

__all__: list[str] = []
