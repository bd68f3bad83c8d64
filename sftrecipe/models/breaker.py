"""When to give up on a server: no success for two minutes while it fails.

Time counts from the first failure after the last success. A request that has been on its way since before that failure
may still be answered (a slow model is no dead one), so the breaker waits for it. A server that has never answered and
refuses connections is given up sooner: the address is more likely wrong than the server busy.

An outage is when eight different requests fail with no success between: then the server is at fault, not the requests,
and no attempt is spent. So an outage loses no row, while a request that always fails costs its own row only; one that
is refused for ever does so at the latest when all others are done and two minutes have passed.
"""

from __future__ import annotations

from collections.abc import Callable

from sftrecipe.models.failures import Failure, Fatal, Refused, Unreachable

__all__ = ["Breaker"]

OUTAGE = 8


class Breaker:
    """Watches the requests to one model.

    Args:
        patience: seconds without a success, while requests fail, after which the run ends.
        first_patience: the same before the first success, where nobody answers at the address at all.
        now: a monotonic clock, in seconds.
    """

    def __init__(self, patience: float, first_patience: float, now: Callable[[], float]) -> None:
        self.patience, self.first_patience = patience, min(first_patience, patience)
        self._now = now
        self._flying: dict[int, float] = {}
        self._next = 0
        self._succeeded = False
        self._reset()

    def _reset(self) -> None:
        self._failing_since: float | None = None
        self._failing: set[bytes] = set()
        self._last: Failure | None = None
        self._only_unreachable = True

    def sent(self) -> int:
        """Notes a request on its way; returns its ticket."""
        self._next += 1
        self._flying[self._next] = self._now()
        return self._next

    def ended(self, ticket: int) -> None:
        """The request is over, one way or another."""
        self._flying.pop(ticket, None)

    def succeeded(self) -> None:
        """A request was answered."""
        self._succeeded = True
        if self._failing_since is not None:
            self._reset()

    def failed(self, key: bytes, failure: Failure) -> None:
        """A request failed in a way that might pass."""
        if self._failing_since is None:
            self._failing_since = self._now()
        self._failing.add(key)
        self._last = failure
        self._only_unreachable = self._only_unreachable and isinstance(failure, Unreachable)

    @property
    def outage(self) -> bool:
        """Whether the server, not the single request, seems at fault."""
        return len(self._failing) >= OUTAGE

    @property
    def blames_requests(self) -> bool:
        """Whether the server answers others, and only refuses few: then these are at fault."""
        return self._succeeded and not self.outage and isinstance(self._last, Refused)

    def check(self) -> None:
        """Raises Fatal when the server has been failing for too long."""
        if self._failing_since is None or self._last is None:
            return
        early = not self._succeeded and self._only_unreachable
        patience = self.first_patience if early else self.patience
        silent = self._now() - self._failing_since
        oldest = next(iter(self._flying.values()), None)
        if silent < patience or (oldest is not None and oldest < self._failing_since):
            return
        raise Fatal(
            "no_success",
            f"no answer for {silent:.0f} seconds, {len(self._failing)} requests failing; the last cause: {self._last}",
            "what was answered is kept: run the same command again when the server is back, and it goes on from here",
        )
