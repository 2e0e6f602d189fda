from __future__ import annotations

from collections.abc import Sequence

import pytest

from policy.grouping import group
from policy.rules import evaluate
from policy.severity import inferred_minutes_lost
from tasks.tune import entities_of, names_of
from tests.unit.platform_parts import at, readings, series
from tonewatch.records import FindingKind
from tonewatch.settings import IcecastSource, Profile, Sources, load_profile
from tonewatch.topology import Topology

SOURCE = IcecastSource(url="http://radio.example:8000", mounts=("/live.mp3", "/live.opus"), silence_seconds=4)
STATION: Profile = load_profile("station").model_copy(update={"sources": Sources(icecast=SOURCE)})
MP3, OPUS = "rendition:icecast/live.mp3", "rendition:icecast/live.opus"
CHANNEL = "channel:icecast/live.mp3"


def test_a_station_is_told_of_and_never_acted_on_by_itself() -> None:
    assert STATION.grants == ()
    assert STATION.light


def test_silence_counts_from_the_length_that_its_own_source_has() -> None:
    heard = readings(series(MP3, "probe_silence_seconds", [0, 1, 2, 3, 4.1]))
    (found,) = evaluate({}, heard, at(4), STATION).values()
    assert (found.symptom, found.met) == ("silence", at(4))
    assert evaluate({}, heard, at(4), load_profile("station")) == {}


def test_a_stream_is_away_after_so_many_readings_in_a_row_and_for_its_most_frequent_reason() -> None:
    away = series(MP3, "stream_away", [1.0], first=1, reason="ended")
    then = series(MP3, "stream_away", [1.0] * 2, first=2, reason="status")
    fine = series(MP3, "stream_away", [0.0])
    assert evaluate({}, readings(fine, away, then[:1]), at(2), STATION) == {}
    (found,) = evaluate({}, readings(fine, away, then), at(3), STATION).values()
    assert (found.symptom, found.since, found.met) == ("stream-away", at(1), at(3))
    assert "no such mount now" in found.summary
    assert evaluate({}, readings(fine, away, then, series(MP3, "stream_away", [0.0], first=4)), at(4), STATION) == {}


def test_a_mount_that_its_server_lists_no_longer_is_gone() -> None:
    (found,) = evaluate({}, readings(series(MP3, "icecast_mount_listed", [1, 0, 0, 0])), at(3), STATION).values()
    assert (found.symptom, found.since) == ("mount-gone", at(1))


@pytest.mark.parametrize(
    ("metric", "symptom"),
    [("stream_frozen_seconds", "stream-frozen"), ("stream_undecoded_seconds", "stream-undecodable")],
)
def test_what_is_overdue_for_as_long_as_the_profile_says_is_found(metric: str, symptom: str) -> None:
    line = series(MP3, metric, [0.1, 0.2, 1, 2, 3, 4, 5.2])
    assert evaluate({}, readings(line[:-1]), at(5), STATION) == {}
    (found,) = evaluate({}, readings(line), at(6), STATION).values()
    assert (found.symptom, found.met, found.kind) == (symptom, at(6), FindingKind.RULE)
    assert (found.since - at(0.8)).total_seconds() == pytest.approx(0, abs=1e-3)
    assert evaluate({}, readings([*line, *series(MP3, metric, [0.1], first=7)]), at(7), STATION) == {}


def test_a_damaged_packet_is_bad_data_and_errors_in_most_readings_are_a_fault() -> None:
    open_ = series(MP3, "stream_undecoded_seconds", [0.0] * 10)
    once = series(MP3, "probe_decode_errors", [0, 0, 3, 0, 0, 0, 0, 0, 0, 0])
    found = evaluate({}, readings(open_, once), at(9), STATION)
    assert {each.kind for each in found.values()} == {FindingKind.DATA}
    often = series(MP3, "probe_decode_errors", [0, 0, 3, 1, 0, 2, 0, 1, 1, 2])
    assert (MP3, "rule:stream-undecodable") in evaluate({}, readings(open_, often), at(9), STATION)


def listeners(counts: Sequence[float]) -> bool:
    line = series(CHANNEL, "icecast_listeners", counts)
    return (CHANNEL, "baseline:listeners") in evaluate({}, readings(line), at(len(counts) - 1), STATION)


def test_half_the_listeners_lost_within_a_minute_is_unlike_their_last_minutes() -> None:
    usual = [40.0 + step % 5 for step in range(240)]
    assert not listeners(usual)
    assert listeners([*usual, *[3.0] * 12])


@pytest.mark.parametrize(
    "counts",
    [
        [*[15.0] * 240, *[0.0] * 12],  # too few to tell anything by
        [*[40.0] * 30, *[3.0] * 12],  # nothing to compare with
        [*[40.0] * 240, *[25.0] * 12],  # many left, not half
        [*[5.0, 95.0] * 120, *[20.0] * 12],  # a number that always scatters
        [*[40.0 - step / 8 for step in range(300)]],  # a slow evening
    ],
    ids=["few", "new", "not-half", "scatter", "slow"],
)
def test_listeners_that_come_and_go_are_no_anomaly(counts: list[float]) -> None:
    assert not listeners(counts)


def test_mounts_of_one_server_that_fall_silent_together_are_one_incident_of_what_feeds_both() -> None:
    topology = Topology(entities_of(STATION.sources))
    heard = readings(*(series(each, "probe_silence_seconds", [0, 1, 2, 3, 4.1, 5.1]) for each in (MP3, OPUS)))
    findings = [each.finding("radio") for each in evaluate({}, heard, at(5), STATION).values()]
    (together,) = group(findings, [], topology)
    assert {finding.entity for finding in together.findings} == {MP3, OPUS}


def test_a_server_that_died_is_the_root_of_what_its_mounts_show() -> None:
    topology = Topology(entities_of(STATION.sources))
    down = series("service:icecast", "up", [1, 0, 0, 0, 0, 0])
    why = series("service:icecast", "scrape_failed", [1.0] * 5, first=1, reason="refused")
    away = series(MP3, "stream_away", [1.0] * 6, reason="refused")
    findings = [each.finding("radio") for each in evaluate({}, readings(down, why, away), at(5), STATION).values()]
    (one,) = group(findings, [], topology)
    assert one.root == "service:icecast"
    assert topology.felt_by("service:icecast") == [CHANNEL, "channel:icecast/live.opus"]


def test_mounts_whose_names_read_alike_stay_apart() -> None:
    names = names_of("icecast", ["/a b", "/a?b", "/a-b", "/..", "/ü"])
    assert len(set(names.values())) == 5
    assert all(Topology(entities_of(STATION.sources)).entities)


def test_listener_minutes_are_inferred_from_those_who_listened_before() -> None:
    counted = [*series(CHANNEL, "icecast_listeners", [10, 12, 50]), *series("channel:b", "icecast_listeners", [3])]
    assert inferred_minutes_lost(counted, 120.0) == pytest.approx((12 + 3) * 2)
    assert inferred_minutes_lost([], 120.0) == 0.0
