"""What is said of a tenant's sources, from the readings of the last minutes and what is wrong now."""

from __future__ import annotations

from datetime import timedelta

from console.sources import SHOWN, configured, lines, sources
from policy.conditions import Condition
from tests.unit.platform_parts import at, readings, series, two_channels
from tonewatch.records import FindingKind
from tonewatch.settings import HlsSource, IcecastSource, PrometheusSource, Sources
from tonewatch.topology import Topology

ICECAST = Sources(icecast=IcecastSource(url="http://radio.example:8000", mounts=("/live.mp3", "/live.opus")))
MP3, OPUS = "rendition:icecast/live.mp3", "rendition:icecast/live.opus"
EVERYTHING = ICECAST.model_copy(
    update={
        "hls": HlsSource(url="https://radio.example/live.m3u8"),
        "prometheus": PrometheusSource(url="http://prometheus.example:9090"),
    }
)


def away(entity: str, since: float) -> Condition:
    words = {"summary": f"{entity} is away", "expected": "a stream", "actual": "3 readings in a row failed (refused)"}
    return Condition(
        entity, "stream-away", "rule:stream-away", FindingKind.RULE, since=at(since), met=at(since + 4), **words
    )


def test_a_station_tells_how_many_of_its_streams_are_heard_and_since_when_one_is_away() -> None:
    held = readings(
        series(MP3, "probe_silence_seconds", [0.0] * 30),
        series(OPUS, "probe_silence_seconds", [0.0] * 5),
        series(OPUS, "stream_away", [1.0] * 25, 5),
    )
    (found,) = sources(ICECAST, None, Topology([]), held, [away(OPUS, 5), away("edge:other", 6)], at(30))
    assert (found["kind"], found["address"]) == ("icecast", "http://radio.example:8000")
    assert (found["streams"], found["well"], found["last_sample"]) == (2, 1, at(29).isoformat())
    first, second = lines(found, at(31))
    assert first == (
        "icecast    http://radio.example:8000  last sample 2 s ago (2026-11-23 12:00:29 UTC), 1 of 2 streams heard"
    )
    assert second.strip() == (f"since 2026-11-23 12:00:05 UTC: {OPUS} is away (3 readings in a row failed (refused))")


def test_of_much_that_is_wrong_the_first_are_told_and_the_others_counted() -> None:
    parts = two_channels().parts()
    held = [away(part, number) for number, part in enumerate(parts)]
    (found,) = sources(Sources(), "http://platform/inventory", two_channels(), {}, held, at(20))
    told = list(lines(found, at(20)))
    assert len(found["wrong"]) == len(parts) > SHOWN
    assert len(told) == 1 + SHOWN + 1
    assert told[-1].strip() == f"and {len(parts) - SHOWN} more (--json lists all)"


def test_a_prometheus_tells_its_series_and_an_inventory_its_parts() -> None:
    held = readings(
        series("service:prometheus", "prometheus_series_read", [611.0], 10),
        series("component:packager", "up", [1.0], 12),
        series("component:origin", "up", [0.0], 14),
    )
    named = Sources(prometheus=EVERYTHING.prometheus)
    prometheus, inventory = sources(named, "http://platform/inventory", two_channels(), held, [], at(20))
    assert (prometheus["series"], prometheus["last_sample"]) == (611, at(10).isoformat())
    assert (inventory["well"], inventory["last_sample"]) == (1, at(12).isoformat())
    assert inventory["parts"] == len(two_channels().parts())
    assert next(lines(prometheus, at(20))).endswith("611 series")


def test_what_has_told_nothing_and_who_is_not_watched_is_told_with_its_address() -> None:
    named = sources(EVERYTHING, None, Topology([]), {}, [], at(0))
    assert [each["kind"] for each in named] == ["icecast", "hls", "prometheus"]
    assert [each["address"] for each in configured(EVERYTHING)] == [each["address"] for each in named]
    told = [next(lines(each, at(0) + timedelta(days=1))) for each in (*named, *configured(EVERYTHING))]
    assert all("no sample in the last minutes" in line for line in told)
    assert sources(Sources(), None, two_channels(), {}, [], at(0)) == configured(Sources()) == []
