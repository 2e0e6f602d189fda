"""Training against real servers: PostgreSQL, and an MLflow of the test's own on SQLite."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import SecretStr

from feature_store.definitions import fingerprint, floors, names
from feature_store.windows import window_features
from ml import registry, versions
from ml.detectors.isolation_forest import ForestDetector
from ml.ensemble import default_ensemble
from ml.fingerprint import fingerprint as ensemble_fingerprint
from ml.kinds import kind_of
from tasks.fetch import Bench
from tasks.prove import prove
from tasks.publish import publish
from tasks.train import (
    Stretch,
    calibrated,
    chains_of,
    families_of,
    judged,
    platform_of,
    read_frame,
    score_matrix,
    train,
)
from tests.integration.servers import Mlflow
from tests.ports import free_port
from tests.unit.platform_parts import two_channels
from tonewatch.errors import ModelError
from tonewatch.records import Entity, Sample, Series, SeriesKind
from tonewatch.settings import Settings, load_profile, to_environment
from warehouse import calibrations, entities, lineage, samples
from warehouse.calibrations import Calibrated, Source
from warehouse.database import Warehouse

if TYPE_CHECKING:
    from tests.conftest import Database

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = 90
RENDITIONS = ("aac-64", "aac-128", "opus-96")
HOUSE = Path(__file__).parents[2]
PREFECT_FILE = HOUSE / "deployments" / "prefect.yaml"
PARTS = ("component:transcoder-ch1", "component:transcoder-ch2")


def telemetry(first: int, seconds: int, seed: int, *, slow_from: int | None = None) -> list[Sample]:
    """What two transcoders tell each second; from `slow_from` on the first one lags and makes half of its frames."""
    chance = np.random.default_rng(seed)
    told = []
    for part in PARTS:
        frames = dict.fromkeys(RENDITIONS, 0.0)
        cpu = 0.0
        for second in range(first, first + seconds):
            ill = slow_from is not None and second >= slow_from and part == PARTS[0]
            now = START + timedelta(seconds=second)

            def tell(metric: str, value: float, *, now: datetime = now, part: str = part, **labels: str) -> None:
                kind = SeriesKind.COUNTER if metric.endswith("_total") else SeriesKind.GAUGE
                told.append(Sample(Series(part, metric, tuple(labels.items()), kind=kind), now, value))

            for rendition in RENDITIONS:
                frames[rendition] += chance.poisson(47 * (0.5 if ill else 1))
                tell("transcode_frames_total", frames[rendition], rendition=rendition)
                tell("transcode_segment_bytes", 16000 + 300 * chance.standard_normal(), rendition=rendition)
            cpu += abs(0.12 + 0.02 * chance.standard_normal())
            tell("process_cpu_seconds_total", cpu)
            tell("transcode_lag_seconds", abs(0.3 + 0.05 * chance.standard_normal()) + (3.0 if ill else 0.0))
            tell("event_loop_lag_seconds", chance.exponential(0.004))
            tell("scrape_seconds", chance.exponential(0.01))
            tell("up", 1.0)
    return told


@pytest.fixture
async def calm(warehouse: Warehouse, tenant: str) -> Stretch:
    """Two clean compressed days of two transcoders in the warehouse."""
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, [Entity(part, "transcode") for part in PARTS], START)
        await samples.append(tenant, db, telemetry(0, 2 * DAY + 1, seed=1))
    return Stretch(tenant, START, START + timedelta(seconds=2 * DAY), load_profile("demo"))


@pytest.mark.timeout(300)
async def test_a_trained_champion_stays_calm_in_calm_and_sees_a_slow_transcoder(
    warehouse: Warehouse, calm: Stretch, mlflow: Mlflow
) -> None:
    platform = await platform_of(warehouse, calm)
    assert families_of(platform) == {"transcode": PARTS}
    lesson = await train(warehouse, calm, "transcode", PARTS, seed=1)
    calibration = calibrated([lesson], platform, calm, families=7, seed=1)
    verdict = prove(lesson, calibration, None, calm, [0, 1], 7, seed=1)
    trained = await publish(warehouse, mlflow.url, calm, lesson, calibration, verdict=verdict, seed=1, now=calm.end)
    assert trained.entities == 2
    assert trained.calm_rate <= calibration.aim * 1.001 <= calm.profile.budget.pages_per_week / 7

    client = registry.MlflowClient(mlflow.url)
    run = client.get_model_version("transcode-isolation-forest", trained.version).run_id
    assert {each.path for each in client.list_artifacts(run, "pictures")} == {
        "pictures/calm-scores.png",
        "pictures/noticed.png",
    }
    async with warehouse.as_tenant(calm.tenant) as db:
        mine = await calibrations.newest(calm.tenant, db)
    champion = (await asyncio.to_thread(Bench(calm.tenant, mlflow.url).champions, mine))["transcode"]
    assert (champion.version, champion.rate) == (trained.version, trained.calm_rate)
    assert champion.threshold == trained.threshold

    live = telemetry(2 * DAY, DAY, seed=2, slow_from=2 * DAY + 60)
    ends = [START + timedelta(seconds=2 * DAY + second) for second in range(10, DAY, 5)]
    frame = window_features("transcode", live, ends, 10.0, entities=PARTS)
    assert isinstance(champion.detector, ForestDetector)
    scores = score_matrix(champion.detector, frame)
    whole = [number for number, end in enumerate(ends) if end >= START + timedelta(seconds=2 * DAY + 70)]
    assert (scores[0, whole] > champion.threshold).all()
    assert (scores[0, :10] <= champion.threshold).all()
    assert (scores[1] <= champion.threshold).all()
    explained = champion.detector.explain(frame.values[whole[0]])
    assert next(iter(explained)) in {"lag_mean", "lag_max", "frames_per_second"}


async def test_windows_in_which_the_watcher_starved_are_not_learned_from(warehouse: Warehouse, calm: Stretch) -> None:
    ends = [calm.start + timedelta(seconds=second) for second in (30, 60, 65, 72, 90)]
    before = await read_frame(warehouse, calm, "transcode", PARTS, ends)
    late = Sample(Series("host:watcher", "host_starved_seconds"), calm.start + timedelta(seconds=60), 1.0)
    fine = Sample(Series("host:watcher", "host_starved_seconds"), calm.start + timedelta(seconds=85), 0.0)
    async with warehouse.as_tenant(calm.tenant) as db:
        await samples.append(calm.tenant, db, [late, fine])
    after = await read_frame(warehouse, calm, "transcode", PARTS, ends)
    detector = ForestDetector(names("transcode"), floors("transcode"))
    assert judged(detector, before).all()
    assert judged(detector, after).tolist() == [True, False, False, True, True] * 2


def test_chains_are_as_many_as_parts_that_do_not_know_one_another() -> None:
    platform = two_channels()
    parts = [entity for entities in families_of(platform).values() for entity in entities]
    chains = chains_of(platform, parts)
    assert set(chains) == set(parts)
    related = [platform.related(a, b) for a in parts for b in parts if a != b and chains[a] == chains[b]]
    assert related
    assert all(related)
    assert chains["edge:edge-1"] != chains["edge:edge-2"]


@pytest.mark.timeout(300)
async def test_reading_in_pieces_gives_the_same_windows(
    warehouse: Warehouse, calm: Stretch, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = calm.ends(calm.start, calm.end)
    whole = await read_frame(warehouse, calm, "transcode", PARTS, ends)
    monkeypatch.setattr("tasks.train.WINDOWS_PER_READ", 7)
    pieces = await read_frame(warehouse, calm, "transcode", PARTS, ends)
    assert pieces.entities == whole.entities
    assert pieces.ends == whole.ends
    np.testing.assert_array_equal(pieces.values, whole.values)
    np.testing.assert_array_equal(pieces.coverage, whole.coverage)


async def test_a_stretch_without_telemetry_is_refused(warehouse: Warehouse, calm: Stretch) -> None:
    later = Stretch(calm.tenant, calm.end + timedelta(days=1), calm.end + timedelta(days=2), calm.profile)
    with pytest.raises(ModelError, match="0 usable rows"):
        await train(warehouse, later, "transcode", PARTS, seed=0)


async def test_a_stretch_shorter_than_its_windows_is_refused(warehouse: Warehouse, calm: Stretch) -> None:
    short = Stretch(calm.tenant, calm.start, calm.start + timedelta(seconds=15), calm.profile)
    with pytest.raises(ModelError, match="longer than a window"):
        await train(warehouse, short, "transcode", PARTS, seed=0)


@pytest.fixture
def prefect(prefect_api: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Prefect server with the deployments of deployments/prefect.yaml; gives the environment."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TONEWATCH_", "PREFECT_"))},
        "TMPDIR": str(tmp_path),  # Prefect's runner has one folder in /tmp for all users, closed to the second
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_API_URL": prefect_api,
        "DO_NOT_TRACK": "true",
    }
    _prefect(environment, "work-pool", "create", "tonewatch", "--type", "process")
    try:
        _prefect(environment, "--no-prompt", "deploy", "--all", "--prefect-file", str(PREFECT_FILE))
        yield environment
    finally:
        _prefect(environment, "--no-prompt", "work-pool", "delete", "tonewatch")


def _prefect(environment: dict[str, str], *arguments: str) -> str:
    # From a folder without our code: a worker has the house installed, not its checkout as working directory.
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        env=environment,
        cwd=environment["PREFECT_HOME"],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _once_asked(environment: dict[str, str]) -> str:
    """What a worker tells that carries out the one run that is waiting, once there is one."""
    url = f"{environment['PREFECT_API_URL']}/flow_runs/filter"
    deadline = time.monotonic() + 120
    while not _post(url):
        assert time.monotonic() < deadline, "no run was asked for"
        time.sleep(0.2)  # Prefect's API can only be asked
    return _prefect(environment, "worker", "start", "--pool", "tonewatch", "--run-once", "--limit", "1")


@pytest.mark.timeout(600)  # it starts five processes that import for seconds each
async def test_the_deployment_trains_what_it_can_and_ends_by_naming_what_it_could_not(
    database: Database, warehouse: Warehouse, calm: Stretch, mlflow: Mlflow, prefect: dict[str, str]
) -> None:
    async with warehouse.as_tenant(calm.tenant) as db:
        await entities.save(tenant=calm.tenant, db=db, entities=[Entity("edge:edge-1", "edge")], at=START)
    before = published(mlflow.url, "edge", "theirs")
    settings = Settings(
        profile="demo", database_url=SecretStr(database.app_url), mlflow_tracking_uri=mlflow.url, tenant=calm.tenant
    )
    environment = prefect | to_environment(settings)
    asked = [
        calm.tenant,
        calm.start.isoformat(),
        calm.end.isoformat(),
        json.dumps({"kind": "isolation-forest", "seed": 5}),
    ]
    learning = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flows.learn", *asked), stdout=subprocess.PIPE, env=environment, cwd=HOUSE
    )
    told = await asyncio.to_thread(_once_asked, environment)
    said, _ = await learning.communicate()
    assert "1 of 2 families were not trained: edge: 0 usable rows" in told
    assert "edge: 0 usable rows" in json.loads(said.splitlines()[-1])["error"]
    (newest, *_) = registry.MlflowClient(mlflow.url).search_model_versions("name='transcode-isolation-forest'")
    run = registry.MlflowClient(mlflow.url).get_run(newest.run_id).data
    assert (newest.tags["tenant"], run.params["seed"], run.params["kind"]) == (calm.tenant, "5", "isolation-forest")
    holds_what_a_training_must(mlflow.url, newest)
    refused = told_in_mlflow(mlflow.url, "edge")
    assert (refused.info.status, refused.data.tags["why"], refused.data.tags["tenant"]) == (
        "FAILED",
        "hand",
        calm.tenant,
    )
    assert refused.data.tags["failure"].startswith("0 usable rows")
    assert registry.champion_versions(mlflow.url)["edge"] == before, "a training that fails touches no champion"
    flow_run = _get(f"{prefect['PREFECT_API_URL']}/flow_runs/{newest.tags['flow_run']}")
    assert flow_run["state_type"] == "FAILED"
    assert set(flow_run["tags"]) >= {calm.tenant, "hand"}
    assert flow_run["id"] == refused.data.tags["flow_run"]
    async with warehouse.as_tenant(calm.tenant) as db:
        (traced,) = await lineage.of_tenant(calm.tenant, db)
        assert not [each for each in await calibrations.newest(calm.tenant, db) if each.family == "edge"]
    assert (traced.model, traced.why, traced.run) == ("transcode-isolation-forest", "hand", flow_run["id"])
    artifacts = _post(f"{prefect['PREFECT_API_URL']}/artifacts/latest/filter")
    assert {each["key"] for each in artifacts} == {"training-progress", "training-figures", "training-series"}
    figures = next(artifact for artifact in artifacts if artifact["key"] == "training-figures")
    assert [row["family"] for row in json.loads(figures["data"])] == ["transcode", "edge"]
    single = json.loads(next(each for each in artifacts if each["key"] == "training-series")["data"])
    assert all(row["silent"].startswith("judged in 0 rounds of calm") for row in single)
    assert "series:transcode_lag_seconds" in {row["family"] for row in single}
    client = registry.MlflowClient(mlflow.url)
    experiment = client.get_experiment_by_name(registry.EXPERIMENT)
    (run,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'series-ensemble'")
    assert run.data.tags["fingerprint"] == ensemble_fingerprint(default_ensemble())
    assert (run.data.metrics["families_calibrated"], run.data.metrics["rounds"]) == (0.0, 2 * DAY / 5)
    assert [each.path for each in client.list_artifacts(run.info.run_id, "pictures")] == ["pictures/thresholds.png"]


def told_in_mlflow(url: str, name: str) -> Any:
    """The run of that name among the trainings."""
    client = registry.MlflowClient(url)
    experiment = client.get_experiment_by_name(registry.EXPERIMENT)
    (run,) = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")
    return run


def holds_what_a_training_must(url: str, version: Any, trials: int = 0) -> None:
    """Data hash, code version, lineage, signature, input example, figures with intervals, pictures, and what a search
    has tried.
    """
    client = registry.MlflowClient(url)
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert {"data_hash", "content_hash", "code_version", "training_set", "view", "tenants", "why"} <= set(version.tags)
    assert version.tags["unrest"] == "no incident"
    assert {"seed", "kind", "trials", "trials_asked", "embargo_seconds"} <= set(run.data.params)
    assert set(kind_of(run.data.params["kind"]).space) <= set(run.data.params)
    figures = run.data.metrics
    for name, low, high in (
        ("threshold", "calm_low", "calm_high"),
        ("calm_seen", "calm_seen_low", "calm_seen_high"),
        ("gate_recall", "gate_recall_low", "gate_recall_high"),
    ):
        assert figures[low] <= figures[name] <= figures[high], name
    about = registry.mlflow.models.Model.load(f"models:/{version.name}/{version.version}")
    assert about.signature.inputs.input_names() == list(names("transcode"))
    assert about.saved_input_example_info is not None
    pictures = {each.path for each in client.list_artifacts(version.run_id, "pictures")}
    assert pictures == {"pictures/calm-scores.png", "pictures/noticed.png"}
    assert run.data.params["trials"] == str(max(1, trials))
    if trials:
        tried = json.loads(Path(client.download_artifacts(version.run_id, "trials.json")).read_text())
        rows = [dict(zip(tried["columns"], each, strict=True)) for each in tried["data"]]
        assert [row["trial"] for row in rows] == list(range(trials))
        assert all(row["recall_low"] <= row["recall"] <= row["recall_high"] for row in rows), rows


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _post(url: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(url, b"{}", {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


COLUMNS = ("a", "b", "c")


def fitted(seed: int = 0) -> tuple[ForestDetector, np.ndarray]:
    rows = np.random.default_rng(seed).normal(size=(100, 3))
    return ForestDetector(COLUMNS, (0.1, 0.1, 0.1), trees=20, seed=seed).fit(rows), rows


TRAINING = registry.Training(
    tenant="tenant-1",
    start=START,
    end=START + timedelta(hours=1),
    data_hash="hash",
    fingerprint="of the definitions",
    threshold=0.71,
    rate=0.14,
    metrics={"rows_learned": 100.0},
    params={"trees": 20},
)


@pytest.mark.timeout(300)
def test_a_model_comes_back_from_the_registry_as_it_went_in(mlflow: Mlflow) -> None:
    detector, rows = fitted()
    first = registry.register(mlflow.url, "ingest", detector, TRAINING, rows[:3])
    assert "ingest" not in registry.champion_versions(mlflow.url)
    second = registry.register(mlflow.url, "ingest", detector, TRAINING, rows[:3])
    assert int(second) == int(first) + 1
    registry.promote(mlflow.url, "ingest", second)
    assert registry.champion_versions(mlflow.url)["ingest"] == second

    found = registry.fetch(mlflow.url, "ingest", second, names=COLUMNS, fingerprint="of the definitions")
    assert found.detector.version == second
    assert found.tags["data_hash"] == "hash"
    np.testing.assert_array_equal(found.detector.score(rows), detector.score(rows))
    assert found.detector.explain(rows[0]) == detector.explain(rows[0])


@pytest.mark.timeout(300)
def test_a_champion_is_fetched_from_the_server_that_is_named(mlflow: Mlflow, tmp_path: Path) -> None:
    """A replay is no process of the stack's: no environment tells it where MLflow is."""
    detector, rows = fitted()
    version = registry.register(mlflow.url, "package", detector, TRAINING, rows[:3])
    elsewhere = f"sqlite:///{tmp_path}/mlflow.db"
    registry.mlflow.set_tracking_uri(elsewhere)
    registry.mlflow.set_registry_uri(elsewhere)
    assert registry.fetch(mlflow.url, "package", version).detector.version == version
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(300)
def test_the_registry_shows_signature_data_window_and_metrics(mlflow: Mlflow) -> None:
    detector, rows = fitted()
    version = registry.register(mlflow.url, "source", detector, TRAINING, rows[:3])
    registry.promote(mlflow.url, "source", version)
    client = registry.MlflowClient(mlflow.url)
    found = client.get_model_version_by_alias("source-isolation-forest", "champion")
    assert found.version == version
    assert found.tags["data_start"] == START.isoformat()
    assert found.tags["names"] == "a,b,c"
    assert client.get_run(found.run_id).data.metrics["threshold"] == 0.71
    assert client.get_run(found.run_id).data.metrics["rows_learned"] == 100
    about = registry.mlflow.models.Model.load(f"models:/{found.name}/{found.version}")
    assert about.signature is not None
    assert about.signature.inputs.input_names() == list(COLUMNS)
    assert about.saved_input_example_info is not None


