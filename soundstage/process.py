"""What every process of the platform shares: /metrics, JSON log lines, its event loop's lag, an end with its parent."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import ctypes
import hmac
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from soundstage import web
from soundstage.configuration import Configuration
from soundstage.errors import Malformed, Refused
from soundstage.plan import Part, Plan

LAG_STEP_S = 0.25
PARENT_CHECK_S = 1.0
_PR_SET_PDEATHSIG = 1
_RANK = {"info": 0, "warning": 1, "error": 2}


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to send this process `signal_number` when its parent ends, even by kill -9 (Linux prctl)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)


class Log:
    """JSON lines, one event each. A repeated event is written once a second, with the number of those left out.

    Events below `level` (info, warning, error) are not written.
    """

    def __init__(self, path: Path, component: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", buffering=1)
        self._component = component
        self.level = "info"
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def info(self, event: str, **details: Any) -> None:
        """Something that happens in health too."""
        self._write("info", event, details)

    def warning(self, event: str, **details: Any) -> None:
        """Something an operator may want to know."""
        self._write("warning", event, details)

    def alarm(self, event: str, **details: Any) -> None:
        """Something that costs sound."""
        self._write("error", event, details)

    def _write(self, level: str, event: str, details: dict[str, Any]) -> None:
        if _RANK[level] < _RANK[self.level]:
            return
        now = time.monotonic()
        if now - self._last.get(event, -1.0e9) < 1.0:
            self._left_out[event] = self._left_out.get(event, 0) + 1
            return
        self._last[event] = now
        left_out = self._left_out.pop(event, 0)
        line = {"time": datetime.now(UTC).isoformat(), "level": level, "component": self._component, "event": event}
        repeated = {"left_out": left_out} if left_out else {}
        self._file.write(json.dumps({**line, **details, **repeated}, default=str) + "\n")


class Process:
    """One process of the platform. A kind of process overrides `work` and, where it serves, `respond`."""

    def __init__(self, plan: Plan, part: Part) -> None:
        self.plan = plan
        self.part = part
        self.registry = CollectorRegistry()
        self.log = Log(plan.log_path(part.name), part.entity)
        self._lags: deque[float] = deque(maxlen=round(1.0 / LAG_STEP_S))
        ProcessCollector(registry=self.registry)
        lag = Gauge("event_loop_lag_seconds", "Worst wake-up delay in the last second", registry=self.registry)
        lag.set_function(lambda: max(self._lags, default=0.0))
        self.configuration: Configuration | None = None
        if part.stage:
            self.configuration = Configuration(plan.configuration_path(part.name), part.stage)
            version = Gauge("configuration_version", "The version that runs", registry=self.registry)
            version.set_function(lambda: int(self.configuration.running) if self.configuration else 0)
            self.log.level = str(self.configuration.values["log_level"])

    async def work(self) -> None:
        """What the process is for; runs until it is cancelled."""
        raise NotImplementedError

    async def run_until_cancelled(self) -> None:
        """Wait for the end: for processes whose whole work is to answer."""
        await asyncio.Event().wait()

    async def respond(self, request: web.Request) -> web.Response:
        """Answer what is neither /metrics nor /health."""
        return web.Response(404, b"not here\n")

    def ready(self) -> bool:
        """Whether /health answers 200."""
        return True

    async def health(self) -> web.Response:
        """The answer to /health."""
        return web.Response(200, b"ok\n") if self.ready() else web.Response(503, b"not ready\n")

    def allowed(self, request: web.Request) -> bool:
        """Whether a request carries the supervisor's credentials (HTTP Basic), which control calls need."""
        expected = "Basic " + base64.b64encode(f"{self.plan.user}:{self.plan.password}".encode()).decode()
        return hmac.compare_digest(request.headers.get("authorization", "").encode(), expected.encode())

    async def run(self) -> None:
        """Serve and work until told to end."""
        await web.listen(self._answer, self.part.http_port)
        tasks = [asyncio.create_task(step) for step in (self.work(), self._watch_lag(), self._watch_parent())]
        self.log.info("started", pid=os.getpid())
        try:
            for done in asyncio.as_completed(tasks):
                await done
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, request: web.Request) -> web.Response:
        if request.path == "/metrics":
            return web.Response(200, generate_latest(self.registry), CONTENT_TYPE_LATEST)
        if request.path == "/health":
            return await self.health()
        try:
            if self.configuration and (request.path == "/version" or request.path.startswith("/version/")):
                return self._versions(self.configuration, request)
            return await self.respond(request)
        except Refused as refused:
            return web.Response(refused.status, f"{refused}\n".encode())
        except Malformed as malformed:
            return web.Response(400, f"{malformed}\n".encode())

    def setting(self, name: str) -> float:
        """A number of the configuration that runs; KeyError if the component has none of that name."""
        return float(self.configuration.values[name]) if self.configuration else 0.0

    def configured(self) -> None:
        """Take up what does not take effect by itself, after another version was made to run."""

    def demand_credentials(self, request: web.Request) -> None:
        """Raise Refused (401) unless the request is `allowed`."""
        if not self.allowed(request):
            raise Refused(401, "the supervisor's user and password are needed")

    def _versions(self, configuration: Configuration, request: web.Request) -> web.Response:
        """GET /version; PUT /version with values adds one; POST /version/NAME lets one run."""
        name = request.path.removeprefix("/version").removeprefix("/")
        made: dict[str, str] = {}
        if request.method == "PUT" and not name:
            self.demand_credentials(request)
            made = {"made": configuration.make(request.json())}
        elif request.method == "POST" and name:
            self.demand_credentials(request)
            before = configuration.running
            configuration.run(name)
            self.log.level = "info"
            self.log.info("configuration_switched", before=before, after=name, values=configuration.values)
            self.log.level = str(configuration.values["log_level"])
            self.configured()
        elif request.method != "GET" or name:
            raise Refused(404, "GET /version, PUT /version or POST /version/NAME")
        return web.json_answer(configuration.told() | made)

    async def _watch_lag(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LAG_STEP_S)
            self._lags.append(max(0.0, time.monotonic() - before - LAG_STEP_S))

    async def _watch_parent(self) -> None:
        # The kernel's parent-death signal is lost when the parent ends before prctl is called; this is not.
        parent = os.getppid()
        while os.getppid() == parent:  # noqa: ASYNC110 - another process's end sets no event of ours
            await asyncio.sleep(PARENT_CHECK_S)
        self.log.warning("parent_gone")
        os.kill(os.getpid(), signal.SIGTERM)


async def _until_told(process: Process) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(process.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        process.log.info("stopped")


def start(make: Callable[[Plan, Part], Process]) -> None:
    """Entry point of every process module: `--plan FILE --name PROCESS`."""
    parser = argparse.ArgumentParser(description="One process of the soundstage; started by its supervisor.")
    parser.add_argument("--plan", type=Path, required=True, help="the plan that `run` wrote")
    parser.add_argument("--name", required=True, help="which process of the plan to be")
    arguments = parser.parse_args()
    die_with_parent(signal.SIGKILL)
    disable_created_metrics()  # type: ignore[no-untyped-call]
    plan = Plan.load(arguments.plan)
    process = make(plan, plan.part(arguments.name))
    try:
        asyncio.run(_until_told(process))
    except OSError as error:
        process.log.alarm("failed", reason=str(error))
        sys.exit(1)
    except BaseException as error:
        with contextlib.suppress(OSError):
            process.log.alarm("crashed", reason=repr(error))
        raise
