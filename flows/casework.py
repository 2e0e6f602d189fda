"""An incident in the hands of a watcher: what is known of it, and what is written whenever it moves on."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from flows.detection import DetectionState
from gateway.platforms import Platform
from gateway.platforms.controls import Controls
from gateway.platforms.remedies import Remedy, Undo, bound
from gateway.sources.inventory import Inventory
from policy.conditions import Condition
from policy.grouping import OPENING
from policy.readings import trailing_run
from policy.runbooks import UNDO
from policy.severity import (
    inferred_minutes_lost,
    listener_minutes_lost,
    lost_ms,
    severity,
    share_hit,
    usual_listeners,
)
from tasks import notify
from tasks.correlate import ECHO
from tasks.report import report_incident
from tasks.survey import Sight, Site
from tasks.tune import LISTENERS
from tasks.verify import Watch
from tonewatch.clock import Clock
from tonewatch.errors import TonewatchError
from tonewatch.records import Action, Cause, Finding, FindingKind, Incident, IncidentState, SessionReport, Verdict
from tonewatch.settings import Profile, Settings
from tonewatch.topology import Topology
from warehouse import actions, audit, findings, incidents, samples, sessions, verdicts
from warehouse.database import Connection, Warehouse

#: Sessions report every few seconds: a loss is looked for from a little before the onset.
BEFORE_ONSET = timedelta(seconds=5)
#: How many listened is told by the median of so long before the onset.
COUNTED_BEFORE = timedelta(seconds=60)
#: Symptoms of a part behind which no sound is heard while they last.
UNHEARD = frozenset({"silence", "stream-away", "mount-gone", "stream-frozen", "stream-undecodable"})
NO_SOUND = UNHEARD | {"scrape-refused", "scrape-timeout"}
#: Guards whose no a person's yes can lift.
APPROVABLE = frozenset({"consent", "confidence-for-risk"})
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
    inventory: Inventory | None
    platform: Platform | None
    controls: Controls | None
    reports: Path
    #: Since when this watcher has readings: what was known before it died is not held against an incident.
    began: datetime | None = None
    said: Mapping[str, Sequence[tuple[datetime, str]]] = field(default_factory=dict)
    #: Incident -> the part that it is about: what is one incident's business is no other's.
    roots: Mapping[str, str] = field(default_factory=dict)

    def site(self) -> Site:
        """What guardrails may look at."""
        conditions = self.detection.conditions
        starved = any(condition.kind is FindingKind.HOST for condition in conditions.values())
        readings = self.detection.recent.readings
        return Site(self.settings, Sight(self.profile, self.topology, readings, conditions, starved))

    def remedy(self, action: Action) -> Remedy | None:
        """What `action` is done with, or None: the platform gives no means for it."""
        name = action.runbook.removeprefix(UNDO)
        found = bound(name, action.target, self.inventory, self.platform, self.controls)
        if found is None or name == action.runbook:
            return found
        return Undo(found, action.parameters.get("prior", ""))


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
    waiting_since: datetime | None = None  # since when an intent waits for readings that let it act
    quiet_since: datetime | None = None  # since when nothing of it is seen

    def grow(self, incident: Incident) -> None:
        """Further findings have joined."""
        self.incident, self.grown = incident, True

    @property
    def root(self) -> str:
        """The part that the incident is about."""
        return self.causes[0].entity if self.causes else self.incident.entities[0]

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
                _verdict_on(done[-1], judged) if done else None,
            )
    return work


def _verdict_on(action: Action, judged: Sequence[Verdict]) -> Verdict | None:
    """The verdict on the action, or on the one that it takes back."""
    return next((v for v in judged if v.action in {action.key, action.parameters.get("of")}), None)


async def measured(tenant: str, db: Connection, scene: Scene, work: Work, now: datetime) -> Incident:
    """The incident with its impact, as the players told it."""
    cause = work.causes[0] if work.causes else None
    channels = scene.topology.felt_by(cause.entity) if cause else []
    since = work.incident.onset - BEFORE_ONSET
    every = await sessions.between(tenant, db, since, now)
    told = [report for report in every if report.channel in channels]
    starved = [report for report in told if report.starved_ms > 0]
    minutes = listener_minutes_lost(told, channels, since)
    kept = await findings.of_incident(tenant, db, work.incident.id)
    if not told and (inferred := await _inferred(tenant, db, scene, work, _mute(scene, kept, NO_SOUND), now)):
        return inferred
    listening = Counter(channel for _, channel in {(report.session, report.channel) for report in every})
    unheard = share_hit(_mute(scene, kept, UNHEARD), {name: listening[name] for name in scene.topology.channels()})
    hit = {report.session for report in told if lost_ms(report)}
    share = len(hit) / max(len({report.session for report in every}), 1)
    return replace(
        work.incident,
        listener_minutes_lost=round(minutes, 3),
        loss_basis="measured" if told else "probe",
        severity=severity(minutes, max(share, unheard)),
        impact_started=_first(starved),
        impact_ended=starved[-1].time if starved else None,
    )


def _mute(scene: Scene, kept: Sequence[Finding], symptoms: frozenset[str]) -> list[str]:
    """The channels that go without sound by these symptoms of an incident's findings."""
    mute = {finding.entity for finding in kept if finding.symptom in symptoms}
    return sorted({channel for entity in mute for channel in scene.topology.felt_by(entity)})


