"""Step 7b: carry an intended action out, once. The intent is committed before the deed and its outcome after it."""

from __future__ import annotations

import logging
from dataclasses import replace

from gateway.platforms import Platform
from tonewatch.clock import Clock
from tonewatch.errors import OutcomeUnknown, PlatformError
from tonewatch.records import Action, ActionState
from warehouse import actions, audit
from warehouse.database import Connection, Warehouse

LEASE_SECONDS = 60.0
log = logging.getLogger(__name__)


async def act(
    tenant: str, warehouse: Warehouse, clock: Clock, platform: Platform, process: str, action: Action, holder: str
) -> Action:
    """Do what `action` says, unless another holder has the lease or it is done already; return it as it now stands."""
    async with warehouse.as_tenant(tenant) as db:
        token = await actions.lease(tenant, db, action.key, holder, LEASE_SECONDS)
        held = [each for each in await actions.of_incident(tenant, db, action.incident) if each.key == action.key]
        if token is None or not held or held[0].state not in {ActionState.INTENDED, ActionState.STARTED}:
            return held[0] if held else action
        (written,) = held
        started = replace(written, state=ActionState.STARTED, started=written.started or clock.now())
        await actions.update(tenant, db, started, fence=token)
        await _audit(tenant, db, written, started, holder, token, clock)
    finished = await _deed(platform, process, started, clock, look_first=written.state is ActionState.STARTED)
    async with warehouse.as_tenant(tenant) as db:
        if not await actions.update(tenant, db, finished, fence=token):
            return started  # another holder carries it on: its word counts, not ours
        await _audit(tenant, db, started, finished, holder, token, clock)
    return finished


async def _audit(
    tenant: str, db: Connection, before: Action, after: Action, holder: str, token: int, clock: Clock
) -> None:
    await audit.write(
        tenant,
        db,
        who=holder,
        what=f"action.{after.runbook}",
        subject=after.target,
        before={"state": before.state.value},
        after={"state": after.state.value, "fencing_token": token, "detail": after.detail},
        reason=f"incident {after.incident}",
        at=clock.now(),
    )


async def _deed(platform: Platform, process: str, action: Action, clock: Clock, *, look_first: bool) -> Action:
    """Restart the process. Somebody may have died while doing this: then look before doing it again."""
    try:
        if look_first and (await platform.state(process)).state == "RUNNING":
            return replace(
                action, state=ActionState.FINISHED, finished=clock.now(), detail="it runs: found so on carrying on"
            )
        state = await platform.restart(process)
    except OutcomeUnknown as error:
        return await _look_up(platform, process, action, clock, str(error))
    except PlatformError as error:
        return replace(action, state=ActionState.FAILED, finished=clock.now(), detail=str(error))
    return replace(action, state=ActionState.FINISHED, finished=clock.now(), detail=f"{process} is {state.state}")


async def _look_up(platform: Platform, process: str, action: Action, clock: Clock, error: str) -> Action:
    try:
        state = await platform.state(process)
    except PlatformError as second:
        return replace(
            action, state=ActionState.FAILED, finished=clock.now(), detail=f"{error}; then not to be seen: {second}"
        )
    done = state.state in {"RUNNING", "STARTING"}
    return replace(
        action,
        state=ActionState.FINISHED if done else ActionState.FAILED,
        finished=clock.now(),
        detail=f"{error}; looked up afterwards: {process} is {state.state}",
    )