@pytest.mark.timeout(300)
def test_a_backtest_stands_in_the_registry_with_its_figures_and_findings(mlflow: Mlflow) -> None:
    told = registry.Backtest({"tenant": "t"}, {"model_edge": "3"}, {"pages": 2.0}, {"findings.json": b"[]"})
    run = registry.log_backtest(mlflow.url, "t-backtest", told)
    client = registry.MlflowClient(mlflow.url)
    held = client.get_run(run).data
    assert (held.metrics["pages"], held.params["model_edge"], held.tags["tenant"]) == (2.0, "3", "t")
    assert [each.path for each in client.list_artifacts(run, "findings")] == ["findings/findings.json"]


@pytest.mark.timeout(300)
def test_a_model_of_other_features_is_refused(mlflow: Mlflow) -> None:
    detector, rows = fitted()
    version = registry.register(mlflow.url, "origin", detector, TRAINING, rows[:3])
    with pytest.raises(ModelError, match="train it again"):
        registry.fetch(mlflow.url, "origin", version, names=("a", "b"))
    with pytest.raises(ModelError, match="other feature definitions"):
        registry.fetch(mlflow.url, "origin", version, fingerprint="of others")
    with pytest.raises(ModelError, match="not fetched"):
        registry.fetch(mlflow.url, "origin", "999")
    with pytest.raises(ModelError, match="not made champion"):
        registry.promote(mlflow.url, "origin", "999")


