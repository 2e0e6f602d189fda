"""Ranks causes by one walk over topology and signs: only a change of state can be a root cause.

The signs that tell faults apart are those measured in research/audio.md 5.1: a crash refuses connections at once, a
hang accepts them and does not answer, and both starve only what lies downstream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tonewatch.records import Cause, CauseKind, Change
from tonewatch.topology import Topology

#: Ended by itself. STOPPED is not among them: somebody asked for that.
ENDED = frozenset({"EXITED", "FATAL", "BACKOFF"})
ASKED = frozenset({"STOPPED", "STOPPING"})
#: What is certain when a sign stands alone; evidence adds to it, rivals take from it.
REFUSED_ALONE = 0.6
TIMEOUT_ALONE = 0.6
#: The rule compared it with a twin or a sibling already: nothing else explains what it saw.
COMPARED = 0.88
#: What does not answer while everybody lags may only be waiting for its turn.
EVERYBODY_LAGS = 0.3
#: Something was released or reconfigured, and what lies behind it broke afterwards.
CHANGED_BEFORE = 0.75
#: ... in a way that only what publishes can break.
BROKEN_BY_RULE = 0.1
#: ... at most this long afterwards.
SOON = timedelta(seconds=90)
CHANGED_SOON = 0.05
ENDED_SAYS_SUPERVISOR = 0.3
RUNS_SAYS_SUPERVISOR = 0.25
NOTHING_UPSTREAM = 0.05
FELT_DOWNSTREAM = 0.04
UNKNOWN = 0.2


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of one entity at the time of diagnosis."""

    entity: str
    symptoms: frozenset[str]
    process_state: str | None = None  # the supervisor's word, None when it was not asked or did not answer
    exit_detail: str = ""
    changed: Change | None = None  # the last release or configuration of it before the onset
    planned: Change | None = None  # the announced work on it that is under way
    strained: bool = False  # most other parts' event loops lag as well: their machines let nobody run


def rank(signs: Sequence[Signs], topology: Topology, incident: str, onset: datetime | None = None) -> list[Cause]:
    """Causes of an incident, the most probable first; `unknown` when no sign tells of a change of state.

    >>> seen = [Signs("component:a", frozenset({"scrape-refused"}), "EXITED", "killed by signal 9")]
    >>> rank(seen, Topology([]), "i1")[0].name
    'component:a:crash'
    """
    by_entity = {sign.entity: sign for sign in signs}
    candidates = [c for sign in signs if (c := _candidate(sign, by_entity, topology, onset)) is not None]
    if not candidates:
        candidates = [_unknown(by_entity, topology)]
    candidates.sort(key=lambda c: (-c[1], c[0].entity))
    return [
        Cause(
            incident=incident,
            rank=position,
            entity=sign.entity,
            kind=kind,
            confidence=round(confidence, 3),
            evidence=tuple(evidence),
            path=_path(sign.entity, topology),
        )
        for position, (sign, confidence, kind, evidence) in enumerate(candidates, start=1)
    ]


Candidate = tuple[Signs, float, CauseKind, list[str]]


def _candidate(sign: Signs, known: Mapping[str, Signs], topology: Topology, onset: datetime | None) -> Candidate | None:
    felt = [e for e in known if e != sign.entity and known[e].symptoms and topology.reaches(sign.entity, e)]
    changed = _state_change(sign) or _bad_change(sign, [known[e] for e in felt], onset)
    if changed is None:
        return None
    kind, confidence, evidence = changed
    upstream = [e for e in known if e != sign.entity and topology.reaches(e, sign.entity) and _is_gone(known[e])]
    # What a part does to others behind it cannot be laid to a change of a part before it that answers well.
    if kind in {CauseKind.BAD_RELEASE, CauseKind.BAD_CONFIG}:
        upstream += [e for e in felt if _is_gone(known[e])]
    if upstream:
        confidence /= 2
        evidence.append(f"but {', '.join(sorted(upstream))} changed state as well")
    else:
        confidence += NOTHING_UPSTREAM
        evidence.append("nothing upstream of it changed state")
    if felt:
        confidence += FELT_DOWNSTREAM
        evidence.append(f"felt downstream at {', '.join(sorted(felt))}")
    return sign, min(confidence, 0.99), kind, evidence


