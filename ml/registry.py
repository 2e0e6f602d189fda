"""The one door to MLflow: champions are logged, named and fetched here.

A model is registered as `<family>-<kind>`; its alias `champion` says which version scores. Where several kinds of a
family have one, the kind that was promoted last judges. Versions are told as `ml.kinds.told` does. Tags carry ids and
figures only, never content of a tenant; what a tenant's calm made of a model are rows (warehouse/calibrations.py).
A watcher asks often and must not wait: short timeouts; training may wait. What becomes of versions: ml/versions.py.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.tracking import MlflowClient

from ml import artefacts, kept
from ml.detectors.base import Floats
from ml.detectors.family import FamilyDetector
from ml.kinds import family_and_kind, kind_of, model_name, parsed, told
from tonewatch.errors import ModelError, ModelUnfit

ALIAS = "champion"
CHALLENGER = "challenger"
#: Of a version, when it was made champion.
PROMOTED = "promoted"
#: Of a version, when a guard took it back; whoever promotes it again takes the tag away.
TAKEN_BACK = "taken_back"
EXPERIMENT = "tonewatch-training"
BACKTESTS = "tonewatch-backtests"
DRIFTS = "tonewatch-drift"
#: Of a registered model, whose turn it is: of several kinds of a family that with the highest judges.
TURN = "turn"
#: MLflow takes no longer tag.
LONGEST_TAG = 5000
#: Of a version, the hash of its artefact (ml/artefacts.py).
CONTENT = "content_hash"
log = logging.getLogger(__name__)
_LOCK = threading.RLock()  # MLflow keeps its timeouts and its current server per process

logging.getLogger("mlflow").setLevel(logging.ERROR)  # its warnings on every call tell of what is done here on purpose


@dataclass(frozen=True, slots=True)
class Registered:
    """A version of a family's model, as the registry holds it."""

    detector: FamilyDetector
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Training:
    """What is recorded of a training besides the model. Ids and figures only.

    start, end: the data's window; data_hash: of its rows; fingerprint: of the feature definitions; threshold, rate: by
    the calibration, for watchers that do not know its rows yet; pictures: PNGs by file name, shown with the run;
    lineage: further tags, what it was made of and by which code; trials: the settings that a search has tried, a line
    each.
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
    lineage: Mapping[str, str] = field(default_factory=dict)
    trials: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Backtest:
    """What is recorded of a run without a model: ids and figures only. files: by name, e.g. the findings' ids."""

    tags: Mapping[str, str]
    params: Mapping[str, str | int | float]
    metrics: Mapping[str, float]
    files: Mapping[str, bytes] = field(default_factory=dict)


def register(tracking_uri: str, family: str, detector: FamilyDetector, training: Training, example: Floats) -> str:
    """Log the model and register it; return its version, which scores nothing before it is promoted.

    example: a few rows, (rows, features). Raises ModelError: MLflow is away or refuses.
    """
    tags = _tags(family, detector, training)
    with server(tracking_uri, f"the model of {family} was not registered", seconds=60, retries=2) as client:
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(tracking_uri)
        mlflow.set_experiment(EXPERIMENT)
        with mlflow.start_run(run_name=model_name(family, detector.kind), tags=tags):
            mlflow.log_params(dict(training.params))
            mlflow.log_metrics({**training.metrics, "threshold": training.threshold, "rate": training.rate})
            _log_files(training.pictures, "pictures")
            if training.trials:
                columns = {name: [each[name] for each in training.trials] for name in training.trials[0]}
                mlflow.log_table(columns, "trials.json")
            written = artefacts.write(family, detector, example)
            mlflow.set_tag(CONTENT, written.content_hash)
        return told(detector.kind, _version(client, family, detector.kind, written, tags, training.description))


def log_backtest(tracking_uri: str, name: str, backtest: Backtest) -> str:
    """Log a run of the experiment of backtests; return its id. Raises ModelError: MLflow is away or refuses."""
    return _log_run(tracking_uri, BACKTESTS, name, backtest, "findings")


def log_calibration(tracking_uri: str, name: str, told: Backtest) -> str:
    """Log a training that made thresholds and no model; return its run's id. Raises ModelError as log_backtest."""
    return _log_run(tracking_uri, EXPERIMENT, name, told, "pictures")


def log_failure(tracking_uri: str, name: str, tags: Mapping[str, str], reason: str) -> str:
    """Log a training that failed, as a failed run that says why; return its id. Raises ModelError as log_backtest."""
    with server(tracking_uri, f"the failure of {name} was not logged", seconds=60, retries=2) as client:
        mlflow.set_tracking_uri(tracking_uri)
        experiment = mlflow.set_experiment(EXPERIMENT)
        told = {**tags, "failure": reason[:LONGEST_TAG], "mlflow.note.content": reason[:LONGEST_TAG]}
        run = client.create_run(experiment.experiment_id, run_name=name, tags=told)
        client.set_terminated(run.info.run_id, "FAILED")
        return str(run.info.run_id)


