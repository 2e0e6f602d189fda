"""Step 5b: rank the causes of an incident, with evidence."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gateway.platforms import Platform, ProcessState
from ml.causes import ENDED, Signs, rank
from policy.grouping import BLAMED, BREAKING, CAUSE_SEEN_LATER
from policy.readings import Readings, entities_with
from policy.strange import BY_COURSE
from tonewatch.errors import BoundaryError
from tonewatch.records import Cause, Change, Finding, Incident
from tonewatch.topology import Topology
from warehouse import changes, findings, incidents
from warehouse.calibrations import SERIES
from warehouse.database import Connection

#: Log lines quoted as evidence.
QUOTED = 3
#: Series named as evidence.
STRANGEST = 2
#: How long before the onset a line may have been logged to be part of the story.
JUST_BEFORE = timedelta(seconds=5)
#: How long before the onset a silent part may have ended to be its cause.
LATELY = timedelta(seconds=30)
#: What parts of an asyncio platform tell of their loops; this late (seconds) they answer nobody in time.
LAG = "event_loop_lag_seconds"
LAGS_BADLY = 0.3
LAGGED_LATELY = timedelta(seconds=12)
#: The platform is not waited for longer than this: a supervisor may hang with the rest.
ASK_SECONDS = 3.0


async def diagnose(
    tenant: str,
    db: Connection,
    incident: Incident,
    topology: Topology,
    states: Mapping[str, ProcessState],
    said: Mapping[str, Sequence[tuple[datetime, str]]],
    readings: Readings,
    now: datetime,
) -> list[Cause]:
    """Rank the causes of `incident` from its findings and the process states, and write them.

    `said`: warnings and errors that each entity logged lately; those since the onset are quoted as evidence.
    """
    symptoms: dict[str, set[str]] = defaultdict(set)
    kept = await findings.of_incident(tenant, db, incident.id)
    for finding in kept:
        symptoms[finding.entity].add(finding.symptom)
    known = await changes.standing(tenant, db, incident.onset - BLAMED, now, besides=incident.id)
    lately = _changed(known, symptoms, incident, topology)
    signs = [
        Signs(
            entity,
            frozenset(symptoms.get(entity, ())),
            states[entity].state if entity in states else None,
            states[entity].detail if entity in states else "",
            changed=lately.get(entity),
            strained=strained(readings, entity, now),
            planned=next((c for c in known if c.kind == "maintenance" and c.entity == entity), None),
        )
        for entity in dict.fromkeys((*symptoms, *lately))
    ]
    # A part that ended about the onset is a suspect even when it raised no finding; one that ended long ago is not.
    listed = {sign.entity for sign in signs}
    silent = [e for e, state in states.items() if e not in listed and _ended_lately(state, incident)]
    signs += [Signs(entity, frozenset(), states[entity].state, states[entity].detail) for entity in silent]
    causes = rank(signs, topology, incident.id, incident.onset)
    quoted = [
        f"{entity} logged: {event} at {time:%H:%M:%S}"
        for entity, lines in said.items()
        for time, event in lines
        if time >= incident.onset - JUST_BEFORE and topology.related(entity, causes[0].entity)
    ]
    strange = strange_series([each for each in kept if topology.related(each.entity, causes[0].entity)])
    causes[0] = replace(causes[0], evidence=(*causes[0].evidence, *strange[:STRANGEST], *quoted[:QUOTED]))
    await incidents.set_causes(tenant, db, incident.id, causes, at=now)
    return causes


def strange_series(found: Sequence[Finding]) -> list[str]:
    """What single series tell, the strangest first: what was expected, what came, and since when."""
    single = (SERIES, BY_COURSE)
    told = sorted((each for each in found if each.detector.startswith(single)), key=lambda each: -each.score)
    return [f"{each.summary}, since {each.started:%H:%M:%S}" for each in told]


def strained(readings: Readings, entity: str, now: datetime) -> bool:
    """Whether most of the other parts told of an event loop that lagged badly within the last seconds."""
    others = [each for each in entities_with(readings, LAG) if each != entity]
    lagging = 0
    for each in others:
        recent = (s.value for s in reversed(readings[each, LAG]) if s.time > now - LAGGED_LATELY)
        lagging += any(value >= LAGS_BADLY for value in recent)
    return bool(others) and 2 * lagging > len(others)


def _changed(
    known: Sequence[Change], symptoms: Mapping[str, set[str]], incident: Incident, topology: Topology
) -> dict[str, Change]:
    """The last release or configuration of each part that lies before what the incident shows."""
    found: dict[str, Change] = {}
    for change in sorted(known, key=lambda each: each.started):
        soon = incident.onset - BLAMED <= change.started <= incident.onset + CAUSE_SEEN_LATER
        felt = any(topology.reaches(change.entity, entity) for entity in symptoms)
        if change.kind in BREAKING and soon and felt:
            found[change.entity] = change
    return found


def _ended_lately(state: ProcessState, incident: Incident) -> bool:
    return state.state in ENDED and state.stopped is not None and state.stopped >= incident.onset - LATELY


async def ask_states(platform: Platform | None, processes: Mapping[str, str]) -> dict[str, ProcessState]:
    """The state of each entity's process, asked all at once; one about which the platform says nothing is left out."""
    if platform is None:
        return {}
    asking = {entity: asyncio.create_task(platform.state(process)) for entity, process in processes.items()}
    if asking:
        await asyncio.wait(asking.values(), timeout=ASK_SECONDS)
    states: dict[str, ProcessState] = {}
    for entity, task in asking.items():
        if not task.done():
            task.cancel()
        elif task.exception() is None:
            states[entity] = task.result()
        elif not isinstance(task.exception(), BoundaryError):
            task.result()  # not knowing is an answer here; a mistake of ours is none
    return states
