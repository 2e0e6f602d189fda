"""Takes in what Prometheus pushes by remote write: decoded, given to its entities, committed, then acknowledged."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np
import structlog

from gateway.api.answers import refused
from gateway.api.door import AHEAD, BEHIND, Limits
from gateway.api.profiles import Profiles
from gateway.naming import Naming
from gateway.remote_write import Format, Reader, Written, milliseconds
from tonewatch.clock import Clock
from tonewatch.records import Series
from warehouse import deliveries, samples
from warehouse.database import Connection, Warehouse

WRITE_TYPES: Final = frozenset({"application/x-protobuf"})
#: Bodies above this are decoded in a thread: some 5 ms per 1,000 series, which the loop can not always spare.
_THREAD_BYTES: Final = 64 * 1024
#: From 1970, whence Prometheus counts milliseconds, to 2000, whence PostgreSQL counts microseconds.
_TO_2000_MS: Final = milliseconds(datetime(2000, 1, 1, tzinfo=UTC))

log = structlog.get_logger("gateway")

Known = tuple[int, Series]


@dataclass(frozen=True, slots=True)
class Received:
    """What became of one body. kept: samples in the warehouse now, new or there before; void: those without a number
    (NaN, of which one marks the end of a series, and infinity); refused: samples by the reason.
    """

    kept: int
    void: int
    refused: Mapping[str, int]


@dataclass(slots=True)
class _Tenant:
    """What a process remembers of a tenant: how series are named, and which it has seen committed."""

    reader: Reader[Known]
    version: tuple[str, int]
    most_series: int
    seen: set[int] = field(default_factory=set)


class Intake:
    """Remote write for all tenants of this process."""

    def __init__(self, warehouse: Warehouse, profiles: Profiles, clock: Clock, limits: Limits) -> None:
        self._warehouse, self._profiles, self._clock, self._limits = warehouse, profiles, clock, limits
        self._tenants: dict[str, _Tenant] = {}
        self._at_once = 0

    async def take(self, tenant: str, body: bytes, form: Format) -> Received:
        """Keep the samples of `body`; when this returns they are committed. What was there already stays as it is.

        Raises PayloadError: no such message; PayloadTooLarge; HTTPException 503: too many at once; WarehouseAway:
        nothing is kept, send it again.
        """
        if self._at_once >= self._limits.writes_at_once:
            # Not 429: Prometheus gives up on those unless it is told otherwise, and this is not the sender's fault.
            raise refused(503, "too many writes at once, send it again", retry_after="1")
        self._at_once += 1
        try:
            return await self._take(tenant, body, form)
        finally:
            self._at_once -= 1

    async def _take(self, tenant: str, body: bytes, form: Format) -> Received:
        known = await self._of(tenant)
        if len(body) > _THREAD_BYTES:
            written = await asyncio.to_thread(self._read, known.reader, body, form)
        else:
            written = self._read(known.reader, body, form)
        now, reasons = self._clock.now(), Counter(written.refused)
        if written.histograms:
            reasons["native histograms are not kept: have classic ones sent"] += written.histograms
        columns, void = _columns(written, now, reasons)
        if len(columns.ids):
            async with self._warehouse.as_tenant(tenant) as db:
                columns = await self._within_limit(tenant, db, known, columns, reasons)
                stored = await samples.append_columns(tenant, db, columns)
                # What was there already was delivered already: a body that is sent again is no second reading.
                if len(stored.fresh.ids):
                    await deliveries.put(tenant, db, stored.fresh, now)
            known.seen.update(columns.series)
        return Received(len(columns.ids), void, reasons)

    def _read(self, reader: Reader[Known], body: bytes, form: Format) -> Written[Known]:
        limits = self._limits
        return reader.read(body, form, max_bytes=limits.unpacked_bytes, max_samples=limits.write_samples)

    async def _of(self, tenant: str) -> _Tenant:
        treated, held = await self._profiles.of(tenant), self._tenants.get(tenant)
        if held is None or held.version != treated.version:
            naming = Naming(treated.profile.naming)
            reader = Reader(lambda told: _known(naming.series(told)))
            held = self._tenants[tenant] = _Tenant(reader, treated.version, treated.profile.quotas.series)
        return held

    async def _within_limit(
        self, tenant: str, db: Connection, known: _Tenant, columns: samples.Columns, reasons: Counter[str]
    ) -> samples.Columns:
        """Without what would make the tenant's series too many; those that it has go on."""
        strange = [id_ for id_ in columns.series if id_ not in known.seen]
        new = await samples.missing(tenant, db, strange) if strange else []
        if not new or await samples.count_series(tenant, db) + len(new) <= known.most_series:
            return columns
        kept = ~np.isin(columns.ids, new)
        reasons[f"the tenant has {known.most_series} series, and no more are taken (its setting quotas.series)"] += int(
            (~kept).sum()
        )
        return columns.part(kept)


def _known(series: Series) -> Known:
    return series.id, series


def _columns(written: Written[Known], now: datetime, reasons: Counter[str]) -> tuple[samples.Columns, int]:
    """The samples that can be kept, and how many hold no number; `reasons` learns of those out of reach."""
    ids = np.repeat(np.fromiter((id_ for id_, _ in written.series), np.int64), np.asarray(written.counts))
    times, values = np.asarray(written.times), np.asarray(written.values)
    timely = (times >= milliseconds(now - BEHIND)) & (times <= milliseconds(now + AHEAD))
    if not timely.all():
        reasons["a time more than 5 minutes ahead or 48 hours behind"] += int((~timely).sum())
    numbers = np.isfinite(values)
    kept = timely & numbers
    columns = samples.Columns(ids, times, values, dict(written.series))
    if not kept.all():
        columns = columns.part(kept)
    micros = (columns.times - _TO_2000_MS) * 1000
    return samples.Columns(columns.ids, micros, columns.values, columns.series), int((timely & ~numbers).sum())