def _log_run(tracking_uri: str, experiment: str, name: str, told: Backtest, folder: str) -> str:
    with server(tracking_uri, f"the run {name} was not logged", seconds=60, retries=2):
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_experiment(experiment)
        with mlflow.start_run(run_name=name, tags=dict(told.tags)) as run:
            mlflow.log_params(dict(told.params))
            mlflow.log_metrics(dict(told.metrics))
            _log_files(told.files, folder)
            return str(run.info.run_id)


def log_drift(
    tracking_uri: str, name: str, tags: Mapping[str, str], metrics: Mapping[str, float], page: str
) -> tuple[str, str]:
    """Log a drift with its page of pictures (HTML); return the run's id and where people see the page.

    Raises ModelError: MLflow is away or refuses.
    """
    with server(tracking_uri, f"the drift {name} was not logged", seconds=60, retries=2):
        mlflow.set_tracking_uri(tracking_uri)
        experiment = mlflow.set_experiment(DRIFTS)
        with mlflow.start_run(run_name=name, tags=dict(tags)) as run:
            mlflow.log_metrics(dict(metrics))
            _log_files({"drift.html": page.encode()}, "drift")
            id_ = str(run.info.run_id)
        return id_, f"{tracking_uri.rstrip('/')}/#/experiments/{experiment.experiment_id}/runs/{id_}/artifacts"


def promote(tracking_uri: str, family: str, version: str) -> None:
    """Make that version the family's champion: the last call to MLflow makes it so, and nothing before it.

    Raises ModelError: MLflow is away or knows no such version.
    """
    kind, number = parsed(version)
    name = model_name(family, kind)
    with server(tracking_uri, f"{name} version {number} was not made champion", seconds=60, retries=2) as client:
        turns = {model.name: _turn(model) for model in client.search_registered_models(max_results=1000)}
        last = max((turn for other, turn in turns.items() if (family_and_kind(other) or ("",))[0] == family), default=0)
        client.set_registered_model_alias(name, ALIAS, number)
        if turns.get(name, 0) < last or last == 0:
            client.set_registered_model_tag(name, TURN, str(last + 1))


def fetch(
    tracking_uri: str,
    family: str,
    version: str,
    *,
    names: Sequence[str] | None = None,
    fingerprint: str | None = None,
) -> Registered:
    """Fetch a version of the family's model.

    names, fingerprint: of the features as they are defined now, checked where given.
    Raises ModelError: there is no such version, it was trained on others, its artefact is not what was registered, its
    kind cannot be used here, or MLflow is away or silent for 3 s.
    """
    with fetched(tracking_uri, family, version, names=names, fingerprint=fingerprint) as (model, _):
        return model


@contextmanager
def fetched(
    tracking_uri: str,
    family: str,
    version: str,
    *,
    names: Sequence[str] | None = None,
    fingerprint: str | None = None,
) -> Iterator[tuple[Registered, Path]]:
    """As `fetch`, with the folder in which the model's files lie meanwhile, their hash verified."""
    kind, number = parsed(version)
    name = model_name(family, kind)
    with ExitStack() as lasting:  # beyond the lock: whoever uses the model keeps nobody from MLflow
        with server(tracking_uri, f"the model of {family} was not fetched") as client:
            found = client.get_model_version(name, number)
            _refuse_other_features(name, number, found.tags, names, fingerprint)
            # What fetches the files asks besides for the process's own servers, and makes an mlflow.db if it has none.
            mlflow.set_tracking_uri(tracking_uri)
            mlflow.set_registry_uri(tracking_uri)
            artefacts.sweep()
            folder = lasting.enter_context(TemporaryDirectory(prefix=artefacts.FOLDERS, ignore_cleanup_errors=True))
            path = mlflow.artifacts.download_artifacts(
                f"models:/{name}/{number}", dst_path=folder, tracking_uri=tracking_uri, registry_uri=tracking_uri
            )
            detector = _read_back(Path(path), family, version, found.tags.get(CONTENT))
        yield Registered(detector, dict(found.tags)), Path(path)


def keep(folder: Path, family: str, version: str, model: Registered, files: Path) -> None:
    """Keep a copy of what `fetched` has given, for `fetch_kept` (ml/kept.py); one without a hash is not kept.

    Where it cannot be written that is logged: it judges all the same.
    """
    if CONTENT not in model.tags:
        return
    try:
        kept.put(folder, family, version, files, model.tags)
    except OSError as error:
        log.warning("the model %s of %s is not kept in %s: %s", version, family, folder, error)


def fetch_kept(
    tracking_uri: str, folder: Path, family: str, version: str, *, names: Sequence[str], fingerprint: str
) -> Registered:
    """As `fetch`, from the folder in which an earlier one has kept it: MLflow is not asked. Raises ModelError."""
    kind, number = parsed(version)
    with server(tracking_uri, f"the model of {family} was not read from {folder}"):
        path, tags = kept.get(folder, family, version)
        _refuse_other_features(model_name(family, kind), number, tags, names, fingerprint)
        return Registered(_read_back(path, family, version, tags[CONTENT]), tags)


