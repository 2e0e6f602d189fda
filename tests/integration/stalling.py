"""A door before a server that holds back one request, or the answer to it, until it is let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Door:
    """url: of the server, by this door; held: what waits has come; go: it may pass. answer: whether the answer waits
    and not the request.
    """

    marked: bytes
    answer: bool
    url: str = ""
    held: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def hold(self) -> None:
        """Come back when it may pass."""
        self.held.set()
        await self.go.wait()


@asynccontextmanager
async def door_before(server: str, marked: bytes, *, answer: bool = False) -> AsyncIterator[Door]:
    """A door before the server that stalls at the request that holds these bytes."""
    host, port = server.removeprefix("http://").split(":")
    door = Door(marked, answer)
    there: set[asyncio.Task[None]] = set()

    async def connected(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        asked, to_server = await asyncio.open_connection(host, int(port))
        seen = asyncio.Event()  # the request, on this connection

        async def requests() -> None:
            while chunk := await client.read(65_536):
                if door.marked in chunk:
                    seen.set()
                    if not door.answer:
                        await door.hold()
                to_server.write(chunk)
            to_server.close()

        async def answers() -> None:
            while chunk := await asked.read(65_536):
                if door.answer and seen.is_set():
                    await door.hold()
                to_client.write(chunk)
            to_client.close()

        there.add(asyncio.current_task())  # type: ignore[arg-type]
        with suppress(ConnectionError):
            await asyncio.gather(requests(), answers())

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    door.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield door
    finally:
        listener.close()
        for task in there:
            task.cancel()
