"""Questions put to the gateway: 50 a second, whether or not it keeps up, over a past of a hundred tenants.

A gateway process on a real PostgreSQL and a real Redis; 10 M samples, 1,000 incidents with findings, causes, actions,
notices and audit, and a day of listening. Questions come by chance, 50 a second on average (a Poisson process, seeded),
from tenants and to routes by weight. The load is open: each is sent when it is due, on a connection of its own if need
be, and its time counts from when it was due. Baseline of the same run: the commonest question's bare SQL by psycopg.
`make bench NAME=query`; red when the 95th percentile or the errors are too high.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import httpx
import psycopg
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from console.stack import redis
from console.starvation import Sleeper
from tests.benchmarks import _history, _past
from tests.benchmarks._published import publish, say
from tests.integration.pushed import Pushed, pushing, until
from tonewatch.clock import SYSTEM
from warehouse import keys, overview
from warehouse.pages import Page

RATE, SECONDS, WARM_S = 50.0, 60.0, 15.0
SAMPLES, INCIDENTS = 10_000_000, 1000
MUST_MS, MUST_ERRORS = 100.0, 0.001
BARE = 300
TIMEOUT_S = 10.0
#: route, its weight, and what is asked besides.
MIX: tuple[tuple[str, int, str], ...] = (
    ("/v1/incidents", 30, "?limit=50"),
    ("/v1/incidents", 8, "?state=active"),
    ("/v1/incidents", 6, "?limit=200&entity=edge:edge-1"),
    ("/v1/incidents", 6, "NEXT"),
    ("/v1/incidents/{incident}", 20, ""),
    ("/v1/findings", 8, "?limit=100"),
    ("/v1/actions", 7, "?limit=100"),
    ("/v1/audit", 5, "?limit=100"),
    ("/v1/slos", 6, ""),
    ("/v1/listener-minutes", 4, ""),
)


@dataclass
class Asker:
    """One tenant's key, and what it has learned: ids to ask for, and where a page ended."""

    tenant: str
    key: str = field(repr=False)
    incidents: list[str] = field(default_factory=list)
    cursor: str | None = None

    def path(self, route: str, further: str, chance: random.Random) -> str:
        """The address of a question."""
        if further == "NEXT":
            return f"{route}?limit=5" + (f"&cursor={self.cursor}" if self.cursor else "")
        return route.replace("{incident}", chance.choice(self.incidents)) + further


@dataclass
class Answered:
    """What came of the questions. `late`: seconds after it was due that the asker itself sent one, at worst."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: Counter[str] = field(default_factory=Counter)
    late: float = 0.0

    @property
    def all(self) -> list[float]:
        """Every answer's seconds."""
        return [each for route in self.seconds.values() for each in route]


async def ask(client: httpx.AsyncClient, asker: Asker, route: str, path: str, due: float, into: Answered) -> None:
    """One question; an answer other than 200 is an error, and so is none within ten seconds."""
    into.late = max(into.late, perf_counter() - due)
    try:
        answer = await client.get(path, headers={"authorization": f"Bearer {asker.key}"})
        what = "" if answer.status_code == 200 else f"{route}: {answer.status_code} {answer.text[:80]}"
    except httpx.HTTPError as error:
        what, answer = f"{route}: {type(error).__name__}", None
    into.seconds[route].append(perf_counter() - due)
    if what:
        into.failed[what] += 1
    elif answer is not None and "limit=5" in path and route == "/v1/incidents" and "limit=50" not in path:
        asker.cursor = answer.json()["next"]


async def load(
    client: httpx.AsyncClient, askers: Sequence[Asker], rate: float, seconds: float, chance: random.Random
) -> Answered:
    """Questions as they come, by chance, for so long; returns when all are answered."""
    into, weights = Answered(), [1 / number for number in range(1, len(askers) + 1)]
    due, end = perf_counter(), perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        while (due := due + chance.expovariate(rate)) < end:
            await asyncio.sleep(max(0.0, due - perf_counter()))
            route, _, further = chance.choices(MIX, [weight for _, weight, _ in MIX])[0]
            asker = chance.choices(askers, weights)[0]
            group.create_task(ask(client, asker, route, asker.path(route, further, chance), due, into))
    return into


async def askers_of(pushed: Pushed, url: str) -> list[Asker]:
    """A key of each tenant, and the ids that it may ask for."""
    found = []
    for number in range(1, _past.TENANTS + 1):
        tenant = f"tenant-{number}"
        async with pushed.warehouse.as_tenant(tenant) as db:
            key = await keys.create(tenant, db, purpose="bench", scopes=["auditor"], now=SYSTEM.now())
        found.append(Asker(tenant, key))
    with psycopg.connect(url) as owner:
        for asker in found:
            rows = owner.execute("select id from incident where tenant = %s order by id", [asker.tenant]).fetchall()
            asker.incidents = [id_ for (id_,) in rows]
    return found


def bare(url: str, askers: Sequence[Asker], chance: random.Random) -> list[float]:
    """Seconds of the commonest question's SQL as the app, one after the other, without gateway and key."""
    dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy wrote no types for it
    statement = str(overview.NEWEST.compile(dialect=dialect))
    values: dict[str, Any] = {"states": [], "entity": ""} | Page(51).values()
    weights, took = [1 / number for number in range(1, len(askers) + 1)], []
    with psycopg.connect(url) as db:
        for _ in range(BARE):
            asker = chance.choices(askers, weights)[0]
            began = perf_counter()
            with db.transaction():
                db.execute("select set_config('app.tenant', %s, true)", [asker.tenant])
                db.execute(statement, values | {"tenant": asker.tenant}).fetchall()
            took.append(perf_counter() - began)
    return took


