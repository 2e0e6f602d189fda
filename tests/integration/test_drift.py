"""Drift on a real PostgreSQL: rows, requests for retraining and their rests, and what is away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from console.stack.postgres import EmbeddedPostgres
from flows.drift import Round, deliver, watch_drift
from ml.champion import Champion, Failing
from ml.detectors.isolation_forest import ForestDetector
from ml.kinds import kind_of
from tasks.drift import Checked, check
from tasks.trace import trace
from tests.conftest import drop_database, make_database, new_tenant
from tests.integration.drifting import DAY, NOISE, NOW, USUAL, furnish
from tests.integration.features import EDGE
from tests.integration.furnished import finding, incident
from tonewatch.clock import EPOCH, ManualClock
from tonewatch.errors import PartFailed
from tonewatch.records import Entity, FindingKind, Label
from tonewatch.settings import Settings
from warehouse import audit, calibrations, drift, entities, findings, incidents, labels, lineage, tenants, validations
from warehouse.calibrations import Calibrated, Source
from warehouse.database import Warehouse
from warehouse.drift import DriftCheck
from warehouse.lineage import Traced
from warehouse.migrate import RolePasswords
from warehouse.validations import Looked, Validation

#: A check looks at the day before the last whole hour that is two windows old.
ONSET = NOW - DAY - timedelta(seconds=24)
NOBODY: Mapping[str, Champion] = {}


@pytest.fixture
async def apart(postgres: EmbeddedPostgres, passwords: RolePasswords) -> AsyncIterator[tuple[Warehouse, str]]:
    """A warehouse with one tenant: a round goes through all there are, and takes longer with each test's before it."""
    made = make_database(postgres, passwords)
    warehouse = Warehouse(made.app_url, made.dispatcher_url)
    yield warehouse, await new_tenant(warehouse)
    await warehouse.close()
    drop_database(postgres, made.name)


async def edges(
    warehouse: Warehouse, tenant: str, now: datetime = NOW, judging: Mapping[str, Champion] | None = NOBODY
) -> Checked:
    (found, _) = await check(tenant, warehouse, judging, now)
    return found


async def taken(warehouse: Warehouse, tenant: str, found: Checked) -> None:
    """Prefect took at once what the check asked for."""
    assert found.request is not None
    async with warehouse.as_tenant(tenant) as db:
        await drift.delivered(tenant, db, found.request, "run", found.request.asked)


def judge(version: str) -> dict[str, Champion]:
    """A champion that learned what is usual."""
    chance = np.random.default_rng(2)
    rows = np.abs(USUAL + NOISE * chance.standard_normal((200, len(USUAL))))
    detector = ForestDetector(EDGE.names, (0.005,) * len(EDGE.names), trees=20).fit(rows)
    detector.version = version
    return {"edge": Champion("edge", detector, 0.6, 1.0)}


async def test_a_shift_is_kept_as_rows_and_asks_for_one_retraining(warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant, shift=0.05, since=ONSET)
    found = await edges(warehouse, tenant)
    assert found.check.verdict == "drift"
    assert found.check.told.startswith("data seconds_per_request level: +")
    async with warehouse.as_tenant(tenant) as db:
        (kept,) = [each for each in await drift.newest(tenant, db) if each.view == "edge"]
        results = await drift.results(tenant, db, kept)
        (asked,) = await drift.requests(tenant, db)
        lines = [line for line in await audit.read(tenant, db, 10) if line.what == "retraining-asked"]
    assert kept == found.check
    assert len(results) == 3 * len(EDGE.names)
    assert {each.feature for each in results if each.verdict == "drift"} == {"seconds_per_request"}
    assert asked.rests_until == NOW + DAY
    assert [(line.who, line.subject) for line in lines] == [("drift", "view:edge")]


async def test_scores_of_a_champion_that_fails_are_unjudged_and_the_windows_are_judged_all_the_same(
    warehouse: Warehouse, tenant: str
) -> None:
    await furnish(warehouse, tenant, shift=0.05, since=ONSET)
    (champion,) = judge("7").values()
    assert isinstance(champion.detector, ForestDetector)
    champion.detector.limits = champion.detector.limits[:-1]
    found, _ = await check(tenant, warehouse, {"edge": champion}, NOW)
    scores = {
        (each.verdict, "the model 7 of edge fails" in each.told) for each in found.results if each.subject == "scores"
    }
    assert (found.check.verdict, found.request is not None, scores) == ("drift", True, {("unjudged", True)})


