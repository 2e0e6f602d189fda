"""How many series the default ensemble judges in a second on one core, and what it keeps of each.

Beside it the same of the course (ml/course.py), with which the watcher judges every series as well: on the same
samples, after it has been told that it knows the series' days, since it would take weeks to learn them.

100,000 made series (daily season, noise correlated in time, a jump here and there; a twentieth of the samples missing
in a second half). The ensemble is warmed up past its first phase, then timed round by round, a sample of each series
per round. The figure counts seconds that the one core worked for it (CPU time of the process, median of rounds), which
a machine that others use as well leaves alone; the same by wall clock, median and best, stands beside it.
Baselines of the same run on the same samples: scikit-learn's IsolationForest and PyOD's HBOS, ECOD and IForest, each
fitted once on windows of 8 and asked for the newest window of every series. PyOD lives in an environment that is made
for this run and never in the project. `make bench NAME=scoring`; red below
what must be shown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import IsolationForest

from ml.course import Course
from ml.ensemble import LEAST, default_ensemble
from tests.benchmarks._published import publish, say

SERIES, ROUNDS, SEED = 100_000, 16, 0
MUST, GOAL = 100_000, 300_000
MOST_BYTES, GOAL_BYTES = 18 * 1024, 4 * 1024
WINDOW, FITTED = 8, 20_000
PYOD = "pyod==3.6.7"
Floats = npt.NDArray[np.float64]


def samples(series: int, rounds: int) -> Iterator[tuple[Floats, Floats]]:
    """Times and values of round after round, (series,) each, one minute apart."""
    chance = np.random.default_rng(SEED)
    level, swing = chance.uniform(10.0, 1000.0, series), chance.uniform(0.0, 0.5, series)
    phase, noise = chance.uniform(0.0, 1.0, series), np.zeros(series)
    for number in range(rounds):
        noise = 0.7 * noise + chance.normal(0.0, 0.05, series)
        season = swing * np.sin(2 * np.pi * (number / 1440.0 + phase))
        jumped = np.where(chance.random(series) < 1e-4, 3.0, 0.0)
        yield np.full(series, 60.0 * number), level * (1.0 + season + noise + jumped)


def timed(once: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall clock and of CPU that it took."""
    began, cpu = perf_counter(), process_time()
    once()
    return perf_counter() - began, process_time() - cpu


def rates(series: int, took: list[tuple[float, float]]) -> dict[str, float]:
    """Evaluations per second: the median round and the best by wall clock, the median by CPU time."""
    return {
        "per_s": round(series / statistics.median(wall for wall, _ in took)),
        "best_per_s": round(series / min(wall for wall, _ in took)),
        "per_cpu_s": round(series / statistics.median(cpu for _, cpu in took)),
    }


def follow(series: int, rounds: int) -> tuple[dict[str, Any], Floats]:
    """The default ensemble's rates, and the last windows of all series, (rounds, series)."""
    ensemble = default_ensemble()
    state, kept = ensemble.begin(series), []
    whole: list[tuple[float, float]] = []
    holed: list[tuple[float, float]] = []
    warm = LEAST + 20
    chance = np.random.default_rng(SEED + 1)
    for number, (times, values) in enumerate(samples(series, warm + 2 * rounds)):
        lacks = number >= warm + rounds
        given = np.where(chance.random(series) < 0.05, np.nan, values) if lacks else values
        took = timed(lambda times=times, given=given: ensemble.score(state, times, given))  # type: ignore[misc]
        if number >= warm:
            (holed if lacks else whole).append(took)
            kept.append(values)
        if number % 40 == 39:
            say(f"round {number + 1} of {warm + 2 * rounds}")
    told: dict[str, Any] = rates(series, whole)
    told["with_missing"] = rates(series, holed)
    told["state_bytes"] = state.bytes_per_series
    told["snapshot_mb"] = round(len(state.snapshot({})) / 1e6, 1)
    return told, np.array(kept)


def course(series: int, rounds: int) -> dict[str, Any]:
    """The course's rates and state: every series has its days' profile, moves, and is judged."""
    follows = Course()
    state, chance = follows.begin(series), np.random.default_rng(SEED + 2)
    arrays = state.arrays
    arrays["offset"][:], arrays["days"][:], arrays["judged"][:], arrays["moving"][:] = 1.0, 14, 20_000, 1.0
    arrays["profile"][:], arrays["spread"][:], arrays["shake"][:] = np.nan, 0.05, 0.05
    took, warm = [], 3
    judged = 0
    for number, (times, values) in enumerate(samples(series, warm + rounds)):
        if number == 0:
            day = chance.normal(0.0, 0.2, 96)
            arrays["profile"][:] = np.log1p(values)[:, None, None] + day
            arrays["met"][:] = 20
        told: list[Any] = []
        spent = timed(lambda times=times, values=values, told=told: told.append(follows.score(state, times, values)))  # type: ignore[misc]
        if number >= warm:
            took.append(spent)
            judged = int(np.isfinite(told[0][1].score).sum())
    return rates(series, took) | {"state_bytes": state.bytes_per_series, "judged": judged}


def forest(rows: Floats, rounds: int) -> dict[str, float]:
    """scikit-learn's IsolationForest as it comes, fitted on some of the windows and asked for all."""
    model = IsolationForest(random_state=SEED, n_jobs=1).fit(rows[:FITTED])
    return rates(len(rows), [timed(lambda: model.score_samples(rows)) for _ in range(rounds)])


def windows(values: Floats) -> Floats:
    """The newest window of each series, (series, WINDOW), each as its share of its own mean."""
    newest = values[-WINDOW:].T
    return np.asarray(newest / newest.mean(axis=1, keepdims=True))


