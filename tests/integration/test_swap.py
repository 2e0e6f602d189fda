"""A hot swap under load: no tick is dropped, and each is judged by one whole version; the large run is a benchmark."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.integration import warmed
from tests.integration.servers import Mlflow, mlflow_in
from tests.integration.swapping import Drill, Site, dropped, prepared, read, stored, verdict, whole_of
from warehouse.database import Warehouse

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def doomed_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    """An MLflow of this file's own: it is killed."""
    with mlflow_in(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


async def test_a_watcher_that_is_killed_and_swapped_to_and_fro_drops_no_tick_and_scores_with_whole_models_alone(
    warehouse: Warehouse, tenant: str, database: Database, doomed_mlflow: Mlflow, tmp_path: Path
) -> None:
    site = Site(tenant, database.app_url, doomed_mlflow.url, tmp_path, parts=12, pace=0.1)
    versions = await prepared(warehouse, site)
    nursery = multiprocessing.get_context("forkserver")
    nursery.set_forkserver_preload([warmed.__name__])
    drill = Drill(site, doomed_mlflow, versions, nursery)
    await asyncio.to_thread(drilled, drill)
    lines = read(site)
    whole = await asyncio.to_thread(whole_of, site, versions, lines[-1]["tick"] + 1)
    found, kept = verdict(lines, whole), await stored(warehouse, site, whole)
    assert (found.half_loaded, found.mixed) == (0, 0), asdict(found)
    assert found.swaps >= 5
    assert found.scores > 100
    assert (dropped(kept.numbers), kept.half_loaded) == (0, 0)
    assert kept.findings > 10
    assert drill.in_download >= 1
    (one, other) = whole
    crossed = {one: whole[other], other: whole[one]}
    assert verdict(lines, crossed).half_loaded > 100, "scores of another model than the one that is named are seen"


def drilled(drill: Drill) -> None:
    drill.start()
    try:
        for _ in range(5):
            drill.swap_and_see()
        drill.kill_after(0.05)
        drill.kill_in_download()
        drill.kill_server_in_download(ticks=10)
        drill.swap_and_see()
    finally:
        drill.stop()
