from __future__ import annotations

import pytest

from policy.rules import evaluate
from tests.unit.platform_parts import at, readings, series
from tonewatch.records import FindingKind, Sample, Series
from tonewatch.settings import Profile, load_profile

DEMO: Profile = load_profile("demo")
COMPONENT = "component:transcoder-ch1"
RENDITION = "rendition:ch1/aac-128"


def down(seconds: int, reason: str) -> list[list[Sample]]:
    """Up for five seconds, then down."""
    ups = series(COMPONENT, "up", [1.0] * 5 + [0.0] * seconds)
    return [ups, series(COMPONENT, "scrape_failed", [1.0] * seconds, first=5, reason=reason)]


def test_scrape_down_is_met_at_the_third_failure_in_a_row() -> None:
    found = evaluate({}, readings(*down(3, "refused")), at(8), DEMO)
    condition = found[COMPONENT, "rule:scrape-down"]
    assert (condition.symptom, condition.since, condition.met) == ("scrape-refused", at(5), at(7))
    assert condition.kind is FindingKind.RULE


def test_scrape_down_is_not_met_by_two_failures() -> None:
    assert evaluate({}, readings(*down(2, "refused")), at(7), DEMO) == {}


def test_scrape_down_ends_with_the_first_success() -> None:
    back = series(COMPONENT, "up", [1.0], first=9)
    assert evaluate({}, readings(*down(4, "refused"), back), at(9), DEMO) == {}


def test_scrape_failures_of_a_frozen_watcher_are_too_old_to_tell_of_now() -> None:
    assert evaluate({}, readings(*down(4, "refused")), at(60), DEMO) == {}


@pytest.mark.parametrize(("profile", "every"), [("platform", 60), ("platform", 120), ("demo", 15), ("demo", 60)])
def test_an_outage_is_one_condition_however_slowly_a_prometheus_scrapes(profile: str, every: int) -> None:
    watched = load_profile(profile)
    failed = [Sample(Series(COMPONENT, "up"), at(step * every), 0.0) for step in range(30)]
    first = watched.scrapes_failed * every
    for now in range(first, 29 * every, round(watched.tick_seconds)):
        assert evaluate({}, readings([each for each in failed if each.time <= at(now)]), at(now), watched), now


def test_one_reset_while_dying_leaves_the_reason_refused() -> None:
    ups = series(COMPONENT, "up", [1.0, 0.0, 0.0, 0.0])
    reset = series(COMPONENT, "scrape_failed", [1.0], first=1, reason="reset")
    refused = series(COMPONENT, "scrape_failed", [1.0, 1.0], first=2, reason="refused")
    found = evaluate({}, readings(ups, reset, refused), at(4), DEMO)
    assert found[COMPONENT, "rule:scrape-down"].symptom == "scrape-refused"


@pytest.mark.parametrize("reason", ["garbage", "huge"])
def test_unreadable_metrics_are_bad_data_and_no_absent_component(reason: str) -> None:
    (condition,) = evaluate({}, readings(*down(3, reason)), at(8), DEMO).values()
    assert condition.kind is FindingKind.DATA
    assert condition.detector == "rule:metrics-unreadable"


def test_condition_that_lasts_makes_the_same_finding_in_every_tick() -> None:
    first = evaluate({}, readings(*down(3, "refused")), at(8), DEMO)
    # The beginning has left the readings, as it does in a long outage.
    later = readings(series(COMPONENT, "up", [0.0] * 50, first=400))
    second = evaluate(first, later, at(450), DEMO)
    key = (COMPONENT, "rule:scrape-down")
    assert first[key].finding("demo").id == second[key].finding("demo").id
    assert second[key].symptom == "scrape-refused"


def test_playlist_is_stale_only_when_overdue_longer_than_the_profile_allows() -> None:
    late = series(RENDITION, "probe_playlist_overdue_seconds", [0.0, 0.0, 1.0, 2.0, 2.9])
    assert evaluate({}, readings(late), at(5), DEMO) == {}
    stale = series(RENDITION, "probe_playlist_overdue_seconds", [3.1], first=5)
    (condition,) = evaluate({}, readings(late, stale), at(5), DEMO).values()
    assert (condition.symptom, condition.since, condition.met) == ("playlist-stale", at(2), at(5))


def test_playlist_is_unreachable_after_three_failed_requests_in_a_row() -> None:
    failed = series(RENDITION, "probe_unreachable", [0.0, 1.0, 1.0])
    assert evaluate({}, readings(failed), at(3), DEMO) == {}
    third = series(RENDITION, "probe_unreachable", [1.0], first=3)
    (condition,) = evaluate({}, readings(failed, third), at(3), DEMO).values()
    assert (condition.symptom, condition.since, condition.met) == ("playlist-unreachable", at(1), at(3))


