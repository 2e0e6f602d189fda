"""Training: each component family learns from a calm stretch what is normal; what passes the gate is challenger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, TypeVar

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import acreate_progress_artifact, acreate_table_artifact, aupdate_progress_artifact
from prefect.cache_policies import NO_CACHE

from feature_store.definitions import FAMILIES
from ml.calibration import Calibration
from ml.kinds import DEFAULT, kind_of
from policy.retraining import RESTLESS, Why
from tasks.calibrate_series import SeriesLesson, calibrated_together, learn_series
from tasks.judge import unrest_of
from tasks.prove import Verdict, beside, prove, rival_of
from tasks.publish import Trained, publish, tell_failed
from tasks.publish_series import NAME as SERIES_NAME
from tasks.publish_series import publish_series
from tasks.search import train_best
from tasks.train import LEARNED_DAYS, Lesson, Stretch, chains_of, families_of, platform_of
from tonewatch.clock import SYSTEM
from tonewatch.errors import ModelError, SettingsError, TonewatchError
from tonewatch.settings import Search, Settings, read
from tonewatch.topology import Topology
from warehouse import lineage, tenants
from warehouse.database import Warehouse

#: Robust standard deviations; a model that notices no less in half of its features has learned from a fault.
BLIND = 50.0
Done = TypeVar("Done")


@flow(name="training", flow_run_name="{tenant}-training", log_prints=False)
async def training(
    tenant: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    families: list[str] | None = None,
    seed: int = 0,
    kind: str | None = None,
    trials: int | None = None,
    why: list[str] | None = None,
    as_of: datetime | None = None,
) -> list[dict[str, Any]]:
    """Train the tenant's families on its calm telemetry from `start` to `end` and register the models.

    Without them: the tenant of the settings, the two days before now (`as_of`, where one is given: what it makes is as
    old as that), all families it has, each as the kind of model that its profile names (`models`). trials: settings
    that are tried per family (None: as the profile's `search`); why: what asked for it (None: somebody by hand). The
    thresholds of all are set together. What passes the offline gate becomes challenger, or champion where there is
    none. A family that fails keeps its champion, and the others are trained all the same. Raises ModelError at the
    end, naming those that failed.
    """
    settings, now = read(), as_of or SYSTEM.now()
    warehouse = Warehouse.from_settings(settings)
    whose, asked = tenant or settings.tenant, ",".join(why or [Why.HAND.value])
    failed: dict[str, str] = {}
    try:
        stretch = await _stretch(whose, warehouse, start, end or now, asked, trials)
        platform = await platform_of(warehouse, stretch)
        refuse_unknown(stretch.profile.models)
        known = families_of(platform)
        wanted = _wanted(known, families)
        lessons = await _learn(warehouse, stretch, platform, wanted, seed, failed, kind)
        series = await learned_series(warehouse, stretch, platform, failed) if families is None else None
        trained = await _crown(warehouse, settings, stretch, lessons, series, platform, len(known), seed, now, failed)
    except TonewatchError as error:  # nothing was trained at all: told where trainings are looked up, and failed
        await tell({"training": str(error)}, settings, whose, asked)
        raise
    finally:
        await warehouse.close()
    await tell(failed, settings, whose, asked)
    await acreate_table_artifact(_table(trained, failed), key="training-figures", description=_words(stretch, lessons))
    if failed:
        told = "; ".join(f"{family}: {why}" for family, why in failed.items())
        raise ModelError(f"{len(failed)} of {len(wanted)} families were not trained: {told}")
    return [asdict(one) for one in trained]


async def _learn(
    warehouse: Warehouse,
    stretch: Stretch,
    platform: Topology,
    wanted: Sequence[str],
    seed: int,
    failed: dict[str, str],
    kind: str | None = None,
) -> list[Lesson]:
    """All families that can be learned; why the others cannot goes into `failed`."""
    progress = await acreate_progress_artifact(0.0, key="training-progress", description="Families learned")
    lessons = []
    for number, family in enumerate(wanted, start=1):
        which = kind or stretch.profile.models.get(family, DEFAULT)
        lesson = await attempted(family, learn_family(warehouse, stretch, platform, family, seed, which), failed)
        if lesson is not None:
            lessons.append(lesson)
        await aupdate_progress_artifact(progress, 100.0 * number / len(wanted))
    return lessons


async def _crown(
    warehouse: Warehouse,
    settings: Settings,
    stretch: Stretch,
    lessons: Sequence[Lesson],
    series: SeriesLesson | None,
    platform: Topology,
    families: int,
    seed: int,
    now: datetime,
    failed: dict[str, str],
) -> list[Trained]:
    """Set all thresholds together, hold each model against its champion and register it; why one is not: `failed`."""
    calibration = None
    if lessons or (series and series.ready()):
        try:
            calibration = await asyncio.to_thread(
                calibrated_together, lessons, series, platform, stretch, families=families, seed=seed
            )
        except ModelError as error:
            failed |= {lesson.family: str(error) for lesson in lessons} or {SERIES_NAME: str(error)}
            return []
    if series is not None:
        telling = told_series(warehouse, settings, stretch, series, calibration, platform, now)
        await attempted(SERIES_NAME, telling, failed)
    if calibration is None:
        return []
    if len(lessons) < families:
        get_run_logger().warning(
            "thresholds are set for %d of %d families, which share the budget; the others keep theirs",
            len(lessons),
            families,
        )
    trained = []
    for lesson in lessons:
        groups = groups_of(platform, lesson.entities)
        proving = prove_family(warehouse, settings, stretch, lesson, calibration, groups, families, seed)
        verdict = await attempted(lesson.family, proving, failed)
        if verdict is None:
            continue
        publishing = publish_family(warehouse, settings, stretch, lesson, calibration, verdict, seed, now)
        one = await attempted(lesson.family, publishing, failed)
        if one is not None:
            trained.append(one)
            _warn_of(one)
    return trained


async def learned_series(
    warehouse: Warehouse, stretch: Stretch, platform: Topology, failed: dict[str, str]
) -> SeriesLesson | None:
    """What single series told in the stretch; None: they are not followed, or it failed, and why is in `failed`."""
    if not stretch.profile.followed_series:
        return None
    return await attempted(SERIES_NAME, learn_all_series(warehouse, stretch, platform), failed)


@task(name="learn-series", cache_policy=NO_CACHE, persist_result=False)
async def learn_all_series(warehouse: Warehouse, stretch: Stretch, platform: Topology) -> SeriesLesson:
    """All single series of the tenant: read and play."""
    return await learn_series(warehouse, stretch, platform)


@task(name="publish-series", cache_policy=NO_CACHE, persist_result=False)
async def told_series(
    warehouse: Warehouse,
    settings: Settings,
    stretch: Stretch,
    series: SeriesLesson,
    calibration: Calibration | None,
    platform: Topology,
    now: datetime,
) -> None:
    """Their thresholds held against those in force, and in force if they pass; an artifact says what they are, and why
    others have none.
    """
    uri = settings.mlflow_tracking_uri or ""
    verdict, lines = await publish_series(warehouse, uri, stretch, series, calibration, platform, now=now)
    words = f"{len(series.names)} single series, {len(series.ready())} of {len(series.judged)} families calibrated."
    if not verdict.passed:
        words = f"{words} Refused by the gate, so that the thresholds before hold: {verdict.reason}."
        get_run_logger().warning("single series keep the thresholds that they have: %s", verdict.reason)
    await acreate_table_artifact(lines, key="training-series", description=words)


async def attempted(family: str, step: Awaitable[Done], failed: dict[str, str]) -> Done | None:
    """What comes of a family's step; None: it failed, and why, a warehouse that is away too, goes into `failed`."""
    try:
        return await step
    except TonewatchError as error:
        failed[family] = str(error)
        get_run_logger().error("%s has no new champion: %s", family, error)
        return None


@task(name="learn", task_run_name="learn-{family}", cache_policy=NO_CACHE, persist_result=False)
async def learn_family(
    warehouse: Warehouse, stretch: Stretch, platform: Topology, family: str, seed: int, kind: str
) -> Lesson:
    """One family: read, search for settings and learn."""
    known = families_of(platform)
    groups = groups_of(platform, known[family])
    effort = stretch.profile.search
    return await train_best(
        warehouse, stretch, family, known[family], groups, len(known), seed=seed, kind=kind, effort=effort
    )


@task(name="prove", task_run_name="prove-{lesson.family}", cache_policy=NO_CACHE, persist_result=False)
async def prove_family(
    warehouse: Warehouse,
    settings: Settings,
    stretch: Stretch,
    lesson: Lesson,
    calibration: Calibration,
    groups: Sequence[int],
    families: int,
    seed: int,
) -> Verdict:
    """One family: held against its champion; one that cannot score is no rival."""
    async with warehouse.as_tenant(stretch.tenant) as db:
        retired = await lineage.retired(stretch.tenant, db)
    rival = await asyncio.to_thread(rival_of, settings.mlflow_tracking_uri or "", lesson.family, retired)
    found = await asyncio.to_thread(prove, lesson, calibration, rival.detector, stretch, groups, families, seed=seed)
    return beside(rival, found)


@task(name="publish", task_run_name="publish-{lesson.family}", cache_policy=NO_CACHE, persist_result=False)
async def publish_family(
    warehouse: Warehouse,
    settings: Settings,
    stretch: Stretch,
    lesson: Lesson,
    calibration: Calibration,
    verdict: Verdict,
    seed: int,
    now: datetime,
) -> Trained:
    """One family: its model is registered, with the threshold that was found for the tenant."""
    uri = settings.mlflow_tracking_uri or ""
    return await publish(warehouse, uri, stretch, lesson, calibration, verdict=verdict, seed=seed, now=now)


def _warn_of(one: Trained) -> None:
    if one.standing == "refused":
        get_run_logger().warning("%s %s is refused by the gate: %s", one.family, one.version, one.gate)
    if one.noticed > BLIND:
        get_run_logger().warning(
            "%s notices shifts of %.0f robust standard deviations and more: the stretch was hardly calm; train again",
            one.family,
            one.noticed,
        )


def groups_of(platform: Topology, entities: Sequence[str]) -> list[int]:
    """The chain of each entity, as the calibration groups them."""
    chains = chains_of(platform, entities)
    return [chains[entity] for entity in entities]


async def tell(failed: Mapping[str, str], settings: Settings, tenant: str, why: str) -> None:
    """A failed run in MLflow for each family that failed; where that is away, Prefect's own must do."""
    if not failed:
        return
    try:
        await asyncio.to_thread(tell_failed, settings.mlflow_tracking_uri or "", failed, tenant, why, _run())
    except ModelError as error:
        get_run_logger().warning("what failed does not stand in MLflow: %s", error)


def _run() -> str:
    """The run of Prefect that this is; empty outside of one."""
    return str(runtime.flow_run.id or "")


async def _stretch(
    tenant: str,
    warehouse: Warehouse,
    start: datetime | None,
    end: datetime,
    why: str,
    trials: int | None,
) -> Stretch:
    async with warehouse.as_tenant(tenant) as db:
        profile = await tenants.profile(tenant, db)
    if trials is not None:
        effort = Search(trials=trials, seconds=profile.search.seconds)
        profile = profile.model_copy(update={"search": effort})
    start = start or end - timedelta(seconds=LEARNED_DAYS * profile.day_seconds)
    if start.tzinfo is None or end.tzinfo is None or start >= end:
        raise SettingsError(f"no stretch of time: {start} to {end}; give both with their zone, the earlier first")
    unrest = await unrest_of(tenant, warehouse, start, end)
    if unrest.restless:
        get_run_logger().warning("%s to %s is not all calm: %s", start, end, unrest)
    return Stretch(tenant, start, end, profile, unrest.real, str(unrest), why, _run(), unrest.told(RESTLESS))


def refuse_unknown(models: Mapping[str, str]) -> None:
    """Raise ModelError where a profile names, in `models`, what there is not: nobody would heed it."""
    strange = sorted(set(models) - set(FAMILIES))
    if strange:
        raise ModelError(f"the profile's `models` name {strange[0]}; families are {', '.join(FAMILIES)}")
    for kind in models.values():
        kind_of(kind)


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


def _words(stretch: Stretch, lessons: Sequence[Lesson]) -> str:
    budget = stretch.profile.budget
    return (
        f"Tenant `{stretch.tenant}`, {stretch.start.isoformat()} to {stretch.end.isoformat()}. "
        f"Budget: {budget.pages_per_week:g} pages per calm week of {budget.week_seconds:g} s, "
        f"one for all {len(lessons)} families that were learned; calm_rate is what they spend together. "
        f"Asked for by: {stretch.why}. In the stretch: {stretch.unrest}."
    )
