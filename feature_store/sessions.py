"""What players report, as series: how many listen, and for what share of their time sound is due and absent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from tonewatch.availability import LISTENING
from tonewatch.records import Sample, Series, SessionReport

PLAYING = "sessions_playing"
STARVED = "sessions_starved_ratio"
SILENT = "sessions_silent"
SLOW = "sessions_slow_ratio"
#: A session is slow when its player is delivered less than this many times the bitrate it plays: its buffer cannot grow
#: back after a stall.
ENOUGH = 2.0
#: Seconds between two reports of a session where none has told twice.
INTERVAL_S = 10.0
#: After so many intervals without a report a session is silent.
INTERVALS = 3


def session_samples(reports: Iterable[SessionReport], now: datetime, seconds: float) -> list[Sample]:
    """Series of the reports of (now - seconds, now], at `now`: per channel and per edge.

    The starved ratio is the mean over sessions of the time without sound in the window, each capped at the window; the
    slow ratio the share of sessions whose newest measured throughput is below ENOUGH times their bitrate.
    """
    reports = list(reports)
    start = now - timedelta(seconds=seconds)
    starved: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    slow: dict[str, dict[str, bool]] = defaultdict(dict)
    for report in reports:
        if not start < report.time <= now or report.state not in LISTENING:
            continue
        for entity in (report.channel, report.edge):
            if entity:
                starved[entity][report.session] += report.starved_ms
                if report.throughput_kbps and report.bitrate_kbps:
                    slow[entity][report.session] = report.throughput_kbps < ENOUGH * report.bitrate_kbps
    samples: list[Sample] = []
    for entity, sessions in sorted(starved.items()):
        total = sum(min(lost / 1000, seconds) for lost in sessions.values())
        samples.append(Sample(Series(entity, PLAYING, unit="sessions"), now, float(len(sessions))))
        samples.append(Sample(Series(entity, STARVED, unit="1"), now, total / (seconds * len(sessions))))
        if slow[entity]:
            share = sum(slow[entity].values()) / len(slow[entity])
            samples.append(Sample(Series(entity, SLOW, unit="1"), now, share))
    return samples + _silent_samples(reports, now)


def silent(reports: Mapping[str, Sequence[SessionReport]], now: datetime) -> int:
    """How many sessions of one channel fell silent together while they were listening; 0 while any still reports.

    reports: session -> its reports by time. Sessions that leave without a word do so one by one: those count of which
    the last report lies within an interval and a half of the very last.
    """
    steps = [
        (b.time - a.time).total_seconds() for told in reports.values() for a, b in pairwise(told) if b.event == "t"
    ]
    interval = median(steps) if steps else INTERVAL_S
    newest = max(told[-1].time for told in reports.values())
    if (now - newest).total_seconds() <= INTERVALS * interval:
        return 0
    together = newest - timedelta(seconds=1.5 * interval)
    return sum(told[-1].state in LISTENING and told[-1].time >= together for told in reports.values())


def _silent_samples(reports: Iterable[SessionReport], now: datetime) -> list[Sample]:
    channels: dict[str, dict[str, list[SessionReport]]] = defaultdict(lambda: defaultdict(list))
    for report in sorted(reports, key=lambda report: report.time):
        if report.channel and report.time <= now:
            channels[report.channel][report.session].append(report)
    return [
        Sample(Series(channel, SILENT, unit="sessions"), now, float(silent(sessions, now)))
        for channel, sessions in sorted(channels.items())
    ]
