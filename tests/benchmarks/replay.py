"""Replay of recorded incidents: bit for bit the same twice, and planted regressions refused with the list.

At least 200 incidents (docs/recordings.md, "Cases"): real ones of the soundstage as its watcher recorded them, each
fault of three seeds, judged by rules and decided on once more; and simulated ones, judged by rules, by forests that
learned from the platform's calm days, and by the course of the platform, which goes on from what it knew when the case
begins. Every case is replayed in two processes. Then changes are planted that make things worse, and some that do no
harm. `make bench NAME=replay`; DATA=folder: a library in place of the real ones.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from copy import copy
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

from flows.gate import Judges, figures, judge_all
from ml.champion import Champion
from ml.course import SCALED
from ml.fingerprint import fingerprint_of_course
from tasks.alongside import least_of
from tasks.compare import Compared, Outcome, compare
from tests.benchmarks import _cases, _replay_page
from tests.benchmarks._published import publish, say
from tonewatch.cases import Case, library
from tonewatch.settings import Escalation, MetricRule, PageBudget
from warehouse.calibrations import COURSE, Calibrated, Source

FIRST_SEED, WANTED, WANTED_REAL = 501, 200, 20
REAL, SIMULATED, FORESTS = "real", "simulated", "forests"


@dataclass(frozen=True, eq=False)
class Group:
    """Cases that are judged by the same. unskilled: challengers that have learned too little."""

    cases: Sequence[Case]
    judges: Judges
    unskilled: Mapping[str, Champion]


def _with(group: Group, **changed: object) -> Group:
    """As a change of the profile would have them judged."""
    cases = [replace(each, profile=each.profile.model_copy(update=changed)) for each in group.cases]
    return replace(group, cases=cases)


def _fewer_scrapes_told(group: Group) -> Group:
    most = max(each.profile.scrapes_failed for each in group.cases)
    return _with(group, scrapes_failed=10 * most)


def _rule_of_calm(group: Group) -> Group:
    rule = MetricRule(name="loop-lags", metric="event_loop_lag_seconds", above=0.02)
    return _with(group, rules=(rule,))


def _forests_deaf(group: Group) -> Group:
    deaf = {family: replace(each, threshold=1.0) for family, each in group.judges.champions.items()}
    return replace(group, judges=replace(group.judges, champions=deaf))


def _course_raised(group: Group) -> Group:
    """By four usual differences: a page in e to the 4 / 1.5 would be left."""
    least = least_of(_cases.SERIES, group.cases[0].profile.budget)
    score = 1 - (1 - least) * math.exp(-4 / SCALED)
    own = Calibrated(
        COURSE,
        fingerprint_of_course(),
        datetime(2026, 1, 1, tzinfo=UTC),
        score,
        score,
        score,
        score,
        0.0,
        "planted",
        Source.TRAINING,
        "planted",
    )
    return replace(group, judges=replace(group.judges, series={COURSE: own}))


def _budget_cut(group: Group) -> Group:
    return _with(group, budget=PageBudget(pages_per_week=_cases.PAGES / 200))


def _budget_wide(group: Group) -> Group:
    return _with(group, budget=PageBudget(pages_per_week=_cases.PAGES * 50))


def _steadier(group: Group) -> Group:
    limits = group.cases[0].profile.guardrails.model_copy(update={"steady_readings": 60})
    return _with(group, guardrails=limits)


def _not_granted(group: Group) -> Group:
    kept = tuple(each for each in group.cases[0].profile.grants if each.runbook != "restart")
    return _with(group, grants=kept)


def _unskilled(group: Group) -> Group:
    return replace(group, judges=replace(group.judges, champions=group.unskilled))


def _renamed(group: Group) -> Group:
    """The same forests under another version: every finding of theirs differs, by that alone."""
    again = {}
    for family, each in group.judges.champions.items():
        twin = copy(each.detector)
        twin.version = "9"
        again[family] = replace(each, detector=twin)
    return replace(group, judges=replace(group.judges, champions=again))


def _others_called(group: Group) -> Group:
    return _with(group, escalation=Escalation(l2_minutes=7.0))


#: Changes that make things worse: in words -> what of, and which cases hear of it.
PLANTED: Mapping[str, tuple[Callable[[Group], Group], str]] = {
    "a rule: scrapes must fail ten times as often before it is told": (_fewer_scrapes_told, REAL),
    "a rule: one of one's own that holds on calm days": (_rule_of_calm, REAL),
    "a guardrail: a fault must hold for 60 readings before anything is done": (_steadier, REAL),
    "the profile: nobody grants restarts any more": (_not_granted, REAL),
    "a threshold raised: no window reaches any forest's": (_forests_deaf, FORESTS),
    "challengers of less skill: they learned from days ten times as restless": (_unskilled, FORESTS),
    "a threshold raised: the course's, by four usual differences": (_course_raised, SIMULATED),
    "a threshold raised: the course's, by a page budget of a two-hundredth": (_budget_cut, SIMULATED),
    "a threshold lowered: the course's, by a page budget of fifty times as much": (_budget_wide, SIMULATED),
}
#: Changes that do no harm.
HARMLESS: Mapping[str, tuple[Callable[[Group], Group], str]] = {
    "the same forests, registered once more": (_renamed, FORESTS),
    "the profile: the unanswered are told to the next level sooner": (_others_called, REAL),
}
CHANGES = {**PLANTED, **HARMLESS}


def judged(group: Group, change: str | None = None) -> list[Outcome]:
    """Replay its cases in this process, as they are or as a change would have them judged."""
    if change is not None:
        make, _ = CHANGES[change]
        group = make(group)
        say(f"{change}:")
    return judge_all(group.cases, group.judges, say)


def simulated(seed: int, folder: Path) -> Group:
    """A platform's cases. No calm of its own sets the course's threshold: it is what others' calm has shown."""
    made = _cases.simulated(seed, folder)
    say(f"platform {seed}: {len(made.cases)} cases are written")
    return Group(made.cases, Judges(made.champions, series={}), made.unskilled)


