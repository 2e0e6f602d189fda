"""Promotions on a real PostgreSQL and a real MLflow: asked for, moved, audited, and carried on by whoever comes next.

Prefect is away in this file, which must hold nothing up; tests/integration/test_promotion_flow.py has it.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
import select
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr
from sqlalchemy import text
from typer.testing import CliRunner

from console.cli import app
from console.demo.mailbox import Mailbox
from flows.promotion import promote_due
from gateway.api.app import create_app
from gateway.links import MODELS_WAIT
from ml import registry, versions
from ml.kinds import model_name, parsed
from tasks.notify import send_due
from tasks.promote import move, promote, rollback, settle
from tasks.propose import proposal
from tests.conftest import Database, new_tenant
from tests.integration import promoting
from tests.integration.furnished import LINEAGE
from tests.integration.promoting import asks, better, forget_aliases, unreadable, version
from tests.integration.servers import Mlflow
from tests.integration.stalling import door_before
from tests.unit.transcoders import NOON, at
from tonewatch import secrets
from tonewatch.cases import FILE
from tonewatch.clock import ManualClock
from tonewatch.errors import ActRefused, ModelError
from tonewatch.settings import Settings
from warehouse import answers, audit, lineage, notices, promotions, validations
from warehouse.answers import Answer
from warehouse.audit import AuditLine
from warehouse.cache import Cache
from warehouse.database import IDLE_S, Warehouse
from warehouse.promotions import Promotion, Stage

pytestmark = pytest.mark.timeout(300)
ASKED = at(100)
AWAY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def without_prefect() -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: f"{AWAY}/api"}):
        yield


@pytest.fixture
def family(mlflow: Mlflow) -> str:
    """It has no champion, whatever other tests have left."""
    forget_aliases(mlflow.url, "transcode")
    return "transcode"


@pytest.fixture
async def pair(mlflow: Mlflow, tenant: str, family: str) -> tuple[str, str]:
    """The champion, and one that is registered beside it."""
    both = [await asyncio.to_thread(version, mlflow.url, tenant, family, seed) for seed in (1, 2)]
    await asyncio.to_thread(registry.promote, mlflow.url, family, both[0])
    return both[0], both[1]


@pytest.fixture
def chosen(tenant: str, mlflow: Mlflow, tmp_path: Path) -> Settings:
    secrets.load_or_generate(tmp_path)
    return Settings(
        tenant=tenant,
        profile="demo",
        mlflow_tracking_uri=mlflow.url,
        state_dir=tmp_path,
        mail_from="watch@tone.example",
        mail_to=("op@example.org",),
        gateway_url="https://tone.example/",
    )


def champion(mlflow: Mlflow, family: str) -> str:
    return registry.champion_versions(mlflow.url)[family]


async def lines(warehouse: Warehouse, tenant: str) -> list[AuditLine]:
    async with warehouse.as_tenant(tenant) as db:
        return [line for line in await audit.read(tenant, db, 20) if line.what.startswith("model.")]


async def kept(warehouse: Warehouse, tenant: str) -> list[Promotion]:
    async with warehouse.as_tenant(tenant) as db:
        return await promotions.listed(tenant, db)


async def due(warehouse: Warehouse, chosen: Settings, seconds: float, whose: list[str] | None = None) -> str:
    """What a run of the flow says of the one validation, at so many seconds after noon."""
    told, failed = await promote_due(whose or [chosen.tenant], warehouse, chosen, at(seconds))
    assert failed == []
    return next(iter(told.values()), "nothing is due")


# The move and its audit


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_promotion_killed_around_the_move_is_completed_or_given_up_by_the_next_run(
    warehouse: Warehouse,
    tenant: str,
    family: str,
    pair: tuple[str, str],
    mlflow: Mlflow,
    database: Database,
    moment: str,
) -> None:
    told = (database.app_url, mlflow.url, tenant, family, pair[1], moment)
    victim = multiprocessing.get_context("spawn").Process(target=promoting.promote_and_die, args=told)
    victim.start()
    await asyncio.to_thread(victim.join, 60)
    assert victim.exitcode == -signal.SIGKILL
    (row,) = await kept(warehouse, tenant)
    assert (row.state, row.version, row.before) == (Stage.INTENDED, pair[1], pair[0])
    assert await lines(warehouse, tenant) == []
    assert len(await settle([tenant], warehouse, mlflow.url, at(200))) == 1
    assert await settle([tenant], warehouse, mlflow.url, at(201)) == []
    (row,) = await kept(warehouse, tenant)
    written = [(line.what, line.who, line.after["champion"]) for line in await lines(warehouse, tenant)]
    if moment == "after":
        assert (row.state, champion(mlflow, family)) == (Stage.PROBATION, pair[1])
        assert written == [("model.promote", "ann", pair[1])]
    else:
        assert (row.state, champion(mlflow, family)) == (Stage.SUPERSEDED, pair[0])
        assert written == []
        with pytest.raises(ModelError, match="first champion"):
            await rollback(tenant, warehouse, mlflow.url, family, who="ann", reason="", now=at(300))


async def test_of_two_promotions_at_once_one_wins_and_the_other_says_so(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], mlflow: Mlflow, database: Database
) -> None:
    third = await asyncio.to_thread(version, mlflow.url, tenant, family, 3)
    context = multiprocessing.get_context("spawn")
    together, told = context.Barrier(2), context.Queue()
    both = [
        context.Process(
            target=promoting.promote_once,
            args=(database.app_url, mlflow.url, tenant, family, wanted, together, told),
        )
        for wanted in (pair[1], third)
    ]
    for each in both:
        each.start()
    found = dict([await asyncio.to_thread(told.get, True, 120) for _ in both])
    for each in both:
        await asyncio.to_thread(each.join, 60)
    (winner,) = [wanted for wanted, why in found.items() if not why]
    (why,) = [why for why in found.values() if why]
    assert "nothing was changed; look again" in why
    assert champion(mlflow, family) == winner
    assert [line.after["champion"] for line in await lines(warehouse, tenant)] == [winner]


async def test_a_challenger_that_is_the_champion_is_refused(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], mlflow: Mlflow
) -> None:
    with pytest.raises(ModelError, match=r"is the champion of .* already"):
        await promote(tenant, warehouse, mlflow.url, family, pair[0], who="ann", reason="", now=ASKED)
    assert await kept(warehouse, tenant) == []


async def test_a_version_whose_move_failed_is_no_former_champion(
    family: str, pair: tuple[str, str], mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:

        def away(*_: object) -> None:
            raise ModelError("the registry went away")

        broken.setattr("ml.registry.promote", away)
        with pytest.raises(ModelError, match="went away"):
            await asyncio.to_thread(versions.promote, mlflow.url, family, pair[1], at(100), proven=False)
    assert not registry.has_judged(mlflow.url, family, pair[1])
    await asyncio.to_thread(versions.promote, mlflow.url, family, pair[1], at(200), proven=False)
    await asyncio.to_thread(versions.promote, mlflow.url, family, pair[0], at(300), proven=False)
    assert all(registry.has_judged(mlflow.url, family, each) for each in pair)


async def test_a_registry_that_is_away_leaves_everything_as_it_was(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], chosen: Settings
) -> None:
    made = await better(warehouse, [tenant], family, *pair)
    away = chosen.model_copy(update={"mlflow_tracking_uri": AWAY})
    told, failed = await promote_due([tenant], warehouse, away, ASKED)
    assert "were not read" in told[made.id]
    assert len(failed) == 1
    assert await due(warehouse, chosen, 200) == "yes"


# A registry that stalls


async def idle_for(database: Database, seconds: int) -> None:
    """Come back when PostgreSQL has ended a transaction that was idle for so long, and began after this call."""

    def ended() -> None:
        with closing(psycopg.connect(database.app_url.replace("+psycopg", ""))) as idle:
            idle.execute(f"set idle_in_transaction_session_timeout = '{seconds}s'")
            assert select.select([idle.fileno()], [], [], 60)[0], "it was not ended"

    await asyncio.to_thread(ended)


@asynccontextmanager
async def stalled(
    told: tuple[str, str, str, str, str], marked: str, *, idle_s: int = IDLE_S, answer: bool = False
) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """A promotion in a process of its own whose registry stalls at that word; gives how to let it go on, and what it
    raised then. told: the warehouse, the registry, tenant, family, version.
    """
    context = multiprocessing.get_context("spawn")
    raised = context.Queue()
    async with door_before(told[1], f'"{marked}"'.encode(), answer=answer) as door:
        about = (told[0], door.url, *told[2:], idle_s, raised)
        process = context.Process(target=promoting.promote_slowly, args=about)
        process.start()

        async def go_on() -> str:
            door.go.set()
            return str(await asyncio.to_thread(raised.get, True, 120))

        try:
            await asyncio.wait_for(door.held.wait(), 120)
            yield go_on
        finally:
            process.kill()
            await asyncio.to_thread(process.join, 60)


async def test_a_promotion_keeps_its_turn_while_the_registry_stalls(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], mlflow: Mlflow, database: Database
) -> None:
    third = await asyncio.to_thread(version, mlflow.url, tenant, family, 3)
    about = (database.app_url, mlflow.url, tenant, family, pair[1])
    async with stalled(about, "champion", idle_s=1) as go_on:
        await idle_for(database, 2)
        with pytest.raises(ModelError, match="is under way and comes first"):
            await promote(tenant, warehouse, mlflow.url, family, third, who="bob", reason="", now=at(110))
        assert await go_on() == ""
    (row,) = await kept(warehouse, tenant)
    assert (row.state, row.moved, champion(mlflow, family)) == (Stage.PROBATION, at(100), pair[1])
    assert [(line.what, line.who) for line in await lines(warehouse, tenant)] == [("model.promote", "ann")]


async def lose_turn(warehouse: Warehouse, tenant: str, family: str) -> None:
    """End the session that has the family's turn, as an outage of PostgreSQL would."""
    holder = text("""
        select pg_terminate_backend(l.pid, 10000) from pg_locks l
        cross join hashtextextended('promotion ' || cast(:family as text), 0) as key
        where l.locktype = 'advisory' and (l.classid::bigint << 32 | l.objid::bigint) = key
    """)
    async with warehouse.as_tenant(tenant) as db:
        assert (await db.execute(holder, {"family": family})).scalars().all() == [True]


