"""Probation on a real PostgreSQL and a real MLflow: a champion that pages, or fails on today's rows, is taken back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from flows.probation import look
from flows.promotion import promote_due
from ml import registry, versions
from ml.kinds import model_name, parsed
from tasks.fetch import Bench
from tasks.promote import promote
from tasks.shadow import found_within, piece_of
from tests.conftest import new_tenant
from tests.integration.furnished import LINEAGE
from tests.integration.promoting import forget_aliases, unreadable, version
from tests.integration.servers import Mlflow
from tests.integration.test_kinds_in_registry import spoil
from tests.unit.transcoders import NOON, PARTS, at, telemetry
from tonewatch.errors import ModelError
from tonewatch.records import Entity
from tonewatch.settings import Settings, load_profile
from warehouse import audit, calibrations, entities, lineage, notices, promotions, samples, validations
from warehouse.calibrations import Calibrated, Source
from warehouse.database import Warehouse
from warehouse.promotions import Promotion, Stage
from warehouse.validations import Looked

pytestmark = pytest.mark.timeout(300)
FAMILY = "transcode"
PROFILE = load_profile("demo")
PIECE = int(piece_of(PROFILE).total_seconds())
PIECES = 30
#: In every piece one of the two lags, for long enough to open an incident: a sharp model pages, a deaf one does not.
#: They take turns: what is related and goes on within a minute is one incident.
ILL = {
    part: [(piece * PIECE + 5, piece * PIECE + 65) for piece in range(turn, PIECES, 2)]
    for turn, part in enumerate(PARTS)
}
DEAF, SHARP = 0.999, 0.7


@pytest.fixture(autouse=True)
def clean(mlflow: Mlflow) -> None:
    """No champion of the family, whatever other tests have left."""
    forget_aliases(mlflow.url, FAMILY)


@pytest.fixture
def chosen(tenant: str, mlflow: Mlflow) -> Settings:
    return Settings(tenant=tenant, profile="demo", mlflow_tracking_uri=mlflow.url)


async def promoted(
    warehouse: Warehouse,
    tenant: str,
    mlflow: Mlflow,
    thresholds: tuple[float, float],
    *,
    ill: bool,
    brittle: int = 0,
    calibrated: bool = True,
    own_files: bool = False,
) -> tuple[str, str]:
    """A champion and what was promoted over it at noon, each with its threshold, on a platform that is ill or calm;
    None: nobody has heard of it. brittle: which of the two fails on today's rows; calibrated: on the tenant's calm.
    """
    both = [
        await asyncio.to_thread(
            version,
            mlflow.url,
            tenant if calibrated else "other",
            FAMILY,
            seed,
            brittle=seed == brittle,
            own_files=own_files,
        )
        for seed in (1, 2)
    ]
    await asyncio.to_thread(registry.promote, mlflow.url, FAMILY, both[0])
    own = [
        Calibrated(FAMILY, each, NOON, threshold, threshold, threshold, 0.69, 0.01, "seen", Source.TRAINING, "calm")
        for each, threshold in zip(both, thresholds, strict=True)
    ]
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, [Entity(part, FAMILY) for part in PARTS], at(-86_400))
        await samples.append(tenant, db, [] if ill is None else told(ill=ill))
        await calibrations.put(tenant, db, own if calibrated else [])
    await promote(tenant, warehouse, mlflow.url, FAMILY, both[1], who="ann", reason="", now=NOON)
    return both[0], both[1]


def told(*, ill: bool) -> list[samples.Sample]:
    """Telemetry from before noon to the last piece; ill: it lags once in every piece."""
    calm = telemetry(-360, PIECES * PIECE + 600)
    if not ill:
        return calm
    return [
        replace(each, value=each.value + 3.0)
        if each.series.metric == "transcode_lag_seconds"
        and any(at(begin) < each.time <= at(end) for begin, end in ILL.get(each.series.entity, ()))
        else each
        for each in calm
    ]


async def watched(warehouse: Warehouse, tenant: str) -> Promotion:
    async with warehouse.as_tenant(tenant) as db:
        (first,) = [each for each in await promotions.listed(tenant, db) if each.what == "promote"]
    return first


def when(pieces: int) -> timedelta:
    return pieces * timedelta(seconds=PIECE) + found_within(PROFILE)


async def test_a_champion_that_pages_all_the_time_is_taken_back_audited_and_told(
    warehouse: Warehouse, tenant: str, chosen: Settings, mlflow: Mlflow
) -> None:
    before, after = await promoted(warehouse, tenant, mlflow, (DEAF, SHARP), ill=True)
    answers = []
    for pieces in range(2, PIECES + 1, 4):
        (row,), failed = await look([tenant], warehouse, chosen, NOON + when(pieces), days=1000)
        assert failed == []
        answers.append(row["answer"])
        if row["answer"] != "on probation":
            break
    assert answers[-1] == "taken back"
    assert len(answers) > 1, "one look at two pieces shows nothing"
    assert "pages broken" in row["reasons"]
    assert registry.champion_versions(mlflow.url)[FAMILY] == before
    first = await watched(warehouse, tenant)
    assert (first.version, first.state) == (after, Stage.TAKEN_BACK)
    assert "pages broken" in first.told
    async with warehouse.as_tenant(tenant) as db:
        (line,) = [line for line in await audit.read(tenant, db, 10) if line.what == "model.rollback"]
        (notice,) = await notices.of_incident(tenant, db, f"promotion:{first.id}")
    assert (line.who, line.after["champion"]) == ("probation", before)
    assert f"version {after} was taken back" in notice.subject
    assert (await look([tenant], warehouse, chosen, NOON + when(PIECES), days=1000)) == ([], [])


async def test_a_champion_that_fails_on_todays_rows_is_taken_back_at_once(
    warehouse: Warehouse, tenant: str, chosen: Settings, mlflow: Mlflow
) -> None:
    before, _ = await promoted(warehouse, tenant, mlflow, (SHARP, SHARP), ill=False, brittle=2)
    (row,), failed = await look([tenant], warehouse, chosen, NOON + when(1))
    assert (failed, row["answer"]) == ([], "taken back")
    assert "the challenger fails on tenant" in row["reasons"]
    assert registry.champion_versions(mlflow.url)[FAMILY] == before


async def test_a_champion_whose_artefact_is_damaged_is_taken_back(
    warehouse: Warehouse, tenant: str, chosen: Settings, mlflow: Mlflow
) -> None:
    before, _ = await promoted(warehouse, tenant, mlflow, (SHARP, SHARP), ill=False, own_files=True)
    spoil(mlflow.folder)  # the newest, which is the one that was promoted
    (row,), failed = await look([tenant], warehouse, chosen, NOON + when(1))
    assert (failed, row["answer"]) == ([], "taken back")
    assert "were changed or damaged" in row["reasons"]
    assert registry.champion_versions(mlflow.url)[FAMILY] == before


async def test_a_champion_that_was_taken_back_judges_no_more_where_the_one_before_is_retired(
    warehouse: Warehouse, tenant: str, chosen: Settings, mlflow: Mlflow
) -> None:
    before, after = await promoted(warehouse, tenant, mlflow, (SHARP, SHARP), ill=False, brittle=2)
    (row,), _ = await look([tenant], warehouse, chosen, NOON + when(1))
    assert row["answer"] == "taken back"
    async with warehouse.as_tenant(tenant) as db:
        mine = await calibrations.newest(tenant, db)
    retired = {calibrations.model_version(FAMILY, before)}
    bench = Bench(tenant, mlflow.url)
    assert (await asyncio.to_thread(bench.champions, mine))[FAMILY].version == before
    assert FAMILY not in await asyncio.to_thread(bench.champions, mine, retired)
    for number, wanted in enumerate((after, before), start=2):
        now = NOON + when(number)
        await promote(tenant, warehouse, mlflow.url, FAMILY, wanted, who="ann", reason="", now=now, proven=False)
    assert registry.has_judged(mlflow.url, FAMILY, after), "a person wanted it all the same"


async def test_a_champion_that_breaks_nothing_is_kept_when_its_probation_is_over(
    warehouse: Warehouse, tenant: str, chosen: Settings, mlflow: Mlflow
) -> None:
    _, after = await promoted(warehouse, tenant, mlflow, (SHARP, SHARP), ill=False)
    (row,), _ = await look([tenant], warehouse, chosen, NOON + when(2), days=4)
    assert row["answer"] == "on probation"
    (row,), _ = await look([tenant], warehouse, chosen, NOON + when(9), days=4)
    assert row["answer"] == "kept"
    assert (await watched(warehouse, tenant)).state is Stage.KEPT
    assert registry.champion_versions(mlflow.url)[FAMILY] == after
    async with warehouse.as_tenant(tenant) as db:
        (kept,) = await validations.listed(tenant, db)
    assert (kept.promoted, kept.taken_back) == (None, None)


async def test_a_champion_that_is_better_on_probation_is_not_proposed_once_more(
    warehouse: Warehouse, tenant: str, chosen: Settings, mlflow: Mlflow
) -> None:
    await promoted(warehouse, tenant, mlflow, (DEAF, SHARP), ill=False)
    await look([tenant], warehouse, chosen, NOON + when(2))
    async with warehouse.as_tenant(tenant) as db:
        (kept,) = await validations.listed(tenant, db)
        found = Looked(kept.id, at(999), "better", True, 0.3, 0.1, 0.5, 40, ("effect",), {})
        assert await validations.look(tenant, db, found)
    assert await promote_due([tenant], warehouse, chosen, NOON + when(3)) == ({}, [])
    assert len(await rows_of(warehouse, tenant)) == 1


async def rows_of(warehouse: Warehouse, tenant: str) -> list[Promotion]:
    async with warehouse.as_tenant(tenant) as db:
        return await promotions.listed(tenant, db)


async def test_a_run_that_died_between_rollback_and_row_is_finished_by_the_next(
    warehouse: Warehouse, tenant: str, chosen: Settings, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = await promoted(warehouse, tenant, mlflow, (SHARP, SHARP), ill=False, own_files=True)
    spoil(mlflow.folder)
    with monkeypatch.context() as broken:

        async def died(*_: object) -> None:
            raise ModelError("the process died here")

        broken.setattr("flows.probation._tell_taken_back", died)
        rows, failed = await look([tenant], warehouse, chosen, NOON + when(1))
        assert (rows, len(failed)) == ([], 1)
    assert registry.champion_versions(mlflow.url)[FAMILY] == before
    assert (await watched(warehouse, tenant)).state is Stage.PROBATION
    (row,), failed = await look([tenant], warehouse, chosen, NOON + when(2))
    assert (failed, row["answer"]) == ([], "taken back")
    assert (await watched(warehouse, tenant)).state is Stage.TAKEN_BACK


async def test_a_champion_that_another_run_is_taking_back_is_not_called_superseded(
    warehouse: Warehouse, tenant: str, chosen: Settings, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    await promoted(warehouse, tenant, mlflow, (SHARP, SHARP), ill=False, own_files=True)
    spoil(mlflow.folder)
    with monkeypatch.context() as broken:

        async def died(*_: object, **__: object) -> None:
            raise ModelError("the process died here")

        broken.setattr("tasks.promote._landed", died)
        await look([tenant], warehouse, chosen, NOON + when(1))
    async with warehouse.as_tenant(tenant) as turn:
        assert await promotions.take_turn(tenant, turn, FAMILY)
        rows, failed = await look([tenant], warehouse, chosen, NOON + when(1))
        assert (rows, len(failed)) == ([], 1)
        assert "back at this moment" in failed[0]
    assert (await watched(warehouse, tenant)).state is Stage.PROBATION
    (row,), failed = await look([tenant], warehouse, chosen, NOON + when(2))
    assert (failed, row["answer"]) == ([], "taken back")
    assert (await watched(warehouse, tenant)).state is Stage.TAKEN_BACK


async def test_a_registry_that_is_away_leaves_the_champion_and_is_told(
    warehouse: Warehouse, tenant: str, chosen: Settings, mlflow: Mlflow
) -> None:
    await promoted(warehouse, tenant, mlflow, (SHARP, SHARP), ill=False)
    away = chosen.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    rows, failed = await look([tenant], warehouse, away, NOON + when(1))
    assert rows == []
    assert "stays champion" in failed[-1]
    assert (await watched(warehouse, tenant)).state is Stage.PROBATION


async def test_a_stretch_without_a_sample_shows_nothing(
    warehouse: Warehouse, tenant: str, chosen: Settings, mlflow: Mlflow
) -> None:
    _, after = await promoted(warehouse, tenant, mlflow, (SHARP, SHARP), ill=None)
    (row,), failed = await look([tenant], warehouse, chosen, NOON + when(3))
    assert (failed, row["answer"]) == ([], "on probation")
    assert "not enough is known yet" in row["reasons"]
    assert registry.champion_versions(mlflow.url)[FAMILY] == after


async def test_what_was_shown_while_the_registry_was_away_is_acted_on_when_it_is_back(
    warehouse: Warehouse, tenant: str, chosen: Settings, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = await promoted(warehouse, tenant, mlflow, (SHARP, SHARP), ill=False, brittle=2)
    with monkeypatch.context() as broken:

        def away(*_: object, **__: object) -> None:
            raise ModelError("the registry went away")

        broken.setattr("ml.versions.promote", away)
        rows, failed = await look([tenant], warehouse, chosen, NOON + when(1))
        assert (rows, "went away" in failed[0]) == ([], True)
    first = await watched(warehouse, tenant)
    assert (registry.champion_versions(mlflow.url)[FAMILY], first.state) == (after, Stage.PROBATION)
    async with warehouse.as_tenant(tenant) as db:
        (notice,) = await notices.of_incident(tenant, db, f"promotion:{first.id}")
    assert "is to be taken back and is not" in notice.subject
    (row,), failed = await look([tenant], warehouse, chosen, NOON + when(2))
    assert (failed, row["answer"]) == ([], "taken back")
    assert registry.champion_versions(mlflow.url)[FAMILY] == before


async def test_a_tenant_whose_settings_cannot_be_read_keeps_no_champion_and_is_told_when_it_is_taken_back(
    warehouse: Warehouse, tenant: str, chosen: Settings, mlflow: Mlflow
) -> None:
    before, _ = await promoted(warehouse, tenant, mlflow, (SHARP, SHARP), ill=False, brittle=2)
    first, whose = await watched(warehouse, tenant), [tenant, await new_tenant(warehouse)]
    async with warehouse.as_tenant(whose[1]) as db:
        await promotions.put(whose[1], db, first)
    await unreadable(warehouse, whose[1])
    rows, failed = await look([whose[1]], warehouse, chosen, NOON + when(1))
    assert (rows, len(failed), "none of its tenants can be read" in failed[1]) == ([], 2, True)
    (row,), failed = await look(whose, warehouse, chosen, NOON + when(1))
    assert (row["answer"], [each.partition(":")[0] for each in failed]) == ("taken back", [whose[1]])
    assert registry.champion_versions(mlflow.url)[FAMILY] == before
    for each in whose:
        states = {row.what: row.state for row in await rows_of(warehouse, each)}
        assert states == {"promote": Stage.TAKEN_BACK, "rollback": Stage.DONE}
        async with warehouse.as_tenant(each) as db:
            (notice,) = await notices.of_incident(each, db, f"promotion:{first.id}")
        assert "was taken back" in notice.subject


@pytest.mark.parametrize("gone", ["retired", "uncalibrated", "both unfit"])
async def test_a_probation_ends_where_there_is_nothing_to_hold_the_champion_against(
    warehouse: Warehouse, tenant: str, chosen: Settings, mlflow: Mlflow, gone: str
) -> None:
    calibrated = gone != "uncalibrated"
    both = await promoted(warehouse, tenant, mlflow, (SHARP, SHARP), ill=False, calibrated=calibrated)
    if gone == "retired":
        kind, number = parsed(both[0])
        async with warehouse.as_tenant(tenant) as db:
            left = replace(LINEAGE, model=model_name(FAMILY, kind), version=number)
            await lineage.retire(tenant, db, [left], "a tenant has left", NOON)
    elif gone == "both unfit":
        for each in both:
            await asyncio.to_thread(versions.tag, mlflow.url, FAMILY, each, {"fingerprint": "of other features"})
    (row,), failed = await look([tenant], warehouse, chosen, NOON + when(1))
    assert (failed, row["answer"]) == ([], "kept")
    assert "there is nothing to hold it against any more" in (await watched(warehouse, tenant)).told
    assert tenant not in (await watched(warehouse, tenant)).told, "where several take part each reads of the others"
    assert registry.champion_versions(mlflow.url)[FAMILY] == both[1]
    assert await look([tenant], warehouse, chosen, NOON + when(2)) == ([], [])


async def test_a_probation_whose_rival_fails_is_over_after_its_days(
    warehouse: Warehouse, tenant: str, chosen: Settings, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, after = await promoted(warehouse, tenant, mlflow, (SHARP, SHARP), ill=False, brittle=1)
    rows, failed = await look([tenant], warehouse, chosen, NOON + when(1), days=4)
    assert (rows, len(failed)) == ([], 1)
    assert (await watched(warehouse, tenant)).state is Stage.PROBATION
    (row,), failed = await look([tenant], warehouse, chosen, NOON + when(9), days=4)
    assert (failed, row["answer"]) == ([], "kept")
    assert registry.champion_versions(mlflow.url)[FAMILY] == after
