"""How the gateway itself is: GET /health, /ready and /metrics, open to all."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from gateway.api.description import answers, success
from gateway.api.instruments import Instruments
from tonewatch.errors import WarehouseAway
from warehouse.database import Warehouse

_READY_S: Final = 3.0


def router(warehouse: Warehouse, instruments: Instruments) -> APIRouter:
    """Tells whether the process is alive, whether its warehouse answers, and its numbers."""
    routes = APIRouter(tags=["itself"])

    @routes.get(
        "/health",
        summary="Is the process alive?",
        responses=answers(_200=success("It is", {"status": "alive"})),
    )
    async def health() -> Response:
        return JSONResponse({"status": "alive"})

    @routes.get(
        "/ready",
        summary="Does PostgreSQL answer?",
        responses=answers(503, _200=success("It does", {"status": "ready"})),
    )
    async def ready() -> Response:
        # No tenant has this name; what counts is that a transaction begins.
        try:
            async with asyncio.timeout(_READY_S), warehouse.as_tenant("ready"):
                pass
        except TimeoutError:
            raise WarehouseAway(f"PostgreSQL did not answer within {_READY_S} s") from None
        return JSONResponse({"status": "ready"})

    @routes.get(
        "/metrics",
        summary="The gateway's own numbers",
        response_class=Response,
        responses={
            200: {"description": "Prometheus' text format", "content": {"text/plain": {"schema": {"type": "string"}}}}
        },
    )
    async def metrics() -> Response:
        return Response(instruments.exposition(), media_type=CONTENT_TYPE_LATEST)

    return routes
