"""Step 7b: carry an intended action out, once. The intent is committed before the deed and its outcome after it."""

from __future__ import annotations

import logging
from dataclasses import replace

from gateway.platforms import Platform
from tonewatch.clock import Clock
from tonewatch.errors import OutcomeUnknown, PlatformError
from tonewatch.records import Action, ActionState
from warehouse import actions, audit
from warehouse.database import Warehouse

LEASE_SECONDS = 60.0
log = logging.getLogger(__name__)


async def act(
    tenant: str, warehouse: Warehouse, clock: Clock, platform: Platform, process: str, action: Action, holder: str
) -> Action:
    """Do what `action` says, unless another holder has the lease or it is done already; return it as it now stands."""
    async with warehouse.as_tenant(tenant) as db:
        token = await actions.lease(tenant, db, action.key, holder, LEASE_SECONDS)
        if token is None:
            return action
        carried_on = action.state is ActionState.STARTED
        started = replace(action, state=ActionState.STARTED, started=action.started or clock.now())
        await actions.update(tenant, db, started)
        await audit.write(
            tenant,
            db,
            who=holder,
            what=f"action.{action.runbook}",
            subject=action.target,
            before={"state": action.state.value},
            after={"state": started.state.value, "fencing_token": token},
            reason=f"incident {action.incident}",
            at=clock.now(),
        )
    finished = await _deed(platform, process, started, clock, look_first=carried_on)
    async with warehouse.as_tenant(tenant) as db:
        await actions.update(tenant, db, finished)
        await audit.write(
            tenant,
            db,
            who=holder,
            what=f"action.{action.runbook}",
            subject=action.target,
            before={"state": started.state.value},
            after={"state": finished.state.value, "detail": finished.detail},
            reason=f"incident {action.incident}",
            at=clock.now(),
        )
    return finished


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
