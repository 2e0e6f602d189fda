"""The gateway where no database is: what it must answer all the same."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.api.app import create_app
from warehouse.cache import Cache
from warehouse.database import Warehouse

KEY = "tw_demo_" + "x" * 43


@pytest.fixture
async def door() -> AsyncIterator[httpx.AsyncClient]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        warehouse = Warehouse(f"postgresql://nobody:SECRET@127.0.0.1:{unused.getsockname()[1]}/tonewatch")
        app = create_app(warehouse, Cache(None), b"k" * 32)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            yield client
        await warehouse.close()


async def test_health_is_alive_without_a_database(door: httpx.AsyncClient) -> None:
    assert (await door.get("/health")).status_code == 200


async def test_ready_is_not_ready_without_a_database(door: httpx.AsyncClient) -> None:
    answer = await door.get("/ready")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "SECRET" not in answer.text


async def test_a_beacon_without_a_database_is_to_be_sent_again(door: httpx.AsyncClient) -> None:
    answer = await door.post("/v1/cmcd", content="bl=1", headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "nothing was kept" in answer.json()["error"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dTpw",
        "Bearer tw_demo_short",
        "Bearer ../../x",
        "Bearer tw_DEMO_" + "x" * 43,
    ],
)
async def test_what_is_no_key_is_refused_without_asking_the_database(
    door: httpx.AsyncClient, header: str | None
) -> None:
    headers = {} if header is None else {"authorization": header}
    answer = await door.post("/v1/cmcd", content="bl=1", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "key" in answer.json()["error"]


async def test_metrics_count_requests_and_name_no_strange_path(door: httpx.AsyncClient) -> None:
    await door.get("/v1/cmcd/../../secret-path")
    await door.post("/v1/cmcd", content="bl=1")
    text = (await door.get("/metrics")).text
    assert 'http_requests_total{code="401",route="/v1/cmcd"} 1.0' in text
    assert 'route="other"' in text
    assert "secret-path" not in text
    for name in (
        "event_loop_lag_seconds",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "beacon_lines_total",
    ):
        assert name in text


async def test_no_page_for_people_is_served(door: httpx.AsyncClient) -> None:
    for path in ("/docs", "/redoc"):
        assert (await door.get(path)).status_code == 404


async def test_a_change_without_a_database_is_to_be_sent_again(door: httpx.AsyncClient) -> None:
    answer = await door.post("/v1/changes", json={}, headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 503
    assert "nothing was kept" in answer.json()["error"]
    assert (await door.post("/v1/changes", json={})).status_code == 401
