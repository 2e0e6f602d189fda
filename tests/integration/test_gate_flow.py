"""The replay gate on a real PostgreSQL, MLflow and Prefect: a challenger is held against its tenant's own cases."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from flows.gate import held_by_cases
from flows.promotion import promote_due
from ml import registry, versions
from tasks.keep import entity_document
from tasks.keep_cases import ADDED, SOURCE
from tests.conftest import Database, new_tenant
from tests.integration.promoting import better, version
from tests.integration.servers import Mlflow, flow_told
from tests.integration.test_validation_flow import registered
from tests.unit.transcoders import NOON, PARTS, at, telemetry
from tonewatch.cases import FILE, RECORDING, Expected, write_case
from tonewatch.errors import ModelError
from tonewatch.keeping import ENTITIES, Keeper
from tonewatch.records import Entity, Label, Sample
from tonewatch.settings import Settings, load_profile
from tonewatch.watched import watched
from warehouse import audit, calibrations, labels, promotions
from warehouse.calibrations import Calibrated, Source
from warehouse.database import Warehouse

DEMO = load_profile("demo")
SECONDS, ILL = 360, (120, 300)
LATER = at(86_400)
#: The tenant's own thresholds for what is registered: champion, as good, deaf, shrill.
THRESHOLDS = (0.9, 0.9, 0.999, 0.65)
#: Seconds by which a transcoder lagged more when people called it a false alarm: it scores 0.67 and more.
A_LITTLE = 0.6
FLOW = """
import asyncio, json, sys
from datetime import datetime
from prefect.client.orchestration import get_client
from flows.gate import replay_gate
from tonewatch.errors import ModelError
tenant, moment, *challengers = sys.argv[1:]
told = []
for challenger in challengers:
    try:
        told.append(asyncio.run(replay_gate("transcode", challenger, [tenant], datetime.fromisoformat(moment))))
    except ModelError as error:
        told.append({"failed": str(error)})

async def tables():
    async with get_client() as client:
        return [[each.description, each.data] for each in await client.read_artifacts() if each.key == "replay-gate"]

print(json.dumps([*told, asyncio.run(tables())]))
"""


def keep_case(folder: Path, samples: Iterable[Sample], expected: Expected | None, source: str = ADDED) -> None:
    told = list(samples)
    keeper = Keeper(folder / RECORDING, {sample.series for sample in told})
    keeper.lines(ENTITIES, [entity_document(Entity(part, "transcode")) for part in PARTS])
    keeper.chunk(told)
    keeper.close(NOON, at(SECONDS), 1.0, watched(DEMO), "two transcoders", "a test")
    write_case(folder, source, DEMO, expected)


@pytest.fixture
def library(tenant: str, tmp_path: Path) -> Path:
    """The tenant's cases: one in which a transcoder lags, and one in which it does a little and nothing was wrong."""
    folder = tmp_path / "cases" / tenant
    lagging = Expected(at(ILL[0]), at(ILL[1]), PARTS[:1], f"{PARTS[0]}:overload")
    keep_case(folder / "lagging", telemetry(0, SECONDS, ill={PARTS[0]: ILL}), lagging)
    keep_case(folder / "calm", map(_lagging, telemetry(0, SECONDS, seed=2)), None)
    return folder


def _lagging(sample: Sample) -> Sample:
    mine = (sample.series.entity, sample.series.metric) == (PARTS[0], "transcode_lag_seconds")
    return replace(sample, value=sample.value + A_LITTLE) if mine and at(ILL[0]) < sample.time <= at(ILL[1]) else sample


@pytest.fixture
async def contenders(warehouse: Warehouse, tenant: str, mlflow: Mlflow) -> list[str]:
    """Versions of the same forest, of which the tenant's own thresholds make what they are. The first is champion."""
    made = [await asyncio.to_thread(version, mlflow.url, tenant, "transcode") for _ in range(4)]
    await asyncio.to_thread(registry.promote, mlflow.url, "transcode", made[0])
    own = [
        Calibrated("transcode", each, NOON, threshold, 0.6, 0.8, 0.69, 0.01, "seen", Source.TRAINING, "calm")
        for each, threshold in zip(made, THRESHOLDS, strict=True)
    ]
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, own)
    return made


