"""Publishing: what was learned goes into the registry with all that tells where it came from, as what it may be."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_store import training_sets
from feature_store.definitions import fingerprint
from feature_store.views import view
from ml.calibration import Calibration
from ml.gate import count_interval
from ml.kinds import kind_of
from tasks import plot
from tasks.calibrate import fit_of
from tasks.promote import WHO, promote
from tasks.prove import Verdict
from tasks.trace import trace
from tasks.train import Lesson, Stretch, judged
from warehouse import calibrations
from warehouse.database import Warehouse
from warehouse.lineage import Traced
from warehouse.training_sets import TrainingSet

if TYPE_CHECKING:
    from ml.registry import Training  # its module imports mlflow, which only publish() needs


@dataclass(frozen=True, slots=True)
class Trained:
    """A family's new version, in figures. calm_rate: incidents per calm budget week that all families open together.

    standing: champion, challenger or refused; gate: why. noticed: the shift in robust standard deviations that the
    model notices in half of its features, each alone.
    """

    family: str
    version: str
    entities: int
    rows: int
    threshold: float
    calm_highest: float
    calm_rate: float
    tail: str
    noticed: float
    standing: str
    gate: str


async def publish(
    warehouse: Warehouse,
    tracking_uri: str,
    stretch: Stretch,
    lesson: Lesson,
    calibration: Calibration,
    *,
    verdict: Verdict,
    seed: int,
    now: datetime,
) -> Trained:
    """Register what was learned. What passed the gate becomes challenger, also where the champion cannot score; where
    there is no champion, champion.

    The tenant's threshold for it is there before the champion: one that dies in between leaves a version that scores
    nothing. What was refused is kept with the reason and scores nothing. Raises ModelError: MLflow is away or refuses;
    WarehouseAway.
    """
    from ml import registry, versions  # import mlflow: seconds that learning alone does not pay

    rows = lesson.learned.values[judged(lesson.detector, lesson.learned)]
    threshold = calibration.thresholds[lesson.family]
    shifts = lesson.detector.noticed(threshold.value)
    noticed = float(np.median(list(shifts.values())))
    pictures = {
        "calm-scores.png": plot.calm_scores(
            lesson.family, lesson.scores, threshold.value, threshold.low, threshold.high
        ),
        "noticed.png": plot.noticed(lesson.family, shifts),
    }
    made = await training_sets.of_windows(
        stretch.tenant,
        warehouse,
        f"training-{lesson.family}",
        view(lesson.family, stretch.profile),
        (lesson.learned, lesson.held_out),
        stretch.step,
        now,
    )
    training = _training(stretch, lesson, calibration, made, noticed, seed)
    training = replace(
        training,
        pictures=pictures,
        trials=lesson.trials,
        metrics={**training.metrics, **verdict.figures},
        lineage={**training.lineage, **_gate_tags(verdict)},
    )
    number = await asyncio.to_thread(
        registry.register, tracking_uri, lesson.family, lesson.detector, training, rows[:5]
    )
    fit = fit_of(stretch, lesson.family, number, calibration, now)
    async with warehouse.as_tenant(stretch.tenant) as db:
        await trace(stretch.tenant, db, _traced(stretch, lesson, fit, made), done=verdict.passed)
        if verdict.passed:
            await calibrations.put(stretch.tenant, db, [fit])
    if verdict.passed:
        await asyncio.to_thread(versions.challenge, tracking_uri, lesson.family, number)
    if verdict.standing == "champion":
        first = f"the first of its family: {verdict.reason}"
        await promote(stretch.tenant, warehouse, tracking_uri, lesson.family, number, who=WHO, reason=first, now=now)
    return Trained(
        family=lesson.family,
        version=number,
        entities=len(lesson.entities),
        rows=len(lesson.learned.ends) + len(lesson.held_out.ends),
        threshold=threshold.value,
        calm_highest=threshold.highest,
        calm_rate=calibration.rate,
        tail=calibration.tail,
        noticed=noticed,
        standing=verdict.standing,
        gate=verdict.reason,
    )


def _gate_tags(verdict: Verdict) -> dict[str, str]:
    from ml import versions

    tags = {versions.GATE: verdict.word, versions.GATE_REASON: verdict.reason}
    succeeds = {versions.SUCCEEDS: verdict.champion, versions.SUCCEEDS_REASON: verdict.silent}
    return tags | (succeeds if verdict.silent else {})


def _traced(stretch: Stretch, lesson: Lesson, fit: calibrations.Calibrated, made: TrainingSet) -> Traced:
    model, _, number = fit.model_version.rpartition("/")
    return Traced(
        model=model,
        version=number,
        run=stretch.run,
        trained=fit.made,
        started=stretch.start,
        ended=stretch.end,
        data_hash=made.hash,
        sets=[{"name": made.name, "version": made.version, "hash": made.hash}],
        entities=lesson.entities,
        sources={"sample": {"after": stretch.start, "last": stretch.end}},
        why=stretch.why,
    )


def _training(
    stretch: Stretch, lesson: Lesson, calibration: Calibration, made: TrainingSet, noticed: float, seed: int
) -> Training:
    from ml.registry import Training

    frames = (lesson.learned, lesson.held_out)
    threshold, profile = calibration.thresholds[lesson.family], stretch.profile
    kind = kind_of(lesson.detector.kind)
    return Training(
        tenant=stretch.tenant,
        start=stretch.start,
        end=stretch.end,
        data_hash=made.hash,
        fingerprint=fingerprint(lesson.family),
        threshold=threshold.value,
        rate=calibration.rate,
        metrics={
            "calm_low": threshold.low,
            "calm_high": threshold.high,
            "calm_highest": threshold.highest,
            "calm_exceedance": calibration.exceedance,
            "calm_aim": calibration.aim,
            **_counted("calm_seen", calibration.seen),
            "calm_ticks": calibration.ticks,
            "rows_learned": len(lesson.learned.ends),
            "rows_held_out": len(lesson.held_out.ends),
            "rows_judged": sum(int(judged(lesson.detector, frame).sum()) for frame in frames),
            "coverage": float(np.mean([frame.coverage.mean() for frame in frames])),
            "noticed_shift": noticed,
        },
        params={
            "seed": seed,
            "kind": lesson.detector.kind,
            "embargo_seconds": profile.window_seconds + lesson.detector.looks_back * profile.tick_seconds,
            **{name: _word(value) for name, value in kind.settings(lesson.settings).items()},
            **kind.params(lesson.detector),
            "trials": max(1, len(lesson.trials)),  # fewer than asked: time was up, or the calm was too short to search
            "trials_asked": profile.search.trials,
            "tail": calibration.tail,
            "families": ",".join(sorted(calibration.thresholds)),
            "window_seconds": profile.window_seconds,
            "tick_seconds": profile.tick_seconds,
            "debounce_windows": profile.debounce_windows,
            "anomaly_seconds": profile.anomaly_seconds,
            "pages_per_week": profile.budget.pages_per_week,
            "week_seconds": profile.budget.week_seconds,
        },
        lineage={
            "view": f"{lesson.family}/{made.definition}",
            "training_set": f"{made.name}/{made.version}",
            "training_rows": str(made.found),
            "tenants": stretch.tenant,
            "why": stretch.why,
            "flow_run": stretch.run,
            "unrest": stretch.unrest,
            "code_version": code_version(),
            "scores_hash": hashlib.blake2b(np.ascontiguousarray(lesson.scores).tobytes(), digest_size=16).hexdigest(),
        },
        description=(
            "Learned from the first half of the data window; its threshold was set on the second half, together with "
            f"{', '.join(sorted(set(calibration.thresholds) - {lesson.family})) or 'no other family'}, on the rate of "
            f"incidents of all of them (tail: {calibration.tail}); then learned again from both halves."
        ),
    )


def _counted(name: str, count: float) -> dict[str, float]:
    low, high = count_interval(count)
    return {name: count, f"{name}_low": low, f"{name}_high": high}


def _word(value: Any) -> str | int | float:
    """As MLflow takes a parameter."""
    return value if isinstance(value, str | int | float) else ",".join(map(str, value))


def tell_failed(tracking_uri: str, failed: Mapping[str, str], tenant: str, why: str, run: str) -> None:
    """Log a failed run for each family, with why. Raises ModelError: MLflow is away or refuses."""
    from ml import registry

    tags = {"tenant": tenant, "why": why, "flow_run": run, "code_version": code_version()}
    for family, reason in failed.items():
        registry.log_failure(tracking_uri, family, {**tags, "family": family}, reason)


@cache
def code_version() -> str:
    """The house's version, and a hash over the code that reads, learns and scores."""
    house = Path(__file__).resolve().parents[1]
    content = hashlib.blake2b(digest_size=6)
    for room in ("feature_store", "ml"):
        for path in sorted((house / room).rglob("*.py")):
            content.update(path.relative_to(house).as_posix().encode() + path.read_bytes())
    for step in ("search.py", "train.py"):
        content.update((house / "tasks" / step).read_bytes())
    return f"{version('tonewatch')}+{content.hexdigest()}"
