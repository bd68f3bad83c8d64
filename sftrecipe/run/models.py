"""Models made live for a run: secrets resolved, chat models wrapped in a session (cache, limits, budget, retries)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sftrecipe import params as declared
from sftrecipe.run.bind import secret

if TYPE_CHECKING:
    from sftrecipe.run.interpreter import Run

__all__ = ["open_model"]


@contextmanager
def open_model(run: Run, name: str) -> Iterator[Any]:
    """The live model of `models: {name: ...}`, closed when the run ends."""
    provider = run.plan.providers[name]
    live = type(provider)(**provider.params)
    live.name = provider.name
    for spec in declared.specs(type(provider)).values():
        value = provider.params.get(spec.name)
        if spec.kind == "secret" and value is not None:
            setattr(live, spec.name, secret(value))
    if "Chat" not in provider.serves:
        yield live.open()
        return
    from sftrecipe.models.session import ChatSession

    session = ChatSession(live, run.store.root, run.options.requests, name=name, scope=run.plan.recipe.name)
    try:
        yield session
    finally:
        session.close()
