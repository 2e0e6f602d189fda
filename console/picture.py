"""The live picture: what the watcher knows now, as the live view and `tonewatch status` show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from feature_store.sessions import PLAYING, STARVED
from flows.casework import Work
from policy.conditions import Condition
from policy.readings import Readings, last
from tonewatch.records import Finding, FindingKind
from tonewatch.topology import Topology

SHOWN_FINDINGS = 5


def picture(
    now: datetime,
    ticks: int,
    topology: Topology,
    readings: Readings,
    conditions: Iterable[Condition],
    work: Iterable[Work],
    findings: Iterable[Finding],
    champions: Mapping[str, str | None],
    host: Mapping[str, float],
    collected_since: datetime | None,
) -> dict[str, Any]:
    """Everything a person wants to see at a glance, as JSON values (docs/demo.md)."""
    wrong: dict[str, Condition] = {}
    for condition in conditions:
        if condition.entity not in wrong or condition.kind is FindingKind.RULE:
            wrong[condition.entity] = condition
    return {
        "time": now.isoformat(),
        "tick": ticks,
        "entities": {
            entity.id: {"stage": entity.stage, **_health(entity.id, readings, wrong)}
            for entity in topology.entities.values()
        },
        "sound": {e.id: _sound(e.id, readings) for e in topology.entities.values() if e.stage == "rendition"},
        "players": _players(topology, readings),
        "incidents": [_incident(w) for w in work],
        "findings": [
            {"time": f.ended.isoformat(), "entity": f.entity, "summary": f.summary, "kind": f.kind.value}
            for f in list(findings)[-SHOWN_FINDINGS:]
        ],
        "host": dict(host),
        "models": dict(champions),
        "collected_since": collected_since.isoformat() if collected_since else None,
    }


def _health(entity: str, readings: Readings, wrong: Mapping[str, Condition]) -> dict[str, str]:
    condition = wrong.get(entity)
    if condition is not None:
        health = "down" if condition.kind is FindingKind.RULE else "warn"
        since = f"since {condition.since:%H:%M:%S}"
        return {
            "health": health,
            "note": condition.actual if since in condition.actual else f"{condition.actual}, {since}",
        }
    up = last(readings, entity, "up")
    if up is not None:
        return {"health": "ok" if up.value >= 1 else "warn", "note": ""}
    heard = last(readings, entity, "probe_playlist_age_seconds") or last(readings, entity, "sessions_playing")
    return {"health": "ok" if heard else "unknown", "note": ""}


def _sound(rendition: str, readings: Readings) -> dict[str, float | None]:
    values = {
        "lufs": last(readings, rendition, "probe_loudness_lufs"),
        "silent_s": last(readings, rendition, "probe_silence_seconds"),
        "age_s": last(readings, rendition, "probe_playlist_age_seconds"),
    }
    return {name: None if sample is None else round(sample.value, 2) for name, sample in values.items()}


def _players(topology: Topology, readings: Readings) -> dict[str, float]:
    sessions = lost = 0.0
    for channel in topology.channels():
        playing, starved = last(readings, channel, PLAYING), last(readings, channel, STARVED)
        if playing is not None and starved is not None:
            sessions += playing.value
            lost += starved.value * playing.value
    return {
        "sessions": sessions,
        "starved_ratio": round(lost / sessions, 4) if sessions else 0.0,
        "stalls": round(lost),
    }


def _incident(work: Work) -> dict[str, Any]:
    cause = work.causes[0] if work.causes else None
    return {
        "id": work.incident.id,
        "title": work.incident.title,
        "state": work.incident.state.value,
        "step": work.step,
        "cause": cause.name if cause else None,
        "confidence": cause.confidence if cause else None,
        "action": f"{work.action.runbook} {work.action.target}: {work.action.state}" if work.action else None,
        "reason": work.why,
        "verdict": work.verdict.outcome.value if work.verdict else None,
        "onset": work.incident.onset.isoformat(),
        "listener_minutes_lost": work.incident.listener_minutes_lost,
    }
