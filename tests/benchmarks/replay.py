"""Replay of recorded incidents: bit for bit the same twice, and planted regressions refused with the list.

At least 200 incidents (docs/recordings.md, "Cases"): real ones of the soundstage as its watcher recorded them, each
fault of three seeds, and simulated ones, judged by rules and by forests that learned from the platform's calm days.
Every case is replayed in two processes. Then changes that make things worse are planted, and held against it.
`make bench NAME=replay`; DATA=folder: a library in place of the real ones.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

from flows.gate import Judges, figures, judge_all
from ml.champion import Champion
from tasks.compare import Compared, Outcome, compare
from tests.benchmarks import _cases
from tests.benchmarks._published import publish, say
from tonewatch.cases import Case, library

FIRST_SEED, WANTED, WANTED_REAL = 501, 200, 20
#: Changes that make things worse, by name.
PLANTED = (
    "scrapes must fail ten times as often before it is told",
    "no silence is told before a minute of it",
    "the threshold of every forest goes half of the way to 1",
    "every forest's threshold falls by a third",
)


def planted(name: str, cases: Sequence[Case], champions: Mapping[str, Champion]) -> tuple[list[Case], Judges]:
    """The cases as the change would have them judged."""
    place, changed = PLANTED.index(name), dict(champions)
    cases = list(cases)
    if place == 0:
        cases = [_with(case, scrapes_failed=10 * case.profile.scrapes_failed) for case in cases]
    elif place == 1:
        cases = [_with(case, silence_seconds=60.0) for case in cases]
    elif place == 2:
        changed = {family: replace(each, threshold=(1 + each.threshold) / 2) for family, each in champions.items()}
    else:
        changed = {family: replace(each, threshold=each.threshold * 2 / 3) for family, each in champions.items()}
    return cases, Judges(changed)


def _with(case: Case, **changed: float) -> Case:
    return replace(case, profile=case.profile.model_copy(update=changed))


def run(cases: Sequence[Case], champions: Mapping[str, Champion], change: str | None = None) -> list[Outcome]:
    """Replay them in this process."""
    judged, judges = (cases, Judges(champions)) if change is None else planted(change, cases, champions)
    return judge_all(judged, judges)


def measure(folder: Path, data: Path | None, wanted: int, jobs: int) -> dict[str, Any]:
    """Everything, from the recordings to the list of what each planted change breaks."""
    groups: list[tuple[Sequence[Case], Mapping[str, Champion]]] = []
    real = library(data) if data is not None else _cases.real(folder / "real")
    groups.append((real, {}))
    seed = FIRST_SEED
    while sum(_incidents(cases) for cases, _ in groups) < wanted:
        platform = _cases.simulated(seed, folder / f"simulated-{seed}")
        groups.append((platform.cases, platform.champions))
        say(f"{sum(_incidents(cases) for cases, _ in groups)} incidents recorded")
        seed += 1
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        passes = [[pool.submit(run, *group) for group in groups] for _ in range(2)]
        # Of the simulated platforms one is enough to hear of a planted change.
        changes = {name: [pool.submit(run, *group, name) for group in groups[:2]] for name in PLANTED}
        first, second = ([each for part in some for each in part.result()] for some in passes)
        say(f"{len(first)} cases replayed twice")
        refused = {
            name: compare(
                [each for part in passes[0][:2] for each in part.result()],
                [each for part in parts for each in part.result()],
            )
            for name, parts in changes.items()
        }
    return document(groups, first, second, refused)


def _incidents(cases: Sequence[Case]) -> int:
    return sum(case.expected is not None for case in cases)


def document(
    groups: Sequence[tuple[Sequence[Case], Mapping[str, Champion]]],
    first: Sequence[Outcome],
    second: Sequence[Outcome],
    refused: Mapping[str, Compared],
) -> dict[str, Any]:
    """The result."""
    source = {case.name: case.source for cases, _ in groups for case in cases}
    kind = {case.name: case.expected.cause.rpartition(":")[2] for cases, _ in groups for case in cases if case.expected}
    exact = [one for one, other in zip(first, second, strict=True) if one == other]
    incidents = [each for each in first if not each.calm]
    return {
        "figures": {
            "bit_exact": sum(not each.calm for each in exact),
            "incidents": len(incidents),
            "incidents_real": sum(source[each.case] == "soundstage" for each in incidents),
            "calm": len(first) - len(incidents),
            "calm_bit_exact": sum(each.calm for each in exact),
            "planted_refused": sum(each.refused for each in refused.values()),
            "found": {
                where: figures([each for each in first if source[each.case] == where])
                for where in sorted(set(source.values()))
            },
            "found_by_kind": dict(
                sorted(Counter(kind[each.case] for each in incidents if each.found_s is not None).items())
            ),
            "incidents_by_kind": dict(sorted(Counter(kind[each.case] for each in incidents).items())),
        },
        "planted": {name: asdict(each) | {"refused": each.refused} for name, each in refused.items()},
        "baselines": {"no gate": "each planted change would go live"},
        "goals": {
            "bit_exact": f"must be all of >= {WANTED} incidents, >= {WANTED_REAL} of them real",
            "planted_refused": f"must be all {len(PLANTED)}",
        },
        "data": "soundstage, 2 channels, 20 players, every fault of three seeds, as recorded; simulator, "
        f"{len(groups) - 1} platforms of {_cases.SERIES} series at 1 minute, {_cases.CALM_DAYS:g} calm days, then "
        f"{_cases.DAYS:g} with {_cases.PER_WEEK:g} faults a week",
        "seed": [FIRST_SEED, FIRST_SEED + len(groups) - 2],
    }


def page(told: dict[str, Any]) -> str:
    """The same for people."""
    found = told["figures"]
    lines = [
        "# The replay gate",
        "",
        f"{told['data']}; {told['machine']}; {told['date']}. Made by `make bench NAME=replay`.",
        "",
        f"{found['bit_exact']} of {found['incidents']} recorded incidents ({found['incidents_real']} of them of a real "
        f"soundstage) and {found['calm_bit_exact']} of {found['calm']} calm periods came out bit for bit the same "
        "in two processes.",
        "",
        "| recorded from | incidents | found | median s | pages besides | false pages in calm |",
        "|---|---|---|---|---|---|",
    ]
    for where, each in found["found"].items():
        lines.append(
            f"| {where} | {each['incidents']:.0f} | {each['found']:.0f} | {each['median_found_s']:.0f} | "
            f"{each['pages_besides']:.0f} | {each['false_pages_in_calm']:.0f} |"
        )
    lines += [
        "",
        "Found by kind: "
        + ", ".join(f"{k} {found['found_by_kind'].get(k, 0)} of {n}" for k, n in found["incidents_by_kind"].items()),
    ]
    for name, each in told["planted"].items():
        verdict = "refused" if each["refused"] else "NOT refused"
        lines += ["", f"## {name[0].upper()}{name[1:]}: {verdict}", ""]
        lines += [f"{len(each['worse'])} got worse, {len(each['better'])} better, {each['same']} the same.", ""]
        shown = list(each["worse"].items())
        lines += [f"- {case}: {why}" for case, why in shown[:40]]
        lines += [f"- and {len(shown) - 40} more (replay.json)"] if len(shown) > 40 else []
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run it; 1 if a hash differed or a planted change was let through."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=WANTED, help=f"incidents at least (default {WANTED})")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    options = parser.parse_args()
    began, data = monotonic(), os.environ.get("DATA")
    with tempfile.TemporaryDirectory(prefix="tonewatch-cases-") as folder:
        told = measure(Path(folder), Path(data) if data else None, options.cases, options.jobs)
    publish(told, monotonic() - began, options.json, page)
    found = told["figures"]
    return int(found["bit_exact"] < found["incidents"] or found["planted_refused"] < len(PLANTED))


if __name__ == "__main__":
    raise SystemExit(main())
