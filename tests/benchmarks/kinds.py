"""Kinds of model on simulated platforms: what each finds at the page budget, and what it costs.

Each seed is a platform read once a minute: calm days, then others, once clean and once with the whole catalogue of
faults. For each kind every family gets a model of it; their thresholds are set together on the second half of the calm
days, at one page a week. A fault counts for the family of the part that it hits first.
`make bench NAME=kinds`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, process_time
from typing import Any

from ml.calibration import calibrate
from ml.kinds import kind_of, kinds
from ml.kinds.base import written
from tasks.train import Lesson, budget_of, calm_of_lessons
from tests.benchmarks import _spent
from tests.benchmarks._published import publish, say
from tests.benchmarks._simulated import Simulated, offer_platforms
from tests.benchmarks.budget import LIMIT
from tonewatch.settings import PageBudget, load_profile

# The highest resident size as the kernel tells it of this program: getrusage's is also that of who started it.
MEASURED = """
import sys
from pathlib import Path
import numpy as np
from feature_store.definitions import floors, names
from ml.detectors.family import Strands
from ml.kinds import kind_of
rows = np.random.default_rng(0).normal(size=(1, 500, len(names("ingest"))))
made = kind_of(sys.argv[1]).make(names("ingest"), floors("ingest"), 0).teach([Strands(rows, np.ones((1, 500), bool))])
made.noticed(1.0)
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def seed_of(seed: int, kind: str, series: int, calm_days: float, days: float, per_week: float) -> dict[str, Any]:
    """What one kind does on one platform."""
    clean, faulted = (Simulated(seed, series, calm_days + days, calm_days, each, per_week) for each in (False, True))
    profile = load_profile("platform").model_copy(update=_spent.MINUTES | {"budget": PageBudget(pages_per_week=1.0)})
    ticks = _spent.Stretches.of(clean, profile)
    began = process_time()
    lessons = _spent.lessons_of(clean, ticks, kind)
    learned = process_time() - began
    chains = _spent.chains(clean)
    calm = calm_of_lessons(lessons, chains)
    calibration = calibrate(calm, budget_of(profile), resamples=60, seed=seed)
    thresholds = _spent.thresholds_of(calibration)
    told = [_spent.forests(each, lessons, ticks) for each in (clean, faulted)]
    quiet, hurt = (
        _spent.opened(each, some, thresholds, ticks) for each, some in zip((clean, faulted), told, strict=True)
    )
    found = _spent.found(faulted, hurt, LIMIT)
    parts, lines = faulted.simulation.platform.parts, faulted.simulation.platform.lines
    stages = [parts[lines[placed.hits[0].line].part].stage for placed in faulted.faulted]
    return {
        "seed": seed,
        "kind": kind,
        "families": [lesson.family for lesson in lessons],
        "faults": [[stage, one.name, one.delay_s] for stage, one in zip(stages, found, strict=True)],
        "pages": len(quiet),
        "learn_cpu_s": round(learned, 2),
        "score_cpu_us": round(_score_us(lessons), 2),
        "bytes": max(map(_size, lessons)),
    }


def _score_us(lessons: Sequence[Lesson]) -> float:
    """CPU microseconds per window, of 2,000 ticks of each family."""
    spent, windows = 0.0, 0
    for lesson in lessons:
        shape = (len(lesson.entities), -1, len(lesson.held_out.names))
        strands = lesson.held_out.values.reshape(shape)[:, :2000]
        began = process_time()
        lesson.detector.strangeness(strands)
        spent, windows = spent + process_time() - began, windows + strands.shape[0] * strands.shape[1]
    return spent / windows * 1e6


def _size(lesson: Lesson) -> int:
    packed = kind_of(lesson.detector.kind).pack(lesson.detector)
    if packed.pipeline is None:
        return sum(map(len, written(packed.state)))
    from skops import io

    return len(io.dumps(packed.pipeline))


def _resident(kind: str) -> float:
    """MiB of a process that has learned and scored with the kind, and nothing else."""
    done = subprocess.run([sys.executable, "-c", MEASURED, kind], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1]) / 1024


