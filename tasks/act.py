"""Step 7b: carry an intended action out, once. The intent is committed before the deed and its outcome after it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from gateway.platforms.remedies import Look, Remedy
from policy.guardrails import Lease, why_not
from policy.runbooks import UNDO
from tasks.decide import PASSING, may_pass
from tasks.survey import target_state
from tonewatch.clock import Clock
from tonewatch.errors import OutcomeUnknown, PlatformError
from tonewatch.records import Action, ActionState, GuardAnswer
from warehouse import actions, audit
from warehouse.database import Connection, Warehouse

LEASE_SECONDS = 60.0
_OPEN = frozenset({ActionState.INTENDED, ActionState.STARTED})
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Before:
    """What is known right before the deed. `sent`: a call may have reached the platform before, by whoever died."""

    stored: Action
    look: Look | None
    lease: Lease
    sent: bool
    found_done: bool | None
    audited: bool


Guards = Callable[[Connection, Before], Awaitable[tuple[GuardAnswer, ...]]]


async def act(
    tenant: str, warehouse: Warehouse, clock: Clock, remedy: Remedy, action: Action, holder: str, guards: Guards
) -> Action:
    """Do what `action` says, unless another holder has the lease or it is done already; return it as it now stands.

    `guards` asks every guardrail of this moment. Refused for good: state `refused`. Refused for now: it stays as it is
    and carries the answers.
    """
    async with warehouse.as_tenant(tenant) as db:
        token = await actions.lease(tenant, db, action.key, holder, LEASE_SECONDS)
        stored = await actions.get(tenant, db, action.key)
    if token is None or stored is None or stored.state not in _OPEN:
        return stored or action
    sent = stored.state is ActionState.STARTED
    look = await look_at(remedy)
    if sent and look is not None and was_done(stored, look):
        # Whoever began it died after the call and before writing so: it is not done again.
        done = replace(stored, state=ActionState.FINISHED, finished=clock.now(), detail=f"found done: {look.words}")
        return await _keep(tenant, warehouse, clock, stored, _after(done, look), holder, token)
    async with warehouse.as_tenant(tenant) as db:
        newest = await actions.fence(tenant, db, action.key)
        audited = await audit.holds(tenant, db, f"action.{stored.runbook}", stored.key)
        found = None if look is None else was_done(stored, look)
        answers = await guards(db, Before(stored, look, Lease(token, newest), sent, found, audited))
        if sent:
            # What was half done by us is no longer as it was decided on; to leave it so would be the greater harm.
            answers = tuple(each for each in answers if each.guard != "precondition")
        waiting = replace(stored, guards=answers) if may_pass(answers) else None
        if sent:
            answers = tuple(each for each in answers if each.guard not in PASSING)
        if any(answer.allowed is not True for answer in answers):
            if waiting is not None:
                return waiting
            state = ActionState.FAILED if sent else ActionState.REFUSED
            stopped = replace(stored, state=state, guards=answers, finished=clock.now(), detail=why_not(answers))
            await actions.update(tenant, db, stopped, fence=token)
            await write_audit(tenant, db, stored, stopped, holder, clock, token)
            return stopped
        started = replace(stored, state=ActionState.STARTED, started=stored.started or clock.now(), guards=answers)
        if not await actions.update(tenant, db, started, fence=token):
            return stored  # another holder carries it on
        await write_audit(tenant, db, stored, started, holder, clock, token)
    finished = await _deed(remedy, started, clock)
    return await _keep(tenant, warehouse, clock, started, finished, holder, token)


def was_done(action: Action, look: Look) -> bool:
    """Whether what `action` was to bring about is there, as far as a look can tell."""
    process = look.process
    if process is not None and action.runbook == "kill-and-restart":
        return process.state == "RUNNING" and str(process.pid) != action.parameters.get("pid", "")
    if look.running is not None and not action.runbook.startswith(UNDO):
        return look.running == action.parameters.get("wanted")
    return look.done


async def _keep(
    tenant: str, warehouse: Warehouse, clock: Clock, before: Action, after: Action, holder: str, token: int
) -> Action:
    async with warehouse.as_tenant(tenant) as db:
        if not await actions.update(tenant, db, after, fence=token):
            return before  # another holder carries it on: its word counts, not ours
        await write_audit(tenant, db, before, after, holder, clock, token)
    return after


async def write_audit(
    tenant: str,
    db: Connection,
    before: Action | None,
    after: Action,
    holder: str,
    clock: Clock,
    token: int | None = None,
) -> None:
    """One line of the audit: the action's state before and after."""
    await audit.write(
        tenant,
        db,
        who=holder,
        what=f"action.{after.runbook}",
        subject=after.target,
        before={"state": before.state.value} if before else None,
        after={"action": after.key, "state": after.state.value, "fencing_token": token, "detail": after.detail},
        reason=f"incident {after.incident}",
        at=clock.now(),
    )


async def look_at(remedy: Remedy) -> Look | None:
    """How the remedy's target is; None: the platform does not say."""
    try:
        return await remedy.look()
    except PlatformError as error:
        log.warning("the platform does not say how the target is: %s", error)
        return None


async def _deed(remedy: Remedy, action: Action, clock: Clock) -> Action:
    try:
        words = await remedy.do(action.parameters.get("wanted", ""))
    except OutcomeUnknown as error:
        return await _look_up(remedy, action, clock, str(error))
    except PlatformError as error:
        return replace(action, state=ActionState.FAILED, finished=clock.now(), detail=str(error))
    done = replace(action, state=ActionState.FINISHED, finished=clock.now(), detail=words)
    return _after(done, await look_at(remedy))


async def _look_up(remedy: Remedy, action: Action, clock: Clock, error: str) -> Action:
    look = await look_at(remedy)
    if look is None:
        detail = f"{error}; then it was not to be seen what came of it"
        return replace(action, state=ActionState.FAILED, finished=clock.now(), detail=detail)
    done = was_done(action, look) or (look.process is not None and look.process.state == "STARTING")
    state = ActionState.FINISHED if done else ActionState.FAILED
    detail = f"{error}; looked up afterwards: {look.words}"
    return _after(replace(action, state=state, finished=clock.now(), detail=detail), look)


def _after(action: Action, look: Look | None) -> Action:
    """Keep how the target is right after the deed: an undo is refused when somebody has touched it since."""
    state = target_state(look)
    return action if state is None else replace(action, parameters={**action.parameters, "after": state.fingerprint})
