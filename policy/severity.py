"""Severity in the one currency: listener-minutes lost. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from tonewatch.availability import STARTUP_ALLOWED_MS
from tonewatch.records import Sample, SessionReport

MAJOR_MINUTES = 5.0
CRITICAL_MINUTES = 60.0


def lost_ms(report: SessionReport) -> int:
    """Milliseconds of sound that were due and absent, by one report."""
    late_start = max(0, (report.startup_ms or 0) - STARTUP_ALLOWED_MS)
    return report.starved_ms + late_start


def listener_minutes_lost(reports: Iterable[SessionReport], channels: Sequence[str], since: datetime) -> float:
    """Minutes lost on `channels` in reports of time `since` or later."""
    total = sum(lost_ms(report) for report in reports if report.channel in channels and report.time >= since)
    return total / 60_000


def inferred_minutes_lost(counted: Iterable[Sample], seconds: float) -> float:
    """Minutes lost by those who listened, by each channel's usual count before, when sound was absent so long."""
    before: dict[str, list[float]] = defaultdict(list)
    for sample in counted:
        before[sample.series.entity].append(sample.value)
    return sum(statistics.median(values) for values in before.values()) * max(0.0, seconds) / 60


def severity(minutes: float) -> str:
    """`minor`, `major` or `critical`."""
    if minutes >= CRITICAL_MINUTES:
        return "critical"
    return "major" if minutes >= MAJOR_MINUTES else "minor"
