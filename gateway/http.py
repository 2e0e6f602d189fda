"""The one place where HTTP clients are made: time-outs, size limits, hosts, and httpx's errors told as ours.

Every call ends: by an answer, by its deadline, or by its size limit.
A proxy of the environment is used for far hosts, never for this machine.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx

from gateway.hosts import Hosts
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import BoundaryError, SourceError

USER_AGENT = "tonewatch/0.1"
MAX_REDIRECTS = 5
#: Largest body that is read when the caller names no limit.
MAX_BYTES = 4 * 1024 * 1024
_CHUNK = 64 * 1024
_HIGHEST_PORT = 65535
_NO_PROXY = {"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None}


#: What `client` gives, by a name that rooms without httpx may use.
Session: TypeAlias = httpx.AsyncClient


@dataclass(frozen=True, slots=True)
class Fetched:
    """One whole answer. `headers` has lower-case names; `seconds` from the request to the last byte."""

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes
    seconds: float

    @property
    def text(self) -> str:
        """The body as UTF-8; what is not UTF-8 becomes the replacement sign, so that garbage can be read as garbage."""
        return self.content.decode("utf-8", errors="replace")

    def document(self) -> Any:
        """The body as JSON. Raises ValueError: it is none, or nested deeper than anybody means it."""
        try:
            return json.loads(self.content)
        except RecursionError:
            raise ValueError("nested too deeply") from None


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that is still coming. `headers` has lower-case names."""

    url: str
    headers: Mapping[str, str]
    _chunks: AsyncIterator[bytes]

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises SourceError when the connection breaks or is silent for its time-out."""
        with told_as(SourceError, self.url):
            async for chunk in self._chunks:
                yield chunk


def client(*, timeout_s: float = 2.0, connections: int = 32, hosts: Hosts | None = None) -> httpx.AsyncClient:
    """A client for many calls; close it. `timeout_s` bounds connecting and each silence while reading.

    hosts: no other is ever asked, whatever an answer points at, redirects included (SourceError of kind host).
    """

    async def heed(request: httpx.Request) -> None:
        if hosts is not None:
            hosts.heed(request.url.host, str(request.url))

    return httpx.AsyncClient(
        timeout=httpx.Timeout(timeout_s, pool=timeout_s * 2),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=30),
        headers={"user-agent": USER_AGENT, "accept-encoding": "identity"},
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        mounts=_NO_PROXY,
        event_hooks={"request": [heed]},
    )


def addressed(url: str, whose: str, credentials: str | None = None) -> tuple[str, dict[str, str]]:
    """An address without user and password, and the headers that carry those; they appear in no message.

    whose: what should be there; credentials: `user:password`, or a bearer token, unless the address has some. Raises
    SourceError: no http or https address.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise SourceError(f"the address of {whose} is none, or its port is none", kind="address") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SourceError(f"the address of {whose} must begin with http:// or https://", kind="address")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    headers = {}
    if credentials is not None and ":" in credentials:
        headers["authorization"] = f"Basic {b64encode(credentials.encode()).decode()}"
    elif credentials is not None:
        headers["authorization"] = f"Bearer {credentials}"
    return urlunsplit((parts.scheme, f"{host}{port}", parts.path.rstrip("/"), "", "")), headers


@contextmanager
def told_as(error: type[BoundaryError], url: str) -> Iterator[None]:
    """Turns httpx's errors about `url` into `error`; a SourceError also gets its `kind`."""
    try:
        if (
            httpx.URL(url).port or 0
        ) > _HIGHEST_PORT:  # httpx lets it through, the socket then fails in a way of its own
            raise httpx.InvalidURL(f"there is no port above {_HIGHEST_PORT}")
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as problem:
        raise _told(error, f"{url!r} is not an http or https address: {problem}", "address") from problem
    except (httpx.TimeoutException, TimeoutError) as problem:
        raise _told(error, f"{url} did not answer in time", "timeout") from problem
    except httpx.ConnectError as problem:
        raise _told(error, f"{url} cannot be reached: {problem}", "refused") from problem
    except (httpx.HTTPError, httpx.StreamError) as problem:
        raise _told(error, f"{url} broke off: {problem or type(problem).__name__}", "broken") from problem


async def fetch(
    session: httpx.AsyncClient,
    url: str,
    *,
    deadline_s: float = 2.0,
    max_bytes: int = MAX_BYTES,
    headers: Mapping[str, str] | None = None,
    clock: Clock = SYSTEM,
) -> Fetched:
    """GET the whole body within `deadline_s` seconds and `max_bytes` bytes.

    Raises SourceError; its `kind` is address, refused, timeout, broken, status or too-large.
    """
    started = clock.monotonic()
    with told_as(SourceError, url):
        async with asyncio.timeout(deadline_s), session.stream("GET", url, headers=dict(headers or {})) as answer:
            _require_success(answer, url)
            content = await _read(answer, url, max_bytes, SourceError)
    return Fetched(str(answer.url), answer.status_code, _lower(answer.headers), content, clock.monotonic() - started)


async def post(
    session: httpx.AsyncClient,
    url: str,
    content: bytes,
    *,
    media_type: str = "application/json",
    deadline_s: float = 5.0,
    headers: Mapping[str, str] | None = None,
    error: type[BoundaryError] = SourceError,
    clock: Clock = SYSTEM,
) -> Fetched:
    """POST `content` and return the answer whatever its status; redirects are not followed.

    Raises `error` when there is no answer.
    """
    started = clock.monotonic()
    sent = {"content-type": media_type, **(headers or {})}
    with told_as(error, url):
        request = session.build_request("POST", url, content=content, headers=sent)
        async with asyncio.timeout(deadline_s):
            answer = await session.send(request, stream=True, follow_redirects=False)
            try:
                body = await _read(answer, url, MAX_BYTES, error)
            finally:
                await answer.aclose()
    return Fetched(str(answer.url), answer.status_code, _lower(answer.headers), body, clock.monotonic() - started)


@asynccontextmanager
async def stream(
    session: httpx.AsyncClient, url: str, *, deadline_s: float = 5.0, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Stream]:
    """An answer without an end: the headers must come within `deadline_s`. Raises SourceError."""
    request = None
    with told_as(SourceError, url):
        request = session.build_request("GET", url, headers=dict(headers or {}))
        async with asyncio.timeout(deadline_s):
            answer = await session.send(request, stream=True)
    try:
        _require_success(answer, url)
        yield Stream(str(answer.url), _lower(answer.headers), answer.aiter_bytes())
    finally:
        await answer.aclose()


async def _read(answer: httpx.Response, url: str, max_bytes: int, error: type[BoundaryError]) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_bytes(_CHUNK):
        body += chunk
        if len(body) > max_bytes:
            raise _told(error, f"{url} sends more than {max_bytes} bytes: not read further", "too-large")
    return bytes(body)


def _require_success(answer: httpx.Response, url: str) -> None:
    if not answer.is_success:
        raise SourceError(f"{url} answered {answer.status_code} {answer.reason_phrase}".rstrip(), kind="status")


def _told(error: type[BoundaryError], message: str, kind: str) -> BoundaryError:
    return error(message, kind=kind) if issubclass(error, SourceError) else error(message)


def _lower(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
