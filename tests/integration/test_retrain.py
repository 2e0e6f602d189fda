"""Which trainings the schedule and people's labels ask for, on a real PostgreSQL: once each, and never in a loop."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from flows.retraining import consider
from policy.retraining import ENOUGH_LABELS, Why
from tasks.drift import ask
from tasks.judge import newly_settled, unrest_of
from tasks.retrain import Considered, retrain
from tasks.validate import mask
from tests.conftest import BEGINNING
from tests.integration.test_labels import PART, START, proven, say, told
from tonewatch.clock import ManualClock
from tonewatch.errors import PartFailed
from tonewatch.records import ActKind, Entity, Incident, IncidentState, Label
from warehouse import audit, drift, entities, incidents, labels, lineage, tenants, validations
from warehouse.database import Warehouse
from warehouse.drift import ALL, RetrainingRequest
from warehouse.lineage import Traced
from warehouse.validations import Looked, Validation

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
#: After all incidents of these tests, and long enough after them for two calm days.
TRAINED, NOW = START + 50 * HOUR, START + 150 * HOUR
OLD = TRAINED + 7 * DAY
_numbers = itertools.count(1)


async def trained(warehouse: Warehouse, tenant: str, version: str, at: datetime, family: str = "edge") -> None:
    """A version that learned from the tenant, whatever came of it."""
    made = Traced(f"{family}-isolation-forest", version, "", at, at - 2 * DAY, at, "h", why="hand")
    async with warehouse.as_tenant(tenant) as db:
        await lineage.put(tenant, db, made)


@pytest.fixture
async def station(warehouse: Warehouse) -> str:
    """A tenant with whole days, an edge, and a model of it that was trained at TRAINED."""
    name = f"station-{next(_numbers)}"
    async with warehouse.as_tenant(name) as db:
        await tenants.add(name, db, name=name, profile="platform", at=BEGINNING)
        await entities.save(name, db, [Entity("edge:edge-1", "edge"), Entity(PART, "transcode")], BEGINNING)
    await trained(warehouse, name, "1", TRAINED)
    return name


async def decided(warehouse: Warehouse, tenant: str, now: datetime) -> Considered:
    found = await retrain(tenant, warehouse, now)
    assert found is not None
    return found


async def whys(warehouse: Warehouse, tenant: str) -> list[tuple[str, str, str]]:
    async with warehouse.as_tenant(tenant) as db:
        return [(each.view, each.who, each.why) for each in await drift.requests(tenant, db)]


async def settle(warehouse: Warehouse, tenant: str, count: int = ENOUGH_LABELS) -> None:
    """Two people who are known call so many incidents false alarms, after TRAINED."""
    await proven(warehouse, tenant, "ann", 1)
    await proven(warehouse, tenant, "ben", 11)
    for number in range(21, 21 + count):
        await told(warehouse, tenant, number, 0.8)
        for who, first in (("ann", 60), ("ben", 90)):
            await say(warehouse, tenant, f"i{number}", who, ActKind.FALSE, START + (first + number - 20) * HOUR)


async def test_old_models_are_trained_again_once_and_the_audit_says_so(warehouse: Warehouse, station: str) -> None:
    assert (await decided(warehouse, station, OLD - HOUR)).requests == ()
    (request,) = (await decided(warehouse, station, OLD)).requests
    assert (request.view, request.why, request.cool_down_seconds) == (ALL, "schedule", DAY.total_seconds())
    assert request.reason.startswith("a family was last trained at 2026-01-03 14:00")
    assert (await decided(warehouse, station, OLD)).requests == ()
    assert await whys(warehouse, station) == [(ALL, "schedule", "schedule")]
    async with warehouse.as_tenant(station) as db:
        (line,) = [each for each in await audit.read(station, db, 20) if each.what == "retraining-asked"]
    assert (line.who, line.subject) == ("schedule", f"view:{ALL}")


async def test_the_family_that_was_trained_longest_ago_counts(warehouse: Warehouse, station: str) -> None:
    await trained(warehouse, station, "1", OLD - HOUR, family="transcode")
    assert (await decided(warehouse, station, OLD)).requests != ()


async def test_a_family_that_always_fails_does_not_starve_the_others(warehouse: Warehouse, station: str) -> None:
    """Its failures are its turns: the others are trained week by week, and not ever more rarely."""
    await trained(warehouse, station, "1", TRAINED, family="transcode")
    asked = []
    for day in range(36):
        now = OLD + day * DAY
        for request in (await decided(warehouse, station, now)).requests:
            asked.append(day)
            async with warehouse.as_tenant(station) as db:
                await drift.delivered(station, db, request, f"run-{day}", now)
            await trained(warehouse, station, f"{day + 2}", now)  # of edge, never of transcode
    assert asked == [0, 7, 14, 21, 28, 35]


async def test_a_platform_that_nobody_has_known_for_two_days_is_left_alone(warehouse: Warehouse, station: str) -> None:
    assert await retrain(station, warehouse, BEGINNING + DAY) is None


async def test_enough_settled_labels_ask_once_also_when_the_training_failed(warehouse: Warehouse, station: str) -> None:
    await settle(warehouse, station, ENOUGH_LABELS - 1)
    few = (await decided(warehouse, station, NOW)).decided[Why.LABELS]
    assert few.why.startswith(f"{ENOUGH_LABELS - 1} incidents were settled since")
    await told(warehouse, station, 40, 0.8)
    for who, hours in (("ann", 110), ("ben", 112)):
        await say(warehouse, station, "i40", who, ActKind.FALSE, START + hours * HOUR)
    (request,) = (await decided(warehouse, station, NOW)).requests
    assert request.reason.startswith("10 incidents were settled since the models were trained")
    for later in (HOUR, DAY, 2 * DAY):  # no training came of it, or one that the gate refused
        again = await decided(warehouse, station, NOW + later)
        assert again.decided[Why.LABELS].why.startswith("0 incidents were settled since")
    assert await whys(warehouse, station) == [(ALL, "labels", "labels")]


async def test_labels_that_a_training_has_seen_and_words_that_settle_nothing_do_not_ask(
    warehouse: Warehouse, station: str
) -> None:
    await settle(warehouse, station)
    for number in range(21, 41):  # one more, of whom nobody knows anything, and what a rule had told already
        await told(warehouse, station, number + 30, 0.8, rule=number % 2 == 0)
        await say(warehouse, station, f"i{number + 30}", f"new-{number}", ActKind.REAL, START + 120 * HOUR)
    async with warehouse.as_tenant(station) as db:
        assert len(await newly_settled(station, db, TRAINED)) == ENOUGH_LABELS
    for family in ("edge", "transcode"):
        await trained(warehouse, station, "2", START + 130 * HOUR, family)
    assert (await decided(warehouse, station, NOW)).decided[Why.LABELS].why.startswith("0 incidents")


async def test_what_two_models_disagreed_on_counts_once_it_is_settled(warehouse: Warehouse, station: str) -> None:
    await settle(warehouse, station, ENOUGH_LABELS - 1)
    said = [
        Label(f"l-{who}", "disagreement", "d1", "verdict:false-alarm", who, "I looked", NOW - hours * HOUR)
        for who, hours in (("ann", 3), ("ben", 2))
    ]
    for each, expected in zip(said, (ENOUGH_LABELS - 1, ENOUGH_LABELS), strict=True):
        async with warehouse.as_tenant(station) as db:
            await labels.put(station, db, [each])
            assert len(await newly_settled(station, db, TRAINED)) == expected


def planned(days: int, *tenants: str) -> dict[str, object]:
    """The plan of the validation "v" of these tenants."""
    return {"longest_s": days * DAY.total_seconds(), "tenants": [mask("v", tenant) for tenant in tenants]}


async def test_a_validation_that_the_tenant_is_not_in_is_not_waited_for(warehouse: Warehouse, station: str) -> None:
    made = Validation("v", "edge", "1", "2", planned(28, "another"), OLD - DAY)
    async with warehouse.as_tenant(station) as db:
        await validations.begin(station, db, made)
    assert (await decided(warehouse, station, OLD)).requests != ()


async def test_a_challenger_that_is_judged_is_waited_for(warehouse: Warehouse, station: str) -> None:
    made = Validation("v", "edge", "1", "2", planned(28, station), OLD - DAY)
    async with warehouse.as_tenant(station) as db:
        await validations.begin(station, db, made)
    waits = (await decided(warehouse, station, OLD)).decided[Why.SCHEDULE]
    assert (waits.ask, waits.why) == (False, "edge 2 is held against its champion")
    async with warehouse.as_tenant(station) as db:
        await validations.look(station, db, Looked("v", OLD, "worse", True, 0.0, -1.0, 0.0, 9, (), {}))
    assert (await decided(warehouse, station, OLD)).requests != ()


async def test_a_champion_on_probation_is_not_waited_for(warehouse: Warehouse, station: str) -> None:
    plan = {**planned(28, station), validations.PROBATION: "promotion"}
    async with warehouse.as_tenant(station) as db:
        await validations.begin(station, db, Validation("v", "edge", "1", "2", plan, OLD - DAY))
    assert (await decided(warehouse, station, OLD)).requests != ()


async def test_a_validation_that_never_ended_is_not_waited_for_for_ever(warehouse: Warehouse, station: str) -> None:
    made = Validation("v", "edge", "1", "2", planned(1, station), OLD - 2 * DAY)
    async with warehouse.as_tenant(station) as db:
        await validations.begin(station, db, made)
    assert (await decided(warehouse, station, OLD)).requests != ()


async def test_an_incident_that_is_not_over_is_waited_for_and_said(warehouse: Warehouse, station: str) -> None:
    lasts = Incident("open", station, IncidentState.OPEN, OLD - HOUR, OLD - HOUR, "it lasts", (PART,))
    async with warehouse.as_tenant(station) as db:
        await incidents.save(station, db, lasts)
    waits = (await decided(warehouse, station, OLD)).decided[Why.SCHEDULE]
    assert waits.why == (
        "it waits for calm: 0 incidents settled as real and 1 that nobody has settled, 1 not over, 2% of the time"
    )
    (request,) = (await decided(warehouse, station, OLD + 7 * DAY)).requests
    assert "1 that nobody has settled, 1 not over, 100% of the time" in request.reason


async def test_an_incident_that_was_handed_over_is_over_when_it_is_closed(warehouse: Warehouse, station: str) -> None:
    """Its impact ended with the last that listeners had told when a person took over: that is not its end."""
    handed = Incident("mine", station, IncidentState.HANDED_OVER, OLD - HOUR, OLD - HOUR, "it lasts", (PART,))
    handed = replace(handed, impact_started=OLD - HOUR, impact_ended=OLD - HOUR / 2)
    async with warehouse.as_tenant(station) as db:
        await incidents.save(station, db, handed)
    lasts = await unrest_of(station, warehouse, OLD - 2 * HOUR, OLD)
    assert (lasts.lasting, lasts.share) == (1, 0.5)
    assert not (await decided(warehouse, station, OLD)).decided[Why.SCHEDULE].ask
    async with warehouse.as_tenant(station) as db:
        await incidents.save(station, db, replace(handed, state=IncidentState.CLOSED, closed=OLD - HOUR / 4))
    over = await unrest_of(station, warehouse, OLD - 2 * HOUR, OLD)
    assert (over.lasting, over.share) == (0, 0.375)
    assert (await decided(warehouse, station, OLD)).requests != ()


async def test_false_alarms_are_calm_and_what_is_open_or_real_is_not(warehouse: Warehouse, station: str) -> None:
    await settle(warehouse, station, 2)
    await told(warehouse, station, 30, 0.8)
    found = await unrest_of(station, warehouse, START, START + 40 * HOUR)
    assert (len(found.real), len(found.open_), found.lasting) == (12, 1, 0)
    assert found.share == pytest.approx(13 * 10 / (40 * 60))
    assert found.told(0.25) == ""
    assert found.told(0.05) == str(found)


class Prefect:
    """Where trainings are asked for."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.runs: list[tuple[str, Sequence[str] | None, Sequence[str]]] = []

    async def __call__(
        self, tenant: str, families: Sequence[str] | None, key: str, at: datetime, why: Sequence[str]
    ) -> str:
        if self.away:
            raise PartFailed("Prefect is away")
        self.runs.append((tenant, families, why))
        return f"run-{len(self.runs)}"


async def test_a_round_hands_what_is_asked_for_to_prefect_once_and_what_waits_later(
    warehouse: Warehouse, station: str
) -> None:
    away, there = Prefect(away=True), Prefect()
    _, first = await consider(warehouse, ManualClock(OLD), away)
    assert any(line.startswith(f"{station}: the retraining of all waits") for line in first.away)
    async with warehouse.as_tenant(station) as db:
        await ask(station, db, RetrainingRequest("edge", OLD, 60.0, "ann", "because", why="hand"))
    for later in (HOUR, 2 * HOUR):
        await consider(warehouse, ManualClock(OLD + later), there)
    assert [run for run in there.runs if run[0] == station] == [(station, None, ["hand", "schedule"])]
    async with warehouse.as_tenant(station) as db:
        assert all(each.flow_run.startswith("run-") for each in await drift.requests(station, db))