@pytest.mark.parametrize("answer", [False, True], ids=["request", "answer"])
async def test_a_promotion_that_lost_its_turn_meanwhile_is_audited_once_and_on_probation(
    warehouse: Warehouse,
    tenant: str,
    family: str,
    pair: tuple[str, str],
    mlflow: Mlflow,
    database: Database,
    answer: bool,
) -> None:
    about = (database.app_url, mlflow.url, tenant, family, pair[1])
    async with stalled(about, "champion", answer=answer) as go_on:
        await lose_turn(warehouse, tenant, family)
        (told,) = await settle([tenant], warehouse, mlflow.url, at(110))
        assert ("before the alias had moved" in told) != answer
        assert "WarehouseAway" in await go_on()
    (row,) = await kept(warehouse, tenant)
    assert (row.state, row.ended, champion(mlflow, family)) == (Stage.PROBATION, None, pair[1])
    assert [(line.what, line.who) for line in await lines(warehouse, tenant)] == [("model.promote", "ann")]


async def test_a_promotion_that_lost_its_turn_overwrites_none_that_was_made_meanwhile(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], mlflow: Mlflow, database: Database
) -> None:
    third = await asyncio.to_thread(version, mlflow.url, tenant, family, 3)
    async with stalled((database.app_url, mlflow.url, tenant, family, pair[1]), "previous") as go_on:
        await lose_turn(warehouse, tenant, family)
        await promote(tenant, warehouse, mlflow.url, family, third, who="bob", reason="", now=at(110))
        assert await go_on() != ""
    assert champion(mlflow, family) == third
    states = {row.version: row.state for row in await kept(warehouse, tenant)}
    assert states == {third: Stage.PROBATION, pair[1]: Stage.SUPERSEDED}
    assert [line.who for line in await lines(warehouse, tenant)] == ["bob"]


