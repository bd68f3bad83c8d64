"""Doors: what reads rows in (`load.auto`) and what writes files out (`write.auto`).

Nothing is imported here, so that naming one operator costs only that operator's imports.
"""

from __future__ import annotations

__all__: list[str] = []
