"""Rules: what needs no learning. Pure functions from recent samples to the conditions that hold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from policy.alerts import own_alerts
from policy.conditions import Condition, Conditions, Rule, carried_on
from policy.metric_rules import metric_rules, unread
from policy.missing import MISSING_RULES
from policy.readings import FRESH, Readings, after, entities_with, fresh, in_a_row, last, trailing_run, usual_gap
from policy.streams import STREAM_RULES
from tonewatch.records import FindingKind
from tonewatch.settings import Profile

STARVED_RATIO = 0.2
LEAST_SESSIONS = 3
UPSTREAM_ERRORS = 5
#: A source is silent when it carries nothing while its twin, with the same programme, is this much louder (dB).
TWIN_GAP_DB = 30.0
SILENT_DBFS = -60.0
SOURCE_SILENT_SECONDS = 4.0
#: An edge's way to the origin is slow from this mean time per fetch on, while another edge's is not (seconds).
SLOW_FETCH_SECONDS = 0.4
SWIFT_FETCH_SECONDS = 0.2
LEAST_FETCHES = 3
#: Broken playlists within this time that make a finding: one may be the change itself.
BROKEN_SPAN = timedelta(seconds=15)
BROKEN_READINGS = 3

#: Scrape failures that are bad data, not an absent component.
BAD_DATA = frozenset({"garbage", "huge"})


def evaluate(
    before: Conditions, readings: Readings, now: datetime, profile: Profile
) -> dict[tuple[str, str], Condition]:
    """The conditions that hold at `now`; one that held before keeps when it began."""
    return carried_on(before, (condition for rule in RULES for condition in rule(readings, now, profile)))


def scrape_down(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A component whose metrics cannot be read, so many times in a row."""
    for entity in entities_with(readings, "up"):
        run = trailing_run(readings[entity, "up"], below=0.0)
        if len(run) < profile.scrapes_failed or not fresh(run[-1], now, profile, usual_gap(run)):
            continue
        reason = _scrape_reason(readings, entity, run[0].time)
        bad_data = reason in BAD_DATA
        yield Condition(
            entity=entity,
            symptom=f"scrape-{reason}",
            detector="rule:metrics-unreadable" if bad_data else "rule:scrape-down",
            kind=FindingKind.DATA if bad_data else FindingKind.RULE,
            since=run[0].time,
            met=run[profile.scrapes_failed - 1].time,
            summary=f"{entity} gives no metrics: {SCRAPE_REASONS.get(reason, reason)}",
            expected="metrics on every scrape",
            actual=f"{len(run)} scrapes in a row failed ({reason})",
        )


SCRAPE_REASONS = {
    "refused": "the connection is refused, nothing listens there",
    "timeout": "the connection is made but no answer comes",
    "reset": "the connection breaks off",
    "status": "it answers with an error",
    "unreachable": "there is no way to its address",
    "garbage": "what it sends is no Prometheus text",
    "huge": "what it sends is larger than allowed",
    "unknown": "its scrapes fail",  # a Prometheus of the user's own does not say why in its samples
}


def _scrape_reason(readings: Readings, entity: str, since: datetime) -> str:
    """The reason given most often since then: one reset as a process dies does not make a crash a network fault."""
    counts: dict[str, int] = {}
    for sample in readings.get((entity, "scrape_failed"), ()):
        if sample.time >= since:
            reason = dict(sample.series.labels).get("reason", "unknown")
            counts[reason] = counts.get(reason, 0) + 1
    return max(sorted(counts), key=lambda reason: counts[reason], default="unknown")


