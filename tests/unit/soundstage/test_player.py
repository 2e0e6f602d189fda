from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from soundstage import web
from soundstage.plain import plain_client
from soundstage.plan import RENDITIONS, free_ports
from soundstage.player import REQUEST_TIMEOUT_S, Edge, Player
from soundstage.playlist import Entry, Playlist, render_master

RENDITION = RENDITIONS[0]


class Live:
    """A live channel behind one edge: six segments listed, a new one every two seconds; it can hang or fail."""

    def __init__(self) -> None:
        self.hang = asyncio.Event()
        self.hang.set()
        self.status = 200
        self.answered = 0
        self.frozen_at: float | None = None
        self.target_s = 2

    def playlist(self) -> Playlist:
        newest = int(self.frozen_at or time.time()) // 2
        entries = tuple(Entry(f"{n}.aac", n * 2_000_000, 2.0) for n in range(newest - 6, newest))
        return Playlist(newest - 6, 0, entries, target_duration=self.target_s)

    async def answer(self, request: web.Request) -> web.Response:
        await self.hang.wait()
        self.answered += 1
        if self.status != 200:
            return web.Response(self.status)
        if request.path.endswith("master.m3u8"):
            return web.Response(200, render_master(RENDITIONS).encode())
        if request.path.endswith(".m3u8"):
            return web.Response(200, self.playlist().render().encode())
        return web.Response(200, b"x" * 16_000)


