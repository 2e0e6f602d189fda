"""What a model was taught with: one way to the windows, named and hashed; the same again gives the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from feature_store import offline, training_sets
from feature_store.views import view
from feature_store.windows import FeatureFrame
from ml import registry
from ml.kinds import model_name
from tasks.materialize import materialize
from tasks.prove import prove
from tasks.publish import publish
from tasks.train import Stretch, calibrated, platform_of, read_frame, refuse_broken, train
from tests.conftest import Database
from tests.integration.servers import Mlflow
from tests.integration.test_features_command import features
from tests.integration.test_training import DAY, PARTS, START, telemetry
from tonewatch.clock import ManualClock
from tonewatch.errors import FeatureError, ModelError
from tonewatch.records import Entity
from tonewatch.settings import load_profile
from warehouse import entities, samples
from warehouse import training_sets as kept
from warehouse.cache import Cache
from warehouse.database import Warehouse

SECONDS = 3 * DAY


@pytest.fixture
async def calm(warehouse: Warehouse, tenant: str) -> Stretch:
    """Three clean compressed days of two transcoders in the warehouse: an ensemble needs more than a forest."""
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, [Entity(part, "transcode") for part in PARTS], START)
        await samples.append(tenant, db, telemetry(0, SECONDS + 1, seed=1))
    return Stretch(tenant, START, START + timedelta(seconds=SECONDS), load_profile("demo"))


async def test_what_training_reads_is_what_the_feature_store_keeps(warehouse: Warehouse, calm: Stretch) -> None:
    made = view("transcode", calm.profile)
    first, end = calm.start + timedelta(seconds=9), calm.end - timedelta(seconds=10)
    await materialize(calm.tenant, warehouse, Cache(None), ManualClock(calm.end), names=["transcode"])
    async with warehouse.as_tenant(calm.tenant) as db:
        stored = await offline.frame(calm.tenant, db, made, PARTS, calm.start, end)
    read = await read_frame(warehouse, calm, "transcode", PARTS, offline.ends_within(made, first, end))
    assert stored.ends == read.ends
    assert np.isfinite(stored.values).all()
    np.testing.assert_array_equal(stored.values.view("u8"), read.values.view("u8"))
    np.testing.assert_array_equal(stored.coverage, read.coverage)


@pytest.mark.timeout(300)
async def test_the_same_calm_and_seed_give_the_same_figures_and_hashes_and_one_training_set(
    warehouse: Warehouse, calm: Stretch, mlflow: Mlflow, database: Database
) -> None:
    client = registry.MlflowClient(mlflow.url)
    runs = []
    for _ in range(2):
        lesson = await train(warehouse, calm, "transcode", PARTS, seed=3, kind="row-ensemble")
        calibration = calibrated([lesson], await platform_of(warehouse, calm), calm, families=1, seed=3)
        verdict = replace(prove(lesson, calibration, None, calm, [0, 1], 1, seed=3), champion="another")
        one = await publish(warehouse, mlflow.url, calm, lesson, calibration, verdict=verdict, seed=3, now=calm.end)
        found = client.get_model_version(model_name("transcode", "row-ensemble"), one.version.partition("/")[2])
        runs.append((client.get_run(found.run_id).data, found.tags))
    (first, tags), (second, again) = runs
    assert first.metrics == second.metrics
    assert first.params == second.params
    same = {"data_hash", "scores_hash", "content_hash", "training_set", "code_version", "view"}
    assert {name: tags[name] for name in same} == {name: again[name] for name in same}
    async with warehouse.as_tenant(calm.tenant) as db:
        (made,) = await kept.listed(calm.tenant, db)
        holding = await kept.holding(calm.tenant, db, PARTS[0], calm.start, calm.end)
    assert (tags["training_set"], tags["data_hash"]) == (f"training-transcode/{made.version}", made.hash)
    assert holding == [made]
    assert first.params["embargo_seconds"] == "35.0"  # a window, and five ticks that the first judged one depends on

    told = await features(database, calm.tenant, "sets", "list")
    assert told.stdout.startswith("training-transcode      version 1: 504 of 504 rows of 2 entities"), told.stdout
    shown = await features(database, calm.tenant, "sets", "show", "training-transcode", "--json")
    assert f'"hash": "{made.hash}"' in shown.stdout
    missing = await features(database, calm.tenant, "sets", "show", "training-egde")
    assert missing.returncode != 0
    assert "no training set" in missing.stderr


async def test_no_sample_that_taught_is_in_or_before_what_judges(warehouse: Warehouse, calm: Stretch) -> None:
    lesson = await train(warehouse, calm, "transcode", PARTS, seed=0, kind="row-ensemble")
    window = timedelta(seconds=calm.profile.window_seconds)
    past = lesson.detector.looks_back * timedelta(seconds=calm.profile.tick_seconds)
    ends = np.array(lesson.held_out.ends[: lesson.scores.shape[1]])[np.isfinite(lesson.scores).any(axis=0)]
    assert past > timedelta(0)
    assert min(ends) - past - window >= max(lesson.learned.ends)


async def test_windows_that_break_their_contract_are_not_learned(warehouse: Warehouse, calm: Stretch) -> None:
    made = view("transcode", calm.profile)
    frame = await read_frame(warehouse, calm, "transcode", PARTS, calm.ends(calm.start, calm.middle))
    refuse_broken(made, (frame,), calm.end)

    def spoilt(column: str, value: float) -> FeatureFrame:
        values = frame.values.copy()
        values[::3, made.names.index(column)] = value
        return replace(frame, values=values)

    with pytest.raises(ModelError, match=r"range: lag_mean .* nothing was learned"):
        refuse_broken(made, (spoilt("lag_mean", 1e9),), calm.end)
    with pytest.raises(ModelError, match="filled: frames_per_second"):
        refuse_broken(made, (spoilt("frames_per_second", np.nan),), calm.end)
    with pytest.raises(ModelError, match="future"):
        refuse_broken(made, (frame,), calm.start)


async def test_a_training_set_of_nothing_is_refused(warehouse: Warehouse, calm: Stretch) -> None:
    made = view("transcode", calm.profile)
    empty = await read_frame(warehouse, calm, "transcode", PARTS, [calm.end + timedelta(hours=1)])
    with pytest.raises(FeatureError, match="nothing to learn from"):
        await training_sets.of_windows(calm.tenant, warehouse, "none", made, [empty], calm.step, calm.end)