@dataclass(frozen=True, eq=False)
class Measured:
    """first, second: every case's outcome, in either process; changes: by name; without: no single series followed."""

    groups: Sequence[Group]
    first: Sequence[Outcome]
    second: Sequence[Outcome]
    changes: Mapping[str, Compared]
    without: Sequence[Outcome]


def measure(folder: Path, data: Path | None, wanted: int) -> Measured:
    """Everything, from the recordings to the list of what each planted change breaks, in two processes."""
    real = Group(library(data) if data is not None else _cases.real(folder / REAL), Judges({}, series={}), {})
    with _process() as one, _process() as other:
        groups = [real, *_platforms((one, other), folder, wanted - _incidents(real))]
        passes = [[pool.submit(judged, group) for group in groups] for pool in (one, other)]
        forests = replace(groups[-1], judges=replace(groups[-1].judges, series=None))
        subjects = {REAL: real, SIMULATED: _hearing(groups[-1]), FORESTS: forests}
        alone, pools = other.submit(judged, forests), cycle((one, other))
        asked = {name: next(pools).submit(judged, subjects[whose], name) for name, (_, whose) in CHANGES.items()}
        first, second = (_told(some) for some in passes)
        say(f"{len(first)} cases are replayed twice")
        without = alone.result()
        before = {whose: {each.case: each for each in (without if whose == FORESTS else first)} for whose in subjects}
        told = {name: each.result() for name, each in asked.items()}
        changes = {
            name: compare([before[CHANGES[name][1]][each.case] for each in after], after)
            for name, after in told.items()
        }
        return Measured(groups, first, second, changes, without)


def _hearing(group: Group) -> Group:
    """All calm ones, and of the incidents every third: enough to hear of a planted change."""
    wrong = [each for each in group.cases if each.expected is not None]
    calm = [each for each in group.cases if each.expected is None]
    return replace(group, cases=[*calm, *wrong[::3]])


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def _platforms(pools: Sequence[ProcessPoolExecutor], folder: Path, wanted: int) -> list[Group]:
    """As many simulated platforms as give so many incidents, at least one: planted changes are tried on the last."""
    made: list[Group] = []
    while not made or sum(map(_incidents, made)) < wanted:
        missing = (wanted - sum(map(_incidents, made))) / (_cases.PER_WEEK * _cases.DAYS / 7)
        count = max(1, round(missing))
        seeds = range(FIRST_SEED + len(made), FIRST_SEED + len(made) + count)
        asked = [
            pool.submit(simulated, seed, folder / f"simulated-{seed}")
            for seed, pool in zip(seeds, cycle(pools), strict=False)
        ]
        made += [each.result() for each in asked]
        say(f"{sum(map(_incidents, made))} simulated incidents are recorded")
    return made


