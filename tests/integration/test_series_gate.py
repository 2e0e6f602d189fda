"""Single series' thresholds pass a gate before they judge, on a real PostgreSQL and MLflow; those before stay, and can
be made to judge again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from console.cli import app
from ml import registry, versions
from tasks.calibrate_series import LEAST_ROUNDS, SeriesLesson, calibrated_together, learn_series
from tasks.prove import Verdict
from tasks.publish_series import NAME, publish_series
from tasks.rounds import TICKED
from tasks.series_sets import TakenBack, rollback_series, series_sets
from tasks.tell import thresholds_of
from tasks.train import Stretch
from tests.conftest import Database, new_tenant
from tests.integration.servers import Mlflow
from tests.unit.platform_parts import START, two_channels
from tests.unit.tasks.followed import PROFILE, TICK, ended, fit, noise, sampled
from tonewatch.errors import ModelError
from tonewatch.records import Sample, Series
from tonewatch.settings import Profile
from warehouse import audit, calibrations, samples
from warehouse.calibrations import Calibrated, Source
from warehouse.database import Warehouse

PLATFORM = two_channels()
TICKS = 2 * LEAST_ROUNDS + 300
PARTS = ("edge:edge-1", "edge:edge-2")
METRICS = ("lag_seconds", "queue_length", "busy_share", "wait_seconds")
NAMES = [Series(part, metric) for metric in METRICS for part in PARTS]
#: A fault of some ten minutes, ten times in the second half of the stretch; of each a different series strays.
FAULTY, LASTING = range(1_300, TICKS - 100, 100), 40


def telemetry(seed: int, *, faulty: bool = False) -> np.ndarray:
    """(series, ticks): calm with small outliers, or with faults in it that nobody has settled."""
    values = noise(len(NAMES), TICKS, seed=seed)
    values[:, 1_200::97] += 4.0
    for number, first in enumerate(FAULTY if faulty else ()):
        values[number % len(NAMES), first : first + LASTING] += 40.0 * 1.5**number
    return values


async def learned(
    warehouse: Warehouse, tenant: str, first: int, values: np.ndarray, profile: Profile = PROFILE
) -> tuple[Stretch, SeriesLesson]:
    """What a stretch teaches that begins `first` ticks after the beginning."""
    stored = [each for some in sampled(NAMES, values, first) for each in some]
    stored += [Sample(TICKED, ended(first + number), TICK) for number in range(values.shape[1])]
    async with warehouse.as_tenant(tenant) as db:
        await samples.append(tenant, db, stored)
    start = START + timedelta(seconds=first * TICK)
    stretch = Stretch(tenant, start, ended(first + values.shape[1] - 1), profile)
    return stretch, await learn_series(warehouse, stretch, PLATFORM)


async def trained(
    warehouse: Warehouse, url: str, stretch: Stretch, lesson: SeriesLesson
) -> tuple[Verdict, dict[str, tuple[datetime, float]]]:
    """What the gate says, and the thresholds that hold afterwards: when made, and their value."""
    calibration = calibrated_together([], lesson, PLATFORM, stretch, families=0, seed=1)
    verdict, _ = await publish_series(warehouse, url, stretch, lesson, calibration, PLATFORM, now=stretch.end)
    return verdict, await held(warehouse, stretch.tenant)


async def held(warehouse: Warehouse, tenant: str) -> dict[str, tuple[datetime, float]]:
    async with warehouse.as_tenant(tenant) as db:
        mine = thresholds_of(await calibrations.newest(tenant, db))
    return {family: (each.made, each.threshold) for family, each in mine.items()}


def last_run(url: str) -> tuple[Mapping[str, str], Mapping[str, float]]:
    client = registry.MlflowClient(url)
    experiment = client.get_experiment_by_name(registry.EXPERIMENT)
    run, *_ = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{NAME}'")
    return run.data.tags, run.data.metrics


@pytest.mark.timeout(900)
async def test_a_stretch_of_faults_that_nobody_settled_makes_no_series_deaf(
    warehouse: Warehouse, tenant: str, mlflow: Mlflow
) -> None:
    """The first training sets thresholds; calm renews them; neither a restless stretch nor one of faults does."""
    stretch, lesson = await learned(warehouse, tenant, 0, telemetry(7))
    verdict, first = await trained(warehouse, mlflow.url, stretch, lesson)
    assert verdict.passed
    assert {f"series:{metric}" for metric in METRICS} == first.keys()
    assert {each.family for each in lesson.tried} == first.keys()

    restless = replace(stretch, restless="an incident, 1 not over", end=stretch.end)
    verdict, after = await trained(warehouse, mlflow.url, restless, lesson)
    assert not verdict.passed
    assert after == first
    tags, _ = last_run(mlflow.url)
    assert (tags[versions.GATE], tags[versions.GATE_REASON]) == ("failed", "it is hardly calm: an incident, 1 not over")

    stretch, lesson = await learned(warehouse, tenant, TICKS, telemetry(8, faulty=True))
    verdict, after = await trained(warehouse, mlflow.url, stretch, lesson)
    assert not verdict.passed
    assert after == first, "those before stay"
    tags, figures = last_run(mlflow.url)
    assert (tags[versions.GATE], tags[versions.GATE_REASON]) == ("failed", verdict.reason)
    assert figures["gate_recall"] < figures["gate_recall_held"]

    stretch, lesson = await learned(warehouse, tenant, 2 * TICKS, telemetry(9))
    verdict, after = await trained(warehouse, mlflow.url, stretch, lesson)
    assert verdict.passed
    assert all(made == stretch.end for made, _ in after.values())


@pytest.mark.parametrize(
    ("profile", "every"), [({"anomaly_seconds": 300.0}, 1), ({"scrape_seconds": 60.0}, 12)], ids=["long", "seldom"]
)
async def test_anomalies_are_made_however_long_they_must_last_and_however_seldom_series_are_heard(
    warehouse: Warehouse, tenant: str, profile: dict[str, float], every: int
) -> None:
    values = noise(len(NAMES), 700, seed=7)
    values[:, np.arange(700) % every > 0] = np.nan
    _, lesson = await learned(warehouse, tenant, 0, values, PROFILE.model_copy(update=profile))
    assert {each.family for each in lesson.tried} == {f"series:{metric}" for metric in METRICS}


async def test_the_thresholds_before_judge_again_and_it_is_audited(warehouse: Warehouse, tenant: str) -> None:
    """Done twice, all is as it was; what labels have eased meanwhile comes back with them."""
    moments = [START + timedelta(hours=hour) for hour in range(6)]

    async def put(*rows: Calibrated) -> None:
        async with warehouse.as_tenant(tenant) as db:
            await calibrations.put(tenant, db, rows)

    async def back(hour: int) -> TakenBack:
        return await rollback_series(tenant, warehouse, who="ann", reason="too many pages", now=moments[hour])

    async def judging() -> dict[str, float]:
        return {family: threshold for family, (_, threshold) in (await held(warehouse, tenant)).items()}

    lag, up = fit("lag_seconds", 0.5), fit("up", 0.4)
    await put(lag, replace(lag, version="of another ensemble", made=moments[5], threshold=0.1))
    with pytest.raises(ModelError, match="none to take back"):
        await back(1)
    await put(replace(lag, made=moments[1], threshold=0.6, source=Source.LABELS))
    await put(*(replace(each, made=moments[2], threshold=0.9) for each in (lag, up)))
    assert await judging() == {"series:lag_seconds": 0.9, "series:up": 0.9}
    done = await back(3)
    assert (done.thresholds, done.before) == ({"series:lag_seconds": 0.6}, {"series:lag_seconds": 0.9})
    assert done.kept == ["series:up"]
    assert await judging() == {"series:lag_seconds": 0.6, "series:up": 0.9}
    told = await series_sets(tenant, warehouse)
    assert [(each.made, each.judging, len(each.thresholds)) for each in told] == [
        (moments[3], 1, 1), (moments[2], 1, 2), (START, 0, 1),
    ]  # fmt: skip
    async with warehouse.as_tenant(tenant) as db:
        line = (await audit.read(tenant, db, 10))[0]
    assert (line.who, line.what, line.subject, line.reason) == ("ann", "model.rollback", "series", "too many pages")
    assert (line.before, line.after) == ({"series:lag_seconds": 0.9}, {"series:lag_seconds": 0.6})
    await back(4)
    assert await judging() == {"series:lag_seconds": 0.9, "series:up": 0.9}


async def test_the_command_line_lists_the_thresholds_and_takes_them_back(
    warehouse: Warehouse, tenant: str, database: Database, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TONEWATCH_DATABASE_URL", database.app_url)
    monkeypatch.setenv("TONEWATCH_MLFLOW_TRACKING_URI", mlflow.url)
    lag = fit("lag_seconds", 0.5)
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [lag, replace(lag, made=START + timedelta(days=1), threshold=0.9)])

    async def say(*words: str, tenant: str = tenant) -> Any:
        told = await asyncio.to_thread(CliRunner().invoke, app, ["models", *words, "--tenant", tenant])
        assert told.exit_code == 0, told.output
        return json.loads(told.stdout) if "--json" in words else told.stdout

    newest, oldest = (await say("list", "--family", "series")).splitlines()
    assert newest.split()[:5] == ["series", "thresholds", "1", "metrics", "judges"]
    assert oldest.split()[4] == "-"
    in_all = [each for each in await say("list", "--json") if each["family"] == "series"]
    assert [each["thresholds"] for each in in_all] == [{"series:lag_seconds": 0.9}, {"series:lag_seconds": 0.5}]
    told = await say("rollback", "series", "--as", "ann", "--reason", "too deaf")
    assert told.startswith("series: 1 thresholds as before; watchers take them up")
    ((_, threshold),) = (await held(warehouse, tenant)).values()
    assert threshold == 0.5
    none = await say("list", "--family", "series", tenant=await new_tenant(warehouse))
    assert "have no thresholds yet" in none
