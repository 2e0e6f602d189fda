"""Did the remedy work? Three-valued, against the platform's own SLIs and an untouched cohort if there is one. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from statistics import fmean, variance
from typing import Any

from policy.readings import Readings, last
from tonewatch.records import Outcome
from tonewatch.settings import Profile
from tonewatch.topology import Topology

STARVED_IN_BAND = 0.05
#: Sessions that an untouched cohort must have to serve as control.
CONTROL_SESSIONS = 3
#: How much worse than before the act an SLI must be to count as harm: a tenth, and more than noise.
WORSE_SHARE = 0.10
WORSE_LEAST = {"playlist_overdue_seconds": 1.0, "sessions_starved_ratio": 0.05}


@dataclass(frozen=True, slots=True)
class Cohorts:
    """The channels that the fault touches and those it cannot touch."""

    touched: tuple[str, ...]
    untouched: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """One SLI before and after the act, in both cohorts. `effect` is the difference in differences, 95 % interval."""

    before: float
    after: float
    control_before: float | None
    control_after: float | None
    effect: float
    low: float
    high: float


def cohorts(target: str, topology: Topology) -> Cohorts:
    """Split the channels by whether `target` feeds them."""
    touched = topology.felt_by(target)
    return Cohorts(tuple(touched), tuple(c for c in topology.channels() if c not in touched))


def in_band(readings: Readings, target: str, channels: Sequence[str], topology: Topology, profile: Profile) -> bool:
    """Whether the target answers, every playlist of the channels is in time and their listeners hear sound."""
    up = last(readings, target, "up")
    if up is None or up.value < 1:
        return False
    for rendition in _renditions(channels, topology):
        overdue = last(readings, rendition, "probe_playlist_overdue_seconds")
        if overdue is None or overdue.value >= profile.playlist_overdue_seconds:
            return False
    for channel in channels:
        starved = last(readings, channel, "sessions_starved_ratio")
        if starved is not None and starved.value > STARVED_IN_BAND:
            return False
    return True


def effects(
    readings: Readings, split: Cohorts, topology: Topology, onset: datetime, acted: datetime, since: datetime
) -> dict[str, Effect]:
    """Each SLI's effect: before is from onset to the act, after is from `since` (the first good reading)."""
    found: dict[str, Effect] = {}
    for name, metric, treated, control in (
        (
            "playlist_overdue_seconds",
            "probe_playlist_overdue_seconds",
            _renditions(split.touched, topology),
            _renditions(split.untouched, topology),
        ),
        ("sessions_starved_ratio", "sessions_starved_ratio", list(split.touched), list(split.untouched)),
    ):
        windows = ((onset, acted), (since - timedelta(microseconds=1), None))
        before, after = (_values(readings, treated, metric, *window) for window in windows)
        if before and after:
            held = [_values(readings, control, metric, *window) for window in windows]
            found[name] = _effect(before, after, held[0], held[1])
    return found


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
    worse = [name for name, e in measured.items() if _worse(name, e)]
    if worse:
        return Outcome.HARMED, f"worse than before the act: {', '.join(sorted(worse))}"
    if not recovered:
        return Outcome.INCONCLUSIVE, "the platform's SLIs did not come back into band in time"
    better = [name for name, e in measured.items() if e.effect < 0 and e.before > e.after]
    if not better:
        return Outcome.INCONCLUSIVE, "in band again, but no SLI was measurably out of band before the act"
    return Outcome.WORKED, f"back in band; better than before the act: {', '.join(sorted(better))}"


def as_json(measured: Mapping[str, Effect]) -> dict[str, Any]:
    """The effects as a verdict keeps them."""
    return {name: {key: _rounded(value) for key, value in asdict(e).items()} for name, e in measured.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _renditions(channels: Sequence[str], topology: Topology) -> list[str]:
    return [
        entity.id
        for entity in topology.entities.values()
        if entity.stage == "rendition" and topology.channel(entity.id) in channels
    ]


def _values(
    readings: Readings, entities: Sequence[str], metric: str, start: datetime, end: datetime | None
) -> list[float]:
    return [
        sample.value
        for entity in entities
        for sample in readings.get((entity, metric), ())
        if start < sample.time and (end is None or sample.time <= end)
    ]


def _effect(
    before: Sequence[float], after: Sequence[float], control_before: Sequence[float], control_after: Sequence[float]
) -> Effect:
    change = fmean(after) - fmean(before)
    spread = _squared_error(before) + _squared_error(after)
    controlled = bool(control_before) and bool(control_after)
    if controlled:
        change -= fmean(control_after) - fmean(control_before)
        spread += _squared_error(control_before) + _squared_error(control_after)
    half = 1.96 * math.sqrt(spread)
    return Effect(
        before=fmean(before),
        after=fmean(after),
        control_before=fmean(control_before) if controlled else None,
        control_after=fmean(control_after) if controlled else None,
        effect=change,
        low=change - half,
        high=change + half,
    )


def _squared_error(values: Sequence[float]) -> float:
    return variance(values) / len(values) if len(values) > 1 else 0.0


def _worse(name: str, effect: Effect) -> bool:
    return effect.effect > max(WORSE_LEAST[name], WORSE_SHARE * abs(effect.before))
