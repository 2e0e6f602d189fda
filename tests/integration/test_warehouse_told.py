"""What an Alertmanager says of alerts, and events, in the warehouse."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import new_tenant
from tonewatch.records import Alert, Event, EventKind
from warehouse import alerts, events, retention
from warehouse.database import Warehouse

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SLOW = Alert((("alertname", "Slow"), ("job", "edge")), START)
FULL = Alert((("alertname", "Full"),), START)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


async def say(warehouse: Warehouse, tenant: str, seconds: float, *told: Alert, most: int = 100) -> list[Alert]:
    async with warehouse.as_tenant(tenant) as db:
        return await alerts.save(tenant, db, told, at(seconds), most)


async def firing(warehouse: Warehouse, tenant: str, seconds: float) -> list[Alert]:
    async with warehouse.as_tenant(tenant) as db:
        return await alerts.firing_at(tenant, db, at(seconds))


async def test_an_alert_fires_until_it_is_told_otherwise(warehouse: Warehouse, tenant: str) -> None:
    await say(warehouse, tenant, 30, SLOW)
    await say(warehouse, tenant, 31, SLOW, SLOW)
    day = timedelta(days=1).total_seconds()
    assert await firing(warehouse, tenant, 5 * day) == [SLOW]
    await say(warehouse, tenant, 6 * day, replace(SLOW, ended=at(6 * day - 30)))
    assert await firing(warehouse, tenant, 6 * day) == []


async def test_an_alert_ends_at_its_own_end_and_fires_on_when_that_is_moved(warehouse: Warehouse, tenant: str) -> None:
    await say(warehouse, tenant, 0, replace(SLOW, ended=at(300)))
    assert [len(await firing(warehouse, tenant, each)) for each in (299, 300)] == [1, 0]
    await say(warehouse, tenant, 200, replace(SLOW, ended=at(500)))
    assert [len(await firing(warehouse, tenant, each)) for each in (499, 500)] == [1, 0]


async def test_an_alert_of_which_nothing_is_heard_for_six_days_has_ended_and_begins_anew(
    warehouse: Warehouse, tenant: str
) -> None:
    await say(warehouse, tenant, 0, SLOW)
    later = alerts.UNHEARD.total_seconds()
    assert [len(await firing(warehouse, tenant, later + each)) for each in (-1, 0)] == [1, 0]
    await say(warehouse, tenant, later + 60, SLOW)
    assert await firing(warehouse, tenant, later + 61) == [replace(SLOW, started=at(later + 60))]


@pytest.mark.parametrize(("started", "counts"), [(-30, -30), (-9 * 86_400, -3600 + 10), (3000, 10), (-3600, -3590)])
async def test_an_alert_counts_from_its_beginning_but_not_from_the_future_nor_from_long_ago(
    warehouse: Warehouse, tenant: str, started: float, counts: float
) -> None:
    await say(warehouse, tenant, 10, replace(SLOW, started=at(started)))
    assert [each.started for each in await firing(warehouse, tenant, 11)] == [at(counts)]


async def test_what_fires_keeps_its_beginning_and_what_fires_again_has_a_new_one(
    warehouse: Warehouse, tenant: str
) -> None:
    await say(warehouse, tenant, 0, SLOW)
    await say(warehouse, tenant, 10, replace(SLOW, started=at(-5)))
    assert await firing(warehouse, tenant, 11) == [SLOW]
    await say(warehouse, tenant, 20, replace(SLOW, ended=at(18)))
    await say(warehouse, tenant, 22, replace(SLOW, started=at(21)))
    assert await firing(warehouse, tenant, 23) == [replace(SLOW, started=at(21))]


async def test_messages_that_cross_change_nothing(warehouse: Warehouse, tenant: str) -> None:
    await say(warehouse, tenant, 0, SLOW)
    await say(warehouse, tenant, 20, replace(SLOW, ended=at(18)))
    await say(warehouse, tenant, 21, SLOW)  # sent before the end was
    assert await firing(warehouse, tenant, 22) == []
    await say(warehouse, tenant, 30, replace(SLOW, started=at(29)))
    await say(warehouse, tenant, 31, replace(SLOW, ended=at(18)))  # the end of the firing before
    assert len(await firing(warehouse, tenant, 32)) == 1


async def test_what_was_told_to_have_ended_and_goes_on_all_the_same_fires_anew(
    warehouse: Warehouse, tenant: str
) -> None:
    """An Alertmanager that lost its Prometheus ends what fires, and tells it with its old beginning when it is back."""
    await say(warehouse, tenant, 0, SLOW)
    await say(warehouse, tenant, 300, replace(SLOW, ended=at(290)))
    await say(warehouse, tenant, 600, SLOW)
    assert await firing(warehouse, tenant, 601) == [replace(SLOW, started=at(600))]


async def test_a_clock_that_runs_ahead_does_not_keep_an_alert_firing(warehouse: Warehouse, tenant: str) -> None:
    await say(warehouse, tenant, 0, replace(SLOW, started=at(600)))
    await say(warehouse, tenant, 60, replace(SLOW, started=at(600), ended=at(60)))
    assert await firing(warehouse, tenant, 61) == []


async def test_more_alerts_than_may_fire_are_refused_and_those_that_fire_are_not(
    warehouse: Warehouse, tenant: str
) -> None:
    assert await say(warehouse, tenant, 0, SLOW, most=1) == []
    assert await say(warehouse, tenant, 1, FULL, SLOW, most=1) == [FULL]
    assert await say(warehouse, tenant, 2, replace(SLOW, ended=at(1)), most=1) == []
    assert await say(warehouse, tenant, 3, FULL, most=1) == []


async def test_alerts_of_another_tenant_are_others(warehouse: Warehouse, tenant: str) -> None:
    other = await new_tenant(warehouse)
    await say(warehouse, tenant, 0, SLOW)
    await say(warehouse, other, 0, SLOW)
    await say(warehouse, other, 9, replace(SLOW, ended=at(8)))
    assert [len(await firing(warehouse, each, 10)) for each in (tenant, other)] == [1, 0]


EVENTS = [
    Event("a", EventKind.ACCESS, START, "s", "d", "/ch1/live.m3u8", 200, 2**53, "player/1", method="GET"),
    Event("b", EventKind.AUTH, at(1), "s", outcome="failure", method="password"),
    Event("c", EventKind.PLAY, at(2), track="t-1", channel="channel:ch1", seconds=30.5),
]


async def test_events_are_read_as_they_were_kept_each_once(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        assert await events.save(tenant, db, EVENTS, at(5)) == 3
        again = [replace(EVENTS[0], path="/other"), replace(EVENTS[0], id="d", time=at(9))]
        assert await events.save(tenant, db, again, at(6)) == 1
        assert await events.save(tenant, db, [], at(6)) == 0
        assert await events.read(tenant, db, START, at(9)) == EVENTS
        assert await events.read(tenant, db, START, at(9), [EventKind.AUTH]) == EVENTS[1:2]
    other = await new_tenant(warehouse)
    async with warehouse.as_tenant(other) as db:
        assert await events.read(other, db, START, at(9)) == []
        assert await events.save(other, db, EVENTS, at(5)) == 3, "ids are each tenant's own"


async def test_events_and_forgotten_alerts_end_after_thirty_days(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await events.save(tenant, db, EVENTS, at(5))
        await alerts.save(tenant, db, [SLOW], START, 1)
        await alerts.save(tenant, db, [FULL], at(10), 2)
        ended = await retention.end_outlived(tenant, db, at(2) + timedelta(days=30))
        assert (ended["event"], ended["alert"]) == (2, 1)
        assert await events.read(tenant, db, START, at(9)) == EVENTS[2:]
