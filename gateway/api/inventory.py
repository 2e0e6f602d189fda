"""What the platform consists of, told by itself: PUT /v1/inventory."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from gateway.api.answers import refused
from gateway.api.description import answers, success, takes
from gateway.api.door import JSON_TYPES, Door, Limits
from gateway.sources import inventory
from tonewatch.clock import Clock
from tonewatch.errors import SourceError
from warehouse import entities
from warehouse.database import Warehouse

EXAMPLE = {
    "platform": "my-radio",
    "segment_seconds": 4.0,
    "components": [
        {
            "id": "component:packager",
            "stage": "package",
            "process": "packager",
            "metrics_url": "http://packager:9100/metrics",
            "feeds": ["component:origin"],
        },
        {
            "id": "component:origin",
            "stage": "origin",
            "process": "origin",
            "metrics_url": "http://origin:9100/metrics",
        },
    ],
    "origin": {"id": "component:origin", "base_url": "http://origin:8080"},
}


def router(door: Door, warehouse: Warehouse, limits: Limits, clock: Clock) -> APIRouter:
    """Takes an inventory."""
    routes = APIRouter(tags=["in"])

    @routes.put(
        "/v1/inventory",
        summary="What the platform consists of",
        openapi_extra=takes("application/json", {"type": "object"}, EXAMPLE),
        responses=answers(400, 401, 408, 413, 415, 429, 503, _200=success("It is committed", {"entities": 2})),
    )
    async def told(request: Request) -> Response:
        """As docs/inventory.md has it, in place of what was there: what it does not name is gone from now on."""
        tenant = await door.admit(request, "inventory")
        body = await door.body(request, JSON_TYPES, most=limits.document_bytes)
        try:
            named = inventory.read(body, "the body").entities()
        except SourceError as error:
            raise refused(400, str(error)) from error
        async with warehouse.as_tenant(tenant) as db:
            await entities.replace(tenant, db, named, clock.now())
        return JSONResponse({"entities": len(named)})

    return routes