def playlist_stale(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A playlist whose next segment is overdue by a whole segment (RFC 8216 6.2.2; Apple: stale at 1.5 targets)."""
    for entity in entities_with(readings, "probe_playlist_overdue_seconds"):
        run = trailing_run(readings[entity, "probe_playlist_overdue_seconds"], above=0.1)
        if not run or run[-1].value < profile.playlist_overdue_seconds or not fresh(run[-1], now, profile):
            continue
        met = next(sample for sample in run if sample.value >= profile.playlist_overdue_seconds)
        yield Condition(
            entity=entity,
            symptom="playlist-stale",
            detector="rule:playlist-stale",
            kind=FindingKind.RULE,
            since=run[0].time,
            met=met.time,
            summary=f"{entity} publishes no new segment",
            expected=f"a new segment at most {profile.playlist_overdue_seconds:g} s after it is due",
            actual=f"overdue by {run[-1].value:.1f} s",
        )


def playlist_unreachable(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A playlist that cannot be fetched at all, so many times in a row."""
    for entity, run in in_a_row(readings, "probe_unreachable", now, profile, above=1.0):
        yield Condition(
            entity=entity,
            symptom="playlist-unreachable",
            detector="rule:playlist-unreachable",
            kind=FindingKind.RULE,
            since=run[0].time,
            met=run[profile.scrapes_failed - 1].time,
            summary=f"{entity} has no playlist to be fetched",
            expected="a playlist on every request of the probe",
            actual=f"{len(run)} requests in a row failed",
        )


def silence(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """Silence on air for longer than the profile allows."""
    for entity in entities_with(readings, "probe_silence_seconds"):
        samples = readings[entity, "probe_silence_seconds"]
        run = trailing_run(samples, above=0.001)
        allowed = profile.silence_in(entity)
        if not run or run[-1].value < allowed or not fresh(run[-1], now, profile):
            continue
        met = next(sample for sample in run if sample.value >= allowed)
        yield Condition(
            entity=entity,
            symptom="silence",
            detector="rule:silence",
            kind=FindingKind.RULE,
            since=met.time - timedelta(seconds=met.value),
            met=met.time,
            summary=f"{entity} is silent",
            expected=f"less than {allowed:g} s below -60 dBFS",
            actual=f"{run[-1].value:.1f} s",
        )


def listeners_starved(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """Listeners for whom sound is due and absent, more than a fifth of the listened time in two readings running."""
    for entity in entities_with(readings, "sessions_starved_ratio"):
        run = trailing_run(readings[entity, "sessions_starved_ratio"], above=STARVED_RATIO)
        sessions = last(readings, entity, "sessions_playing")
        if len(run) < 2 or sessions is None or sessions.value < LEAST_SESSIONS:
            continue
        if not fresh(run[-1], now, profile):
            continue
        yield Condition(
            entity=entity,
            symptom="listeners-starved",
            detector="rule:listeners-starved",
            kind=FindingKind.RULE,
            since=run[0].time,
            met=run[1].time,
            summary=f"listeners of {entity} hear nothing",
            expected=f"sound absent in less than {STARVED_RATIO:.0%} of the listened time",
            actual=f"absent in {run[-1].value:.0%}, {sessions.value:.0f} sessions",
        )


def upstream_errors(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """An edge that fails to fetch from upstream, several times within ten seconds."""
    for entity in entities_with(readings, "edge_upstream_errors_total"):
        span = max(FRESH, timedelta(seconds=3 * profile.scrape_seconds))
        recent = after(readings[entity, "edge_upstream_errors_total"], now - span)
        steps = [(a, b) for a, b in pairwise(recent) if b.value > a.value]
        grown = sum(b.value - a.value for a, b in steps)
        if grown < UPSTREAM_ERRORS:
            continue
        yield Condition(
            entity=entity,
            symptom="upstream-errors",
            detector="rule:upstream-errors",
            kind=FindingKind.RULE,
            since=steps[0][0].time,
            met=steps[-1][1].time,
            summary=f"{entity} cannot fetch from upstream",
            expected=f"fewer than {UPSTREAM_ERRORS} failed fetches in {FRESH.seconds} s",
            actual=f"{grown:.0f} failed fetches",
        )


def source_silent(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A source that carries silence while its twin carries the programme: no pause, no quiet music, a dead line."""
    for entity in entities_with(readings, "source_twin_gap_db"):
        gaps = trailing_run(readings[entity, "source_twin_gap_db"], below=-TWIN_GAP_DB)
        level = last(readings, entity, "source_level_dbfs")
        if not gaps or level is None or level.value > SILENT_DBFS or not fresh(gaps[-1], now, profile):
            continue
        met = [gap for gap in gaps if (gap.time - gaps[0].time).total_seconds() >= SOURCE_SILENT_SECONDS]
        if not met:
            continue
        yield Condition(
            entity=entity,
            symptom="source-silent",
            detector="rule:source-silent",
            kind=FindingKind.RULE,
            since=gaps[0].time,
            met=met[0].time,
            summary=f"{entity} carries silence, its twin carries the programme",
            expected=f"a level within {TWIN_GAP_DB:g} dB of its twin's",
            actual=f"{level.value:.0f} dBFS, {-gaps[-1].value:.0f} dB below its twin",
        )


def playlist_broken(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """Playlists that break a rule of HLS again and again (RFC 8216: window, target duration): no player can help it."""
    for entity in entities_with(readings, "probe_playlist_broken"):
        recent = [s for s in after(readings[entity, "probe_playlist_broken"], now - BROKEN_SPAN) if s.value > 0]
        if len(recent) < BROKEN_READINGS:
            continue
        rules = sorted({dict(sample.series.labels).get("rule", "unknown") for sample in recent})
        yield Condition(
            entity=entity,
            symptom="playlist-broken",
            detector="rule:playlist-broken",
            kind=FindingKind.RULE,
            since=recent[0].time,
            met=recent[BROKEN_READINGS - 1].time,
            summary=f"{entity} publishes playlists that break the rules of HLS: {', '.join(rules)}",
            expected="a window of three target durations, segments no longer than the target (RFC 8216)",
            actual=f"broken in {len(recent)} readings of the last {BROKEN_SPAN.seconds} s",
        )


def path_slow(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """One edge whose fetches take long while another edge's, from the same origin, do not: its way there is slow.

    A slow origin is slow for all, and so is no finding here.
    """
    span = max(FRESH, timedelta(seconds=3 * profile.scrape_seconds))
    means = {
        entity: mean
        for entity in entities_with(readings, "edge_upstream_seconds_count")
        if (mean := mean_fetch(readings, entity, now - span)) is not None
    }
    swift = [entity for entity, (seconds, *_) in means.items() if seconds <= SWIFT_FETCH_SECONDS]
    for entity, (seconds, since, met) in means.items():
        if seconds < SLOW_FETCH_SECONDS or not swift:
            continue
        yield Condition(
            entity=entity,
            symptom="path-slow",
            detector="rule:path-slow",
            kind=FindingKind.RULE,
            since=since,
            met=met,
            summary=f"{entity} waits long for the origin, {', '.join(swift[:3])} does not",
            expected=f"less than {SLOW_FETCH_SECONDS:g} s a fetch, as elsewhere",
            actual=f"{seconds:.2f} s a fetch",
        )


def mean_fetch(
    readings: Readings, entity: str, start: datetime, end: datetime | None = None
) -> tuple[float, datetime, datetime] | None:
    """Mean seconds of an edge's fetches from `start` (to `end`), and when they began and ended.

    None: too few, or a restart.
    """
    counts, sums = (
        [sample for sample in after(readings.get((entity, metric), ()), start) if end is None or sample.time <= end]
        for metric in ("edge_upstream_seconds_count", "edge_upstream_seconds_sum")
    )
    if len(counts) < 2 or len(sums) < 2:
        return None
    fetches, seconds = counts[-1].value - counts[0].value, sums[-1].value - sums[0].value
    if fetches < LEAST_FETCHES or seconds < 0:
        return None
    return seconds / fetches, counts[0].time, counts[-1].time


def host_starved(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """The watcher's own machine lets nobody run: what it measures now is not the platform's fault."""
    for entity in entities_with(readings, "host_starved_seconds"):
        recent = after(readings[entity, "host_starved_seconds"], now - FRESH)
        starved = sum(sample.value for sample in recent)
        if starved < 1.0:
            continue
        yield Condition(
            entity=entity,
            symptom="host-starved",
            detector="rule:host-starved",
            kind=FindingKind.HOST,
            since=recent[0].time,
            met=recent[-1].time,
            summary="the watcher's machine is starved; anomalies seen now are not judged",
            expected="a sleeping process wakes within 250 ms",
            actual=f"late in {starved:.0f} of the last {FRESH.seconds} s",
        )


def segment_damaged(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """Segments that do not decode, or last another time than the playlist says."""
    for entity in entities_with(readings, "probe_decode_errors"):
        recent = [s for s in after(readings[entity, "probe_decode_errors"], now - FRESH) if s.value > 0]
        if not recent:
            continue
        yield Condition(
            entity=entity,
            symptom="segment-damaged",
            detector="rule:segment-damaged",
            kind=FindingKind.DATA,
            since=recent[0].time,
            met=recent[0].time,
            summary=f"{entity} delivers segments that do not decode",
            expected="no decoding error",
            actual=f"{sum(s.value for s in recent):.0f} errors in {len(recent)} segments",
        )


RULES: tuple[Rule, ...] = (
    scrape_down,
    own_alerts,
    metric_rules,
    unread,
    playlist_stale,
    playlist_unreachable,
    silence,
    source_silent,
    playlist_broken,
    path_slow,
    listeners_starved,
    upstream_errors,
    segment_damaged,
    host_starved,
    *STREAM_RULES,
    *MISSING_RULES,
)
