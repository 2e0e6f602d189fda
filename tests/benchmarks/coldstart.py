"""Cold start on simulated platforms: what a new series tells and sees at first, with and without what its family lends.

One series of each family that has four or more is new after two days; the others are known by then, and the highest
confirmed score of their second day is the threshold. Counted are the newcomer's false reports in its first 300 rounds,
and how long a shift of six robust standard deviations stays unnoticed that begins soon after it.
`make bench NAME=coldstart`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from ml import prior
from ml.detectors.stream import StreamState
from ml.ensemble import default_ensemble
from ml.lasting import Lasting
from tasks.follow import family_of
from tests.benchmarks._published import publish, say
from tests.benchmarks._simulated import Simulated

Floats = npt.NDArray[np.float64]
DAY, KNOWN_DAYS, RUN, LEAST = 1440, 2, 5, 4
#: Rounds of a newcomer in which reports without a shift are false; where shifts begin; and how late one is missed.
EARLY, ONSETS, MISSED = 300, (20, 60, 150), 200
SHIFT = 6.0
ARMS = ("alone", "lent")


@dataclass
class Counted:
    """One arm over all newcomers. delays: of each onset in rounds, None: not noticed in time."""

    newcomers: int = 0
    false: int = 0
    delays: dict[int, list[int | None]] = field(default_factory=lambda: {onset: [] for onset in ONSETS})

    def told(self) -> dict[str, Any]:
        """The figures."""
        found = {
            f"shift_at_{onset}": {
                "noticed": round(sum(each is not None for each in delays) / max(len(delays), 1), 3),
                "median_rounds": float(np.median([float(each) for each in delays if each is not None] or [np.nan])),
            }
            for onset, delays in self.delays.items()
        }
        return {"newcomers": self.newcomers, "false_reports": self.false, **found}


def platform(seed: int, counted: dict[str, Counted]) -> None:
    """One simulated platform: what its newcomers tell is added to `counted`."""
    simulated = Simulated(seed, 100, 3.0, 2.9, faults=False)
    rates, families = simulated.rates(), [family_of(name) for name in simulated.names]
    last = {family: row for row, family in enumerate(families) if families.count(family) >= LEAST}
    newcomers = sorted(last.values())
    siblings = [row for row in range(len(families)) if row not in newcomers]
    known, thresholds = _known(rates[:, siblings], [families[row] for row in siblings])
    for arm in ARMS:
        for row in newcomers:
            own = np.array([at for at, other in enumerate(siblings) if families[other] == families[row]], np.int64)
            values = _shifted(rates[KNOWN_DAYS * DAY :, row])
            lent = (known, own) if arm == "lent" else None
            found = _reports(values, lent, thresholds[families[row]])
            counted[arm].newcomers += 1
            counted[arm].false += sum(0 <= at < EARLY for at in found[0])
            for lane, onset in enumerate(ONSETS, start=1):
                late = [at - onset for at in found[lane] if onset <= at < onset + MISSED]
                counted[arm].delays[onset].append(min(late, default=None))


def _known(rates: Floats, families: list[str]) -> tuple[StreamState, dict[str, float]]:
    """The state of series that are two days old, and each family's highest confirmed score of the second."""
    ensemble, lasting = default_ensemble(), Lasting(RUN)
    state = ensemble.begin(rates.shape[1])
    thresholds = dict.fromkeys(families, 0.0)
    for step in range(KNOWN_DAYS * DAY):
        times = np.full(rates.shape[1], step * 60.0)
        state, judged = ensemble.score(state, times, rates[step])
        for each in lasting.step(step, times, judged):
            if step >= DAY:
                family = families[each["row"]]
                thresholds[family] = max(thresholds[family], float(each["score"]))
    return state, thresholds


def _shifted(values: Floats) -> Floats:
    """(rounds, lanes): as they are, and with a shift from each onset on."""
    lanes = np.repeat(values[: max(ONSETS) + 2 * MISSED, None], 1 + len(ONSETS), axis=1)
    calm = values[np.isfinite(values)]
    spread = 1.4826 * float(np.median(np.abs(calm - np.median(calm)))) or float(calm.std()) or 1.0
    for lane, onset in enumerate(ONSETS, start=1):
        lanes[onset:, lane] += SHIFT * spread
    return lanes