@pytest.mark.timeout(600)
async def test_a_challenger_is_held_by_the_cases_that_get_worse_and_by_those_that_cannot_be_replayed(
    warehouse: Warehouse, tenant: str, mlflow: Mlflow, library: Path, contenders: list[str], tmp_path: Path
) -> None:
    settings = Settings(state_dir=tmp_path, mlflow_tracking_uri=mlflow.url)
    champion, good, deaf, shrill = contenders

    async def held(challenger: str, now: datetime = LATER) -> list[str]:
        return list(await held_by_cases(tenant, settings, warehouse, "transcode", champion, challenger, now))

    def said(of: str) -> tuple[str, str]:
        tags = versions.one(mlflow.url, "transcode", of).tags
        return tags[versions.REPLAY_GATE], tags[versions.REPLAY_GATE_REASON]

    assert await held(good) == []
    assert said(good) == ("passed", f"none of 2 cases gets worse than by {champion}")
    (missed,) = await held(deaf)
    assert said(deaf) == ("refused", f"1 of 2 cases get worse than by {champion}")
    assert missed.startswith("lagging: found after")
    assert missed.endswith("-> missed")
    assert await held(deaf, at(ILL[1] - 1)) == [], "the incident was not over by then"
    assert await held(shrill) == ["calm: 0 -> 1 false pages"]
    alone = [
        list(await held_by_cases(tenant, settings, warehouse, "transcode", None, each, LATER)) for each in contenders
    ]
    assert alone == [[], [], ["lagging: missed, as it is without a champion"], ["calm: 0 -> 1 false pages"]]
    assert said(deaf) == ("refused", "1 of 2 cases get worse than without a model of the family")
    (library / "calm" / FILE).write_text("[]", encoding="utf-8")
    assert [each.partition(":")[0] for each in await held(deaf)] == ["lagging", "calm"]
    with pytest.raises(ModelError, match=r"1 cases in .* cannot be replayed; mend them, or remove their folders"):
        await held(good)
    away = Settings(state_dir=tmp_path, mlflow_tracking_uri="http://127.0.0.1:9")
    with pytest.raises(ModelError, match="were not read"):
        await held_by_cases(tenant, away, warehouse, "transcode", champion, good, LATER)


@pytest.mark.timeout(300)
async def test_what_only_a_champion_told_need_not_be_found(
    warehouse: Warehouse, tenant: str, mlflow: Mlflow, contenders: list[str], tmp_path: Path
) -> None:
    """An incident that ended by itself is a case, and counts as what labels make of it: later ones, too."""
    settings = Settings(state_dir=tmp_path, mlflow_tracking_uri=mlflow.url)
    champion, _, deaf, _ = contenders
    lagging = Expected(at(ILL[0]), at(ILL[1]), PARTS[:1], f"{PARTS[0]}:overload")
    keep_case(tmp_path / "cases" / tenant / "i1", telemetry(0, SECONDS, ill={PARTS[0]: ILL}), lagging, SOURCE)

    async def held() -> list[str]:
        return list(await held_by_cases(tenant, settings, warehouse, "transcode", champion, deaf, LATER))

    async def say(value: str, second: float) -> None:
        async with warehouse.as_tenant(tenant) as db:
            await labels.put(tenant, db, [Label(value, "incident", "i1", value, "ann", "", at(second))])

    assert await held() == []
    await say("verdict:real", 1)
    (missed,) = await held()
    assert missed.startswith("i1: found after")
    await say("verdict:false-alarm", 2)
    assert await held() == [], "now it is a calm period, in which the deaf one is silent"


