"""What the gateway shows of itself at /metrics."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.answers import READ, route_of

_STEP_S: Final = 0.1
_WINDOW_S: Final = 1.0
_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Instruments:
    """The gateway's own numbers, in a registry of their own so that two apps in one process do not collide."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("http_requests", "Requests answered", ["route", "code"], registry=self.registry)
        self.seconds = Histogram(
            "http_request_seconds",
            "Seconds from request to answer",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.lines = Counter("beacon_lines", "Beacon lines read", ["outcome"], registry=self.registry)
        self.samples = Counter("written_samples", "Samples of remote writes", ["outcome"], registry=self.registry)
        self._lag = Gauge(
            "event_loop_lag_seconds", "Worst lateness of the loop in the last second", registry=self.registry
        )
        self._lags: deque[tuple[float, float]] = deque()
        self._lag.set_function(self._worst)
        ProcessCollector(registry=self.registry)

    def exposition(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)

    async def watch_loop(self) -> None:
        """Measure the loop's lateness until cancelled."""
        while True:
            due = time.monotonic() + _STEP_S
            await asyncio.sleep(_STEP_S)
            self._lags.append((due, time.monotonic() - due))
            self._forget()

    def _worst(self) -> float:
        self._forget()
        return max((lag for _, lag in self._lags), default=0.0)

    def _forget(self) -> None:
        oldest = time.monotonic() - _WINDOW_S - _STEP_S
        while self._lags and self._lags[0][0] < oldest:
            self._lags.popleft()


class Measured:
    """ASGI middleware: counts and times each answer by its route."""

    def __init__(self, app: ASGIApp, instruments: Instruments) -> None:
        self._app = app
        self._instruments = instruments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, code = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                scope[READ] = True
            return message

        try:
            await self._app(scope, received, watched)
        finally:
            route = route_of(scope)
            self._instruments.requests.labels(route, str(code)).inc()
            self._instruments.seconds.labels(route).observe(time.perf_counter() - started)
