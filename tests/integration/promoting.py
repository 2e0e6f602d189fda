"""What tests of promotions share: versions in MLflow, validations that ended better, and processes that promote."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np

from feature_store.definitions import fingerprint, floors, names
from feature_store.windows import window_features
from ml import registry, versions
from ml.detectors.base import Floats
from ml.detectors.isolation_forest import ForestDetector
from tasks import promote as promoting
from tasks.validate import mask
from tests.unit.transcoders import NOON, PARTS, at, forest, telemetry
from tonewatch.clock import SYSTEM
from tonewatch.errors import ModelError, TonewatchError
from tonewatch.settings import load_profile
from warehouse import settings_versions, validations
from warehouse.database import Warehouse
from warehouse.validations import Looked, Validation

PROFILE = load_profile("demo")
HOUSE = Path(__file__).resolve().parents[2]


def training_of(tenant: str, threshold: float, family: str = "transcode") -> registry.Training:
    """What is recorded of a training on the tenant's platform, up to noon."""
    return registry.Training(
        tenant=tenant,
        start=at(-2000),
        end=NOON,
        data_hash="hash",
        fingerprint=fingerprint(family),
        threshold=threshold,
        rate=0.01,
        metrics={},
        params={},
    )


def rows_of_calm() -> Floats:
    """A few rows as an example."""
    return window_features("transcode", telemetry(0, 60), [at(20), at(40)], 10.0, entities=PARTS).values


def forget_aliases(uri: str, family: str) -> None:
    """Let the family have no champion and no challenger, whatever other tests have left."""
    with registry.server(uri, "not cleaned") as client:
        for model in client.search_registered_models():
            if model.name.startswith(f"{family}-"):
                for alias in model.aliases:
                    client.delete_registered_model_alias(model.name, alias)


def version(uri: str, tenant: str, family: str, seed: int = 0, *, brittle: bool = False) -> str:
    """A forest that learned the transcoders' calm, or of another family what is no calm at all, registered as one of
    the family's models that has passed the gate.

    brittle: it fails on any row; it was registered with none as an example.
    """
    training = replace(training_of(tenant, 0.7, family), lineage={versions.GATE: "passed"})
    if family == "transcode":
        detector, rows = forest(seed=seed), rows_of_calm()
    else:
        detector = ForestDetector(names(family), floors(family), trees=20, seed=seed)
        rows = np.random.default_rng(seed).normal(size=(60, len(names(family))))
        detector.fit(rows)
    if brittle:
        detector.limits, rows = detector.limits[:-1], rows[:0]
    return registry.register(uri, family, detector, training, rows)


async def better(
    warehouse: Warehouse,
    whose: Sequence[str],
    family: str,
    champion: str,
    challenger: str,
    *,
    left: Sequence[str] = (),
) -> Validation:
    """A validation that ended with the challenger better, kept with each tenant. left: who was in its plan, besides."""
    name = f"{family}-{champion}-{challenger}"
    plan = {"longest_s": 60.0, "tenants": [mask(name, tenant) for tenant in (*whose, *left)]}
    made = Validation(name, family, champion, challenger, plan, NOON)
    look = Looked(made.id, at(60), "better", True, 0.3, 0.1, 0.5, 40, ("effect +0.300",), {"pages": "held"})
    for tenant in whose:
        async with warehouse.as_tenant(tenant) as db:
            await validations.begin(tenant, db, made)
            await validations.look(tenant, db, look)
    return made


async def asks(warehouse: Warehouse, tenant: str) -> None:
    """From now on the tenant wants to say yes to models."""
    async with warehouse.as_tenant(tenant) as db:
        held = await settings_versions.current(tenant, db)
        wish = {"profile": held.profile, "settings": {"approve_models": True}, "over": held.version}
        await settings_versions.put(tenant, db, **wish, who="ann", reason="", at=NOON)  # type: ignore[arg-type]


async def unreadable(warehouse: Warehouse, tenant: str) -> None:
    """From now on the tenant's settings are those of a version of Tonewatch that knew other keys."""
    async with warehouse.as_tenant(tenant) as db:
        held = await settings_versions.current(tenant, db)
        wish = {"profile": held.profile, "settings": {"of_an_older_version": 1}, "over": held.version}
        await settings_versions.put(tenant, db, **wish, who="ann", reason="", at=NOON)  # type: ignore[arg-type]


def promote_once(url: str, uri: str, tenant: str, family: str, wanted: str, together: Barrier, told: Any) -> None:
    """Promote in a process of its own; both have seen the champion before either begins."""
    seen = promoting.champion_of

    async def champion_of(tracking_uri: str, family: str) -> str | None:
        champion = await seen(tracking_uri, family)
        await asyncio.to_thread(together.wait, 60)
        return champion

    promoting.champion_of = champion_of

    async def main() -> str:
        warehouse = Warehouse(url)
        try:
            now = at(100)
            await promoting.promote(tenant, warehouse, uri, family, wanted, who="ann", reason="", now=now)
        except ModelError as error:
            return str(error)
        finally:
            await warehouse.close()
        return ""

    told.put((wanted, asyncio.run(main())))


def promote_slowly(url: str, uri: str, tenant: str, family: str, wanted: str, idle_s: int, told: Any) -> None:
    """Promote in a process of its own, whose transactions may be idle for so long; tells what it raised, or nothing."""
    warehouse = Warehouse(url, idle_s=idle_s)
    try:
        asyncio.run(promoting.promote(tenant, warehouse, uri, family, wanted, who="ann", reason="", now=at(100)))
    except TonewatchError as error:
        told.put(f"{type(error).__name__}: {error}")
    else:
        told.put("")


def promote_and_die(url: str, uri: str, tenant: str, family: str, wanted: str, moment: str) -> None:
    """Promote in a process of its own, which is killed right `before` the alias moves, or right `after` it."""
    move = registry.promote

    def killing(tracking_uri: str, family: str, version: str) -> None:
        if moment == "after":
            move(tracking_uri, family, version)
        os.kill(os.getpid(), signal.SIGKILL)

    registry.promote = killing
    warehouse = Warehouse(url)
    asyncio.run(promoting.promote(tenant, warehouse, uri, family, wanted, who="ann", reason="why", now=at(100)))


def today() -> datetime:
    """The time that a command goes by."""
    return SYSTEM.now()
