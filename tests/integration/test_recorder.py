"""The recorder against a real Prefect server that is killed, frozen and brought back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers import prefect_started
from tests.ports import free_port

pytestmark = pytest.mark.integration
BEGUN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class PrefectServer:
    """A Prefect server of the test's own, on SQLite."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = prefect_started(self._folder, self.port)

    def signal(self, number: int) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    server.start()
    yield server
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    # While there is still a server: the interpreter's end would wait minutes for one that is gone.
    EventsWorker.drain_all(timeout=10)
    APILogWorker.drain_all(timeout=10)
    server.kill()


@contextmanager
def client_of(server: PrefectServer) -> Iterator[None]:
    """Prefect's client may have been imported by another test: its settings are told in each test's own context."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.port}/api"}):
        yield


@pytest.fixture
def recorder(server: PrefectServer) -> Iterator[tuple[Any, dict[str, str]]]:
    from flows.detection import show_shift
    from flows.recorder import Recorder
    from tonewatch.records import RunKind

    recorded: dict[str, str] = {}
    recorder = Recorder({RunKind.DETECTION: show_shift}, recorded.__setitem__)
    recorder.start()
    yield recorder, recorded
    recorder.stop(1.0)


async def until(holds: Callable[[], bool], seconds: float) -> float:
    """Wait until it holds; the seconds it took."""
    began = asyncio.get_running_loop().time()
    while not holds():
        took = asyncio.get_running_loop().time() - began
        assert took < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.05)  # the condition is in another process: nothing to await
    return asyncio.get_running_loop().time() - began


def healthy(recorder: Any) -> Callable[[], bool]:
    return lambda: bool(recorder.healthy().result(10))


def shift(name: str) -> Any:
    from tonewatch.records import Run, RunKind

    return Run(name, "demo", RunKind.DETECTION, BEGUN)


def ended(run: Any) -> Any:
    return replace(run, ended=BEGUN + timedelta(seconds=60), outcome="completed", summary={"ticks": 12})


async def artifact_of(flow_run: str) -> str:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run]))
        )
    return "\n".join(str(artifact.data) for artifact in found)


async def parameters_of(flow_run: str) -> dict[str, Any]:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        run = await client.read_flow_run(flow_run)
    assert run.state is not None
    return {**run.parameters, "state": run.state.type.value}


async def test_run_is_shown_while_it_lasts_and_completed_when_it_ends(
    server: PrefectServer, recorder: tuple[Any, dict[str, str]]
) -> None:
    with client_of(server):
        shows, recorded = recorder
        await until(healthy(shows), 90)
        run = shift("live")
        shows.open(run)
        shows.close(ended(run))
        await until(lambda: "live" in recorded, 40)
        assert "| ticks | 12 |" in await artifact_of(recorded["live"])
        assert (await parameters_of(recorded["live"]))["state"] == "COMPLETED"


async def test_frozen_server_holds_nobody_up_and_the_run_is_recorded_later_with_its_true_times(
    server: PrefectServer, recorder: tuple[Any, dict[str, str]]
) -> None:
    with client_of(server):
        shows, recorded = recorder
        await until(healthy(shows), 90)
        server.signal(signal.SIGSTOP)
        try:
            began = asyncio.get_running_loop().time()
            run = shift("frozen")
            shows.open(run)
            shows.close(ended(run))
            shows.record_late([ended(run)])
            assert asyncio.get_running_loop().time() - began < 0.1
            assert not await asyncio.to_thread(shows.healthy().result, 10)
        finally:
            server.signal(signal.SIGCONT)
        await until(healthy(shows), 30)

        def late() -> bool:
            shows.record_late([ended(run)])
            return "frozen" in recorded

        await until(late, 150)
        given = await parameters_of(recorded["frozen"])
        assert given["started"].startswith("2026-11-23T12:00:00")
        assert given["recorded_late"] is True
        assert "recorded later" in await artifact_of(recorded["frozen"])


async def test_server_killed_in_the_middle_of_a_run_loses_no_run(
    server: PrefectServer, recorder: tuple[Any, dict[str, str]]
) -> None:
    with client_of(server):
        shows, recorded = recorder
        await until(healthy(shows), 90)
        run = shift("cut")
        shows.open(run)
        from flows import recorder as module

        await until(lambda: "cut" in module._shown and module._shown["cut"].began.is_set(), 30)
        server.kill()
        shows.close(ended(run))
        await until(lambda: "cut" not in module._shown, 30)
        assert "cut" not in recorded
        server.start()
        await until(healthy(shows), 90)

        def late() -> bool:
            shows.record_late([ended(run)])
            return "cut" in recorded

        await until(late, 150)
        assert (await parameters_of(recorded["cut"]))["ended_at"].startswith("2026-11-23T12:01:00")
