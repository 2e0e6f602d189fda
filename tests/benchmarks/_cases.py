"""Libraries of cases for benchmarks: real incidents out of a file, and simulated ones cut out of simulated weeks."""

from __future__ import annotations

import tarfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from feature_store.definitions import by_family
from flows.following import play
from ml.champion import Champion
from ml.detectors.family import FamilyDetector
from soundstage.simulator.placing import Placed
from tasks.calibrate import together
from tasks.follow import Follower
from tasks.keep import change_document, entity_document
from tasks.preserve import snapshot
from tasks.tell import Teller
from tasks.train import learn
from tests.benchmarks import _spent
from tests.benchmarks._simulated import Simulated
from tonewatch.cases import RECORDING, Case, Expected, library, write_case
from tonewatch.keeping import CHANGES, ENTITIES, Keeper
from tonewatch.settings import PageBudget, Profile, load_profile
from tonewatch.watched import watched

#: Recorded with `make recorded`: every fault of the soundstage, three seeds.
REAL = Path(__file__).with_name("incidents.tar.xz")
#: What is kept around a simulated fault, and how much of a long one.
BEFORE, LONGEST, AFTER = timedelta(minutes=10), timedelta(minutes=30), timedelta(minutes=2)
#: A calm stretch has no fault within so long before it, in which one might still be felt.
AFTERMATH = timedelta(hours=1)
CALM_DAYS, DAYS, SERIES, PER_WEEK, CALM_CASES = 7.0, 8.0, 60, 52.0, 5
#: By how much more everything strays in the calm that challengers of less skill learned from.
RESTLESS = 10.0
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
    """Simulated incidents of one platform, and the champions that learned from its calm days.

    unskilled: challengers that learned from calm in which everything strays ten times as far, with the champions'
    thresholds.
    """

    cases: Sequence[Case]
    champions: Mapping[str, Champion]
    unskilled: Mapping[str, Champion]


def simulated(seed: int, folder: Path) -> Platform:
    """A platform's faults as cases, each with what was known of single series when it begins, and calm stretches."""
    profile = load_profile("platform").model_copy(update=_spent.MINUTES | {"budget": PageBudget(pages_per_week=PAGES)})
    clean, hurt = (Simulated(seed, SERIES, CALM_DAYS + DAYS, CALM_DAYS, faults, PER_WEEK) for faults in (False, True))
    ticks = _spent.Stretches.of(clean, profile)
    lessons = _spent.lessons_of(clean, ticks)
    found = together(lessons, {}, _spent.chains(clean), ticks.stretch, seed=seed)
    champions = {
        each.family: Champion(each.family, _named(each.detector, "1"), found.thresholds[each.family].value, found.rate)
        for each in lessons
    }
    unskilled = {family: replace(each, detector=_unskilled(clean, ticks, family)) for family, each in champions.items()}
    wanted = {**_faults(hurt), **_calm(hurt)}
    known = followed(hurt, {stretch.first for stretch in wanted.values()}, profile)
    cases = [_written(hurt, folder / name, stretch, known, profile) for name, stretch in sorted(wanted.items())]
    return Platform(cases, champions, unskilled)


def _unskilled(clean: Simulated, ticks: _spent.Stretches, family: str) -> FamilyDetector:
    entities = by_family(clean.topology.entities.values())[family]
    frame = clean.frame(family, entities, ticks.calm, ticks.stretch.profile.window_seconds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a feature that is never told no median is needed
        usual = np.nanmedian(frame.values, axis=0)
    restless = replace(frame, values=usual + RESTLESS * (frame.values - usual))
    return _named(learn(family, restless, restless, seed=clean.seed).detector, "2")


def _named(detector: FamilyDetector, version: str) -> FamilyDetector:
    detector.version = version
    return detector


def followed(platform: Simulated, wanted: set[int], profile: Profile) -> dict[int, bytes]:
    """What the watcher knows of single series after each of these steps, having followed all those before."""
    teller = Teller(Follower(profile.followed_series))
    teller.follower.announce(platform.changes)
    known = {}
    for step in range(1, max(wanted) + 1):
        play(teller, [(platform.time(step), platform.samples(step))], platform.topology, profile)
        if step in wanted:
            known[step] = snapshot(teller)
    return known


@dataclass(frozen=True)
class Stretch:
    """What becomes a case: steps first <= step < until, and what was wrong in them."""

    first: int
    until: int
    expected: Expected | None


def _faults(platform: Simulated) -> dict[str, Stretch]:
    every, found = timedelta(seconds=platform.simulation.wish.every_s), {}
    for number, placed in enumerate(platform.faulted):
        onset = platform.time(placed.first)
        shown = min(platform.time(placed.until), onset + LONGEST)
        expected = Expected(onset, shown, _parts(platform, placed), placed.fault.name)
        first = max(1, placed.first - BEFORE // every)
        until = min(placed.first + (shown - onset + AFTER) // every, len(platform.values))
        found[f"{placed.fault.name}-{platform.seed}-{number}"] = Stretch(first, until, expected)
    return found


def _calm(platform: Simulated) -> dict[str, Stretch]:
    """Stretches of the same days in which nothing is wrong, as far apart as there are such."""
    every = timedelta(seconds=platform.simulation.wish.every_s)
    steps, aftermath = (BEFORE + LONGEST) // every, AFTERMATH // every
    free = [
        first
        for first in range(platform.calm_steps, len(platform.values) - steps, 15)
        if not any(each.first < first + steps and first - aftermath < each.until for each in platform.faulted)
    ]
    places = sorted({*np.linspace(0, len(free) - 1, CALM_CASES).astype(int).tolist()}) if free else []
    return {
        f"calm-{platform.seed}-{number}": Stretch(free[place], free[place] + steps, None)
        for number, place in enumerate(places)
    }


def _written(platform: Simulated, folder: Path, stretch: Stretch, known: Mapping[int, bytes], profile: Profile) -> Case:
    _cut(platform, folder, stretch.first, stretch.until, profile)
    return write_case(folder, "simulator", profile, stretch.expected, known[stretch.first])


def _parts(platform: Simulated, placed: Placed) -> tuple[str, ...]:
    parts, lines = platform.simulation.platform.parts, platform.simulation.platform.lines
    return tuple(sorted({parts[lines[hit.line].part].id for hit in placed.hits}))


def _cut(platform: Simulated, folder: Path, first: int, until: int, profile: Profile) -> None:
    keeper = Keeper(folder / RECORDING, set(platform.names))
    keeper.lines(ENTITIES, map(entity_document, platform.topology.entities.values()))
    start, end = platform.time(first), platform.time(until)
    told = [each for each in platform.changes if start - BEFORE <= each.started < end]
    keeper.lines(CHANGES, map(change_document, told))
    keeper.chunk([sample for step in range(first, until) for sample in platform.samples(step)])
    every = platform.simulation.wish.every_s
    keeper.close(start, end, every, watched(profile), f"simulated, seed {platform.seed}", "a benchmark")
