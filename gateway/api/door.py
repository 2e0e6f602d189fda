"""Who may come in, and how much: keys, rates, sizes, and the beacons themselves.

A session's raw id lives in this module's memory only: it is made a pseudonym before anything is kept or told.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from gateway import changes as announced
from gateway import cmcd
from gateway.api.answers import refused
from gateway.api.people import Caller, People
from gateway.api.profiles import Profiles
from tonewatch.clock import Clock
from tonewatch.errors import PayloadError
from tonewatch.records import SessionReport
from tonewatch.roles import held
from warehouse import changes, keys, sessions
from warehouse.cache import Cache
from warehouse.database import Warehouse
from warehouse.keys import KeyHolder
from warehouse.pseudonyms import pseudonym

#: A player's clock may be wrong, but what lies further ahead would be news from the future to every window.
AHEAD: Final = timedelta(minutes=5)
#: Samples and sessions older than this are no longer hot; a report so late can change nothing.
BEHIND: Final = timedelta(hours=48)
#: The time in which a tenant may make as many requests as its quota says.
PER_SECONDS: Final = 10
BEACON_TYPES: Final = frozenset({"application/cmcd", "text/plain", ""})
JSON_TYPES: Final = frozenset({"application/json", ""})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be in one request, whoever sends it; `read_seconds` for a body to arrive."""

    body_bytes: int = 64 * 1024
    lines: int = 1000
    changes: int = 100
    read_seconds: float = 10.0
    key_seconds: float = 3.0  # how long a key's answer is believed: a revoked key works no longer than this
    write_bytes: int = 2 * 1024 * 1024  # of a remote write as it comes, and
    unpacked_bytes: int = 8 * 1024 * 1024  # decompressed: snappy gains a factor of ten on labels
    write_samples: int = 50_000
    writes_at_once: int = 4  # being decoded and committed; more are told to come again
    document_bytes: int = 1024 * 1024  # of alerts, events and inventories
    alerts: int = 2000  # in one notification, and of one tenant that fire
    events: int = 1000  # in one body


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the lines, or changes, of one body. `refused`: (number from 1, reason)."""

    accepted: int
    refused: list[tuple[int, str]]


class Door:
    """Lets beacons and changes in for those who hold a key."""

    def __init__(
        self,
        warehouse: Warehouse,
        cache: Cache,
        profiles: Profiles,
        root_key: bytes,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._warehouse = warehouse
        self._cache = cache
        self._root_key = root_key
        self._clock = clock
        self._limits = limits
        self._profiles = profiles
        self._people = People(profiles, clock)
        self._known: dict[tuple[bytes, str], tuple[KeyHolder, float]] = {}

    async def admit(self, request: Request, scope: str) -> str:
        """The tenant whose key the request carries. Raises HTTPException (401, 429) and WarehouseAway."""
        return (await self.caller(request, scope)).tenant

    async def caller(self, request: Request, scope: str) -> Caller:
        """Who comes, where it matters; else as `admit`."""
        kind, _, plain = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not plain.strip():
            raise refused(401, "an API key is missing: Authorization: Bearer tw_...", www_authenticate="Bearer")
        tenant = request.headers.get("tonewatch-tenant", "").strip()
        by_token = tenant and not plain.strip().startswith("tw_")
        caller = await (self._person(tenant, plain, scope) if by_token else self._by_key(plain, scope))
        most = (await self._profiles.of(caller.tenant)).profile.quotas.requests
        if not await self._cache.allow(caller.tenant, scope, most, PER_SECONDS):
            raise refused(429, "too many requests for this tenant", retry_after=str(PER_SECONDS))
        return caller

    async def _person(self, tenant: str, plain: str, scope: str) -> Caller:
        person = await self._people.person(tenant, plain.strip())
        if scope not in person.may:
            raise refused(403, f"your role may not do this: it needs {scope}")
        return person

    async def _by_key(self, plain: str, scope: str) -> Caller:
        holder = await self._holder(plain.strip(), scope)
        if holder is None:
            raise refused(401, f"the API key is wrong, has ended, or is not for {scope}", www_authenticate="Bearer")
        return Caller(holder.tenant, holder.purpose, held(holder.scopes))

    async def _holder(self, plain: str, scope: str) -> KeyHolder | None:
        now = self._clock.monotonic()
        mark = (hashlib.sha256(plain.encode("utf-8", "replace")).digest(), scope)
        kept = self._known.get(mark)
        if kept is not None and kept[1] > now:
            return kept[0]
        holder = await keys.verify(self._warehouse, plain, self._clock.now(), scope)
        self._known = {other: entry for other, entry in self._known.items() if entry[1] > now and other != mark}
        if holder is not None:
            self._known[mark] = (holder, now + self._limits.key_seconds)
        return holder

    async def body(
        self,
        request: Request,
        media_types: Collection[str] = BEACON_TYPES,
        *,
        encoding: str = "identity",
        most: int | None = None,
    ) -> bytes:
        """The whole body, at most `most` bytes of it (default: body_bytes), in the one encoding that is taken.

        Raises HTTPException: 415 (type, encoding), 413 (size, as soon as it is seen), 408, 400.
        """
        limit = self._limits.body_bytes if most is None else most
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in media_types:
            raise refused(415, f"the content-type must be {' or '.join(sorted(filter(None, media_types)))}")
        if (request.headers.get("content-encoding", "").strip().lower() or "identity") != encoding:
            how = (
                "the body must not be compressed" if encoding == "identity" else f"content-encoding must be {encoding}"
            )
            raise refused(415, how)
        told = request.headers.get("content-length", "")
        if told.isdigit() and (len(told) > 12 or int(told) > limit):
            raise _too_large(limit)
        try:
            async with asyncio.timeout(self._limits.read_seconds):
                return await _read(request, limit)
        except TimeoutError:
            raise refused(408, "the body did not arrive in time") from None
        except ClientDisconnect:
            raise refused(400, "the body broke off") from None

    async def take(self, tenant: str, body: bytes) -> Taken:
        """Keep the good lines of `body`; when this returns they are committed.

        Raises HTTPException: 413 too many lines, 400 none at all; WarehouseAway: nothing is kept, send it again.
        """
        lines = [(number, line) for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()]
        if not lines:
            raise refused(400, "the body holds no line")
        if len(lines) > self._limits.lines:
            raise refused(413, f"the body has more than {self._limits.lines} lines")
        now = self._clock.now()
        reports: list[SessionReport] = []
        faults: list[tuple[int, str]] = []
        for number, line in lines:
            try:
                beacon = cmcd.read(cmcd.ascii_text(line).strip("\r\t "))
                reports.append(self._report(tenant, beacon, now))
            except PayloadError as error:
                faults.append((number, str(error)))
        await self._keep(tenant, reports, now)
        return Taken(len(reports), faults)

    async def take_request(self, tenant: str, text: str, request_id: str) -> None:
        """Keep what a request says of its player; when this returns it is committed.

        Raises PayloadError; WarehouseAway: nothing is kept, send it again.
        """
        now = self._clock.now()
        await self._keep(tenant, [self._report(tenant, cmcd.read_request(text, now, request_id), now)], now)

    async def take_changes(self, tenant: str, body: bytes) -> Taken:
        """Keep the changes of `body`, all or none; when this returns they are committed. A known id is updated.

        Raises PayloadError: no JSON, no change, or too many; WarehouseAway: nothing is kept, send it again.
        """
        told, faults = announced.read(body, self._clock.now(), self._limits.changes)
        if faults:
            return Taken(0, faults)
        async with self._warehouse.as_tenant(tenant) as db:
            await changes.save(tenant, db, told)
        return Taken(len(told), [])

    def hide(self, tenant: str, what: str, value: str) -> str:
        """What stands for a person's `what` from here on: not what stands for the same text as a session's id."""
        return pseudonym(self._root_key, tenant, f"{what}\0{value}")

    async def _keep(self, tenant: str, reports: Sequence[SessionReport], now: datetime) -> None:
        if reports:
            async with self._warehouse.as_tenant(tenant) as db:
                await sessions.save(tenant, db, reports, now)

    def _report(self, tenant: str, beacon: cmcd.Beacon, now: datetime) -> SessionReport:
        if not now - BEHIND <= beacon.time <= now + AHEAD:
            raise PayloadError("ts is more than 5 minutes ahead or 48 hours behind")
        return SessionReport(
            session=pseudonym(self._root_key, tenant, beacon.session),
            channel=f"channel:{beacon.channel}",
            edge=f"edge:{beacon.edge}" if beacon.edge else "",
            time=beacon.time,
            event=beacon.event,
            state=beacon.state,
            starved_ms=beacon.starved_ms,
            startup_ms=beacon.startup_ms,
            latency_ms=beacon.latency_ms,
            buffer_ms=beacon.buffer_ms,
            throughput_kbps=beacon.throughput_kbps,
            bitrate_kbps=beacon.bitrate_kbps,
            sequence=beacon.sequence,
        )


async def _read(request: Request, limit: int) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise _too_large(limit)
    return bytes(content)


def _too_large(limit: int) -> HTTPException:
    return refused(413, f"the body is larger than {limit} bytes")
