"""Challengers, the gate, promotion and the way back, on a real PostgreSQL and a real MLflow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from console.cli import app
from feature_store.definitions import floors, names
from flows.promotion import promote_due
from flows.validation import looked_at
from ml import registry, versions
from ml.calibration import Calibration
from ml.detectors.isolation_forest import ForestDetector
from ml.kinds import model_name
from tasks.promote import promote, rollback
from tasks.prove import Rival, Verdict, beside, prove, rival_of
from tasks.publish import Trained, publish
from tasks.train import Lesson, Stretch, calibrated, platform_of, train
from tests.conftest import Database
from tests.integration.promoting import asks, forget_aliases
from tests.integration.servers import Mlflow
from tests.integration.test_kinds_in_registry import spoil
from tests.integration.test_model_lineage import EDGE
from tests.integration.test_training import PARTS, START, TRAINING, calm
from tonewatch.errors import ModelError, WarehouseAway
from tonewatch.settings import Settings
from warehouse import answers, audit, calibrations, lineage
from warehouse.answers import Answer
from warehouse.database import Connection, Warehouse

__all__ = ["calm"]  # a fixture
pytestmark = pytest.mark.timeout(300)
FAMILY = "transcode"
LATER = START + timedelta(hours=1)


@pytest.fixture
async def lesson(warehouse: Warehouse, calm: Stretch) -> tuple[Lesson, Calibration]:
    made = await train(warehouse, calm, FAMILY, PARTS, seed=1)
    return made, calibrated([made], await platform_of(warehouse, calm), calm, families=1, seed=1)


@pytest.fixture
def clean(mlflow: Mlflow) -> None:
    """No champion of the family, whatever other tests have left."""
    forget_aliases(mlflow.url, FAMILY)


async def trained(
    warehouse: Warehouse, url: str, stretch: Stretch, lesson: Lesson, calibration: Calibration
) -> tuple[Trained, Verdict]:
    rival = await asyncio.to_thread(rival_of, url, FAMILY)
    verdict = beside(rival, prove(lesson, calibration, rival.detector, stretch, [0, 1], 1, seed=1))
    now = stretch.end
    return await publish(warehouse, url, stretch, lesson, calibration, verdict=verdict, seed=1, now=now), verdict


def blind(lesson: Lesson) -> Lesson:
    """The same, had the detector learned that anything is normal."""
    dull = ForestDetector(names(FAMILY), [1e3 * floor for floor in floors(FAMILY)], trees=5)
    rows = lesson.learned.values
    dull.fit(rows[np.isfinite(rows).all(axis=1)])
    return replace(lesson, pupil=dull, detector=dull)


@pytest.mark.usefixtures("clean")
async def test_the_first_that_passes_is_champion_the_next_challenger_and_each_move_can_be_taken_back(
    warehouse: Warehouse,
    calm: Stretch,
    lesson: tuple[Lesson, Calibration],
    mlflow: Mlflow,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calm = replace(calm, why="schedule", unrest="no incident")
    (first, verdict), (second, again) = [await trained(warehouse, mlflow.url, calm, *lesson) for _ in range(2)]
    assert (first.standing, second.standing) == ("champion", "challenger")
    assert verdict.figures["gate_recall"] > 0.3
    assert again.champion == first.version
    assert registry.champion_versions(mlflow.url)[FAMILY] == first.version
    by = {"who": "ann", "reason": "it finds more", "now": LATER}
    moved = await promote(calm.tenant, warehouse, mlflow.url, FAMILY, second.version, **by)
    assert (moved.version, moved.before) == (second.version, first.version)
    assert registry.champion_versions(mlflow.url)[FAMILY] == second.version
    with pytest.raises(ModelError, match="is the champion of transcode already"):
        await promote(calm.tenant, warehouse, mlflow.url, FAMILY, second.version, **by)
    standing = {each.version: each.aliases for each in versions.listed(mlflow.url, FAMILY)}
    assert (standing[first.version], standing[second.version]) == (("previous",), ("champion",))
    for expected in (first.version, second.version):
        back = await rollback(calm.tenant, warehouse, mlflow.url, FAMILY, **by)
        assert back.version == registry.champion_versions(mlflow.url)[FAMILY] == expected
    async with warehouse.as_tenant(calm.tenant) as db:
        lines = await audit.read(calm.tenant, db, 10)
    told = [(line.what, line.who, (line.before or {}).get("champion"), line.after["champion"]) for line in lines]
    assert told == [
        ("model.rollback", "ann", first.version, second.version),
        ("model.rollback", "ann", second.version, first.version),
        ("model.promote", "ann", first.version, second.version),
        ("model.promote", "tonewatch", None, first.version),
    ]

    monkeypatch.setenv("TONEWATCH_DATABASE_URL", database.app_url)
    monkeypatch.setenv("TONEWATCH_MLFLOW_TRACKING_URI", mlflow.url)
    monkeypatch.setenv("TONEWATCH_TENANT", calm.tenant)

    async def say(*words: str) -> Any:
        told = await asyncio.to_thread(CliRunner().invoke, app, ["models", *words])
        assert told.exit_code == 0, told.output
        return json.loads(told.stdout) if "--json" in words else told.stdout

    listed = await say("list", "--family", FAMILY, "--json")
    assert [each["version"] for each in listed if each["judges"]] == [second.version]
    card = await say("show", f"{FAMILY}/{first.version}", "--card")
    assert f"training_set: training-{FAMILY}/1" in card
    assert "## Gate\n\n- passed\n- finds " in card
    assert "## Replay gate\n\n- nothing is kept of it\n" in card
    assert "## Retired" not in card
    figures = (await say("compare", FAMILY, f"{FAMILY}/{first.version}", "--json"))["figures"]
    assert figures["threshold"]["one"] == figures["threshold"]["other"] == first.threshold
    assert "rows_learned" in await say("show", FAMILY)
    undone = await say("rollback", FAMILY, "--reason", "worse at night", "--as", "bob", "--json")
    assert (undone["version"], undone["before"]) == (first.version, second.version)
    await say("promote", f"{FAMILY}/{second.version}", "--as", "bob")
    assert registry.champion_versions(mlflow.url)[FAMILY] == second.version

    path = f"{FAMILY}/{first.version}"
    said = {versions.REPLAY_GATE: "refused", versions.REPLAY_GATE_REASON: "1 of 2 cases"}
    await asyncio.to_thread(versions.tag, mlflow.url, FAMILY, first.version, said)
    gone = replace(EDGE, model=model_name(FAMILY), version=first.version)
    async with warehouse.as_tenant(calm.tenant) as db:
        await lineage.retire(calm.tenant, db, [gone], "an erasure", LATER)
    card = await say("show", path, "--card")
    assert "## Replay gate\n\n- refused\n- 1 of 2 cases\n" in card
    assert f"## Retired\n\n- since {LATER:%Y-%m-%d %H:%M}Z: an erasure\n" in card
    for told in (await say("show", path), await say("compare", FAMILY, path)):
        assert "  replay gate: refused 1 of 2 cases\n" in told
        assert f"  retired: since {LATER:%Y-%m-%d %H:%M}Z: an erasure\n" in told
        assert "  unrest: no incident\n" in told
        assert "  why: schedule\n" in told
    monkeypatch.setenv("TONEWATCH_DATABASE_URL", "postgresql://app:app@127.0.0.1:9/none")
    away = await asyncio.to_thread(CliRunner().invoke, app, ["models", "show", path])
    assert (away.exit_code, "retired: " in away.stdout) == (0, False)
    assert "rows_learned" in away.stdout
    assert "whether it is retired is not known" in away.stderr


@pytest.mark.usefixtures("clean")
async def test_what_finds_less_is_refused_and_touches_neither_champion_nor_thresholds(
    warehouse: Warehouse, calm: Stretch, lesson: tuple[Lesson, Calibration], mlflow: Mlflow
) -> None:
    good, _ = await trained(warehouse, mlflow.url, calm, *lesson)
    async with warehouse.as_tenant(calm.tenant) as db:
        before = await calibrations.newest(calm.tenant, db)
    bad, verdict = await trained(warehouse, mlflow.url, calm, blind(lesson[0]), lesson[1])
    assert (bad.standing, verdict.passed) == ("refused", False)
    assert "fewer, by chance" in verdict.reason
    found = versions.one(mlflow.url, FAMILY, bad.version)
    assert (found.aliases, found.tags["gate"]) == ((), "failed")
    assert found.metrics["gate_recall"] < found.metrics["gate_recall_champion"]
    assert registry.champion_versions(mlflow.url)[FAMILY] == good.version
    async with warehouse.as_tenant(calm.tenant) as db:
        assert await calibrations.newest(calm.tenant, db) == before
    by = {"who": "ann", "reason": "", "now": LATER}
    with pytest.raises(ModelError, match="has not passed the gate"):
        await promote(calm.tenant, warehouse, mlflow.url, FAMILY, bad.version, **by)
    by["now"] = LATER + timedelta(seconds=1)  # what was refused is over: whoever wants it all the same asks anew
    await promote(calm.tenant, warehouse, mlflow.url, FAMILY, bad.version, proven=False, **by)
    assert (await rollback(calm.tenant, warehouse, mlflow.url, FAMILY, **by)).version == good.version


@pytest.mark.usefixtures("clean")
async def test_a_first_model_that_can_find_nothing_is_refused(
    warehouse: Warehouse, calm: Stretch, lesson: tuple[Lesson, Calibration], mlflow: Mlflow
) -> None:
    made, calibration = lesson
    highest = {FAMILY: replace(calibration.thresholds[FAMILY], value=1.0)}
    verdict = prove(made, replace(calibration, thresholds=highest), None, calm, [0, 1], 1, seed=1)
    assert (verdict.passed, verdict.reason) == (False, "finds none of 120 injected anomalies")


@pytest.mark.usefixtures("clean")
async def test_a_champion_that_cannot_score_is_no_rival_and_no_training_takes_its_place(
    warehouse: Warehouse, calm: Stretch, lesson: tuple[Lesson, Calibration], mlflow: Mlflow, tmp_path: Path
) -> None:
    judging, _ = await trained(warehouse, mlflow.url, calm, *lesson)
    found = rival_of(mlflow.url, FAMILY)
    assert (found.version, found.detector is not None) == (judging.version, True)
    retired = {calibrations.model_version(FAMILY, judging.version)}
    assert rival_of(mlflow.url, FAMILY, retired) == Rival(judging.version, None, "it is retired")
    spoil(mlflow.folder)
    made, verdict = await trained(warehouse, mlflow.url, calm, *lesson)
    why = verdict.silent
    assert why.startswith(f"the champion {judging.version} cannot score here: ")
    assert (made.standing, made.gate.endswith(f"injected anomalies; {why}")) == ("challenger", True)
    assert registry.champion_versions(mlflow.url)[FAMILY] == judging.version
    later, _ = await trained(warehouse, mlflow.url, calm, *lesson)
    assert later.standing == "challenger"

    chosen = Settings(profile="demo", state_dir=tmp_path, mlflow_tracking_uri=mlflow.url)
    pair, whose = (FAMILY, judging.version, later.version), [calm.tenant]
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        await asks(warehouse, calm.tenant)
        first, told = [await looked_at(chosen, warehouse, pair, whose, LATER, 28) for _ in range(2)]
        assert first == told
        assert (told["answer"], told["final"], told["reasons"]) == ("better", True, why)
        (answer,) = (await promote_due(whose, warehouse, chosen, LATER))[0].values()
        assert answer.startswith("waits for an answer until ")
        assert registry.champion_versions(mlflow.url)[FAMILY] == judging.version
        waiting = await answers.waiting(calm.tenant, warehouse, FAMILY, later.version)
        await answers.answer(calm.tenant, warehouse, Answer(waiting.id, True, "ann", ""), LATER)
        assert list((await promote_due(whose, warehouse, chosen, LATER))[0].values()) == ["yes"]
    assert registry.champion_versions(mlflow.url)[FAMILY] == later.version
    async with warehouse.as_tenant(calm.tenant) as db:
        (line, *_) = [each for each in await audit.read(calm.tenant, db, 9) if each.what == "model.promote"]
    assert (line.who, line.before, line.reason) == ("validation", {"champion": judging.version}, why)


class Breaking(Warehouse):
    """A warehouse whose connection breaks off as a transaction would commit."""

    @asynccontextmanager
    async def as_tenant(self, tenant: str) -> AsyncIterator[Connection]:
        async with super().as_tenant(tenant) as db:
            yield db
            raise WarehouseAway("broke off")


@pytest.mark.usefixtures("clean")
async def test_a_promotion_whose_intent_cannot_be_written_changes_nothing(
    calm: Stretch, lesson: tuple[Lesson, Calibration], mlflow: Mlflow, database: Database
) -> None:
    told = replace(TRAINING, lineage={"gate": "passed"})
    rows = lesson[0].learned.values[:3]
    first, second = (registry.register(mlflow.url, FAMILY, lesson[0].detector, told, rows) for _ in range(2))
    registry.promote(mlflow.url, FAMILY, first)
    breaking = Breaking(database.app_url)
    with pytest.raises(WarehouseAway, match="broke off"):
        await promote(calm.tenant, breaking, mlflow.url, FAMILY, second, who="ann", reason="", now=LATER)
    await breaking.close()
    assert registry.champion_versions(mlflow.url)[FAMILY] == first
