"""Step 7c: did it work? Readings until the SLIs have been in band long enough, or time is up; then a Verdict."""

from __future__ import annotations

from dataclasses import dataclass
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


def verify(
    watch: Watch,
    incident: Incident,
    action: Action,
    readings: Readings,
    topology: Topology,
    profile: Profile,
    now: datetime,
) -> Verdict | None:
    """Take one reading at `now`; the Verdict once enough are good in a row or time is up, else None."""
    acted = action.finished or action.started or now
    split = verification.cohorts(action.target, topology)
    if verification.in_band(readings, action.target, split.touched, topology, profile, now):
        watch.good += 1
        watch.good_since = watch.good_since or now
    else:
        watch.good, watch.good_since = 0, None
    recovered = watch.good >= profile.verify_readings
    if not recovered and now - acted < timedelta(seconds=profile.verify_timeout_seconds):
        return None
    since = watch.good_since or now - timedelta(seconds=profile.verify_readings * profile.tick_seconds)
    # A player reports every few seconds, and a ratio looks back over a window: both trail what is heard.
    lag = profile.window_seconds + profile.tick_seconds
    moments = verification.Moments(incident.onset, action.started or acted, since, lag)
    measured = verification.effects(readings, action.target, split, topology, moments)
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
