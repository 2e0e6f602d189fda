"""The gateway's routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from gateway.api.door import CHANGE_TYPES, Door, Limits, refused
from gateway.api.instruments import Instruments, Measured
from gateway.api.intake import WRITE_TYPES, Intake
from gateway.remote_write import Format
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import TonewatchError, UnknownTenant, WarehouseAway
from warehouse.cache import Cache
from warehouse.database import Warehouse

ROUTES: Final = ("/v1/cmcd", "/v1/changes", "/v1/live", "/api/v1/write", "/health", "/ready", "/metrics")
_AGAIN_S: Final = "2"
_READY_S: Final = 3.0

log = structlog.get_logger("gateway")


def create_app(
    warehouse: Warehouse, cache: Cache, root_key: bytes, *, clock: Clock = SYSTEM, limits: Limits | None = None
) -> FastAPI:
    """The gateway over `warehouse` and `cache`, which the caller closes; `root_key` makes the pseudonyms."""
    instruments = Instruments()
    app = FastAPI(title="Tonewatch gateway", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan)
    app.state.instruments = instruments
    app.add_middleware(Measured, instruments=instruments, known=_route)
    _answer_errors(app)
    limits = limits or Limits()
    door = Door(warehouse, cache, root_key, clock, limits)
    _add_beacons(app, door, cache, instruments)
    _add_changes(app, door)
    _add_writes(app, door, Intake(warehouse, clock, limits), limits, instruments)
    _add_health(app, warehouse, instruments)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    watching = asyncio.create_task(app.state.instruments.watch_loop(), name="loop-lag")
    try:
        yield
    finally:
        watching.cancel()


def _route(path: str) -> str:
    # Any other path is a stranger's text: as a label it would grow without end.
    return path if path in ROUTES else "other"


def _add_beacons(app: FastAPI, door: Door, cache: Cache, instruments: Instruments) -> None:
    @app.post("/v1/cmcd")
    async def cmcd(request: Request) -> Response:
        tenant = await door.admit(request, "beacons")
        taken = await door.take(tenant, await door.body(request))
        instruments.lines.labels("accepted").inc(taken.accepted)
        instruments.lines.labels("refused").inc(len(taken.refused))
        if taken.refused:
            reasons = sorted({reason for _, reason in taken.refused})
            log.warning("beacon lines refused", tenant=tenant, lines=len(taken.refused), reasons=reasons[:5])
        refused = [{"line": number, "reason": reason} for number, reason in taken.refused]
        content = {"accepted": taken.accepted, "refused": refused}
        return JSONResponse(content, status_code=200 if taken.accepted else 400)

    @app.get("/v1/live")
    async def live(request: Request) -> Response:
        tenant = await door.admit(request, "viewer")
        picture = await cache.live(tenant)
        if picture is None:
            return _problem(404, "there is no live picture: the watcher or Redis is away")
        return JSONResponse(picture)


def _add_changes(app: FastAPI, door: Door) -> None:
    @app.post("/v1/changes")
    async def changes(request: Request) -> Response:
        tenant = await door.admit(request, "changes")
        taken = await door.take_changes(tenant, await door.body(request, CHANGE_TYPES))
        if not taken.refused:
            return JSONResponse({"accepted": taken.accepted})
        log.warning("changes refused", tenant=tenant, changes=len(taken.refused))
        refused = [{"change": number, "reason": reason} for number, reason in taken.refused]
        return JSONResponse({"accepted": 0, "refused": refused}, status_code=400)


def _add_writes(app: FastAPI, door: Door, intake: Intake, limits: Limits, instruments: Instruments) -> None:
    @app.post("/api/v1/write")  # where Prometheus' own receiver has it
    async def write(request: Request) -> Response:
        tenant = await door.admit(request, "metrics")
        form = _form(request.headers.get("content-type", ""))
        body = await door.body(request, WRITE_TYPES, encoding="snappy", most=limits.write_bytes)
        received = await intake.take(tenant, body, form)
        left_out = sum(received.refused.values())
        for what, samples in (("kept", received.kept), ("void", received.void), ("refused", left_out)):
            instruments.samples.labels(what).inc(samples)
        headers = {
            "x-prometheus-remote-write-samples-written": str(received.kept + received.void),
            "x-prometheus-remote-write-histograms-written": "0",
            "x-prometheus-remote-write-exemplars-written": "0",
        }
        if not received.refused:
            return Response(status_code=204, headers=headers)
        reasons = dict(sorted(received.refused.items(), key=lambda each: -each[1])[:10])
        log.warning("samples refused", tenant=tenant, reasons=reasons)
        # What is good is kept; 400 makes the sender say so in its log, and not send the rest again and again.
        told = {"error": "some samples were refused, the others are kept", "refused": reasons}
        return JSONResponse(told, status_code=400, headers=headers)


def _form(content_type: str) -> Format:
    """Raises HTTPException 415: a message that is neither of the two."""
    parameters = [part.partition("=") for part in content_type.split(";")[1:]]
    told = next((value.strip().strip('"') for name, _, value in parameters if name.strip().lower() == "proto"), "")
    try:
        return Format(told) if told else Format.V1
    except ValueError:
        raise refused(415, f"proto must be {' or '.join(Format)}") from None


def _add_health(app: FastAPI, warehouse: Warehouse, instruments: Instruments) -> None:
    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"status": "alive"})

    @app.get("/ready")
    async def ready() -> Response:
        # No tenant has this name; what counts is that a transaction begins.
        try:
            async with asyncio.timeout(_READY_S), warehouse.as_tenant("ready"):
                pass
        except TimeoutError:
            raise WarehouseAway(f"PostgreSQL did not answer within {_READY_S} s") from None
        return JSONResponse({"status": "ready"})

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(instruments.exposition(), media_type=CONTENT_TYPE_LATEST)


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        # Closed where a body may still be coming: read to its end, an endless one would hold the line for ever.
        closing = {} if error.status_code == 429 else {"connection": "close"}
        return _problem(error.status_code, error.detail, **(error.headers or {}), **closing)

    @app.exception_handler(WarehouseAway)
    async def away(request: Request, error: WarehouseAway) -> Response:
        log.error("warehouse away", route=_route(request.url.path), error=str(error))
        return _problem(503, "nothing was kept: the warehouse is away, send it again", **{"retry-after": _AGAIN_S})

    @app.exception_handler(UnknownTenant)
    async def unknown(request: Request, error: UnknownTenant) -> Response:
        return _problem(401, "the API key is wrong", **{"www-authenticate": "Bearer"})

    @app.exception_handler(TonewatchError)
    async def failed(request: Request, error: TonewatchError) -> Response:
        log.error("request failed", route=_route(request.url.path), error=str(error))
        return _problem(500, "nothing was kept: the gateway failed, its log says why")


def _problem(status: int, reason: str, **headers: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status_code=status, headers=headers)
