"""Tenants kept apart: every table, view, partition, function, route and key pattern tried across tenants; the price.

Attempts are generated from the database's catalogue and the gateway's routes, so that a new one is tried by itself;
Redis keys and folders hold a tenant's name, so names that would reach into another's are tried as well. A leak is a
row, a number or a changed row of another tenant. `--break TABLE` drops that table's policies first: then there must be
leaks (it is how the benchmark is itself tested). Row-level security is timed beside a hand-written WHERE: reads of
10,000 rows of one tenant among 100. `make bench NAME=isolation`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
from psycopg import sql

from console.keyring import SCOPES
from console.stack.postgres import EmbeddedPostgres
from console.stack.redis import answers, program, socket_url, write_configuration
from console.tenancy import Change, Tenancy
from gateway.api.app import create_app
from tests.benchmarks._published import publish, say
from tests.integration.furnished import INCIDENT, PART, furnish
from tests.integration.pushed import until
from tests.unit.gateway.test_remote_write import body_v1, series_v1
from tonewatch.clock import SYSTEM
from tonewatch.errors import UnknownTenant
from warehouse import cache as cached
from warehouse import keys, tenants
from warehouse.cache import Cache
from warehouse.database import Warehouse
from warehouse.migrate import RolePasswords, create_database, migrate

VICTIM = "victim-of-all"
ATTEMPTS = 100_000
READ_TENANTS, READ_ROWS, READS = 100, 10_000, 30
#: As many of the attempts go to routes: each is a whole request.
ROUTE_ATTEMPTS = 6_000
#: Statements per relation; what a statement gives or changes is a leak.
WAYS = {
    "read": "select * from {table}",
    "read by name": "select * from {table} where tenant = %(victim)s",
    "count": "select 1 from {table} having count(*) > 0",
    "join": "select * from {table} full join tenant as named using (tenant) where tenant <> %(viewer)s",
    "exists": "select 1 where exists (select from {table})",
    "lock": "select * from {table} for update",
    "take over": "update {table} set tenant = %(viewer)s",
    "delete": "delete from {table}",
    "insert as the other": """insert into {table} overriding system value
        select * from jsonb_populate_record(null::{table}, %(row)s)""",
    "insert quietly": """insert into {table} overriding system value
        select * from jsonb_populate_record(null::{table}, %(row)s) on conflict do nothing""",
}
RELATIONS = """
    select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant'
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v') order by 1
"""
FUNCTIONS = """
    select p.oid::regprocedure::text, p.proname, array(select t::regtype::text from unnest(p.proargtypes) t)
    from pg_proc p
    where p.pronamespace = 'public'::regnamespace and has_function_privilege('tonewatch_app', p.oid, 'execute')
    order by 1