def _reports(
    values: Floats, lent: tuple[StreamState, npt.NDArray[np.int64]] | None, threshold: float
) -> list[list[int]]:
    """The rounds, by lane, in which something was told."""
    ensemble, lasting = default_ensemble(), Lasting(RUN)
    lanes = values.shape[1]
    state, first = ensemble.begin(lanes), KNOWN_DAYS * DAY
    told: list[list[int]] = [[] for _ in range(lanes)]
    waits = lent is not None
    for step, row in enumerate(values):
        times = np.full(lanes, (first + step) * 60.0)
        state, judged = ensemble.score(state, times, row)
        if waits and lent is not None and np.isfinite(judged.value).all():
            waits = False
            state = _with_prior(state, *lent, ensemble.least)
        for each in lasting.step(step, times, judged):
            if each["score"] > threshold:
                told[each["row"]].append(step)
    return told


def _with_prior(state: StreamState, known: StreamState, own: npt.NDArray[np.int64], least: int) -> StreamState:
    both = StreamState({name: np.concatenate([known.arrays[name], each]) for name, each in state.arrays.items()})
    for row in range(len(known), len(both)):
        prior.lend(both, row, own, least)
    return StreamState({name: each[len(known) :].copy() for name, each in both.arrays.items()})


def page(told: dict[str, Any]) -> str:
    """docs/results/coldstart.md."""
    rows = []
    for arm, found in told["details"].items():
        shifts = [found[f"shift_at_{onset}"] for onset in ONSETS]
        cells = [f"{each['noticed']:.0%} after {each['median_rounds']:g}".replace("%", " %") for each in shifts]
        rows.append(f"| {arm} | {found['newcomers']} | {found['false_reports']} | {' | '.join(cells)} |")
    return "\n".join(
        [
            "# Cold start",
            "",
            f"{told['machine']}, {told['date']}, seeds {told['seed'][0]} to {told['seed'][-1]}; {told['data']}. "
            "Made by `make bench NAME=coldstart`.",
            "",
            "A new series with nothing (*alone*) and with what its family lends (*lent*, `ml/prior.py`): "
            f"false reports in its first {EARLY} rounds; of shifts of {SHIFT:g} robust standard deviations that "
            f"begin so many rounds after it, the share noticed within {MISSED} rounds, and the median of how many "
            f"that took. A report is confirmed {RUN - 1} rounds after what it tells; the threshold is the highest "
            "confirmed score of the siblings' second day.",
            "",
            "| | newcomers | false reports | " + " | ".join(f"shift at {onset}" for onset in ONSETS) + " |",
            "|---|---|---|" + "---|" * len(ONSETS),
            *rows,
            "",
        ]
    )


def main() -> None:
    """Run it and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="how many platforms (default 10)")
    parser.add_argument("--first", type=int, default=501, help="the first seed (default 501)")
    parser.add_argument("--json", type=Path, help="write the result to this file, and its page beside it")
    options = parser.parse_args()
    began, counted = monotonic(), {arm: Counted() for arm in ARMS}
    seeds = list(range(options.first, options.first + options.seeds))
    for seed in seeds:
        platform(seed, counted)
        say(f"seed {seed}: {counted['lent'].newcomers} newcomers so far")
    details = {arm: found.told() for arm, found in counted.items()}
    figures = {f"{name}_{arm}": details[arm][name] for arm in ARMS for name in ("false_reports",)} | {
        f"noticed_at_20_{arm}": details[arm]["shift_at_20"]["noticed"] for arm in ARMS
    }
    told = {
        "name": "coldstart",
        "figures": figures,
        "details": details,
        "data": f"simulator, {len(seeds)} platforms of 100 series at 1 minute",
        "seed": seeds,
    }
    publish(told, monotonic() - began, options.json, page)


if __name__ == "__main__":
    main()
