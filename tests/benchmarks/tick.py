"""What a tick costs: time and memory per series at 1,000, 10,000 and 100,000 series, and Prefect's share of it.

Real telemetry of a soundstage, recorded and copied under new names, goes through flows.detection.tick on a real
PostgreSQL, with champions that learned from the same platform. Everything runs on one core, the database included.
A run is `TICKS` ticks in steady state; a run in which a sleeper woke late is void. Beside each run the same samples
go by a bare COPY into a table without keys. `make bench NAME=tick`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import secrets
import shutil
import sys
import tempfile
import time
import tracemalloc
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from console.stack.postgres import SERVER_SETTINGS, EmbeddedPostgres
from console.starvation import Sleeper
from feature_store.definitions import by_family, floors, names
from feature_store.windows import FeatureFrame, window_features
from flows import detection
from flows import ticks as ticking
from flows.detection import Batch, DetectionState
from ml.champion import Champion
from ml.detectors.isolation_forest import ForestDetector
from policy import rules
from tasks import detect as detecting
from tasks.check import check
from tasks.detect import HORIZON
from tasks.follow import Follower
from tasks.tell import Teller
from tasks.train import Stretch, judged
from tests.benchmarks import _history
from tests.benchmarks._published import say
from tests.benchmarks._recording import FILE, Recording, load, record, save
from tests.benchmarks._stream import Stream, entities
from tonewatch.records import Sample
from tonewatch.settings import Profile, load_profile
from warehouse import entities as known
from warehouse import samples, tenants
from warehouse.database import Warehouse
from warehouse.migrate import RolePasswords, create_database, migrate

TENANT = "bench"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SIZES = (1_000, 10_000, 100_000)
PROFILES = {"default": "platform", "demo": "demo"}
#: Ticks of a run, and runs of which the best counts.
TICKS, RUNS = 3, 5
#: Copies and rounds of the platform that the champions learn from.
TAUGHT_COPIES, TAUGHT_ROUNDS = 6, 240
TICKS_PER_DAY = 86_400 / 15


@dataclass
class Split:
    """Seconds by part of a tick."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    cpu: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count what happens inside as `part`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - began

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its time counted; what it yields is drawn out of it."""

        def call(*args: Any, **named: Any) -> Any:
            with self.of(part):
                found = function(*args, **named)
                return list(found) if isinstance(found, Iterator) else found

        return call

    def awaited(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same for a coroutine."""

        async def call(*args: Any, **named: Any) -> Any:
            with self.of(part):
                return await function(*args, **named)

        return call


@contextmanager
def measured(split: Split, state: DetectionState) -> Iterator[None]:
    """Time the parts of the ticks inside: the functions themselves run, a watch beside each."""
    places: list[tuple[Any, str, Callable[..., Any]]] = [
        (ticking, "check", split.timed("check", check)),
        (rules, "evaluate", split.timed("rules", rules.evaluate)),
        (detecting, "anomalies", split.timed("features_scoring", detecting.anomalies)),
        (Teller, "tick", split.timed("series", Teller.tick)),
        (samples, "append", split.awaited("append", samples.append)),
        (type(state.recent), "add", split.timed("recent_add", type(state.recent).add)),
    ]
    before = [(where, name, getattr(where, name)) for where, name, _ in places]
    for where, name, watched in places:
        setattr(where, name, watched)
    try:
        yield
    finally:
        for where, name, original in before:
            setattr(where, name, original)


@dataclass
class Database:
    """The real PostgreSQL of this benchmark."""

    server: EmbeddedPostgres
    admin_url: str
    warehouse: Warehouse

    def cpu(self) -> float:
        """Seconds of CPU that the server and its processes have used, those that have ended included."""
        assert self.server.process is not None
        parent = self.server.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return _history.cpu(parent) + sum(_history.cpu(int(pid)) for pid in children)

    def asked(self, query: str) -> Any:
        """One value."""
        with psycopg.connect(self.admin_url, autocommit=True) as db:
            found = db.execute(query).fetchone()
        assert found is not None
        return found[0]


@asynccontextmanager
async def database(server: EmbeddedPostgres, name: str) -> AsyncIterator[Database]:
    """A migrated warehouse with one tenant."""
    passwords = RolePasswords(app=secrets.token_urlsafe(), dispatcher=secrets.token_urlsafe())
    admin_url = create_database(server.url("postgres"), name)
    await asyncio.to_thread(migrate, admin_url, passwords)
    warehouse = Warehouse(server.url(name, "tonewatch_app", passwords.app))
    async with warehouse.as_tenant(TENANT) as db:
        await tenants.add(TENANT, db, name=TENANT, profile="platform", at=START)
    yield Database(server, admin_url, warehouse)
    await warehouse.close()
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