def published(url: str, family: str, tenant: str, *, judges: bool = True) -> str:
    """A champion of today's features, or a challenger, trained by that tenant."""
    wide = np.random.default_rng(1).normal(size=(60, len(names(family))))
    detector = ForestDetector(names(family), floors(family), trees=5).fit(wide)
    training = replace(TRAINING, tenant=tenant, fingerprint=fingerprint(family))
    version = registry.register(url, family, detector, training, wide[:3])
    if judges:
        versions.promote(url, family, version, START, proven=False)
    return version


def own(family: str, version: str, threshold: float, made: datetime = START) -> Calibrated:
    return Calibrated(family, version, made, threshold, 0.6, 0.9, 0.7, 0.02, "exponential", Source.TRAINING, "calm")


@pytest.mark.timeout(300)
def test_a_tenant_is_judged_by_the_newest_version_that_it_has_a_threshold_of(mlflow: Mlflow) -> None:
    first = published(mlflow.url, "package", "ours")
    bench = Bench("ours", mlflow.url)
    assert bench.champions([])["package"].threshold == 0.71  # its training's own tags, from before there were rows
    kept = bench.champions([own("package", first, 0.8)])["package"]
    assert (kept.version, kept.threshold, kept.rate) == (first, 0.8, 0.02)

    second = published(mlflow.url, "package", "theirs")
    held = bench.champions([own("package", first, 0.8)])["package"]
    assert (held.version, held.threshold) == (first, 0.8)
    assert held.detector is kept.detector  # not fetched again
    waiting = published(mlflow.url, "package", "ours", judges=False)
    both = [own("package", first, 0.8), own("package", waiting, 0.7, START + timedelta(minutes=30))]
    assert bench.champions(both)["package"].version == first, "a challenger judges nothing"
    later = own("package", second, 0.75, START + timedelta(hours=1))
    assert bench.champions([own("package", first, 0.8), later])["package"].version == second
    retired = frozenset({later.model_version})
    assert bench.champions([own("package", first, 0.8), later], retired)["package"].version == first
    assert "package" not in bench.champions([later], retired)
    assert "package" not in bench.champions([both[1]], retired), "nor does a retired one, for want of another"