async def test_scores_of_a_champion_that_could_not_be_used_are_unjudged(warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant)
    found, _ = await check(tenant, warehouse, {}, NOW, [Failing("edge", "7", "it cannot be read here")])
    scores = {(each.verdict, each.told) for each in found.results if each.subject == "scores"}
    assert (found.check.verdict, scores) == ("steady", {("unjudged", "it cannot be read here")})


async def test_the_same_window_is_checked_once(warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant, shift=0.05, since=ONSET)
    first, second = await edges(warehouse, tenant), await edges(warehouse, tenant)
    assert (first.new, second.new) == (True, False)
    async with warehouse.as_tenant(tenant) as db:
        assert len(await drift.requests(tenant, db)) == 1


async def test_calm_rows_are_steady_and_ask_for_nothing(warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant)
    assert (await edges(warehouse, tenant)).check.verdict == "steady"
    async with warehouse.as_tenant(tenant) as db:
        assert await drift.requests(tenant, db) == []


async def test_a_drift_that_lasts_asks_again_after_rests_that_double(warehouse: Warehouse, tenant: str) -> None:
    """No loop: of a week of checks twice a day, three ask, and none while another waits to be handed over."""
    await furnish(warehouse, tenant, days=40, until=NOW + 7 * DAY, shift=0.05, since=ONSET)
    for half in range(15):
        now = NOW + half * DAY / 2
        assert (await edges(warehouse, tenant, now)).check.verdict == "drift"
        await deliver(tenant, warehouse, ManualClock(now), Prefect(), Round())
    async with warehouse.as_tenant(tenant) as db:
        asked = await drift.requests(tenant, db)
    assert [each.asked for each in asked] == [NOW, NOW + 3 * DAY, NOW + 7 * DAY]
    assert [each.delivered for each in asked] == [NOW + 2 * DAY, NOW + 5 * DAY, None]
    assert [each.cool_down_seconds / DAY.total_seconds() for each in asked] == [1, 2, 4]


