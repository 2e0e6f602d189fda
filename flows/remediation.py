"""Remediation: an incident's way from diagnosed to mended or handed over, one step at a time.

Its state is rows in PostgreSQL: each step carries on from where the incident stands there, so any watcher can.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from prefect import flow, runtime
from prefect.artifacts import acreate_markdown_artifact

from flows.detection import DetectionState, summary_text
from flows.recorder import ended
from gateway.platforms import Platform, ProcessState
from policy.conditions import Condition
from policy.severity import listener_minutes_lost, severity
from tasks import notify
from tasks.act import act
from tasks.correlate import ECHO
from tasks.decide import ask_again, decide
from tasks.diagnose import ask_states, diagnose
from tasks.report import report_incident
from tasks.verify import Watch, verify
from tonewatch.clock import Clock
from tonewatch.errors import PlatformError, TonewatchError
from tonewatch.records import (
    Action,
    ActionState,
    Cause,
    FindingKind,
    Incident,
    IncidentState,
    Outcome,
    Run,
    SessionReport,
    Verdict,
)
from tonewatch.settings import Profile, Settings
from tonewatch.topology import Topology
from warehouse import actions, audit, incidents, sessions, verdicts
from warehouse.database import Connection, Warehouse

#: How long diagnosis may wait for evidence before an uncertain incident goes to a person.
EVIDENCE = timedelta(seconds=20)
#: Sessions report every few seconds: a loss is looked for from a little before the onset.
BEFORE_ONSET = timedelta(seconds=5)
DONE = frozenset({ActionState.FINISHED, ActionState.FAILED})
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Scene:
    """What every step may look at."""

    settings: Settings
    profile: Profile
    warehouse: Warehouse
    clock: Clock
    holder: str
    detection: DetectionState
    topology: Topology
    processes: Mapping[str, str]
    platform: Platform | None
    reports: Path
    said: Mapping[str, Sequence[tuple[datetime, str]]] = field(default_factory=dict)

    def host_starved(self) -> bool:
        """Whether the watcher's own machine is starved now."""
        return any(condition.kind is FindingKind.HOST for condition in self.detection.conditions.values())


@dataclass(slots=True)
class Work:
    """One incident in the hands of this watcher; what is lost with the process is counted anew, never repeated."""

    incident: Incident
    causes: list[Cause] = field(default_factory=list)
    action: Action | None = None
    verdict: Verdict | None = None
    watch: Watch = field(default_factory=Watch)
    acting: asyncio.Task[Action] | None = None
    why: str = ""
    grown: bool = False  # findings have joined since the last diagnosis
    quiet_since: datetime | None = None  # since when nothing of it is seen

    def grow(self, incident: Incident) -> None:
        """Further findings have joined."""
        self.incident, self.grown = incident, True

    @property
    def step(self) -> str:
        """The step of the journey at which the incident stands, for the live view."""
        return STEPS[self.incident.state]


STEPS = {
    IncidentState.OPEN: "correlate",
    IncidentState.DIAGNOSED: "decide",
    IncidentState.ACTING: "act",
    IncidentState.VERIFYING: "verify",
    IncidentState.MENDED: "notify",
    IncidentState.HANDED_OVER: "notify",
    IncidentState.CLOSED: "report",
}


async def load_work(tenant: str, warehouse: Warehouse) -> dict[str, Work]:
    """The incidents that are not closed, as the warehouse holds them."""
    work: dict[str, Work] = {}
    async with warehouse.as_tenant(tenant) as db:
        for incident in await incidents.active(tenant, db):
            done = await actions.of_incident(tenant, db, incident.id)
            judged = await verdicts.of_incident(tenant, db, incident.id)
            work[incident.id] = Work(
                incident,
                await incidents.causes(tenant, db, incident.id),
                done[-1] if done else None,
                judged[-1] if judged else None,
            )
    return work