def _bad_change(
    sign: Signs, felt: Sequence[Signs], onset: datetime | None
) -> tuple[CauseKind, float, list[str]] | None:
    """A release or configuration after which what lies behind the part broke, while the part itself answers."""
    change = sign.changed
    if change is None or not (felt or sign.symptoms):
        return None
    kind = CauseKind.BAD_RELEASE if change.kind == "release" else CauseKind.BAD_CONFIG
    confidence = CHANGED_BEFORE
    evidence = [f"{change.kind} by {change.author} at {change.started:%H:%M:%S}: {change.summary}"]
    if any("playlist-broken" in each.symptoms for each in felt):
        confidence += BROKEN_BY_RULE
        evidence.append("since then its playlists break the rules of HLS")
    if onset is not None and onset - change.started <= SOON:
        confidence += CHANGED_SOON
        evidence.append(f"first signs {max((onset - change.started).total_seconds(), 0.0):.0f} s after it")
    return kind, confidence, evidence


def _is_gone(sign: Signs) -> bool:
    """Whether it changed its state and has not come back since."""
    back = sign.process_state == "RUNNING" and "scrape-timeout" not in sign.symptoms
    return not back and _state_change(sign) is not None


def _state_change(sign: Signs) -> tuple[CauseKind, float, list[str]] | None:
    if sign.process_state in ENDED:
        detail = f" ({sign.exit_detail})" if sign.exit_detail else ""
        confidence = REFUSED_ALONE + ENDED_SAYS_SUPERVISOR
        return CauseKind.CRASH, confidence, [f"its supervisor says that its process has ended{detail}"]
    if sign.process_state in ASKED and sign.symptoms:
        told = [f"announced by {sign.planned.author}: {sign.planned.summary}"] if sign.planned else []
        told = [*told, "its supervisor was asked to stop it: somebody's work, no crash"]
        return CauseKind.PLANNED_WORK, REFUSED_ALONE + (ENDED_SAYS_SUPERVISOR if sign.planned else 0.0), told
    if "scrape-refused" in sign.symptoms:
        if sign.process_state == "RUNNING":
            # Up again, or listening no more: the crash is over or never was; nobody may act on this.
            return CauseKind.CRASH, REFUSED_ALONE - 0.2, ["connections were refused, yet its supervisor says it runs"]
        return CauseKind.CRASH, REFUSED_ALONE, ["connections to it are refused"]
    if "scrape-timeout" in sign.symptoms:
        confidence, evidence = TIMEOUT_ALONE, ["it accepts connections and does not answer"]
        if sign.process_state == "RUNNING":
            confidence += RUNS_SAYS_SUPERVISOR
            evidence.append("its supervisor says that it runs")
        if sign.strained:
            confidence -= EVERYBODY_LAGS
            evidence.append("but most other parts' event loops lag too: the machine may be overloaded")
        return CauseKind.HANG, confidence, evidence
    if "source-silent" in sign.symptoms:
        return CauseKind.SOURCE_SILENT, COMPARED, ["it carries silence while its twin carries the same programme"]
    if "path-slow" in sign.symptoms:
        return CauseKind.LATENCY, COMPARED, ["its fetches from the origin are slow, another edge's are not"]
    return None


def _unknown(known: Mapping[str, Signs], topology: Topology) -> Candidate:
    """The most upstream entity that shows anything."""
    first = min(known, key=lambda e: (sum(topology.reaches(o, e) for o in known if o != e), e))
    symptoms = ", ".join(sorted(known[first].symptoms))
    return known[first], UNKNOWN, CauseKind.UNKNOWN, [f"first seen there: {symptoms}; nothing has changed its state"]


def _path(entity: str, topology: Topology) -> tuple[str, ...]:
    channels = topology.felt_by(entity)
    return topology.path(entity, channels[0]) if channels else (entity,)
