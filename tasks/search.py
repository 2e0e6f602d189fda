"""Searching: which settings of a kind find most on calm that the model to be made has learned nothing from.

Only the half that teaches is asked: its first half teaches each candidate, its second half, an embargo later, gets the
gate's anomalies (ml/gate.py). Each is judged at the threshold by which it keeps to the page budget there. So the half
that is held out has not chosen anything when it sets the threshold and proves the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np

from feature_store.definitions import floors, names
from feature_store.windows import FeatureFrame
from ml import gate
from ml.calibration import Calm, calibrate, refuse_short
from ml.kinds import DEFAULT, kind_of
from ml.search import Trial, candidates, chosen
from tasks.detect import NOTABLE
from tasks.prove import RESAMPLES, bounds_of
from tasks.train import Lesson, Stretch, budget_of, halves, learn, notable_matrix, score_matrix, strands_of
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import ModelError
from tonewatch.settings import Search
from warehouse.database import Warehouse


@dataclass(frozen=True, slots=True, eq=False)
class _Bench:
    """What every candidate is judged by: the two parts of the half that teaches, and anomalies in the second."""

    family: str
    teaching: FeatureFrame
    judging: FeatureFrame
    anomalies: gate.Anomalies
    groups: Sequence[int]
    families: int
    stretch: Stretch
    kind: str
    seed: int


async def train_best(
    warehouse: Warehouse,
    stretch: Stretch,
    family: str,
    entities: Sequence[str],
    groups: Sequence[int],
    families: int,
    *,
    seed: int,
    kind: str = DEFAULT,
    effort: Search,
    clock: Clock = SYSTEM,
) -> Lesson:
    """As tasks.train.train, with the settings that a search of at most `effort` finds best.

    groups: as in ml.calibration.Calm, of `entities`; families: how many share the budget. Raises ModelError as train.
    """
    learned, held_out = await halves(warehouse, stretch, family, entities, kind=kind)
    trials: list[Trial] = []
    if effort.trials > 1:
        which: dict[str, Any] = {"seed": seed, "kind": kind, "effort": effort, "clock": clock}
        trials = await asyncio.to_thread(search, family, learned, groups, families, stretch, **which)
    how: dict[str, Any] = {"seed": seed, "kind": kind, "phases": stretch.phases}
    settings = chosen(trials).settings if trials else {}
    lesson = await asyncio.to_thread(learn, family, learned, held_out, settings=settings, **how)
    return replace(lesson, trials=[_row(number, trial) for number, trial in enumerate(trials)])


def search(
    family: str,
    learned: FeatureFrame,
    groups: Sequence[int],
    families: int,
    stretch: Stretch,
    *,
    seed: int,
    kind: str = DEFAULT,
    effort: Search,
    clock: Clock = SYSTEM,
) -> list[Trial]:
    """Try settings of the kind on the half that teaches, the defaults first; time cuts the list, and orders nothing.

    None: that half is too short to be asked. The same data, seed and number of trials give the same.
    """
    began = clock.monotonic()
    some = candidates(kind_of(kind).space, effort.trials, seed)
    teaching, judging = parted(learned, stretch.profile.window_seconds)
    blank = [kind_of(kind).make(names(family), floors(family), seed, **each) for each in some]
    calm, budget = strands_of(blank[0], judging, stretch.phases), budget_of(stretch.profile)
    before = max(each.looks_back for each in blank)
    anomalies = gate.inject(calm, bounds_of(family, stretch.profile), budget.run, before, seed=seed)
    if anomalies is None:
        return []
    bench = _Bench(family, teaching, judging, anomalies, groups, families, stretch, kind, seed)
    tried: list[Trial] = []
    for each in some:
        if tried and clock.monotonic() > began + effort.seconds:
            break
        tried.append(_tried(bench, each))
    return tried


def parted(frame: FeatureFrame, window_seconds: float) -> tuple[FeatureFrame, FeatureFrame]:
    """A frame's windows up to its middle, and those that begin after it."""
    parts = len(set(frame.entities))
    ends = frame.ends[: len(frame.ends) // max(parts, 1)]
    if not ends:
        return frame, frame
    window = timedelta(seconds=window_seconds)
    middle = ends[0] - window + (ends[-1] - (ends[0] - window)) / 2
    first = sum(end <= middle for end in ends)
    second = sum(end - window < middle for end in ends)
    return _columns(frame, parts, slice(0, first)), _columns(frame, parts, slice(second, None))


def _columns(frame: FeatureFrame, parts: int, some: slice) -> FeatureFrame:
    """The same windows of each entity."""

    def cut(values: Any) -> Any:
        array = np.asarray(values, dtype=object) if isinstance(values, tuple) else values
        return array.reshape(parts, -1, *array.shape[1:])[:, some].reshape(-1, *array.shape[1:])

    return replace(
        frame,
        entities=tuple(cut(frame.entities)),
        ends=tuple(cut(frame.ends)),
        values=cut(frame.values),
        coverage=cut(frame.coverage),
    )


def _tried(bench: _Bench, settings: Mapping[str, Any]) -> Trial:
    """What the kind finds with these settings, at the threshold by which it keeps to the budget in the judging part."""
    phases, profile = bench.stretch.phases, bench.stretch.profile
    detector = kind_of(bench.kind).make(names(bench.family), floors(bench.family), bench.seed, **settings)
    try:
        detector.teach([strands_of(detector, bench.teaching, phases)])
        scores = score_matrix(detector, bench.judging, phases)
        refuse_short(bench.family, scores)
        calm = {bench.family: Calm(scores, notable_matrix(detector, bench.judging), bench.groups)}
        budget = budget_of(profile, 1 / max(bench.families, 1))
        found = calibrate(calm, budget, phases=phases, resamples=RESAMPLES, seed=bench.seed)
    except ModelError as error:
        return Trial(settings, np.zeros(0, np.bool_), failure=str(error))
    threshold = found.thresholds[bench.family].value
    met = gate.found(detector, threshold, NOTABLE, bench.anomalies, budget_of(profile).run)
    return Trial(settings, met, threshold)


def _row(number: int, trial: Trial) -> dict[str, Any]:
    """A line of the table that the run keeps."""
    low, high = gate.recall_interval(trial.found) if len(trial.found) else (float("nan"),) * 2
    told = {"trial": number, "settings": str(dict(trial.settings)), "recall": trial.recall}
    return told | {"recall_low": low, "recall_high": high, "threshold": trial.threshold, "failure": trial.failure}
