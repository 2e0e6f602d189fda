"""Whether a training that searches for settings makes better models than the defaults, and what that costs.

Each seed is a platform read once a minute: calm days, then others, once clean and once with the whole catalogue of
faults. Every family gets a model with the kind's defaults, and one with the settings that a search of so many trials
finds on the half that teaches. Thresholds of all families are set together on the half that is held out, at one page a
week; there the gate's anomalies are counted, and in the days after them the faults, as `make bench NAME=kinds` does.
`make bench NAME=search`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time
from typing import Any

from ml.calibration import calibrate
from ml.gate import worse
from ml.kinds import DEFAULT
from ml.search import Trial, chosen
from tasks.prove import prove
from tasks.search import search
from tasks.train import Lesson, budget_of, calm_of_lessons, learn
from tests.benchmarks import _spent
from tests.benchmarks._published import publish, say
from tests.benchmarks._simulated import Simulated, offer_platforms
from tests.benchmarks.budget import LIMIT
from tonewatch.settings import PageBudget, Search, load_profile

#: Trials of a search; the first is that of the defaults alone.
BUDGETS = (1, 4, 8, 16)


@dataclass(frozen=True)
class Platform:
    """A seed, clean and with faults, and the stretches that it is divided into."""

    clean: Simulated
    faulted: Simulated
    ticks: _spent.Stretches
    kind: str


def seed_of(seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What each budget of trials comes to on one platform."""
    whole = options.calm_days + options.days
    clean, faulted = (
        Simulated(seed, options.series, whole, options.calm_days, each, options.per_week) for each in (False, True)
    )
    profile = load_profile("platform").model_copy(update=_spent.MINUTES | {"budget": PageBudget(pages_per_week=1.0)})
    of = Platform(clean, faulted, _spent.Stretches.of(clean, profile), options.kind)
    defaults = _spent.lessons_of(clean, of.ticks, options.kind)
    tried = {lesson.family: _tried(of, lesson, len(defaults)) for lesson in defaults}
    done: dict[str, dict[str, Any]] = {}
    told = []
    for trials in BUDGETS:
        lessons = [_with(of, lesson, tried[lesson.family][0][:trials]) for lesson in defaults]
        key = str([dict(lesson.settings) for lesson in lessons])
        if key not in done:
            done[key] = _judged(of, lessons)
        cost = sum(seconds[min(trials, len(seconds)) - 1] for _, seconds in tried.values()) if trials > 1 else 0.0
        told.append({"seed": seed, "trials": trials, "search_cpu_s": round(cost, 1), **done[key]})
    return told


def _tried(of: Platform, lesson: Lesson, families: int) -> tuple[list[Trial], list[float]]:
    """The trials of a family, and the processor's seconds until the end of each."""
    chains, began = _spent.chains(of.clean), process_time()
    groups = [chains[entity] for entity in lesson.entities]
    found = search(
        lesson.family,
        lesson.learned,
        groups,
        families,
        of.ticks.stretch,
        seed=of.clean.seed,
        kind=of.kind,
        effort=Search(trials=max(BUDGETS), seconds=1e9),
    )
    spent = process_time() - began
    return found, [spent * (number + 1) / len(found) for number in range(len(found))] or [spent]


def _with(of: Platform, lesson: Lesson, trials: Sequence[Trial]) -> Lesson:
    settings: Mapping[str, Any] = chosen(trials).settings if trials else {}
    if not trials or chosen(trials) is trials[0]:
        return lesson
    return learn(lesson.family, lesson.learned, lesson.held_out, seed=of.clean.seed, kind=of.kind, settings=settings)


def _judged(of: Platform, lessons: Sequence[Lesson]) -> dict[str, Any]:
    """The gate's recall of each family, and faults found and pages in the days afterwards."""
    stretch, chains, seed = of.ticks.stretch, _spent.chains(of.clean), of.clean.seed
    calibration = calibrate(calm_of_lessons(lessons, chains), budget_of(stretch.profile), resamples=60, seed=seed)
    gates = {}
    for lesson in lessons:
        groups = [chains[entity] for entity in lesson.entities]
        verdict = prove(lesson, calibration, None, stretch, groups, len(lessons), seed=seed)
        gates[lesson.family] = round(verdict.figures.get("gate_recall", 0.0), 4)
    thresholds = _spent.thresholds_of(calibration)
    quiet, hurt = (
        _spent.opened(each, _spent.forests(each, lessons, of.ticks), thresholds, of.ticks)
        for each in (of.clean, of.faulted)
    )
    found = [one.delay_s is not None for one in _spent.found(of.faulted, hurt, LIMIT)]
    settings = {lesson.family: str(dict(lesson.settings)) for lesson in lessons if lesson.settings}
    return {"gate": gates, "faults": found, "pages": len(quiet), "settings": settings}