def champions(recording: Recording, profile: Profile) -> dict[str, Champion]:
    """Each family's champion: a forest that learned from copies of the platform, and the highest score it then saw."""
    stream = Stream(recording, TAUGHT_COPIES * len(recording.lines), profile.scrape_seconds, START)
    taught = [sample for round_ in range(TAUGHT_ROUNDS) for sample in stream.read(round_)]
    stretch = Stretch(TENANT, START, stream.time(TAUGHT_ROUNDS - 1), profile)
    found = {}
    for family, members in by_family(entities(stream)).items():
        learned, held_out = (
            _frame(family, taught, stretch.ends(*half), profile, members)
            for half in ((stretch.start, stretch.middle), (stretch.middle, stretch.end))
        )
        detector = ForestDetector(names(family), floors(family), seed=1)
        detector.fit(learned.values[judged(detector, learned)])
        highest = float(detector.score(held_out.values[judged(detector, held_out)]).max())
        detector.version = "1"
        found[family] = Champion(family, detector, highest, rate=0.05)
    return found


def _frame(family: str, taught: list[Sample], ends: list[datetime], profile: Profile, members: Any) -> FeatureFrame:
    return window_features(family, taught, ends, profile.window_seconds, entities=members, every=profile.scrape_seconds)


async def ticks(
    recording: Recording, series: int, profile: Profile, taught: Mapping[str, Champion], store: Database
) -> dict[str, Any]:
    """Fill the memory, then measure `RUNS` unstarved runs of `TICKS` ticks."""
    stream = Stream(recording, series, profile.scrape_seconds, START)
    state = DetectionState(champions=dict(taught), teller=Teller(Follower(profile.followed_series)))
    per_tick = max(1, round(profile.tick_seconds / profile.scrape_seconds))
    filling = int(HORIZON.total_seconds() / profile.tick_seconds) + 3
    async with store.warehouse.as_tenant(TENANT) as db:
        await known.save(TENANT, db, entities(stream), START)
    clock = _Ticker(stream, state, per_tick, profile, store)
    for number in range(filling):
        await clock.tick(None)
        if number % 10 == 9:
            say(f"{series} series, {profile.tick_seconds:g} s ticks: filled {number + 1} of {filling} ticks")
    runs: list[dict[str, Any]] = []
    void = 0
    async with Sleeper().sleeping() as sleeper:
        while len(runs) < RUNS and void < 3 * RUNS:
            starved = sleeper.starved_s
            run = await clock.run()
            if sleeper.starved_s > starved:
                void += 1
                continue
            runs.append(run)
            say(f"{series} series, {profile.tick_seconds:g} s ticks: {run['s']:.3f} s per tick ({len(runs)} of {RUNS})")
    return summary(runs, void, clock) | {"all_notable": await worst(clock)}


async def worst(clock: _Ticker) -> dict[str, float]:
    """A run in which every window holds something notable, as when everything fails at once: forests score all."""
    calm, detecting.NOTABLE = detecting.NOTABLE, 0.0
    try:
        run = await clock.run()
    finally:
        detecting.NOTABLE = calm
    return {name: round(run[name], 5) for name in ("s", "cpu_s", "features_scoring")}


class _Ticker:
    """Drives ticks one after the other on the stream's own time."""

    def __init__(self, stream: Stream, state: DetectionState, per_tick: int, profile: Profile, store: Database) -> None:
        self.stream, self.state, self.per_tick = stream, state, per_tick
        self.profile, self.store = profile, store
        self.round = 0
        self.findings = self.taken = 0

    async def tick(self, split: Split | None) -> tuple[float, float]:
        """One tick; its seconds, and those of a bare COPY of the same samples."""
        batch = self._batch()
        self.taken = len(batch.samples)
        database, cpu, began = self.store.cpu(), time.process_time(), time.perf_counter()
        found = await detection.tick(
            TENANT, self.store.warehouse, self.state, batch, self.stream.topology, self.profile
        )
        took = time.perf_counter() - began
        if split is not None:
            split.cpu["watcher_cpu_s"] += time.process_time() - cpu
            split.cpu["database_cpu_s"] += self.store.cpu() - database
        self.findings += len(found)
        return took, _bare_copy(self.store.admin_url, batch.samples) if split is not None else 0.0

    async def run(self) -> dict[str, Any]:
        """`TICKS` ticks, each figure the mean of one."""
        split, took, bare = Split(), 0.0, 0.0
        with measured(split, self.state):
            for _ in range(TICKS):
                one, copied = await self.tick(split)
                took, bare = took + one, bare + copied
        parts = {name: seconds / TICKS for name, seconds in split.seconds.items()}
        cpu = {name: seconds / TICKS for name, seconds in split.cpu.items()}
        return {
            "s": took / TICKS,
            "cpu_s": sum(cpu.values()),
            **cpu,
            "bare_copy_s": bare / TICKS,
            **parts,
            "findings_cursor_rest": took / TICKS - sum(parts.values()),
        }

    def _batch(self) -> Batch:
        began = self.stream.time(self.round - 1)
        rounds = range(self.round, self.round + self.per_tick)
        taken = [sample for round_ in rounds for sample in self.stream.read(round_)]
        self.round += self.per_tick
        return Batch(taken, (began, self.stream.time(self.round - 1)), {"arrival": 0, "logs": {}})