@pytest.mark.timeout(300)
def test_a_tenant_without_a_threshold_is_not_judged_by_anothers(
    mlflow: Mlflow, caplog: pytest.LogCaptureFixture
) -> None:
    version = published(mlflow.url, "rendition", "theirs")
    bench = Bench("ours", mlflow.url)
    assert "rendition" not in bench.champions([])
    assert "rendition" not in bench.champions([])
    assert caplog.text.count(f"rendition is not judged: version {version} has no threshold of ours") == 1


def test_an_mlflow_that_is_away_is_said_soon() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(ModelError, match="tonewatch status"):
        registry.champion_versions(url)
    with pytest.raises(ModelError, match="edge was not fetched"):
        registry.fetch(url, "edge", "1")
    assert time.monotonic() - began < 5


@pytest.mark.timeout(300)
def test_an_mlflow_that_is_frozen_is_said_soon(mlflow: Mlflow) -> None:
    os.killpg(mlflow.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(ModelError, match="were not read"):
            registry.champion_versions(mlflow.url)
        assert time.monotonic() - began < 5
    finally:
        os.killpg(mlflow.process.pid, signal.SIGCONT)


def test_without_an_address_the_registry_says_how_to_get_one() -> None:
    with pytest.raises(ModelError, match="tonewatch up"):
        registry.champion_versions("")
