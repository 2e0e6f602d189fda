"""Messages over TCP: a JSON header and a body, each with its length before it. Audio and segments travel so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from soundstage.errors import Malformed

_LENGTHS = struct.Struct("!II")
HEADER_LIMIT = 64 * 1024
BODY_LIMIT = 4 * 1024 * 1024


def encode(header: dict[str, Any], body: bytes = b"") -> bytes:
    """One message as bytes."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(text), len(body)) + text + body


async def read(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """The next message as (header, body).

    Raises EOFError (IncompleteReadError) at the end of the stream, Malformed when it is no message.
    """
    header_length, body_length = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
    if header_length > HEADER_LIMIT or body_length > BODY_LIMIT:
        raise Malformed(f"a message of {header_length} + {body_length} bytes is longer than any that we send")
    text = await reader.readexactly(header_length)
    body = await reader.readexactly(body_length) if body_length else b""
    try:
        header = json.loads(text)
    except ValueError as error:
        raise Malformed(f"a message's header must be JSON: {error}") from error
    if not isinstance(header, dict):
        raise Malformed("a message's header must be a JSON object")
    return header, body


async def accept(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], port: int, limit: int = 64 * 1024
) -> asyncio.Server:
    """Run `serve` for every connection to 127.0.0.1:`port`, and close the connection after it.

    The other side may go away at any byte, and we may end: neither is worth a traceback. `limit` is the longest line
    that can be read. Raises OSError when the port is taken.
    """

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # Cancelled only when the process ends; Python 3.11 would print a traceback for each connection.
            with contextlib.suppress(ConnectionError, EOFError, Malformed, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            writer.close()

    return await asyncio.start_server(connection, "127.0.0.1", port, limit=limit)
