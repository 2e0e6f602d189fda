"""Remediation: an incident's way from diagnosed to mended or handed over, one step at a time.

Its state is rows in PostgreSQL: each step carries on from where the incident stands there, so any watcher can.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

from prefect import flow, runtime
from prefect.artifacts import acreate_markdown_artifact

from flows.casework import Scene, Work, close, close_when_quiet, hand_over, holding, measured, move, report
from flows.detection import summary_text
from flows.recorder import ended
from gateway.platforms import ProcessState
from gateway.platforms.remedies import Look
from policy import autonomy, guardrails
from policy.guardrails import Measured, Moment, why_not
from policy.runbooks import UNDO
from tasks.act import Before, act, look_at, write_audit
from tasks.decide import decide, draft, may_pass, undo_of
from tasks.diagnose import ask_states, diagnose
from tasks.heed import Act, heed
from tasks.survey import survey
from tasks.verify import Watch, self_healing, verify
from tonewatch.errors import PlatformError
from tonewatch.records import (
    Action,
    ActionState,
    ActKind,
    Approval,
    Cause,
    CauseKind,
    FindingKind,
    GuardAnswer,
    Incident,
    IncidentState,
    Outcome,
    Run,
    Verdict,
)
from tonewatch.topology import Topology
from warehouse import actions, approvals, audit, incidents, verdicts
from warehouse.database import Connection

#: How long an intent may wait for readings that let it act.
PATIENCE = timedelta(seconds=45)
DONE = frozenset({ActionState.FINISHED, ActionState.FAILED, ActionState.REFUSED})
log = logging.getLogger(__name__)


async def step(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    """Carry one incident a step further.

    `work` changes only when what the step wrote is committed: after an error it stands where the warehouse stands.
    """
    draft_of = copy(work)
    if not await _heed(tenant, scene, draft_of, now):
        await STEP_OF[work.incident.state](tenant, scene, draft_of, now)
    for each in fields(work):
        setattr(work, each.name, getattr(draft_of, each.name))


# What people said


async def _heed(tenant: str, scene: Scene, work: Work, now: datetime) -> bool:
    """Take up what people did with the incident; whether that was the step of this tick."""
    moved = False
    async with scene.warehouse.as_tenant(tenant) as db:
        for each in await heed(tenant, db, [work.incident.id]):
            work.why = f"{each.kind.value} by {each.who}" + (f": {each.reason}" if each.reason else "")
            moved = await _take_up(tenant, db, scene, work, each, now) or moved
    if not moved:
        return False
    if work.incident.state is IncidentState.ACTING:
        _start_acting(tenant, scene, work)
    else:
        await report(tenant, scene, work)
    return True


async def _take_up(tenant: str, db: Connection, scene: Scene, work: Work, said: Act, now: datetime) -> bool:
    """What one act of a person causes, in the transaction that takes it up; whether the incident moved."""
    if said.kind is ActKind.CLOSE:
        await close(tenant, db, scene, work, work.why, now)
        return True
    if said.kind is ActKind.APPROVE and work.incident.state is IncidentState.HANDED_OVER:
        return await _approved(tenant, db, scene, work, said, now)
    if said.kind is ActKind.VETO and work.incident.state in {IncidentState.OPEN, IncidentState.DIAGNOSED}:
        await hand_over(tenant, db, scene, work, work.why, now)
        return True
    return False


async def _approved(tenant: str, db: Connection, scene: Scene, work: Work, said: Act, now: datetime) -> bool:
    """A person's yes: the proposal is decided on anew, as things are now; every guard is asked."""
    held = await actions.of_incident(tenant, db, work.incident.id)
    proposal = next((a for a in held if a.key == said.action and a.state is ActionState.REFUSED), None)
    if proposal is None or not work.causes:
        return False
    look = await _look(scene, proposal)
    anew = draft(work.causes[0], scene.profile, look, held, now)
    if anew is None or anew.key != proposal.key:
        work.why = "what was approved fits the incident no longer"
        return False
    yes = await approvals.redeem(tenant, db, proposal.key, now)
    who = {"approved_by": ", ".join(approval.approver for approval in yes)}
    anew = replace(anew, parameters={**anew.parameters, **who})
    decided = await decide(tenant, db, scene.site(), work.incident, work.causes[0], anew, look, yes, now)
    await _keep_decision(tenant, db, scene, work, decided)
    if decided.state is ActionState.INTENDED:
        await move(tenant, db, scene, work, IncidentState.ACTING, work.why, now)
    else:
        work.why = why_not(decided.guards)
        await hand_over(tenant, db, scene, work, work.why, now)
    return True


