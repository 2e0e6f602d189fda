"""What people's labels are worth to detection, and whether hostile ones pass the gate, on simulated platforms.

Each seed is a platform of 40 series read once a minute: 10 calm days that set the first thresholds, 14 in which people
judge what those told, 14 that are held back; ten faults a week from the calm on. Thresholds are then set again on the
judged days, whose faults are no calm: what each way to hear people leaves out of them is what the ways differ in.
`make bench NAME=labels`.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import numpy as np

from ml.hindsight import ALONE
from ml.labelling import Opinion, Vote, opinion
from tests.benchmarks import _authors
from tests.benchmarks._labelled import Told, World, worlds
from tests.benchmarks._labels_page import page
from tests.benchmarks._published import publish, say

#: Stated before a single run: a hostile run passes the gate if thresholds end further from where the honest labels
#: alone take them than this share of the way that the honest labels moved them, in either direction; a threshold that
#: is eased: than this share of the way that one person alone may move it.
TOLERANCE = 0.1
RESAMPLES = 2000


@dataclass(frozen=True)
class Heard:
    """What a way to hear people holds: real, false alarms that more than one stands behind, and those of one alone."""

    real: frozenset[str]
    false: frozenset[str] = frozenset()
    lone: frozenset[str] = frozenset()


def gated(told: Sequence[Told], votes: Sequence[Vote], known: Mapping[str, bool]) -> Heard:
    """By the gate."""
    found = opinion(votes, known)
    settled = {each.id: found.settled(each.id) for each in told}
    return Heard(
        frozenset(id_ for id_, real in settled.items() if real),
        frozenset(id_ for id_, real in settled.items() if real is False),
        frozenset(each.id for each in told if settled[each.id] is None and found.said(each.id) is False),
    )


def majority(told: Sequence[Told], votes: Sequence[Vote], known: Mapping[str, bool]) -> Heard:
    """What more say than not; what was verified is one more who says so."""
    count = Counter(dict.fromkeys(known, 1))
    for vote in votes:
        count[vote.incident] += 1 if vote.real else -1
    return Heard(
        frozenset(id_ for id_, value in count.items() if value > 0),
        frozenset(id_ for id_, value in count.items() if value < 0),
    )


def face_value(told: Sequence[Told], votes: Sequence[Vote], known: Mapping[str, bool]) -> Heard:
    """What was said last of each, as it was before there was a gate."""
    last = {vote.incident: vote.real for vote in sorted(votes, key=lambda each: each.time)}
    return Heard(
        frozenset(id_ for id_, real in last.items() if real), frozenset(id_ for id_, real in last.items() if not real)
    )


WAYS = {"gate": gated, "majority": majority, "face value": face_value}


def level(thresholds: Mapping[str, float]) -> float:
    """The thresholds as one number: the mean of -log(1 - threshold) over families."""
    return float(np.mean([-math.log(max(1.0 - value, 1e-15)) for value in thresholds.values()]))


def lift_of(world: World) -> dict[str, Any]:
    """What each way to hear honest people does in the held-back days."""
    chance = random.Random(world.seed)
    told = [each for each in world.told if not each.near]
    votes, known = _authors.honest(told, chance), _authors.verified(told, chance)
    asked = _authors.honest([each for each in world.told if each.near], chance)
    ways = {
        "no labels": frozenset[str](),
        **{name: way(told, votes, known).real for name, way in WAYS.items()},
        "gate, and what was asked": gated(world.told, [*votes, *asked], known).real,
        "every incident left out": frozenset(each.id for each in told),
        "the truth of all": frozenset(each.id for each in world.told if each.real),
    }
    found = {name: world.lived(world.fitted(real)) for name, real in ways.items()}
    return found | {"first thresholds, of calm days": world.lived(world.first)}


def attacked(world: World) -> list[dict[str, Any]]:
    """Each strategy against each way: how far thresholds end from where the honest labels alone take them."""
    found = []
    for strategy in _authors.STRATEGIES:
        chance = random.Random(f"{world.seed} {strategy}")
        votes, known = _authors.honest(world.told, chance), _authors.verified(world.told, chance)
        lies = _authors.hostile(strategy, world.told, votes, chance)
        each: dict[str, Any] = {"seed": world.seed, "strategy": strategy, "labels": len(votes), "hostile": len(lies)}
        for name, way in WAYS.items():
            alone, with_lies = way(world.told, votes, known), way(world.told, [*votes, *lies], known)
            each[name] = moved(world, alone, with_lies, careful=name == "gate")
        told = opinion([*votes, *lies], known)
        found.append(each | _caught(told))
    return found


def moved(world: World, alone: Heard, with_lies: Heard, *, careful: bool) -> dict[str, Any]:
    """How far the lies moved the level that is set again (share of the honest labels' way) and a threshold eased
    (share of the way to 1), and whether that is beyond the tolerance.
    """
    before, after = level(world.fitted(alone.real)), level(world.fitted(with_lies.real))
    way = max(abs(level(world.fitted(frozenset())) - before), 1e-9)
    eased = [world.raised(each.false, each.lone, each.real, careful) for each in (alone, with_lies)]
    shift = max(abs(eased[1][f] - eased[0][f]) / (1.0 - world.first[f]) for f in world.first)
    retrained = (after - before) / way
    passed = abs(retrained) > TOLERANCE or shift > TOLERANCE * ALONE
    return {"retrained": round(retrained, 4), "eased": round(shift, 4), "passed": passed}


def _caught(found: Opinion) -> dict[str, Any]:
    quarantined = {name for name, each in found.authors.items() if each.quarantined}
    liars = set(found.authors) - set(_authors.HONEST)
    return {
        "caught": len(quarantined & liars),
        "liars": len(liars),
        "honest_quarantined": len(quarantined - liars),
        "alpha": found.agreement.alpha,
    }


def summed(seeds: Sequence[Mapping[str, Any]], way: str) -> dict[str, Any]:
    """One way over all seeds. recall: of faults in weeks that kept the budget of one false page."""
    of = [each[way] for each in seeds]
    faults = sum(each["faults"] for each in of)
    return {
        "recall": round(sum(each["within_budget"] for each in of) / faults, 4),
        "recall_whatever_pages": round(sum(each["found"] for each in of) / faults, 4),
        "false_pages_per_week": round(sum(each["false_pages"] for each in of) / (2 * len(of)), 3),
        "faults": faults,
    }


def interval(seeds: Sequence[Mapping[str, Any]], way: str, base: str) -> list[float]:
    """The 95 % interval of the difference in recall, by resampling whole platforms."""
    chance = np.random.default_rng(0)
    numbers = np.array(
        [[each[way]["within_budget"], each[base]["within_budget"], each[way]["faults"]] for each in seeds], np.float64
    )
    drawn = numbers[chance.integers(0, len(numbers), (RESAMPLES, len(numbers)))].sum(axis=1)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / drawn[:, 2], [0.025, 0.975])
    return [round(float(low), 4), round(float(high), 4)]


def document(made: Sequence[World], cpu: float) -> dict[str, Any]:
    """Everything that was found."""
    lived = [lift_of(each) for each in made]
    runs = [run for each in made for run in attacked(each)]
    ways = {name: summed(lived, name) for name in lived[0]}
    lift = round(ways["gate"]["recall"] - ways["no labels"]["recall"], 4)
    asked = round(ways["gate, and what was asked"]["recall"] - ways["gate"]["recall"], 4)
    passed = {name: sum(run[name]["passed"] for run in runs) for name in WAYS}
    return {
        "name": "labels",
        "figures": {"lift": lift, "poison_passed": passed["gate"]},
        "baselines": {name: of for name, of in ways.items() if not name.startswith("gate")}
        | {"poison_passed": {name: count for name, count in passed.items() if name != "gate"}},
        "goals": {"lift": "must, its interval above 0", "poison_passed": "must 0"},
        "details": {
            "lift_interval": interval(lived, "gate", "no labels"),
            "lift_of_asking": asked,
            "lift_of_asking_interval": interval(lived, "gate, and what was asked", "gate"),
            "ways": ways,
            "tolerance": TOLERANCE,
            "hostile_runs": len(runs),
            "strategies": {name: _strategy([r for r in runs if r["strategy"] == name]) for name in _authors.STRATEGIES},
            "honest_quarantined": sum(run["honest_quarantined"] for run in runs),
            "told": {each.seed: _counts(each) for each in made},
            "runs": runs,
            "ensemble_cpu_s": round(cpu, 1),
        },
        "data": f"simulator, {len(made)} platforms of {made[0].platform.series} series at 1 minute: 10 calm days, 14 "
        "judged, 14 held back, 10 faults a week",
        "seed": [each.seed for each in made],
    }


def _strategy(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "runs": len(runs),
        "hostile_labels": sum(run["hostile"] for run in runs),
        "labels": sum(run["labels"] + run["hostile"] for run in runs),
        "liars_quarantined": f"{sum(run['caught'] for run in runs)} of {sum(run['liars'] for run in runs)}",
        "passed": {name: sum(run[name]["passed"] for run in runs) for name in WAYS},
        "furthest": {name: max(abs(run[name]["retrained"]) for run in runs) for name in WAYS},
        "furthest_eased": {name: max(run[name]["eased"] for run in runs) for name in WAYS},
    }


def _counts(world: World) -> dict[str, int]:
    told = [each for each in world.told if not each.near]
    near = [each for each in world.told if each.near]
    return {
        "told": len(told),
        "false": sum(not each.real for each in told),
        "near": len(near),
        "near_false": sum(not each.real for each in near),
    }


def main() -> int:
    """Run it and tell; 1 when the gate let something pass or labels lifted nothing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="how many platforms (default 10)")
    parser.add_argument("--first", type=int, default=1, help="the first; choices were made on 401 and on (default 1)")
    parser.add_argument("--series", type=int, default=40, help="series of each (default 40)")
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    options = parser.parse_args()
    began, cpu = monotonic(), process_time()
    made = worlds(range(options.first, options.first + options.seeds), options.series)
    cpu = process_time() - cpu
    say(f"{cpu:.0f} CPU s for the platforms and the ensemble")
    told = document(made, cpu)
    publish(told, monotonic() - began, options.json, page)
    return int(told["figures"]["poison_passed"] > 0 or told["details"]["lift_interval"][0] <= 0)


if __name__ == "__main__":
    raise SystemExit(main())
