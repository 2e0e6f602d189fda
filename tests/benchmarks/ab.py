"""A/B validations looked at after every observation: how often two equal ones are called unequal, and what is found.

2,000 A/A tests of each form (paired: eight tenants for 28 days; split: eight tenants, ten units a week each, 56 days),
all guards included, by the product's own inference, on made outcomes that come in bursts and depend on one another
(tests/benchmarks/_streams.py, _units.py). Power at the stated effect and length, and over others as a picture. Beside
it, for the effect alone at 5 %: four other ways to look, on the same outcomes.
`make bench NAME=ab`; red above 5 %.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from ml.ab_split import GUARDS as OF_UNITS
from tests.benchmarks import _units, _verdicts
from tests.benchmarks._ab_page import page, picture
from tests.benchmarks._published import publish, say
from tests.benchmarks._sequential import METHODS, first
from tests.benchmarks._streams import DAY, HOURS, LUCK_H, Stream, World, odds_for, stream

TESTS, AT_ONCE, SEED = 2_000, 100, 13
TENANTS, DAYS, WEEKS = 8, 28, 8
#: What power is stated for: share of incidents found, or of units served well.
EFFECT = 0.15
EFFECTS, LENGTHS = (0.05, 0.1, 0.15, 0.2, 0.3), (7, 14, 28, 42, 56)
MOST_WRONG, LEAST_POWER, ALPHA = 0.05, 0.8, 0.05
BURSTS = DAY // HOURS


def streams(world: World, tests: int, chance: np.random.Generator) -> Iterator[Stream]:
    """So many validations, some at once."""
    for done in range(0, tests, AT_ONCE):
        yield stream(world, min(AT_ONCE, tests - done), chance)


def shares(said: Sequence[int]) -> dict[str, Any]:
    """How the validations ended."""
    told = np.array(said)
    return {
        "better": round(float((told == 1).mean()), 4),
        "worse": round(float((told == -1).mean()), 4),
        "too_small": round(float((told == _verdicts.FUTILE).mean()), 4),
    }


def wrong(said: Sequence[int]) -> float:
    """The share of A/A tests that said anything else than inconclusive."""
    return round(float(np.isin(np.array(said), (1, -1)).mean()), 4)


def aa_paired(tenants: int, tests: int, chance: np.random.Generator, luck_h: float = LUCK_H) -> dict[str, Any]:
    """Equal detectors, by the product; with several tenants by the other ways, too."""
    plan, said, went_on = _verdicts.plan_of(tenants, DAYS), [], []
    rivals: dict[str, list[int]] = {}
    for one in streams(World(tenants=tenants, days=DAYS, luck_h=luck_h), tests, chance):
        all_said = _verdicts.paired(plan, one)
        said += first(all_said)[1].tolist()
        went_on += first(np.where(all_said == _verdicts.FUTILE, 0, all_said).astype(np.int8))[1].tolist()
        _rivals(one, rivals)
    agreed = sum(_verdicts.agrees(plan, one, number, [2, 9, DAYS]) for number in range(3))
    told: dict[str, Any] = {"tests": tests, "wrong": wrong(said), "had_it_gone_on": wrong(went_on), **shares(said)}
    told["agrees_with_judge"] = f"{agreed} of 9"
    return told | {"effect_alone": {name: wrong(each) for name, each in rivals.items()}}


def _rivals(one: Stream, into: dict[str, list[int]]) -> None:
    for unit, values in (("bursts", _verdicts.blocks(one)), ("incidents", _verdicts.singles(one))):
        for name, method in METHODS.items():
            into.setdefault(f"{name}, {unit}", []).extend(first(method(values, ALPHA))[1].tolist())


def by_size(name: str, changed: dict[str, Any], tests: int, chance: np.random.Generator) -> dict[str, Any]:
    """How validations of that world end on one platform and on eight tenants, and when in the median of the better."""
    told = {}
    for size, tenants in (("one platform", 1), ("eight tenants", TENANTS)):
        plan, world = _verdicts.plan_of(tenants, DAYS), World(tenants=tenants, **changed)
        ended = [first(_verdicts.paired(plan, one)) for one in streams(world, tests, chance)]
        said, at = (np.concatenate([each[place] for each in ended]) for place in (1, 0))
        days = at[said == 1] / tenants / BURSTS
        told[name.format(size)] = shares(said.tolist()) | {
            "median_days": round(float(np.median(days)), 1) if len(days) else None
        }
    return told


def standing(tests: int, chance: np.random.Generator) -> dict[str, Any]:
    """Equal models of which either now and then stands in alarm for days, and a champion that always does."""
    told: dict[str, Any] = {}
    for rate in (0.05, 0.1, 0.25):
        told |= by_size(f"either, {rate:g} a week, {{}}", {"standing": rate}, tests, chance)
    return told | by_size("the champion, all the time, {}", {"behind": True}, tests, chance)


def aa_split(even: bool, tests: int, chance: np.random.Generator) -> dict[str, Any]:
    """Equal policies."""
    plan, said = _verdicts.plan_of(TENANTS, 7 * WEEKS, OF_UNITS), []
    for done in range(0, tests, AT_ONCE):
        some = _units.units(min(AT_ONCE, tests - done), WEEKS, 0.0, chance, tenants=TENANTS, even=even)
        said += first(_verdicts.split(plan, some))[1].tolist()
    return {"tests": tests, "wrong": wrong(said), **shares(said)}


def power_paired(tenants: int, effect: float, tests: int, chance: np.random.Generator, days: int) -> dict[str, Any]:
    """How often a better challenger is called so, by length, and after how many days by the median."""
    plan, ended = _verdicts.plan_of(tenants, days), []
    for one in streams(World(odds=odds_for(effect), tenants=tenants, days=days), tests, chance):
        at, said = first(_verdicts.paired(plan, one))
        ended += [(int(each) // tenants // BURSTS + 1, int(how)) for each, how in zip(at, said, strict=True)]
    found = [day for day, how in ended if how == 1]
    within = {str(length): sum(day <= length for day in found) / len(ended) for length in LENGTHS if length <= days}
    return {
        "tests": tests,
        "effect": effect,
        "found_within_days": within,
        "called_worse": sum(how == -1 for _, how in ended) / len(ended),
        "median_days": float(np.median(found)) if len(found) * 2 > len(ended) else None,
    }


def rivals_power(tests: int, chance: np.random.Generator) -> dict[str, float]:
    """The other ways on one platform at the stated effect: the share that says better first."""
    said: dict[str, list[int]] = {}
    for one in streams(World(odds=odds_for(EFFECT), tenants=1, days=DAYS), tests, chance):
        _rivals(one, said)
    return {name: round(float((np.array(each) == 1).mean()), 4) for name, each in said.items()}


def power_split(effect: float, tests: int, chance: np.random.Generator, weeks: int) -> dict[str, Any]:
    """The same of policies."""
    plan, said = _verdicts.plan_of(TENANTS, 7 * weeks, OF_UNITS), []
    for done in range(0, tests, AT_ONCE):
        some = _units.units(
            min(AT_ONCE, tests - done), weeks, _units.odds_for(effect), chance, tenants=TENANTS, even=False
        )
        said += first(_verdicts.split(plan, some))[1].tolist()
    return {"tests": tests, "effect": effect, "weeks": weeks, **shares(said)}


def harmful(tests: int, chance: np.random.Generator) -> dict[str, Any]:
    """Challengers that must not pass: how often they are called better or worse, and after how many days by the median.

    And equal ones whose latency lies exactly on what is tolerated: how often the guard is shown broken all the same.
    """
    plan, told = _verdicts.plan_of(TENANTS, DAYS), {}
    worlds = {
        "finds more, ten times slower": World(odds=odds_for(EFFECT), slow=10.0),
        "finds more, pages 20 times as often": World(odds=odds_for(EFFECT), pages=20.0),
        "finds 0.1 less": World(odds=odds_for(-0.1)),
        "finds 0.2 less, pages hardly ever": World(odds=odds_for(-0.2), loud=40.0),
    }
    for name, world in worlds.items():
        ended = [first(_verdicts.paired(plan, one)) for one in streams(world, tests, chance)]
        said = np.concatenate([how for _, how in ended])
        days = np.concatenate([at for at, _ in ended])[said == -1] / TENANTS / BURSTS
        told[name] = shares(said.tolist()) | {"median_days": round(float(np.median(days)), 2) if len(days) else None}
    alike = World(slow=_verdicts.slowest(plan))
    edge = [_verdicts.median_shown(one.ratios, plan) for one in streams(alike, tests, chance)]
    told["latency on the edge"] = {"shown_broken": round(float(np.concatenate(edge).mean()), 4)}
    return told


def quieter(tests: int, chance: np.random.Generator) -> dict[str, Any]:
    """Challengers that find as much as a champion that pages too much: when they are called better."""
    told: dict[str, Any] = {}
    for per_week, loud in (("2.5", 10.0), ("5", 20.0), ("10", 40.0)):
        told |= by_size(f"{{}}, {per_week} pages a week", {"loud": loud}, tests, chance)
    return told


def measure(tests: int) -> dict[str, Any]:
    """Everything that is published but the machine and the date."""
    chance = np.random.default_rng(SEED)
    aa: dict[str, Any] = {}
    for name, tenants in (("paired, eight tenants", TENANTS), ("paired, one platform", 1)):
        aa[name] = aa_paired(tenants, tests, chance)
        say(f"A/A {name}: {aa[name]}")
    # What a burst of six hours does not hold together; told beside the others, and no form of its own.
    stress = aa_paired(TENANTS, max(tests // 4, 3), chance, luck_h=12.0)
    say(f"luck of 12 hours: {stress}")
    for name, even in (("split, by the coin", False), ("split, balanced", True)):
        aa[name] = aa_split(even, tests, chance)
        say(f"A/A {name}: {aa[name]}")
    some = max(tests // 4, 1)
    power: dict[str, Any] = {
        "paired, one platform": power_paired(1, EFFECT, some, chance, DAYS),
        "split": power_split(EFFECT, some, chance, WEEKS),
    }
    say(f"power: {power}")
    curves = {
        name: [power_paired(tenants, effect, few, chance, LENGTHS[-1]) for effect in EFFECTS]
        for name, tenants, few in (("one platform", 1, some), ("eight tenants", TENANTS, max(some // 5, 1)))
    }
    curves["split"] = [power_split(effect, max(some // 5, 1), chance, weeks) for effect in EFFECTS for weeks in (4, 8)]
    stated = power["paired, one platform"]["found_within_days"][str(DAYS)]
    return {
        "name": "ab",
        "figures": {
            "aa_wrong_verdicts": max(each["wrong"] for each in aa.values()),
            "power": round(min(stated, power["split"]["better"]), 4),
        },
        "baselines": {"A/A": aa["paired, eight tenants"]["effect_alone"], "power": rivals_power(some, chance)},
        "goals": {"aa_wrong_verdicts": f"must <= {MOST_WRONG}", "power": f"goal >= {LEAST_POWER}"},
        "details": {
            "aa": aa,
            "luck_of_12_hours": stress,
            "power": power,
            "curves": curves,
            "harmful": harmful(max(some // 5, 1), chance),
            "quieter": quieter(max(some // 5, 1), chance),
            "standing": standing(some, chance),
        },
        "data": f"made: {TENANTS} unequal tenants, one injected anomaly an hour each, incidents in bursts",
        "stated": f"+{EFFECT} of recall on one platform within {DAYS} days; +{EFFECT} of {TENANTS * 10} units a week, "
        f"{WEEKS} weeks",
        "seed": SEED,
    }


def main() -> int:
    """Measure, publish, and say whether what must be shown is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the result there, and its page and picture beside it")
    parser.add_argument("--tests", type=int, default=TESTS, help=f"A/A tests of each form (default {TESTS:,})")
    options = parser.parse_args()
    began = monotonic()
    told = measure(options.tests)
    publish(told, monotonic() - began, options.json, page)
    if options.json is not None:
        options.json.with_suffix(".png").write_bytes(picture(told["details"]["curves"], LENGTHS))
    return 0 if told["figures"]["aa_wrong_verdicts"] <= MOST_WRONG else 1


if __name__ == "__main__":
    sys.exit(main())
