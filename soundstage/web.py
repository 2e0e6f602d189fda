"""A small HTTP/1.1 server and a one-shot GET: a dozen processes each need little more than a /metrics page.

Written by hand because a web framework costs each of them some 15 MiB and 0.3 s of start-up.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from soundstage import framing
from soundstage.errors import Malformed, Unreachable

HEAD_LIMIT = 16 * 1024
BODY_LIMIT = 64 * 1024


@dataclass(frozen=True)
class Request:
    """One request; header names are in lower case, the query string is cut off."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    def json(self) -> Any:
        """The body as JSON; raises Malformed when it is none."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Malformed(f"the body must be JSON: {error}") from error


@dataclass(frozen=True)
class Response:
    """One answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(value: object, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(status, json.dumps(value).encode(), "application/json")


Handler = Callable[[Request], Awaitable[Response]]


class _Refused(Exception):
    """A request that cannot be served; carries the status to answer with."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _headers(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection, or None where the other side has closed it."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except asyncio.LimitOverrunError as error:
        raise _Refused(431) from error
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3:
        raise _Refused(400)
    headers = _headers(lines[1:])
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > BODY_LIMIT:
        raise _Refused(413)
    body = await reader.readexactly(int(length)) if length != "0" else b""
    return Request(words[0], words[1].partition("?")[0], headers, body)


def _bytes(response: Response, *, close: bool, head_only: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
        f"Connection: {'close' if close else 'keep-alive'}",
    ]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head if head_only else head + response.body


async def _serve_one(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer one request; False when the connection is to be closed."""
    try:
        request = await _read(reader)
    except _Refused as refused:
        writer.write(_bytes(Response(refused.status), close=True, head_only=False))
        await writer.drain()
        return False
    if request is None:
        return False
    close = request.headers.get("connection", "").lower() == "close"
    response = await handler(request)
    writer.write(_bytes(response, close=close, head_only=request.method == "HEAD"))
    await writer.drain()
    return not close


async def listen(handler: Handler, port: int) -> asyncio.Server:
    """Serve `handler` on 127.0.0.1:`port` with keep-alive.

    Raises OSError when the port is taken.
    """

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await _serve_one(handler, reader, writer):
            pass

    return await framing.accept(connection, port, HEAD_LIMIT)


async def get(url: str, timeout: float = 2.0) -> Response:
    """GET `url` over a connection of its own; `timeout` in seconds for the whole.

    Raises Unreachable when there is no complete answer in time.
    """
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                target = parts.path or "/"
                writer.write(f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise Unreachable(f"{url} did not answer: {error or 'timed out'}") from error
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        raise Unreachable(f"{url} broke its answer off")
    lines = head.decode("latin-1").split("\r\n")
    headers = _headers(lines[1:])
    return Response(int(lines[0].split(" ")[1]), body, headers.get("content-type", ""), headers)
