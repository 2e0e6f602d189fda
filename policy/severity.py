"""Severity in the one currency, listener-minutes lost, and by the share of listeners that are hit. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from tonewatch.availability import STARTUP_ALLOWED_MS
from tonewatch.records import Sample, SessionReport

MAJOR_MINUTES = 5.0
CRITICAL_MINUTES = 60.0
#: From this share of the listeners on it is major, however few they are: to a small station they are everybody.
MAJOR_SHARE = 0.5


def lost_ms(report: SessionReport) -> int:
    """Milliseconds of sound that were due and absent, by one report."""
    late_start = max(0, (report.startup_ms or 0) - STARTUP_ALLOWED_MS)
    return report.starved_ms + late_start


def listener_minutes_lost(reports: Iterable[SessionReport], channels: Sequence[str], since: datetime) -> float:
    """Minutes lost on `channels` in reports of time `since` or later."""
    total = sum(lost_ms(report) for report in reports if report.channel in channels and report.time >= since)
    return total / 60_000


def usual_listeners(counted: Iterable[Sample]) -> dict[str, float]:
    """Channel -> how many usually listen, by the counts given."""
    before: dict[str, list[float]] = defaultdict(list)
    for sample in counted:
        before[sample.series.entity].append(sample.value)
    return {channel: statistics.median(values) for channel, values in before.items()}


def inferred_minutes_lost(counted: Iterable[Sample], seconds: float) -> float:
    """Minutes lost by those who listened, by each channel's usual count before, when sound was absent so long."""
    return sum(usual_listeners(counted).values()) * max(0.0, seconds) / 60


def share_hit(mute: Collection[str], listeners: Mapping[str, float]) -> float:
    """The share of all listeners who are on channels without sound, 0 to 1; of all channels, where nobody listens.

    listeners: channel -> how many listen, of every channel there is.
    """
    hit = [channel for channel in listeners if channel in mute]
    everybody = sum(listeners.values())
    if everybody:
        return sum(listeners[channel] for channel in hit) / everybody
    return len(hit) / len(listeners) if listeners else 0.0


def severity(minutes: float, share: float = 0.0) -> str:
    """`minor`, `major` or `critical`, by listener-minutes lost and by the share of listeners hit (0 to 1)."""
    if minutes >= CRITICAL_MINUTES:
        return "critical"
    return "major" if minutes >= MAJOR_MINUTES or share >= MAJOR_SHARE else "minor"
