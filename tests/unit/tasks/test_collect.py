"""What is told of the reading of a Prometheus: how old its newest sample is, and how many series it gave."""

from __future__ import annotations

import json

from tasks.collect import OWN_PROMETHEUS, SERIES_READ, Collector
from tests.unit.gateway.test_prometheus import answering, served
from tests.unit.platform_parts import START, at
from tonewatch.clock import ManualClock
from tonewatch.records import Sample
from tonewatch.settings import PrometheusSource, Sources, load_profile

OVERLAPPING = ('{job="radio"}', '{__name__=~"plays.*"}')


def answer(*series: dict[str, object]) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": list(series)}}).encode()


def line(metric: str, *seconds: float) -> dict[str, object]:
    times = [START.timestamp() + second for second in seconds]
    return {"metric": {"__name__": metric, "job": "radio"}, "values": [[time, "1"] for time in times]}


async def told(clock: ManualClock, *answers: bytes) -> list[list[Sample]]:
    """What each reading says of itself, five seconds apart; all selectors get the same answer."""
    profile = load_profile("demo")
    found = []
    collector = Collector(profile, clock, "")
    for body in answers:
        async with served(answering(body)) as url:
            named = PrometheusSource(url=url.removesuffix("/metrics"), selectors=OVERLAPPING)
            collector.profile = profile.model_copy(update={"sources": Sources(prometheus=named)})
            await collector.read_prometheus()
        drained = collector.drain()
        assert [each.value for each in drained if (each.series.entity, each.series.metric) == (OWN_PROMETHEUS, "up")]
        found.append([each for each in drained if each.series.metric == SERIES_READ])
        clock.advance(5)
    await collector.close()
    return found


async def test_a_series_that_two_selectors_name_is_counted_once_and_the_newest_sample_tells_its_own_time() -> None:
    clock = ManualClock(at(20))
    (read,) = await told(clock, answer(line("plays_total", 3, 8), line("plays_failed", 3, 11)))
    assert [(each.time, each.value) for each in read] == [(at(11), 2.0)]


async def test_where_nothing_new_came_no_newer_sample_is_told() -> None:
    clock = ManualClock(at(20))
    same = answer(line("plays_total", 3, 8))
    first, again, none, newer = await told(clock, same, same, answer(), answer(line("plays_total", 8, 31)))
    assert [each.time for each in first] == [at(8)]
    assert (again, none) == ([], [])
    assert [each.time for each in newer] == [at(31)]
