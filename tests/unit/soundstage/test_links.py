from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from soundstage import framing, web
from soundstage.errors import Malformed
from soundstage.links import Link, Toxics
from soundstage.plain import plain_client
from soundstage.plan import free_ports

BODY = b"x" * 40_000


async def answer(request: web.Request) -> web.Response:
    return web.Response(200, BODY)


@pytest.fixture
async def way() -> AsyncIterator[tuple[Link, httpx.AsyncClient]]:
    """A link to a small origin, and a client that goes through it."""
    origin, port = free_ports(2)
    link = Link(origin, random.Random(1))
    servers = [await web.listen(answer, origin), await framing.accept(link.carry, port)]
    async with plain_client(base_url=f"http://127.0.0.1:{port}", timeout=5.0) as client:
        yield link, client
    for server in servers:
        server.close()
        await server.wait_closed()


async def seconds(client: httpx.AsyncClient) -> float:
    began = time.monotonic()
    assert (await client.get("/a")).content == BODY
    return time.monotonic() - began


async def test_link_carries_what_it_is_given(way: tuple[Link, httpx.AsyncClient]) -> None:
    _, client = way
    assert await seconds(client) < 0.4
    assert await seconds(client) < 0.4


async def test_latency_is_added_to_each_request_of_a_connection_that_is_open_and_taken_away(
    way: tuple[Link, httpx.AsyncClient],
) -> None:
    link, client = way
    await seconds(client)
    link.toxics = Toxics(latency=0.5)
    assert 0.5 <= await seconds(client) < 0.9
    assert 0.5 <= await seconds(client) < 0.9
    link.toxics = Toxics()
    assert await seconds(client) < 0.4


async def test_bandwidth_bounds_the_answers(way: tuple[Link, httpx.AsyncClient]) -> None:
    link, client = way
    link.toxics = Toxics(bandwidth=80_000)
    assert 0.45 <= await seconds(client) < 0.9


async def test_resets_break_their_share_of_connections(way: tuple[Link, httpx.AsyncClient]) -> None:
    link, client = way
    await seconds(client)
    link.toxics = Toxics(resets=1.0)
    with pytest.raises(httpx.TransportError):
        await client.get("/a")
    link.toxics = Toxics(resets=0.5)
    broken = 0
    for _ in range(40):
        try:
            await client.get("/a", headers={"connection": "close"})
        except httpx.TransportError:
            broken += 1
    assert 8 < broken < 32


async def test_origin_that_is_away_breaks_the_connection_off() -> None:
    nowhere, port = free_ports(2)
    server = await framing.accept(Link(nowhere, random.Random(1)).carry, port)
    async with plain_client(timeout=5.0) as client:
        with pytest.raises(httpx.TransportError):
            await asyncio.wait_for(client.get(f"http://127.0.0.1:{port}/a"), 2.0)
    server.close()


@pytest.mark.parametrize(
    "values", [None, {"lag": 1}, {"latency": -1}, {"latency": "1"}, {"resets": 1.5}, {"latency": True}]
)
def test_toxics_that_cannot_be_are_refused(values: object) -> None:
    with pytest.raises(Malformed):
        Toxics.of(values)


def test_toxics_left_out_are_none() -> None:
    assert Toxics.of({}) == Toxics()
    assert Toxics.of({"latency": 1.5, "bandwidth": None}) == Toxics(latency=1.5)
