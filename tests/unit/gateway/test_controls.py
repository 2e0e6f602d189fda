"""The platform's controls against a platform that keeps the contract of docs/inventory.md, and some that do not."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gateway.platforms.controls import Controls, Versions
from soundstage import web
from tonewatch.errors import OutcomeUnknown, PlatformError

BASIC = "Basic " + base64.b64encode(b"op:pa:ss@word").decode()


@dataclass
class Stage:
    """A platform with one ingest, one versioned component and two edges; `how` says how it treats what is set."""

    input: str = "primary"
    running: str = "2"
    drained: set[str] = field(default_factory=set)
    how: str = "well"
    done: int = 0
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            return self._said(request.path)
        if request.headers.get("authorization") != BASIC:
            return web.Response(401)
        if self.how == "refuses":
            return web.Response(409, b"it is the last edge\n")
        self.done += 1
        answer = self._set(request.path.split("/")[1:]) if self.how != "ignores" else self._said(request.path)
        if self.how == "hangs":
            await asyncio.sleep(60)
        if self.how == "breaks":
            raise ConnectionAbortedError
        if self.how == "garbage":
            return web.Response(200, b"<html>")
        return web.Response(500) if self.how == "fails" else answer

    def _said(self, path: str) -> web.Response:
        if path.startswith("/input"):
            return web.Response(200, f"{self.input}\n".encode())
        if path.startswith("/version"):
            return _json({"running": self.running, "previous": "1", "known": ["1", "2"], "later": 1})
        return _json({"drained": sorted(self.drained)})

    def _set(self, steps: list[str]) -> web.Response:
        match steps:
            case ["input", "primary" | "backup" as name]:
                self.input = name
            case ["version", "1" | "2" as version]:
                self.running = version
            case ["routing", "drain", edge]:
                self.drained.add(f"edge:{edge}")
            case ["routing", "admit", edge]:
                self.drained.discard(f"edge:{edge}")
            case _:
                self.done -= 1
                return web.Response(404, b"there is no such thing\n")
        return self._said("/" + steps[0])


def _json(document: object) -> web.Response:
    return web.Response(200, json.dumps(document).encode(), "application/json")


@asynccontextmanager
async def playing(how: str = "well") -> AsyncIterator[Stage]:
    stage = Stage(how=how)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await web._serve_one(stage.handle, reader, writer)
        except ConnectionAbortedError:
            writer.transport.abort()
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    stage.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield stage
    finally:
        server.close()


@pytest.fixture
async def controls() -> AsyncIterator[Controls]:
    async with Controls("http://op:pa%3Ass%40word@127.0.0.1:9/RPC2", timeout=0.5) as made:
        yield made


async def test_an_input_is_read_and_switched(controls: Controls) -> None:
    async with playing() as stage:
        assert await controls.read_input(f"{stage.url}/input") == "primary"
        await controls.switch_input(f"{stage.url}/input", "backup")
        assert await controls.read_input(f"{stage.url}/input") == "backup"


async def test_versions_are_read_and_one_is_made_to_run(controls: Controls) -> None:
    async with playing() as stage:
        assert await controls.versions(f"{stage.url}/version") == Versions("2", "1", ("1", "2"))
        assert (await controls.run_version(f"{stage.url}/version", "1")).running == "1"


async def test_an_edge_is_drained_and_admitted(controls: Controls) -> None:
    async with playing() as stage:
        url = f"{stage.url}/routing"
        assert await controls.drained(url) == frozenset()
        assert await controls.drain(url, "edge:edge-1") == {"edge:edge-1"}
        assert await controls.drained(url) == {"edge:edge-1"}
        assert await controls.admit(url, "edge:edge-1") == frozenset()


DEEDS = {
    "switch_input": ("input", "backup"),
    "run_version": ("version", "1"),
    "drain": ("routing", "edge:edge-1"),
    "admit": ("routing", "edge:edge-1"),
}


async def deed(controls: Controls, stage: Stage, name: str) -> None:
    place, what = DEEDS[name]
    await getattr(controls, name)(f"{stage.url}/{place}", what)


@pytest.mark.parametrize("name", DEEDS)
async def test_a_refused_deed_is_known_not_to_be_done(controls: Controls, name: str) -> None:
    async with playing("refuses") as stage:
        with pytest.raises(PlatformError, match="409: it is the last edge") as raised:
            await deed(controls, stage, name)
    assert not isinstance(raised.value, OutcomeUnknown)


@pytest.mark.parametrize("how", ["hangs", "breaks", "fails"])
@pytest.mark.parametrize("name", DEEDS)
async def test_a_deed_that_breaks_off_is_unknown_and_is_done_once(controls: Controls, name: str, how: str) -> None:
    async with playing(how) as stage:
        with pytest.raises(OutcomeUnknown):
            await deed(controls, stage, name)
        async with asyncio.timeout(10):
            while not stage.done:  # on a busy machine our time is up before the other side has read the request
                await asyncio.sleep(0.01)
        assert stage.done == 1  # no silent second try


@pytest.mark.parametrize("how", ["garbage", "ignores"])
@pytest.mark.parametrize("name", ["run_version", "drain"])
async def test_an_answer_that_does_not_tell_of_the_deed_is_unknown(controls: Controls, name: str, how: str) -> None:
    async with playing(how) as stage:
        with pytest.raises(OutcomeUnknown):
            await deed(controls, stage, name)


@pytest.mark.parametrize("name", DEEDS)
async def test_a_platform_that_is_away_has_done_nothing(controls: Controls, name: str) -> None:
    async with playing() as stage:
        pass
    with pytest.raises(PlatformError) as raised:
        await deed(controls, stage, name)
    assert not isinstance(raised.value, OutcomeUnknown)


@pytest.mark.parametrize("what", ["read_input", "versions", "drained"])
@pytest.mark.parametrize("how", ["away", "strange"])
async def test_a_question_that_is_not_answered_is_no_unknown_outcome(controls: Controls, what: str, how: str) -> None:
    async with playing() as stage:
        url = stage.url
        if how == "strange":
            place = {"read_input": "version", "versions": "input", "drained": "input"}[what]
            with pytest.raises(PlatformError) as raised:
                await getattr(controls, what)(f"{url}/{place}")
    if how == "away":
        with pytest.raises(PlatformError) as raised:
            await getattr(controls, what)(url)
    assert not isinstance(raised.value, OutcomeUnknown)


@pytest.mark.parametrize("value", ["", "..", "a/b", "a b", "x?y", "../drain", "a\n", "%2e", "$(reboot)"])
async def test_a_value_that_would_be_another_address_is_never_sent(controls: Controls, value: str) -> None:
    async with playing() as stage:
        for name, place in (("switch_input", "input"), ("run_version", "version")):
            with pytest.raises(PlatformError, match="no name"):
                await getattr(controls, name)(f"{stage.url}/{place}", value)
        with pytest.raises(PlatformError):
            await controls.drain(f"{stage.url}/routing", f"edge:{value}")
        assert stage.done == 0


async def test_only_an_edge_is_drained(controls: Controls) -> None:
    async with playing() as stage:
        with pytest.raises(PlatformError, match="no edge"):
            await controls.drain(f"{stage.url}/routing", "component:origin")


async def test_an_unknown_value_is_refused(controls: Controls) -> None:
    async with playing() as stage:
        with pytest.raises(PlatformError, match="404"):
            await controls.switch_input(f"{stage.url}/input", "third")


async def test_wrong_credentials_are_refused_with_a_hint_and_not_told() -> None:
    async with playing() as stage, Controls("http://op:SECRET@127.0.0.1:9/RPC2") as stranger:
        with pytest.raises(PlatformError, match="look at the user and password") as raised:
            await stranger.switch_input(f"{stage.url}/input", "backup")
    assert "SECRET" not in str(raised.value)
    assert stage.input == "primary"


async def test_credentials_go_to_the_supervisors_host_alone(controls: Controls) -> None:
    async with playing() as stage:
        elsewhere = stage.url.replace("127.0.0.1", "localhost")
        with pytest.raises(PlatformError, match="another host"):
            await controls.switch_input(f"{elsewhere}/input", "backup")
        assert stage.done == 0
