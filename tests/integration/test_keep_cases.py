"""Incidents that are over become cases, on a real warehouse."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tasks.keep_cases import UNFINISHED, keep_calm, keep_closed, keep_incident
from tests.integration.test_record import watch
from tests.unit.platform_parts import START, at
from tonewatch.cases import Expected, library
from tonewatch.errors import RecordingError, UnknownIncident
from tonewatch.records import Cause, CauseKind, Incident, IncidentState, Label
from warehouse import incidents, labels
from warehouse.database import Warehouse


async def incident(tenant: str, warehouse: Warehouse, **changed: object) -> Incident:
    """One of the crash in the minute, over unless something else is said."""
    fields: dict[str, object] = {
        "id": "i1",
        "tenant": tenant,
        "state": IncidentState.CLOSED,
        "onset": at(30),
        "opened": at(35),
        "title": "crash",
        "entities": ("component:transcoder-ch1",),
        "impact_ended": at(42),
        "closed": at(50),
    }
    opened = Incident(**(fields | changed))  # type: ignore[arg-type]
    async with warehouse.as_tenant(tenant) as db:
        await incidents.save(tenant, db, opened)
        cause = Cause(opened.id, 1, "component:transcoder-ch1", CauseKind.CRASH, 0.9)
        await incidents.set_causes(tenant, db, opened.id, [cause])
    return opened


async def test_an_incident_that_is_over_is_a_case(tenant: str, warehouse: Warehouse, tmp_path: Path) -> None:
    await watch(tenant, warehouse)
    await incident(tenant, warehouse)
    await keep_incident(tenant, warehouse, "i1", tmp_path / "crash", (0.25, 0.1), lambda _: None)
    await keep_calm(tenant, warehouse, START, at(20), tmp_path / "calm", lambda _: None)
    calm, crash = library(tmp_path)
    assert calm.expected is None
    assert crash.expected == Expected(at(30), at(42), ("component:transcoder-ch1",), "component:transcoder-ch1:crash")
    recording = crash.recording()
    assert (recording.start, recording.end) == (at(15), at(48))


async def test_a_false_alarm_is_kept_as_calm(tenant: str, warehouse: Warehouse, tmp_path: Path) -> None:
    await watch(tenant, warehouse)
    await incident(tenant, warehouse)
    said = Label("l1", "incident", "i1", "verdict:false-alarm", "ops", "a test", at(50))
    async with warehouse.as_tenant(tenant) as db:
        await labels.put(tenant, db, [said])
    case = await keep_incident(tenant, warehouse, "i1", tmp_path / "a", (0.25, 0.1), lambda _: None)
    assert case.expected is None


async def test_whom_nobody_believes_makes_no_calm_of_an_incident(
    tenant: str, warehouse: Warehouse, tmp_path: Path
) -> None:
    await watch(tenant, warehouse)
    await incident(tenant, warehouse)
    said = (("ann", "real", 50), ("mallory", "false-alarm", 55))
    told = [Label(who, "incident", "i1", f"verdict:{what}", who, "", at(second)) for who, what, second in said]
    async with warehouse.as_tenant(tenant) as db:
        await labels.put(tenant, db, told)
    case = await keep_incident(tenant, warehouse, "i1", tmp_path / "a", (0.25, 0.1), lambda _: None)
    assert case.expected is not None


async def test_an_incident_that_lasts_or_is_unknown_is_no_case(
    tenant: str, warehouse: Warehouse, tmp_path: Path
) -> None:
    await watch(tenant, warehouse)
    await incident(tenant, warehouse, state=IncidentState.ACTING, impact_ended=None, closed=None)
    with pytest.raises(RecordingError, match="is acting"):
        await keep_incident(tenant, warehouse, "i1", tmp_path / "a", (1.0, 1.0), lambda _: None)
    with pytest.raises(UnknownIncident, match="no incident i2"):
        await keep_incident(tenant, warehouse, "i2", tmp_path / "a", (1.0, 1.0), lambda _: None)
    assert not (tmp_path / "a").exists()


async def test_what_was_closed_is_kept_once_and_the_oldest_make_room(
    tenant: str, warehouse: Warehouse, tmp_path: Path
) -> None:
    await watch(tenant, warehouse)
    await incident(tenant, warehouse)
    dead = tmp_path / f"{UNFINISHED}i1" / "recording"
    dead.mkdir(parents=True)
    assert await keep_closed(tenant, warehouse, tmp_path, at(55), 2) == 1
    assert [case.name for case in library(tmp_path)] == ["i1"]
    assert not dead.exists()
    assert await keep_closed(tenant, warehouse, tmp_path, at(56), 2) == 0

    await keep_calm(tenant, warehouse, START, at(20), tmp_path / "calm", lambda _: None)
    for number in (2, 3):
        await incident(tenant, warehouse, id=f"i{number}", closed=at(55 + number))
    assert await keep_closed(tenant, warehouse, tmp_path, at(60), 2) == 2
    assert [case.name for case in library(tmp_path)] == ["calm", "i2", "i3"], "what a person added stays"


async def test_an_incident_whose_samples_are_gone_keeps_no_other_from_being_kept(
    tenant: str, warehouse: Warehouse, tmp_path: Path
) -> None:
    await watch(tenant, warehouse)
    long_ago = START - timedelta(hours=30)
    await incident(tenant, warehouse, id="i0", onset=long_ago, opened=long_ago, impact_ended=long_ago, closed=at(49))
    await incident(tenant, warehouse)
    assert await keep_closed(tenant, warehouse, tmp_path, at(55), 9) == 1
    assert [case.name for case in library(tmp_path)] == ["i1"]
    assert (library(tmp_path)[0].folder / "recording" / "sessions.jsonl").read_bytes() == b""


async def test_none_is_kept_where_none_is_wanted(tenant: str, warehouse: Warehouse, tmp_path: Path) -> None:
    await watch(tenant, warehouse)
    await incident(tenant, warehouse)
    assert await keep_closed(tenant, warehouse, tmp_path / "cases", at(55), 0) == 0
    assert not (tmp_path / "cases").exists()