# By itself


async def test_what_was_shown_to_be_better_is_promoted_once_for_every_tenant_that_took_part(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], chosen: Settings, mlflow: Mlflow
) -> None:
    whose = [tenant, await new_tenant(warehouse)]
    made = await better(warehouse, whose, family, *pair)
    assert await due(warehouse, chosen, 100, whose) == "yes"
    assert champion(mlflow, family) == pair[1]
    assert await due(warehouse, chosen, 200, whose) == "nothing is due"
    for each in whose:
        assert [(line.what, line.who) for line in await lines(warehouse, each)] == [("model.promote", "validation")]
        async with warehouse.as_tenant(each) as db:
            (validated,) = await validations.listed(each, db)
        assert validated.promoted == at(100)
    assert made.promoted is None


async def test_a_challenger_whose_rival_is_champion_no_more_is_not_promoted(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], chosen: Settings, mlflow: Mlflow
) -> None:
    third = await asyncio.to_thread(version, mlflow.url, tenant, family, 3)
    await better(warehouse, [tenant], family, *pair)
    await promote(tenant, warehouse, mlflow.url, family, third, who="ann", reason="", now=at(90))
    assert "held against" in await due(warehouse, chosen, 100)
    assert await due(warehouse, chosen, 200) == "nothing is due"
    assert champion(mlflow, family) == third