async def test_a_drift_does_not_hide_itself_where_its_days_are_a_weeks_free_ones(
    warehouse: Warehouse, tenant: str
) -> None:
    """From Friday night on, with ten days before it: until its request is due, Saturday is no reference."""
    monday = EPOCH + ((NOW - EPOCH) // DAY // 7 * 7 + 4) * DAY
    friday = monday + 4.9 * DAY
    await furnish(warehouse, tenant, days=14, until=friday + 4 * DAY, shift=0.02, since=friday)
    prefect = Prefect()
    for days in (1.4, 2.4, 3.4):
        now = friday + days * DAY
        assert (await edges(warehouse, tenant, now)).check.verdict == "drift", days
        await deliver(tenant, warehouse, ManualClock(now), prefect, Round())
    async with warehouse.as_tenant(tenant) as db:
        (asked,) = await drift.requests(tenant, db)
    assert (asked.delivered, asked.dropped) == (friday + 3.4 * DAY, "")


async def test_a_drift_that_is_over_before_its_request_is_due_is_not_trained_for(
    warehouse: Warehouse, tenant: str
) -> None:
    await furnish(warehouse, tenant, days=36, until=NOW + 4 * DAY, shift=0.05, since=ONSET)
    prefect = Prefect()
    await edges(warehouse, tenant)
    over = DriftCheck("edge", NOW + DAY, NOW, NOW - 28 * DAY, NOW + DAY, "steady", "steady")
    async with warehouse.as_tenant(tenant) as db:
        await drift.put(tenant, db, over, [])
    for later in (DAY, 2 * DAY):
        await deliver(tenant, warehouse, ManualClock(NOW + later), prefect, Round())
    again = await edges(warehouse, tenant, NOW + 2.5 * DAY)
    assert again.request is not None
    async with warehouse.as_tenant(tenant) as db:
        await drift.accept(tenant, db, "edge", "ann", "a new codec", NOW + 3 * DAY)
    await deliver(tenant, warehouse, ManualClock(NOW + 5 * DAY), prefect, Round())
    assert prefect.runs == []
    async with warehouse.as_tenant(tenant) as db:
        dropped = await drift.requests(tenant, db)
        lines = [line for line in await audit.read(tenant, db, 10) if line.what == "retraining-dropped"]
    assert [(each.delivered, each.dropped.split(" at ")[0]) for each in dropped] == [
        (None, "the view was found steady"),
        (None, "what the view shows was accepted"),
    ]
    assert len(lines) == 2


async def test_what_was_learned_because_of_drift_is_the_new_normal(warehouse: Warehouse, tenant: str) -> None:
    """The reference begins with the new model; until a season of it is there, nothing is judged."""
    await furnish(warehouse, tenant, days=40, until=NOW + 12 * DAY, shift=0.05, since=ONSET)
    await edges(warehouse, tenant)
    learned = Calibrated(
        "edge", "2", NOW + timedelta(seconds=30), 0.6, 0.5, 0.7, 0.5, 1.0, "gpd", Source.TRAINING, "drift"
    )
    by_drift = Traced("edge-isolation-forest", "2", "", learned.made, NOW, learned.made, "h", why="drift")
    weekly = replace(learned, version="3", made=NOW + 9 * DAY)
    by_schedule = replace(by_drift, version="3", trained=weekly.made, why="schedule")
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [learned, weekly])
        for each in (by_drift, by_schedule):
            await lineage.put(tenant, db, each)
    waiting = await edges(warehouse, tenant, NOW + DAY / 2, judge("1"))
    assert waiting.check.verdict == "drift", "a challenger that judges nothing yet makes nothing normal"
    soon = await edges(warehouse, tenant, NOW + 2 * DAY, judge("2"))
    assert soon.check.verdict == "unjudged"
    assert "a season is 7" in soon.check.told
    away = await edges(warehouse, tenant, NOW + 2.5 * DAY, None)
    assert away.check.reference_start == soon.check.reference_start, "MLflow being away makes nothing strange again"
    late = await edges(warehouse, tenant, NOW + 11 * DAY, judge("2"))
    assert late.check.verdict == "steady"
    later = await edges(warehouse, tenant, NOW + 11.5 * DAY, judge("3"))
    assert later.check.reference_start == late.check.reference_start, "what the schedule brings begins no other"
    async with warehouse.as_tenant(tenant) as db:
        assert len(await drift.requests(tenant, db)) == 1


async def test_a_drift_asks_for_nothing_while_its_challenger_is_validated(warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant, days=40, until=NOW + 7 * DAY, shift=0.05, since=ONSET)
    await taken(warehouse, tenant, await edges(warehouse, tenant))
    learned = Calibrated(
        "edge", "2", NOW + timedelta(seconds=30), 0.6, 0.5, 0.7, 0.5, 1.0, "gpd", Source.TRAINING, "drift"
    )
    contest = Validation("v", "edge", "1", "2", {"longest_s": 4 * DAY.total_seconds()}, NOW)
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [learned])
        await validations.begin(tenant, db, contest)
    rests = await edges(warehouse, tenant, NOW + 2 * DAY, judge("1"))
    assert (rests.check.verdict, rests.request) == ("drift", None)
    assert "its challenger is validated" in rests.rest
    final = Looked("v", NOW + 2 * DAY, "worse", True, -0.1, -0.2, 0.0, 9, (), {})
    async with warehouse.as_tenant(tenant) as db:
        await validations.look(tenant, db, final)
    asks = await edges(warehouse, tenant, NOW + 3 * DAY, judge("1"))
    assert (asks.check.verdict, asks.request is None) == ("drift", False)


async def test_a_champion_on_probation_keeps_no_drift_from_being_asked_about(warehouse: Warehouse, tenant: str) -> None:
    learned = Calibrated(
        "edge", "2", NOW + timedelta(seconds=30), 0.6, 0.5, 0.7, 0.5, 1.0, "gpd", Source.TRAINING, "drift"
    )
    contest = Validation("v", "edge", "1", "2", {"longest_s": DAY.total_seconds()}, NOW)
    watched = replace(contest, id="w", plan={**contest.plan, validations.PROBATION: "p", "longest_s": 9e6})
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [learned])
        for each in (watched, contest):
            await validations.begin(tenant, db, each)
        assert await validations.undecided(tenant, db, "edge", NOW) == NOW + DAY


