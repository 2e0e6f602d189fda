"""How the door answers when it is not with success: one shape, `{"error": "what to do"}`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from tonewatch.errors import (
    ActRefused,
    PayloadError,
    PayloadTooLarge,
    TonewatchError,
    UnknownIncident,
    UnknownTenant,
    WarehouseAway,
)
from warehouse.rows import document

_AGAIN_S: Final = "2"
#: Set in a request's scope once its body has come to its end (gateway/api/instruments.py).
READ: Final = "tonewatch.read"
_SMALL: Final = 64 * 1024
_PATIENCE_S: Final = 1.0

log = structlog.get_logger("gateway")


def refused(status: int, reason: str, **headers: str) -> HTTPException:
    """An answer other than success; `reason` may be shown to whoever asked."""
    return HTTPException(status, reason, {name.replace("_", "-"): value for name, value in headers.items()})


def problem(status: int, reason: str, **headers: str) -> JSONResponse:
    """The same as an answer, for where nothing is raised."""
    return JSONResponse({"error": reason}, status_code=status, headers=headers)


def told(content: Any) -> Response:
    """Records, times and all as JSON."""
    return Response(document(content), media_type="application/json")


def route_of(scope: Scope) -> str:
    """The pattern of the route that was found; "other" for a path that none has.

    A stranger's text would, as a label, grow without end.
    """
    return str(getattr(scope.get("route"), "path", "other"))


def answer_errors(app: FastAPI) -> None:
    """Translate every error that a route may raise."""

    @app.exception_handler(HTTPException)
    async def not_taken(request: Request, error: HTTPException) -> Response:
        # Closed where a body may still be coming: read to its end, an endless one would hold the line for ever. A small
        # one is read, though: closed with bytes unread, a line is reset, and the answer may be lost with it.
        await _read_to_its_end(request)
        closing = {} if error.status_code == 429 else {"connection": "close"}
        return problem(error.status_code, error.detail, **(error.headers or {}), **closing)

    @app.exception_handler(WarehouseAway)
    async def away(request: Request, error: WarehouseAway) -> Response:
        log.error("warehouse away", route=route_of(request.scope), error=str(error))
        return problem(503, "nothing was kept: the warehouse is away, send it again", **{"retry-after": _AGAIN_S})

    @app.exception_handler(UnknownTenant)
    async def unknown(request: Request, error: UnknownTenant) -> Response:
        return problem(401, "the API key is wrong", **{"www-authenticate": "Bearer"})

    @app.exception_handler(PayloadError)
    async def not_understood(request: Request, error: PayloadError) -> Response:
        return await not_taken(request, refused(413 if isinstance(error, PayloadTooLarge) else 400, str(error)))

    @app.exception_handler(ActRefused)
    async def not_now(request: Request, error: ActRefused) -> Response:
        return problem(409, str(error))

    @app.exception_handler(UnknownIncident)
    async def nowhere(request: Request, error: UnknownIncident) -> Response:
        return problem(404, "there is no such incident: GET /v1/incidents lists them")

    @app.exception_handler(TonewatchError)
    async def failed(request: Request, error: TonewatchError) -> Response:
        log.error("request failed", route=route_of(request.scope), error=str(error))
        return problem(500, "nothing was kept: the gateway failed, its log says why")


async def _read_to_its_end(request: Request) -> None:
    """What is left of a body that says it is small; in vain after a second."""
    told = request.headers.get("content-length", "")
    if request.scope.get(READ) or not told.isdigit() or len(told) > 9 or int(told) > _SMALL:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            while not request.scope.get(READ):
                if (await request.receive())["type"] == "http.disconnect":
                    return