async def test_a_version_that_was_taken_back_is_not_promoted_again_by_itself(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], chosen: Settings, mlflow: Mlflow
) -> None:
    moved = await promote(tenant, warehouse, mlflow.url, family, pair[1], who="ann", reason="", now=at(10))
    await rollback(tenant, warehouse, mlflow.url, family, who="probation", reason="it pages", now=at(20))
    async with warehouse.as_tenant(tenant) as db:
        (first, *_) = [row for row in await promotions.listed(tenant, db) if row.version == moved.version]
        await promotions.change(tenant, db, first.id, Stage.TAKEN_BACK, at(20), "it pages")
    await better(warehouse, [tenant], family, *pair)
    assert await due(warehouse, chosen, 100) == "no: it was champion before and was taken back"
    assert "it pages" in (await kept(warehouse, tenant))[0].told
    assert champion(mlflow, family) == pair[0]
    await promote(tenant, warehouse, mlflow.url, family, pair[1], who="ann", reason="all the same", now=at(300))
    assert champion(mlflow, family) == pair[1]


# With a person's yes


async def test_a_tenant_that_wants_to_be_asked_is_asked_once_and_its_yes_promotes(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], chosen: Settings, mlflow: Mlflow
) -> None:
    await asks(warehouse, tenant)
    await better(warehouse, [tenant], family, *pair)
    for seconds in (100, 200):
        assert "waits for an answer until 2026-03-04 12:01" in await due(warehouse, chosen, seconds)
    assert champion(mlflow, family) == pair[0]
    (row,) = await kept(warehouse, tenant)
    said = await answers.answer(tenant, warehouse, Answer(row.id, True, "ann", "finds more"), at(300))
    assert "within the hour" in said.told
    with pytest.raises(ActRefused, match=r"answered already: approved \(ann said yes: finds more\)"):
        await answers.answer(tenant, warehouse, Answer(row.id, False, "bob"), at(310))
    assert await due(warehouse, chosen, 400) == "yes"
    assert champion(mlflow, family) == pair[1]
    (row,) = await kept(warehouse, tenant)
    assert (row.state, row.told) == (Stage.PROBATION, "ann said yes: finds more")
    told = [(line.what, line.who, line.reason) for line in await lines(warehouse, tenant)][::-1]
    assert [each[:2] for each in told] == [("model.approve", "ann"), ("model.promote", "validation")]
    async with warehouse.as_tenant(tenant) as db:
        sent = await notices.of_incident(tenant, db, f"promotion:{row.id}")
    assert [notice.incident_state for notice in sent] == ["proposed", "outcome"]


