"""What the watcher's ticks found on a real warehouse is found again in what was recorded of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from flows.detection import Batch, DetectionState, tick
from flows.replay import batches, replay
from tasks.keep import keep
from tests.unit.flows.test_replay import DEMO, soundstage
from tests.unit.platform_parts import START, at
from tonewatch.errors import RecordingError, UnknownTenant
from tonewatch.keeping import series_key
from tonewatch.recording import open_recording
from tonewatch.records import Change, Finding, Sample, Series, SessionReport
from tonewatch.topology import Topology
from warehouse import changes, entities, sessions
from warehouse import samples as samples_kept
from warehouse.database import Warehouse

END = START + timedelta(seconds=60)
CHANGE = Change("release-1", "release", "component:packager", at(7), None, "ci", "version 2")
REPORT = SessionReport("ab12", "channel:ch1", "edge:edge-1", at(8), "t", "p", buffer_ms=4_000, sequence=3)


async def watch(tenant: str, warehouse: Warehouse) -> tuple[list[Finding], list[Sample]]:
    """A minute of the soundstage, tick by tick as the watcher takes it; what it found and what it was told."""
    told, samples = soundstage()
    samples.sort(key=lambda sample: (sample.time, series_key(sample.series)))
    async with warehouse.as_tenant(tenant) as db:
        await entities.replace(tenant, db, told.entities, START)
        await changes.save(tenant, db, [CHANGE])
        await sessions.save(tenant, db, [REPORT], at(9))
    state, topology, found = DetectionState(), Topology(told.entities), []
    before, ends = START, [at(second) for second in range(5, 61, 5)]
    for end, batch in zip(ends, batches(samples, ends), strict=True):
        found += await tick(tenant, warehouse, state, Batch(batch, (before, end), {}), topology, DEMO)
        before = end
    return found, samples


async def test_a_recording_replays_what_the_watcher_found(tenant: str, warehouse: Warehouse, tmp_path: Path) -> None:
    live, samples = await watch(tenant, warehouse)
    kept = await keep(tenant, warehouse, START, END, tmp_path / "a", lambda _: None)
    recording = open_recording(tmp_path / "a")
    assert recording.verify() == kept.hash
    assert [s for s in samples if s.time < END] == list(recording.samples())
    assert (recording.changes, recording.sessions) == ((CHANGE,), (REPORT,))

    again = replay(recording, DEMO)
    assert len(live) > 0
    assert sorted(map(_without_tenant, live)) == sorted(map(_without_tenant, again.findings))
    assert replay(recording, DEMO).hash == again.hash


def _without_tenant(finding: Finding) -> tuple[object, ...]:
    parts = (finding.entity, finding.detector, finding.kind.value, finding.started, finding.ended)
    return (*parts, finding.summary, finding.symptom, finding.expected, finding.actual, finding.score)


async def test_the_same_stretch_is_the_same_recording_and_names_no_tenant(
    tenant: str, warehouse: Warehouse, tmp_path: Path
) -> None:
    await watch(tenant, warehouse)
    kept = [await keep(tenant, warehouse, START, END, tmp_path / name, lambda _: None) for name in ("a", "b")]
    assert kept[0].hash == kept[1].hash
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) == 6
    for path in files:
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
        assert tenant.encode() not in path.read_bytes()


async def test_what_is_not_there_cannot_be_recorded(tenant: str, warehouse: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="holds no sample"):
        await keep(tenant, warehouse, START, END, tmp_path / "a", lambda _: None)
    with pytest.raises(RecordingError, match="before it begins"):
        await keep(tenant, warehouse, END, START, tmp_path / "a", lambda _: None)
    with pytest.raises(UnknownTenant):
        await keep("nobody", warehouse, START, END, tmp_path / "a", lambda _: None)
    assert not (tmp_path / "a").exists()


async def test_what_the_warehouse_holds_only_in_part_begins_where_it_does_and_that_is_told(
    tenant: str, warehouse: Warehouse, tmp_path: Path
) -> None:
    first = at(3_600)
    async with warehouse.as_tenant(tenant) as db:
        await samples_kept.append(tenant, db, [Sample(Series("component:a", "up"), first, 1.0)])
    said: list[str] = []
    kept = await keep(tenant, warehouse, START, first + timedelta(seconds=9), tmp_path / "a", said.append)
    assert (kept.start, open_recording(tmp_path / "a").start) == (first, first)
    assert [line for line in said if f"holds nothing before {first.isoformat()}" in line]

    little = first - timedelta(seconds=20)
    whole = await keep(tenant, warehouse, little, first + timedelta(seconds=9), tmp_path / "b", lambda _: None)
    assert whole.start == little


async def test_another_tenants_samples_stay_where_they_are(tenant: str, warehouse: Warehouse, tmp_path: Path) -> None:
    from tests.conftest import new_tenant

    other = await new_tenant(warehouse)
    for name, entity in ((tenant, "component:ours"), (other, "component:theirs")):
        async with warehouse.as_tenant(name) as db:
            await samples_kept.append(name, db, [Sample(Series(entity, "up"), at(1), 1.0)])
    await keep(tenant, warehouse, START, END, tmp_path / "a", lambda _: None)
    assert [each.entity for each in open_recording(tmp_path / "a").series] == ["component:ours"]
