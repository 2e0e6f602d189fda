"""The one door to MLflow: champions are logged, named and fetched here.

A model is registered as `<family>-isolation-forest`; its alias `champion` says which version scores. Tags carry ids
and figures only, never content of a tenant; what a tenant's calm made of a model are rows (warehouse/calibrations.py).
A watcher asks often and must not wait: short timeouts; training may wait.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.tracking import MlflowClient
from mlflow.types.schema import ColSpec, Schema, TensorSpec

from ml.detectors.base import Floats
from ml.detectors.isolation_forest import ForestDetector
from tonewatch.errors import ModelError

ALIAS = "champion"
EXPERIMENT = "tonewatch-training"
BACKTESTS = "tonewatch-backtests"
DRIFTS = "tonewatch-drift"
SUFFIX = "-isolation-forest"
#: skops loads no type that is neither built in nor named here: a forest is made of trees, the imputer keeps its dtype.
TRUSTED = ("sklearn.tree._tree.Tree", "numpy.dtype")
_LOCK = threading.RLock()  # MLflow keeps its timeouts and its current server per process

logging.getLogger("mlflow").setLevel(logging.ERROR)  # its warnings on every call tell of what is done here on purpose


@dataclass(frozen=True, slots=True)
class Registered:
    """A version of a family's model, as the registry holds it."""

    detector: ForestDetector
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Training:
    """What is recorded of a training besides the model. Ids and figures only.

    start, end: the data's window; data_hash: of its rows; fingerprint: of the feature definitions; threshold, rate: by
    the calibration, for watchers that do not know its rows yet; pictures: PNGs by file name, shown with the run.
    """

    tenant: str
    start: datetime
    end: datetime
    data_hash: str
    fingerprint: str
    threshold: float
    rate: float
    metrics: Mapping[str, float]
    params: Mapping[str, str | int | float]
    description: str = ""
    pictures: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backtest:
    """What is recorded of a backtest: ids and figures only. files: by name, e.g. the findings' ids."""

    tags: Mapping[str, str]
    params: Mapping[str, str | int | float]
    metrics: Mapping[str, float]
    files: Mapping[str, bytes] = field(default_factory=dict)


def model_name(family: str) -> str:
    """The name under which a family's models are registered."""
    return f"{family}{SUFFIX}"


def register(tracking_uri: str, family: str, detector: ForestDetector, training: Training, example: Floats) -> str:
    """Log the model and register it; return its version, which scores nothing before it is promoted.

    example: a few rows, (rows, features). Raises ModelError: MLflow is away or refuses.
    """
    if detector.pipeline is None:
        raise ModelError(f"the detector of {family} has learned nothing; fit it before it is logged")
    tags = _tags(family, detector.names, training)
    with _server(tracking_uri, f"the model of {family} was not registered", seconds=60, retries=2) as client:
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(tracking_uri)
        mlflow.set_experiment(EXPERIMENT)
        with mlflow.start_run(run_name=model_name(family), tags=tags):
            mlflow.log_params(dict(training.params))
            mlflow.log_metrics({**training.metrics, "threshold": training.threshold, "rate": training.rate})
            _log_files(training.pictures, "pictures")
            logged = _log_model(family, detector, example)
        return _version(client, family, logged, tags, training.description)


def log_backtest(tracking_uri: str, name: str, backtest: Backtest) -> str:
    """Log a run of the experiment of backtests; return its id. Raises ModelError: MLflow is away or refuses."""
    with _server(tracking_uri, f"the backtest {name} was not logged", seconds=60, retries=2):
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_experiment(BACKTESTS)
        with mlflow.start_run(run_name=name, tags=dict(backtest.tags)) as run:
            mlflow.log_params(dict(backtest.params))
            mlflow.log_metrics(dict(backtest.metrics))
            _log_files(backtest.files, "findings")
            return str(run.info.run_id)


def log_drift(
    tracking_uri: str, name: str, tags: Mapping[str, str], metrics: Mapping[str, float], page: str
) -> tuple[str, str]:
    """Log a drift with its page of pictures (HTML); return the run's id and where people see the page.

    Raises ModelError: MLflow is away or refuses.
    """
    with _server(tracking_uri, f"the drift {name} was not logged", seconds=60, retries=2):
        mlflow.set_tracking_uri(tracking_uri)
        experiment = mlflow.set_experiment(DRIFTS)
        with mlflow.start_run(run_name=name, tags=dict(tags)) as run:
            mlflow.log_metrics(dict(metrics))
            _log_files({"drift.html": page.encode()}, "drift")
            id_ = str(run.info.run_id)
        return id_, f"{tracking_uri.rstrip('/')}/#/experiments/{experiment.experiment_id}/runs/{id_}/artifacts"


def promote(tracking_uri: str, family: str, version: str) -> None:
    """Make that version the family's champion. Raises ModelError: MLflow is away or knows no such version."""
    failure = f"{model_name(family)} version {version} was not made champion"
    with _server(tracking_uri, failure, seconds=60, retries=2) as client:
        client.set_registered_model_alias(model_name(family), ALIAS, version)