def document(told: Sequence[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """The result: by trials, the gate's recall, faults, pages, and seconds of the processor."""
    import numpy as np

    by = {trials: [each for each in told if each["trials"] == trials] for trials in BUDGETS}
    first = np.array([one for each in by[1] for one in each["faults"]])
    found: dict[str, Any] = {}
    for trials, some in by.items():
        flags = np.array([one for each in some for one in each["faults"]])
        gates = [value for each in some for value in each["gate"].values()]
        found[str(trials)] = {
            "gate_recall": round(float(np.mean(gates)), 3),
            "fault_recall": round(float(flags.mean()), 3),
            "faults_found": int(flags.sum()),
            "faults": len(flags),
            "won": int((flags & ~first).sum()),
            "lost": int((first & ~flags).sum()),
            "by_chance": round(worse(first, flags), 4),
            "pages_per_week": round(sum(each["pages"] for each in some) / (options.days / 7 * options.seeds), 2),
            "search_cpu_s": round(sum(each["search_cpu_s"] for each in some) / len(some), 1),
            "changed": sum(len(each["settings"]) for each in some),
            "families": sum(len(each["gate"]) for each in some),
        }
    figures = {"gain": round(found[str(BUDGETS[-1])]["fault_recall"] - found["1"]["fault_recall"], 3)}
    setting = {name: getattr(options, name) for name in ("first", "seeds", "series", "calm_days", "days", "per_week")}
    return {
        "setting": setting | {"kind": options.kind},
        "figures": figures | {"trials": found},
        "goals": {"a search by default": "more faults found than by chance, at no more pages"},
        "baselines": ["the kind's defaults: one trial"],
        "data": (
            f"simulated platforms of {options.series} series, {options.calm_days:g} calm days, then {options.days:g} "
            f"clean, and the same with {options.per_week:g} faults a week"
        ),
        "seed": list(range(options.first, options.first + options.seeds)),
        "seeds": list(told),
    }


PAGE = """\
# Searching for settings

Whether a training that tries other settings of a kind ({kind}) makes better models than its defaults.
`make bench NAME=search` writes this page.

{table}

Data: seeds {first} to {last} of the simulator, {series} series each, read once a minute; {calm_days:g} calm days, then
{days:g} days with {per_week:g} faults of the whole catalogue a week, and the same days clean for the pages. A trial is
judged on the half of the calm that teaches (`tasks/search.py`); thresholds are set on the other, all families together,
at one page a week; the gate's recall is that of the anomalies that are injected into it. Won and lost: faults that the
searched models find and the defaults do not, and the other way round; by chance: how likely it is by chance alone that
so many of these are won (sign test). Family models alone: rules and single series are not asked.

{machine}, {date}, {seconds} s.
"""


def page(told: dict[str, Any]) -> str:
    """The result for people."""
    head = ("trials", "gate's recall", "faults found", "won, lost", "by chance", "pages a week", "changed", "CPU s")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for trials, each in told["figures"]["trials"].items():
        row = (
            trials,
            f"{each['gate_recall']:.3f}",
            f"{each['fault_recall']:.3f} ({each['faults_found']}/{each['faults']})",
            f"{each['won']}, {each['lost']}",
            f"{each['by_chance']:.3f}",
            f"{each['pages_per_week']:.2f}",
            f"{each['changed']} of {each['families']} families",
            f"{each['search_cpu_s']:.0f}",
        )
        lines.append("| " + " | ".join(row) + " |")
    setting = told["setting"]
    words = setting | {"last": setting["first"] + setting["seeds"] - 1, "table": "\n".join(lines)}
    return PAGE.format(**words, **{name: told[name] for name in ("machine", "date", "seconds")})


def main() -> None:
    """Run it and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    offer_platforms(parser, first=211)
    parser.add_argument("--kind", default=DEFAULT, help=f"which (default {DEFAULT})")
    parser.add_argument("--out", type=Path, help="keep what each seed told in this file")
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    options = parser.parse_args()
    began, told = monotonic(), []
    for seed in range(options.first, options.first + options.seeds):
        some = seed_of(seed, options)
        told += some
        for each in some:
            gate = sum(each["gate"].values()) / len(each["gate"])
            told_ = f"gate {gate:.3f}, {sum(each['faults'])} faults, {each['pages']} pages"
            say(f"seed {seed}, {each['trials']} trials: {told_}")
        if options.out is not None:
            options.out.write_text(json.dumps(told) + "\n", encoding="utf-8")
    publish(document(told, options), monotonic() - began, options.json, page)


if __name__ == "__main__":
    main()
