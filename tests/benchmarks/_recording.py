"""A stretch of real telemetry in a small file: what the collector brought from a soundstage, second by second."""

from __future__ import annotations

import asyncio
import json
import lzma
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tonewatch.records import Entity, Sample, Series, SeriesKind

#: Recorded with `python tests/benchmarks/tick.py --record 60`; any newer one will do.
FILE = Path(__file__).with_name("soundstage.json.xz")


@dataclass(frozen=True)
class Line:
    """One recorded series: milliseconds since the beginning, and values."""

    series: Series
    times: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Recording:
    """What a platform told in so many seconds."""

    about: str
    seconds: float
    entities: tuple[Entity, ...]
    lines: tuple[Line, ...]


def load(path: Path = FILE) -> Recording:
    """Read a recording."""
    told = json.loads(lzma.decompress(path.read_bytes()))
    entities = tuple(
        Entity(id_, stage, labels, tuple(feeds), tuple(on)) for id_, stage, labels, feeds, on in told["entities"]
    )
    lines = tuple(
        Line(
            Series(entity, metric, tuple((name, value) for name, value in labels), unit, SeriesKind(kind)),
            _summed(times),
            tuple(values),
        )
        for (entity, metric, labels, unit, kind), times, values in told["lines"]
    )
    return Recording(told["about"], told["seconds"], entities, lines)


def _summed(steps: Sequence[int]) -> tuple[int, ...]:
    total, found = 0, []
    for step in steps:
        total += step
        found.append(total)
    return tuple(found)


def save(recording: Recording, path: Path) -> None:
    """Write a recording: times as steps, values to six digits, which is what most of them have."""
    lines = []
    for line in recording.lines:
        series = line.series
        steps = [b - a for a, b in zip((0, *line.times), line.times, strict=False)]
        named = (series.entity, series.metric, series.labels, series.unit, series.kind.value)
        lines.append((named, steps, [_short(value) for value in line.values]))
    told = {
        "about": recording.about,
        "seconds": recording.seconds,
        "entities": [(e.id, e.stage, dict(e.labels), e.feeds, e.depends_on) for e in recording.entities],
        "lines": lines,
    }
    path.write_bytes(lzma.compress(json.dumps(told, separators=(",", ":")).encode(), preset=9))


def _short(value: float) -> float:
    return int(value) if value == int(value) else float(f"{value:.6g}")


async def record(seconds: float) -> Recording:
    """Run a soundstage of two channels and listen to it as the watcher does, once a second."""
    from console.demo.stage import Plan, playing
    from tasks.collect import Collector
    from tonewatch.clock import SYSTEM
    from tonewatch.settings import load_profile

    folder = Path(tempfile.mkdtemp(prefix="tonewatch-bench-"))
    folder.chmod(0o711)
    plan = Plan(
        folder / "stage", 2, 20, 1, 90.0, "http://127.0.0.1:9/beacons", folder / "no-key", "http://127.0.0.1:9/changes"
    )
    try:
        async with playing(plan) as stage, _warehouse(folder) as (tenant, warehouse):
            collector = Collector(load_profile("demo"), SYSTEM, stage.inventory_url)
            await collector.look_around(tenant, warehouse)
            for _ in range(15):  # counters exist and playlists are full before the record begins
                await _round(collector)
            collector.drain()
            began = SYSTEM.now()
            rounds = int(seconds)
            for number in range(rounds):
                await _round(collector)
                if number % 10 == 9:
                    sys.stderr.write(f"  recorded {number + 1} of {rounds} s\n")
            taken = collector.drain()
            entities = tuple(collector.topology.entities.values())
            await collector.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Recording(
        f"soundstage, 2 channels, 20 players, {rounds} s, {began:%Y-%m-%d}", seconds, entities, _lines(taken, began)
    )


async def _round(collector: Any) -> None:
    pause = asyncio.create_task(asyncio.sleep(1.0))
    await asyncio.gather(collector.scrape(), collector.probe(), collector.read_logs())
    await pause


def _lines(taken: Sequence[Sample], began: datetime) -> tuple[Line, ...]:
    found: dict[Series, dict[int, float]] = {}
    for sample in taken:
        found.setdefault(sample.series, {})[round((sample.time - began) / timedelta(milliseconds=1))] = sample.value
    return tuple(
        Line(series, tuple(sorted(points)), tuple(points[time] for time in sorted(points)))
        for series, points in found.items()
    )


class _warehouse:  # noqa: N801 - used as a function
    """A PostgreSQL of the record's own with one tenant in it: the collector writes the platform's entities down."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __aenter__(self) -> tuple[str, Any]:
        from console.stack.postgres import EmbeddedPostgres
        from warehouse import tenants
        from warehouse.database import Warehouse
        from warehouse.migrate import RolePasswords, create_database, migrate

        self._server = EmbeddedPostgres(self._folder / "pg", secrets.token_urlsafe())
        await asyncio.to_thread(self._server.start)
        passwords = RolePasswords(app=secrets.token_urlsafe(), dispatcher=secrets.token_urlsafe())
        admin = create_database(self._server.url("postgres"), "warehouse")
        await asyncio.to_thread(migrate, admin, passwords)
        self._made = Warehouse(self._server.url("warehouse", "tonewatch_app", passwords.app))
        async with self._made.as_tenant("bench") as db:
            await tenants.add("bench", db, name="bench", profile="demo", at=datetime(2026, 1, 1, tzinfo=UTC))
        return "bench", self._made

    async def __aexit__(self, *_: object) -> None:
        await self._made.close()
        await asyncio.to_thread(self._server.stop)


def copies(recording: Recording, series: int) -> int:
    """How many copies of the recorded platform make at least so many series."""
    return -(-series // len(recording.lines))


def renamed(entity: str, number: int) -> str:
    """The entity's name in the copy of that number: `component:x` -> `component:x-c7`, renditions keep their slash."""
    return f"{entity}-c{number}"


def renamed_entity(entity: Entity, number: int) -> Entity:
    """The entity as part of the copy of that number, fed and feeding within it."""
    labels: Mapping[str, str] = {
        name: renamed(value, number) if name == "channel" else value for name, value in entity.labels.items()
    }
    return Entity(
        renamed(entity.id, number),
        entity.stage,
        labels,
        tuple(renamed(other, number) for other in entity.feeds),
        tuple(renamed(other, number) for other in entity.depends_on),
    )
