"""How it stands just now: GET /v1/live."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from gateway.api.answers import problem
from gateway.api.description import KEYED, answers, success
from gateway.api.door import Door
from warehouse.cache import Cache


def router(door: Door, cache: Cache) -> APIRouter:
    """Tells the watcher's latest picture."""
    routes = APIRouter(tags=["ask"])

    @routes.get(
        "/v1/live",
        summary="The live picture",
        openapi_extra=KEYED,
        responses=answers(
            401, 404, 429, 503, _200=success("The picture of the last minute", schema={"type": "object"})
        ),
    )
    async def live(request: Request) -> Response:
        """What the watcher saw last; 404 while it or Redis is away."""
        tenant = await door.admit(request, "viewer")
        picture = await cache.live(tenant)
        if picture is None:
            return problem(404, "there is no live picture: the watcher or Redis is away")
        return JSONResponse(picture)

    return routes