def _bare_copy(url: str, taken: list[Sample]) -> float:
    """Seconds of a COPY of the same samples into a plain table without keys, committed; numbering them is not timed."""
    numbers = [(hash(sample.series) & 0x7FFFFFFF, sample.time, sample.value) for sample in taken]
    with psycopg.connect(url) as db, db.cursor() as cursor:
        cursor.execute("create table if not exists bare (series bigint, time timestamptz, value double precision)")
        db.commit()
        rows = b"".join(_row(*each) for each in numbers)
        began = time.perf_counter()
        with cursor.copy("copy bare from stdin") as copy:
            copy.write(rows)
        db.commit()
        return time.perf_counter() - began


def _row(number: int, at: datetime, value: float) -> bytes:
    return f"{number}\t{at.isoformat()}\t{value!r}\n".encode()


def summary(runs: list[dict[str, Any]], void: int, clock: _Ticker) -> dict[str, Any]:
    """The best run, all runs' seconds, and what was tried."""
    if not runs:
        raise SystemExit("every run was starved: try again on a machine with less else to do")
    best = min(runs, key=lambda run: run["s"])
    return {
        **{name: round(value, 5) for name, value in best.items()},
        "times_bare_copy": round(best["s"] / best["bare_copy_s"], 2),
        "runs_s": [round(run["s"], 4) for run in runs],
        "runs_cpu_s": [round(run["cpu_s"], 4) for run in runs],
        "void_runs": void,
        "samples_per_tick": clock.taken,
        "entities": len(clock.stream.topology.entities),
        "findings": clock.findings,
    }


def memory(recording: Recording, profile: Profile) -> dict[str, float]:
    """Bytes that a series takes in the watcher's memory once it is full, by tracemalloc: 10,000 series."""
    series = SIZES[1]
    gc.collect()
    tracemalloc.start()
    shape = Stream(recording, series, profile.scrape_seconds, START)
    empty = tracemalloc.get_traced_memory()[0]
    state = DetectionState()
    rounds = int((HORIZON.total_seconds() + 3 * profile.tick_seconds) / profile.scrape_seconds)
    for round_ in range(rounds):
        state.recent.add(shape.read(round_))
        state.recent.forget(shape.time(round_))
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - empty
    tracemalloc.stop()
    return {"bytes_per_series": round(held / series), "samples_per_series": rounds}


async def quiet_day(recording: Recording, store: Database, clock_ticks: int = 20) -> dict[str, float]:
    """What a quiet day writes: rows and bytes of 1,000 series' ticks, on disk and in the write-ahead log."""
    profile = load_profile(PROFILES["default"])
    stream = Stream(recording, SIZES[0], profile.scrape_seconds, START)
    clock = _Ticker(stream, DetectionState(), 1, profile, store)
    for _ in range(clock_ticks):
        await clock.tick(None)
    size, log = (store.asked(query) for query in (SIZE, LOG))
    rows = 0
    for _ in range(4 * clock_ticks):
        await clock.tick(None)
        rows += clock.taken
    grown, logged = store.asked(SIZE) - size, store.asked(LOG) - log
    share = TICKS_PER_DAY / (4 * clock_ticks)
    return {
        "rows_per_series": round(rows * share / SIZES[0]),
        "disk_bytes_per_row": round(grown / rows, 1),
        "wal_bytes_per_row": round(logged / rows, 1),
        "disk_mb_per_1000_series": round(grown * share / 1e6, 1),
        "wal_mb_per_1000_series": round(logged * share / 1e6, 1),
    }


