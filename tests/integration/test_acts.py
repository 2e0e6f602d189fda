"""What people do with incidents, on a real PostgreSQL: done once, taken up once, refused where it must be."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.heed import Act, Heard, heed
from tests.conftest import Database
from tests.integration.furnished import furnish
from tonewatch.clock import ManualClock
from tonewatch.errors import ActRefused, SettingsError, UnknownIncident, UnknownTenant, WarehouseError
from tonewatch.records import (
    Action,
    ActionState,
    ActKind,
    Approval,
    Cause,
    CauseKind,
    Incident,
    IncidentState,
    Label,
)
from tonewatch.settings import Guardrails
from warehouse import actions, approvals, audit, escalations, incidents, labels
from warehouse.acts import Done, Wish, do
from warehouse.database import Warehouse

PROJECT = Path(__file__).resolve().parents[2]
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
PART = "component:transcoder-ch1"
LASTS = timedelta(seconds=Guardrails().approval_seconds)
PROPOSED = Action("i1", "restart", PART, 1, ActionState.REFUSED, "propose", intended=START)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START + timedelta(minutes=1))


async def open_incident(
    warehouse: Warehouse,
    tenant: str,
    state: IncidentState = IncidentState.HANDED_OVER,
    proposed: Sequence[Action] = (PROPOSED,),
) -> Incident:
    incident = Incident("i1", tenant, state, START, START, "transcoder-ch1 has ended", (PART,))
    async with warehouse.as_tenant(tenant) as db:
        await incidents.save(tenant, db, incident)
        for action in proposed:
            await actions.intend(tenant, db, action)
        await escalations.begin(tenant, db, incident.id, "L1", START, {})
    return incident


async def act(
    warehouse: Warehouse, tenant: str, clock: ManualClock, kind: ActKind, who: str = "ann", **more: Any
) -> Done:
    return await do(tenant, warehouse, Wish(kind, "i1", who, "because", **more), clock.now())


async def hear(warehouse: Warehouse, tenant: str) -> Heard:
    async with warehouse.as_tenant(tenant) as db:
        return await heed(tenant, db, ["i1"])


async def kept(warehouse: Warehouse, tenant: str) -> list[Label]:
    async with warehouse.as_tenant(tenant) as db:
        return await labels.of_incident(tenant, db, "i1")


async def redeem(warehouse: Warehouse, tenant: str, now: datetime) -> list[Approval]:
    async with warehouse.as_tenant(tenant) as db:
        return await approvals.redeem(tenant, db, PROPOSED.key, now)


async def test_an_ack_is_kept_with_author_and_reason_and_stops_the_escalation(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    await open_incident(warehouse, tenant)
    await act(warehouse, tenant, clock, ActKind.ACK)
    (label,) = await kept(warehouse, tenant)
    assert (label.subject, label.value, label.who, label.reason, label.time) == (
        "i1",
        "ack",
        "ann",
        "because",
        clock.now(),
    )
    async with warehouse.as_tenant(tenant) as db:
        stopped = await escalations.get(tenant, db, "i1")
        line = (await audit.read(tenant, db, 1))[0]
        story = await incidents.story(tenant, db, "i1")
    assert stopped is not None
    assert (stopped.stopped, stopped.stopped_by) == (clock.now(), "ack")
    assert (line.who, line.what, line.subject, line.reason) == ("ann", "incident.ack", "i1", "because")
    assert (story[-1].step, story[-1].what) == ("answer", "ann: ack")


@pytest.mark.parametrize("kind", list(ActKind))
async def test_the_same_act_twice_is_refused_and_the_first_stands(
    warehouse: Warehouse, tenant: str, clock: ManualClock, kind: ActKind
) -> None:
    await open_incident(warehouse, tenant)
    async with warehouse.as_tenant(tenant) as db:
        await incidents.set_causes(tenant, db, "i1", [Cause("i1", 1, PART, CauseKind.CRASH, 0.9)])
    more = {"verdict": "real"} if kind is ActKind.CLOSE else {}
    own = {ActKind.APPROVE, ActKind.REAL, ActKind.FALSE, ActKind.NOT_THE_CAUSE}  # others may say the same
    await act(warehouse, tenant, clock, kind, **more)
    before = await kept(warehouse, tenant)
    clock.advance(1)
    with pytest.raises(ActRefused, match=f"{kind} of incident i1 is refused"):
        await act(warehouse, tenant, clock, kind, "ann" if kind in own else "ben", **more)
    assert await kept(warehouse, tenant) == before


async def test_of_many_who_do_the_same_at_once_one_succeeds(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    await open_incident(warehouse, tenant)
    tries = (act(warehouse, tenant, clock, ActKind.VETO, who) for who in ("ann", "ben", "cleo", "dan"))
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["ActRefused"] * 3 + ["Done"]
    (label,) = await kept(warehouse, tenant)
    async with warehouse.as_tenant(tenant) as db:
        assert await labels.vetoed_by(tenant, db, PROPOSED.key) == label.who
        assert await labels.vetoed_by(tenant, db, "another") == ""


async def test_an_unknown_incident_and_an_unknown_tenant_say_what_to_do(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    with pytest.raises(UnknownIncident, match="tonewatch incidents list"):
        await act(warehouse, tenant, clock, ActKind.ACK)
    with pytest.raises(UnknownTenant):
        await act(warehouse, "nobody", clock, ActKind.ACK)


@pytest.mark.parametrize("state", [IncidentState.MENDED, IncidentState.CLOSED])
async def test_an_act_that_does_not_fit_the_state_leaves_nothing(
    warehouse: Warehouse, tenant: str, clock: ManualClock, state: IncidentState
) -> None:
    await open_incident(warehouse, tenant, state)
    for kind in (ActKind.ACK, ActKind.APPROVE, ActKind.VETO):
        with pytest.raises(ActRefused, match=state.value):
            await act(warehouse, tenant, clock, kind)
    assert await kept(warehouse, tenant) == []
    async with warehouse.as_tenant(tenant) as db:
        assert await audit.read(tenant, db, 10) == []


@pytest.mark.parametrize(
    "wish",
    [
        Wish(ActKind.ACK, "i1", ""),
        Wish(ActKind.ACK, "i1", "ann\nben"),
        Wish(ActKind.ACK, "i1", "a" * 101),
        Wish(ActKind.CLOSE, "i1", "ann", verdict="maybe"),
        Wish(ActKind.CLOSE, "i1", "ann", verdict="real", cause="component:packager:gremlins"),
        Wish(ActKind.CLOSE, "i1", "ann", verdict="real", cause="hang"),
    ],
)
async def test_a_name_verdict_or_cause_that_is_none_is_refused(
    warehouse: Warehouse, tenant: str, clock: ManualClock, wish: Wish
) -> None:
    await open_incident(warehouse, tenant)
    with pytest.raises(SettingsError, match="is no"):
        await do(tenant, warehouse, wish, clock.now())
    assert await kept(warehouse, tenant) == []


async def test_an_approval_is_good_once(warehouse: Warehouse, tenant: str, clock: ManualClock) -> None:
    await open_incident(warehouse, tenant)
    await act(warehouse, tenant, clock, ActKind.APPROVE)
    used = await asyncio.gather(*(redeem(warehouse, tenant, clock.now()) for _ in range(4)))
    (one,) = [approval for each in used for approval in each]
    assert (one.requester, one.approver, one.used) == ("tonewatch", "ann", clock.now())
    with pytest.raises(ActRefused, match="was used"):
        await act(warehouse, tenant, clock, ActKind.APPROVE, "ben")


async def test_an_approval_expires_and_may_be_given_again(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    await open_incident(warehouse, tenant)
    await act(warehouse, tenant, clock, ActKind.APPROVE)
    clock.advance(LASTS.total_seconds())
    assert await redeem(warehouse, tenant, clock.now()) == []
    await act(warehouse, tenant, clock, ActKind.APPROVE, "ben")
    assert [each.approver for each in await redeem(warehouse, tenant, clock.now())] == ["ben"]


async def test_two_people_may_say_yes_and_a_look_uses_nothing_up(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    await open_incident(warehouse, tenant)
    for who in ("ann", "ben"):
        await act(warehouse, tenant, clock, ActKind.APPROVE, who)
        clock.advance(1)
    async with warehouse.as_tenant(tenant) as db:
        assert await approvals.holding(tenant, db, PROPOSED.key, START) == []  # before they were given
        held = await approvals.holding(tenant, db, PROPOSED.key, clock.now())
    assert [each.approver for each in held] == ["ann", "ben"]
    used = await redeem(warehouse, tenant, clock.now())
    assert used == [replace(each, used=clock.now()) for each in held]


async def test_without_an_approval_the_answer_is_no(warehouse: Warehouse, tenant: str, clock: ManualClock) -> None:
    await open_incident(warehouse, tenant)
    assert await redeem(warehouse, tenant, clock.now()) == []


async def test_a_veto_outweighs_an_approval(warehouse: Warehouse, tenant: str, clock: ManualClock) -> None:
    await open_incident(warehouse, tenant)
    await act(warehouse, tenant, clock, ActKind.APPROVE)
    await act(warehouse, tenant, clock, ActKind.VETO, "ben")
    assert await redeem(warehouse, tenant, clock.now()) == []
    with pytest.raises(ActRefused, match="ben said no"):
        await act(warehouse, tenant, clock, ActKind.APPROVE, "cleo")


async def test_who_asked_cannot_approve_by_code_or_by_hand(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    await open_incident(warehouse, tenant, proposed=[replace(PROPOSED, parameters={"requested_by": "ann"})])
    with pytest.raises(ActRefused, match="who asks cannot approve"):
        await act(warehouse, tenant, clock, ActKind.APPROVE, "ann")
    own = Approval("x", PROPOSED.key, "ann", "ann", "", START, START + LASTS)
    with pytest.raises(WarehouseError, match="approval_check"):
        async with warehouse.as_tenant(tenant) as db:
            await approvals.put(tenant, db, own)


async def test_an_action_that_has_begun_is_beyond_yes_and_no(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    begun = replace(PROPOSED, state=ActionState.STARTED)
    await open_incident(warehouse, tenant, IncidentState.ACTING, [begun])
    for kind in (ActKind.APPROVE, ActKind.VETO):
        with pytest.raises(ActRefused, match=r"no action|nothing is proposed"):
            await act(warehouse, tenant, clock, kind)


async def test_closing_keeps_verdict_and_cause_as_labels(warehouse: Warehouse, tenant: str, clock: ManualClock) -> None:
    await open_incident(warehouse, tenant)
    await act(warehouse, tenant, clock, ActKind.CLOSE, verdict="false-alarm", cause="component:packager:hang")
    said = {label.value for label in await kept(warehouse, tenant)}
    assert said == {"close", "verdict:false-alarm", "cause:component:packager:hang"}


async def test_acts_are_taken_up_once_and_in_order(warehouse: Warehouse, tenant: str, clock: ManualClock) -> None:
    await open_incident(warehouse, tenant)
    for kind in (ActKind.ACK, ActKind.APPROVE, ActKind.VETO):
        await act(warehouse, tenant, clock, kind)
        clock.advance(1)
    await act(warehouse, tenant, clock, ActKind.CLOSE, verdict="real")
    heard = await hear(warehouse, tenant)
    assert [each.kind for each in heard] == [ActKind.ACK, ActKind.APPROVE, ActKind.VETO, ActKind.CLOSE]
    assert [each.action for each in heard] == [None, PROPOSED.key, PROPOSED.key, None]
    assert heard.of("i1")[0] == Act("i1", ActKind.ACK, "ann", "because", START + timedelta(minutes=1))
    assert heard.of("i2") == ()
    assert await hear(warehouse, tenant) == Heard()


async def test_an_act_whose_effect_is_lost_is_given_again(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    await open_incident(warehouse, tenant)
    await act(warehouse, tenant, clock, ActKind.ACK)

    async def dying() -> None:
        async with warehouse.as_tenant(tenant) as db:
            assert len((await heed(tenant, db, ["i1"])).acts) == 1
            raise RuntimeError("the watcher dies here")

    with pytest.raises(RuntimeError):
        await dying()
    assert len((await hear(warehouse, tenant)).acts) == 1


async def test_of_two_watchers_one_takes_an_act_up(warehouse: Warehouse, tenant: str, clock: ManualClock) -> None:
    await open_incident(warehouse, tenant)
    await act(warehouse, tenant, clock, ActKind.VETO)
    heard = await asyncio.gather(*(hear(warehouse, tenant) for _ in range(4)))
    assert sorted(len(each.acts) for each in heard) == [0, 0, 0, 1]


async def test_acts_on_other_incidents_wait(warehouse: Warehouse, tenant: str, clock: ManualClock) -> None:
    await open_incident(warehouse, tenant)
    await act(warehouse, tenant, clock, ActKind.ACK)
    async with warehouse.as_tenant(tenant) as db:
        assert await heed(tenant, db, ["i2"]) == await heed(tenant, db, []) == Heard()


# The command line, as a process.


def tonewatch(database: Database, tenant: str, *words: str) -> subprocess.CompletedProcess[str]:
    kept_variables = {name: value for name, value in os.environ.items() if not name.startswith("TONEWATCH_")}
    mine = {"TONEWATCH_DATABASE_URL": database.app_url, "TONEWATCH_TENANT": tenant}
    return subprocess.run(
        [sys.executable, "-m", "console.cli", "incidents", *words],
        cwd=PROJECT,
        env=kept_variables | mine,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_the_command_line_shows_lists_and_acts(warehouse: Warehouse, tenant: str, database: Database) -> None:
    await furnish(warehouse, tenant)
    listed = tonewatch(database, tenant, "list", "--state", "active")
    assert listed.returncode == 0
    assert "incident-1  2026-01-01 12:00:05  open" in listed.stdout
    assert "component:transcoder-ch1:crash" in listed.stdout
    (row,) = json.loads(tonewatch(database, tenant, "list", "--json").stdout)
    assert (row["id"], row["verdict"], row["level"]) == ("incident-1", "worked", "L1")
    assert tonewatch(database, tenant, "list", "--state", "closed").stdout == "no incidents\n"
    done = tonewatch(database, tenant, "veto", "incident-1", "--as", "ann", "--reason", "it plays")
    assert (done.returncode, done.stdout) == (0, f"ann said no to restart of {PART} (attempt 1)\n")
    again = tonewatch(database, tenant, "veto", "incident-1", "--as", "ben")
    assert again.returncode == 1
    assert again.stderr == "tonewatch: veto of incident incident-1 is refused: ann said no to this action already\n"
    shown = tonewatch(database, tenant, "show", "incident-1").stdout
    for part in ("does not answer", "90% sure", "yes grant: the owner's", "back in band", "ann: veto (it plays)"):
        assert part in shown
    told = json.loads(tonewatch(database, tenant, "show", "incident-1", "--json").stdout)
    assert {"incident", "findings", "causes", "actions", "verdicts", "notices", "labels", "story"} <= told.keys()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("show", "nothing"), 1, "has no incident 'nothing'"),
        (("ack", "nothing"), 1, "has no incident 'nothing'"),
        (("list", "--state", "sad"), 2, "'sad' is no state; known are active, open"),
        (("close", "nothing", "--verdict", "maybe"), 2, "'maybe' is no verdict"),
        (("list", "--tenant", "No Such"), 1, "is no tenant name"),
    ],
)
def test_a_command_that_cannot_be_done_says_why_in_a_line(
    tenant: str, database: Database, words: tuple[str, ...], status: int, said: str
) -> None:
    told = tonewatch(database, tenant, *words)
    assert (told.returncode, told.stdout) == (status, "")
    assert told.stderr.startswith("tonewatch: ")
    assert told.stderr.count("\n") == 1
    assert said in told.stderr