@pytest.mark.parametrize("source", [Source.TRAINING, Source.CALM])
async def test_verdicts_that_drift_ask_for_nothing_while_a_challenger_of_any_family_is_validated(
    warehouse: Warehouse, tenant: str, source: Source
) -> None:
    """They ask for all families: what they bring would wait behind that, whoever trained it, and be old by its turn."""
    for days, verdict in ((40, "real"), (10, "false-alarm")):
        await said(warehouse, tenant, days, verdict, 12, by_model=True)
    learned = Calibrated("edge", "2", NOW - DAY, 0.6, 0.5, 0.7, 0.5, 1.0, "gpd", source, "drift")
    contest = Validation("v", "edge", "1", "2", {"longest_s": 4 * DAY.total_seconds()}, NOW - DAY)
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [learned])
        await validations.begin(tenant, db, contest)
    (waits,) = await check(tenant, warehouse, {}, NOW)
    assert (waits.check.verdict, waits.request) == ("drift", None)
    assert waits.rest.startswith("a challenger is validated, until")
    (asks,) = await check(tenant, warehouse, {}, NOW + 3 * DAY)
    assert (asks.check.verdict, asks.request is None) == ("drift", False)


async def test_a_persons_word_makes_it_normal(warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant, days=40, until=NOW + 12 * DAY, shift=0.05, since=ONSET)
    async with warehouse.as_tenant(tenant) as db:
        await drift.accept(tenant, db, "edge", "ann", "a new codec", NOW)
    assert (await edges(warehouse, tenant, NOW + 2 * DAY)).check.verdict == "unjudged"
    assert (await edges(warehouse, tenant, NOW + 11 * DAY)).check.verdict == "steady"


@pytest.mark.parametrize("days", [5, 1.2])
async def test_a_short_reference_is_not_judged(warehouse: Warehouse, tenant: str, days: float) -> None:
    await furnish(warehouse, tenant, days=days, shift=5.0, since=ONSET)
    found = await edges(warehouse, tenant)
    assert found.check.verdict == "unjudged"
    assert "a season is 7" in found.check.told


async def test_an_empty_day_is_not_judged(warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant, until=NOW - 2 * DAY)
    found = await edges(warehouse, tenant)
    assert (found.check.verdict, "no window with a number" in found.check.told) == ("unjudged", True)


async def test_rows_of_another_definition_are_not_compared(warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant)
    async with warehouse.as_tenant(tenant) as db:
        await tenants.watch_by(tenant, db, "platform")
    found = await edges(warehouse, tenant)
    assert (found.check.verdict, "no window with a number" in found.check.told) == ("unjudged", True)


async def test_a_models_scores_drift_though_no_feature_does(warehouse: Warehouse, tenant: str) -> None:
    """A model that calls the day strange: its scores are judged beside the windows."""
    await furnish(warehouse, tenant, shift=0.05, since=ONSET)
    found, _ = await check(tenant, warehouse, judge("1"), NOW)
    scores = {each.aspect: each.verdict for each in found.results if each.subject == "scores"}
    assert scores["level"] == "drift"


async def test_scores_that_the_stores_windows_cannot_give_are_said_not_to_be_judged(
    warehouse: Warehouse, tenant: str
) -> None:
    """A model that looks back needs windows a tick apart; it keeps no drift of the data from being told."""
    await furnish(warehouse, tenant, shift=0.05, since=ONSET)
    chance = np.random.default_rng(2)
    rows = np.abs(USUAL + NOISE * chance.standard_normal((400, len(USUAL))))
    detector = kind_of("row-ensemble").make(EDGE.names, (0.005,) * len(EDGE.names), 0).fit(rows)
    detector.version = "row-ensemble/1"
    found, _ = await check(tenant, warehouse, {"edge": Champion("edge", detector, 0.6, 1.0)}, NOW)
    assert found.check.verdict == "drift"
    async with warehouse.as_tenant(tenant) as db:
        scores = [each for each in await drift.results(tenant, db, found.check) if each.subject == "scores"]
    assert {each.aspect for each in scores} == {"level", "spread", "missing"}
    assert {(each.verdict, each.effect, each.told) for each in scores} == {
        (
            "unjudged",
            None,
            "the row-ensemble judges a window by the 5 before it, 5 s apart; the store keeps one each 10 s",
        )
    }