"""
#: Values by type that the app may pass to a function, harmful ones among them.
ARGUMENTS: dict[str, list[Any]] = {
    "text": ["hot", "default", "hot_20260101", "x; drop table sample", VICTIM],
    "date": ["2026-01-01", "1970-01-01"],
    "timestamp with time zone": ["2026-01-01", "2100-01-01", "1970-01-01"],
}


@dataclass
class Tally:
    """What was tried, and what leaked."""

    attempts: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)
    refused: int = 0
    taken: int = 0  # bodies of the intruder's own that were taken in: the routes were really reached

    def leak(self, what: str) -> None:
        """Write one down."""
        self.leaks.append(what)


class Intruder:
    """One tenant's connection as the app role that tries to reach another tenant's rows; nothing it does stays."""

    def __init__(self, connection: psycopg.Connection, seed: int) -> None:
        self.connection = connection
        self.random = random.Random(seed)
        self.relations = [name for (name,) in connection.execute(RELATIONS).fetchall()]
        self.functions = connection.execute(FUNCTIONS).fetchall()
        self.rows = {name: self._rows(name) for name in self.relations}

    def _rows(self, name: str) -> list[str]:
        query = sql.SQL("select to_jsonb(t)::text from {} t where tenant = %s order by 1")
        return [row for (row,) in self.connection.execute(query.format(sql.Identifier(name)), [VICTIM]).fetchall()]

    def viewer(self) -> str | None:
        """Somebody else: no tenant, one that exists, names like the victim's, or any name."""
        return self.random.choice(
            [None, "", "intruder", VICTIM + "-", VICTIM[:-1], VICTIM.upper(), "%", f"t-{self.random.randrange(10**6)}"]
        )

    def attempt(self, tally: Tally) -> None:
        """One attempt on one relation."""
        name, way = self.random.choice(self.relations), self.random.choice(sorted(WAYS))
        viewer = self.viewer()
        row = self.random.choice(self.rows[name]) if self.rows[name] else "{}"
        values = {"viewer": viewer or "", "victim": VICTIM, "row": row}
        statement = sql.SQL(WAYS[way]).format(table=sql.Identifier(name))
        tally.attempts["relation"] += 1
        with self._as(viewer):
            try:
                cursor = self.connection.execute(statement, values)
                touched = len(cursor.fetchall()) if cursor.description else cursor.rowcount
            except psycopg.Error as error:
                tally.refused += 1
                if not _refusal(error):
                    tally.leak(f"{way} of {name} as {viewer!r}: {type(error).__name__} {error}".splitlines()[0])
                return
        if touched > 0:
            tally.leak(f"{way} of {name} as {viewer!r}: {touched} rows")

    def call(self, tally: Tally) -> None:
        """One call of a function; afterwards the victim's rows must be the same."""
        signature, name, types = self.random.choice(self.functions)
        values = [self.random.choice(ARGUMENTS.get(kind, ["1"])) for kind in types]
        viewer = self.viewer()
        tally.attempts["function"] += 1
        placed = sql.SQL(", ").join(sql.SQL("%s::") + sql.SQL(kind) for kind in types)
        call = sql.SQL("select * from {}({})").format(sql.Identifier(name), placed)
        with self._as(viewer):
            try:
                given = self.connection.execute(call, values).fetchall()
            except psycopg.Error:
                tally.refused += 1
                return
            self.connection.execute("reset role")
            if any(VICTIM in str(value) for row in given for value in row):
                tally.leak(f"{signature} as {viewer!r} gave {given}")
            for table in self.relations:
                if self._rows(table) != self.rows[table]:
                    tally.leak(f"{signature} as {viewer!r} changed {table}")

    @contextmanager
    def _as(self, viewer: str | None) -> Iterator[None]:
        """As the app role for `viewer`; whatever happens inside is undone."""
        with self.connection.transaction(force_rollback=True):
            self.connection.execute("set local role tonewatch_app")
            self.connection.execute("select set_config('app.tenant', %s, true)", [viewer or ""])
            yield


def _refusal(error: psycopg.Error) -> bool:
    """Whether an error tells nothing of another tenant: no right, or a statement that can not work at all."""
    return isinstance(
        error,
        psycopg.errors.InsufficientPrivilege
        | psycopg.errors.FeatureNotSupported
        | psycopg.errors.ObjectNotInPrerequisiteState
        | psycopg.errors.NotNullViolation
        | psycopg.errors.WrongObjectType,
    )


@asynccontextmanager
async def redis(folder: Path) -> AsyncIterator[Cache]:
    """A cache on a real Redis that holds the victim's picture and its counts."""
    listener, password = folder / "redis.sock", secrets.token_urlsafe()
    configuration = write_configuration(folder / "redis", listener, password)
    process = await asyncio.create_subprocess_exec(program(), configuration, stdout=asyncio.subprocess.DEVNULL)
    cache = Cache(socket_url(listener, password))
    try:
        await until(lambda: answers(listener, password), 20, "Redis listens")
        await cache.put_live(VICTIM, {"channels": {VICTIM: "secret"}})
        for scope in SCOPES:
            await cache.allow(VICTIM, scope, 10**9, 3600)
        yield cache
    finally:
        await cache.close()
        process.terminate()
        await process.wait()


async def names(warehouse: Warehouse, cache: Cache, tally: Tally) -> None:
    """What no tenant may be called: a name that reached into another's Redis keys or folders by its signs."""
    hostile = [f"{VICTIM}{sign}x" for sign in ":/\\*?[]{}%_.\x00\n "] + ["..", f"../{VICTIM}", f"{VICTIM}/..", "", "*"]
    hostile += [
        VICTIM.upper(),
        f" {VICTIM}",
        f"{VICTIM}\u200b",
        VICTIM + "x" * 40,
        f"x:{VICTIM}",
        f"../../reports/{VICTIM}",
    ]
    for name in hostile:
        tally.attempts["name"] += 1
        try:
            async with warehouse.as_tenant(name):
                tally.leak(f"{name!r} was let in as a tenant's name")
        except UnknownTenant:
            tally.refused += 1
    for name in ("intruder", VICTIM[:-1], f"{VICTIM}-", "a"):
        tally.attempts["redis key"] += 1
        if await cache.live(name) is not None:
            tally.leak(f"{name!r} got a live picture that is not its own")
        await cache.forget(name)
    if await cache.live(VICTIM) is None:
        tally.leak("the victim's live picture went with another's")