def fetch(
    tracking_uri: str,
    family: str,
    version: str,
    *,
    names: Sequence[str] | None = None,
    fingerprint: str | None = None,
) -> Registered:
    """Fetch a version of the family's model.

    names, fingerprint: of the features as they are defined now, checked where given. Raises ModelError: there is no
    such version, it was trained on others, or MLflow is away or silent for 3 s.
    """
    name = model_name(family)
    with _server(tracking_uri, f"the model of {family} was not fetched") as client:
        found = client.get_model_version(name, version)
        _refuse_other_features(found, names, fingerprint)
        # What fetches the files asks besides for the process's own servers, and makes an mlflow.db where it has none.
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(tracking_uri)
        with TemporaryDirectory(prefix="tonewatch-model-") as folder:
            path = mlflow.artifacts.download_artifacts(
                f"models:/{name}/{version}", dst_path=folder, tracking_uri=tracking_uri, registry_uri=tracking_uri
            )
            pipeline = mlflow.sklearn.load_model(path)
            state: dict[str, Any] = (Model.load(path).metadata or {})["detector"]
        detector = ForestDetector.restored(pipeline, state["names"], state["floors"], state["limits"], version)
        return Registered(detector, dict(found.tags))


def champion_versions(tracking_uri: str) -> dict[str, str]:
    """Family -> version of its champion, in one cheap call. Raises ModelError: MLflow is away or silent for 3 s."""
    with _server(tracking_uri, "the champions' versions were not read") as client:
        return {
            model.name.removesuffix(SUFFIX): str(model.aliases[ALIAS])
            for model in client.search_registered_models(max_results=1000)
            if model.name.endswith(SUFFIX) and ALIAS in model.aliases
        }


@contextmanager
def _server(tracking_uri: str, failure: str, *, seconds: int = 3, retries: int = 0) -> Iterator[MlflowClient]:
    """A client with these timeouts; what goes wrong comes out as ModelError beginning with `failure`."""
    if not tracking_uri:
        raise ModelError(f"{failure}: no MLflow; start the stack with `tonewatch up`, or set mlflow_tracking_uri")
    limits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries)}
    limits["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"  # a bar per model in whatever log there is
    with _LOCK:
        before = {name: os.environ.get(name) for name in limits}
        os.environ.update(limits)
        try:
            yield MlflowClient(tracking_uri, registry_uri=tracking_uri)
        except (MlflowException, OSError, KeyError, TypeError, ValueError) as error:  # requests' errors are OSErrors
            text = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise ModelError(f"{failure}: {text} (MLflow at {tracking_uri}; see `tonewatch status`)") from error
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _tags(family: str, names: Sequence[str], training: Training) -> dict[str, str]:
    return {
        "family": family,
        "tenant": training.tenant,
        "data_start": training.start.isoformat(),
        "data_end": training.end.isoformat(),
        "data_hash": training.data_hash,
        "names": ",".join(names),
        "fingerprint": training.fingerprint,
        "threshold": repr(training.threshold),
        "rate": repr(training.rate),
    }


def _log_files(files: Mapping[str, bytes], folder: str) -> None:
    """Add the files to the run that is open."""
    with TemporaryDirectory(prefix="tonewatch-files-") as made:
        for name, content in files.items():
            path = Path(made) / name
            path.write_bytes(content)
            mlflow.log_artifact(str(path), folder)


def _log_model(family: str, detector: ForestDetector, example: Floats) -> ModelInfo:
    import pandas as pd  # a second of import that only training pays, not every watcher's poll

    signature = ModelSignature(
        inputs=Schema([ColSpec("double", name) for name in detector.names]),
        outputs=Schema([TensorSpec(np.dtype(np.int64), (-1,))]),
    )
    state = {"names": list(detector.names), "floors": list(detector.floors), "limits": detector.limits.tolist()}
    logged: ModelInfo = mlflow.sklearn.log_model(
        detector.pipeline,
        name=model_name(family),
        signature=signature,
        input_example=pd.DataFrame(example, columns=list(detector.names)),
        serialization_format="skops",
        skops_trusted_types=list(TRUSTED),
        # Given, because MLflow would run the model in a new process for 20 s to infer them.
        pip_requirements=[f"{name}=={installed(name)}" for name in ("scikit-learn", "skops", "numpy", "scipy")],
        metadata={"detector": state},
    )
    return logged


def _version(client: MlflowClient, family: str, logged: ModelInfo, tags: dict[str, str], description: str) -> str:
    name = model_name(family)
    try:
        client.create_registered_model(name, description=f"What is normal for the stage {family}, by its features")
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    made = client.create_model_version(
        name, logged.model_uri, logged.run_id, tags=tags, description=description, model_id=logged.model_id
    )
    return str(made.version)


def _refuse_other_features(found: ModelVersion, names: Sequence[str] | None, fingerprint: str | None) -> None:
    tags: Mapping[str, str] = found.tags
    if fingerprint is not None and tags.get("fingerprint") != fingerprint:
        raise ModelError(
            f"{found.name} version {found.version} was trained on other feature definitions; train it again"
        )
    if names is not None and tags.get("names") != ",".join(names):
        raise ModelError(
            f"{found.name} version {found.version} knows the features {tags.get('names')}, not {','.join(names)}; "
            "train it again"
        )
