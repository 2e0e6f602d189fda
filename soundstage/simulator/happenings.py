"""What happens to a platform on any day and is no fault: releases, planned work, restarts, scrapes that go missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np

from soundstage.simulator.parts import Platform
from soundstage.simulator.wish import DAY_S, Wish

#: Days between two of a process, on the average.
RELEASE_DAYS, WORK_DAYS, RESTART_DAYS, BURST_DAYS = 21.0, 45.0, 30.0, 20.0
#: So many scrapes of a process go missing singly.
MISSED = 5e-4
#: What a release changes of a part's figures: so many of them, by so many standard deviations.
CHANGED_SHARE, CHANGED_SD = 0.3, 0.5
SECONDS_DOWN = (30.0, 120.0)
WINDOW_S = (600.0, 1_800.0)
BURST_SCRAPES = (2, 6)


@dataclass(frozen=True, slots=True)
class Gap:
    """A part that gives nothing from step `first` to before `until`. down: it is told to be down, else nothing is."""

    part: int
    first: int
    until: int
    down: bool


@dataclass(slots=True)
class Happenings:
    """shifts: (step, line, standard deviations) for good; resets: (step, part) whose counters begin anew at 0;
    changes: what is announced, as POST /v1/changes takes it.
    """

    shifts: list[tuple[int, int, float]] = field(default_factory=list)
    resets: list[tuple[int, int]] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)


def happenings(wish: Wish, platform: Platform) -> Happenings:
    """All that happens from the first step to the last, in the order of time."""
    found = Happenings()
    chance = np.random.default_rng([wish.seed, 11])
    of_part: dict[int, list[int]] = {}
    for number, line in enumerate(platform.lines):
        if line.kind.moves:
            of_part.setdefault(line.part, []).append(number)
    for number, part in enumerate(platform.parts):
        if not wish.steady and part.runs:
            _releases(wish, platform, number, of_part.get(number, []), found, chance)
            _work(wish, platform, number, found, chance)
            found.resets += [(step, number) for step in _moments(wish, RESTART_DAYS, chance)]
        for step in _moments(wish, BURST_DAYS, chance):
            length = int(chance.integers(BURST_SCRAPES[0], BURST_SCRAPES[1] + 1))
            found.gaps.append(Gap(number, step, step + length, down=False))
    found.resets.sort()
    found.shifts.sort()
    found.changes.sort(key=lambda change: (change["started"], change["id"]))
    return found


def _moments(wish: Wish, days: float, chance: np.random.Generator) -> list[int]:
    """Steps at which something happens that happens every so many days."""
    count = chance.poisson(wish.steps * wish.every_s / DAY_S / days)
    return sorted(chance.integers(0, wish.steps, count).tolist())


def _releases(
    wish: Wish, platform: Platform, part: int, lines: list[int], found: Happenings, chance: np.random.Generator
) -> None:
    for step in _moments(wish, RELEASE_DAYS, chance):
        changed = [line for line in lines if chance.random() < CHANGED_SHARE]
        found.shifts += [(step, line, float(chance.normal(0.0, CHANGED_SD))) for line in changed]
        found.resets.append((step, part))
        entity = platform.parts[part].id
        version = f"{len(found.changes) + 1}"
        found.changes.append(_change(wish, "release", entity, step, None, f"version {version} of {entity}", version))


def _work(wish: Wish, platform: Platform, part: int, found: Happenings, chance: np.random.Generator) -> None:
    for step in _moments(wish, WORK_DAYS, chance):
        down = max(1, round(chance.uniform(*SECONDS_DOWN) / wish.every_s))
        window = chance.uniform(*WINDOW_S)
        begun = step + round(window / 3 / wish.every_s)
        found.gaps.append(Gap(part, begun, begun + down, down=True))
        found.resets.append((begun + down, part))
        entity = platform.parts[part].id
        number = f"{len(found.changes) + 1}"
        ended = max(window, (begun + down + 1 - step) * wish.every_s)
        found.changes.append(_change(wish, "maintenance", entity, step, ended, f"{entity} is restarted", number))


def _change(
    wish: Wish, kind: str, entity: str, step: int, seconds: float | None, summary: str, number: str
) -> dict[str, Any]:
    started = wish.time(step)
    ended = started + timedelta(seconds=round(seconds)) if seconds is not None else None
    return {
        "id": f"{kind}-{wish.seed}-{number}",
        "kind": kind,
        "entity": entity,
        "started": started.isoformat(),
        "ended": ended.isoformat() if ended else None,
        "author": "simulator",
        "summary": summary,
    }
