"""The page budget on simulated platforms: pages in clean weeks, and what is found at that budget, beside two rivals.

Each seed is a platform of 100 series read once a minute: 28 calm days, then 30 clean ones, with all that the simulator
does by default (common factors, releases, holidays, growth, planned work, missing scrapes); and the same platform with
the whole catalogue of faults in those 30. Thresholds come from the calm days alone. All series of several seeds are
scored side by side by the streaming ensemble; forests are learned per family as the product learns them.
`make bench NAME=budget`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.calibration import Calm
from ml.detectors.stream import StreamState
from ml.ensemble import QUIET, default_ensemble
from tasks.alongside import least_score
from tasks.calibrate import CAUTION, STREAMED, Way
from tasks.train import budget_of
from tests.benchmarks import _followed, _rivals, _spent
from tests.benchmarks._budget_page import CALM_DAYS, document, page
from tests.benchmarks._followed import Scored
from tests.benchmarks._published import publish, say
from tests.benchmarks._simulated import Simulated
from tonewatch.settings import PageBudget, load_profile
from warehouse.calibrations import COURSE

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
#: Of the calm ticks, the clean test and the faulted one: (ticks, series) each.
Three = tuple[Floats, Floats, Floats]
TOGETHER = 5
#: A fault is found if an incident opens while it is there; of shorter ones until so long after their onset.
LIMIT = timedelta(minutes=10)
#: The rivals' scores become incidents like ours: runs by what each needs, and the same time in which one is one.
RIVALS = {"netdata": Way(3, QUIET), "signoz": Way(5, QUIET)}
DEFAULTS = {"netdata": _rivals.ANOMALOUS, "signoz": _rivals.ALERTS}


def group(seeds: Sequence[int], series: int, days: float, ensemble: bool) -> list[dict[str, Any]]:
    """Some seeds, from the simulation to what was found."""
    whole = CALM_DAYS + days
    clean = [Simulated(seed, series, whole, CALM_DAYS, faults=False) for seed in seeds]
    faulted = [Simulated(seed, series, whole, CALM_DAYS, faults=True) for seed in seeds]
    calm, end = clean[0].calm_steps, clean[0].simulation.wish.steps
    began = process_time()
    courses = _thrice(clean, faulted, _followed.begin(clean), _followed.course, (calm, end))
    took = process_time() - began
    say(f"seeds {seeds[0]} to {seeds[-1]}: {took:.0f} CPU s for the course")
    streams: Sequence[tuple[Scored, Scored, Scored] | None] = [None] * len(seeds)
    if ensemble:
        state = default_ensemble().begin(series * len(seeds), np.concatenate([each.counters for each in clean]))
        streams = _thrice(clean, faulted, state, _followed.stream, (calm, end))
    return [
        Seed(*each).told() | {"course_s": round(took / len(seeds), 1)}
        for each in zip(clean, faulted, courses, streams, strict=True)
    ]


def _thrice(
    clean: Sequence[Simulated], faulted: Sequence[Simulated], state: StreamState, by: Any, steps: tuple[int, int]
) -> list[tuple[Any, Any, Any]]:
    """What `by` says of each platform: in the second half of its calm, in the clean test and in the faulted one."""
    calm, end = steps
    early = by(clean, 0, calm, state, calm // 2)
    forked = state.copy()
    late = by(clean, calm, end, state, calm)
    return list(zip(early, late, by(faulted, calm, end, forked, calm), strict=True))


class Seed:
    """One platform, clean and with faults, and everything that is asked of it."""

    def __init__(
        self,
        clean: Simulated,
        faulted: Simulated,
        courses: tuple[Singles, Singles, Singles],
        streams: tuple[Scored, Scored, Scored] | None,
    ) -> None:
        profile = load_profile("platform").model_copy(
            update=_spent.MINUTES | {"budget": PageBudget(pages_per_week=1.0)}
        )
        self.clean, self.faulted = clean, faulted
        self.ticks = _spent.Stretches.of(clean, profile)
        self.first, self.last = self.ticks.steps(clean)
        self.rates, self.hurt_rates = clean.rates(), faulted.rates()
        self.courses, self.streams = courses, streams
        self.lessons = _spent.lessons_of(clean, self.ticks)
        self.run = budget_of(profile).run

    def told(self) -> dict[str, Any]:
        """The figures of each party."""
        forests = [_spent.forests(each, self.lessons, self.ticks) for each in (self.clean, self.faulted)]
        course = self._course()
        parties = {
            "tonewatch": self._ours(forests, course=course),
            "tonewatch, the calm's own threshold": self._ours(forests, course=course, prior=False),
            "tonewatch, course alone": self._ours(None, course=course),
        }
        if self.streams is not None:
            lasting = self._streamed(self.streams)
            parties |= {
                "tonewatch, the ensemble's reports as well": self._ours(forests, course=course, streamed=lasting),
                "tonewatch, the ensemble's reports instead": self._ours(forests, streamed=lasting),
            }
        for name, way in RIVALS.items():
            scores = self._rival(name)
            parties[f"{name}, calibrated"] = self._calibrated(name, scores, way)
            parties[f"{name}, its default"] = self._default(name, scores)
        say(f"seed {self.clean.seed}: " + json.dumps({name: each["weeks"] for name, each in parties.items()}))
        return {"seed": self.clean.seed, "parties": parties}

    def _course(self) -> Three:
        early, late, hurt = (each.astype(np.float64) for each in self.courses)
        return self._cut(early, late), late[1:], hurt[1:]

    def _streamed(self, streams: tuple[Scored, Scored, Scored]) -> Three:
        early, late = (each.lasting(self.rates, self.run) for each in streams[:2])
        return self._cut(early, late), late[1:], streams[2].lasting(self.hurt_rates, self.run)[1:]

    def _cut(self, early: Floats, late: Floats) -> Floats:
        """The calm ticks; what the calm's last tell is known with the first of the test."""
        both, first = np.concatenate([early, late]), self.clean.calm_steps - len(early)
        return both[self.first - first : self.last - first + 1]

    def _ours(
        self, forests: Any, *, course: Three | None = None, streamed: Three | None = None, prior: bool = True
    ) -> dict[str, Any]:
        calm: dict[str, Calm] = {}
        told: list[list[_spent.Told]] = [[], []] if forests is None else [list(each) for each in forests]
        if course is not None:
            calm |= _spent.course_calm(self.clean, course[0], self.ticks)
            for into, platform, scores in zip(told, (self.clean, self.faulted), course[1:], strict=True):
                into.append(_spent.course_told(platform, scores))
        if streamed is not None:
            calm |= _spent.series_calm(self.clean, streamed[0], self.ticks, STREAMED)
            for into, platform, scores in zip(told, (self.clean, self.faulted), streamed[1:], strict=True):
                into += _spent.series_told(platform, scores, STREAMED, "series")
        pages = self.ticks.stretch.profile.budget.pages_per_week
        least = {COURSE: least_score(int(self.clean.followed.sum()), pages)} if prior else {}
        fit = _spent.ours(self.clean, [] if forests is None else self.lessons, calm, self.ticks, least)
        fitted = {name: getattr(fit, name) for name in ("rate", "aim", "seen", "tail")}
        return self._lived(told, _spent.thresholds_of(fit)) | {"fit": fitted}

    def _rival(self, name: str) -> Three:
        every, calm = self.clean.simulation.wish.every_s, self.clean.calm_steps
        judge, warm = getattr(_rivals, name), 5 * 1440
        clean = judge(self.rates, every)
        hurt = judge(self.hurt_rates[calm - warm :], every)[warm:]
        clean, hurt = (np.maximum(each, 0.0) / (1.0 + np.maximum(each, 0.0)) for each in (clean, hurt))
        return clean[self.first : self.last + 1], clean[calm + 1 :], hurt[1:]

    def _calibrated(self, name: str, scores: Three, way: Way) -> dict[str, Any]:
        fit = _spent.rival(self.clean, scores[0], self.ticks, way, CAUTION)
        # below this the vote is not told exactly
        least = _shown(DEFAULTS[name]) if name == "netdata" else 0.0
        thresholds = {family: max(value, least) for family, value in _spent.thresholds_of(fit).items()}
        return self._lived(self._series(scores, way, name), thresholds)

    def _default(self, name: str, scores: Three) -> dict[str, Any]:
        told = self._series(scores, Way(1, QUIET), name)
        return self._lived(told, {each.family: _shown(DEFAULTS[name]) for each in told[0]})

    def _series(self, scores: Three, way: Way, name: str) -> list[list[_spent.Told]]:
        return [
            _spent.series_told(platform, each, way, name)
            for platform, each in zip((self.clean, self.faulted), scores[1:], strict=True)
        ]

    def _lived(self, told: Sequence[Sequence[_spent.Told]], thresholds: dict[str, float]) -> dict[str, Any]:
        clean = _spent.opened(self.clean, told[0], thresholds, self.ticks)
        hurt = _spent.opened(self.faulted, told[1], thresholds, self.ticks)
        return {
            "weeks": _spent.weeks(clean, self.ticks),
            "found": [asdict(each) for each in _spent.found(self.faulted, hurt, LIMIT)],
            "by_chance": [each.delay_s is not None for each in _spent.found(self.faulted, clean, LIMIT)],
            "pages": [_spent.cause(self.clean, each) for each in clean[:20]],
            "opened_with_faults": len(hurt),
        }