async def step(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    """Carry one incident a step further.

    `work` changes only when what the step wrote is committed: after an error it stands where the warehouse stands.
    """
    draft = copy(work)
    await STEP_OF[work.incident.state](tenant, scene, draft, now)
    for each in fields(work):
        setattr(work, each.name, getattr(draft, each.name))


async def _diagnose(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    states = await _ask(scene, _suspects(work.incident, scene.topology))
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
            await _move(tenant, db, scene, work, IncidentState.ACTING, work.why, now)
        else:
            await _hand_over(tenant, db, scene, work, work.why, now)
    if allowed:
        _start_acting(tenant, scene, work)
    else:
        await _report(tenant, scene, work)


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
        await _hand_over(tenant, db, scene, work, _why_not(answers, work.causes[0]), now)
    await _report(tenant, scene, work)


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
            await _move(tenant, db, scene, work, IncidentState.VERIFYING, acted.detail, now)
        return
    work.why = acted.detail if acted else "the action that was decided on is nowhere written down"
    async with scene.warehouse.as_tenant(tenant) as db:
        await _hand_over(tenant, db, scene, work, work.why, now)
    await _report(tenant, scene, work)


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
            work.incident = await _measured(tenant, db, scene, work, now)
            await _move(tenant, db, scene, work, IncidentState.MENDED, verdict.reason, now)
        else:
            await _hand_over(tenant, db, scene, work, verdict.reason, now)
    await _report(tenant, scene, work)


async def _measured(tenant: str, db: Connection, scene: Scene, work: Work, now: datetime) -> Incident:
    """The incident with its impact, as the players told it."""
    cause = work.causes[0] if work.causes else None
    channels = scene.topology.felt_by(cause.entity) if cause else []
    since = work.incident.onset - BEFORE_ONSET
    told = [r for r in await sessions.between(tenant, db, since, now) if r.channel in channels]
    starved = [report for report in told if report.starved_ms > 0]
    minutes = listener_minutes_lost(told, channels, since)
    return replace(
        work.incident,
        listener_minutes_lost=round(minutes, 3),
        loss_basis="measured" if told else "probe",
        severity=severity(minutes),
        impact_started=_first(starved),
        impact_ended=starved[-1].time if starved else None,
    )


def _first(starved: list[SessionReport]) -> datetime | None:
    """When the first listener lost sound: a report tells of the time before it."""
    return min((r.time - timedelta(milliseconds=r.starved_ms) for r in starved), default=None)


async def _settle(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    """A mended incident stays open for its fault's echoes; a part that fails anew opens the case again."""
    if work.verdict is None:
        return
    since = work.action.finished if work.action and work.action.finished else work.verdict.decided
    relapse = [c for c in _holding(scene, work) if c.kind is FindingKind.RULE and c.since > since]
    if relapse and work.grown:
        await _diagnose(tenant, scene, work, now)
    else:
        await _close_when_quiet(tenant, scene, work, now)


async def _wait_for_person(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    """A handed-over incident is a person's; new findings may show the true cause, and quiet ends it."""
    if work.grown:
        await _diagnose(tenant, scene, work, now)
    else:
        await _close_when_quiet(tenant, scene, work, now)


async def _close_when_quiet(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    """Close once nothing of it has been seen for the time that echoes take: later faults are incidents of their own."""
    work.quiet_since = None if _holding(scene, work) else work.quiet_since or now
    if work.quiet_since is None or now - work.quiet_since < ECHO:
        return
    before = work.incident.state
    async with scene.warehouse.as_tenant(tenant) as db:
        measured = await _measured(tenant, db, scene, work, now)
        work.incident = replace(measured, state=IncidentState.CLOSED, closed=now)
        await incidents.save(tenant, db, work.incident)
        await _audit(tenant, db, scene, work, before.value, now, "nothing of it has been seen since")
    await _report(tenant, scene, work)


def _holding(scene: Scene, work: Work) -> list[Condition]:
    """Conditions of the platform that hold now and belong to the incident's cause."""
    roots = [cause.entity for cause in work.causes[:1]] or list(work.incident.entities[:1])
    return [
        condition
        for condition in scene.detection.conditions.values()
        if condition.kind is not FindingKind.HOST
        and any(scene.topology.related(condition.entity, root) for root in roots)
    ]


async def _hand_over(tenant: str, db: Connection, scene: Scene, work: Work, reason: str, now: datetime) -> None:
    """Give it to a person, with what it has cost so far."""
    work.incident = await _measured(tenant, db, scene, work, now)
    await _move(tenant, db, scene, work, IncidentState.HANDED_OVER, reason, now)


async def _move(
    tenant: str, db: Connection, scene: Scene, work: Work, state: IncidentState, reason: str, now: datetime
) -> None:
    """Write the new state, its notices and its audit line in the caller's transaction."""
    before = work.incident.state
    work.incident = replace(work.incident, state=state)
    await incidents.save(tenant, db, work.incident)
    await notify.enqueue(
        tenant,
        db,
        work.incident,
        work.causes,
        [work.action] if work.action else [],
        [work.verdict] if work.verdict else [],
        state,
        scene.settings,
        now,
    )
    await _audit(tenant, db, scene, work, before.value, now, reason)


async def _audit(
    tenant: str, db: Connection, scene: Scene, work: Work, before: str, now: datetime, reason: str = "settled"
) -> None:
    await audit.write(
        tenant,
        db,
        who=scene.holder,
        what="incident.state",
        subject=work.incident.id,
        before={"state": before},
        after={"state": work.incident.state.value},
        reason=reason,
        at=now,
    )


async def _report(tenant: str, scene: Scene, work: Work) -> None:
    """Write the report; what has been decided stands whether or not the disk takes it."""
    try:
        async with scene.warehouse.as_tenant(tenant) as db:
            paths = await report_incident(tenant, db, work.incident.id, scene.reports)
    except (TonewatchError, OSError) as error:
        log.warning("incident %s: no report: %s", work.incident.id, error)
        return
    log.info("report of incident %s: %s", work.incident.id, ", ".join(str(path) for path in paths))


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
