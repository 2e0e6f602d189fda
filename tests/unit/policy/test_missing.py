from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from feature_store.recent import Recent
from policy.missing import MISSING_RULES
from tests.unit.platform_parts import at, readings, series
from tonewatch.records import FindingKind, Sample, Series, SeriesKind
from tonewatch.settings import load_profile

DEMO = load_profile("demo")
EDGE = "edge:edge-1"
RENDITION = "rendition:ch1/aac-128"
CHANNEL = "channel:ch1"
LAG = "event_loop_lag_seconds"


def counter(
    metric: str, values: Sequence[float], entity: str = EDGE, first: float = 0.0, **labels: str
) -> list[Sample]:
    name = Series(entity, metric, tuple(sorted(labels.items())), kind=SeriesKind.COUNTER)
    return [Sample(name, at(first + step), value) for step, value in enumerate(values)]


def alive(seconds: int = 60, first: int = 0, began: float = 1.0) -> list[list[Sample]]:
    """An edge that answers, works and has a steady gauge besides."""
    return [
        series(EDGE, "up", [1.0] * seconds, first),
        series(EDGE, "process_start_time_seconds", [began] * seconds, first),
        counter("process_cpu_seconds_total", [0.01 * n for n in range(seconds)], first=first),
        counter("http_requests_total", [4.0 * n for n in range(seconds)], first=first, code="200"),
        counter("edge_cache_hits_total", [3.0 * n for n in range(seconds)], first=first),
    ]


def found(*lines: list[Sample], now: float = 60.0) -> dict[str, str]:
    """Symptom -> entity of what the rules find, by the memory that the watcher keeps; plain readings give the same."""
    lines = tuple([sample for sample in line if sample.time <= at(now)] for line in lines)
    recent = Recent(timedelta(minutes=6))
    recent.add(sample for line in lines for sample in line)
    told = {c.key: c for rule in MISSING_RULES for c in rule(recent.readings, at(now), DEMO)}
    plain = {c.key: c for rule in MISSING_RULES for c in rule(readings(*lines), at(now), DEMO)}
    assert told == plain
    assert all(condition.kind is FindingKind.DATA for condition in told.values())
    assert all(condition.since <= condition.met <= at(now) for condition in told.values())
    return {condition.symptom: condition.entity for condition in told.values()}


def test_metric_that_vanishes_from_a_component_that_answers_is_missed_after_ten_seconds() -> None:
    gone = series(EDGE, LAG, [0.002] * 49)
    assert found(*alive(), gone, now=57) == {}
    assert found(*alive(), gone, now=59) == {"series-stopped": EDGE}


def test_all_metrics_that_vanish_at_once_are_one_finding() -> None:
    parts = alive()
    assert found(*parts[:3], *(line[:40] for line in parts[3:]), now=59) == {"series-stopped": EDGE}


def test_load_that_ebbs_to_zero_is_no_missing_data() -> None:
    idle = counter("http_requests_total", [4.0 * min(n, 30) for n in range(60)], code="200")
    hits = counter("edge_cache_hits_total", [3.0 * min(n, 30) for n in range(60)])
    assert found(*alive()[:3], idle, hits, series(EDGE, LAG, [0.0] * 60), now=59) == {}


def test_metric_that_comes_now_and_then_is_not_missed() -> None:
    seldom = series(EDGE, "edge_upstream_errors_total", [1.0] * 120)[::3]
    assert found(*alive(150), seldom, now=149) == {}


def test_start_up_misses_nothing() -> None:
    assert found(*alive(12), series(EDGE, LAG, [0.1]), now=12) == {}


def test_component_that_is_down_is_not_missing_data() -> None:
    down = series(EDGE, "up", [0.0] * 30, 60)
    assert found(*alive(), series(EDGE, LAG, [0.1] * 60), down, now=89) == {}


def test_component_that_went_down_and_came_back_is_given_time_to_count_again() -> None:
    up = series(EDGE, "up", [1.0] * 30 + [0.0] * 5 + [1.0] * 25)
    later = alive()[1:3]
    assert found(up, *later, counter("http_requests_total", [4.0 * n for n in range(30)], code="200"), now=59) == {}


