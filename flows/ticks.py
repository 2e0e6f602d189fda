"""A tick's pure parts: what arrived goes into the last minutes, and what is wrong is found. Live or replayed, the same.

Nothing here reads or writes, and Prefect is not needed.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from feature_store.recent import Recent
from ml.champion import Champion, Failing
from policy.conditions import Condition, Conditions, carried_on
from tasks.check import check
from tasks.detect import HORIZON, detect, failing
from tasks.rounds import TICKED as TICKED  # whoever ticks tells so
from tasks.tell import Teller
from tonewatch.errors import TonewatchError
from tonewatch.records import Finding, FindingKind, Sample
from tonewatch.settings import Profile
from tonewatch.topology import Topology

log = logging.getLogger("tonewatch.watch")
#: What a fault of our own in following may come as.
FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, TonewatchError)


@dataclass(slots=True)
class DetectionState:
    """What a tick carries on from the one before."""

    recent: Recent = field(default_factory=lambda: Recent(HORIZON))
    conditions: dict[tuple[str, str], Condition] = field(default_factory=dict)
    champions: Mapping[str, Champion] = field(default_factory=dict)
    #: Champions that cannot judge, in whose place none does.
    failing: Collection[Failing] = ()
    unsaved: list[Sample] = field(default_factory=list)
    lost: int = 0
    #: Follows single series and tells what is strange about them; None: nobody does, or the past is not caught up with.
    teller: Teller | None = None
    #: Whether a watcher ticks: then what single series cannot bear ends their following and no tick.
    live: bool = False
    #: What `restore` read: what arrives once more is known by it.
    restored: Sequence[Sample] = ()
    #: Findings that began while the watcher's machine was starved, by condition: its fault until they outlast it.
    excused: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """What arrived since the tick before, and where each source stands now.

    pushed: samples that the gateway has committed already, of deliveries up to positions["pushed"]; alerts: what an
    Alertmanager says fires now.
    """

    samples: list[Sample]
    window: tuple[datetime, datetime]
    positions: Mapping[str, Any]
    pushed: Sequence[Sample] = ()
    alerts: Sequence[Condition] = ()


def take_in(state: DetectionState, batch: Batch) -> tuple[list[Sample], list[Condition]]:
    """Put what arrived into the last minutes; the samples to be stored, and what is wrong with those that cannot be."""
    good, broken = check(batch.samples, batch.window)
    pushed, broken_too = check(batch.pushed, batch.window)
    state.recent.add(good)
    state.recent.add(pushed)
    state.recent.forget(batch.window[1])
    if state.teller is not None:
        state.teller.follower.hear(good)
        state.teller.follower.hear(pushed)
    return good, [*broken, *broken_too]


def judge(
    state: DetectionState, batch: Batch, broken: Sequence[Condition], topology: Topology, profile: Profile
) -> dict[tuple[str, str], Condition]:
    """Everything that is wrong now. broken: what `take_in` said."""
    found = detect(state.conditions, state.recent, state.champions, topology, batch.window[1], profile)
    found |= {each.key: each for each in _told(state, batch.window[1], topology, profile)}
    unjudged = [failing(each, batch.window[1]) for each in state.failing]
    return found | carried_on(state.conditions, [*broken, *batch.alerts, *unjudged])


def _told(state: DetectionState, now: datetime, topology: Topology, profile: Profile) -> Sequence[Condition]:
    """What single series tell. Live, their fault must not silence rules and champions: they are brought back anew."""
    if state.teller is None:
        return ()
    try:
        return state.teller.tick(now, topology, profile)
    except FAULTS:
        if not state.live:
            raise
        log.exception("single series say nothing until they are brought back from what is stored")
        state.teller.broken, state.teller = True, None
        return ()


def carry_on(
    tenant: str,
    state: DetectionState,
    found: dict[tuple[str, str], Condition],
    doubted: dict[tuple[str, str], str],
) -> list[Finding]:
    """What was found holds from now on; the findings that are new."""
    began = [condition.finding(tenant) for key, condition in found.items() if key not in state.conditions]
    state.excused = doubted
    state.conditions = found
    return began


def excused(
    before: Mapping[tuple[str, str], str], held: Conditions, found: Conditions, tenant: str
) -> dict[tuple[str, str], str]:
    """Which findings open no incident because a starved watcher may have made them: condition -> finding id.

    A refused connection is no illusion. What still holds when the machine is awake again was real after all.
    """
    if any(condition.kind is FindingKind.HOST for condition in found.values()):
        beginning = [c for c in found.values() if c.key not in held and c.kind is not FindingKind.HOST]
        doubtful = [c for c in beginning if c.symptom != "scrape-refused"]
        return {**before, **{condition.key: condition.finding(tenant).id for condition in doubtful}}
    return {key: finding for key, finding in before.items() if key not in found}