SIZE = "select sum(pg_total_relation_size(oid))::bigint from pg_class where relkind = 'r' and relname like 'sample%'"
LOG = "select (pg_current_wal_lsn() - '0/0')::bigint"


async def bench(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures that the options ask for."""
    recording = load(Path(options.data) / FILE.name if options.data else FILE)
    if options.buffers:
        SERVER_SETTINGS.update(shared_buffers=options.buffers, max_wal_size="4GB")
    server = EmbeddedPostgres(folder, secrets.token_urlsafe())
    await asyncio.to_thread(server.start)
    figures: dict[str, Any] = {
        "data": recording.about,
        "buffers": options.buffers,
        "recorded_series": len(recording.lines),
        "profiles": {},
    }
    try:
        for name in options.profiles if options.only != "history" else ():
            figures["profiles"][name] = await _profile(options, recording, name, server)
        if options.only != "tick":
            async with database(server, "quiet") as store:
                figures["quiet_day"] = await quiet_day(recording, store)
            figures["prefect"] = await _history.measure(server, folder, options.shifts, say)
    finally:
        await asyncio.to_thread(server.stop)
    return figures


async def _profile(
    options: argparse.Namespace, recording: Recording, name: str, server: EmbeddedPostgres
) -> dict[str, Any]:
    profile = load_profile(PROFILES[name])
    found: dict[str, Any] = memory(recording, profile)
    say(f"{name}: {found['bytes_per_series']} bytes per series")
    taught = champions(recording, profile)
    say(f"{name}: champions of {', '.join(taught)} have learned")
    for series in options.series:
        if name == "demo" and series > options.demo_most:
            continue
        async with database(server, f"tick_{name}_{series}") as store:
            found[f"at_{series}"] = await ticks(recording, series, profile, taught, store)
    return found


def result(figures: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The figures under the names of the contract, then everything."""
    default = figures["profiles"].get("default", {})
    keys: dict[str, Any] = {
        f"s_at_{series}": default[f"at_{series}"]["s"] for series in SIZES if f"at_{series}" in default
    }
    keys["bytes_per_series"] = default.get("bytes_per_series")
    prefect, tick = figures.get("prefect"), default.get("at_10000")
    if prefect:
        keys["run_history_mb_per_day"] = prefect["run_history_mb_per_day"]
    if prefect and tick:
        # Of all CPU that watching 10,000 series takes: Prefect's server, idle most of the time, and the recorder.
        keys["prefect_share"] = round(prefect["cpu_s_per_tick"] / (prefect["cpu_s_per_tick"] + tick["cpu_s"]), 3)
        busy = prefect["cpu_s_per_tick_without_idle"]
        prefect["share_without_idle"] = round(busy / (busy + tick["cpu_s"]), 3)
    return {
        "name": "tick",
        "figures": keys,
        "details": figures,
        "machine": f"{platform.machine()}, one core of {os.cpu_count()}, Python {platform.python_version()}",
        "seconds": round(seconds),
    }


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--data", default=os.environ.get("DATA"), help=f"a folder with another {FILE.name}")
    parser.add_argument("--series", type=int, nargs="+", default=list(SIZES), help="how many series")
    parser.add_argument("--profiles", nargs="+", choices=list(PROFILES), default=list(PROFILES))
    parser.add_argument("--demo-most", type=int, default=SIZES[1], help="the most series tried at the demo's rates")
    parser.add_argument("--only", choices=["tick", "history"], help="the ticks alone, or Prefect and the quiet day")
    parser.add_argument("--shifts", type=int, default=60, help="shifts recorded in a real Prefect")
    parser.add_argument("--buffers", metavar="SIZE", help="shared_buffers of the database, where not the product's")
    parser.add_argument("--record", type=float, metavar="SECONDS", help=f"record a soundstage anew into {FILE.name}")
    return parser.parse_args()


def main() -> None:
    """Run it on one core."""
    options = arguments()
    if options.record:
        save(asyncio.run(record(options.record)), FILE)
        return
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    folder = Path(tempfile.mkdtemp(prefix="tonewatch-bench-"))
    folder.chmod(0o711)
    began = time.monotonic()
    try:
        figures = asyncio.run(bench(options, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    told = json.dumps(result(figures, time.monotonic() - began), indent=2)
    if options.json:
        options.json.write_text(told + "\n", encoding="utf-8")
    sys.stdout.write(told + "\n")


if __name__ == "__main__":
    main()
