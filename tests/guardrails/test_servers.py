"""Faults that need the real thing: leases, keys and the audit in PostgreSQL, a platform whose answer is lost, files.

A worker here has no care of its own: it does its deed whenever the guards let it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.platforms.controls import Controls
from policy.guardrails import Attempt, Lease, Moment, all_allow, ask
from tests.guardrails.faults import NOW, RESTART, SWITCH
from tests.unit.gateway.test_controls import Stage, playing
from tonewatch import switch
from tonewatch.errors import OutcomeUnknown, WarehouseAway
from tonewatch.records import ActionState, Incident, IncidentState
from warehouse import actions, audit, incidents
from warehouse.database import Warehouse

CREDENTIALS = "http://op:pa%3Ass%40word@127.0.0.1:9/RPC2"


async def allowed(tenant: str, warehouse: Warehouse, attempt: Attempt, token: int | None) -> bool:
    """What the guards say to a worker that holds `token`, with the books as they are now."""
    async with warehouse.as_tenant(tenant) as db:
        stored = await actions.get(tenant, db, attempt.action.key)
        newest = await actions.fence(tenant, db, attempt.action.key)
    begun = stored is not None and stored.state is ActionState.STARTED
    now = replace(attempt, stored=stored, lease=Lease(token, newest), sent=begun)
    return all_allow(ask(now, Moment.BEFORE), Moment.BEFORE)


async def lease(tenant: str, warehouse: Warehouse, key: str, holder: str, seconds: float) -> int | None:
    async with warehouse.as_tenant(tenant) as db:
        return await actions.lease(tenant, db, key, holder, seconds)


async def intend(tenant: str, warehouse: Warehouse, attempt: Attempt, state: ActionState) -> None:
    part = attempt.action.target
    incident = Incident(attempt.action.incident, tenant, IncidentState.ACTING, NOW, NOW, "a part is down", (part,))
    async with warehouse.as_tenant(tenant) as db:
        await incidents.save(tenant, db, incident)
        await actions.intend(tenant, db, replace(attempt.action, state=state))


@pytest.mark.guard("fenced-lease")
async def test_of_two_workers_at_once_one_acts(warehouse: Warehouse, tenant: str) -> None:
    await intend(tenant, warehouse, RESTART, ActionState.INTENDED)
    deeds: list[str] = []

    async def work(holder: str) -> None:
        token = await lease(tenant, warehouse, RESTART.action.key, holder, 60)
        if await allowed(tenant, warehouse, RESTART, token):
            deeds.append(holder)

    await asyncio.gather(work("one"), work("two"))
    assert len(deeds) == 1


@pytest.mark.guard("fenced-lease")
async def test_a_paused_worker_that_resumes_does_not_act(warehouse: Warehouse, tenant: str) -> None:
    await intend(tenant, warehouse, RESTART, ActionState.INTENDED)
    key, deeds = RESTART.action.key, []
    first = await lease(tenant, warehouse, key, "first", 0.2)
    second = None
    while second is None:  # the first sleeps past the end of its lease, which the database alone counts
        second = await lease(tenant, warehouse, key, "second", 60)
    for holder, token in (("second", second), ("first", first)):
        if await allowed(tenant, warehouse, RESTART, token):
            deeds.append(holder)
    assert deeds == ["second"]


@pytest.mark.guard("idempotency")
@pytest.mark.parametrize("look", [True, False])
async def test_a_call_that_timed_out_after_success_is_not_repeated(
    warehouse: Warehouse, tenant: str, look: bool
) -> None:
    await intend(tenant, warehouse, SWITCH, ActionState.STARTED)
    async with playing("hangs") as stage, Controls(CREDENTIALS, timeout=0.3) as controls:
        with pytest.raises(OutcomeUnknown):
            await controls.switch_input(f"{stage.url}/input", "backup")
        # The worker dies here. The one that carries on finds the action begun.
        stage.how = "well"
        found = await controls.read_input(f"{stage.url}/input") == "backup" if look else None
        token = await lease(tenant, warehouse, SWITCH.action.key, "second", 60)
        if await allowed(tenant, warehouse, replace(SWITCH, found_done=found), token):
            await controls.switch_input(f"{stage.url}/input", "backup")
        assert stage.done == 1


@pytest.mark.guard("idempotency")
async def test_nothing_is_done_before_its_key_is_stored(warehouse: Warehouse, tenant: str) -> None:
    async with playing() as stage, Controls(CREDENTIALS) as controls:
        async with warehouse.as_tenant(tenant) as db:
            stored = await actions.get(tenant, db, SWITCH.action.key)
        if all_allow(ask(replace(SWITCH, stored=stored), Moment.BEFORE), Moment.BEFORE):
            await controls.switch_input(f"{stage.url}/input", "backup")
        assert stage.done == 0


async def audited(tenant: str, warehouse: Warehouse) -> bool:
    """Write the intent down; whether it stands in the audit."""
    words = {"who": "worker", "what": "action.restart", "subject": RESTART.action.target, "reason": "a test"}
    try:
        async with warehouse.as_tenant(tenant) as db:
            await audit.write(tenant, db, before=None, after={"action": RESTART.action.key}, at=NOW, **words)
        async with warehouse.as_tenant(tenant) as db:
            return await audit.holds(tenant, db, "action.restart", RESTART.action.key)
    except WarehouseAway:
        return False


async def test_an_intent_that_is_in_the_audit_passes(warehouse: Warehouse, tenant: str) -> None:
    attempt = replace(RESTART, audited=await audited(tenant, warehouse))
    assert all_allow(ask(attempt, Moment.BEFORE), Moment.BEFORE)


@pytest.mark.guard("audit-first")
async def test_nothing_is_done_when_the_database_is_down() -> None:
    away = Warehouse("postgresql://nobody:x@127.0.0.1:9/tonewatch")
    try:
        attempt = replace(RESTART, audited=await audited("demo", away))
    finally:
        await away.close()
    assert not all_allow(ask(attempt, Moment.BEFORE), Moment.BEFORE)


def _remove(file: Path) -> None:
    file.unlink()


def _empty(file: Path) -> None:
    file.write_text("")


def _misspell(file: Path) -> None:
    file.write_text("onn\n")


def _replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _turn_off(file: Path) -> None:
    switch.turn(file.parent.parent, on=False)


async def _steps(stage: Stage, folder: Path, between: Callable[[], Any]) -> None:
    """A deed in two steps, as a remedy takes them: the switch is read before each."""
    async with Controls(CREDENTIALS) as controls:
        deeds: tuple[Callable[[], Coroutine[Any, Any, object]], ...] = (
            lambda: controls.drain(f"{stage.url}/routing", "edge:edge-1"),
            lambda: controls.switch_input(f"{stage.url}/input", "backup"),
        )
        for number, deed in enumerate(deeds):
            if number:
                between()
            attempt = replace(SWITCH, switch=switch.read(folder))
            if not all_allow(ask(attempt, Moment.DURING), Moment.DURING):
                return
            await deed()


@pytest.mark.guard("kill-switch")
@pytest.mark.parametrize("fault", [_remove, _empty, _misspell, _replace_by_folder, _turn_off])
async def test_a_deed_stops_between_its_steps_when_the_switch_is_off_or_gone(
    tmp_path: Path, fault: Callable[[Path], None]
) -> None:
    switch.install(tmp_path)
    async with playing() as stage:
        await _steps(stage, tmp_path, lambda: fault(switch.path(tmp_path)))
        assert stage.done == 1


async def test_a_deed_goes_on_while_the_switch_is_on(tmp_path: Path) -> None:
    switch.install(tmp_path)
    async with playing() as stage:
        await _steps(stage, tmp_path, lambda: None)
        assert stage.done == 2
