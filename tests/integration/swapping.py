"""A watcher that ticks under load in a process of its own while its champions change, and what its ticks must tell.

The platform is made: which samples a tick brings follows from its number, so that a watcher that was killed goes on,
and each of the two models can be asked alone what it would have told. The ticks, the fetching, PostgreSQL and MLflow
are real.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import text

from feature_store.recent import Recent
from flows.detection import restore, tick
from flows.ticks import Batch, DetectionState
from ml import artefacts, registry
from ml.champion import Champion
from tasks.detect import HORIZON, anomalies
from tasks.fetch import Bench
from tests.integration.promoting import version
from tests.integration.servers import Mlflow, end, start_again
from tests.unit.transcoders import NOON, USUAL
from tonewatch.records import Entity, Sample, Series, SeriesKind
from tonewatch.settings import load_profile
from tonewatch.topology import Topology
from warehouse import calibrations, cursors
from warehouse import samples as kept_samples
from warehouse.calibrations import Calibrated, Source, model_version
from warehouse.database import Warehouse

FINDINGS = text(
    "select entity, ended, score, model_version from finding where tenant = :tenant and model_version <> ''"
)
FAMILY = "transcode"
PROFILE = load_profile("demo")
STEP = timedelta(seconds=PROFILE.tick_seconds)
#: The watcher tells its ticks as one series; its value is the tick's number.
NUMBER = Series("host:swap", "tick_number")
THRESHOLD = 0.6
#: A part lags for so many ticks, and is well for twice as many.
SPELL = 8
#: The file in which the watcher says what each tick told.
TOLD = "told.jsonl"


@dataclass(frozen=True, slots=True)
class Site:
    """Where everything is, in words that another process can be given. pace: seconds from tick to tick, at least."""

    tenant: str
    app_url: str
    mlflow_url: str
    folder: Path
    parts: int
    pace: float

    def entities(self) -> list[str]:
        """The parts, which are all of the one family."""
        return [f"component:transcoder-{number}" for number in range(self.parts)]

    def topology(self) -> Topology:
        """The parts side by side."""
        return Topology([Entity(part, FAMILY) for part in self.entities()])

    @property
    def downloads(self) -> Path:
        """Where the watcher's downloads go."""
        return self.folder / "tmp"


def at(number: int) -> datetime:
    """When the tick ends."""
    return NOON + number * STEP