async def routes(warehouse: Warehouse, cache: Cache, tally: Tally, seed: int) -> None:
    """Every route with the intruder's keys and the victim's name wherever a name can stand."""
    async with warehouse.as_tenant("intruder") as db:
        await tenants.add("intruder", db, name="intruder", profile="platform", at=SYSTEM.now())
        key = await keys.create("intruder", db, purpose="bench", scopes=SCOPES, now=SYSTEM.now())
    await Tenancy(warehouse).change("intruder", Change(set=("quotas.requests=1000000000",)), "bench", "no limit")
    app = create_app(warehouse, cache, b"k" * 32)
    paths = sorted(app.openapi()["paths"])
    chance = random.Random(seed)
    wrong = key.replace("tw_intruder_", f"tw_{VICTIM}_")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        for number in range(ROUTE_ATTEMPTS):
            route = chance.choice(paths)
            address = route.replace("{incident}", INCIDENT)
            method = chance.choice(["GET", "POST", "PUT" if route == "/v1/inventory" else "POST"])
            held = chance.choice([key, wrong])
            headers = {"authorization": f"Bearer {held}", "x-tenant": VICTIM} | TYPES.get(route, {})
            query = chance.choice(["", f"?tenant={VICTIM}", f"?app.tenant={VICTIM}", f"?CMCD={quote(report(number))}"])
            body = body_for(route, number) if method != "GET" and chance.random() < 0.7 else b""
            answer = await client.request(method, f"{address}{query}", headers=headers, content=body)
            tally.attempts["route"] += 1
            tally.taken += body != b"" and answer.status_code // 100 == 2
            told = answer.text.replace(f"channel:{VICTIM}", "")  # which the intruder's own beacons name
            leaked = any(mark in told for mark in THEIRS) or answer.status_code >= 500
            if leaked or (held == wrong and body and answer.is_success):
                tally.leak(f"{method} {route}{query}: {answer.status_code} {answer.text[:100]}")


#: What stands in the victim's rows.
THEIRS = (VICTIM, PART, "channel:ch1", "edge-1")
TYPES = {
    "/v1/cmcd": {"content-type": "application/cmcd"},
    "/v1/changes": {"content-type": "application/json"},
    "/v1/alerts": {"content-type": "application/json"},
    "/v1/events": {"content-type": "application/json"},
    "/v1/inventory": {"content-type": "application/json"},
    "/v1/incidents/{incident}/acts": {"content-type": "application/json"},
    "/api/v1/write": {"content-type": "application/x-protobuf", "content-encoding": "snappy"},
}


def report(number: int) -> str:
    """A player's report with the victim's name wherever a name can stand."""
    moment = round(SYSTEM.now().timestamp() * 1000)
    return f'bsd=0,cdn="{VICTIM}",cid="{VICTIM}",e=t,sid="{VICTIM}{number}",sn=1,sta=p,ts={moment},v=2'


