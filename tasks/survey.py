"""Step 7a: gathers what the guardrails may know of a remedy: from readings, warehouse and the platform's look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from gateway.platforms.remedies import Look
from policy import rules, runbooks
from policy.conditions import Conditions
from policy.guardrails import Attempt, Reading, Replica, TargetState, Trial, readings
from policy.readings import Readings, last
from policy.verification import NOT_BACK
from tonewatch import switch
from tonewatch.records import (
    Action,
    ActionState,
    Approval,
    Cause,
    CauseKind,
    FindingKind,
    Incident,
    Outcome,
    Sample,
)
from tonewatch.settings import Grant, Profile, Settings
from tonewatch.topology import Topology
from warehouse import actions, changes, incidents, labels, verdicts
from warehouse.database import Connection

#: How long what was done counts for budgets, cool-downs and the circuit breaker.
MEMORY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Sight:
    """What telemetry tells of a platform at one moment, and the profile by which it is judged."""

    profile: Profile
    topology: Topology
    readings: Readings
    conditions: Conditions
    host_starved: bool


@dataclass(frozen=True, slots=True)
class Site:
    """What a watcher knows of its platform at one moment."""

    settings: Settings
    sight: Sight

    @property
    def profile(self) -> Profile:
        """By which it is watched."""
        return self.sight.profile

    @property
    def topology(self) -> Topology:
        """Its parts."""
        return self.sight.topology


def target_state(look: Look | None) -> TargetState | None:
    """The platform's look in the guardrails' words; None: the platform did not say."""
    if look is None:
        return None
    process = look.process
    return TargetState(
        process=process.state if process else None,
        pid=process.pid if process else None,
        since=(process.started if process.pid else process.stopped) if process else None,
        input=look.input,
        own_input=look.own_input,
        inputs=look.inputs,
        running=look.running,
        previous=look.previous,
        drained=look.drained,
    )


async def survey(
    tenant: str,
    db: Connection,
    site: Site,
    incident: Incident,
    cause: Cause,
    action: Action,
    grant: Grant | None,
    look: Look | None,
    approvals: Sequence[Approval],
    now: datetime,
) -> Attempt:
    """Everything known of `action` at `now`; what is not known stays None, which refuses."""
    lately = await actions.since(tenant, db, now - MEMORY)
    named = await incidents.causes(tenant, db, incident.id)
    done = await actions.of_incident(tenant, db, incident.id)
    seen = sighted(site.sight, cause, action, grant, target_state(look), now)
    return replace(
        seen,
        enabled=site.settings.auto_remediation,
        switch=switch.read(site.settings.state_dir),
        changes=await changes.read(tenant, db, now, now + timedelta(microseconds=1)),
        recent=lately,
        trials=await _trials(tenant, db, lately),
        approvals=approvals,
        vetoed_by=await labels.vetoed_by(tenant, db, action.key),
        # As it is written down, which is what another watcher acts on.
        root=named[0].entity if named else None,
        of_incident=done,
        undone=[
            a for a in done if a.runbook.startswith(runbooks.UNDO) and a.key != action.key and a.started is not None
        ],
    )


def sighted(
    sight: Sight, cause: Cause, action: Action, grant: Grant | None, state: TargetState | None, now: datetime
) -> Attempt:
    """What telemetry and profile tell of `action` at `now`; what is written down is not known yet. Pure."""
    target = action.target
    return Attempt(
        now=now,
        action=action,
        cause=cause,
        runbook=runbooks.named(action.runbook.removeprefix(runbooks.UNDO)),
        limits=sight.profile.guardrails,
        resolved=(target,) if target in sight.topology.entities else (),
        replicas=replicas(sight, target, state, now),
        state=state,
        decided_on=action.parameters.get("decided_on"),
        readings=signs_of(cause, sight),
        interval_s=interval_s(cause, sight.profile),
        ages=_ages(sight, target, now),
        host_starved=sight.host_starved,
        sound=_sound(sight, target),
        grant=grant,
        requester=action.parameters.get("requested_by", "tonewatch"),
        upstream=upstream(sight, target, now),
        prior=action.parameters.get("prior"),
    )


def interval_s(cause: Cause, profile: Profile) -> float:
    """Seconds between two readings of what shows the fault, as the watcher gets them.

    A scrape of what hangs takes its time-out, which is more than the time between two scrapes.
    """
    hanging = 2.0 if cause.kind is CauseKind.HANG else 0.0
    return max(profile.scrape_seconds, profile.probe_seconds, hanging)


def signs_of(cause: Cause, sight: Sight) -> tuple[Reading, ...]:
    """The readings of what shows the fault, each with whether it held."""
    held = sight.readings
    match cause.kind:
        case CauseKind.CRASH | CauseKind.HANG:
            return readings(held.get((cause.entity, "up"), ()), lambda value: value < 1)
        case CauseKind.SOURCE_SILENT:
            gaps = held.get((cause.entity, "source_twin_gap_db"), ())
            return tuple(Reading(s.time, abs(s.value), s.value <= -rules.TWIN_GAP_DB) for s in gaps)
        case CauseKind.LATENCY:
            return _fetches(held, cause.entity)
        case CauseKind.BAD_RELEASE | CauseKind.BAD_CONFIG:
            return _publications(sight, cause.entity)
    return ()


def _fetches(held: Readings, entity: str) -> tuple[Reading, ...]:
    """Mean seconds per fetch between two scrapes in which there was one."""
    counts = held.get((entity, "edge_upstream_seconds_count"), ())
    sums = {sample.time: sample.value for sample in held.get((entity, "edge_upstream_seconds_sum"), ())}
    found = []
    for before, after in pairwise(counts):
        fetches = after.value - before.value
        if fetches > 0 and before.time in sums and after.time in sums:
            mean = (sums[after.time] - sums[before.time]) / fetches
            found.append(Reading(after.time, mean, mean >= rules.SLOW_FETCH_SECONDS))
    return tuple(found)


def _publications(sight: Sight, entity: str) -> tuple[Reading, ...]:
    """Whether any playlist behind `entity` was broken, or its listeners without sound, when it was last published.

    A rule is seen broken when a playlist is published, which is rarer than it is asked for.
    """
    found: dict[datetime, float] = {}
    broken: list[Sample] = []
    for (behind, metric), samples in sight.readings.items():
        if metric == "probe_playlist_broken" and sight.topology.reaches(entity, behind):
            broken += [sample for sample in samples if sample.value > 0]
            found |= {sample.time: 0.0 for sample in samples}
    for time in found:
        lasts = timedelta(seconds=3 * sight.profile.probe_seconds + 2)
        found[time] = float(sum(time - lasts < sample.time <= time for sample in broken))
    return tuple(Reading(time, value, value > 0) for time, value in sorted(found.items()))


def replicas(sight: Sight, target: str, state: TargetState | None, now: datetime) -> list[Replica]:
    """The parts of the target's service: of the same stage, for the same channel."""
    topology = sight.topology
    drained = state.drained if state is not None and state.drained is not None else frozenset()
    return [
        Replica(entity, _healthy(sight, entity, now), entity in drained)
        for entity in topology.entities
        if topology.stage(entity) == topology.stage(target) and topology.channel(entity) == topology.channel(target)
    ]


