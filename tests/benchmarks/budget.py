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
from dataclasses import asdict, dataclass
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.ensemble import QUIET, StreamState, default_ensemble
from ml.episodes import confirmed
from tasks.calibrate import CAUTION, STREAMED, Way
from tasks.train import Lesson, budget_of
from tests.benchmarks import _rivals, _spent
from tests.benchmarks._budget_page import document, page
from tests.benchmarks._published import publish, say
from tests.benchmarks._simulated import Simulated
from tonewatch.settings import PageBudget, load_profile

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
CALM_DAYS, TOGETHER = 28.0, 5
#: A fault is found if an incident opens while it is there; of shorter ones until so long after their onset.
LIMIT = timedelta(minutes=10)
#: The rivals' scores become incidents like ours: runs by what each needs, and the same time in which one is one.
RIVALS = {"netdata": Way(3, QUIET), "signoz": Way(5, QUIET)}
DEFAULTS = {"netdata": _rivals.ANOMALOUS, "signoz": _rivals.ALERTS}


@dataclass(frozen=True)
class Scored:
    """What the ensemble said of one platform, (ticks, series) each, from tick `first` on."""

    first: int
    score: Singles
    expected: Singles
    actual: Singles

    def lasting(self, rates: Floats, run: int) -> Floats:
        """The scores that count: of what lasted."""
        values = rates[self.first : self.first + len(self.score)].T
        told = (np.asarray(each.T, np.float64) for each in (self.score, self.expected, self.actual))
        return confirmed(*told, values, run).T


def stream(platforms: Sequence[Simulated], first: int, until: int, state: StreamState, kept: int) -> list[Scored]:
    """Score the steps first..until of all platforms side by side; keep what was said from `kept` on."""
    ensemble, width = default_ensemble(), platforms[0].series
    every = platforms[0].simulation.wish.every_s
    shape = (len(platforms), until - kept, width)
    score, expected, actual = (np.empty(shape, np.float32) for _ in range(3))
    for step in range(first, until):
        values = np.concatenate([each.values[step] for each in platforms])
        state, judged = ensemble.score(state, np.full(len(values), step * every), values)
        if step >= kept:
            for into, told in ((score, judged.score), (expected, judged.expected), (actual, judged.actual)):
                into[:, step - kept] = told.reshape(len(platforms), width)
    return [Scored(kept, *each) for each in zip(score, expected, actual, strict=True)]