def test_restart_between_two_scrapes_is_no_missing_data() -> None:
    first, second = alive(30), alive(30, first=30, began=2.0)
    lines = [*first[:4], *second[:4]]  # the new process has had no cache hit yet
    assert found(*lines, first[4], now=59) == {}


def test_what_the_watcher_derives_itself_is_not_missed() -> None:
    derived = series(EDGE, "source_twin_gap_db", [0.0] * 40)
    assert found(*alive(), derived, series(EDGE, "sessions_playing", [5.0] * 40), now=59) == {}


def test_exporter_that_answers_the_same_for_half_a_minute_is_frozen() -> None:
    def stuck(line: list[Sample]) -> list[Sample]:
        return [Sample(s.series, s.time, line[min(n, 20)].value) for n, s in enumerate(line)]

    lines = alive()
    frozen = [lines[0], *(stuck(line) for line in lines[1:])]
    assert found(*frozen, now=49) == {}
    assert found(*frozen, now=59) == {"exporter-frozen": EDGE}


def test_idle_component_that_still_uses_cpu_is_not_frozen() -> None:
    lines = alive()
    idle = [[Sample(s.series, s.time, line[0].value) for s in line] for line in lines[3:]]
    assert found(*lines[:3], *idle, now=59) == {}


def test_component_that_never_moved_is_not_called_frozen() -> None:
    lines = alive()
    assert found(lines[0], *([Sample(s.series, s.time, 1.0) for s in line] for line in lines[1:]), now=59) == {}


def test_players_that_fall_silent_together_are_missed_and_a_few_are_not() -> None:
    playing = series(CHANNEL, "sessions_playing", [6.0] * 40)
    many = series(CHANNEL, "sessions_silent", [0.0] * 50 + [6.0] * 10)
    assert found(playing, many) == {"beacons-stopped": CHANNEL}
    assert found(playing, series(CHANNEL, "sessions_silent", [0.0] * 50 + [2.0] * 10)) == {}
    assert found(playing, series(CHANNEL, "sessions_silent", [6.0] * 50 + [0.0] * 10)) == {}


def test_players_stay_missed_when_their_last_reports_are_forgotten() -> None:
    assert found(series(CHANNEL, "sessions_silent", [0.0] * 30 + [6.0] * 10), now=200) == {"beacons-stopped": CHANNEL}


def test_probe_that_says_nothing_at_all_is_missed_while_scrapes_arrive() -> None:
    told = series(RENDITION, "probe_unreachable", [0.0] * 48)
    assert found(*alive(), told, now=59) == {"probe-silent": "host:watcher"}
    assert found(*alive(48), told, now=59) == {}, "the watcher itself slept"


def test_probe_that_says_that_nothing_can_be_had_is_not_silent() -> None:
    assert found(*alive(), series(RENDITION, "probe_unreachable", [1.0] * 60), now=59) == {}


def log(until: int, seconds: int = 120) -> list[Sample]:
    return series(EDGE, "log_lines", [float(n % 2 == 0 and n < until) for n in range(seconds)])


def test_log_that_stops_while_the_work_goes_on_is_missed() -> None:
    assert found(*alive(120), log(60), now=85) == {}
    assert found(*alive(120), log(60), now=119) == {"log-stopped": EDGE}


def test_log_that_ebbs_with_the_load_is_not_missed() -> None:
    work = counter("http_requests_total", [4.0 * min(n, 60) for n in range(120)], code="200")
    hits = counter("edge_cache_hits_total", [3.0 * min(n, 60) for n in range(120)])
    assert found(*alive(120)[:3], work, hits, log(60), now=119) == {}


def test_ten_thousand_series_cost_little_of_a_tick() -> None:
    recent = Recent(timedelta(minutes=6))
    for part in range(400):
        entity = f"component:part-{part}"
        for number in range(24):
            recent.add(counter(f"metric_{number}_total", [float(n) for n in range(24)], entity))
        recent.add(series(entity, "up", [1.0] * 24))
        recent.add(counter("process_cpu_seconds_total", [0.1 * n for n in range(24)], entity))
    began = time.process_time()
    assert [c for rule in MISSING_RULES for c in rule(recent.readings, at(24), DEMO)] == []
    assert time.process_time() - began < 0.5
