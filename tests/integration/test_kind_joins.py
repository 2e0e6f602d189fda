"""A new kind of model joins by one file: it is searched, trained, proved, registered, fetched and promoted."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

import ml.kinds
from console.training import asked
from flows.training import refuse_unknown
from ml import registry, versions
from ml.kinds import kinds
from tasks.fetch import Bench
from tasks.promote import promote
from tasks.prove import prove, rival_of
from tasks.publish import publish
from tasks.search import train_best
from tasks.train import Stretch, calibrated, platform_of, score_matrix
from tests.integration.servers import Mlflow
from tests.integration.test_lifecycle import clean
from tests.integration.test_training import DAY, PARTS, START, holds_what_a_training_must, telemetry
from tonewatch.records import Entity
from tonewatch.settings import Search, load_profile
from warehouse import calibrations, entities, samples
from warehouse.database import Warehouse

__all__ = ["clean"]  # a fixture
FILE = '''
"""The feature that is farthest off says how strange a window is."""

import numpy as np

from ml.detectors.family import FamilyDetector
from ml.kinds.base import Kind, Packed


class Farthest(FamilyDetector):
    kind = "farthest"

    def __init__(self, names, floors, half=4.0):
        super().__init__(names)
        self.half = half
        self.centre, self.spread = np.zeros(len(names)), np.array(floors, float)

    def fit(self, rows):
        self.centre = np.nanmedian(rows, axis=0)
        self.spread = np.maximum(1.4826 * np.nanmedian(np.abs(rows - self.centre), axis=0), self.spread)
        return self

    def teach(self, parts):
        return self.fit(np.vstack([part.values[part.judged] for part in parts]))

    def score(self, rows):
        self.refuse_unusable(rows)
        far = np.nanmax(np.abs(rows - self.centre) / self.spread, axis=1) if len(rows) else np.empty(0)
        return far / (self.half + far)

    def explain(self, row):
        return dict(zip(self.names, self.distances(np.atleast_2d(row))[0], strict=True))

    def distances(self, rows):
        return np.where(np.isfinite(rows), (rows - self.centre) / self.spread, np.nan)

    def strangeness(self, strands):
        rows = strands.reshape(-1, len(self.names))
        usable, scores = self.usable(rows), np.full(len(rows), np.nan)
        scores[usable] = self.score(rows[usable])
        return scores.reshape(strands.shape[:2])

    def typical(self):
        return self.centre, self.spread


def pack(detector):
    return Packed({"names": list(detector.names), "half": detector.half, "centre": detector.centre,
                   "spread": detector.spread})


def unpack(packed):
    state = packed.state
    detector = Farthest(state["names"], state["spread"], state["half"])
    detector.centre, detector.spread = state["centre"], state["spread"]
    return detector


KIND = Kind(
    name="farthest",
    title="the feature that is farthest off",
    make=lambda names, floors, seed, **settings: Farthest(names, floors, **settings),
    pack=pack,
    unpack=unpack,
    params=lambda detector: {},
    packages=("numpy",),
    space={"half": (4.0, 8.0)},
)
'''


@pytest.fixture
def farthest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The kind, as a file in a folder of kinds."""
    (tmp_path / "farthest.py").write_text(FILE)
    monkeypatch.setattr(ml.kinds, "__path__", [*ml.kinds.__path__, str(tmp_path)])
    kinds.cache_clear()
    yield "farthest"
    sys.modules.pop("ml.kinds.farthest", None)
    kinds.cache_clear()


@pytest.fixture
async def calm(warehouse: Warehouse, tenant: str) -> Stretch:
    """Eight clean compressed days: half of their half holds an anomaly, so that they can be searched."""
    seconds = 8 * DAY
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, [Entity(part, "transcode") for part in PARTS], START)
        await samples.append(tenant, db, telemetry(0, seconds + 1, seed=1))
    profile = load_profile("demo").model_copy(update={"search": Search(trials=5)})
    end = START + timedelta(seconds=seconds)
    return Stretch(tenant, START, end, profile, unrest="no incident", why="labels", run="run-1")


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("clean")
async def test_a_file_in_the_folder_of_kinds_is_all_that_a_kind_needs(
    warehouse: Warehouse, calm: Stretch, mlflow: Mlflow, farthest: str
) -> None:
    refuse_unknown({"transcode": farthest})
    assert asked(f"transcode/{farthest}") == {"families": ["transcode"], "kind": farthest}
    made = []
    for _ in range(2):
        lesson = await train_best(
            *(warehouse, calm, "transcode", PARTS, [0, 1], 1), seed=1, kind=farthest, effort=calm.profile.search
        )
        calibration = calibrated([lesson], await platform_of(warehouse, calm), calm, families=1, seed=1)
        rival = await asyncio.to_thread(rival_of, mlflow.url, "transcode")
        verdict = prove(lesson, calibration, rival.detector, calm, [0, 1], 1, seed=1)
        now = calm.end + timedelta(minutes=len(made))
        made.append(await publish(warehouse, mlflow.url, calm, lesson, calibration, verdict=verdict, seed=1, now=now))
    assert [each.standing for each in made] == ["champion", "challenger"]
    assert [each.version for each in made] == ["farthest/1", "farthest/2"]
    async with warehouse.as_tenant(calm.tenant) as db:
        mine = await calibrations.newest(calm.tenant, db)
    judging = (await asyncio.to_thread(Bench(calm.tenant, mlflow.url).champions, mine))["transcode"]
    assert (judging.version, judging.threshold) == ("farthest/1", made[0].threshold)
    np.testing.assert_array_equal(
        score_matrix(judging.detector, lesson.held_out, calm.phases),
        score_matrix(lesson.detector, lesson.held_out, calm.phases),
    )
    client = registry.MlflowClient(mlflow.url)
    shown = versions.one(mlflow.url, "transcode", "farthest/2")
    expected = {"kind": farthest, "half": str(dict(lesson.settings).get("half", 4.0))}
    expected |= {"trials": "2", "trials_asked": "5"}
    assert {name: shown.params[name] for name in expected} == expected
    holds_what_a_training_must(mlflow.url, client.get_model_version("transcode-farthest", "2"), trials=2)
    moved = await promote(
        calm.tenant, warehouse, mlflow.url, "transcode", "farthest/2", who="ann", reason="it finds more", now=calm.end
    )
    assert (moved.before, registry.champion_versions(mlflow.url)["transcode"]) == ("farthest/1", "farthest/2")
