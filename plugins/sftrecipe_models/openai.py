"""`use: openai`: any server that speaks chat completions (vLLM, SGLang, llama.cpp, Ollama, LM Studio, hosted ones).

Raw HTTP over aiohttp, one JSON read an answer, no SDK. Measured at 64 in flight: about 0.3 ms of CPU a request, where
SDK clients take 2 to 10. Redirects are not followed: an answer from another place than the recipe names is none.
Proxies come from the environment.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from sftrecipe import Param, Provider, Secret, StepError
from sftrecipe.models import Broken, Fatal, Limits, Reply, Request, Unreachable
from sftrecipe_models import wire
from sftrecipe_models.prices import known_price

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

__all__ = ["OpenAI"]

HIDDEN = "[secret]"
SHORTEST_SECRET = 6
"""Shorter values are no secrets worth hiding, and hiding them would tear texts apart."""


class OpenAI(Provider):
    """A chat model behind an OpenAI-compatible server."""

    serves = ("Chat",)
    place = "loop"

    model: str = Param(doc="Name of the model, as the server calls it.")
    base_url: str = Param("https://api.openai.com/v1", doc="Address of the API, up to and without /chat/completions.")
    api_key: Secret | None = Param(None, doc='The key, as "${env:NAME}". Servers of your own often need none.')
    organization: str | None = Param(None, doc="Sent as OpenAI-Organization.")
    revision: str | None = Param(
        None, doc="Says which weights a server of your own serves; recorded answers depend on it."
    )
    concurrency: int = Param(
        64, ge=1, doc="Requests in flight, at most; the session finds what the server bears below it."
    )
    requests_per_minute: float | None = Param(None, gt=0, doc="Requests a minute, at most.")
    tokens_per_minute: float | None = Param(None, gt=0, doc="Tokens a minute, at most, prompts and answers together.")
    timeout: float = Param(300, gt=0, doc="Seconds an answer may take.")
    budget: dict[str, float] | None = Param(None, doc="What may be spent: {dollars, tokens, requests}, each optional.")
    price: dict[str, float] | None = Param(
        None, doc="Dollars a million tokens: {input, output}. Known for OpenAI's own models."
    )
    structured: Literal["auto", "json_schema", "json_object", "words"] = Param(
        "auto",
        doc="How JSON answers are asked for; auto starts with json_schema and steps down when the server refuses it.",
    )

    def identity(self) -> Mapping[str, Any]:
        """The model's name and revision: the address says where, not what."""
        found = {"provider": "openai", "model": self.model}
        return {**found, "revision": self.revision} if self.revision else found

    def check(self) -> Iterable[str]:
        """An address that is none, a budget or price of unknown things, a budget in dollars without a price."""
        from sftrecipe.models.budget import Budget, Price
        from sftrecipe.models.cache import Spent

        address = urlsplit(self.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            yield "`base_url` is no http address: write http(s)://host/v1"
        if _is_link_local(address.hostname or ""):
            yield "`base_url` is a link-local address, where clouds keep their machines' secrets"
        if address.username or address.password:
            yield "`base_url` holds a name or password: give the key as `api_key`"
        try:
            Budget(self.budget, Price.of(self.limits().price), Spent(), self.model)
        except (ValueError, KeyError) as error:
            yield f"`price` needs input and output, {error} is missing" if isinstance(error, KeyError) else str(error)

    def limits(self) -> Limits:
        """As given; the price from the table where it is known."""
        price = self.price or known_price(self.base_url, self.model)
        return Limits(self.requests_per_minute, self.tokens_per_minute, self.budget, price)

    def open(self) -> OpenAITransport:
        """Connections to the server, made when first needed. Raises StepError for parameters that `check` refuses."""
        for problem in self.check():
            raise StepError(problem, code="R622")
        return OpenAITransport(self)


class OpenAITransport:
    """A pool of connections to one server."""

    adaptive = True
    completes = True

    def __init__(self, provider: OpenAI) -> None:
        from yarl import URL

        self.concurrency = provider.concurrency
        self._model = provider.model
        base = provider.base_url.rstrip("/")
        self._url, self._raw_url = URL(f"{base}/chat/completions"), URL(f"{base}/completions")
        self._proxy = _proxy(provider.base_url)
        self._secrets = [s for s in (provider.api_key, self._proxy) if s and len(s) >= SHORTEST_SECRET]
        self._hidden = [secret.encode() for secret in self._secrets]
        self._dialect = wire.Dialect() if provider.structured == "auto" else wire.Dialect(provider.structured)
        self._adapts = provider.structured == "auto"
        headers = {"Content-Type": "application/json"}
        if provider.api_key:
            headers["Authorization"] = f"Bearer {provider.api_key}"
        if provider.organization:
            headers["OpenAI-Organization"] = provider.organization
        self._headers, self._timeout = headers, provider.timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Request) -> Reply:
        """One POST. Raises Failure."""
        while True:
            dialect = self._dialect
            url = self._url if request.prompt is None else self._raw_url
            status, data, content_type, retry_after = await self._post(url, wire.body(self._model, request, dialect))
            if status == 200:
                return wire.read(data, content_type, "".join(str(m.get("content")) for m in request.messages))
            other = wire.adapt(dialect, status, data)
            if other is None or not self._may_learn(dialect, other):
                raise wire.failure(status, data, retry_after)

    def _may_learn(self, seen: wire.Dialect, other: wire.Dialect) -> bool:
        """Takes up the other dialect, unless a request beside this one has just learnt something."""
        if not self._adapts and other.structured != seen.structured:
            return False
        if self._dialect is seen:
            self._dialect = other
        return True

    async def _post(self, url: URL, body: bytes) -> tuple[int, bytes, str, str | None]:
        import aiohttp

        try:
            async with self._pool().post(url, data=body, allow_redirects=False, proxy=self._proxy) as response:
                data = await response.read()
                headers = response.headers
                return response.status, self._scrub(data), headers.get("Content-Type", ""), headers.get("Retry-After")
        except asyncio.TimeoutError:
            raise Broken("timeout", f"no answer within {self._timeout:g} seconds") from None
        except aiohttp.ClientError as error:
            raise self._named(error) from None

    def _named(self, error: aiohttp.ClientError) -> Exception:
        """What a client error means; the original never travels on, since it carries the request with its headers."""
        import aiohttp

        where, what = f"{self._url.host}:{self._url.port}", self.redact(str(error) or type(error).__name__)
        if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError, ssl.SSLError)):
            return Fatal(
                "wrong_address", f"no safe connection to {where} ({what})", "check `base_url` and its certificate"
            )
        if isinstance(error, aiohttp.InvalidURL):
            return Fatal("wrong_address", f"`base_url` is no address ({what})", "write http(s)://host/v1")
        if isinstance(error, aiohttp.ClientConnectorError):
            return Unreachable("unreachable", f"no connection to {where} ({error.os_error.strerror or error.os_error})")
        if isinstance(error, aiohttp.ClientPayloadError):
            return Broken("cut_answer", f"the answer of {where} was cut")
        return Broken("connection", f"the connection to {where} broke ({what})")

    def redact(self, text: str) -> str:
        """`text` without the key."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return text

    def _scrub(self, data: bytes) -> bytes:
        for secret in self._hidden:
            if secret in data:
                data = data.replace(secret, HIDDEN.encode())
        return data

    def _pool(self) -> aiohttp.ClientSession:
        """The connections of the running loop."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            import aiohttp

            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
                timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=10),
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def leave(self) -> None:
        """Closes the connections of the loop."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def close(self) -> None:
        """Nothing is held beside connections."""


def _is_link_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_link_local
    except ValueError:
        return False


def _proxy(base_url: str) -> str | None:
    """The proxy that the environment names for this address, looked up once (aiohttp would look for each request)."""
    from urllib.request import getproxies, proxy_bypass

    address = urlsplit(base_url)
    if proxy_bypass(address.hostname or ""):
        return None
    return getproxies().get(address.scheme)