def test_silence_began_before_it_was_found() -> None:
    quiet = series(RENDITION, "probe_silence_seconds", [0.0, 2.0, 4.0, 6.0, 8.0, 10.0])
    (condition,) = evaluate({}, readings(quiet), at(5), DEMO).values()
    assert (condition.since, condition.met) == (at(-5), at(5))


def test_two_starved_readings_are_needed_and_enough_sessions() -> None:
    starved = series("channel:ch1", "sessions_starved_ratio", [0.0, 0.5, 0.6])
    few = series("channel:ch1", "sessions_playing", [2.0, 2.0, 2.0])
    many = series("channel:ch1", "sessions_playing", [9.0, 9.0, 9.0])
    assert evaluate({}, readings(starved, few), at(3), DEMO) == {}
    (condition,) = evaluate({}, readings(starved, many), at(3), DEMO).values()
    assert condition.symptom == "listeners-starved"
    assert evaluate({}, readings(starved[:2], many), at(3), DEMO) == {}


def test_upstream_errors_count_the_growth_within_ten_seconds() -> None:
    grown = series("edge:edge-1", "edge_upstream_errors_total", [0.0, 0.0, 3.0, 6.0])
    (condition,) = evaluate({}, readings(grown), at(4), DEMO).values()
    assert condition.symptom == "upstream-errors"
    assert evaluate({}, readings(grown), at(14), DEMO) == {}


def test_starved_host_is_a_finding_of_its_own_kind() -> None:
    starved = series("host:watcher", "host_starved_seconds", [0.0, 1.0, 1.0])
    (condition,) = evaluate({}, readings(starved), at(3), DEMO).values()
    assert condition.kind is FindingKind.HOST


def test_damaged_segments_are_bad_data() -> None:
    errors = series(RENDITION, "probe_decode_errors", [0.0, 4.0])
    (condition,) = evaluate({}, readings(errors), at(2), DEMO).values()
    assert (condition.kind, condition.symptom) == (FindingKind.DATA, "segment-damaged")


SOURCE = "component:source-ch1-primary"


def line(gap: float, level: float, seconds: int = 6) -> list[list[Sample]]:
    """A source so much below its twin, at such a level, for so long."""
    return [
        series(SOURCE, "source_twin_gap_db", [0.0] * 5 + [gap] * seconds),
        series(SOURCE, "source_level_dbfs", [-20.0] * 5 + [level] * seconds),
    ]


def test_source_that_is_silent_while_its_twin_is_not_is_met_after_four_seconds() -> None:
    condition = evaluate({}, readings(*line(-70.0, -120.0)), at(11), DEMO)[SOURCE, "rule:source-silent"]
    assert (condition.symptom, condition.since, condition.met) == ("source-silent", at(5), at(9))


def test_pause_that_both_sources_make_is_no_silent_source() -> None:
    assert evaluate({}, readings(*line(0.0, -120.0)), at(11), DEMO) == {}


def test_quiet_passage_of_one_source_is_no_silence() -> None:
    assert evaluate({}, readings(*line(-35.0, -55.0)), at(11), DEMO) == {}


def broken(values: list[float]) -> list[Sample]:
    return series(RENDITION, "probe_playlist_broken", values, rule="short-window")


def test_playlist_that_breaks_a_rule_three_times_is_a_finding_that_names_the_rule() -> None:
    found = evaluate({}, readings(broken([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])), at(6), DEMO)
    assert "short-window" in found[RENDITION, "rule:playlist-broken"].summary


def test_playlist_that_breaks_a_rule_as_it_changes_is_no_finding() -> None:
    assert evaluate({}, readings(broken([0.0, 1.0, 1.0, 0.0, 0.0, 0.0])), at(6), DEMO) == {}


def fetches(edge: str, each: float, per_second: int = 2) -> list[list[Sample]]:
    """Ten seconds of an edge that fetches so often, each fetch taking so many seconds."""
    counts = [float(per_second * n) for n in range(10)]
    sums = [count * each for count in counts]
    return [series(edge, "edge_upstream_seconds_count", counts), series(edge, "edge_upstream_seconds_sum", sums)]


def test_slow_way_of_one_edge_is_that_edges_finding() -> None:
    held = readings(*fetches("edge:edge-1", 1.5), *fetches("edge:edge-2", 0.01))
    assert set(evaluate({}, held, at(9), DEMO)) == {("edge:edge-1", "rule:path-slow")}


def test_origin_that_is_slow_for_all_edges_is_no_edges_finding() -> None:
    held = readings(*fetches("edge:edge-1", 1.5), *fetches("edge:edge-2", 1.4))
    assert evaluate({}, held, at(9), DEMO) == {}


def test_edge_that_fetches_too_rarely_is_not_judged() -> None:
    held = readings(*fetches("edge:edge-1", 1.5, per_second=0), *fetches("edge:edge-2", 0.01))
    assert evaluate({}, held, at(9), DEMO) == {}
