"""The feature store: its point-in-time join beside Feast's, live windows beside kept ones, what an online read takes.

A million labels get 50 features from a million rows in PostgreSQL, late versions and gaps among them; a join by loops
over the same rows says what is right, bit for bit. The same rows and labels go through Feast's local offline stores, in
an environment that the benchmark makes in a temporary folder: dask, its default, with as many as it can hold, and
duckdb with all. `make bench NAME=features`.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, perf_counter, process_time
from typing import Any

import numpy as np

from console.stack import processes, redis
from console.stack.postgres import EmbeddedPostgres
from console.starvation import Sleeper
from feature_store import offline, online
from feature_store.definitions import Feature, Reading, by_family
from feature_store.recent import Recent
from feature_store.views import View, view
from tasks.materialize import materialize
from tests.benchmarks import _feast, _recording, _stream
from tests.benchmarks._published import publish, say
from tonewatch.clock import SYSTEM, ManualClock, microseconds
from tonewatch.records import Entity
from tonewatch.settings import load_profile
from warehouse import entities, features, samples, tenants
from warehouse.cache import Cache
from warehouse.database import Warehouse
from warehouse.migrate import RolePasswords, create_database, migrate

TENANT = "bench"
WIDTH = 50
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WINDOW = 60_000_000  # microseconds
FEAST = "feast[duckdb]==0.67.*"
FEAST_SECONDS = 1500.0
#: name -> (entities, windows of each, labels)
SHAPES = {"full": (1000, 1000, 1_000_000), "small": (1000, 50, 100_000)}
#: Rounds of a join of which the best counts; reads of a round, and rounds that no starved second spoilt.
JOINS, READS, ROUNDS = 3, 200, 10
READ_ENTITIES = 1000


@dataclass(frozen=True, eq=False)
class Data:
    """Rows of two versions and labels, all in columns."""

    rows: features.FeatureColumns
    created: np.ndarray
    labels: offline.Labels


def made(seed: int, size: tuple[int, int, int]) -> Data:
    """A tenth of the windows is missing, a twentieth has a later version with other numbers."""
    count, windows, labels = size
    chance = np.random.default_rng(seed)
    names = tuple(f"edge:edge-{number:05d}" for number in range(count))
    start = microseconds(NOON)
    places, ends = np.repeat(np.arange(count), windows), start + WINDOW * np.tile(np.arange(1, windows + 1), count)
    kept = chance.random(len(places)) >= 0.1
    late = np.flatnonzero(kept & (chance.random(len(places)) < 0.05))
    rows = np.concatenate([np.flatnonzero(kept), late])
    numbers = chance.normal(size=(len(rows), WIDTH))
    numbers[chance.random(numbers.shape) < 0.01] = np.nan
    created = ends[rows] + 1_000_000
    created[int(kept.sum()) :] += 3_600_000_000
    columns = features.FeatureColumns(names, places[rows], ends[rows], np.ones(len(rows)), numbers)
    moments = start + chance.integers(0, WINDOW * (windows + 1), labels)
    return Data(columns, created, offline.Labels(names, chance.integers(0, count, labels), moments))


def wide(name: str) -> View:
    """A view of 50 features."""
    some = tuple(Feature(f"feature_{n}", name, "1", Reading.MEAN, ("metric",), 1.0) for n in range(WIDTH))
    return View(name, "edge", some, WINDOW / 1e6, 15.0, "bench", _feast.TTL)


def expected(data: Data) -> np.ndarray:
    """Which row each label gets, -1: none; by a loop over labels and a list per entity. (labels,)"""
    lines: dict[int, dict[int, int]] = {}
    for row in np.argsort(data.created, kind="stable").tolist():
        lines.setdefault(int(data.rows.places[row]), {})[int(data.rows.times[row])] = row  # the last created stays
    ends = {place: sorted(line) for place, line in lines.items()}
    reach = round(_feast.TTL.total_seconds() * 1e6)
    found = np.full(len(data.labels), -1)
    labels = zip(data.labels.places.tolist(), data.labels.times.tolist(), strict=True)
    for number, (place, time) in enumerate(labels):
        at = bisect.bisect_right(ends.get(place, []), time) - 1
        if at >= 0 and ends[place][at] > time - reach:
            found[number] = lines[place][ends[place][at]]
    return found


async def load(warehouse: Warehouse, kept: View, data: Data) -> float:
    """Write the rows, versions in the order in which they were made; rows per second."""
    began = perf_counter()
    rows, first = data.rows, int((data.created - data.rows.times == 1_000_000).sum())
    # Each version's rows carry one time of making here; which of two is the later is what counts.
    for start, end, at in ((0, first, NOON), (first, len(rows.times), NOON + timedelta(days=2))):
        for begin in range(start, end, 20_000):
            some = slice(begin, min(begin + 20_000, end))
            part = features.FeatureColumns(
                rows.names, rows.places[some], rows.times[some], rows.coverage[some], rows.numbers[some]
            )
            async with warehouse.as_tenant(TENANT) as db:
                await features.put_view(TENANT, db, kept.stored, NOON)
                await features.put(TENANT, db, kept.id, part, at)
    return len(rows.times) / (perf_counter() - began)


async def ours(warehouse: Warehouse, kept: View, data: Data, sleeper: Sleeper) -> tuple[dict[str, Any], np.ndarray]:
    """Join some times; the best unstarved time, and the numbers."""
    took: list[float] = []
    void = 0
    while len(took) < JOINS and void < 3 * JOINS:
        starved, began = sleeper.starved_s, perf_counter()
        async with warehouse.as_tenant(TENANT) as db:
            joined = await offline.join(TENANT, db, kept, data.labels)
        seconds = perf_counter() - began
        if sleeper.starved_s > starved:
            void += 1
            continue
        took.append(seconds)
    wanted = expected(data)
    right = np.where((wanted >= 0)[:, None], data.rows.numbers[wanted], np.nan)
    assert np.array_equal(joined.values.view("u8"), np.where(np.isnan(right), np.nan, right).view("u8")), "not equal"
    assert np.array_equal(joined.found, wanted >= 0)
    best = min(took, default=seconds)
    return {"seconds": round(best, 2), "rounds": [round(each, 2) for each in took], "void_rounds": void}, joined.values


def environment(folder: Path) -> Path | str:
    """A Python that has Feast, of its own; or why there is none."""
    uv = shutil.which("uv") or shutil.which(".tools/uv/bin/uv") or shutil.which(".tools/bin/uv")
    python = folder / "bin" / "python"
    make = [uv, "venv", "-q", folder] if uv else [sys.executable, "-m", "venv", folder]
    fill = [uv, "pip", "install", "-q", "--python", python] if uv else [python, "-m", "pip", "install", "-q"]
    for command in (make, [*fill, FEAST]):
        told = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=600)
        if told.returncode:
            return f"Feast could not be installed: {(told.stderr.strip().splitlines() or ['no reason given'])[-1]}"
    return python


def theirs(python: Path, folder: Path, store: str, data: Data, numbers: np.ndarray) -> dict[str, Any]:
    """Feast's join of the same rows and labels, in its own process, and how often it answers otherwise."""
    np.savez(
        folder / "rows.npz",
        names=np.array(data.rows.names),
        places=data.rows.places,
        times=data.rows.times,
        created=data.created,
        numbers=data.rows.numbers,
    )
    np.savez(folder / "labels.npz", places=data.labels.places, times=data.labels.times)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TONEWATCH"))}
    try:
        told = subprocess.run(
            [python, _feast.__file__, folder, store],
            env=kept | {"FEAST_USAGE": "False"},
            capture_output=True,
            text=True,
            check=False,
            timeout=FEAST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {FEAST_SECONDS:g} s"}
    if told.returncode:
        return {"failed": (told.stderr.strip().splitlines() or [f"ended with {told.returncode}"])[-1][:200]}
    found = np.load(folder / f"{store}.npz")
    right = numbers[found["number"]]
    alike = ((found["numbers"] == right) | (np.isnan(right) & np.isnan(found["numbers"]))).all(axis=1)
    return {
        "seconds": round(float(found["seconds"]), 2),
        "memory_mib": int(found["memory_mib"]),
        "left_out": len(data.labels) - len(alike),
        "other_numbers": int((~alike).sum()),
    }


async def joins(warehouse: Warehouse, folder: Path, seed: int, sleeper: Sleeper, feast: bool) -> dict[str, Any]:
    """Both shapes; Feast by duckdb with all, by dask with what it can hold."""
    python = await asyncio.to_thread(environment, folder / "feast") if feast else "not asked for"
    told: dict[str, Any] = {"feast": python if isinstance(python, str) else FEAST}
    for shape, store in (("full", "duckdb"), ("small", "dask")):
        data, kept = made(seed, SHAPES[shape]), wide(shape)
        rate = await load(warehouse, kept, data)
        mine, numbers = await ours(warehouse, kept, data, sleeper)
        say(f"{shape}: {len(data.labels):,} labels, {len(data.rows.times):,} rows: {mine['seconds']} s, equal")
        other = {"failed": python} if isinstance(python, str) else {}
        if isinstance(python, Path):
            other = await asyncio.to_thread(theirs, python, folder, store, data, numbers)
        say(f"{shape}: Feast by {store}: {other}")
        told[shape] = {
            "labels": len(data.labels),
            "rows": len(data.rows.times),
            "rows_written_per_s": round(rate),
            "ours": mine,
            "store": store,
            "feast": other,
            "ratio": round(other["seconds"] / mine["seconds"], 1) if "seconds" in other else None,
        }
    return told


async def windows(warehouse: Warehouse, cache: Cache) -> dict[str, Any]:
    """A recorded soundstage: what the live watcher sees of each window, and what is kept of it, bit for bit."""
    profile = load_profile("demo").model_copy(update={"tick_seconds": 10.0})
    stream = _stream.Stream(_recording.load(), 1000, 1.0, NOON)
    recent, seen, rows = Recent(timedelta(seconds=60)), {}, 0
    parts = list(stream.topology.entities.values())
    families = by_family(parts)
    async with warehouse.as_tenant(TENANT) as db:
        await tenants.watch_by(TENANT, db, "demo")
        await entities.replace(TENANT, db, parts, NOON - timedelta(days=1))
    for round_ in range(600):
        read, now = stream.read(round_), stream.time(round_)
        async with warehouse.as_tenant(TENANT) as db:
            await samples.append(TENANT, db, read)
        recent.add(read)
        recent.forget(now)
        if microseconds(now) % round(profile.window_seconds * 1e6) == 0:
            for name, some in families.items():
                seen[name, now] = recent.features(name, [now], profile.window_seconds, entities=some, every=1.0)
    began, now = perf_counter(), stream.time(599) + timedelta(seconds=profile.window_seconds)
    done = await materialize(TENANT, warehouse, cache, ManualClock(now))
    took = perf_counter() - began
    again = sum(each.rows for each in await materialize(TENANT, warehouse, cache, ManualClock(now)))
    for (name, end), frame in seen.items():
        async with warehouse.as_tenant(TENANT) as db:
            kept = await offline.frame(
                TENANT, db, view(name, profile), families[name], end - timedelta(seconds=profile.window_seconds), end
            )
        assert np.array_equal(kept.values.view("u8"), frame.values.view("u8")), (name, end)
        assert np.array_equal(kept.coverage, frame.coverage), (name, end)
        rows += len(kept.ends)
    assert again == 0, again
    return {
        "rows_equal": rows,
        "written": sum(each.rows for each in done),
        "written_by_a_repeat": again,
        "windows_per_s": round(sum(each.windows for each in done) / took),
        "contract_breaches": sum(len(each.broken) for each in done),
    }


async def reads(warehouse: Warehouse, cache: Cache, sleeper: Sleeper) -> dict[str, Any]:
    """Reads of a thousand entities, from the cache and from the warehouse; milliseconds."""
    kept, now = view("edge", load_profile("demo")), NOON + timedelta(minutes=1)
    names = tuple(f"edge:online-{number:04d}" for number in range(READ_ENTITIES))
    count = len(names)
    columns = features.FeatureColumns(
        names, np.arange(count), np.full(count, microseconds(NOON)), np.ones(count), np.ones((count, 8))
    )
    async with warehouse.as_tenant(TENANT) as db:
        await entities.save(TENANT, db, [Entity(name, "edge") for name in names], NOON - timedelta(days=1))
        await features.put_view(TENANT, db, kept.stored, NOON)
        await features.put(TENANT, db, kept.id, columns, NOON)
    await online.rebuild(TENANT, warehouse, cache, kept, now)
    told: dict[str, Any] = {}
    for source, used in (("cache", cache), ("warehouse", Cache(None))):
        took: list[float] = []
        spent: list[float] = []
        void = 0
        while len(took) < READS * ROUNDS and void < 3 * ROUNDS:
            starved, some = sleeper.starved_s, []
            for _ in range(READS):
                began, busy = perf_counter(), process_time()
                served = await online.read(TENANT, warehouse, used, kept, names, now)
                some.append(1000 * (perf_counter() - began))
                spent.append(1000 * (process_time() - busy))
                assert served.source == source, served.note
            assert np.array_equal(served.values, columns.numbers)
            void, took = (void + 1, took) if sleeper.starved_s > starved else (void, took + some)
        p50, p99 = np.percentile(took or some, (50, 99))
        cpu = round(float(np.percentile(spent, 99)), 2)
        told[source] = {"p50_ms": round(p50, 2), "p99_ms": round(p99, 2), "cpu_p99_ms": cpu}
        told[source] |= {"reads": len(took), "void_rounds": void}
        say(f"online, {READ_ENTITIES} entities by {source}: P50 {p50:.2f} ms, P99 {p99:.2f} ms")
    return told


@asynccontextmanager
async def servers(folder: Path) -> AsyncIterator[tuple[Warehouse, Cache]]:
    """A PostgreSQL and a Redis of the benchmark's own."""
    postgres, passwords = EmbeddedPostgres(folder, secrets.token_urlsafe()), RolePasswords("app", "dispatcher")
    socket = folder / "redis" / "redis.sock"
    socket.parent.mkdir()
    await asyncio.to_thread(postgres.start)
    process = processes.spawn(
        [redis.program(), redis.write_configuration(socket.parent, socket, "word")],
        environment={},
        log=folder / "redis.log",
        folder=socket.parent,
    )
    try:
        await asyncio.to_thread(migrate, create_database(postgres.url("postgres"), "tonewatch"), passwords)
        warehouse = Warehouse(postgres.url("tonewatch", "tonewatch_app", passwords.app))
        cache = Cache(redis.socket_url(socket, "word"), SYSTEM)
        async with warehouse.as_tenant(TENANT) as db:
            await tenants.add(TENANT, db, name=TENANT, profile="demo", at=NOON)
        yield warehouse, cache
        await cache.close()
        await warehouse.close()
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        await asyncio.to_thread(postgres.stop)


async def bench(seed: int, feast: bool) -> dict[str, Any]:
    """Everything, one after the other."""
    # Not under root's own folders: PostgreSQL runs as another user there.
    folder = Path(tempfile.mkdtemp(prefix="tonewatch-bench-"))
    folder.chmod(0o711)
    try:
        async with servers(folder) as (warehouse, cache), Sleeper().sleeping() as sleeper:
            told = {
                "windows": await windows(warehouse, cache),
                "online": await reads(warehouse, cache, sleeper),
                "join": await joins(warehouse, folder, seed, sleeper, feast),
            }
            return told | {"starved_s": sleeper.starved_s, "load": round(os.getloadavg()[0], 2)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def page(document: dict[str, Any]) -> str:
    """The same for people."""
    told = document["details"]
    lines = [
        "# Features",
        "",
        f"{document['machine']}, {document['date']}, seed {document['seed']}; {document['data']}. Made by "
        "`make bench NAME=features`.",
        "",
        "| labels | rows | ours, s | Feast by | s | memory, MiB | times as long | labels left out | other numbers |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for shape in ("full", "small"):
        each = told["join"][shape]
        other = each["feast"]
        lines.append(
            f"| {each['labels']:,} | {each['rows']:,} | {each['ours']['seconds']} | {each['store']} | "
            f"{other.get('seconds', other.get('failed'))} | {other.get('memory_mib', '')} | {each['ratio'] or ''} | "
            f"{other.get('left_out', '')} | {other.get('other_numbers', '')} |"
        )
    by = told["online"]
    live = told["windows"]
    lines += [
        "",
        f"Each label has {WIDTH} features. Our answers equal, bit for bit, those of a join by loops over the same rows "
        "(*must*). Feast's dask store, its default, joins all rows of an entity to each of its labels before it "
        "chooses: the million was not tried with it, it would be some two hundred times as many pairs as here. It "
        "leaves out labels without a row within the time-to-live, and of a window's two versions it often gives the "
        "older one; duckdb does neither.",
        "",
        f"Live and kept windows: {live['rows_equal']:,} rows of a recorded soundstage, copied to 1,000 series, are "
        f"equal bit for bit (*must*). A second run wrote {live['written_by_a_repeat']} rows. Windows a second: "
        f"{live['windows_per_s']:,}. Breaches of contract: {live['contract_breaches']}.",
        "",
        f"Online, {READ_ENTITIES:,} entities: from Redis **P99 {by['cache']['p99_ms']} ms** (must: below 10), P50 "
        f"{by['cache']['p50_ms']} ms, P99 of the reader's own CPU {by['cache']['cpu_p99_ms']} ms. With Redis away, "
        f"from PostgreSQL, P99 {by['warehouse']['p99_ms']} ms. Load average of the machine at the end: "
        f"{told['load']}; starved seconds: {told['starved_s']:g}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run it and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without-feast", action="store_true", help="install nothing; the ratios stay empty")
    options = parser.parse_args()
    began = monotonic()
    told = asyncio.run(bench(options.seed, not options.without_feast))
    joined = told["join"]
    document = {
        "name": "features",
        "figures": {
            "join_ratio_feast": joined["small"]["ratio"],
            "join_ratio_feast_duckdb": joined["full"]["ratio"],
            "join_s": joined["full"]["ours"]["seconds"],
            "online_p99_ms": told["online"]["cache"]["p99_ms"],
            "windows_equal": told["windows"]["rows_equal"],
        },
        "baselines": {f"feast_{joined[shape]['store']}": joined[shape]["feast"] for shape in ("small", "full")},
        "goals": {"join_ratio_feast": "goal 10", "online_p99_ms": "must 10", "windows_equal": "must: all"},
        "details": told,
        "data": "made: windows a minute long, a tenth missing, a twentieth corrected later; labels at random moments",
        "seed": options.seed,
    }
    publish(document, monotonic() - began, options.json, page)


if __name__ == "__main__":
    main()
