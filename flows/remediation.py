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

from flows.casework import Scene, Work, close_when_quiet, hand_over, holding, measured, move, report
from flows.detection import summary_text
from flows.recorder import ended
from gateway.platforms import ProcessState
from tasks.act import act
from tasks.decide import ask_again, decide
from tasks.diagnose import ask_states, diagnose
from tasks.verify import Watch, verify
from tonewatch.errors import PlatformError
from tonewatch.records import (
    Action,
    ActionState,
    Cause,
    FindingKind,
    Incident,
    IncidentState,
    Outcome,
    Run,
)
from tonewatch.topology import Topology
from warehouse import actions, incidents, verdicts

#: How long diagnosis may wait for evidence before an uncertain incident goes to a person.
EVIDENCE = timedelta(seconds=20)
DONE = frozenset({ActionState.FINISHED, ActionState.FAILED})
log = logging.getLogger(__name__)


async def step(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    """Carry one incident a step further.

    `work` changes only when what the step wrote is committed: after an error it stands where the warehouse stands.
    """
    draft = copy(work)
    await STEP_OF[work.incident.state](tenant, scene, draft, now)
    for each in fields(work):
        setattr(work, each.name, getattr(draft, each.name))


async def _diagnose(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    others = {root for incident, root in scene.roots.items() if incident != work.incident.id}
    states = await _ask(scene, [e for e in _suspects(work.incident, scene.topology) if e not in others])
    async with scene.warehouse.as_tenant(tenant) as db:
        work.grown = False
        work.causes = await diagnose(tenant, db, work.incident, scene.topology, states, scene.said, now)
        if work.incident.state is IncidentState.OPEN:
            work.incident = replace(work.incident, state=IncidentState.DIAGNOSED)
            await incidents.save(tenant, db, work.incident)
    await _decide_with(tenant, scene, work, now, states)


async def _ask(scene: Scene, entities: Sequence[str]) -> dict[str, ProcessState]:
    return await ask_states(scene.platform, {e: scene.processes[e] for e in entities if e in scene.processes})


def _suspects(incident: Incident, topology: Topology) -> list[str]:
    """The incident's entities and whatever feeds them: the walk passes through parts that raised no finding."""
    upstream = (e for e in topology.entities if any(topology.reaches(e, touched) for touched in incident.entities))
    return sorted({*incident.entities, *upstream})


async def _decide_with(
    tenant: str, scene: Scene, work: Work, now: datetime, states: Mapping[str, ProcessState]
) -> None:
    cause = work.causes[0]
    async with scene.warehouse.as_tenant(tenant) as db:
        decided = decide(
            cause,
            scene.profile,
            remediation_enabled=scene.settings.auto_remediation,
            target_state=states[cause.entity].state if cause.entity in states else None,
            target_known=cause.entity in scene.topology.entities,
            host_starved=scene.host_starved(),
            earlier=await actions.of_incident(tenant, db, work.incident.id),
            now=now,
        )
        allowed = decided is not None and decided.state is ActionState.INTENDED
        work.why = f"{cause.name}, confidence {cause.confidence:.2f}" if allowed else _why_not(decided, cause)
        waiting = work.incident.state is IncidentState.DIAGNOSED and now - work.incident.opened < EVIDENCE
        if not allowed and waiting:
            return
        if decided is not None:
            await actions.intend(tenant, db, decided)
            work.action, work.watch = decided, Watch()
        if allowed:
            await move(tenant, db, scene, work, IncidentState.ACTING, work.why, now)
        else:
            await hand_over(tenant, db, scene, work, work.why, now)
    if allowed:
        _start_acting(tenant, scene, work)
    else:
        await report(tenant, scene, work)


def _why_not(decided: Action | None, cause: Cause) -> str:
    if decided is None:
        return f"no runbook fits {cause.name}"
    return "; ".join(f"{answer.guard}: {answer.reason}" for answer in decided.guards if not answer.allowed)


def _start_acting(tenant: str, scene: Scene, work: Work) -> None:
    if scene.platform is None or work.action is None or work.action.target not in scene.processes:
        raise PlatformError("there is no platform, or no process of that name, to act on")
    process = scene.processes[work.action.target]
    deed = act(tenant, scene.warehouse, scene.clock, scene.platform, process, work.action, scene.holder)
    work.acting = asyncio.create_task(deed)


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
    """Another watcher's intent, or one whose deed broke off: every guard is asked anew before it is done."""
    work.action = await _stored(tenant, scene, work)
    if work.action is None or work.action.state in DONE:
        await _acted(tenant, scene, work, now)
        return
    if work.action.state is ActionState.STARTED:
        _start_acting(tenant, scene, work)  # looks before it does anything
        return
    states = await _ask(scene, [work.action.target])
    answers = ask_again(
        work.action,
        work.causes[0],
        scene.profile,
        remediation_enabled=scene.settings.auto_remediation,
        target_state=states[work.action.target].state if work.action.target in states else None,
        target_known=work.action.target in scene.topology.entities,
        host_starved=scene.host_starved(),
    )
    if answers.state is ActionState.INTENDED:
        _start_acting(tenant, scene, work)
        return
    work.action = answers
    async with scene.warehouse.as_tenant(tenant) as db:
        await actions.update(tenant, db, answers)
        await hand_over(tenant, db, scene, work, _why_not(answers, work.causes[0]), now)
    await report(tenant, scene, work)


async def _stored(tenant: str, scene: Scene, work: Work) -> Action | None:
    """The action as the warehouse holds it."""
    async with scene.warehouse.as_tenant(tenant) as db:
        held = await actions.of_incident(tenant, db, work.incident.id)
    return next((a for a in held if work.action is not None and a.key == work.action.key), None)


async def _acted(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    acted = work.action
    if acted is not None and acted.state not in DONE:
        return  # somebody else holds the lease
    if acted is not None and acted.state is ActionState.FINISHED:
        work.why = acted.detail
        async with scene.warehouse.as_tenant(tenant) as db:
            await move(tenant, db, scene, work, IncidentState.VERIFYING, acted.detail, now)
        return
    work.why = acted.detail if acted else "the action that was decided on is nowhere written down"
    async with scene.warehouse.as_tenant(tenant) as db:
        await hand_over(tenant, db, scene, work, work.why, now)
    await report(tenant, scene, work)


async def _verify(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    if work.action is None:
        return
    readings = scene.detection.recent.readings
    verdict = verify(work.watch, work.incident, work.action, readings, scene.topology, scene.profile, now)
    work.why = f"{work.watch.good} of {scene.profile.verify_readings} good readings"
    if verdict is None:
        return
    work.verdict = verdict
    work.why = verdict.reason
    async with scene.warehouse.as_tenant(tenant) as db:
        await verdicts.save(tenant, db, verdict)
        if verdict.outcome is Outcome.WORKED:
            work.incident = await measured(tenant, db, scene, work, now)
            await move(tenant, db, scene, work, IncidentState.MENDED, verdict.reason, now)
        else:
            await hand_over(tenant, db, scene, work, verdict.reason, now)
    await report(tenant, scene, work)


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
    if work.grown:
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
