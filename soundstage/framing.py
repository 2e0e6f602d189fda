"""Messages over TCP: a JSON header and a body, each with its length before it. Audio and segments travel so."""

from __future__ import annotations

import asyncio
import json
import struct
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
    header = json.loads(text)
    if not isinstance(header, dict):
        raise Malformed("a message's header must be a JSON object")
    return header, body
