from __future__ import annotations

import asyncio
import contextlib

import pytest

from soundstage import framing, web
from soundstage.errors import Malformed, Unreachable
from soundstage.plan import free_ports


@contextlib.asynccontextmanager
async def served(handler):
    (port,) = free_ports(1)
    server = await web.listen(handler, port)
    yield port
    server.close()


async def echo(request: web.Request) -> web.Response:
    return web.Response(200, f"{request.method} {request.path} {len(request.body)}".encode())


async def exchange(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


async def test_two_requests_go_over_one_connection() -> None:
    async with served(echo) as port:
        answer = await exchange(
            port, b"GET /a?x=1 HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
        )
    assert b"GET /a 0" in answer
    assert answer.endswith(b"POST /b 3")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"413"),
    ],
)
async def test_bad_request_is_refused_and_the_server_stays(sent: bytes, status: bytes) -> None:
    async with served(echo) as port:
        assert status in (await exchange(port, sent)).split(b"\r\n")[0]
        assert (await web.get(f"http://127.0.0.1:{port}/fine")).status == 200


async def test_head_has_no_body() -> None:
    async with served(echo) as port:
        answer = await exchange(port, b"HEAD /a HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")


async def test_get_of_somebody_who_is_away_or_hangs_is_unreachable() -> None:
    async def hang(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    (port,) = free_ports(1)
    with pytest.raises(Unreachable):
        await web.get(f"http://127.0.0.1:{port}/")
    async with served(hang) as port:
        with pytest.raises(Unreachable, match="did not answer"):
            await web.get(f"http://127.0.0.1:{port}/", timeout=0.1)


async def test_message_is_read_as_it_was_written() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(framing.encode({"t": 1}, b"abc") + framing.encode({}))
    assert await framing.read(reader) == ({"t": 1}, b"abc")
    assert await framing.read(reader) == ({}, b"")


@pytest.mark.parametrize("sent", [b"\xff" * 8 + b"x", b"\0\0\0\x02\0\0\0\0[]", b"\0\0\0\x01\0\0\0\0{"])
async def test_what_is_no_message_is_refused(sent: bytes) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(sent)
    with pytest.raises(Malformed):
        await framing.read(reader)