def body_for(route: str, number: int) -> bytes:
    """What the route takes, with the victim's name wherever a name can stand."""
    now = SYSTEM.now()
    name, part = f"{VICTIM}-{number}", f"component:{VICTIM}"
    documents: dict[str, Any] = {
        "/v1/changes": {"id": name, "kind": "flag", "entity": part, "author": VICTIM, "started": now.isoformat()}
        | {"summary": VICTIM},
        "/v1/alerts": {
            "version": "4",
            "receiver": VICTIM,
            "alerts": [{"status": "firing", "startsAt": now.isoformat(), "labels": {"tenant": VICTIM, "job": name}}],
        },
        "/v1/events": {"id": name, "kind": "play", "time": now.isoformat(), "subject": VICTIM, "track": VICTIM}
        | {"seconds": 1, "channel": f"channel:{VICTIM}"},
        "/v1/inventory": {
            "platform": VICTIM,
            "segment_seconds": 4,
            "components": [
                {"id": part, "stage": "origin", "process": VICTIM, "metrics_url": f"http://{VICTIM}:1/metrics"}
            ],
            "origin": {"id": part, "base_url": f"http://{VICTIM}:1"},
        },
    }
    if route in documents:
        return json.dumps(documents[route]).encode()
    if route == "/v1/cmcd":
        return report(number).encode()
    if route == "/v1/incidents/{incident}/acts":
        act = ("ack", "approve", "veto", "close")[number % 4]
        further = {"verdict": "real"} if act == "close" else {}
        return json.dumps({"act": act, "reason": VICTIM} | further).encode()
    labels = [("__name__", "up"), ("job", VICTIM), ("tenant", VICTIM), ("tonewatch_entity", f"edge:{VICTIM}")]
    return body_v1(series_v1(labels, [(round(now.timestamp() * 1000), 1.0)]))


def patterns(tally: Tally) -> None:
    """Every pattern of a Redis key: the tenant stands in it."""
    source = Path(cached.__file__).read_text(encoding="utf-8")
    found = [part.split('"')[0] for part in source.split('f"tonewatch:')[1:]]
    for pattern in found:
        tally.attempts["redis key"] += 1
        if "{tenant}" not in pattern:
            tally.leak(f"the Redis key tonewatch:{pattern} holds no tenant")
        # A tenant's name holds no colon (`names` tries it), so that none can reach into the next field.


def content(connection: psycopg.Connection, relations: list[str]) -> dict[str, int]:
    """A mark of all that the victim has."""
    marks = {}
    for name in relations:
        query = sql.SQL("select coalesce(sum(hashtextextended(to_jsonb(t)::text, 0)), 0) from {} t where tenant = %s")
        row = connection.execute(query.format(sql.Identifier(name)), [VICTIM]).fetchone()
        assert row is not None
        marks[name] = int(row[0])
    return marks