def _shown(score: float) -> float:
    return score / (1.0 + score)


def _group(asked: tuple[list[int], int, float, bool]) -> list[dict[str, Any]]:
    return group(*asked)


def main() -> None:
    """Run it and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20, help="how many platforms (default 20)")
    parser.add_argument(
        "--first", type=int, default=1, help="the first seed; choices were made on 101 and on (default 1)"
    )
    parser.add_argument("--series", type=int, default=100, help="series of each (default 100)")
    parser.add_argument("--days", type=float, default=30.0, help="days after the 28 calm ones (default 30)")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with seeds of its own (default 1)")
    parser.add_argument("--ensemble", action="store_true", help="beside it what the ensemble's reports open, too")
    parser.add_argument("--out", type=Path, help="keep what each seed told in this file")
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    options = parser.parse_args()
    began = monotonic()
    seeds = list(range(options.first, options.first + options.seeds))
    asked = [
        (seeds[at : at + TOGETHER], options.series, options.days, options.ensemble)
        for at in range(0, len(seeds), TOGETHER)
    ]
    told: list[dict[str, Any]] = []
    # a pool of processes that notices when one of them is killed for its memory
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for some in pool.map(_group, asked):
            told += some
            if options.out is not None:
                options.out.write_text(json.dumps(told) + "\n", encoding="utf-8")
    publish(document(told, options.series, options.days), monotonic() - began, options.json, page)


if __name__ == "__main__":
    main()