async def test_without_an_answer_in_time_it_is_not_approved(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], chosen: Settings, mlflow: Mlflow
) -> None:
    await asks(warehouse, tenant)
    await better(warehouse, [tenant], family, *pair)
    await due(warehouse, chosen, 100)
    (row,) = await kept(warehouse, tenant)
    late = 100 + MODELS_WAIT.total_seconds()
    with pytest.raises(ActRefused, match="could be answered until 2026-03-04 12:01 UTC"):
        await answers.answer(tenant, warehouse, Answer(row.id, True, "ann"), at(late))
    assert "not approved" in await due(warehouse, chosen, late)
    assert await due(warehouse, chosen, late + 1) == "nothing is due"
    (row,) = await kept(warehouse, tenant)
    assert (row.state, row.ended, champion(mlflow, family)) == (Stage.REFUSED, at(late), pair[0])
    assert [line.what for line in await lines(warehouse, tenant)] == ["model.refused"]


async def test_the_no_of_one_tenant_is_a_no_for_all(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], chosen: Settings, mlflow: Mlflow
) -> None:
    whose = [tenant, await new_tenant(warehouse)]
    for each in whose:
        await asks(warehouse, each)
    await better(warehouse, whose, family, *pair)
    await due(warehouse, chosen, 100, whose)
    waiting = await answers.waiting(tenant, warehouse, family, pair[1])
    await answers.answer(tenant, warehouse, Answer(waiting.id, False, "ann", "not this week"), at(110))
    assert await due(warehouse, chosen, 200, whose) == "no: a person said no"
    assert {(await kept(warehouse, each))[0].state for each in whose} == {Stage.REFUSED}
    assert champion(mlflow, family) == pair[0]
    with pytest.raises(ActRefused, match="does not wait for an answer; the last promotion of it: refused"):
        await answers.waiting(tenant, warehouse, family, pair[1])
    told = []
    for each in whose:
        async with warehouse.as_tenant(each) as db:
            mails = [mail.body for mail in await notices.of_incident(each, db, f"promotion:{waiting.id}")]
        refused = [line.reason for line in await lines(warehouse, each) if line.what == "model.refused"]
        told.append([(await kept(warehouse, each))[0].told, *refused, mails[-1]])
    assert all("ann said no: not this week" in words for words in told[0])
    assert all("a person said no" in words for words in told[1])
    tag = versions.one(mlflow.url, family, pair[1]).tags[versions.VALIDATION]
    assert tag == f"better, and not promoted: a person said no; promotion {waiting.id}"
    assert not any(word in f"{tag}{told[1]}" for word in ("ann", "this week"))


async def test_a_tenant_whose_settings_cannot_be_read_holds_up_no_other_model(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], chosen: Settings, mlflow: Mlflow
) -> None:
    whose = [tenant, await new_tenant(warehouse)]
    other = [await asyncio.to_thread(version, mlflow.url, tenant, "edge", seed) for seed in (1, 2)]
    await asyncio.to_thread(registry.promote, mlflow.url, "edge", other[0])
    shared = await better(warehouse, whose, family, *pair)
    alone = await better(warehouse, [tenant], "edge", other[0], other[1])
    await unreadable(warehouse, whose[1])
    told, failed = await promote_due(whose, warehouse, chosen, ASKED)
    assert told[alone.id] == "yes"
    assert told[shared.id].startswith(f"the settings of {whose[1]} cannot be read")
    assert len(failed) == 1
    assert champion(mlflow, family) == pair[0], "nobody knows whether the other wants to be asked"