#: Runs in PyOD's own environment: numpy file of windows in, JSON out.
ASK_PYOD = """
import json, statistics, sys, time
import numpy as np, pyod
from pyod.models.ecod import ECOD
from pyod.models.hbos import HBOS
from pyod.models.iforest import IForest
rows, fitted, rounds = np.load(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
told = {"version": pyod.__version__}
for name, model in (("HBOS", HBOS()), ("ECOD", ECOD(n_jobs=1)), ("IForest", IForest(random_state=0, n_jobs=1))):
    model.fit(rows[:fitted])
    took = []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        model.decision_function(rows)
        took.append((time.perf_counter() - wall, time.process_time() - cpu))
    told[name] = {
        "per_s": round(len(rows) / statistics.median(wall for wall, _ in took)),
        "best_per_s": round(len(rows) / min(wall for wall, _ in took)),
        "per_cpu_s": round(len(rows) / statistics.median(cpu for _, cpu in took)),
    }
print(json.dumps(told))
"""


def pyod(rows: Floats, rounds: int) -> dict[str, Any]:
    """The same of PyOD, or why it could not be had."""
    with tempfile.TemporaryDirectory(prefix="tonewatch-pyod-") as folder:
        python, data = Path(folder) / "venv" / "bin" / "python", Path(folder) / "rows.npy"
        base = getattr(sys, "_base_executable", sys.executable)
        made = [[base, "-m", "venv", str(python.parent.parent)], [str(python), "-m", "pip", "install", "-q", PYOD]]
        np.save(data, rows)
        asked = [str(python), "-c", ASK_PYOD, str(data), str(FITTED), str(rounds)]
        for command in (*made, asked):
            said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
            if said.returncode:
                return {"not to be had": said.stderr.strip().splitlines()[-1:]}
        found: dict[str, Any] = json.loads(said.stdout.strip().splitlines()[-1])
        return found


def measure(series: int, rounds: int, with_pyod: bool) -> dict[str, Any]:
    """Everything that is published but the machine and the date."""
    own, values = follow(series, rounds)
    say(f"own: {own}")
    beside = course(series, rounds)
    say(f"course: {beside}")
    rows = windows(values)
    baselines = {"sklearn IsolationForest": forest(rows, max(3, rounds // 4))}
    say(f"forest: {baselines}")
    if with_pyod:
        baselines["PyOD"] = pyod(rows, max(3, rounds // 4))
        say(f"PyOD: {baselines['PyOD']}")
    return {
        "name": "scoring",
        "figures": {
            "evaluations_per_s": own["per_cpu_s"],
            "evaluations_per_wall_s": own["per_s"],
            "state_bytes": own["state_bytes"],
            "course_per_s": beside["per_cpu_s"],
            "course_state_bytes": beside["state_bytes"],
        },
        "baselines": baselines,
        "goals": {
            "evaluations_per_s": f"must >= {MUST:,}, goal >= {GOAL:,}",
            "state_bytes": f"must <= {MOST_BYTES:,}, goal <= {GOAL_BYTES:,}",
        },
        "details": own | {"course": beside},
        "data": f"made: {series:,} series, one core; load average at the end {os.getloadavg()[0]:.1f}",
        "seed": SEED,
    }


def page(told: dict[str, Any]) -> str:
    """docs/results/scoring.md."""
    own = told["details"]
    named = {
        "**default ensemble**": own,
        "the same, a twentieth of the samples missing": own["with_missing"],
        "course of the platform": own["course"],
    }
    for name, found in told["baselines"].items():
        if name == "PyOD":
            named |= {
                f"PyOD {found.get('version', '')} {model}": of for model, of in found.items() if isinstance(of, dict)
            }
        else:
            named[name] = found
    lines = [
        "# Scoring",
        "",
        f"{told['machine']}, {told['date']}, seed {told['seed']}; {told['data']}. Made by `make bench NAME=scoring`.",
        "",
        f"**{told['figures']['evaluations_per_s']:,} series a second** ({told['goals']['evaluations_per_s']}), "
        f"**{told['figures']['state_bytes']:,} bytes of state per series** ({told['goals']['state_bytes']}). "
        "By the core's own seconds: others worked on the machine. "
        "It is the same ensemble as in [nab.md](nab.md). The others are fitted once and keep nothing of a series: "
        "they neither learn while they score nor know what is usual for it.",
        "",
        f"The watcher runs the course of the platform beside it: {told['figures']['course_per_s']:,} series a second, "
        f"{told['figures']['course_state_bytes']:,} bytes each, "
        f"both together {told['figures']['state_bytes'] + told['figures']['course_state_bytes']:,}. The course's state "
        "is held twice while the newest round may still be completed by late samples, and is in the snapshot once.",
        "",
        "| detector | per second of the core | by wall clock, median round | best round |",
        "|---|---|---|---|",
        *(f"| {name} | {of['per_cpu_s']:,} | {of['per_s']:,} | {of['best_per_s']:,} |" for name, of in named.items()),
    ]
    if "not to be had" in told["baselines"].get("PyOD", {}):
        lines += ["", f"PyOD could not be had: {told['baselines']['PyOD']['not to be had']}"]
    return "\n".join([*lines, ""])


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the result there, and its page beside it")
    parser.add_argument("--series", type=int, default=SERIES)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds that are timed")
    parser.add_argument("--without-pyod", action="store_true", help="make no environment for PyOD")
    return parser.parse_args()


def main() -> int:
    """Measure on one core, publish, and say whether what must be shown is."""
    options = arguments()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    began = perf_counter()
    told = measure(options.series, options.rounds, not options.without_pyod)
    publish(told, perf_counter() - began, options.json, page)
    figures = told["figures"]
    return 0 if figures["evaluations_per_s"] >= MUST and figures["state_bytes"] <= MOST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
