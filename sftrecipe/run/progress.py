"""How a run tells where it is. The CLI shows it; tests and libraries stay silent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sftrecipe.ledger import Counts
    from sftrecipe.plan.node import Node


__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Told by the interpreter; must not fail."""

    def begin(self, name: str, parts: int, done: int) -> None:
        """A stage starts; `done` of its `parts` shards were there already."""
        ...

    def advance(self, name: str, rows: int) -> None:
        """One shard with so many rows is done."""
        ...

    def within(self, name: str, done: int, of: int) -> None:
        """How far a whole-data step has come."""
        ...

    def step(self, node: Node, counts: Counts, cached: bool) -> None:
        """A step is done."""
        ...

    def say(self, text: str) -> None:
        """Something worth a line."""
        ...


class Silent:
    """Says nothing."""

    def begin(self, name: str, parts: int, done: int) -> None:
        """Nothing."""

    def advance(self, name: str, rows: int) -> None:
        """Nothing."""

    def within(self, name: str, done: int, of: int) -> None:
        """Nothing."""

    def step(self, node: Node, counts: Counts, cached: bool) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""