def document(told: Sequence[dict[str, Any]], options: argparse.Namespace, resident: dict[str, float]) -> dict[str, Any]:
    """The result: per kind recall, also by family, pages, and what it costs."""
    found: dict[str, Any] = {}
    weeks = options.days / 7 * options.seeds
    for kind in dict.fromkeys(each["kind"] for each in told):
        mine = [each for each in told if each["kind"] == kind]
        modelled = {(each["seed"], family) for each in mine for family in each["families"]}
        by_family: dict[str, list[bool]] = defaultdict(list)
        for each in mine:
            for stage, _, delay in each["faults"]:
                if (each["seed"], stage) in modelled:
                    by_family[stage].append(delay is not None)
        every = [one for some in by_family.values() for one in some]
        found[kind] = {
            "recall": round(sum(every) / len(every), 3),
            "found": sum(every),
            "faults": len(every),
            "by_family": {family: [sum(some), len(some)] for family, some in sorted(by_family.items())},
            "pages_per_week": round(sum(each["pages"] for each in mine) / weeks, 2),
            "learn_cpu_s": round(sum(each["learn_cpu_s"] for each in mine) / len(mine), 1),
            "score_cpu_us": round(sum(each["score_cpu_us"] for each in mine) / len(mine), 1),
            "bytes": max(each["bytes"] for each in mine),
            "resident_mib": round(resident[kind]),
        }
    setting = {name: getattr(options, name) for name in ("first", "seeds", "series", "calm_days", "days", "per_week")}
    return {
        "setting": setting,
        "figures": {"recall": {kind: each["recall"] for kind, each in found.items()}, "kinds": found},
        "goals": {"another kind becomes the default": "more found at no more pages, by more than the seeds differ"},
        "baselines": ["isolation forests, the default"],
        "data": (
            f"simulated platforms of {options.series} series, {options.calm_days:g} calm days, then {options.days:g} "
            f"clean, and the same with {options.per_week:g} faults a week"
        ),
        "seed": list(range(options.first, options.first + options.seeds)),
    }


COSTS = ("pages a week", "learning, CPU s", "a window, CPU µs", "artefact, kB", "process, MiB")
PAGE = """\
# Kinds of model

What each kind of family model finds on simulated platforms at one page a week, alone: rules and the models of single
series are not asked. `make bench NAME=kinds` writes this page.

{table}

Data: seeds {first} to {last} of the simulator, {series} series each, read once a minute; {calm_days:g} calm days, then
{days:g} days with {per_week:g} faults of the whole catalogue a week, and the same days clean for the pages.
Thresholds: of the second half of the calm days, all families together. A fault counts where the family of the part that
it hits first has a model. Process: one that has learned and scored, and nothing else.

{machine}, {date}, {seconds} s.
"""


def page(told: dict[str, Any]) -> str:
    """The result for people."""
    found = told["figures"]["kinds"]
    families = sorted({family for each in found.values() for family in each["by_family"]})
    head = ["kind", "recall", *families, *COSTS]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for kind, each in found.items():
        cells = ["{}/{}".format(*each["by_family"].get(family, (0, 0))) for family in families]
        cost = [each["pages_per_week"], each["learn_cpu_s"], each["score_cpu_us"]]
        cost += [each["bytes"] // 1000, each["resident_mib"]]
        row = [kind, f"{each['recall']:.2f} ({each['found']}/{each['faults']})", *cells, *map(str, cost)]
        lines.append("| " + " | ".join(row) + " |")
    setting = told["setting"]
    words = setting | {"last": setting["first"] + setting["seeds"] - 1, "table": "\n".join(lines)}
    return PAGE.format(**words, **{name: told[name] for name in ("machine", "date", "seconds")})


def main() -> None:
    """Run it and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    offer_platforms(parser, first=201)
    parser.add_argument("--kinds", default=",".join(kinds()), help="which, separated by commas (default all)")
    parser.add_argument("--out", type=Path, help="keep what each seed told in this file")
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    options = parser.parse_args()
    began, told = monotonic(), []
    wanted = options.kinds.split(",")
    for seed in range(options.first, options.first + options.seeds):
        for kind in wanted:
            one = seed_of(seed, kind, options.series, options.calm_days, options.days, options.per_week)
            told.append(one)
            seen = sum(delay is not None for *_, delay in one["faults"])
            say(f"seed {seed}, {kind}: {seen} of {len(one['faults'])}, {one['pages']} pages in clean days")
            if options.out is not None:
                options.out.write_text(json.dumps(told) + "\n", encoding="utf-8")
    resident = {kind: _resident(kind) for kind in wanted}
    publish(document(told, options, resident), monotonic() - began, options.json, page)


if __name__ == "__main__":
    main()
