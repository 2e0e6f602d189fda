from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from soundstage import web
from soundstage.beacons import KEPT_LINES, Sender, Token, line
from soundstage.plain import plain_client
from soundstage.plan import free_ports
from soundstage.process import Log


class Door:
    """A gateway's door that takes beacons, or does not."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b"{}"
        self.batches: list[list[str]] = []
        self.keys: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("authorization", ""))
        if self.status == 200:
            self.batches.append(request.body.decode().split("\n"))
        return web.Response(self.status, self.body, "application/json")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@contextlib.asynccontextmanager
async def sending(door: Door, tmp_path: Path, registry: CollectorRegistry, key_file: Path | None):
    (port,) = free_ports(1)
    server = await web.listen(door.answer, port)
    sender = Sender(f"http://127.0.0.1:{port}/v1/cmcd", key_file, Log(tmp_path / "log.jsonl", "players"), registry)
    async with plain_client() as client:
        yield sender, client
    server.close()


def value(registry: CollectorRegistry, name: str) -> float:
    found = registry.get_sample_value(name)
    assert found is not None
    return found


def test_line_is_sorted_and_quotes_only_texts() -> None:
    text = line({"v": 2, "sta": Token("p"), "sid": 'a"b', "bl": 4000, "cid": "ch1"})
    assert text == 'bl=4000,cid="ch1",sid="a\\"b",sta=p,v=2'


async def test_lines_wait_for_the_key_and_go_out_with_it(tmp_path, registry) -> None:
    door, key_file = Door(), tmp_path / "key"
    async with sending(door, tmp_path, registry, key_file) as (sender, client):
        sender.put("v=2")
        assert not await sender._send_batch(client)
        key_file.write_text("tw_demo_secret\n")
        assert await sender._send_batch(client)
    assert door.batches == [["v=2"]]
    assert door.keys == ["Bearer tw_demo_secret"]
    assert value(registry, "player_beacons_sent_total") == 1


@pytest.mark.parametrize("status", [401, 500, 503, 429])
async def test_lines_that_were_not_taken_are_sent_again(status, tmp_path, registry) -> None:
    door = Door()
    door.status = status
    async with sending(door, tmp_path, registry, None) as (sender, client):
        sender.put("sn=0")
        assert not await sender._send_batch(client)
        sender.put("sn=1")
        door.status = 200
        assert await sender._send_batch(client)
    assert door.batches == [["sn=0", "sn=1"]]


async def test_door_that_is_away_keeps_the_newest_lines(tmp_path, registry) -> None:
    (port,) = free_ports(1)
    sender = Sender(f"http://127.0.0.1:{port}/", None, Log(tmp_path / "log.jsonl", "players"), registry)
    for number in range(KEPT_LINES + 7):
        sender.put(f"sn={number}")
    async with plain_client() as client:
        assert not await sender._send_batch(client)
    assert value(registry, "player_beacons_waiting") == KEPT_LINES
    assert value(registry, "player_beacons_lost_total") == 7


async def test_batches_stay_below_the_doors_limits(tmp_path, registry) -> None:
    door = Door()
    async with sending(door, tmp_path, registry, None) as (sender, client):
        for number in range(1_000):
            sender.put(f"sn={number}," + "x" * 300)
        while sum(map(len, door.batches)) < 1_000:
            assert await sender._send_batch(client)
    assert all(len("\n".join(batch)) <= 60_000 for batch in door.batches)
    assert [text.partition(",")[0] for batch in door.batches for text in batch] == [f"sn={n}" for n in range(1_000)]


async def test_refused_lines_are_counted_and_not_sent_again(tmp_path, registry) -> None:
    door = Door()
    door.body = json.dumps({"accepted": 1, "refused": [{"line": 1, "reason": "negative"}]}).encode()
    async with sending(door, tmp_path, registry, None) as (sender, client):
        sender.put("a")
        sender.put("b")
        assert await sender._send_batch(client)
    assert value(registry, "player_beacons_lost_total") == 1
    assert value(registry, "player_beacons_sent_total") == 1
    assert value(registry, "player_beacons_waiting") == 0
