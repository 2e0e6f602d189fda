"""Per-series scores and the forests' spend one page budget: the calm of many series, and what their scores open.

Scores of single series come from the streaming ensemble (ml/ensemble.py), which tells only what is new: one report
opens an incident, and holds as long as the ensemble keeps repeats to itself. Pure: what is read comes in as arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from ml.calibration import Calibration, Calm, calibrate
from ml.ensemble import QUIET
from ml.episodes import Span, spans
from policy.grouping import AFTER_WORK, CAUSE_SEEN_LATER, MAINTENANCE, explained
from tasks.backtest import Episode
from tasks.follow import family_of as family_of  # whoever calibrates finds the families here
from tasks.train import Lesson, Stretch, budget_of, calm_of_lessons
from tonewatch.errors import ModelError
from tonewatch.records import Change, Finding, FindingKind, Series
from tonewatch.topology import Topology
from warehouse.calibrations import Calibrated, Source

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Way:
    """How a detector's scores become incidents. run: windows in a row above; hold: ticks that one such run holds on."""

    run: int
    hold: int


#: A threshold is this quantile of those of so many resamples of the calm.
CAUTION, RESAMPLES = 0.95, 60
#: The streaming ensemble's.
STREAMED = Way(run=1, hold=QUIET)


def calm_of_series(
    names: Sequence[Series], scores: Floats, chains: Mapping[str, int], disturbed: Flags, way: Way = STREAMED
) -> dict[str, Calm]:
    """Each family's calm, from the scores of single series in a calm stretch.

    scores: (series, ticks) in [0, 1), NaN: not judged; chains: of each entity (tasks.train.chains_of); disturbed: the
    same shape, where announced work explains what is strange. A family that was never judged is left out: it cannot
    fire. Raises ModelError: other shapes.
    """
    if scores.shape != disturbed.shape or len(scores) != len(names):
        raise ModelError(f"scores of shape {scores.shape} and {disturbed.shape} for {len(names)} series")
    rows: dict[str, list[int]] = {}
    for row, series in enumerate(names):
        rows.setdefault(family_of(series), []).append(row)
    found = {}
    for family, own in rows.items():
        told = np.where(disturbed[own], np.nan, scores[own])
        if np.isfinite(told).any():
            groups = [chains[names[row].entity] for row in own]
            found[family] = Calm(told, np.ones(told.shape, np.bool_), groups, run=way.run, hold=way.hold)
    return found


def disturbed(
    entities: Sequence[str], ends: Sequence[datetime], changes: Iterable[Change], topology: Topology
) -> Flags:
    """Where announced work on an entity, or upstream of it, explains what is strange: (entities, ticks)."""
    times = np.array([end.timestamp() for end in ends])
    found = np.zeros((len(entities), len(times)), np.bool_)
    for change in changes:
        if change.kind != MAINTENANCE or change.ended is None:
            continue
        first = (change.started - CAUSE_SEEN_LATER).timestamp()
        during = slice(*np.searchsorted(times, [first, (change.ended + AFTER_WORK).timestamp()]).tolist())
        for row, entity in enumerate(entities):
            if topology.reaches(change.entity, entity):
                found[row, during] = True
    return found


def together(
    lessons: Sequence[Lesson],
    series: Mapping[str, Calm],
    chains: Mapping[str, int],
    stretch: Stretch,
    *,
    seed: int,
    caution: float = CAUTION,
    least: Mapping[str, float] | None = None,
) -> Calibration:
    """Thresholds of the families that have a forest and of single series, which spend one budget in the same windows.

    chains: of each entity of either. caution: a threshold is this quantile of those of the resamples; least: by family,
    below which none is set. Raises ModelError: too little calm telemetry, or windows that are not the same.
    """
    calm = calm_of_lessons(lessons, chains) | dict(series)
    budget = budget_of(stretch.profile)
    return calibrate(calm, budget, phases=stretch.phases, caution=caution, resamples=RESAMPLES, seed=seed, least=least)


def fit_of(stretch: Stretch, family: str, version: str, calibration: Calibration, now: datetime) -> Calibrated:
    """The threshold that the stretch's calm has set for a version of the family's model, as a row of the warehouse."""
    threshold = calibration.thresholds[family]
    return Calibrated(
        family=family,
        version=version,
        made=now,
        threshold=threshold.value,
        low=threshold.low,
        high=threshold.high,
        highest=threshold.highest,
        rate=calibration.rate,
        tail=calibration.tail,
        source=Source.TRAINING,
        reason=f"calm telemetry of {stretch.middle.isoformat()} to {stretch.end.isoformat()}",
    )


def episodes_of(
    tenant: str,
    rows: Sequence[tuple[str, str]],
    scores: Floats,
    thresholds: Sequence[float],
    ends: Sequence[datetime],
    way: Way,
) -> Iterator[Episode]:
    """What scores above their thresholds would have told: a finding of kind `signal` for each stretch.

    rows: (entity, detector) of each row; scores: (rows, ticks); thresholds: (rows,); ends: the ticks' times.
    """
    for span in spans(scores, thresholds, run=way.run, hold=way.hold):
        yield Episode(
            _finding(tenant, rows[span.row], scores[span.row], span, ends), ends[min(span.until, len(ends) - 1)]
        )


def unexplained(episodes: Iterable[Episode], changes: Sequence[Change], topology: Topology) -> list[Episode]:
    """Those that no announced work explains, as correlation leaves them out (flows/correlation.py)."""
    work = [change for change in changes if change.kind == MAINTENANCE]
    return [each for each in episodes if explained(each.finding, work, topology, each.finding.ended, held=True) is None]


def _finding(tenant: str, row: tuple[str, str], scores: Floats, span: Span, ends: Sequence[datetime]) -> Finding:
    entity, detector = row
    return Finding(
        tenant=tenant,
        entity=entity,
        detector=detector,
        kind=FindingKind.SIGNAL,
        started=ends[span.first],
        ended=ends[span.met],
        summary=f"{entity} behaves unlike its calm days",
        symptom="anomaly",
        score=float(scores[span.met]),
    )
