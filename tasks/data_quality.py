"""Holds what is kept of a tenant's views against their contracts; owners are told, once while it lasts."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from feature_store import expectations, offline
from feature_store.contracts import Breach, Clause, Contract, breaches, contract
from feature_store.views import View, views
from feature_store.windows import Floats, Indexes
from tonewatch.errors import FeatureError, StateFolderError
from tonewatch.records import Notice
from tonewatch.settings import Settings, addressed
from warehouse import features, notices, quality, tenants
from warehouse.database import Connection, Warehouse
from warehouse.quality import DataBreach, Quality

GREAT_EXPECTATIONS, CONTRACTS = "great-expectations", "contracts"


@dataclass(frozen=True, slots=True)
class Inspected:
    """A view. found: every clause; began, ended: breaches; note: why Great Expectations did not judge, or nothing."""

    view: str
    owner: str
    rows: int
    found: tuple[Quality, ...]
    note: str
    began: tuple[DataBreach, ...] = ()
    ended: tuple[DataBreach, ...] = ()

    @property
    def broken(self) -> list[Quality]:
        """What does not hold."""
        return [each for each in self.found if not each.held]


@dataclass(frozen=True, slots=True)
class Inspection:
    """A tenant's views, and how many notices were put into the outbox."""

    tenant: str
    views: tuple[Inspected, ...]
    notices: int


async def inspect(
    tenant: str, warehouse: Warehouse, settings: Settings, now: datetime, docs: Path | None = None
) -> Inspection:
    """Inspect each view of which the tenant has rows, the fresh ones; keep what was found and tell the owners.

    docs: a folder that gets a folder of Data Docs per view. Raises UnknownTenant; SettingsError; WarehouseAway;
    StateFolderError: cannot write there.
    """
    async with warehouse.as_tenant(tenant) as db:
        profile = await tenants.profile(tenant, db)
    seen = []
    for each in views(profile):
        async with warehouse.as_tenant(tenant) as db:
            if not any(stored.id == each.id for stored in await features.views(tenant, db, each.name)):
                continue
            values, times = await offline.rows(tenant, db, each, now - each.fresh, now)
        found, note = await _judged(each, values, times, now, docs)
        seen.append(Inspected(each.name, each.owner, len(values), tuple(found), note))
    channels = addressed(settings, profile).alert_channels
    async with warehouse.as_tenant(tenant) as db:
        done = [await _kept(tenant, db, each, now) for each in seen]
        told = [
            notice
            for owner in sorted({each.owner for each in done})
            for notice in _told(tenant, owner, done, channels, now)
        ]
        return Inspection(tenant, tuple(done), await notices.put(tenant, db, told))


async def _judged(
    of: View, values: Floats, times: Indexes, now: datetime, docs: Path | None
) -> tuple[list[Quality], str]:
    """Every clause; by Great Expectations where it is installed and does not fail, else by the contracts alone."""
    held = contract(of)
    told = breaches(held, of.names, of.units, values, times, now)
    judge, note = CONTRACTS, ""
    if expectations.installed():
        folder = None if docs is None else _emptied(docs / of.name)
        try:
            # In a thread: its import takes eight seconds, in which Prefect's heartbeats must go on.
            theirs = await asyncio.to_thread(expectations.validate, held, of.names, values, times, now, folder)
            told = [*theirs, *(each for each in told if each.clause is Clause.UNITS)]
            judge = GREAT_EXPECTATIONS
        except FeatureError as error:
            note = str(error)
    else:
        note = "Great Expectations is not installed (make learning): the contracts were held against the rows without"
    return _clauses(held, told, len(values), judge, now), note


def _emptied(folder: Path) -> Path:
    """The folder, made and empty: a page of each run before would stay there for good."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        raise StateFolderError(f"{folder} cannot be written: {error.strerror}; Data Docs go there") from error
    return folder


def _clauses(held: Contract, told: Sequence[Breach], rows: int, judge: str, now: datetime) -> list[Quality]:
    broken = {(each.clause, each.feature): each for each in told}
    found = []
    for clause, feature in expectations.clauses(held):
        each = broken.get((clause, feature))
        count, why = (each.count, each.told) if each else (0, "")
        found.append(Quality(held.view, now, clause, feature, each is None, count, rows, judge, why))
    return found


async def _kept(tenant: str, db: Connection, of: Inspected, now: datetime) -> Inspected:
    """Keep what was found, and the beginnings and ends of breaches."""
    await quality.put(tenant, db, of.found)
    broken = {(each.view, each.clause, each.feature) for each in of.broken}
    ended = [each for each in await quality.lasting(tenant, db, of.view) if each.key not in broken]
    for each in ended:
        await quality.end(tenant, db, each, now)
    starting = [DataBreach(of.view, each.clause, each.feature, now, of.owner, each.told) for each in of.broken]
    new = await quality.begin(tenant, db, starting)
    return replace(of, began=tuple(each for each in starting if each.key in new), ended=tuple(ended))


def _told(
    tenant: str, owner: str, done: Sequence[Inspected], channels: Sequence[str], now: datetime
) -> Iterator[Notice]:
    """What the owner is told, on each of the tenant's channels: what began, or which views are well again."""
    mine = [each for each in done if each.owner == owner]
    began = [breach for each in mine for breach in each.began]
    mended = [each.view for each in mine if each.ended and not each.broken]
    if not began and not mended:
        return
    lines = [f"  {each.view}, {each.clause} {each.feature}".rstrip() + f": {each.told}" for each in began]
    lines += [f"  {name}: every clause of its contract holds again" for name in mended]
    views_ = ", ".join(dict.fromkeys(each.view for each in began))
    subject = f"the contract of {views_} does not hold" if began else f"the contract of {', '.join(mended)} holds again"
    head = f"To {owner}, who answers for these features of {tenant}:"
    end = "The rows are kept, nobody is paged for it, and it is told once while it lasts: tonewatch features quality"
    for channel in channels:
        yield Notice(
            tenant=tenant,
            incident=f"data:{owner}:{now:%Y%m%dT%H%M%S}",  # no incident: each telling is of its own
            incident_state="data",
            level="L1",
            channel=channel,
            subject=f"[data] {subject} (owner: {owner})",
            body="\n".join([head, *lines, "", end, ""]),
            created=now,
            next_attempt=now,
        )
