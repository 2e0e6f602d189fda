"""Libraries of cases for benchmarks: real incidents out of a file, and simulated ones cut out of simulated weeks."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

from ml.champion import Champion
from ml.detectors.base import Detector
from soundstage.simulator.placing import Placed
from tasks.calibrate import together
from tasks.keep import change_document, entity_document
from tests.benchmarks import _spent
from tests.benchmarks._simulated import Simulated
from tonewatch.cases import RECORDING, Case, Expected, library, write_case
from tonewatch.keeping import CHANGES, ENTITIES, Keeper
from tonewatch.records import Sample
from tonewatch.settings import PageBudget, Profile, load_profile
from tonewatch.watched import watched

#: Recorded with `make recorded`: every fault of the soundstage, three seeds.
REAL = Path(__file__).with_name("incidents.tar.xz")
#: What is kept around a simulated fault, and how much of a long one.
BEFORE, LONGEST, AFTER = timedelta(minutes=45), timedelta(minutes=45), timedelta(minutes=5)
CALM_DAYS, DAYS, SERIES, PER_WEEK = 7.0, 14.0, 60, 30.0
#: A budget opened on purpose: a gate is tested on what is found, not on what keeps silent.
PAGES = 20.0


def real(folder: Path) -> list[Case]:
    """The soundstage's incidents, unpacked into `folder`."""
    with tarfile.open(REAL) as packed:
        packed.extractall(folder, filter="data")
    return library(folder)


def pack(folder: Path, file: Path = REAL) -> None:
    """A library as one small file; the same library gives the same bytes."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime = entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(file, "w:xz", preset=9) as packed:
        for path in sorted(folder.rglob("*")):
            packed.add(path, path.relative_to(folder), recursive=False, filter=plain)


@dataclass(frozen=True, eq=False)
class Platform:
    """Simulated incidents of one platform, and the champions that learned from its calm days."""

    cases: Sequence[Case]
    champions: Mapping[str, Champion]


def simulated(seed: int, folder: Path) -> Platform:
    """A platform's faults as cases, and as many calm stretches as it has faults of one kind."""
    profile = load_profile("platform").model_copy(update=_spent.MINUTES | {"budget": PageBudget(pages_per_week=PAGES)})
    clean, hurt = (Simulated(seed, SERIES, CALM_DAYS + DAYS, CALM_DAYS, faults, PER_WEEK) for faults in (False, True))
    ticks = _spent.Stretches.of(clean, profile)
    lessons = _spent.lessons_of(clean, ticks)
    found = together(lessons, {}, _spent.chains(clean), ticks.stretch, seed=seed)
    champions = {
        each.family: Champion(each.family, _named(each.detector), found.thresholds[each.family].value, found.rate)
        for each in lessons
    }
    cases = [*_faults(hurt, folder, profile), *_calm(clean, folder, profile)]
    return Platform(cases, champions)


def _named(detector: Detector) -> Detector:
    detector.version = "1"
    return detector


def _faults(platform: Simulated, folder: Path, profile: Profile) -> Iterator[Case]:
    every = timedelta(seconds=platform.simulation.wish.every_s)
    for number, placed in enumerate(platform.faulted):
        onset, until = platform.time(placed.first), platform.time(placed.until)
        shown = min(until, onset + LONGEST)
        name = folder / f"{placed.fault.name}-{platform.seed}-{number}"
        _cut(platform, name, placed.first - BEFORE // every, placed.first + (shown - onset + AFTER) // every, profile)
        expected = Expected(onset, shown, _parts(platform, placed), placed.fault.name)
        yield write_case(name, "simulator", profile, expected)


def _calm(platform: Simulated, folder: Path, profile: Profile) -> Iterator[Case]:
    steps = round((BEFORE + LONGEST).total_seconds() / platform.simulation.wish.every_s)
    for number, first in enumerate(np.linspace(platform.calm_steps, len(platform.values) - steps, 3).astype(int)):
        name = folder / f"calm-{platform.seed}-{number}"
        _cut(platform, name, int(first), int(first) + steps, profile)
        yield write_case(name, "simulator", profile, None)


def _parts(platform: Simulated, placed: Placed) -> tuple[str, ...]:
    parts, lines = platform.simulation.platform.parts, platform.simulation.platform.lines
    return tuple(sorted({parts[lines[hit.line].part].id for hit in placed.hits}))


def _cut(platform: Simulated, folder: Path, first: int, until: int, profile: Profile) -> None:
    keeper = Keeper(folder / RECORDING, set(platform.names))
    keeper.lines(ENTITIES, map(entity_document, platform.topology.entities.values()))
    first, until = max(first, 0), min(until, len(platform.values))
    start, end = platform.time(first), platform.time(until)
    told = [each for each in platform.changes if start - BEFORE <= each.started < end]
    keeper.lines(CHANGES, map(change_document, told))
    keeper.chunk(
        [
            Sample(series, platform.time(step), float(platform.values[step, place]))
            for step in range(first, until)
            for place, series in enumerate(platform.names)
            if np.isfinite(platform.values[step, place])
        ]
    )
    every = platform.simulation.wish.every_s
    keeper.close(start, end, every, watched(profile), f"simulated, seed {platform.seed}", "a benchmark")
