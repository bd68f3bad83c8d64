"""Rows as trainers read them: chat messages, alpaca, sharegpt, prompt and completion, rendered text, tokens with a loss
mask."""

from __future__ import annotations

__all__: list[str] = []
