"""A simulation in files: the recording in its folder, the ground truth in a file beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soundstage.errors import WishError
from soundstage.simulator import panel
from soundstage.simulator.keeping import Keeper, lines
from soundstage.simulator.parts import Part, inventory
from soundstage.simulator.telemetry import Simulation


@dataclass(frozen=True, slots=True)
class Written:
    """What came of it. hash: of the recording's content."""

    folder: str
    truth: str
    hash: str
    series: int
    samples: int
    changes: int
    beacons: int
    faults: dict[str, int]


def truth_file(folder: Path) -> Path:
    """Where the ground truth of the recording in `folder` lies: beside it, never in it."""
    return folder.with_name(f"{folder.name}.truth.json")


def write(simulation: Simulation, folder: Path, say: Callable[[str], None]) -> Written:
    """Write the recording and its truth. Raises WishError: they cannot be written there."""
    wish, platform = simulation.wish, simulation.platform
    folder = folder.absolute()
    truth = truth_file(folder)
    if truth.exists():
        raise WishError(f"{truth} is there already: name a new folder, or remove it")
    keeper = Keeper(folder, [platform.name(number) for number in range(len(platform.lines))])
    reports = panel.beacons(simulation)
    keeper.text("inventory.json", json.dumps(inventory(platform), indent=1).encode() + b"\n")
    keeper.text("entities.jsonl", lines(_entity(part) for part in sorted(platform.parts, key=lambda part: part.id)))
    keeper.text("changes.jsonl", lines(simulation.changes))
    keeper.text("beacons.cmcd", reports)
    for block in simulation.blocks():
        keeper.chunk(simulation.times(block), block.values)
        say(f"{(block.first + len(block.values)) / wish.steps:.0%} of {wish.days:g} days")
    counts = {
        "entities": len(platform.parts),
        "changes": len(simulation.changes),
        "beacons": reports.count(b"\n"),
        "sessions": 0,
    }
    about = f"simulated: {wish.series} series, {wish.days:g} days, seed {wish.seed}"
    digest = keeper.close(wish.start, wish.end, wish.every_s, about, counts)
    document: dict[str, Any] = {"recording": digest, **simulation.truth()}
    try:
        truth.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise WishError(f"{truth} cannot be written ({error.strerror})") from error
    faults: dict[str, int] = {}
    for each in simulation.faults:
        faults[each.fault.name] = faults.get(each.fault.name, 0) + 1
    return Written(
        str(folder),
        str(truth),
        digest,
        len(platform.lines),
        keeper.samples,
        counts["changes"],
        counts["beacons"],
        faults,
    )


def _entity(part: Part) -> dict[str, Any]:
    return {
        "id": part.id,
        "stage": part.stage,
        "labels": part.labels,
        "feeds": list(part.feeds),
        "depends_on": list(part.depends_on),
    }