def _told(asked: Sequence[Future[list[Outcome]]]) -> list[Outcome]:
    return [each for part in asked for each in part.result()]


def _incidents(group: Group) -> int:
    return sum(case.expected is not None for case in group.cases)


def document(measured: Measured) -> dict[str, Any]:
    """The result."""
    cases = {case.name: case for group in measured.groups for case in group.cases}
    first = measured.first
    alone = {each.case for each in measured.without}
    refused = {name: each.refused for name, each in measured.changes.items()}
    return {
        "name": "replay",
        "figures": {
            "bit_exact": sum(one == other for one, other in zip(first, measured.second, strict=True)),
            "cases": len(first),
            "incidents": sum(not each.calm for each in first),
            "real": sum(not each.calm and cases[each.case].source == "soundstage" for each in first),
            "found": _found(first),
            "planted": len(PLANTED),
            "planted_refused": sum(refused[name] for name in PLANTED),
            "harmless": len(HARMLESS) + 1,
            "harmless_passed": sum(not refused[name] for name in HARMLESS)
            + (not compare(first, measured.second).refused),
        },
        "goals": {
            "bit_exact": "must be all cases",
            "incidents": f"must be >= {WANTED}",
            "real": f"must be >= {WANTED_REAL}",
            "planted_refused": "must be all that are planted",
            "harmless_passed": "must be all that are harmless",
        },
        "baselines": {
            "no gate": "each planted change would go live",
            "single series not followed": f"{_found(measured.without)} found of {len(measured.without)} cases of one "
            f"platform, {_found([one for one in first if one.case in alone])} with them",
        },
        "details": _details(measured, cases),
        "data": _data(measured),
        "seed": [FIRST_SEED + place for place in range(len(measured.groups) - 1)],
    }


def _found(outcomes: Sequence[Outcome]) -> int:
    return sum(each.found_s is not None for each in outcomes)


def _details(measured: Measured, cases: Mapping[str, Case]) -> dict[str, Any]:
    first = measured.first
    sources = sorted({case.source for case in cases.values()})
    kinds = {name: case.expected.cause.rpartition(":")[2] for name, case in cases.items() if case.expected}
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "found": {source: figures([each for each in first if cases[each.case].source == source]) for source in sources},
        "found_by_kind": dict(Counter(kinds[each.case] for each in first if each.found_s is not None)),
        "incidents_by_kind": dict(sorted(Counter(kinds.values()).items())),
        "changes": {name: asdict(each) | {"refused": each.refused} for name, each in measured.changes.items()},
        "most_memory_mb": round(most / 1024),
        "cpu_seconds": round(sum(each.ru_utime + each.ru_stime for each in cpu)),
        "library_hashes": [each.hash for each in first],
    }


def _data(measured: Measured) -> str:
    return (
        "soundstage, 2 channels, 20 players, every fault of three seeds, as recorded; simulator, "
        f"{len(measured.groups) - 1} platforms of {_cases.SERIES} series at 1 minute, {_cases.CALM_DAYS:g} calm days, "
        f"then {_cases.DAYS:g} with {_cases.PER_WEEK:g} faults a week"
    )


def main() -> int:
    """Run it; 1 if a hash differed, a planted change was let through or a harmless one refused."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=WANTED, help=f"incidents at least (default {WANTED})")
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    options = parser.parse_args()
    began, data = monotonic(), os.environ.get("DATA")
    with tempfile.TemporaryDirectory(prefix="tonewatch-cases-") as folder:
        told = document(measure(Path(folder), Path(data) if data else None, options.cases))
    publish(told, monotonic() - began, options.json, _replay_page.page)
    found = told["figures"]
    whole = (("bit_exact", "cases"), ("planted_refused", "planted"), ("harmless_passed", "harmless"))
    return int(any(found[part] < found[of] for part, of in whole))


if __name__ == "__main__":
    raise SystemExit(main())