async def test_a_promotion_moves_for_no_part_of_its_tenants_except_where_the_others_have_left(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], chosen: Settings, mlflow: Mlflow
) -> None:
    whose = [tenant, await new_tenant(warehouse)]
    await asks(warehouse, whose[1])
    made = await better(warehouse, whose, family, *pair, left=["one-that-has-left"])
    for seconds in (100, 110):
        told, failed = await promote_due([tenant], warehouse, chosen, at(seconds))
        assert "judged for 1 more tenants, without whom it is not promoted" in told[made.id]
        assert (len(failed), whose[1] in failed[0], champion(mlflow, family)) == (1, False, pair[0])
        assert "waits for an answer" in await due(warehouse, chosen, seconds, whose)
    waiting = await answers.waiting(whose[1], warehouse, family, pair[1])
    await answers.answer(whose[1], warehouse, Answer(waiting.id, True, "ann"), at(120))
    assert await due(warehouse, chosen, 200, whose) == "yes"
    assert [(await kept(warehouse, each))[0].state for each in whose] == [Stage.PROBATION] * 2


async def test_what_is_retired_before_it_is_champion_is_refused(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], chosen: Settings, mlflow: Mlflow
) -> None:
    whose = [tenant, await new_tenant(warehouse)]
    await better(warehouse, whose, family, *pair)
    kind, number = parsed(pair[1])
    async with warehouse.as_tenant(whose[1]) as db:
        left = replace(LINEAGE, model=model_name(family, kind), version=number)
        await lineage.retire(whose[1], db, [left], "a tenant has left", NOON)
    assert "it is retired" in await due(warehouse, chosen, 100, whose)
    assert await due(warehouse, chosen, 200, whose) == "nothing is due"
    assert [(await kept(warehouse, each))[0].state for each in whose] == [Stage.REFUSED] * 2
    assert champion(mlflow, family) == pair[0]


@pytest.mark.parametrize("how", ["superseded", "retired"])
async def test_a_promotion_that_nothing_can_come_of_ends_though_cases_cannot_be_replayed(
    warehouse: Warehouse,
    tenant: str,
    family: str,
    pair: tuple[str, str],
    chosen: Settings,
    mlflow: Mlflow,
    how: str,
) -> None:
    await asks(warehouse, tenant)
    damaged = chosen.cases_dir / tenant / "damaged"
    damaged.mkdir(parents=True)
    (damaged / FILE).write_text("[]", encoding="utf-8")
    made = await better(warehouse, [tenant], family, *pair)
    told, failed = await promote_due([tenant], warehouse, chosen, ASKED)
    assert ("waits: 1 cases" in told[made.id], len(failed), await kept(warehouse, tenant)) == (True, 1, [])
    if how == "retired":
        kind, number = parsed(pair[1])
        async with warehouse.as_tenant(tenant) as db:
            gone = replace(LINEAGE, model=model_name(family, kind), version=number)
            await lineage.retire(tenant, db, [gone], "an erasure", NOON)
    else:
        third = await asyncio.to_thread(version, mlflow.url, tenant, family, 3)
        await asyncio.to_thread(registry.promote, mlflow.url, family, third)
    why = "it is retired" if how == "retired" else "it was held against"
    assert (await due(warehouse, chosen, 200)).startswith(f"no: {why}")
    (row,) = await kept(warehouse, tenant)
    assert (row.state, row.expires) == (Stage.REFUSED if how == "retired" else Stage.SUPERSEDED, None)
    assert await due(warehouse, chosen, 300) == "nothing is due"
    async with warehouse.as_tenant(tenant) as db:
        assert await notices.of_incident(tenant, db, f"promotion:{row.id}") == [], "nobody was asked"