@asynccontextmanager
async def with_redis(folder: Path) -> AsyncIterator[str]:
    """The URL of a Redis of our own: the gateway counts each tenant's questions there."""
    folder.mkdir(exist_ok=True)
    listener, password = folder / "redis.sock", "of-the-bench"
    configuration = redis.write_configuration(folder / "redis", listener, password)
    process = await asyncio.create_subprocess_exec(redis.program(), configuration, stdout=asyncio.subprocess.DEVNULL)
    try:
        await until(lambda: redis.answers(listener, password), 30, "Redis answers")
        yield redis.socket_url(listener, password)
    finally:
        process.terminate()
        await process.wait()


def percentile(seconds: Sequence[float], share: float) -> float:
    """In milliseconds; the nearest rank."""
    ranked = sorted(seconds)
    return round(1000 * ranked[min(len(ranked) - 1, int(share * len(ranked)))], 1)


async def bench(samples: int, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Write the past, warm up, ask."""
    chance = random.Random(seed)
    async with pushing(with_redis) as pushed, Sleeper().sleeping() as sleeper:
        url = pushed.postgres.url("tonewatch")
        began = monotonic()
        await asyncio.to_thread(_past.write, url, datetime.now(UTC), samples, INCIDENTS, say)
        say(f"the past was written in {monotonic() - began:.0f} s")
        askers = await askers_of(pushed, url)
        app_url = pushed.settings.database_url
        assert app_url is not None
        assert pushed.gateway is not None
        sql = await asyncio.to_thread(bare, app_url.get_secret_value(), askers, chance)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        async with httpx.AsyncClient(base_url=pushed.gateway_url, limits=limits, timeout=TIMEOUT_S) as client:
            await load(client, askers, rate, min(WARM_S, seconds), chance)
            starved, cpu = sleeper.starved_s, _history.cpu(pushed.gateway.pid)
            found = await load(client, askers, rate, seconds, chance)
        answers = found.all
        return {
            "p50_ms": percentile(answers, 0.5),
            "p95_ms": percentile(answers, 0.95),
            "p99_ms": percentile(answers, 0.99),
            "requests": len(answers),
            "errors": dict(found.failed),
            "error_rate": round(found.failed.total() / len(answers), 5),
            "per_s": round(len(answers) / seconds, 1),
            "routes": {
                route: {"requests": len(took), "p50_ms": percentile(took, 0.5), "p95_ms": percentile(took, 0.95)}
                for route, took in sorted(found.seconds.items())
            },
            "bare_sql_p50_ms": percentile(sql, 0.5),
            "bare_sql_p95_ms": percentile(sql, 0.95),
            "bare_sql_mean_ms": round(1000 * statistics.mean(sql), 2),
            "gateway_cpu_share": round((_history.cpu(pushed.gateway.pid) - cpu) / seconds, 2),
            "starved_s": sleeper.starved_s - starved,
            "asked_late_ms": round(1000 * found.late, 1),
            "load_average": [round(each, 2) for each in os.getloadavg()],
        }


def page(document: dict[str, Any]) -> str:
    """The same for people."""
    details, figures = document["details"], document["figures"]
    lines = [
        "# Query",
        "",
        f"{document['machine']}, {document['date']}, seed {document['seed']}; {document['data']}. Made by "
        "`make bench NAME=query`.",
        "",
        f"{details['requests']:,} questions, {details['per_s']} a second by chance, counted from when each was due: "
        f"**P95 {figures['p95_ms']} ms** (must: below {MUST_MS:.0f}), P50 {figures['p50_ms']} ms, "
        f"P99 {figures['p99_ms']} ms; **errors {figures['error_rate']:.3%}** (must: below {MUST_ERRORS:.1%}).",
        "",
        "| route | questions | P50, ms | P95, ms |",
        "|---|---|---|---|",
    ]
    for route, each in details["routes"].items():
        lines.append(f"| `{route}` | {each['requests']} | {each['p50_ms']} | {each['p95_ms']} |")
    lines += [
        "",
        f"The commonest question's SQL alone, by psycopg, one after the other: P50 {details['bare_sql_p50_ms']} ms, "
        f"P95 {details['bare_sql_p95_ms']} ms. The gateway used {details['gateway_cpu_share']} of a core. Load average "
        f"of the machine at the end: {details['load_average'][0]}; starved seconds: {details['starved_s']:.0f}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run it and tell; 1 when it is too slow or fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    parser.add_argument("--samples", type=int, default=SAMPLES, help=f"in the warehouse (default {SAMPLES})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of asking (default {SECONDS:g})")
    parser.add_argument("--rate", type=float, default=RATE, help=f"questions a second (default {RATE:g})")
    parser.add_argument("--seed", type=int, default=1, help="decides what is asked when (default 1)")
    options = parser.parse_args()
    began = monotonic()
    details = asyncio.run(bench(options.samples, options.rate, options.seconds, options.seed))
    names = ("p95_ms", "error_rate", "p50_ms", "p99_ms")
    document = {
        "name": "query",
        "figures": {name: details[name] for name in names},
        "baselines": {name: details[name] for name in ("bare_sql_p50_ms", "bare_sql_p95_ms", "bare_sql_mean_ms")},
        "goals": {"p95_ms": f"must < {MUST_MS:.0f}", "error_rate": f"must < {MUST_ERRORS}"},
        "details": details,
        "data": f"made: {options.samples:,} samples, {INCIDENTS:,} incidents with their stories, {_past.TENANTS} "
        f"tenants of sizes 1/n, {_past.LISTENERS} listeners each for a day",
        "seed": options.seed,
    }
    publish(document, monotonic() - began, options.json, page)
    return int(details["p95_ms"] >= MUST_MS or details["error_rate"] >= MUST_ERRORS)


if __name__ == "__main__":
    sys.exit(main())