async def said(
    warehouse: Warehouse, tenant: str, days: float, verdict: str, count: int, *, by_model: bool = False
) -> None:
    """So many incidents, opened so many days before now, of which ann said that; by_model: a model had told them."""
    async with warehouse.as_tenant(tenant) as db:
        for number in range(count):
            opened = NOW - days * DAY
            id_ = f"{verdict}-{days}-{number}"
            await incidents.save(tenant, db, replace(incident(tenant), id=id_, onset=opened, opened=opened))
            if by_model:
                at = opened + timedelta(milliseconds=number)
                kind, version = FindingKind.SIGNAL, "edge-isolation-forest/1"
                found = replace(finding(tenant), started=at, ended=at, kind=kind, model_version=version)
                await findings.save(tenant, db, [found])
                await incidents.attach(tenant, db, id_, [found.id])
            label = Label(f"l-{id_}", "incident", id_, f"verdict:{verdict}", "ann", "", NOW)
            await labels.put(tenant, db, [label])


async def test_missed_incidents_are_told_by_what_people_say(warehouse: Warehouse, tenant: str) -> None:
    await said(warehouse, tenant, 40, "real", 4)
    (found,) = await check(tenant, warehouse, {}, NOW)
    assert (found.check.view, found.check.verdict) == ("incidents", "unjudged")
    assert "each needs 10" in found.check.told
    async with warehouse.as_tenant(tenant) as db:
        told = await drift.told(tenant, db, NOW - 58 * DAY, NOW)
    assert list(told.values()) == [False] * 4


async def test_one_whom_nobody_knows_makes_no_drift_of_false_alarms(warehouse: Warehouse, tenant: str) -> None:
    """What a model told and ann called real, mallory calls false: the last word alone counts for nothing."""
    await said(warehouse, tenant, 40, "real", 12, by_model=True)
    await said(warehouse, tenant, 10, "real", 12, by_model=True)
    (before,) = await check(tenant, warehouse, {}, NOW)
    assert before.check.verdict == "steady"
    async with warehouse.as_tenant(tenant) as db:
        lately = await drift.told(tenant, db, NOW - 30 * DAY, NOW)
        assert list(lately.values()) == [True] * 12
        told = [Label(f"h-{id_}", "incident", id_, "verdict:false-alarm", "mallory", "", NOW + DAY) for id_ in lately]
        await labels.put(tenant, db, told)
    (after,) = await check(tenant, warehouse, {}, NOW + DAY)
    assert (after.new, after.check.verdict) == (True, "unjudged")


class Prefect:
    """Where retrainings are asked for: what a test sees of it."""

    def __init__(self) -> None:
        self.away = False
        self.runs: list[tuple[str, Sequence[str] | None, str]] = []
        self.at: list[datetime] = []

    async def __call__(
        self, tenant: str, families: Sequence[str] | None, key: str, at: datetime, why: Sequence[str]
    ) -> str:
        if self.away:
            raise PartFailed("Prefect is away")
        self.runs.append((tenant, families, key))
        self.at.append(at)
        return f"run-{len(self.runs)}"


async def test_a_request_that_prefect_did_not_take_is_made_by_the_next_round(apart: tuple[Warehouse, str]) -> None:
    warehouse, tenant = apart
    await furnish(warehouse, tenant, days=36, until=NOW + 4 * DAY, shift=0.05, since=ONSET)
    prefect, settings = Prefect(), Settings()
    prefect.away = True
    await watch_drift(warehouse, settings, ManualClock(NOW), prefect)
    told = await watch_drift(warehouse, settings, ManualClock(NOW + 2 * DAY), prefect)
    assert any(line.startswith(f"{tenant}: the retraining of edge waits") for line in told.away)
    async with warehouse.as_tenant(tenant) as db:
        waiting = await drift.requests(tenant, db)
    assert {each.delivered for each in waiting} == {None}
    prefect.away = False
    for later in (1, 2):
        await watch_drift(warehouse, settings, ManualClock(NOW + 2 * DAY + later * DAY / 4), prefect)
    mine = [run for run in prefect.runs if run[0] == tenant]
    assert [families for _, families, _ in mine] == [["edge"]]
    async with warehouse.as_tenant(tenant) as db:
        (asked,) = await drift.requests(tenant, db)
    assert asked.flow_run.startswith("run-")