async def _inferred(
    tenant: str, db: Connection, scene: Scene, work: Work, mute: Sequence[str], now: datetime
) -> Incident | None:
    """The incident with its impact as the server's own count of listeners lets it be reckoned; None: there is none.

    Who listened just before the onset went without sound until nothing of it was seen any more: those who have left
    meanwhile would have listened on.
    """
    onset, incident = work.incident.onset, work.incident
    every = scene.topology.channels()
    told = await samples.read(tenant, db, onset - COUNTED_BEFORE, onset, entities=every, metrics=[LISTENERS])
    counted = [sample for sample in told if sample.series.entity in mute]
    if not counted:
        return None
    ended = work.quiet_since if not holding(scene, work) else None
    minutes = inferred_minutes_lost(counted, ((ended or now) - onset).total_seconds())
    share = share_hit(mute, dict.fromkeys(every, 0.0) | usual_listeners(told))
    return replace(
        incident,
        listener_minutes_lost=round(minutes, 3),
        loss_basis="inferred",
        severity=severity(minutes, share),
        impact_started=onset,
        impact_ended=ended,
    )


def _first(starved: list[SessionReport]) -> datetime | None:
    """When the first listener lost sound: a report tells of the time before it."""
    return min((r.time - timedelta(milliseconds=r.starved_ms) for r in starved), default=None)


async def close(tenant: str, db: Connection, scene: Scene, work: Work, reason: str, now: datetime) -> None:
    """Close it in the caller's transaction, with what it has cost."""
    before = work.incident.state
    known = await measured(tenant, db, scene, work, now)
    work.incident = replace(known, state=IncidentState.CLOSED, closed=now)
    await incidents.save(tenant, db, work.incident)
    await _audit(tenant, db, scene, work, before.value, now, reason)


async def close_when_quiet(tenant: str, scene: Scene, work: Work, now: datetime) -> None:
    """Close once nothing of it has been seen for the time that echoes take: later faults are incidents of their own."""
    work.quiet_since = None if holding(scene, work) else work.quiet_since or _well_since(scene, work, now)
    if work.quiet_since is None or now - work.quiet_since < ECHO:
        return
    was_a_persons = work.incident.state is IncidentState.HANDED_OVER
    async with scene.warehouse.as_tenant(tenant) as db:
        await close(tenant, db, scene, work, "nothing of it has been seen since", now)
        if was_a_persons:  # whoever was called is told that it is over; of a mended one that was told
            await _tell(tenant, db, scene, work, "over", now)
    await report(tenant, scene, work)


def _well_since(scene: Scene, work: Work, now: datetime) -> datetime:
    """Since when nothing of it is seen: the first scrape answered again, where this tick found that; else now."""
    readings = scene.detection.recent.readings
    runs = [trailing_run(readings.get((entity, "up"), ()), above=1.0) for entity in work.incident.entities]
    answered = max((run[0].time for run in runs if run), default=now)
    return answered if now - answered < timedelta(seconds=scene.profile.tick_seconds) else now


def holding(scene: Scene, work: Work) -> list[Condition]:
    """Conditions of the platform that hold now and belong to the incident's cause; bad data is none of them."""
    roots = [cause.entity for cause in work.causes[:1]] or list(work.incident.entities[:1])
    return [
        condition
        for condition in scene.detection.conditions.values()
        if condition.kind in OPENING and any(scene.topology.related(condition.entity, root) for root in roots)
    ]


async def hand_over(tenant: str, db: Connection, scene: Scene, work: Work, reason: str, now: datetime) -> None:
    """Give it to a person, with what it has cost so far."""
    work.incident = await measured(tenant, db, scene, work, now)
    # What only lacks a person's yes is a proposal.
    refused = [answer.guard for answer in work.action.guards if not answer.allowed] if work.action else []
    tells = "proposed" if refused and set(refused) <= APPROVABLE and work.verdict is None else ""
    await move(tenant, db, scene, work, IncidentState.HANDED_OVER, reason, now, tells)


async def move(
    tenant: str,
    db: Connection,
    scene: Scene,
    work: Work,
    state: IncidentState,
    reason: str,
    now: datetime,
    tells: str = "",
) -> None:
    """Write the new state, its notices and its audit line in the caller's transaction; `tells`: what of, if not it."""
    before = work.incident.state
    work.incident = replace(work.incident, state=state)
    await incidents.save(tenant, db, work.incident)
    await _tell(tenant, db, scene, work, tells or state, now)
    await _audit(tenant, db, scene, work, before.value, now, reason)


async def _tell(tenant: str, db: Connection, scene: Scene, work: Work, what: str, now: datetime) -> None:
    await notify.enqueue(
        tenant,
        db,
        work.incident,
        work.causes,
        await actions.of_incident(tenant, db, work.incident.id),
        await verdicts.of_incident(tenant, db, work.incident.id),
        what,
        scene.settings,
        now,
    )


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


async def report(tenant: str, scene: Scene, work: Work) -> None:
    """Write the report; what has been decided stands whether or not the disk takes it."""
    try:
        async with scene.warehouse.as_tenant(tenant) as db:
            paths = await report_incident(tenant, db, work.incident.id, scene.reports)
    except (TonewatchError, OSError) as error:
        log.warning("incident %s: no report: %s", work.incident.id, error)
        return
    log.info("report of incident %s: %s", work.incident.id, ", ".join(str(path) for path in paths))
