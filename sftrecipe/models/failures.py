"""What a provider's transport may say of a request that got no answer, and what follows from each.

    Failure
    |-- Refused      the server has no room (429, 503, 529): spends no attempt, tells the limit to shrink
    |-- Unreachable  no connection at all: spends no attempt, the breaker counts the time
    |-- Broken       this try failed (5xx, a cut body, a time-out): spends an attempt
    |-- Unusable     this request will never work (too long, filtered, malformed): its row fails
    `-- Fatal        no request will work (wrong key, unknown model, wrong address): the run ends at once

`code` is a short stable word. Messages are told to people: providers redact secrets before they raise.
"""

from __future__ import annotations

from sftrecipe.errors import StepError

__all__ = ["Broken", "Failure", "Fatal", "Refused", "Unreachable", "Unusable", "step_error"]

CODES = {
    "key_refused": "R620",
    "unknown_model": "R621",
    "wrong_address": "R622",
    "no_credit": "R623",
    "every_request_refused": "R624",
    "no_success": "R625",
    "not_recorded": "R626",
    "cache_unusable": "R627",
    "no_reply": "R628",
}
"""The code of the StepError that each fatal failure becomes."""


class Failure(Exception):
    """A request without an answer: `code` and a message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Refused(Failure):
    """The server has no room now. `retry_after`: seconds it asks to wait, if it says so."""

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(code, message)
        self.retry_after = retry_after


class Unreachable(Failure):
    """Nobody answers at that address (refused connection, unknown host)."""


class Broken(Failure):
    """This try failed; the next may work. `raw`: what came instead of an answer, for the dead letter."""

    def __init__(self, code: str, message: str, raw: str = "") -> None:
        super().__init__(code, message)
        self.raw = raw


class Unusable(Failure):
    """This very request will never be answered: its row fails with `code`."""


class Fatal(Failure):
    """No request will be answered: the run ends. `help` says what to do."""

    def __init__(self, code: str, message: str, help: str = "") -> None:
        super().__init__(code, message)
        self.help = help


def step_error(failure: Fatal, model: str) -> StepError:
    """The error that ends the step, naming the model of the recipe."""
    named = f"model `{model}`: " if model else ""
    return StepError(f"{named}{failure.message}", code=CODES.get(failure.code, "R629"), help=failure.help)
