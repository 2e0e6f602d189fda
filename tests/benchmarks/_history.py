"""What Prefect costs: CPU of its server and of the recorder per shift, and the history that its database keeps."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from console.stack.parts import is_well
from console.stack.postgres import EmbeddedPostgres
from flows.detection import show_shift
from flows.recorder import Recorder
from tests.ports import free_port
from tonewatch.clock import SYSTEM
from tonewatch.records import Run, RunKind
from tonewatch.settings import load_profile
from warehouse.migrate import create_database, create_role

IDLE_SECONDS = 120.0
#: Shifts recorded before it counts.
WARMING = 5
#: A shift that is really held open for so long, to see whether an open run writes while it waits.
HELD_SECONDS = 60.0


async def measure(server: EmbeddedPostgres, folder: Path, shifts: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Record `shifts` shifts in a Prefect server on PostgreSQL, set up as the stack does; extrapolate to a day."""
    profile = load_profile("platform")
    per_day = 86_400 / profile.shift_seconds
    ticks = profile.shift_seconds / profile.tick_seconds
    word = secrets.token_urlsafe()
    create_role(server.url("postgres"), "prefect", word)
    create_database(server.url("postgres"), "prefect", owner="prefect")
    port = free_port()
    url = server.url("prefect", "prefect", word).replace("postgresql://", "postgresql+asyncpg://", 1)
    process = _start(folder, port, url)
    api = f"http://127.0.0.1:{port}/api"
    try:
        await _until(lambda: is_well(f"{api}/ready"), 120)
        say("Prefect is ready")
        database = _Size(server.url("prefect"))
        idle = await _idle(process.pid, database)
        # The recorder's calls run in the context in which they were made.
        with temporary_settings({PREFECT_API_URL: api}):
            recorder = _Recorder(ticks)
            await recorder.record(WARMING)  # flow, tables and pages that exist once
            before, spent_before = database.bytes(), cpu(process.pid)
            for done in range(0, shifts, 10):
                await recorder.record(min(10, shifts - done))
                say(f"{min(done + 10, shifts)} of {shifts} shifts recorded")
            await asyncio.sleep(5.0)  # events are written in batches, a moment later
            after, spent = database.bytes(), cpu(process.pid) - spent_before
            took = recorder.seconds
            held = await recorder.hold(HELD_SECONDS, database)
            EventsWorker.drain_all(timeout=10)
            APILogWorker.drain_all(timeout=10)
        tables = database.tables()
    finally:
        process.terminate()
        process.wait(30)
    server_cpu = max(0.0, spent - idle["server_cpu_s_per_s"] * took) / shifts
    busy = (server_cpu + recorder.cpu / (shifts + WARMING)) / ticks
    per_tick = busy + idle["server_cpu_s_per_s"] * profile.tick_seconds
    return {
        "shifts_recorded": shifts,
        "bytes_per_shift": round((after - before) / shifts),
        "idle_bytes_per_hour": idle["bytes_per_hour"],
        "bytes_while_a_shift_was_open": held,
        "run_history_mb_per_day": round(((after - before) / shifts * per_day + 24 * idle["bytes_per_hour"]) / 1e6, 2),
        "server_cpu_s_per_shift": round(server_cpu, 3),
        "server_idle_cpu_s_per_s": round(idle["server_cpu_s_per_s"], 4),
        "recorder_cpu_s_per_shift": round(recorder.cpu / (shifts + WARMING), 3),
        "cpu_s_per_tick": round(per_tick, 4),
        "cpu_s_per_tick_without_idle": round(busy, 4),
        "largest_tables": tables,
    }


def _start(folder: Path, port: int, url: str) -> subprocess.Popen[bytes]:
    home = folder / "prefect"
    home.mkdir()
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_API_DATABASE_CONNECTION_URL": url,
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    words = ["--factory", "prefect.server.api.server:create_app", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", *words, "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home)


async def _idle(pid: int, database: _Size) -> dict[str, float]:
    await asyncio.sleep(10.0)  # what it does once after its start
    before, spent_before = database.bytes(), cpu(pid)
    await asyncio.sleep(IDLE_SECONDS)
    grown, spent = database.bytes() - before, cpu(pid) - spent_before
    return {"bytes_per_hour": round(grown * 3600 / IDLE_SECONDS), "server_cpu_s_per_s": spent / IDLE_SECONDS}


def cpu(pid: int) -> float:
    """Seconds of CPU that the process has used, its threads and its children that have ended included."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it has just ended: its parent has its seconds
    return sum(map(int, told.rpartition(")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")


class _Size:
    """How much there lies in Prefect's database, after dead rows were given back for use."""

    def __init__(self, url: str) -> None:
        self._url = url

    def bytes(self) -> int:
        with psycopg.connect(self._url, autocommit=True) as db:
            db.execute("vacuum")
            found = db.execute(
                "select sum(pg_total_relation_size(oid)) from pg_class"
                " where relkind in ('r', 'm') and relnamespace = 'public'::regnamespace"
            )
            (size,) = found.fetchone() or (0,)
        return int(size)

    def tables(self) -> dict[str, int]:
        """The five largest tables of Prefect."""
        query = """select relname, pg_total_relation_size(oid) from pg_class
            where relkind = 'r' and relnamespace = 'public'::regnamespace order by 2 desc limit 6"""
        with psycopg.connect(self._url, autocommit=True) as db:
            return {str(name): int(size) for name, size in db.execute(query).fetchall()}


class _Recorder:
    """The watcher's recorder, with shifts that begin and end at once."""

    def __init__(self, ticks: float) -> None:
        self._ticks = ticks
        self._recorded: set[str] = set()
        self._number = 0
        self.cpu = self.seconds = 0.0
        self._recorder = Recorder({RunKind.DETECTION: show_shift}, lambda run, _: self._recorded.add(run))
        self._recorder.start()

    async def record(self, shifts: int) -> None:
        """Show so many shifts, one after the other."""
        began = time.monotonic()
        for _ in range(shifts):
            cpu = time.process_time()
            await self._one(0.0)
            self.cpu += time.process_time() - cpu
        self.seconds = self.seconds + time.monotonic() - began if self._number > WARMING else 0.0

    async def hold(self, seconds: float, database: _Size) -> int:
        """What the database grows while one shift is open for so long."""
        run = self._open()
        await asyncio.sleep(5.0)
        before = database.bytes()
        await asyncio.sleep(seconds)
        grown = database.bytes() - before
        await self._close(run)
        return grown

    async def _one(self, seconds: float) -> None:
        run = self._open()
        await asyncio.sleep(seconds)
        await self._close(run)

    def _open(self) -> Run:
        self._number += 1
        run = Run(f"shift-{self._number}", "bench", RunKind.DETECTION, SYSTEM.now())
        self._recorder.open(run)
        return run

    async def _close(self, run: Run) -> None:
        figures = {"ticks": int(self._ticks), "samples": 200_000, "findings": 0, "starved_s": 0}
        ended = replace(run, ended=run.started + timedelta(minutes=5), outcome="completed", summary=figures)
        self._recorder.close(ended)

        async def there() -> bool:
            return run.id in self._recorded

        await _until(there, 60)


async def _until(holds: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not await holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"Prefect: not within {seconds:.0f} s ({threading.active_count()} threads)")
        await asyncio.sleep(0.05)  # the condition is in another process or thread: nothing to await