def upstream(sight: Sight, target: str, now: datetime) -> Mapping[str, bool | None]:
    """What feeds the target -> whether it is red."""
    topology = sight.topology
    found: dict[str, bool | None] = {}
    for entity in topology.parts():
        if entity != target and topology.reaches(entity, target):
            healthy = _healthy(sight, entity, now)
            found[entity] = None if healthy is None else not healthy
    return found


def _healthy(sight: Sight, entity: str, now: datetime) -> bool | None:
    """Whether the part answers; None: it was not asked lately."""
    up = last(sight.readings, entity, "up")
    lasts = timedelta(seconds=max(3 * sight.profile.scrape_seconds, 10.0) + sight.profile.tick_seconds)
    if up is None or now - up.time > lasts:
        return None
    return up.value >= 1


def _ages(sight: Sight, target: str, now: datetime) -> dict[str, float]:
    """How old the newest reading of the target is, in seconds, less the time for which a tick collects."""
    up = last(sight.readings, target, "up")
    if up is None:
        return {}
    return {"metrics": max(0.0, (now - up.time).total_seconds() - sight.profile.tick_seconds)}


def _sound(sight: Sight, target: str) -> bool:
    """Whether no contract is broken by what the target itself tells."""
    return not any(
        condition.kind is FindingKind.DATA and condition.entity == target and condition.symptom.startswith("contract-")
        for condition in sight.conditions.values()
    )


async def _trials(tenant: str, db: Connection, lately: Sequence[Action]) -> list[Trial]:
    """How the tenant's acts of late ended."""
    judged = {verdict.action: verdict for verdict in await verdicts.of_actions(tenant, db, [a.key for a in lately])}
    found = []
    for action in lately:
        verdict = judged.get(action.key)
        ended = verdict.decided if verdict else action.finished
        if action.runbook.startswith(runbooks.UNDO) or ended is None or action.state is ActionState.REFUSED:
            continue
        harmed = verdict is not None and (
            verdict.outcome is Outcome.HARMED
            or (verdict.outcome is Outcome.INCONCLUSIVE and verdict.reason.startswith(NOT_BACK))
        )
        found.append(Trial(action.runbook, ended, action.state is ActionState.FAILED or harmed))
    return found
