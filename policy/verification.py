"""Did the remedy work? Three-valued, against the platform's own SLIs and an untouched cohort if there is one. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from statistics import fmean, variance
from typing import Any

from policy.readings import Readings, entities_with, last
from policy.rules import SLOW_FETCH_SECONDS, mean_fetch
from tonewatch.records import Outcome
from tonewatch.settings import Profile
from tonewatch.topology import Topology

STARVED_IN_BAND = 0.05
#: Sessions that an untouched cohort must have to serve as control.
CONTROL_SESSIONS = 3
OVERDUE = "playlist_overdue_seconds"
STARVED = "sessions_starved_ratio"
UNREACHABLE = "playlist_unreachable_ratio"
DOWN = "target_down_ratio"
SILENT = "silence_seconds"
BROKEN = "playlist_broken_ratio"
SLOW = "sessions_slow_ratio"
EXPOSED = "sessions_on_slow_edge_ratio"
COLLATERAL = "parts_behind_down_ratio"
#: How much worse than forecast an SLI must be to count as harm: a tenth (guardrail 13), and more than noise.
SHARE = 0.10
LEAST = {
    OVERDUE: 1.0,
    STARVED: 0.05,
    UNREACHABLE: 0.05,
    DOWN: 0.05,
    SILENT: 2.0,
    BROKEN: 0.05,
    SLOW: 0.05,
    EXPOSED: 0.05,
    COLLATERAL: 0.05,
}
#: Measured and judged, but no reason to credit a remedy: that a part runs again, or that others do.
NO_CREDIT = frozenset({DOWN, COLLATERAL})
#: Why a verdict is inconclusive when what was broken stayed so.
NOT_BACK = "the platform's SLIs did not come back into band in time"
#: What players report trails what they hear: what it says shortly after an act tells of the time before it.
TRAILING = frozenset({STARVED, SLOW, EXPOSED})
#: Silence on air (seconds up to the newest segment heard) that is still in band.
SILENT_IN_BAND = 2.0
SLOW_IN_BAND = 0.1
EXPOSED_IN_BAND = 0.1
#: An edge's way is slow at a moment by its fetches of so long before (seconds).
FETCHES = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Cohorts:
    """The channels that the fault touches and those it cannot touch."""

    touched: tuple[str, ...]
    untouched: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """One SLI around the act. `change`: after, less what was forecast without the act. `effect`: that, less what the
    untouched cohort did meanwhile, with its 95 % interval. Harm is judged by the change alone: what another channel's
    own trouble does cannot make a remedy harmful.
    """

    before: float
    worst_before: float
    forecast: float
    after: float
    change: float
    control_before: float | None
    control_after: float | None
    effect: float
    low: float
    high: float
    change_low: float


@dataclass(frozen=True, slots=True)
class Moments:
    """When what is compared took place. `lag`: seconds by which what players report trails what they hear."""

    onset: datetime
    acted: datetime
    good_since: datetime
    lag: float


def cohorts(target: str, topology: Topology) -> Cohorts:
    """Split the channels by whether `target` feeds them."""
    touched = topology.felt_by(target)
    return Cohorts(tuple(touched), tuple(c for c in topology.channels() if c not in touched))


def in_band(
    readings: Readings, target: str, channels: Sequence[str], topology: Topology, profile: Profile, now: datetime
) -> bool:
    """Whether the target answers, every playlist of the channels is in time and their listeners hear sound.

    What was not measured since the last reading is not in band: a probe that has died says nothing good.
    """
    fresh = now - timedelta(seconds=2 * max(profile.tick_seconds, profile.scrape_seconds, profile.probe_seconds))
    up = last(readings, target, "up")
    if up is None or up.value < 1 or up.time < fresh:
        return False
    for rendition in _renditions(channels, topology):
        unreachable = last(readings, rendition, "probe_unreachable")
        if unreachable is not None and unreachable.value > 0:
            return False
        overdue = last(readings, rendition, "probe_playlist_overdue_seconds")
        if overdue is None or overdue.time < fresh or overdue.value >= profile.playlist_overdue_seconds:
            return False
        silent = last(readings, rendition, "probe_silence_seconds")
        if silent is not None and silent.value > SILENT_IN_BAND:
            return False
        if any(s.value > 0 for s in readings.get((rendition, "probe_playlist_broken"), ()) if s.time > fresh):
            return False
    if any(value > EXPOSED_IN_BAND for value in _exposed(readings, target, fresh, None)[-1:]):
        return False
    for channel in channels:
        for metric, most in (("sessions_starved_ratio", STARVED_IN_BAND), ("sessions_slow_ratio", SLOW_IN_BAND)):
            heard = last(readings, channel, metric)
            if heard is not None and heard.time >= fresh and heard.value > most:
                return False
    return True


def effects(
    readings: Readings,
    target: str,
    split: Cohorts,
    topology: Topology,
    moments: Moments,
    *,
    self_healing: float = 0.0,
) -> dict[str, Effect]:
    """Each SLI's effect. Before: from onset to the act, and the reports that trail it. After: since the first good
    reading. Forecast without the act: of a dead target total loss, growing with time; else what was before; in both
    cases less the chance `self_healing` (0 to 1) that such a fault ends by itself.
    """
    # Without a dead target all is lost, but only where no other way leads past it.
    dead = _is_dead(readings, target, moments)
    cut_off = dead and all(topology.cuts(target, channel) for channel in split.touched)
    touched, untouched = (_renditions(cohort, topology) for cohort in (split.touched, split.untouched))
    at_once, trailing = moments.acted, moments.acted + timedelta(seconds=moments.lag)
    found: dict[str, Effect] = {}
    for name, metric, treated, control, until, lost in (
        (OVERDUE, "probe_playlist_overdue_seconds", touched, untouched, at_once, cut_off),
        (UNREACHABLE, "probe_unreachable", touched, untouched, at_once, cut_off),
        (STARVED, "sessions_starved_ratio", list(split.touched), list(split.untouched), trailing, cut_off),
        (DOWN, "down", [target], [], at_once, dead),
        (SILENT, "probe_silence_seconds", touched, untouched, at_once, False),
        (BROKEN, "probe_playlist_broken", touched, untouched, at_once, False),
        (SLOW, "sessions_slow_ratio", list(split.touched), list(split.untouched), trailing, False),
        (EXPOSED, "exposed", [target], [], trailing, False),
        (COLLATERAL, "gone", _behind(target, topology), [], at_once, False),
    ):
        windows: tuple[tuple[datetime, datetime | None], ...] = (
            (moments.onset - timedelta(microseconds=1), until),
            (moments.good_since - timedelta(microseconds=1), None),
        )
        before, after = (_values(readings, treated, metric, *window) for window in windows)
        if before and after:
            held = [_values(readings, control, metric, *window) for window in windows]
            grown = (moments.good_since - moments.acted).total_seconds()
            worst = max(before) + grown if name in {OVERDUE, SILENT} else 1.0
            # Silence counts up while it lasts: without the act it would have gone on.
            goes_on = lost or (name == SILENT and max(before) > LEAST[SILENT])
            forecast = (worst if goes_on else fmean(before)) * (1.0 - self_healing)
            found[name] = _effect(before, after, forecast, held[0], held[1])
    return found


def _is_dead(readings: Readings, target: str, moments: Moments) -> bool:
    """Whether the target gave no sign of life right before the act."""
    ups = [s.value for s in readings.get((target, "up"), ()) if moments.onset <= s.time <= moments.acted]
    return bool(ups) and ups[-1] < 1


def has_control(readings: Readings, split: Cohorts, topology: Topology) -> bool:
    """Whether an untouched channel has enough listeners, and a probe, to compare with."""
    for channel in split.untouched:
        sessions = last(readings, channel, "sessions_playing")
        probed = [last(readings, r, "probe_playlist_overdue_seconds") for r in _renditions([channel], topology)]
        if sessions is not None and sessions.value >= CONTROL_SESSIONS and any(probed):
            return True
    return False


def judge(recovered: bool, measured: Mapping[str, Effect]) -> tuple[Outcome, str]:
    """`worked` needs recovery and an effect that is there; too little data is never success."""
    worse = got_worse(measured)
    if worse:
        return Outcome.HARMED, f"worse than without the act: {', '.join(sorted(worse))}"
    if not recovered:
        return Outcome.INCONCLUSIVE, NOT_BACK
    out = {name: e for name, e in measured.items() if e.worst_before > LEAST[name]}
    # That the part runs again says little where listeners or playlists can be asked.
    asked = {name: e for name, e in out.items() if name not in NO_CREDIT} or out
    better = [name for name, e in asked.items() if e.effect < -LEAST[name] / 2 and e.after < e.worst_before]
    if not better:
        return Outcome.INCONCLUSIVE, "in band again, but no SLI was measurably out of band before the act"
    return Outcome.WORKED, f"back in band; better than without the act: {', '.join(sorted(better))}"


def got_worse(measured: Mapping[str, Effect]) -> dict[str, float]:
    """The SLIs that are worse than forecast without the act, by more than noise -> by which share of it."""
    return {
        name: e.change / max(e.forecast, LEAST[name])
        for name, e in measured.items()
        if e.change_low > 0 and e.change > max(LEAST[name], SHARE * e.forecast)
    }


def as_json(measured: Mapping[str, Effect]) -> dict[str, Any]:
    """The effects as a verdict keeps them."""
    return {name: {key: _rounded(value) for key, value in asdict(e).items()} for name, e in measured.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _behind(target: str, topology: Topology) -> list[str]:
    """The components that the target feeds, at however many removes."""
    return [entity for entity in topology.parts() if entity != target and topology.reaches(target, entity)]


def _renditions(channels: Sequence[str], topology: Topology) -> list[str]:
    return [
        entity.id
        for entity in topology.entities.values()
        if entity.stage == "rendition" and topology.channel(entity.id) in channels
    ]


def _values(
    readings: Readings, entities: Sequence[str], metric: str, start: datetime, end: datetime | None
) -> list[float]:
    if metric == "exposed":
        return [value for entity in entities for value in _exposed(readings, entity, start, end)]
    if metric == "gone":
        return [value for entity in entities for value in _gone(readings, entity, start, end)]
    if metric == "down":
        return [1.0 - value for value in _values(readings, entities, "up", start, end)]
    return [
        sample.value
        for entity in entities
        for sample in readings.get((entity, metric), ())
        if start < sample.time and (end is None or sample.time <= end)
    ]


def _exposed(readings: Readings, edge: str, start: datetime, end: datetime | None) -> list[float]:
    """At each moment for which players told their edge: the share that was on `edge`, or 0 if its way was not slow."""
    if (edge, "edge_upstream_seconds_count") not in readings:
        return []
    sessions = {
        entity: {sample.time: sample.value for sample in readings[entity, "sessions_playing"]}
        for entity in entities_with(readings, "sessions_playing")
        if entity.startswith("edge:")
    }
    times = sorted(
        {time for told in sessions.values() for time in told if start < time and (end is None or time <= end)}
    )
    found = []
    for time in times:
        mean = mean_fetch(readings, edge, time - FETCHES, time)
        slow = mean is not None and mean[0] >= SLOW_FETCH_SECONDS
        everybody = sum(told.get(time, 0.0) for told in sessions.values())
        found.append(sessions.get(edge, {}).get(time, 0.0) / everybody if slow and everybody else 0.0)
    return found


#: Why a scrape fails when nothing is there any more; one that takes too long may only be waiting for its turn.
_GONE = frozenset({"refused", "reset", "unreachable"})


def _gone(readings: Readings, entity: str, start: datetime, end: datetime | None) -> list[float]:
    """1 for each scrape that found nobody there, 0 for any other."""
    nobody = {
        sample.time
        for sample in readings.get((entity, "scrape_failed"), ())
        if dict(sample.series.labels).get("reason") in _GONE
    }
    return [
        float(sample.value < 1 and sample.time in nobody)
        for sample in readings.get((entity, "up"), ())
        if start < sample.time and (end is None or sample.time <= end)
    ]


def _effect(
    before: Sequence[float],
    after: Sequence[float],
    forecast: float,
    control_before: Sequence[float],
    control_after: Sequence[float],
) -> Effect:
    change = effect = fmean(after) - forecast
    alone = 1.96 * math.sqrt(_squared_error(before) + _squared_error(after))
    spread = _squared_error(before) + _squared_error(after)
    controlled = bool(control_before) and bool(control_after)
    if controlled:
        effect -= fmean(control_after) - fmean(control_before)
        spread += _squared_error(control_before) + _squared_error(control_after)
    half = 1.96 * math.sqrt(spread)
    return Effect(
        before=fmean(before),
        worst_before=max(before),
        forecast=forecast,
        after=fmean(after),
        control_before=fmean(control_before) if controlled else None,
        control_after=fmean(control_after) if controlled else None,
        change=change,
        effect=effect,
        low=effect - half,
        high=effect + half,
        change_low=change - alone,
    )


def _squared_error(values: Sequence[float]) -> float:
    return variance(values) / len(values) if len(values) > 1 else 0.0
