"""Rows to sequences of a fixed capacity: exact plans from lengths alone, and the layouts that trainers read."""

from __future__ import annotations

__all__: list[str] = []
