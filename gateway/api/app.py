"""The gateway: its routes, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from gateway.api import (
    acts,
    alerts,
    beacons,
    changes,
    events,
    health,
    incidents,
    inventory,
    links,
    listed,
    live,
    reckoned,
    writes,
)
from gateway.api.answers import answer_errors
from gateway.api.description import describe
from gateway.api.door import Door, Limits
from gateway.api.instruments import Instruments, Measured
from gateway.api.intake import Intake
from gateway.api.profiles import Profiles
from gateway.links import Signer
from tonewatch.clock import SYSTEM, Clock
from warehouse.cache import Cache
from warehouse.database import Warehouse

TAGS = [
    {"name": "in", "description": "What comes in: beacons, metrics, alerts, events, changes. A 2xx means committed."},
    {"name": "ask", "description": "What is asked for"},
    {"name": "act", "description": "What people say to an incident: each act counts once, and stands in the audit"},
    {"name": "itself", "description": "How the gateway is"},
]


def create_app(
    warehouse: Warehouse, cache: Cache, root_key: bytes, *, clock: Clock = SYSTEM, limits: Limits | None = None
) -> FastAPI:
    """The gateway over `warehouse` and `cache`, which the caller closes; pseudonyms and links come from
    `root_key`."""
    instruments = Instruments()
    app = FastAPI(
        title="Tonewatch gateway",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_tags=TAGS,
        lifespan=_lifespan,
    )
    app.state.instruments = instruments
    app.add_middleware(Measured, instruments=instruments)
    answer_errors(app)
    describe(app)
    limits = limits or Limits()
    profiles = Profiles(warehouse, clock)
    door = Door(warehouse, cache, profiles, root_key, clock, limits)
    for routes in (
        beacons.router(door, instruments),
        changes.router(door),
        alerts.router(door, warehouse, limits, clock),
        events.router(door, warehouse, limits, clock),
        inventory.router(door, warehouse, limits, clock),
        writes.router(door, Intake(warehouse, profiles, clock, limits), limits, instruments),
        live.router(door, cache),
        incidents.router(door, warehouse),
        listed.router(door, warehouse),
        reckoned.router(door, warehouse, profiles, clock),
        acts.router(door, warehouse, clock),
        links.router(Signer(root_key), warehouse, cache, clock),
        health.router(warehouse, instruments),
    ):
        app.include_router(routes)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    watching = asyncio.create_task(app.state.instruments.watch_loop(), name="loop-lag")
    try:
        yield
    finally:
        watching.cancel()
