"""What players report, as series: how many listen, and for what share of their time sound is due and absent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from tonewatch.records import Sample, Series, SessionReport

PLAYING = "sessions_playing"
STARVED = "sessions_starved_ratio"
SLOW = "sessions_slow_ratio"
#: A session is slow when its player is delivered less than this many times the bitrate it plays: its buffer cannot grow
#: back after a stall.
ENOUGH = 2.0
#: States in which a listener wants sound (CMCD `sta`).
LISTENING = frozenset({"s", "p", "r"})


def session_samples(reports: Iterable[SessionReport], now: datetime, seconds: float) -> list[Sample]:
    """Series of the reports of (now - seconds, now], at `now`: per channel and per edge.

    The starved ratio is the mean over sessions of the time without sound in the window, each capped at the window; the
    slow ratio the share of sessions whose newest measured throughput is below ENOUGH times their bitrate.
    """
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
    return samples
