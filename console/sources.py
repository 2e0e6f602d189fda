"""The sources of a tenant as they stand: what is read, where, and how old its last sample is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from policy.conditions import Condition
from policy.readings import FRESH, Readings, last
from tasks.collect import OWN_PROMETHEUS, SERIES_READ
from tasks.tune import HLS, ICECAST, entities_of
from tonewatch.settings import Sources
from tonewatch.topology import Topology

#: Every stream that is heard has it, and no other.
HEARD = "probe_silence_seconds"
#: How many things that are wrong with a source people are told of one by one.
SHOWN = 5

Source = dict[str, Any]


def sources(
    named: Sources,
    inventory_url: str | None,
    topology: Topology,
    readings: Readings,
    held: Iterable[Condition],
    now: datetime,
) -> list[Source]:
    """Each source as JSON values: kind, address, last_sample (ISO 8601; None: none is remembered), and how many
    `streams`, `series` or `parts` there are, of which `well` are heard or answer; `wrong`: what is, since when and why.

    readings: those of the last minutes; held: the conditions that hold at `now`.
    """
    conditions = list(held)
    found = [_station(kind, named, readings, now) for kind in ("icecast", "hls") if getattr(named, kind) is not None]
    if named.prometheus is not None:
        read = last(readings, OWN_PROMETHEUS, SERIES_READ)
        source = _source("prometheus", named.prometheus.url, read.time if read else None)
        found.append(source | {"series": int(read.value) if read else 0, "entities": [OWN_PROMETHEUS]})
    if inventory_url:
        parts = topology.parts()
        answered = [up.time for part in parts if (up := last(readings, part, "up")) and up.value > 0]
        source = _source("inventory", inventory_url, max(answered, default=None))
        found.append(source | {"parts": len(parts), "well": len(answered), "entities": parts})
    return [source | {"wrong": list(_wrong(conditions, source.pop("entities")))} for source in found]


def configured(named: Sources) -> list[Source]:
    """The sources that the settings name, of a tenant that nobody watches now."""
    return [
        _source(kind, source.url, None)
        for kind in ("icecast", "hls", "prometheus")
        if (source := getattr(named, kind)) is not None
    ]


def _station(kind: str, named: Sources, readings: Readings, now: datetime) -> Source:
    service = {"icecast": ICECAST, "hls": HLS}[kind]
    entities = [entity.id for entity in entities_of(Sources(**{kind: getattr(named, kind)}))]
    streams = [entity for entity in entities if entity.startswith("rendition:")]
    heard = [sample.time for stream in streams if (sample := last(readings, stream, HEARD))]
    source = _source(kind, getattr(named, kind).url, max(heard, default=None))
    well = sum(now - time <= FRESH for time in heard)
    return source | {"streams": len(streams), "well": well, "entities": [service, *streams]}


def _source(kind: str, address: str, last_sample: datetime | None) -> Source:
    return {"kind": kind, "address": address, "last_sample": last_sample.isoformat() if last_sample else None}


def _wrong(conditions: Iterable[Condition], entities: Iterable[str]) -> Iterator[dict[str, str]]:
    known = set(entities)
    for each in sorted(conditions, key=lambda condition: (condition.since, condition.key)):
        if each.entity in known:
            yield {"entity": each.entity, "since": each.since.isoformat(), "what": each.summary, "why": each.actual}


def lines(source: Mapping[str, Any], now: datetime) -> Iterator[str]:
    """One source for people: a line, and one more for each thing that is wrong with it."""
    newest = source.get("last_sample")
    age = f"last sample {_age(newest, now)} ago ({_clock(newest)})" if newest else "no sample in the last minutes"
    counts = [age]
    if "streams" in source:
        counts.append(f"{source['well']} of {source['streams']} streams heard")
    if "series" in source:
        counts.append(f"{source['series']:,} series")
    if "parts" in source:
        counts.append(f"{source['well']} of {source['parts']} parts answer")
    yield f"{source['kind']:<11}{source['address']}  {', '.join(counts)}"
    wrongs = source.get("wrong", ())
    for wrong in wrongs[:SHOWN]:
        yield f"  since {_clock(wrong['since'])}: {wrong['what']} ({wrong['why']})"
    if len(wrongs) > SHOWN:
        yield f"  and {len(wrongs) - SHOWN} more (--json lists all)"


def _age(time: str, now: datetime) -> str:
    return f"{max((now - datetime.fromisoformat(time)).total_seconds(), 0.0):.0f} s"


def _clock(time: str) -> str:
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M:%S} UTC"
