"""Step 7c: did it work? Readings until the SLIs have been in band long enough, or time is up; then a Verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from policy import verification
from policy.readings import Readings
from tonewatch.records import Action, Incident, Verdict
from tonewatch.settings import Profile
from tonewatch.topology import Topology


@dataclass(slots=True)
class Watch:
    """Readings since the act: when the first of the present row of good ones was taken, and how many there are."""

    good_since: datetime | None = None
    good: int = 0
    readings: int = 0
    worse: Mapping[str, float] = field(default_factory=dict)


#: Like faults that are taken to have been seen before any was: so that the first one that heals by itself is no proof.
_SEEN_BEFORE, _HEALED_BEFORE = 10, 0.5


def self_healing(healed: int, every: int) -> float:
    """The chance (0 to 1) that a fault ends by itself, from `healed` of `every` like ones that did."""
    return (healed + _HEALED_BEFORE) / (every + _SEEN_BEFORE)


def verify(
    watch: Watch,
    incident: Incident,
    action: Action,
    readings: Readings,
    topology: Topology,
    profile: Profile,
    now: datetime,
    self_healing: float = 0.0,
) -> Verdict | None:
    """Take one reading at `now`; the Verdict once enough are good in a row, harm is plain or time is up, else None.

    `self_healing`: the chance (0 to 1) that such a fault ends by itself.
    """
    acted = action.finished or action.started or now
    watch.readings += 1
    split = verification.cohorts(action.target, topology)
    if verification.in_band(readings, action.target, split.touched, topology, profile, now):
        watch.good += 1
        watch.good_since = watch.good_since or now
    else:
        watch.good, watch.good_since = 0, None
    recovered = watch.good >= profile.verify_readings
    up = now - acted >= timedelta(seconds=profile.verify_timeout_seconds)
    # Not before it could have shown: harm is looked for once as many readings were taken as recovery needs.
    if not recovered and not up and watch.readings < profile.verify_readings:
        return None
    since = watch.good_since or now - timedelta(seconds=profile.verify_readings * profile.tick_seconds)
    # A player reports every few seconds, and a ratio looks back over a window: both trail what is heard.
    lag = profile.window_seconds + profile.tick_seconds
    moments = verification.Moments(incident.onset, action.started or acted, since, lag)
    measured = verification.effects(readings, action.target, split, topology, moments, self_healing=self_healing)
    watch.worse = verification.got_worse(measured)
    if now - acted < timedelta(seconds=2 * lag):
        watch.worse = {name: share for name, share in watch.worse.items() if name not in verification.TRAILING}
        measured = {n: e for n, e in measured.items() if n not in verification.TRAILING or e.effect < 0}
    if not recovered and not up and not watch.worse:
        return None
    outcome, reason = verification.judge(recovered, measured)
    return Verdict(
        action=action.key,
        incident=incident.id,
        outcome=outcome,
        controlled=verification.has_control(readings, split, topology),
        decided=now,
        slis=verification.as_json(measured),
        reason=reason,
    )