class Scene:
    """Two edges and one player."""

    def __init__(self, player: Player, lives: list[Live], observed: list[tuple[str, str]]) -> None:
        self.player = player
        self.lives = lives
        self.observed = observed

    async def until(self, condition, seconds: float = 8.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self.player.playout.advance(time.monotonic())
                await asyncio.sleep(0.02)


@pytest.fixture
async def scene():
    lives, edges, servers = [Live(), Live()], [], []
    for number, (live, port) in enumerate(zip(lives, free_ports(2), strict=True), 1):
        servers.append(await web.listen(live.answer, port))
        edges.append(Edge(f"edge-{number}", f"http://127.0.0.1:{port}"))
    observed: list[tuple[str, str]] = []
    async with plain_client(limits=httpx.Limits(max_connections=None)) as client:
        player = Player(
            0, "ch1", RENDITION, tuple(edges), client, lambda edge, outcome, _: observed.append((edge, outcome))
        )
        task = asyncio.create_task(player.listen())
        yield Scene(player, lives, observed)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for live in lives:
        live.hang.set()
    for server in servers:
        server.close()


async def test_player_starts_three_segments_behind_the_live_edge(scene: Scene) -> None:
    await scene.until(lambda: scene.player.playout.buffered_s > 5.0)
    latency = scene.player.latency_s()
    assert latency is not None
    assert 5.5 < latency < 8.6
    assert scene.player.playout.startup_s is not None
    assert scene.player.playout.startup_s < 1.5


async def test_player_runs_dry_by_its_own_clock_while_requests_hang(scene: Scene) -> None:
    await scene.until(lambda: scene.player.playout.buffered_s > 5.0)
    at_hand, began = scene.player.playout.buffered_s, time.monotonic()
    for live in scene.lives:
        live.hang.clear()
    await scene.until(lambda: scene.player.playout.starved, seconds=12.0)
    # One segment may have been under way when the edges began to hang.
    assert at_hand - 0.3 <= time.monotonic() - began <= at_hand + 2.3
    for live in scene.lives:
        live.hang.set()
    await scene.until(lambda: scene.player.playout.state == "playing", seconds=12.0)
    assert scene.player.playout.absent_s(time.monotonic()) > 0


async def test_player_takes_another_edge_when_its_own_is_too_slow(scene: Scene) -> None:
    await scene.until(lambda: scene.player.playout.buffered_s > 5.0)
    assert scene.player.edge.name == "edge-1"
    scene.lives[0].hang.clear()
    began = time.monotonic()
    await scene.until(lambda: scene.player.edge.name == "edge-2" and scene.lives[1].answered > 0)
    assert time.monotonic() - began < REQUEST_TIMEOUT_S + 3.0
    assert ("edge-1", "timeout") in scene.observed
    assert scene.player.playout.stalls == 0


async def test_player_takes_another_edge_when_its_own_fails(scene: Scene) -> None:
    await scene.until(lambda: scene.player.playout.buffered_s > 5.0)
    scene.lives[0].status = 502
    await scene.until(lambda: scene.lives[1].answered > 2)
    assert ("edge-1", "502") in scene.observed


async def test_player_jumps_to_the_live_edge_after_a_long_silence(scene: Scene) -> None:
    await scene.until(lambda: scene.player.playout.buffered_s > 5.0)
    before = scene.player.playout.position
    assert before is not None
    for live in scene.lives:
        live.frozen_at = time.time() + 60  # as if a minute had passed: what comes next has left the window
    scene.player.playout.advance(time.monotonic() + 10)
    assert scene.player.playout.starved
    await scene.until(lambda: scene.player.playout.state == "playing")
    position = scene.player.playout.position
    assert position is not None
    assert 45 < position - time.time() < 57, "three segments behind the live edge again"


async def test_beacons_tell_start_up_state_and_what_was_missing(scene: Scene) -> None:
    first = scene.player.beacon()
    assert first is not None
    assert "sta=s" in first
    assert "sn=0" in first
    await scene.until(lambda: scene.player.playout.state == "playing")
    second = scene.player.beacon()
    assert second is not None
    for part in ("e=ps", "sta=p", "msd=", "ltc=", 'cid="ch1"', 'cdn="edge-1"', "bsd=0", "v=2", "sn=1", "br=64"):
        assert part in second.split(",") or any(text.startswith(part) for text in second.split(","))
    assert scene.player.beacon() is None, "nothing is due before the interval is over"
    last = scene.player.beacon(ended=True)
    assert last is not None
    assert "sta=e" in last
    assert "msd=" not in last


async def test_player_leaves_a_drained_edge_at_once_and_keeps_what_it_has(scene: Scene) -> None:
    await scene.until(lambda: scene.player.playout.buffered_s > 5.0)
    scene.lives[0].hang.clear()  # so that a request of the drained edge is under way for long
    await scene.until(lambda: scene.player._limit is not None, seconds=4.0)
    before, began = scene.player.playout.buffered_s, time.monotonic()
    scene.player.steer(frozenset({"edge-1"}))
    assert scene.player.edge.name == "edge-2"
    await scene.until(lambda: scene.lives[1].answered > 0)
    assert time.monotonic() - began < 1.0
    assert scene.player.playout.buffered_s > before - 1.5
    assert scene.player.playout.stalls == 0
    assert ("edge-1", "timeout") not in scene.observed


async def test_player_returns_to_its_own_edge_when_that_is_admitted_again(scene: Scene) -> None:
    scene.player.steer(frozenset({"edge-1"}))
    await scene.until(lambda: scene.lives[1].answered > 2)
    answered = scene.lives[0].answered
    scene.player.steer(frozenset())
    assert scene.player.edge.name == "edge-1"
    await scene.until(lambda: scene.lives[0].answered > answered)


async def test_player_stays_off_a_drained_edge_when_the_other_fails(scene: Scene) -> None:
    scene.player.steer(frozenset({"edge-1"}))
    await scene.until(lambda: scene.lives[1].answered > 1)
    answered = scene.lives[0].answered
    scene.lives[1].status = 502
    await scene.until(lambda: ("edge-2", "502") in scene.observed)
    await asyncio.sleep(1.0)
    assert scene.lives[0].answered == answered


async def test_player_tries_its_own_edge_again_some_time_after_it_failed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soundstage.player.RETURN_AFTER_S", 1.0)
    await scene.until(lambda: scene.player.playout.buffered_s > 5.0)
    scene.lives[0].status = 502
    await scene.until(lambda: scene.player.edge.name == "edge-2")
    scene.lives[0].status = 200
    await scene.until(lambda: scene.player.edge.name == "edge-1")


async def test_player_loads_as_seldom_as_the_playlist_says(scene: Scene) -> None:
    scene.lives[0].target_s = 4
    await scene.until(lambda: scene.player.playout.buffered_s > 5.0)
    assert scene.player._reload_after(changed=True) == 4.0