async def test_a_retraining_waits_for_the_days_that_it_learns_from(apart: tuple[Warehouse, str]) -> None:
    """At once it would learn the days before the drift; a person who asks knows what is to be learned."""
    warehouse, tenant = apart
    await furnish(warehouse, tenant, days=36, until=NOW + 4 * DAY, shift=0.05, since=ONSET)
    prefect, settings = Prefect(), Settings()
    for half in range(4):
        await watch_drift(warehouse, settings, ManualClock(NOW + half * DAY / 2), prefect)
    assert [run for run in prefect.runs if run[0] == tenant] == []
    await watch_drift(warehouse, settings, ManualClock(NOW + 2 * DAY), prefect)
    assert [(run[1], at) for run, at in zip(prefect.runs, prefect.at, strict=True) if run[0] == tenant] == [
        (["edge"], NOW + 2 * DAY)
    ]
    wanted = drift.RetrainingRequest("edge", NOW + 2.25 * DAY, 90.0, "ann", "the campaign has begun")
    async with warehouse.as_tenant(tenant) as db:
        await drift.ask(tenant, db, wanted)
    await watch_drift(warehouse, settings, ManualClock(NOW + 2.5 * DAY), prefect)
    assert [at for run, at in zip(prefect.runs, prefect.at, strict=True) if run[0] == tenant][1:] == [NOW + 2.5 * DAY]


async def test_what_is_to_be_learned_without_somebody_is_asked_for_daily_until_it_is(
    apart: tuple[Warehouse, str],
) -> None:
    """Of a family that the platform has: another would fail the training of all. Any kind of model will do."""
    warehouse, tenant = apart
    prefect, day = Prefect(), timedelta(days=1)
    wanted = ("edge-isolation-forest", "edge-lstm-forecast", "origin-row-ensemble")
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, [Entity("edge:e", "edge"), Entity("origin:o", "origin")], NOW)
        await lineage.request(tenant, db, ["transcode-isolation-forest"], "another has left", NOW - day)
        await lineage.request(tenant, db, wanted, "a tenant has left", NOW)
    for later in (day / 4, day / 3, day):
        await watch_drift(warehouse, Settings(), ManualClock(NOW + later), prefect)
    async with warehouse.as_tenant(tenant) as db:
        for model in ("edge-isolation-forest", "origin-row-ensemble"):
            await trace(tenant, db, Traced(model, "7", "", NOW + day, NOW, NOW + day, "h"))
    await watch_drift(warehouse, Settings(), ManualClock(NOW + 2 * day), prefect)
    mine = [(families, key) for whose, families, key in prefect.runs if whose == tenant]
    assert [families for families, _ in mine] == [["edge", "origin"]] * 3
    assert len({key for _, key in mine}) == 2, "twice on one day is one run"
    assert all(NOW.isoformat() in key for _, key in mine)


async def test_mlflow_being_away_keeps_no_row_from_being_kept(apart: tuple[Warehouse, str]) -> None:
    warehouse, tenant = apart
    await furnish(warehouse, tenant, shift=0.05, since=ONSET)
    settings = Settings(mlflow_tracking_uri="http://127.0.0.1:9")
    told = await watch_drift(warehouse, settings, ManualClock(NOW), Prefect())
    mine = [each for each in told.done if each.tenant == tenant and each.check.view == "edge"]
    assert [each.check.verdict for each in mine] == ["drift"]
    assert any(f"{tenant}: the scores were not looked at" in line for line in told.away)
    assert tenant not in told.failed


async def test_one_tenant_sees_nothing_of_anothers_drift(warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant, shift=0.05, since=ONSET)
    await edges(warehouse, tenant)
    other = await new_tenant(warehouse)
    async with warehouse.as_tenant(other) as db:
        assert (await drift.newest(other, db), await drift.requests(other, db)) == ([], [])
        assert await drift.newest(tenant, db) == [], "the policy holds, whatever the statement asks for"
