"""Training: each component family learns what is normal from a calm stretch, and its model becomes champion."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import acreate_progress_artifact, acreate_table_artifact, aupdate_progress_artifact
from prefect.cache_policies import NO_CACHE

from tasks.train import Stretch, Trained, families_of, publish, train
from tonewatch.clock import SYSTEM
from tonewatch.errors import ModelError, SettingsError
from tonewatch.settings import Settings, load_profile, read
from warehouse.database import Warehouse

#: Robust standard deviations; a model that notices no less in half of its features has learned from a fault.
BLIND = 50.0


@flow(name="training", flow_run_name="{tenant}-training", log_prints=False)
async def training(
    tenant: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    families: list[str] | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Train the tenant's families on its calm telemetry from `start` to `end` and make the models champions.

    Without them: the tenant of the settings, the two days before now, all families it has. A family that fails keeps
    its champion, and the others are trained all the same. Raises ModelError at the end, naming those that failed.
    """
    settings = read()
    stretch = _stretch(settings, tenant, start, end)
    warehouse = Warehouse.from_settings(settings)
    try:
        known = await families_of(warehouse, stretch)
        wanted = _wanted(known, families)
        progress = await acreate_progress_artifact(0.0, key="training-progress", description="Families trained")
        trained: list[Trained] = []
        failed: dict[str, str] = {}
        for number, family in enumerate(wanted, start=1):
            try:
                trained.append(await train_family(settings, warehouse, stretch, family, known, seed))
                _warn_of_blindness(trained[-1])
            except ModelError as error:
                failed[family] = str(error)
                get_run_logger().error("%s was not trained: %s", family, error)
            await aupdate_progress_artifact(progress, 100.0 * number / len(wanted))
    finally:
        await warehouse.close()
    await acreate_table_artifact(_table(trained, failed), key="training-figures", description=_words(stretch))
    if failed:
        told = "; ".join(f"{family}: {why}" for family, why in failed.items())
        raise ModelError(f"{len(failed)} of {len(wanted)} families were not trained: {told}")
    return [asdict(one) for one in trained]


@task(name="train", task_run_name="train-{family}", cache_policy=NO_CACHE, persist_result=False)
async def train_family(
    settings: Settings,
    warehouse: Warehouse,
    stretch: Stretch,
    family: str,
    known: dict[str, tuple[str, ...]],
    seed: int,
) -> Trained:
    """One family: read, learn, publish."""
    lesson = await train(warehouse, stretch, family, known[family], families=len(known), seed=seed)
    return await asyncio.to_thread(publish, settings.mlflow_tracking_uri or "", stretch, lesson, seed=seed)


def _warn_of_blindness(one: Trained) -> None:
    if one.noticed > BLIND:
        get_run_logger().warning(
            "%s notices shifts of %.0f robust standard deviations and more: the stretch was hardly calm; train again",
            one.family,
            one.noticed,
        )


def _stretch(settings: Settings, tenant: str | None, start: datetime | None, end: datetime | None) -> Stretch:
    profile = load_profile(settings.profile)
    end = end or SYSTEM.now()
    start = start or end - timedelta(seconds=2 * profile.day_seconds)
    if start.tzinfo is None or end.tzinfo is None or start >= end:
        raise SettingsError(f"no stretch of time: {start} to {end}; give both with their zone, the earlier first")
    return Stretch(tenant or settings.tenant, start, end, profile)


def _wanted(known: dict[str, tuple[str, ...]], families: Sequence[str] | None) -> list[str]:
    missing = sorted(set(families or ()) - set(known))
    if missing or not known:
        raise ModelError(
            f"no entity of {', '.join(missing) or 'any family'}: the tenant has {', '.join(known) or 'none'}; "
            "the watcher saves the entities that the inventory names"
        )
    return [family for family in known if not families or family in families]


def _table(trained: Sequence[Trained], failed: dict[str, str]) -> list[dict[str, Any]]:
    figures = [
        {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in asdict(one).items()}
        for one in trained
    ]
    return figures + [{"family": family, "failed": why} for family, why in failed.items()]


def _words(stretch: Stretch) -> str:
    budget = stretch.profile.budget
    return (
        f"Tenant `{stretch.tenant}`, {stretch.start.isoformat()} to {stretch.end.isoformat()}. "
        f"Budget: {budget.pages_per_week:g} pages per calm week of {budget.week_seconds:g} s, "
        "shared equally by all families; calm_rate is what each is expected to spend."
    )
