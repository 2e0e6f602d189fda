"""Each noun comes back as it was kept, and a repeated call changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from sqlalchemy import text

from tests.conftest import BEGINNING, new_tenant
from tests.integration.furnished import (
    INCIDENT,
    PART,
    START,
    action,
    at,
    causes,
    finding,
    furnish,
    incident,
    notice,
    report,
    sample,
    verdict,
)
from tonewatch.errors import UnknownTenant, WarehouseError
from tonewatch.records import (
    Action,
    ActionState,
    Change,
    Entity,
    Evidence,
    Incident,
    IncidentState,
    NoticeState,
    Outcome,
    Run,
    RunKind,
    Sample,
    Series,
    SeriesKind,
    Tenant,
)
from warehouse import (
    actions,
    audit,
    changes,
    cursors,
    entities,
    evidence,
    findings,
    incidents,
    journal,
    keys,
    notices,
    samples,
    sessions,
    snapshots,
    tenants,
    verdicts,
)
from warehouse.database import Warehouse


async def test_a_tenant_added_again_stays_as_it_was(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await tenants.add(tenant, db, name="another name", profile="platform", at=START)
        assert await tenants.get(tenant, db) == Tenant(tenant, tenant, "demo", 1)


async def test_an_unknown_tenant_is_said_to_be_unknown(warehouse: Warehouse) -> None:
    with pytest.raises(UnknownTenant, match="add it first"):
        async with warehouse.as_tenant("nobody") as db:
            await tenants.get("nobody", db)
    with pytest.raises(UnknownTenant, match="add it first"):
        async with warehouse.as_tenant("nobody") as db:
            await findings.save("nobody", db, [finding("nobody")])


# Entities.


def parts(*feeds: str, stage: str = "transcode") -> list[Entity]:
    return [
        Entity("component:packager", "package", {"job": "p"}),
        Entity(PART, stage, {"job": "t"}, tuple(sorted(feeds)), ("service:disk",)),
    ]


async def test_entities_are_as_they_were_at_any_time(warehouse: Warehouse, tenant: str) -> None:
    history = [parts("component:packager"), parts("component:a", "component:b"), parts(stage="ingest"), parts()]
    async with warehouse.as_tenant(tenant) as db:
        assert await entities.load(tenant, db, START) == []
        for hour, told in enumerate(history):
            await entities.save(tenant, db, told, at(3600 * hour))
            await entities.save(tenant, db, told, at(3600 * hour + 60))
        assert await entities.load(tenant, db, at(-1)) == []
        for hour, told in enumerate(history):
            assert await entities.load(tenant, db, at(3600 * hour)) == told
            assert await entities.load(tenant, db, at(3600 * hour + 3599)) == told
        assert (await db.execute(text("select count(*) from entity"))).scalar_one() == 4


async def test_an_entity_that_ended_is_no_longer_there_and_may_come_back(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, parts("component:packager"), START)
        await entities.end(tenant, db, [PART], at(60))
        assert await entities.load(tenant, db, at(59)) == parts("component:packager")
        assert await entities.load(tenant, db, at(60)) == parts()[:1]
        await entities.save(tenant, db, parts("component:packager"), at(120))
        assert await entities.load(tenant, db, at(90)) == parts()[:1]
        assert await entities.load(tenant, db, at(120)) == parts("component:packager")


async def test_what_is_told_for_an_earlier_time_corrects_the_entity(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, parts("component:a"), START)
        await entities.save(tenant, db, parts("component:b", stage="ingest"), at(-60))
        assert (await entities.load(tenant, db, at(1)))[1] == parts("component:b", stage="ingest")[1]
        await entities.save(tenant, db, parts("component:a"), START)
        await entities.save(tenant, db, parts("component:a"), at(-60))
        assert await entities.load(tenant, db, at(1)) == parts("component:a")


async def test_entities_of_nothing_change_nothing(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, [], START)
        assert await entities.load(tenant, db, START) == []


# Samples (their counting is held against an oracle in tests/properties/test_samples.py).


async def test_samples_come_back_by_series_and_time_with_their_series_whole(warehouse: Warehouse, tenant: str) -> None:
    lufs = Series("rendition:ch1/aac-128", "probe_loudness_lufs", (("b", "2"), ("a", "1")), "LUFS", SeriesKind.GAUGE)
    total = Series(PART, "http_requests_total", (), "", SeriesKind.COUNTER)
    kept = [Sample(series, at(second), second / 7) for series in (lufs, total) for second in range(5)]
    async with warehouse.as_tenant(tenant) as db:
        assert await samples.append(tenant, db, list(reversed(kept))) == samples.Appended(written=10)
        in_order = sorted(kept, key=lambda each: (each.series.id, each.time))
        assert await samples.read(tenant, db, START, at(5)) == in_order
        assert await samples.read(tenant, db, at(1), at(4), entities=[PART]) == [
            each for each in in_order if each.series == total and at(1) <= each.time < at(4)
        ]
        assert await samples.read(tenant, db, START, at(1), metrics=[lufs.metric]) == [Sample(lufs, START, 0.0)]
        assert await samples.read(tenant, db, START, at(5), entities=[]) == []
        assert await samples.read(tenant, db, START, at(5), entities=[PART], metrics=[lufs.metric]) == []


async def test_numbers_that_are_none_are_refused_and_the_others_kept(warehouse: Warehouse, tenant: str) -> None:
    batch = [
        sample(value, second) for second, value in enumerate((1.0, float("nan"), float("inf"), float("-inf"), 2.0))
    ]
    async with warehouse.as_tenant(tenant) as db:
        assert await samples.append(tenant, db, batch) == samples.Appended(written=2, refused=3)
        assert await samples.append(tenant, db, batch[1:2]) == samples.Appended(refused=1)
        assert await samples.append(tenant, db, []) == samples.Appended()
        assert [each.value for each in await samples.read(tenant, db, START, at(9))] == [1.0, 2.0]


async def test_a_time_without_a_zone_is_an_error(warehouse: Warehouse, tenant: str) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - that is the point
    async with warehouse.as_tenant(tenant) as db:
        for call in (
            samples.append(tenant, db, [replace(sample(), time=naive)]),
            samples.read(tenant, db, naive, START),
            findings.since(tenant, db, naive),
            findings.save(tenant, db, [replace(finding(tenant), started=naive)]),
            cursors.set(tenant, db, "c", {}, naive),
            sessions.save(tenant, db, [replace(report(), time=naive)], START),
            keys.create(tenant, db, purpose="p", scopes=[], now=naive),
        ):
            with pytest.raises(WarehouseError, match="has no time zone"):
                await call


async def test_a_time_in_another_zone_is_the_same_moment(warehouse: Warehouse, tenant: str) -> None:
    elsewhere = replace(sample(), time=START.astimezone(timezone(timedelta(hours=14))))
    async with warehouse.as_tenant(tenant) as db:
        assert await samples.append(tenant, db, [sample(), elsewhere]) == samples.Appended(written=1, repeated=1)
        (kept,) = await samples.read(tenant, db, START, at(1))
        assert kept.time == START
        assert kept.time.tzinfo is UTC


async def test_a_series_first_seen_in_a_transaction_that_failed_is_written_by_the_next(
    warehouse: Warehouse, tenant: str
) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the end of the transaction raises
        async with warehouse.as_tenant(tenant) as db:
            await samples.append(tenant, db, [sample()])
            raise ZeroDivisionError
    async with warehouse.as_tenant(tenant) as db:
        await samples.append(tenant, db, [sample(seconds=1)])
        assert await samples.read(tenant, db, START, at(9)) == [sample(seconds=1)]


async def test_each_day_has_a_partition_of_its_own_and_an_odd_day_loses_nothing(
    warehouse: Warehouse, tenant: str
) -> None:
    days = [datetime(2026, 3, 1, 23, 59, 59, 999999, UTC), datetime(2026, 3, 2, tzinfo=UTC)]
    odd = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC)]
    batch = [replace(sample(), time=time) for time in (*days, *odd)]
    async with warehouse.as_tenant(tenant) as db:
        assert await samples.append(tenant, db, batch) == samples.Appended(written=4)
        found = await db.execute(text("select distinct tableoid::regclass::text from sample"))
        # Telling the partition asks for no right on it.
        assert {"sample_hot_20260301", "sample_hot_20260302"} <= set(found.scalars())
        assert [each.time for each in await samples.read(tenant, db, odd[0], odd[1])] == [odd[0], *days]


async def test_a_day_whose_rows_lie_in_the_default_partition_stays_there(warehouse: Warehouse, tenant: str) -> None:
    insert = text("insert into sample values (:tenant, 'hot', 1, :time, 1)")
    ensure = text("select ensure_sample_partition('hot', :day)")
    late = datetime(2026, 7, 1, 12, tzinfo=UTC)
    async with warehouse.as_tenant(tenant) as db:
        await db.execute(insert, {"tenant": tenant, "time": late})
        assert (await db.execute(ensure, {"day": date(2026, 7, 1)})).scalar_one() is False
        assert await samples.append(tenant, db, [replace(sample(), time=late)]) == samples.Appended(written=1)


async def test_two_writers_of_a_new_day_at_the_same_time_both_succeed(warehouse: Warehouse) -> None:
    names = [await new_tenant(warehouse) for _ in range(4)]
    times = [datetime(2026, 5, day, tzinfo=UTC) for day in (1, 2, 3)]

    async def write(name: str) -> int:
        async with warehouse.as_tenant(name) as db:
            await samples.read(name, db, BEGINNING, times[-1])
            done = await samples.append(name, db, [replace(sample(), time=time) for time in times])
            return done.written

    assert await asyncio.gather(*(write(name) for name in names)) == [3, 3, 3, 3]


async def test_samples_of_another_retention_are_apart(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await samples.append(tenant, db, [sample(1.0)])
        assert await samples.append(tenant, db, [sample(2.0)], retention="evidence") == samples.Appended(written=1)
        assert await samples.read(tenant, db, START, at(1)) == [sample(1.0)]
        assert await samples.read(tenant, db, START, at(1), retention="evidence") == [sample(2.0)]


# Findings, incidents, causes.


async def test_a_finding_kept_twice_is_one_finding(warehouse: Warehouse, tenant: str) -> None:
    first, later = finding(tenant), finding(tenant, 8, rate=0.5, model_version="3", score=float("inf"))
    async with warehouse.as_tenant(tenant) as db:
        assert await findings.save(tenant, db, [first, first]) == 1
        assert await findings.save(tenant, db, [first, later]) == 1
        assert await findings.save(tenant, db, []) == 0
        assert await findings.since(tenant, db, START) == [first, later]
        assert await findings.since(tenant, db, at(3.001)) == [later]


async def test_a_finding_with_what_postgresql_cannot_hold_is_kept_all_the_same(
    warehouse: Warehouse, tenant: str
) -> None:
    odd = finding(tenant, summary="a\0b \ud800 é 🎧 \\u0000", features={"z": float("nan"), "\0": 1.5})
    async with warehouse.as_tenant(tenant) as db:
        await findings.save(tenant, db, [odd])
        (kept,) = await findings.since(tenant, db, START)
    assert kept.summary == "a\ufffdb ? é 🎧 \\u0000"
    assert str(kept.features["z"]) == "nan"
    assert kept.features["\ufffd"] == 1.5


async def test_an_incident_is_as_it_was_last_kept(warehouse: Warehouse, tenant: str) -> None:
    first = incident(tenant)
    last = replace(first, state=IncidentState.CLOSED, closed=at(90), impact_ended=at(60), listener_minutes_lost=1 / 3)
    second = replace(first, id="incident-2", opened=at(30))
    async with warehouse.as_tenant(tenant) as db:
        assert await incidents.get(tenant, db, INCIDENT) is None
        for each in (second, first):
            await incidents.save(tenant, db, each)
        assert await incidents.active(tenant, db) == [first, second]
        await incidents.save(tenant, db, last)
        assert await incidents.get(tenant, db, INCIDENT) == last
        assert await incidents.active(tenant, db) == [second]
        assert await incidents.opened_since(tenant, db, at(5)) == [last, second]
        assert await incidents.opened_since(tenant, db, at(6)) == [second]


async def test_findings_attached_twice_belong_to_the_incident_once(warehouse: Warehouse, tenant: str) -> None:
    kept = [finding(tenant), finding(tenant, 8)]
    async with warehouse.as_tenant(tenant) as db:
        await findings.save(tenant, db, kept)
        await incidents.save(tenant, db, incident(tenant))
        for _ in range(2):
            await incidents.attach(tenant, db, INCIDENT, [each.id for each in kept])
        assert {each.id for each in await findings.of_incident(tenant, db, INCIDENT)} == {each.id for each in kept}
        await incidents.attach(tenant, db, INCIDENT, [])


async def test_the_causes_named_last_stand(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await incidents.save(tenant, db, incident(tenant))
        await incidents.set_causes(tenant, db, INCIDENT, causes(), at(6))
        assert await incidents.causes(tenant, db, INCIDENT) == causes()
        await incidents.set_causes(tenant, db, INCIDENT, causes()[:1])
        assert await incidents.causes(tenant, db, INCIDENT) == causes()[:1]
        with pytest.raises(WarehouseError, match="another incident"):
            await incidents.set_causes(tenant, db, INCIDENT, causes("incident-2"))


async def test_the_story_goes_from_the_first_finding_to_the_verdict(warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant)
    async with warehouse.as_tenant(tenant) as db:
        done = replace(action(), state=ActionState.FINISHED, started=at(8), finished=at(9), detail="it runs")
        await actions.update(tenant, db, done)
        await notices.put(tenant, db, [notice(tenant, state="mended", created=21)])
        await notices.mark_sent(tenant, db, notice(tenant).id, at(10))
        story = await incidents.story(tenant, db, INCIDENT)
        shown = (
            await db.execute(text("select time, step, what from incident_story where incident = 'incident-1'"))
        ).all()
    assert [(line.step, (line.time - START).seconds, line.what) for line in story] == [
        ("detect", 3, "does not answer"),
        ("correlate", 5, "transcoder-ch1 is down"),
        ("diagnose", 6, f"{PART}:crash (rank 1, confidence 0.90)"),
        ("diagnose", 6, "component:ingest-ch1:hang (rank 2, confidence 0.10)"),
        ("decide", 7, f"restart {PART} (act, attempt 1)"),
        ("act", 8, f"restart {PART} started"),
        ("act", 9, f"restart {PART} finished"),
        ("notify", 10, "email: Sound is missing"),
        ("verify", 20, "worked (uncontrolled): back in band"),
        ("notify", 21, "email: Sound is missing"),
        ("answer", 22, "someone: ack"),
    ]
    assert story[4].detail["guards"][0] == {"guard": "rate", "allowed": True, "reason": "1 of 3"}
    assert [(line.step, line.time) for line in story] == [(step, time) for time, step, _ in shown]


# Actions, verdicts, leases.


async def test_an_action_is_intended_once_and_carried_on(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await incidents.save(tenant, db, incident(tenant))
        assert await actions.intend(tenant, db, action())
        assert not await actions.intend(tenant, db, replace(action(), state=ActionState.FAILED))
        assert await actions.of_incident(tenant, db, INCIDENT) == [action()]
        done = replace(action(), state=ActionState.FINISHED, started=at(8), finished=at(9), detail="done", undo="stop")
        assert await actions.update(tenant, db, done)
        assert await actions.of_incident(tenant, db, INCIDENT) == [done]
        assert not await actions.update(tenant, db, replace(done, attempt=2))
        await verdicts.save(tenant, db, verdict())
        assert await verdicts.of_incident(tenant, db, INCIDENT) == [verdict()]
        await verdicts.save(tenant, db, replace(verdict(), outcome=Outcome.HARMED))
        assert [each.outcome for each in await verdicts.of_incident(tenant, db, INCIDENT)] == [Outcome.HARMED]


async def test_of_two_holders_one_has_the_lease_until_it_ends(warehouse: Warehouse, tenant: str) -> None:
    key = action().key
    async with warehouse.as_tenant(tenant) as db:
        await incidents.save(tenant, db, incident(tenant))
        await actions.intend(tenant, db, action())
        assert await actions.lease(tenant, db, "no such action", "one", 60) is None
        first = await actions.lease(tenant, db, key, "one", 60)
        assert first is not None
        assert await actions.lease(tenant, db, key, "two", 60) is None
        assert await actions.lease(tenant, db, key, "one", 0) == first  # kept, and ended at once
        second = await actions.lease(tenant, db, key, "two", 60)
        assert second is not None
        assert second > first
        assert await actions.lease(tenant, db, key, "one", 60) is None
        assert not await actions.update(tenant, db, action(), fence=first)
        assert await actions.update(tenant, db, action(), fence=second)


async def test_a_holder_who_comes_back_after_its_lease_gets_a_new_token(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await incidents.save(tenant, db, incident(tenant))
        await actions.intend(tenant, db, action())
        first = await actions.lease(tenant, db, action().key, "one", 0)
        again = await actions.lease(tenant, db, action().key, "one", 60)
    assert first is not None
    assert again == first + 1


async def test_of_many_who_ask_at_once_one_gets_the_lease(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await incidents.save(tenant, db, incident(tenant))
        await actions.intend(tenant, db, action())

    async def ask(holder: str) -> int | None:
        async with warehouse.as_tenant(tenant) as db:
            return await actions.lease(tenant, db, action().key, holder, 60)

    answers = await asyncio.gather(*(ask(f"holder-{number}") for number in range(12)))
    assert sorted(answers, key=str) == [1, *[None] * 11]


# The outbox.


async def due(warehouse: Warehouse, seconds: float, holder: str = "one", lease: float = 60, limit: int = 100) -> list:
    async with warehouse.as_dispatcher() as db:
        return await notices.lease_due(db, at(seconds), holder, lease, limit)


async def empty_outbox(warehouse: Warehouse) -> None:
    await due(warehouse, 1e6, lease=3600, limit=10_000)


async def test_a_notice_goes_through_the_outbox(warehouse: Warehouse, tenant: str) -> None:
    await empty_outbox(warehouse)
    put = notice(tenant)
    async with warehouse.as_tenant(tenant) as db:
        assert await notices.put(tenant, db, [put, put]) == 1
        assert await notices.put(tenant, db, [replace(put, body="other")]) == 0
        assert await notices.put(tenant, db, []) == 0
        assert await notices.get(tenant, db, put.id) == put
        assert await notices.get(tenant, db, "none") is None
    assert await due(warehouse, 5) == []
    assert await due(warehouse, 6) == [(tenant, put.id)]
    assert await due(warehouse, 6, "two") == []
    async with warehouse.as_tenant(tenant) as db:
        await notices.mark_failed(tenant, db, put.id, "no route\0", at(60))
        assert await notices.get(tenant, db, put.id) == replace(
            put, attempts=1, next_attempt=at(60), last_error="no route\ufffd"
        )
    assert await due(warehouse, 59, "two") == []
    assert await due(warehouse, 60, "two") == [(tenant, put.id)]
    async with warehouse.as_tenant(tenant) as db:
        await notices.mark_sent(tenant, db, put.id, at(61))
        sent = replace(put, attempts=2, state=NoticeState.SENT, sent=at(61))
        assert await notices.get(tenant, db, put.id) == sent
        await notices.mark_failed(tenant, db, put.id, "too late", at(70))
        await notices.mark_refused(tenant, db, put.id, "too late")
        assert await notices.of_incident(tenant, db, INCIDENT) == [sent]
    assert await due(warehouse, 1000) == []


async def test_a_notice_whose_sender_died_is_given_to_another(warehouse: Warehouse, tenant: str) -> None:
    await empty_outbox(warehouse)
    async with warehouse.as_tenant(tenant) as db:
        await notices.put(tenant, db, [notice(tenant)])
    assert await due(warehouse, 10, "dead", lease=0) == [(tenant, notice(tenant).id)]
    assert await due(warehouse, 10, "two") == [(tenant, notice(tenant).id)]


async def test_a_refused_notice_is_never_due_again(warehouse: Warehouse, tenant: str) -> None:
    await empty_outbox(warehouse)
    async with warehouse.as_tenant(tenant) as db:
        await notices.put(tenant, db, [notice(tenant)])
        await notices.mark_refused(tenant, db, notice(tenant).id, "no such mailbox")
        kept = await notices.get(tenant, db, notice(tenant).id)
    assert kept == replace(notice(tenant), state=NoticeState.REFUSED, attempts=1, last_error="no such mailbox")
    assert await due(warehouse, 1e6) == []


async def test_senders_at_work_at_the_same_time_share_the_outbox(warehouse: Warehouse, tenant: str) -> None:
    await empty_outbox(warehouse)
    put = [notice(tenant, f"incident-{number}") for number in range(40)]
    async with warehouse.as_tenant(tenant) as db:
        await notices.put(tenant, db, put)
    shares = await asyncio.gather(*(due(warehouse, 10, f"sender-{number}", limit=10) for number in range(6)))
    rest = await due(warehouse, 10, "last", limit=100)
    given = [id_ for share in (*shares, rest) for _, id_ in share]
    assert sorted(given) == sorted(each.id for each in put)


async def test_one_tenants_flood_does_not_keep_anothers_notice_waiting(warehouse: Warehouse, tenant: str) -> None:
    await empty_outbox(warehouse)
    quiet = await new_tenant(warehouse)
    async with warehouse.as_tenant(tenant) as db:
        await notices.put(tenant, db, [notice(tenant, f"incident-{number}") for number in range(50)])
    async with warehouse.as_tenant(quiet) as db:
        await notices.put(quiet, db, [notice(quiet, created=9)])
    assert {name for name, _ in await due(warehouse, 10, limit=2)} == {tenant, quiet}


# Sessions.


async def test_a_report_of_the_same_session_and_sequence_counts_once(warehouse: Warehouse, tenant: str) -> None:
    told = [report("a", number, number) for number in range(4)]
    async with warehouse.as_tenant(tenant) as db:
        assert await sessions.save(tenant, db, [*told, told[0]], START) == 4
        assert await sessions.save(tenant, db, [replace(told[0], starved_ms=9), report("b", 0, 9)], START) == 1
        assert await sessions.save(tenant, db, [], START) == 0
        assert await sessions.between(tenant, db, at(1), at(3)) == told[1:3]
        first, arrival = await sessions.since(tenant, db, 0, 3)
        assert first == told[:3]
        rest, end = await sessions.since(tenant, db, arrival, 3)
        assert rest == [told[3], report("b", 0, 9)]
        assert await sessions.since(tenant, db, end, 3) == ([], end)


async def test_a_reader_misses_no_report_that_commits_late(warehouse: Warehouse, tenant: str) -> None:
    async def save(session: str) -> None:
        async with warehouse.as_tenant(tenant) as db:
            await sessions.save(tenant, db, [report(session)], START)

    async def read(arrival: int) -> tuple[list[str], int]:
        async with warehouse.as_tenant(tenant) as db:
            found, end = await sessions.since(tenant, db, arrival, 10)
        return [each.session for each in found], end

    async with warehouse.as_tenant(tenant) as db:
        await sessions.save(tenant, db, [report("early")], START)
        late = asyncio.create_task(save("late"))
        await asyncio.wait({late}, timeout=0.3)
        assert not late.done()  # else its arrival could be read before a lower one is there
        assert await read(0) == ([], 0)
    await late
    found, end = await read(0)
    assert found == ["early", "late"]
    assert await read(end) == ([], end)


# Cursors, snapshots, runs, changes, evidence, audit.


async def test_a_cursor_moves_only_with_its_transaction(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        assert await cursors.get(tenant, db, "detection") is None
        await cursors.set(tenant, db, "detection", {"time": START, "n": 1}, START)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the end of the transaction raises
        async with warehouse.as_tenant(tenant) as db:
            await cursors.set(tenant, db, "detection", {"n": 2}, START)
            raise ZeroDivisionError
    async with warehouse.as_tenant(tenant) as db:
        assert await cursors.get(tenant, db, "detection") == {"time": START.isoformat(), "n": 1}


async def test_the_snapshot_kept_last_is_loaded(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        assert await snapshots.load(tenant, db, "detection") is None
        for second, state in enumerate((b"one", b"\0" * 100_000)):
            await snapshots.save(tenant, db, "detection", at(second), state)
        assert await snapshots.load(tenant, db, "detection") == (at(1), b"\0" * 100_000)


async def test_the_journal_gives_the_ended_runs_that_no_flow_run_shows(warehouse: Warehouse, tenant: str) -> None:
    started = Run("one", tenant, RunKind.DETECTION, START, summary={"ticks": 0})
    ended = replace(started, ended=at(60), outcome="completed", summary={"ticks": 12})
    never_started = Run("two", tenant, RunKind.REMEDIATION, at(1), at(2), INCIDENT, "failed")
    async with warehouse.as_tenant(tenant) as db:
        await journal.start(tenant, db, started)
        assert await journal.unrecorded(tenant, db) == []
        await journal.finish(tenant, db, ended)
        await journal.finish(tenant, db, never_started)
        assert await journal.unrecorded(tenant, db) == [ended, never_started]
        await journal.set_flow_run(tenant, db, "one", "flow-run")
        await journal.finish(tenant, db, ended)
        assert await journal.unrecorded(tenant, db) == [never_started]


async def test_changes_under_way_in_a_stretch_of_time_are_read(warehouse: Warehouse, tenant: str) -> None:
    past = Change("past", "release", PART, at(-60), at(-30), "someone", "a release")
    lasting = Change("lasting", "maintenance", PART, at(-60), None, "someone", "works")
    later = Change("later", "flag", PART, at(60), at(61), "someone", "a flag")
    async with warehouse.as_tenant(tenant) as db:
        await changes.save(tenant, db, [past, lasting, later])
        await changes.save(tenant, db, [])
        assert await changes.read(tenant, db, START, at(60)) == [lasting]
        assert await changes.read(tenant, db, at(-31), at(61)) == [lasting, past, later]
        await changes.save(tenant, db, [lasting, replace(lasting, ended=at(-1))])
        assert await changes.read(tenant, db, START, at(60)) == []


async def test_release_that_was_rolled_back_stands_no_more(warehouse: Warehouse, tenant: str) -> None:
    release = Change("r1", "release", PART, at(-60), None, "someone", "a release")
    done = Action("i1", "rollback", PART, 1, ActionState.FINISHED, "act", started=at(-30), finished=at(-29))
    async with warehouse.as_tenant(tenant) as db:
        await changes.save(tenant, db, [release])
        assert await changes.standing(tenant, db, START, at(60)) == [release]
        await incidents.save(tenant, db, Incident("i1", tenant, IncidentState.CLOSED, at(-50), at(-45), "t"))
        await actions.intend(tenant, db, done)
        assert await changes.standing(tenant, db, START, at(60)) == []
        assert await changes.standing(tenant, db, START, at(60), besides="i1") == [release]
        taken_back = replace(done, runbook="undo-rollback", started=at(-20), finished=at(-19))
        await actions.intend(tenant, db, taken_back)
        assert await changes.standing(tenant, db, START, at(60)) == [release]


async def test_evidence_put_again_is_as_it_was(warehouse: Warehouse, tenant: str) -> None:
    kept = Evidence("hash", "audio", START, "audio/flac", bytes(range(256)))
    async with warehouse.as_tenant(tenant) as db:
        assert await evidence.get(tenant, db, "hash") is None
        for _ in range(2):
            await evidence.put(tenant, db, kept)
        assert await evidence.get(tenant, db, "hash") == kept


async def test_the_audit_tells_the_newest_first(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        for number in range(3):
            words = {"who": "console", "what": f"deed {number}", "subject": PART, "reason": "why"}
            await audit.write(tenant, db, before=None, after={"n": number, "at": START}, at=at(number), **words)
        lines = await audit.read(tenant, db, 2)
    assert [(line.what, line.time, line.before, line.after) for line in lines] == [
        ("deed 2", at(2), None, {"n": 2, "at": START.isoformat()}),
        ("deed 1", at(1), None, {"n": 1, "at": START.isoformat()}),
    ]


# Keys.


async def test_a_key_holds_for_its_tenant_and_scopes_until_it_ends(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        plain = await keys.create(tenant, db, purpose="players", scopes=["beacons", "live"], now=START, expires=at(60))
        stored = (await db.execute(text("select to_jsonb(k)::text from api_key k"))).scalar_one()
    assert plain.startswith(f"tw_{tenant}_")
    assert plain.rpartition(f"tw_{tenant}_")[2] not in stored
    holder = await keys.verify(warehouse, plain, at(59), "beacons")
    assert holder is not None
    assert (holder.tenant, holder.purpose, holder.scopes) == (tenant, "players", ("beacons", "live"))
    assert await keys.verify(warehouse, plain, at(59), "admin") is None
    assert await keys.verify(warehouse, plain, at(60), "beacons") is None
    async with warehouse.as_tenant(tenant) as db:
        assert await keys.revoke(tenant, db, holder.key_id, at(10))
        assert not await keys.revoke(tenant, db, holder.key_id, at(10))
    assert await keys.verify(warehouse, plain, at(11), "beacons") is None


async def test_a_key_that_is_none_is_refused(warehouse: Warehouse, tenant: str) -> None:
    other = await new_tenant(warehouse)
    async with warehouse.as_tenant(tenant) as db:
        plain = await keys.create(tenant, db, purpose="players", scopes=["beacons"], now=START)
    secret = plain.rpartition(f"tw_{tenant}_")[2]
    swapped = ("A" if secret[0] != "A" else "B") + secret[1:]
    wrong = (
        "", "tw_", secret, plain[:-1], plain + "A", plain + "\n", f"tw_{other}_{secret}", f"tw_nobody_{secret}",
        f"tw_{tenant}_{swapped}", plain.upper(), f"tw_{tenant}'_{secret}", f"tw_{tenant}_{'ä' * 43}",
    )  # fmt: skip
    for each in wrong:
        assert await keys.verify(warehouse, each, START, "beacons") is None, each
    assert await keys.verify(warehouse, plain, START, "beacons") is not None


async def test_a_key_that_shares_another_keys_name_alone_is_refused(warehouse: Warehouse, tenant: str) -> None:
    forged = "B" * 43
    values = {"tenant": tenant, "id": keys.key_id(hashlib.sha256(forged.encode()).digest()), "hash": bytes(32)}
    async with warehouse.as_tenant(tenant) as db:
        insert = "insert into api_key values (:tenant, :id, :hash, 'players', '{beacons}', '2026-01-01+00')"
        await db.execute(text(insert), values)
    assert await keys.verify(warehouse, f"tw_{tenant}_{forged}", START, "beacons") is None
