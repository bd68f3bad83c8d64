"""The six kinds of model that a recipe can name, as what operators may ask of them.

An operator declares `model: Chat = Param(...)`; after set-up `self.model` is live. Cache, limits, budget and retries
are around it, not in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sftrecipe.lazy import np

__all__ = ["PROTOCOLS", "Chat", "Embedder", "Likelihood", "Reply", "Reward", "Sandbox", "Tokenizer"]


@dataclass(frozen=True)
class Reply:
    """One sampled answer. `logprobs`: per generated token, {token text: log-probability} of the top alternatives.

    `finish_reason` is `stop`, `length` (cut at max_tokens), `content_filter` or `tool_calls`. `parsed` is the validated
    value where a `schema` was asked for. `refusal` is what the model says instead of an answer, where it says so apart.
    """

    text: str
    finish_reason: str = "stop"
    reasoning: str | None = None
    tool_calls: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    logprobs: Sequence[Mapping[str, float]] = field(default_factory=tuple)
    refusal: str | None = None
    parsed: Any = None


class Chat(Protocol):
    """A chat model: messages in, sampled answers out."""

    async def chat(self, messages: Sequence[Mapping[str, Any]], *, n: int = 1, **sampling: Any) -> list[Reply]:
        """`n` answers to one conversation, in the order of their sample numbers.

        `first` is the number of the first sample: who has drawn 4 and wants 4 more asks for `n=4, first=4`.

        Sampling: temperature, top_p, max_tokens, stop, seed (sample k gets seed + k), logprobs (how many alternatives a
        token), schema (a JSON Schema: `Reply.parsed` is the value), and whatever else the server takes. `complete=True`
        makes an answer that was cut at max_tokens fail the row as `truncated`.

        Raises:
            RowError: this request cannot be answered (`context_overflow`, `content_filter`, `invalid_json`,
                `server_error`, ...).
            StepError: no request can be answered. BudgetReached: the model's budget is used up.
        """
        ...

    async def complete(self, prompt: str, *, n: int = 1, **sampling: Any) -> list[Reply]:
        """`n` continuations of a raw text: no chat template is put around it. Otherwise like `chat`.

        Raises:
            StepError: the provider has no such request.
        """
        ...


class Likelihood(Protocol):
    """A causal language model that can be asked how likely a text is."""

    def token_logprobs(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Natural log-probability of each token given those before it: for T ids, T-1 numbers."""
        ...


class Embedder(Protocol):
    """Text to unit vectors."""

    @property
    def fit_rows(self) -> int:
        """How many texts `fit` wants to see at most; 0: `fit` need not be called."""
        ...

    @property
    def language(self) -> str | None:
        """`en` for a model that knows English only, another code or `multilingual`; None where it is not known."""
        ...

    def fit(self, texts: Sequence[str]) -> Mapping[str, Any]:
        """What must be learnt from texts first (tfidf) or told about them, as arrays, frames and JSON."""
        ...

    def embed(self, texts: Sequence[str], state: Mapping[str, Any] | None = None) -> np.ndarray:
        """float32 [N, d], rows of length 1 (a text without content: all zeros). `state` is what `fit` gave."""
        ...


class Reward(Protocol):
    """A model that scores a conversation with one number."""

    async def reward(self, messages: Sequence[Mapping[str, Any]]) -> float:
        """Higher is better; the scale is the model's own."""
        ...


class Tokenizer(Protocol):
    """Text to token ids, and a chat template."""

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens."""
        ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts."""
        ...

    @property
    def eos_id(self) -> int | None:
        """The id that ends a sequence."""
        ...

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that it brings, if any."""
        ...


class Sandbox(Protocol):
    """Runs untrusted code."""

    async def run(self, code: str, *, stdin: str = "", timeout: float = 4.0) -> Mapping[str, Any]:
        """{passed, exit_code, stdout, stderr, seconds, timed_out}."""
        ...


PROTOCOLS: tuple[type, ...] = (Chat, Likelihood, Embedder, Reward, Tokenizer, Sandbox)
