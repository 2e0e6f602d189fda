"""Who is told next when nobody answers: the numbers of the sheet (research/security.md 3), or the profile's. Pure."""

from __future__ import annotations

from datetime import timedelta

from tonewatch.settings import Escalation

#: From who is told first to who is told last; `none`: nobody was told yet.
LEVELS = ("none", "L1", "L2", "L3")


def higher(one: str, other: str) -> bool:
    """Whether level `one` is above level `other`."""
    return LEVELS.index(one) > LEVELS.index(other)


def due_level(waited: timedelta, severity: str, policy: Escalation) -> str:
    """The level that an incident must have reached which nobody has answered for `waited` since L1 was told.

    >>> due_level(timedelta(minutes=5), "critical", Escalation())
    'L2'
    """
    critical = severity == "critical"
    minutes = waited.total_seconds() / 60
    if minutes >= (policy.l3_minutes_critical if critical else policy.l3_minutes):
        return "L3"
    if minutes >= (policy.l2_minutes_critical if critical else policy.l2_minutes):
        return "L2"
    return "L1"
