from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http import client
from gateway.sources.prometheus import Exposition, read, scrape, scrape_all
from tonewatch.errors import SourceError
from tonewatch.records import SeriesKind

TEXT = """\
# HELP http_requests_total Requests
# TYPE http_requests_total counter
http_requests_total{code="200"} 12
http_requests_total{code="500",b="x\\"y\\n"} 1
# TYPE event_loop_lag_seconds gauge
event_loop_lag_seconds 0.003
# TYPE http_request_seconds histogram
http_request_seconds_bucket{le="0.1"} 3
http_request_seconds_bucket{le="+Inf"} 4
http_request_seconds_sum 0.5
http_request_seconds_count 4
untyped_thing NaN
"""

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(talk: Talk) -> AsyncIterator[str]:
    """A server that speaks as `talk` does, badly if need be."""

    writers: set[asyncio.StreamWriter] = set()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/metrics"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


def answering(body: bytes, status: str = "200 OK", length: int | None = None) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body) if length is None else length}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            if length is not None:
                return

    return talk


async def failure(talk: Talk, *, timeout: float = 1.0, max_bytes: int = 100_000) -> SourceError:
    async with served(talk) as url, client() as session:
        with pytest.raises(SourceError) as raised:
            await scrape(session, url, timeout=timeout, max_bytes=max_bytes)
    return raised.value


async def test_an_exposition_is_read_with_kinds_and_labels() -> None:
    async with served(answering(TEXT.encode())) as url, client() as session:
        exposition = await scrape(session, url)
    found = {(reading.name, reading.labels): (reading.value, reading.kind) for reading in exposition.samples}
    assert found[("http_requests_total", (("code", "200"),))] == (12.0, SeriesKind.COUNTER)
    assert found[("http_requests_total", (("b", 'x"y\n'), ("code", "500")))] == (1.0, SeriesKind.COUNTER)
    assert found[("event_loop_lag_seconds", ())] == (0.003, SeriesKind.GAUGE)
    assert found[("http_request_seconds_bucket", (("le", "+Inf"),))] == (4.0, SeriesKind.COUNTER)
    assert found[("http_request_seconds_sum", ())] == (0.5, SeriesKind.COUNTER)
    value, kind = found[("untyped_thing", ())]
    assert math.isnan(value)
    assert kind is SeriesKind.GAUGE
    assert 0 < exposition.seconds < 1


async def test_a_second_scrape_uses_the_same_connection() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(TEXT.encode())(reader, writer)

    async with served(talk) as url, client() as session:
        await scrape(session, url)
        await scrape(session, url)
    assert connections == 1


async def test_a_port_where_nobody_listens_is_told_as_refused() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/metrics"
        async with client() as session:
            with pytest.raises(SourceError) as raised:
                await scrape(session, url)
    assert raised.value.reason == "refused"


async def test_a_name_that_does_not_resolve_is_not_told_as_refused() -> None:
    async with client() as session:
        with pytest.raises(SourceError) as raised:
            await scrape(session, "http://nowhere.invalid/metrics", timeout=5)
    assert raised.value.reason in {"unreachable", "timeout"}


async def test_a_server_that_accepts_and_is_silent_is_told_as_timeout() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    assert (await failure(talk, timeout=0.2)).reason == "timeout"


async def test_a_listener_whose_process_does_not_accept_is_told_as_timeout() -> None:
    # What a stopped process looks like: the kernel takes the connection, nobody answers.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        async with client() as session:
            with pytest.raises(SourceError) as raised:
                await scrape(session, f"http://127.0.0.1:{listener.getsockname()[1]}/metrics", timeout=0.2)
    assert raised.value.reason == "timeout"


async def test_a_body_that_drips_is_told_as_timeout() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(200):
            writer.write(b"#")
            await writer.drain()
            await asyncio.sleep(0.02)

    assert (await failure(talk, timeout=0.3)).reason == "timeout"


async def test_an_error_status_is_told_as_status() -> None:
    assert (await failure(answering(b"no", "503 Service Unavailable"))).reason == "status"


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>It works!</body></html>\n",
        b'{"status": "ok"}\n',
        b"\x00\xff\xfe\x89PNG\n",
        b"",
        b"# nothing but a comment\n",
        b"metric_a 1\nmetric_b 2",  # cut off in the middle of a number perhaps
        b"metric_a not-a-number\n",
        b'metric_a{code="200" 1\n',
        b"metric_a{x=" + b'"' + b"y" * 5000 + b'"} 1\n',
    ],
)
async def test_garbage_is_told_as_garbage(body: bytes) -> None:
    assert (await failure(answering(body))).reason == "garbage"


async def test_a_huge_body_is_given_up_at_the_limit() -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 1_000_000_000:
            writer.write(b"a_metric 1\n" * 1000)
            sent += 11_000
            await writer.drain()

    assert (await failure(talk)).reason == "huge"
    assert sent < 20_000_000


async def test_a_connection_that_is_reset_is_told_as_reset() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        writer.transport.abort()

    assert (await failure(talk)).reason == "reset"


async def test_a_body_that_breaks_off_is_told_as_reset() -> None:
    assert (await failure(answering(b"metric_a 1\n", length=500))).reason == "reset"


async def test_all_targets_are_scraped_whatever_one_of_them_does() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with (
        served(answering(TEXT.encode())) as good,
        served(silent) as hung,
        served(answering(b"?\n")) as bad,
        client() as session,
    ):
        found = await scrape_all(session, {"good": good, "hung": hung, "bad": bad}, timeout=5, deadline=0.5)
    assert isinstance(found["good"], Exposition)
    assert isinstance(found["hung"], SourceError)
    assert found["hung"].reason == "timeout"
    assert isinstance(found["bad"], SourceError)
    assert found["bad"].reason == "garbage"


async def test_no_targets_bring_nothing() -> None:
    async with client() as session:
        assert await scrape_all(session, {}) == {}


@given(st.text(max_size=200))
def test_arbitrary_text_raises_nothing_but_source_errors(text: str) -> None:
    with suppress(SourceError):
        assert read(text + "\n")


def test_the_later_of_two_equal_lines_counts() -> None:
    assert [reading.value for reading in read('a{b="1"} 1\na{b="1"} 2\n')] == [2.0]
