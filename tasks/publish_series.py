"""Puts single series' thresholds in force, with the run in MLflow that says what they were made of."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ml.calibration import Calibration
from ml.ensemble import Ensemble, default_ensemble
from ml.fingerprint import fingerprint, fingerprint_of_course
from tasks import plot
from tasks.calibrate_series import LEAST_ROUNDS, SeriesLesson, rows_of
from tasks.prove import Verdict
from tasks.prove_series import prove_series
from tasks.tell import thresholds_of
from tasks.train import Stretch, budget_of
from tonewatch.topology import Topology
from warehouse import calibrations
from warehouse.calibrations import COURSE, Calibrated
from warehouse.database import Warehouse

if TYPE_CHECKING:
    from ml.registry import Backtest  # its module imports mlflow, which only publishing needs

#: What the run is called in MLflow, and the whole in a training's table.
NAME = "series-ensemble"


async def publish_series(
    warehouse: Warehouse,
    tracking_uri: str,
    stretch: Stretch,
    lesson: SeriesLesson,
    calibration: Calibration | None,
    platform: Topology,
    *,
    now: datetime,
) -> tuple[Verdict, list[dict[str, Any]]]:
    """Hold the thresholds against those in force, log the run, and keep what passed; refused, those before stay.

    calibration: None: no family had enough calm. Gives the verdict and a line for each family: its threshold, or why it
    has none. The run comes first: a threshold that nothing explains is worse than an old one. Raises ModelError: MLflow
    is away or refuses; WarehouseAway.
    """
    from ml import registry  # imports mlflow: seconds that learning alone does not pay

    version = fingerprint(default_ensemble())
    async with warehouse.as_tenant(stretch.tenant) as db:
        held = thresholds_of(await calibrations.newest(stretch.tenant, db))
    verdict = await asyncio.to_thread(prove_series, lesson, calibration, held, platform, stretch)
    rows = rows_of(stretch, calibration, version, now) if calibration else []
    rows = [replace(row, reason=f"{row.reason}; {verdict.reason}") for row in rows]
    told = await asyncio.to_thread(_run, stretch, lesson, calibration, rows, version, verdict)
    await asyncio.to_thread(registry.log_calibration, tracking_uri, NAME, told)
    if verdict.passed:
        async with warehouse.as_tenant(stretch.tenant) as db:
            await calibrations.put(stretch.tenant, db, rows)
    return verdict, table(lesson, rows, verdict)


def table(lesson: SeriesLesson, rows: list[Calibrated], verdict: Verdict | None = None) -> list[dict[str, Any]]:
    """A line for each family: its threshold and rounds, or why it has none, or why it is refused."""
    refused = {} if verdict is None or verdict.passed else {"refused": verdict.reason}
    found = [
        {
            "family": row.family,
            "version": row.version,
            "rounds": lesson.judged[row.family],
            "threshold": f"{row.threshold:.4g}",
            "calm_highest": f"{row.highest:.4g}",
            "calm_rate": f"{row.rate:.4g}",
            **refused,
        }
        for row in rows
    ]
    return [*found, *({"family": family, "silent": why} for family, why in lesson.silent().items())]


def _run(
    stretch: Stretch,
    lesson: SeriesLesson,
    calibration: Calibration | None,
    rows: list[Calibrated],
    version: str,
    verdict: Verdict,
) -> Backtest:
    from ml import versions
    from ml.registry import LONGEST_TAG, Backtest

    ensemble, profile = default_ensemble(), stretch.profile
    names = ("rate", "aim", "seen")
    figures = {f"calm_{name}": getattr(calibration, name) for name in names} if calibration else {}
    return Backtest(
        tags={
            "family": NAME,
            "tenant": stretch.tenant,
            "data_start": stretch.start.isoformat(),
            "data_end": stretch.end.isoformat(),
            "data_hash": lesson.data_hash,
            "fingerprint": version,
            "course_fingerprint": fingerprint_of_course(),
            "unrest": stretch.unrest,
            versions.GATE: verdict.word,
            versions.GATE_REASON: verdict.reason[:LONGEST_TAG],
        },
        params={
            **_looks(ensemble),
            "quiet": ensemble.quiet,
            "least": ensemble.least,
            "run": budget_of(profile).run,
            "least_rounds": LEAST_ROUNDS,
            "tail": calibration.tail if calibration else "none",
            "tick_seconds": profile.tick_seconds,
            "pages_per_week": profile.budget.pages_per_week,
            "week_seconds": profile.budget.week_seconds,
        },
        metrics={
            "series": float(len(lesson.names)),
            "rounds": float(lesson.rounds),
            "families": float(len(lesson.judged.keys() - {COURSE})),
            "families_calibrated": float(len(rows)),
            **figures,
            **verdict.figures,
        },
        files={"thresholds.png": plot.thresholds({row.family: (row.highest, row.threshold) for row in rows})},
    )


def _looks(ensemble: Ensemble) -> dict[str, float]:
    pairs = zip(ensemble.looks, ensemble.weights.tolist(), strict=True)
    return {f"weight {look.name}": round(weight, 6) for look, weight in pairs}