async def test_a_challenger_that_stops_fitting_while_it_waits_is_refused_whoever_said_yes(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], chosen: Settings, mlflow: Mlflow
) -> None:
    whose = [tenant, await new_tenant(warehouse)]
    await asks(warehouse, tenant)
    await better(warehouse, whose, family, *pair)
    await due(warehouse, chosen, 100, whose)
    waiting = await answers.waiting(tenant, warehouse, family, pair[1])
    await answers.answer(tenant, warehouse, Answer(waiting.id, True, "ann"), at(110))
    await asyncio.to_thread(versions.tag, mlflow.url, family, pair[1], {"fingerprint": "of other features"})
    told = await due(warehouse, chosen, 200, whose)
    assert told.startswith("no: it does not fit here any more: ")
    assert "trained on other feature definitions" in told
    assert champion(mlflow, family) == pair[0]
    rows = [(await kept(warehouse, each))[0] for each in whose]
    assert [(row.state, f"no: {row.told}") for row in rows] == [(Stage.REFUSED, told)] * 2
    assert told[4:] in versions.one(mlflow.url, family, pair[1]).tags[versions.VALIDATION]
    assert await due(warehouse, chosen, 300, whose) == "nothing is due"


async def test_a_run_that_saw_a_row_before_another_moved_it_moves_nothing(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], chosen: Settings, mlflow: Mlflow
) -> None:
    made = await better(warehouse, [tenant], family, *pair)
    stale = proposal(made, ["effect"], at(90), ask=False)
    assert await due(warehouse, chosen, 100) == "yes"
    with pytest.raises(ModelError, match="is probation by now"):
        await move([tenant], warehouse, mlflow.url, stale, at(110), proven=False, watched=True)
    (row,) = await kept(warehouse, tenant)
    assert (row.state, row.moved) == (Stage.PROBATION, at(100))
    assert [line.what for line in await lines(warehouse, tenant)] == ["model.promote"]


@pytest.mark.parametrize("said", ["no", "nothing"])
async def test_what_judges_already_is_not_refused_by_a_tenant_that_answers_later(
    warehouse: Warehouse,
    tenant: str,
    family: str,
    pair: tuple[str, str],
    chosen: Settings,
    mlflow: Mlflow,
    said: str,
) -> None:
    whose = [tenant, await new_tenant(warehouse)]
    await asks(warehouse, whose[1])
    made = await better(warehouse, whose, family, *pair)
    await due(warehouse, chosen, 100, whose)
    (row,) = await kept(warehouse, tenant)
    await move([tenant], warehouse, mlflow.url, row, at(110), proven=False, watched=True)  # as it was once done
    if said == "no":
        waiting = await answers.waiting(whose[1], warehouse, family, pair[1])
        await answers.answer(whose[1], warehouse, Answer(waiting.id, False, "ann"), at(120))
    late = 200 if said == "no" else 200 + MODELS_WAIT.total_seconds()
    assert await due(warehouse, chosen, late, whose) == "yes"
    states = [(await kept(warehouse, each))[0].state for each in whose]
    assert states == [Stage.PROBATION, Stage.SUPERSEDED]
    assert champion(mlflow, family) == pair[1]
    assert versions.VALIDATION not in versions.one(mlflow.url, family, pair[1]).tags, "it was dismissed"
    for each in whose:
        async with warehouse.as_tenant(each) as db:
            (validated,) = [one for one in await validations.listed(each, db) if one.id == made.id]
        assert validated.promoted is not None
    assert await due(warehouse, chosen, late + 1, whose) == "nothing is due"