def group(seeds: Sequence[int], series: int, days: float) -> list[dict[str, Any]]:
    """Some seeds, from the simulation to what was found."""
    whole = CALM_DAYS + days
    clean = [Simulated(seed, series, whole, CALM_DAYS, faults=False) for seed in seeds]
    faulted = [Simulated(seed, series, whole, CALM_DAYS, faults=True) for seed in seeds]
    state = default_ensemble().begin(series * len(seeds), np.concatenate([each.counters for each in clean]))
    calm, end = clean[0].calm_steps, clean[0].simulation.wish.steps
    began = process_time()
    early = stream(clean, 0, calm, state, calm // 2)
    forked = state.copy()
    late = stream(clean, calm, end, state, calm)
    hurt = stream(faulted, calm, end, forked, calm)
    took = process_time() - began
    say(f"seeds {seeds[0]} to {seeds[-1]}: {took:.0f} CPU s for the ensemble")
    return [
        Seed(*each).told() | {"ensemble_s": round(took / len(seeds), 1)}
        for each in zip(clean, faulted, zip(early, late, hurt, strict=True), strict=True)
    ]


class Seed:
    """One platform, clean and with faults, and everything that is asked of it."""

    def __init__(self, clean: Simulated, faulted: Simulated, scored: tuple[Scored, Scored, Scored]) -> None:
        profile = load_profile("platform").model_copy(
            update=_spent.MINUTES | {"budget": PageBudget(pages_per_week=1.0)}
        )
        self.clean, self.faulted = clean, faulted
        self.ticks = _spent.Stretches.of(clean, profile)
        self.first, self.last = self.ticks.steps(clean)
        self.rates, self.hurt_rates = clean.rates(), faulted.rates()
        self.early, self.late, self.hurt = scored
        self.lessons = _spent.lessons_of(clean, self.ticks)
        self.run = budget_of(profile).run

    def told(self) -> dict[str, Any]:
        """The figures of each party."""
        forests = [_spent.forests(each, self.lessons, self.ticks) for each in (self.clean, self.faulted)]
        lasting = self._streamed(self.run)
        parties = {
            "tonewatch": self._ours(self.lessons, lasting, forests, CAUTION),
            "tonewatch, median of the resamples": self._ours(self.lessons, lasting, forests, 0.5),
            "tonewatch, each report at once": self._ours(self.lessons, self._streamed(1), forests, CAUTION),
            "tonewatch, series alone": self._ours([], lasting, ([], []), CAUTION),
        }
        for name, way in RIVALS.items():
            scores = self._rival(name)
            parties[f"{name}, calibrated"] = self._calibrated(name, scores, way)
            parties[f"{name}, its default"] = self._default(name, scores)
        say(f"seed {self.clean.seed}: " + json.dumps({name: each["weeks"] for name, each in parties.items()}))
        return {"seed": self.clean.seed, "parties": parties}

    def _streamed(self, run: int) -> tuple[Floats, Floats, Floats]:
        """Of the calm ticks, the clean test and the faulted one."""
        early, late = (each.lasting(self.rates, run) for each in (self.early, self.late))
        both = np.concatenate([early, late])
        # what the calm's last ticks tell is known with the first of the test
        calm = both[self.first - self.early.first : self.last - self.early.first + 1]
        return calm, late[1:], self.hurt.lasting(self.hurt_rates, run)[1:]

    def _ours(
        self, lessons: Sequence[Lesson], scores: tuple[Floats, Floats, Floats], forests: Any, caution: float
    ) -> dict[str, Any]:
        calm, test, hurt = scores
        fit = _spent.ours(self.clean, lessons, calm, self.ticks, STREAMED, caution)
        told = [
            [*forest, *_spent.series_told(platform, each, STREAMED, "series")]
            for forest, platform, each in zip(forests, (self.clean, self.faulted), (test, hurt), strict=True)
        ]
        fitted = {name: getattr(fit, name) for name in ("rate", "aim", "seen", "tail")}
        return self._lived(told, _spent.thresholds_of(fit)) | {"fit": fitted}

    def _rival(self, name: str) -> tuple[Floats, Floats, Floats]:
        every, calm = self.clean.simulation.wish.every_s, self.clean.calm_steps
        judge, warm = getattr(_rivals, name), 5 * 1440
        clean = judge(self.rates, every)
        hurt = judge(self.hurt_rates[calm - warm :], every)[warm:]
        clean, hurt = (np.maximum(each, 0.0) / (1.0 + np.maximum(each, 0.0)) for each in (clean, hurt))
        return clean[self.first : self.last + 1], clean[calm + 1 :], hurt[1:]

    def _calibrated(self, name: str, scores: tuple[Floats, Floats, Floats], way: Way) -> dict[str, Any]:
        fit = _spent.rival(self.clean, scores[0], self.ticks, way, CAUTION)
        # below this the vote is not told exactly
        least = _shown(DEFAULTS[name]) if name == "netdata" else 0.0
        thresholds = {family: max(value, least) for family, value in _spent.thresholds_of(fit).items()}
        return self._lived(self._series(scores, way, name), thresholds)

    def _default(self, name: str, scores: tuple[Floats, Floats, Floats]) -> dict[str, Any]:
        told = self._series(scores, Way(1, QUIET), name)
        return self._lived(told, {each.family: _shown(DEFAULTS[name]) for each in told[0]})

    def _series(self, scores: tuple[Floats, Floats, Floats], way: Way, name: str) -> list[list[_spent.Told]]:
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


def _group(asked: tuple[list[int], int, float]) -> list[dict[str, Any]]:
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
    parser.add_argument("--out", type=Path, help="keep what each seed told in this file")
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    options = parser.parse_args()
    began = monotonic()
    seeds = list(range(options.first, options.first + options.seeds))
    asked = [(seeds[at : at + TOGETHER], options.series, options.days) for at in range(0, len(seeds), TOGETHER)]
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