def samples(site: Site, number: int) -> Iterator[Sample]:
    """What the tick brings: a sample a second of each metric of each part, and its own number."""
    yield Sample(NUMBER, at(number), float(number))
    first = number * int(STEP.total_seconds())
    for place, part in enumerate(site.entities()):
        chance = np.random.default_rng([7, number, place])
        ill = (number // SPELL + place) % 3 == 0
        for metric, (level, spread) in USUAL.items():
            noise = chance.uniform(-1.0, 1.0, int(STEP.total_seconds()))
            counter = metric.endswith("_total")
            series = Series(part, metric, kind=SeriesKind.COUNTER if counter else SeriesKind.GAUGE)
            for step, odd in enumerate(noise):
                second = first + step + 1
                value = level * second + odd * spread / 2 if counter else abs(level + spread * odd)
                late = 3.0 if ill and metric == "transcode_lag_seconds" else 0.0
                moment = at(number - 1) + timedelta(seconds=step + 1)
                yield Sample(series, moment, float(value + late))


def live(site: Site) -> None:
    """Watch until killed; to be run in a process of its own."""
    site.downloads.mkdir(exist_ok=True)
    tempfile.tempdir = str(site.downloads)
    asyncio.run(_live(site))


async def _live(site: Site) -> None:
    warehouse = Warehouse(site.app_url)
    state = DetectionState(live=True)
    async with warehouse.as_tenant(site.tenant) as db:
        cursor = await _cursor(site.tenant, db)
    await restore(site.tenant, warehouse, state, at(cursor))
    async with asyncio.TaskGroup() as group:
        group.create_task(_fetch(site, warehouse, state))
        group.create_task(_tick(site, warehouse, state, cursor + 1))


async def _cursor(tenant: str, db: Any) -> int:
    return int((await cursors.get(tenant, db, "detection") or {}).get("number", 0))


async def _fetch(site: Site, warehouse: Warehouse, state: DetectionState) -> None:
    """As the watcher does (console/watch.py), thirty times as often."""
    bench = Bench(site.tenant, site.mlflow_url)
    while True:
        async with warehouse.as_tenant(site.tenant) as db:
            mine = await calibrations.newest(site.tenant, db)
        try:
            state.champions = await asyncio.to_thread(bench.champions, mine, ())
        except Exception as error:  # noqa: BLE001 - as the watcher's loops, which go on whatever happens
            (site.folder / "fetch.log").open("a").write(f"{error}\n")
        await asyncio.sleep(0.3)  # the watcher's pause, shortened


async def _tick(site: Site, warehouse: Warehouse, state: DetectionState, number: int) -> None:
    topology = site.topology()
    with (site.folder / TOLD).open("a", buffering=1) as told:
        while True:
            began = time.monotonic()
            batch = Batch(list(samples(site, number)), (at(number - 1), at(number)), {"number": number})
            await tick(site.tenant, warehouse, state, batch, topology, PROFILE)
            told.write(json.dumps(_said(state, number)) + "\n")
            number += 1
            await asyncio.sleep(max(0.0, site.pace - (time.monotonic() - began)))


def _said(state: DetectionState, number: int) -> dict[str, Any]:
    """What the tick told by models: entity -> (version, score)."""
    held = {c.entity: (c.model_version, c.score) for c in state.conditions.values() if c.model_version}
    return {"tick": number, "told": held, "at": time.monotonic(), "pid": os.getpid()}


Scores = Mapping[tuple[int, str], float]


def alone(site: Site, champion: Champion, ticks: int) -> Scores:
    """What the version tells in each of so many ticks if nothing disturbs it: (tick, entity) -> score."""
    recent, topology, found = Recent(HORIZON), site.topology(), {}
    for number in range(1, ticks + 1):
        recent.add(list(samples(site, number)))
        recent.forget(at(number))
        for each in anomalies(recent, {FAMILY: champion}, topology, at(number), PROFILE):
            found[number, each.entity] = each.score
    return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ticks show. scores: that they told; half_loaded: of them those that no whole version gives, bit for bit,
    and those that a version gives and its tick lacks; mixed: ticks that were judged by both; swaps: seen between two
    ticks; unjudged: ticks that no model judged, of those in which either tells something: a watcher that has just
    started asks who is champion first; longest_s: between two ticks of a process.
    """

    ticks: int
    scores: int
    half_loaded: int
    mixed: int
    swaps: int
    unjudged: int
    longest_s: float


def verdict(lines: Sequence[Mapping[str, Any]], whole: Mapping[str, Scores]) -> Verdict:
    """Hold every tick against what its version gives alone. whole: version, as findings call it -> what it gives."""
    due = {version: _by_tick(scores) for version, scores in whole.items()}
    scores = wrong = mixed = unjudged = 0
    judging: list[str] = []
    for line in lines:
        told = {entity: (version, score) for entity, (version, score) in line["told"].items()}
        versions = sorted({version for version, _ in told.values()})
        mixed += len(versions) > 1
        scores += len(told)
        wrong += sum(due.get(v, {}).get(line["tick"], {}).get(entity) != score for entity, (v, score) in told.items())
        wrong += sum(len(due.get(version, {}).get(line["tick"], {}).keys() - told.keys()) for version in versions)
        unjudged += not told and all(line["tick"] in each for each in due.values())
        judging += versions
    swaps = sum(one != other for one, other in pairwise(judging))
    gaps = [b["at"] - a["at"] for a, b in pairwise(lines) if a["pid"] == b["pid"]]
    return Verdict(len(lines), scores, wrong, mixed, swaps, unjudged, max(gaps, default=math.nan))


def _by_tick(scores: Scores) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for (number, entity), score in scores.items():
        found.setdefault(number, {})[entity] = score
    return found


def read(site: Site) -> list[dict[str, Any]]:
    """What the watcher has said so far; a line that is being written is none yet."""
    path = site.folder / TOLD
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@dataclass(slots=True)
class Drill:
    """Moves the alias to and fro under a watcher that ticks, and kills what is in the middle of something.

    versions: the two, as the registry has them; nursery: forks from a process that has imported everything.
    """

    site: Site
    server: Mlflow
    versions: tuple[str, str]
    nursery: ForkServerContext
    moved: int = 0
    killed: list[float] = field(default_factory=list)
    in_download: int = 0
    servers_killed: int = 0
    _watcher: ForkServerProcess | None = None
    _left: set[str] = field(default_factory=set)

    def start(self) -> None:
        """Start the watcher, or its heir."""
        self._watcher = self.nursery.Process(target=live, args=(self.site,))
        self._watcher.start()

    def swap(self) -> str:
        """Make the other one champion."""
        self.moved += 1
        version = self.versions[self.moved % 2]
        registry.promote(self.server.url, FAMILY, version)
        return version

    def swap_and_see(self) -> None:
        """Make the other one champion, and wait until a tick was judged by it."""
        version = model_version(FAMILY, self.swap())
        since = len(read(self.site))
        wait(lambda: any(version == v for line in read(self.site)[since:] for v, _ in line["told"].values()), version)

    def swap_unseen(self, times: int, pause: float) -> None:
        """Move the alias so many times, faster than a watcher can follow."""
        for _ in range(times):
            self.swap()
            time.sleep(pause)  # the pace of the moves is what is measured

    def kill_after(self, seconds: float) -> None:
        """Make the other one champion, kill the watcher so long after, and start its heir."""
        self.swap()
        time.sleep(seconds)  # the moment of the kill is what is measured
        self._kill(seconds)

    def kill_in_download(self) -> None:
        """The same, as soon as a download is under way."""
        self._kill(round(self._swap_into_download(), 3))

    def kill_server_in_download(self, ticks: int) -> None:
        """Kill MLflow in the middle of a download; the watcher ticks on, so long; then MLflow is started again."""
        self.swap_and_see()
        self._swap_into_download()
        end(self.server.process)
        self.servers_killed += 1
        since = len(read(self.site))
        wait(lambda: len(read(self.site)) >= since + ticks, "it ticks on")
        start_again(self.server)

    def stop(self) -> None:
        """End it for good."""
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.join()

    def _swap_into_download(self) -> float:
        """Make the other one champion until a download is under way that was caught; seconds since the last move.

        On a machine that is busy one may begin and end between two looks.
        """
        wait(lambda: not self._folders(), "no download is under way")
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            began = time.monotonic()
            self.swap()
            while time.monotonic() < began + 10:
                if self._folders():
                    return time.monotonic() - began
                time.sleep(0.0005)  # a folder of another process can only be looked for again
        raise AssertionError("no download was caught in 300 s")

    def _kill(self, seconds: float) -> None:
        self.stop()
        self.killed.append(seconds)
        self.in_download += bool(self._folders())
        self._left |= {folder.name for folder in self.site.downloads.iterdir()}
        self.start()
        since = len(read(self.site))
        wait(lambda: len(read(self.site)) > since, "its heir ticks")

    def _folders(self) -> list[Path]:
        """Downloads that are under way: what earlier kills have left is none."""
        found = self.site.downloads.glob(f"{artefacts.FOLDERS}*")
        return [folder for folder in found if folder.name not in self._left]


def wait(until: Callable[[], bool], what: str, *, pause: float = 0.02, seconds: float = 300.0) -> None:
    """Wait until it is so. Raises AssertionError: it does not become so."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(pause)  # files and folders of another process can only be looked at again


async def prepared(warehouse: Warehouse, site: Site) -> tuple[str, str]:
    """Two versions in the registry, the first of them champion, and the tenant's thresholds for both."""
    both = [await asyncio.to_thread(version, site.mlflow_url, site.tenant, FAMILY, seed) for seed in (1, 2)]
    await asyncio.to_thread(registry.promote, site.mlflow_url, FAMILY, both[0])
    level = (THRESHOLD, THRESHOLD, THRESHOLD)
    own = [Calibrated(FAMILY, each, NOON, *level, 0.5, 0.01, "seen", Source.TRAINING, "calm") for each in both]
    async with warehouse.as_tenant(site.tenant) as db:
        await calibrations.put(site.tenant, db, own)
    return both[0], both[1]


def whole_of(site: Site, versions: Sequence[str], ticks: int) -> dict[str, Scores]:
    """What each version tells alone in so many ticks."""
    fetched = [registry.fetch(site.mlflow_url, FAMILY, each).detector for each in versions]
    judges = [Champion(FAMILY, detector, THRESHOLD, 0.01) for detector in fetched]
    return {model_version(FAMILY, each.version): alone(site, each, ticks) for each in judges}


@dataclass(frozen=True, slots=True)
class Stored:
    """What PostgreSQL holds: the numbers of ticks, and of findings those that no whole version gives."""

    numbers: list[int]
    findings: int
    half_loaded: int


async def stored(warehouse: Warehouse, site: Site, whole: Mapping[str, Scores]) -> Stored:
    """Read it back; a finding was told in the tick in which its windows ended."""
    end_ = at(10**6)
    async with warehouse.as_tenant(site.tenant) as db:
        told = await kept_samples.read(site.tenant, db, NOON, end_, entities=[NUMBER.entity])
        rows = (await db.execute(FINDINGS, {"tenant": site.tenant})).mappings().all()
    wrong = sum(
        whole.get(row["model_version"], {}).get((round((row["ended"] - NOON) / STEP), row["entity"])) != row["score"]
        for row in rows
    )
    return Stored([int(sample.value) for sample in told], len(rows), wrong)


def dropped(numbers: Sequence[int]) -> int:
    """Ticks that are not stored, or not once, up to the last that is."""
    counted = Counter(numbers)
    return sum(counted[number] != 1 for number in range(1, max(numbers) + 1))