@pytest.mark.timeout(600)
async def test_a_tenant_without_cases_or_threshold_holds_nothing_and_says_so(
    warehouse: Warehouse,
    tenant: str,
    mlflow: Mlflow,
    contenders: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = Settings(state_dir=tmp_path, mlflow_tracking_uri=mlflow.url)
    champion, *_, shrill = contenders
    with caplog.at_level(logging.WARNING, "flows.gate"):
        assert await held_by_cases(tenant, settings, warehouse, "transcode", champion, shrill, LATER) == []
        assert "no case is kept" in caplog.text
        strangers = await asyncio.to_thread(registered, mlflow.url, "somebody-else")
        keep_case(tmp_path / "cases" / tenant / "calm", telemetry(0, SECONDS, seed=2), None)
        assert await held_by_cases(tenant, settings, warehouse, "transcode", champion, strangers, LATER) == []
    assert "its calm has set no threshold" in caplog.text


@pytest.mark.timeout(600)
async def test_the_flow_tags_the_version_with_what_the_cases_say(
    tenant: str,
    database: Database,
    prefect_api: str,
    mlflow: Mlflow,
    library: Path,
    contenders: list[str],
    tmp_path: Path,
) -> None:
    champion, good, deaf, _ = contenders
    told = await flow_told(
        FLOW,
        tenant,
        LATER.isoformat(),
        good,
        deaf,
        champion,
        database=database,
        prefect=prefect_api,
        folder=tmp_path / "prefect",
        TONEWATCH_STATE_DIR=str(tmp_path),
        TONEWATCH_MLFLOW_TRACKING_URI=mlflow.url,
    )
    passed, refused, same, tables = told
    assert (passed["verdict"], passed["worse"]) == ("passed", {tenant: {}})
    assert (refused["verdict"], list(refused["worse"][tenant])) == ("refused", ["lagging"])
    assert "is the champion already" in same["failed"]
    tags = [versions.one(mlflow.url, "transcode", each).tags for each in (good, deaf)]
    assert [each[versions.REPLAY_GATE] for each in tags] == ["passed", "refused"]
    reasons = [each[versions.REPLAY_GATE_REASON] for each in tags]
    assert reasons == [
        f"{words} than by {champion}" for words in ("none of 2 cases gets worse", "1 of 2 cases get worse")
    ]
    assert json.dumps(told).count("-> missed") == 1
    assert len(tables) == 2
    assert "lagging" not in json.dumps(tables)


@pytest.mark.timeout(600)
async def test_what_the_cases_hold_is_told_to_their_tenant_alone_and_waits_no_longer(
    warehouse: Warehouse,
    tenant: str,
    mlflow: Mlflow,
    library: Path,
    contenders: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    champion, _, deaf, _ = contenders
    chosen = Settings(state_dir=tmp_path, mlflow_tracking_uri=mlflow.url)
    whose = [tenant, await new_tenant(warehouse)]
    await asyncio.to_thread(versions.challenge, mlflow.url, "transcode", deaf)
    made = await better(warehouse, whose, "transcode", champion, deaf)
    with monkeypatch.context() as broken:

        def away(*_: object) -> None:
            raise ModelError("the registry went away")

        broken.setattr("ml.versions.dismiss", away)
        told, failed = await promote_due(whose, warehouse, chosen, LATER)
        assert (told[made.id], len(failed)) == ("the registry went away", 1)
    assert await promote_due(whose, warehouse, chosen, LATER) == ({made.id: "no: recorded incidents get worse"}, [])
    assert await promote_due(whose, warehouse, chosen, LATER) == ({}, [])
    words = []
    for each in whose:
        async with warehouse.as_tenant(each) as db:
            (row,) = await promotions.listed(each, db)
            (line,) = await audit.read(each, db, 10)
        words.append((row.state, row.told, line.what, line.reason))
    assert [each[::2] for each in words] == [("refused", "model.refused")] * 2
    assert all(each.startswith("recorded incidents get worse: lagging: found") for each in words[0][1::2])
    assert words[1][1::2] == ("recorded incidents get worse",) * 2
    tag = versions.one(mlflow.url, "transcode", deaf).tags[versions.VALIDATION]
    assert tag == f"better, and not promoted: recorded incidents get worse; promotion {row.id}"
    assert registry.challenger_versions(mlflow.url).get("transcode") != deaf, "no other has its turn"