def _read_back(folder: Path, family: str, version: str, expected: str | None) -> FamilyDetector:
    """As ml.artefacts.read_back. Raises ModelUnfit whatever the model's code, or its library's, raises."""
    try:
        detector = artefacts.read_back(folder, kind_of(parsed(version)[0]), expected)
    except (ModelError, OSError, MemoryError):  # of the machine, not of the model: the next time it may be read
        raise
    except Exception as error:  # another version of its library may raise anything, and must end nobody else
        told = f"the model {version} of {family} cannot be read here: {type(error).__name__}: {error}"
        raise ModelUnfit(told[:300]) from error
    detector.version = version
    return detector


def champion_versions(tracking_uri: str) -> dict[str, str]:
    """Family -> version of its champion, in one cheap call. Raises ModelError: MLflow is away or silent for 3 s."""
    with server(tracking_uri, "the champions' versions were not read") as client:
        found = [(whose[0], _turn(model), version) for whose, model, version in _aliased(client, ALIAS)]
    return _last(found)


def has_judged(tracking_uri: str, family: str, version: str) -> bool:
    """Whether that version is champion, or ever was and no guard took it back.

    Raises ModelError: MLflow is away, or knows it not.
    """
    kind, number = parsed(version)
    name = model_name(family, kind)
    with server(tracking_uri, f"{name} version {number} was not looked up") as client:
        held = client.get_model_version(name, number)
    return TAKEN_BACK not in held.tags and (PROMOTED in held.tags or ALIAS in held.aliases)


def challenger_versions(tracking_uri: str) -> dict[str, str]:
    """Family -> version that waits to be validated; where several kinds of a family have one, the newest.

    Raises ModelError: MLflow is away or silent for 3 s.
    """
    with server(tracking_uri, "the challengers' versions were not read") as client:
        waiting = _aliased(client, CHALLENGER)
        made = [
            client.get_model_version(model.name, parsed(version)[1]).creation_timestamp for _, model, version in waiting
        ]
    return _last([(whose[0], at, version) for (whose, _, version), at in zip(waiting, made, strict=True)])


def _aliased(client: MlflowClient, alias: str) -> list[tuple[tuple[str, str], RegisteredModel, str]]:
    """((family, kind), model, version) of every model that has the alias."""
    found = []
    for model in client.search_registered_models(max_results=1000):
        whose = family_and_kind(model.name)
        if whose is not None and alias in model.aliases:
            found.append((whose, model, told(whose[1], str(model.aliases[alias]))))
    return found


def _last(candidates: Sequence[tuple[str, int, str]]) -> dict[str, str]:
    """Family -> version, of each family the one with the highest number."""
    return {family: version for family, _, version in sorted(candidates)}


def _turn(model: RegisteredModel) -> int:
    return int(model.tags.get(TURN, 0))


@contextmanager
def server(tracking_uri: str, failure: str, *, seconds: int = 3, retries: int = 0) -> Iterator[MlflowClient]:
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
        # Errors of requests are OSErrors.
        except (MlflowException, OSError, MemoryError, KeyError, TypeError, ValueError) as error:
            text = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise ModelError(f"{failure}: {text} (MLflow at {tracking_uri}; see `tonewatch status`)") from error
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _tags(family: str, detector: FamilyDetector, training: Training) -> dict[str, str]:
    return {
        **training.lineage,
        "family": family,
        "kind": detector.kind,
        "tenant": training.tenant,
        "data_start": training.start.isoformat(),
        "data_end": training.end.isoformat(),
        "data_hash": training.data_hash,
        "names": ",".join(detector.names),
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


def _version(
    client: MlflowClient, family: str, kind: str, written: artefacts.Written, tags: dict[str, str], description: str
) -> str:
    name, logged = model_name(family, kind), written.info
    try:
        words = f"What is normal for the stage {family}, by its features: {kind_of(kind).title}"
        client.create_registered_model(name, description=words)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    made = client.create_model_version(
        name,
        logged.model_uri,
        logged.run_id,
        tags={**tags, CONTENT: written.content_hash},
        description=description,
        model_id=logged.model_id,
    )
    return str(made.version)


def _refuse_other_features(
    name: str, number: str, tags: Mapping[str, str], names: Sequence[str] | None, fingerprint: str | None
) -> None:
    if fingerprint is not None and tags.get("fingerprint") != fingerprint:
        raise ModelUnfit(f"{name} version {number} was trained on other feature definitions; train it again")
    if names is not None and tags.get("names") != ",".join(names):
        raise ModelUnfit(
            f"{name} version {number} knows the features {tags.get('names')}, not {','.join(names)}; train it again"
        )