async def test_what_a_person_promotes_meanwhile_waits_no_more(
    warehouse: Warehouse, tenant: str, family: str, pair: tuple[str, str], chosen: Settings, mlflow: Mlflow
) -> None:
    await asks(warehouse, tenant)
    await better(warehouse, [tenant], family, *pair)
    await due(warehouse, chosen, 100)
    await promote(tenant, warehouse, mlflow.url, family, pair[1], who="ann", reason="", now=at(150))
    assert await due(warehouse, chosen, 200) == "no: it was made champion otherwise"
    assert champion(mlflow, family) == pair[1]


@pytest.mark.parametrize("yes", [True, False])
async def test_a_link_in_the_notice_answers_it_once(
    warehouse: Warehouse,
    tenant: str,
    family: str,
    pair: tuple[str, str],
    chosen: Settings,
    mlflow: Mlflow,
    yes: bool,
) -> None:
    await asks(warehouse, tenant)
    await better(warehouse, [tenant], family, *pair)
    await due(warehouse, chosen, 100)
    clock = ManualClock(at(120))
    with Mailbox(chosen.state_dir / "mails") as mailbox:
        served = chosen.model_copy(update={"smtp_url": SecretStr(mailbox.url)})
        assert await send_due(warehouse, served, clock, "w") == 1
        (mail,) = mailbox.messages()
    text = str(mail.get_body(("plain",)).get_content())  # type: ignore[union-attr]
    links = re.findall(r"https://tone\.example(/v1/links/[\w.-]+)", text)
    assert len(links) == 2
    gate = create_app(warehouse, Cache(None), secrets.load(chosen.state_dir).root_key, clock=clock)
    clock.advance(timedelta(days=2).total_seconds())  # longer than links of incidents are good
    async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://gateway") as door:
        address, other = (links[0], links[1]) if yes else (links[1], links[0])
        shown = await door.get(address)
        assert (shown.status_code, shown.text.count("<button>")) == (200, 1)
        assert f"{family}, version {pair[1]}" in shown.text
        assert (await kept(warehouse, tenant))[0].state is Stage.WAITING
        assert (await door.post(address)).status_code == 200
        again = [await door.post(address), await door.get(address), await door.post(other), await door.get(other)]
    assert [answer.status_code for answer in again] == [409] * 4
    later = (clock.now() - NOON).total_seconds()
    assert await due(warehouse, chosen, later) == ("yes" if yes else "no: a person said no")
    told = f"op@example.org said {'yes' if yes else 'no'}: by a link in a notice"
    assert (await kept(warehouse, tenant))[0].told == told
    assert champion(mlflow, family) == pair[int(yes)]


@pytest.mark.parametrize("word", ["approve", "reject"])
async def test_the_command_line_answers_it(
    warehouse: Warehouse,
    tenant: str,
    family: str,
    pair: tuple[str, str],
    chosen: Settings,
    mlflow: Mlflow,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    word: str,
) -> None:
    monkeypatch.setenv("TONEWATCH_DATABASE_URL", database.app_url)
    monkeypatch.setenv("TONEWATCH_MLFLOW_TRACKING_URI", mlflow.url)
    monkeypatch.setenv("TONEWATCH_TENANT", tenant)

    async def say(*words: str) -> tuple[int, str]:
        told = await asyncio.to_thread(CliRunner().invoke, app, ["models", *words])
        return told.exit_code, told.stdout if told.exit_code == 0 else str(told.exception)

    nothing, why = await say(word, family, pair[1])
    assert nothing != 0
    assert "does not wait for an answer" in why
    await asks(warehouse, tenant)
    await better(warehouse, [tenant], family, *pair)
    now = promoting.today()
    await promote_due([tenant], warehouse, chosen, now)
    done, told = await say(word, family, pair[1], "--as", "bob", "--reason", "so be it", "--json")
    assert (done, json.loads(told)["promotion"]["version"]) == (0, pair[1])
    await promote_due([tenant], warehouse, chosen, now)
    assert champion(mlflow, family) == pair[int(word == "approve")]
    assert ("bob", "so be it") in [(line.who, line.reason) for line in await lines(warehouse, tenant)]
