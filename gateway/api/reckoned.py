"""What is reckoned over a stretch of time, as the weekly report counts it: GET /v1/slos and /v1/listener-minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway.api.answers import refused, told
from gateway.api.asked import SINCE, UNTIL, parameters, read
from gateway.api.description import answers, success
from gateway.api.door import Door
from gateway.api.examples import MINUTES, SLOS
from gateway.api.profiles import Profiles
from tonewatch.availability import Listening, Slo
from tonewatch.clock import Clock
from warehouse import minutes
from warehouse.database import Warehouse

_USUAL: Final = timedelta(days=1)
#: What players report is kept for 30 days; what incidents cost, for longer.
_LONGEST: Final = timedelta(days=31)
#: Each reads every report of its stretch of time; more would take the connections that all others need.
_AT_ONCE: Final = 2
ASKED: Final = (SINCE, UNTIL)


def router(door: Door, warehouse: Warehouse, profiles: Profiles, clock: Clock) -> APIRouter:
    """Reckons availability and listener-minutes."""
    routes = APIRouter(tags=["ask"])
    turn = asyncio.Semaphore(_AT_ONCE)

    @routes.get(
        "/v1/slos",
        summary="Availability against the SLO",
        openapi_extra=parameters(*ASKED),
        responses=answers(400, 401, 429, 503, _200=success("In all and by channel", SLOS)),
    )
    async def slos(request: Request) -> Response:
        """Of the last 24 hours, or from `since` to `until` (at most 31 days). null: nobody is known to listen."""
        tenant = await door.admit(request, "viewer")
        since, until = _span(read(request, ASKED), clock.now())
        async with turn:
            found = await minutes.channels(tenant, warehouse, since, until)
        slo = Slo.of((await profiles.of(tenant)).profile)
        channels = {name: slo.figures(each) for name, each in found.items()}
        total = slo.figures(sum(found.values(), Listening()))
        return told({"since": since, "until": until, "slo": float(slo.share), "total": total, "channels": channels})

    @routes.get(
        "/v1/listener-minutes",
        summary="Listener-minutes lost and saved",
        openapi_extra=parameters(*ASKED),
        responses=answers(400, 401, 429, 503, _200=success("In all", MINUTES)),
    )
    async def listener_minutes(request: Request) -> Response:
        """Of the last 24 hours, or from `since` to `until` (at most 31 days): lost as players tell it, whether or not
        an incident was open; saved by remedies of incidents opened in that time, an estimate.
        """
        tenant = await door.admit(request, "viewer")
        since, until = _span(read(request, ASKED), clock.now())
        async with turn:
            heard = sum((await minutes.channels(tenant, warehouse, since, until)).values(), Listening())
            found = await minutes.of_incidents(tenant, warehouse, since, until)
        lost = {"due_minutes": heard.due_minutes, "lost_minutes": heard.lost_minutes}
        saved = {"saved_minutes": found.controlled.minutes + found.uncontrolled.minutes}
        return told({"since": since, "until": until} | lost | saved | asdict(found))

    return routes


def _span(asked: Mapping[str, Any], now: datetime) -> tuple[datetime, datetime]:
    """Raises HTTPException 400: no time, or too much of it."""
    until = asked["until"] or now
    since = asked["since"] or until - _USUAL
    if until <= since:
        raise refused(400, "until: must be later than since")
    if until - since > _LONGEST:
        raise refused(400, f"since: at most {_LONGEST.days} days before until")
    return since, until