def overhead(admin: str, app: str) -> dict[str, Any]:
    """Seconds of a read of one tenant's 10,000 rows by policy, and by a hand-written WHERE without one; in turns."""
    with closing(psycopg.connect(admin, autocommit=True)) as owner, closing(psycopg.connect(app)) as reader:
        made = "insert into tenant select 'r-' || n, 'r', 'platform', 1, '2026-01-01' from generate_series(1, %s) n"
        owner.execute(made, [READ_TENANTS])
        owner.execute(
            "insert into sample select 'r-' || t, 'hot', s, timestamptz '2026-01-01' + m * interval '1 second', m "
            "from generate_series(1, %s) t, generate_series(1, 10) s, generate_series(1, %s) m",
            [READ_TENANTS, READ_ROWS // 10],
        )
        owner.execute("analyze sample")
        query = "select series, time, value from sample where {} series between 1 and 10 and retention = 'hot'"
        times: dict[str, list[float]] = {"policy": [], "where": []}
        for turn in range(2 * READS):
            tenant = f"r-{1 + turn * 7 % READ_TENANTS}"
            if turn % 2:
                reader.execute("select set_config('app.tenant', %s, true)", [tenant])
                began = perf_counter()
                rows = reader.execute(query.format("")).fetchall()
                times["policy"].append(perf_counter() - began)
                reader.rollback()
            else:
                began = perf_counter()
                rows = owner.execute(query.format(f"tenant = '{tenant}' and")).fetchall()
                times["where"].append(perf_counter() - began)
            assert len(rows) == READ_ROWS
    best = {name: min(each) for name, each in times.items()}
    return {
        "policy_ms": round(best["policy"] * 1000, 2),
        "where_ms": round(best["where"] * 1000, 2),
        "median_ratio": round(statistics.median(times["policy"]) / statistics.median(times["where"]), 3),
        "ratio": round(best["policy"] / best["where"], 3),
    }


async def bench(folder: Path, attempts: int, seed: int, broken: str | None) -> dict[str, Any]:
    """All attempts, then the price."""
    server = EmbeddedPostgres(folder, secrets.token_urlsafe())
    await asyncio.to_thread(server.start)
    try:
        passwords = RolePasswords(secrets.token_urlsafe(), secrets.token_urlsafe())
        admin = create_database(server.url("postgres"), "tonewatch")
        await asyncio.to_thread(migrate, admin, passwords)
        app = server.url("tonewatch", "tonewatch_app", passwords.app)
        warehouse = Warehouse(app)
        async with warehouse.as_tenant(VICTIM) as db:
            await tenants.add(VICTIM, db, name=VICTIM, profile="platform", at=SYSTEM.now())
        await furnish(warehouse, VICTIM)
        tally = Tally()
        if broken:
            with psycopg.connect(admin) as connection:
                connection.execute(sql.SQL("alter table {} disable row level security").format(sql.Identifier(broken)))
        with closing(psycopg.connect(admin, autocommit=True)) as witness:
            relations = [name for (name,) in witness.execute(RELATIONS).fetchall()]
            before = content(witness, relations)
            await asyncio.to_thread(_statements, admin, tally, attempts, seed)
            async with redis(folder) as cache:
                await names(warehouse, cache, tally)
                await routes(warehouse, cache, tally, seed)
            if content(witness, relations) != before:
                tally.leak("the victim's rows are not what they were")
        if tally.taken < 100:
            tally.leak(f"the routes took only {tally.taken} bodies: nothing was shown")
        patterns(tally)
        await warehouse.close()
        price = {} if broken else await asyncio.to_thread(overhead, admin, app)
    finally:
        await asyncio.to_thread(server.stop)
    return {
        "attempts": dict(tally.attempts),
        "refused": tally.refused,
        "taken": tally.taken,
        "leaks": tally.leaks,
        "overhead": price,
    }


def _statements(admin: str, tally: Tally, attempts: int, seed: int) -> None:
    with closing(psycopg.connect(admin, autocommit=True)) as connection:
        intruder = Intruder(connection, seed)
        tries: list[Callable[[Tally], None]] = [*[intruder.attempt] * 19, intruder.call]
        for number in range(attempts):
            tries[number % 20](tally)
            if number % 10_000 == 9_999:
                say(f"{number + 1:,} attempts, {len(tally.leaks)} leaks")
        say(f"{len(intruder.relations)} relations and {len(intruder.functions)} functions were tried")


def page(document: dict[str, Any]) -> str:
    """The same for people."""
    figures, details = document["figures"], document["details"]
    price = details["overhead"]
    tried = ", ".join(f"{count:,} on a {what}" for what, count in details["attempts"].items())
    return (
        f"# Isolation\n\n{document['machine']}, {document['date']}, seed {document['seed']}. "
        "Made by `make bench NAME=isolation`.\n\n"
        f"{figures['attempts']:,} attempts across tenants ({tried}), **{figures['leaks']} leaks**; "
        f"{details['refused']:,} were refused outright, the others found nothing.\n\n"
        f"A read of 10,000 rows of one tenant among 100: {price.get('policy_ms')} ms by policy, "
        f"{price.get('where_ms')} ms by a hand-written WHERE: {price.get('ratio')} times "
        f"(medians: {price.get('median_ratio')}); at most 1.10 was asked for.\n\n"
        "With `--break finding`, which switches that table's policy off, it is red.\n"
    )


def main() -> int:
    """Run it; 1 if anything leaked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    parser.add_argument("--attempts", type=int, default=ATTEMPTS, help=f"statements (default {ATTEMPTS})")
    parser.add_argument("--seed", type=int, default=1, help="decides what is tried (default 1)")
    parser.add_argument("--break", dest="broken", help="switch this table's policy off first: there must be leaks")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tw-isolation-"))
    folder.chmod(0o755)
    began = monotonic()
    try:
        details = asyncio.run(bench(folder, options.attempts, options.seed, options.broken))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    document = {
        "name": "isolation",
        "figures": {
            "attempts": sum(details["attempts"].values()),
            "leaks": len(details["leaks"]),
            "rls_overhead": details["overhead"].get("ratio"),
        },
        "baselines": {"where_ms": details["overhead"].get("where_ms")},
        "goals": {"attempts": 100_000, "leaks": 0, "rls_overhead": 1.10},
        "details": details | {"leaks": details["leaks"][:50]},
        "data": "one tenant with a row in every table; reads: 10,000 rows of one tenant among 100",
        "seed": options.seed,
    }
    publish(document, monotonic() - began, options.json, page)
    return int(bool(details["leaks"]))


if __name__ == "__main__":
    sys.exit(main())