# Diagnosed, decided


async def _diagnose(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    others = {root for incident, root in scene.roots.items() if incident != work.incident.id}
    states = await _ask(scene, [e for e in _suspects(work.incident, scene.topology) if e not in others])
    async with scene.warehouse.as_tenant(tenant) as db:
        work.grown = False
        readings = scene.detection.recent.readings
        work.causes = await diagnose(tenant, db, work.incident, scene.topology, states, scene.said, readings, now)
        if work.incident.state is IncidentState.OPEN:
            work.incident = replace(work.incident, state=IncidentState.DIAGNOSED)
            await incidents.save(tenant, db, work.incident)
    await _decide_with(tenant, scene, work, now)


async def _ask(scene: Scene, entities: Sequence[str]) -> dict[str, ProcessState]:
    processes = scene.inventory.processes if scene.inventory else {}
    return await ask_states(scene.platform, {e: processes[e] for e in entities if e in processes})


def _suspects(incident: Incident, topology: Topology) -> list[str]:
    """The incident's entities and whatever feeds them: the walk passes through parts that raised no finding."""
    upstream = (e for e in topology.entities if any(topology.reaches(e, touched) for touched in incident.entities))
    return sorted({*incident.entities, *upstream})


async def _look(scene: Scene, action: Action) -> Look | None:
    remedy = scene.remedy(action)
    return await look_at(remedy) if remedy is not None else None


async def _decide_with(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    cause, site = work.causes[0], scene.site()
    async with scene.warehouse.as_tenant(tenant) as db:
        earlier = await actions.of_incident(tenant, db, work.incident.id)
    wanted = draft(cause, scene.profile, None, earlier, now)
    look = await _look(scene, wanted) if wanted is not None else None
    wanted = draft(cause, scene.profile, look, earlier, now)
    async with scene.warehouse.as_tenant(tenant) as db:
        decided = None
        if wanted is not None:
            decided = await decide(tenant, db, site, work.incident, cause, wanted, look, (), now)
        allowed = decided is not None and decided.state is ActionState.INTENDED
        work.why = f"{cause.name}, confidence {cause.confidence:.2f}" if allowed else _why_not(decided, cause)
        if not allowed and _may_wait(scene, work, decided, now):
            return
        if decided is not None:
            await _keep_decision(tenant, db, scene, work, decided)
        if allowed:
            await move(tenant, db, scene, work, IncidentState.ACTING, work.why, now)
        else:
            await hand_over(tenant, db, scene, work, work.why, now)
    if allowed:
        _start_acting(tenant, scene, work)
    else:
        await report(tenant, scene, work)


def _may_wait(scene: Scene, work: Work, decided: Action | None, now: datetime) -> bool:
    """Whether more evidence may come: not long after the opening, or after this watcher has begun to see."""
    since = max(work.incident.opened, scene.began or work.incident.opened)
    if work.incident.state is not IncidentState.DIAGNOSED:
        return False
    evidence = timedelta(seconds=scene.profile.evidence_seconds)
    patience = PATIENCE if decided is not None and may_pass(decided.guards) else evidence
    return now - since < patience


async def _keep_decision(tenant: str, db: Connection, scene: Scene, work: Work, decided: Action) -> None:
    """Write down what was decided, and in the audit, before anything is done."""
    if not await actions.intend(tenant, db, decided):
        await actions.update(tenant, db, decided)
    await write_audit(tenant, db, None, decided, scene.holder, scene.clock)
    work.action, work.watch, work.verdict, work.waiting_since = decided, Watch(), None, None


def _why_not(decided: Action | None, cause: Cause) -> str:
    return f"no runbook fits {cause.name}" if decided is None else why_not(decided.guards)


# Acting


def _start_acting(tenant: str, scene: Scene, work: Work) -> None:
    remedy = scene.remedy(work.action) if work.action is not None else None
    if remedy is None or work.action is None:
        raise PlatformError("the platform gives no means for what was decided on")
    action, incident, cause = work.action, work.incident, work.causes[0]
    verdict, watch = work.verdict, work.watch

    async def guards(db: Connection, before: Before) -> tuple[GuardAnswer, ...]:
        return await _ask_before(tenant, db, scene, incident, cause, before, verdict, watch)

    deed = act(tenant, scene.warehouse, scene.clock, remedy, action, scene.holder, guards)
    work.acting = asyncio.create_task(deed)


async def _ask_before(
    tenant: str,
    db: Connection,
    scene: Scene,
    incident: Incident,
    cause: Cause,
    before: Before,
    verdict: Verdict | None,
    watch: Watch,
) -> tuple[GuardAnswer, ...]:
    """Every guard once more, right before the deed: time has passed, and others may have acted."""
    stored, now = before.stored, scene.clock.now()
    yes: Sequence[Approval] = await approvals.of_action(tenant, db, stored.key)
    grant = autonomy.granted(scene.profile, stored.runbook, cause)
    attempt = await survey(tenant, db, scene.site(), incident, cause, stored, grant, before.look, yes, now)
    attempt = replace(
        attempt,
        stored=stored,
        lease=before.lease,
        sent=before.sent,
        found_done=before.found_done,
        audited=before.audited,
        measured=Measured(verdict, watch.good, 0.0, watch.worse) if verdict is not None else None,
    )
    return guardrails.ask(attempt, Moment.UNDO if stored.runbook.startswith(UNDO) else Moment.BEFORE)


async def _await_act(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    """The deed is a task of its own; a watcher that finds an intent without one carries it on."""
    if work.acting is None:
        await _carry_on(tenant, scene, work, now)
        return
    if not work.acting.done():
        return
    task, work.acting = work.acting, None
    if task.cancelled() or task.exception() is not None:
        # What was done is in the warehouse, if anything: the next tick carries on from there.
        log.warning("incident %s: the act broke off: %r", work.incident.id, task)
        work.action = await _stored(tenant, scene, work)
        return
    work.action = task.result()
    await _acted(tenant, scene, work, now)


async def _carry_on(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    """Another watcher's intent, one whose deed broke off, or one that waits for readings: the act looks and asks."""
    work.action = await _stored(tenant, scene, work)
    if work.action is None or work.action.state in DONE:
        await _acted(tenant, scene, work, now)
        return
    _start_acting(tenant, scene, work)


async def _stored(tenant: str, scene: Scene, work: Work) -> Action | None:
    """The action as the warehouse holds it."""
    async with scene.warehouse.as_tenant(tenant) as db:
        return await actions.get(tenant, db, work.action.key) if work.action is not None else None


async def _acted(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    acted = work.action
    if acted is not None and acted.state not in DONE:
        # Somebody else holds the lease, or it waits for readings that let it act.
        if not await _waited_long(tenant, scene, work, acted, now):
            return
        acted = work.action
    work.why = (acted.detail or why_not(acted.guards)) if acted else "what was decided on is nowhere written down"
    undone = acted is not None and acted.runbook.startswith(UNDO)
    async with scene.warehouse.as_tenant(tenant) as db:
        if acted is not None and acted.state is ActionState.FINISHED and not undone:
            await move(tenant, db, scene, work, IncidentState.VERIFYING, acted.detail, now)
            return
        if undone and acted is not None and work.verdict is not None:
            told = "undone" if acted.state is ActionState.FINISHED else "not undone"
            work.why = f"{work.verdict.reason}; {told}: {work.why}"
        await hand_over(tenant, db, scene, work, work.why, now)
    await report(tenant, scene, work)


async def _waited_long(tenant: str, scene: Scene, work: Work, waiting: Action, now: datetime) -> bool:
    """Whether it has waited for good readings for too long: then it is refused, or failed, and a person's."""
    if not may_pass(waiting.guards):
        return False
    work.waiting_since = work.waiting_since or now
    if now - work.waiting_since < PATIENCE:
        return False
    state = ActionState.FAILED if waiting.state is ActionState.STARTED else ActionState.REFUSED
    work.action = replace(waiting, state=state, finished=now, detail=why_not(waiting.guards))
    async with scene.warehouse.as_tenant(tenant) as db:
        await actions.update(tenant, db, work.action)
        await write_audit(tenant, db, waiting, work.action, scene.holder, scene.clock)
    return True


# Verifying


async def _verify(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    if work.action is None:
        return
    readings = scene.detection.recent.readings
    kind = work.causes[0].kind if work.causes else CauseKind.UNKNOWN
    async with scene.warehouse.as_tenant(tenant) as db:
        healed, every = await verdicts.self_healed(tenant, db, kind, work.incident.id)
    chance = self_healing(healed, every)
    verdict = verify(
        work.watch, work.incident, work.action, readings, scene.topology, scene.profile, now, self_healing=chance
    )
    work.why = f"{work.watch.good} of {scene.profile.verify_readings} good readings"
    if verdict is None:
        return
    work.verdict, work.why = verdict, verdict.reason
    async with scene.warehouse.as_tenant(tenant) as db:
        answers = await _ask_after(tenant, db, scene, work, verdict, now)
        await verdicts.save(tenant, db, verdict)
        if guardrails.all_allow(answers, Moment.AFTER):
            work.incident = await measured(tenant, db, scene, work, now)
            await move(tenant, db, scene, work, IncidentState.MENDED, verdict.reason, now)
        elif _is_to_be_undone(work.action, verdict):
            undo = undo_of(work.action, verdict, now)
            await actions.intend(tenant, db, undo)
            await write_audit(tenant, db, None, undo, scene.holder, scene.clock)
            work.action = undo
            await move(tenant, db, scene, work, IncidentState.ACTING, f"undo: {verdict.reason}", now)
        else:
            await hand_over(tenant, db, scene, work, why_not(answers), now)
    if work.incident.state is IncidentState.ACTING:
        _start_acting(tenant, scene, work)
    else:
        await report(tenant, scene, work)


async def _ask_after(
    tenant: str, db: Connection, scene: Scene, work: Work, verdict: Verdict, now: datetime
) -> tuple[GuardAnswer, ...]:
    """May it be called a success?"""
    action = work.action
    if action is None:
        return ()
    cause = work.causes[0]
    attempt = await survey(tenant, db, scene.site(), work.incident, cause, action, None, None, (), now)
    shown = work.watch.good_since or now
    seconds = max(0.0, (shown - (action.finished or now)).total_seconds())
    attempt = replace(
        attempt,
        audited=await audit.holds(tenant, db, f"action.{action.runbook}", action.key),
        measured=Measured(verdict, work.watch.good, seconds, work.watch.worse),
    )
    return guardrails.ask(attempt, Moment.AFTER)


#: Runbooks whose target gave nothing before: they are taken back for harm alone, not for having been of no use.
_NOTHING_TO_LOSE = frozenset({"restart", "kill-and-restart"})


def _is_to_be_undone(action: Action, verdict: Verdict) -> bool:
    if verdict.outcome is Outcome.WORKED or action.runbook.startswith(UNDO):
        return False
    return verdict.outcome is Outcome.HARMED or action.runbook not in _NOTHING_TO_LOSE


# After it


async def _settle(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    """A mended incident stays open for its fault's echoes; a part that fails anew opens the case again."""
    if work.verdict is None:
        return
    since = work.action.finished if work.action and work.action.finished else work.verdict.decided
    relapse = [
        c for c in holding(scene, work) if c.entity == work.root and c.kind is FindingKind.RULE and c.since > since
    ]
    if relapse and work.grown:
        await _diagnose(tenant, scene, work, now)
    else:
        await close_when_quiet(tenant, scene, work, now)


async def _wait_for_person(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    """A handed-over incident is a person's; new findings may show the true cause, and quiet ends it."""
    judged = work.verdict is not None and work.verdict.outcome is Outcome.HARMED
    if work.grown and not judged:
        await _diagnose(tenant, scene, work, now)
    else:
        await close_when_quiet(tenant, scene, work, now)


STEP_OF = {
    IncidentState.OPEN: _diagnose,
    IncidentState.DIAGNOSED: _diagnose,
    IncidentState.ACTING: _await_act,
    IncidentState.VERIFYING: _verify,
    IncidentState.MENDED: _settle,
    IncidentState.HANDED_OVER: _wait_for_person,
}


@flow(name="remediation", flow_run_name="{tenant}-{incident}", validate_parameters=False)
async def remediation(
    tenant: str,
    run_id: str,
    incident: str,
    started: datetime,
    ended_at: datetime | None = None,
    recorded_late: bool = False,
) -> Mapping[str, Any]:
    """The remediation of one incident: from its causes to its verdict, or to the hand-over."""
    run = await ended(run_id, runtime.flow_run.id)
    text = summary_text(run, recorded_late)
    await acreate_markdown_artifact(key="remediation", markdown=text, description=f"Incident {incident}")
    return dict(run.summary)


async def show_remediation(run: Run, recorded_late: bool) -> Any:
    """Run the flow that shows the remediation `run`."""
    return await remediation(run.tenant, run.id, run.incident or "", run.started, run.ended, recorded_late)
