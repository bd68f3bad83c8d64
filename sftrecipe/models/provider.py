"""Model providers:

`models: {judge: {use: openai, model: ..., api_key: "${env:KEY}"}}`, entry points in `sftrecipe.model`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sftrecipe import params as _params
from sftrecipe.errors import did_you_mean

__all__ = ["Limits", "Provider"]


@dataclass(frozen=True)
class Limits:
    """What stands around a chat model:

    rates a minute, what it may cost ({dollars, tokens, requests}), dollars a million tokens.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    budget: Mapping[str, float] | None = None
    price: Mapping[str, float] | None = None


class Provider:
    """How one kind of model is reached. Parameters are `Param` fields, as for operators.

    Attributes:
        serves: the protocols it implements, by name (`Chat`, `Embedder`, ...).
        needs: extras that must be installed.
        place: where its work runs: `loop` (network calls, one event loop), `device` (a local model: one at a time) or
            `pool`.
        version: raised when the same identity answers differently.
    """

    serves: ClassVar[Sequence[str]] = ()
    needs: ClassVar[Sequence[str]] = ()
    place: ClassVar[str] = "device"
    version: ClassVar[int] = 1
    name: str = ""

    def __init__(self, **given: Any) -> None:
        cls: type = type(self)
        known = _params.specs(cls)
        for key in given:
            if key not in known:
                raise TypeError(f"{type(self).__name__} has no parameter `{key}` {did_you_mean(key, known)}".rstrip())
        missing = [s.name for s in known.values() if s.required and s.name not in given]
        if missing:
            raise TypeError(f"{type(self).__name__} needs {', '.join(missing)}")
        self.params: dict[str, Any] = {s.name: given.get(s.name, s.default) for s in known.values()}
        for key, value in self.params.items():
            setattr(self, key, value)

    def identity(self) -> Mapping[str, Any]:
        """What answers depend on: name, revision or file hash, precision. No URL, no key. Part of every key."""
        raise NotImplementedError

    def check(self) -> Iterable[str]:
        """Problems between parameters, found before the run. Yields messages."""
        return ()

    def limits(self) -> Limits:
        """Rates, budget and price; read off the parameters of these names."""
        names = ("requests_per_minute", "tokens_per_minute", "budget", "price")
        return Limits(**{name: self.params.get(name) for name in names})

    def open(self) -> Any:
        """The live model: an object with the methods of each protocol in `serves`; for `Chat`, a
        `sftrecipe.models.transport.Transport`.

        Heavy imports belong here.
        """
        raise NotImplementedError
