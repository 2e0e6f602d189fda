"""How a model lies in MLflow: scikit-learn's by skops, others as arrays and JSON; and how it is read back.

Nothing is pickled, and no code out of an artefact is run here: MLflow's own `load_model` is not used, since it goes by
what the artefact's file MLmodel says of files, formats, trusted types and code. What was written is read back at once
and must score the same; its hash is kept with the version, and an artefact that has another is refused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import mlflow
import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types.schema import ColSpec, Schema, TensorSpec

from ml.detectors.base import Floats
from ml.detectors.family import FamilyDetector
from ml.kinds import kind_of, model_name
from ml.kinds.base import Kind, Packed, read, written
from tonewatch.clock import SYSTEM
from tonewatch.errors import ModelError, ModelUnfit

#: skops loads no type that is neither built in nor named here: a forest is made of trees, the imputer keeps its dtype.
TRUSTED = ("sklearn.tree._tree.Tree", "numpy.dtype")
STATE, ARRAYS = "state.json", "arrays.npz"
#: The file that MLflow gives a pipeline of scikit-learn that is kept by skops.
PIPELINE = "model.skops"
#: Where models are downloaded to: a folder of its own each, which is gone when it is read; and how old one is that was
#: left by a process that was killed. No other download ever uses it.
FOLDERS = "tonewatch-model-"
LEFT_SECONDS = 3600.0
#: Where a served model's code stands; MLflow copies it.
_SERVED = Path(__file__).with_name("served.py")


@dataclass(frozen=True, slots=True)
class Written:
    """A model that was logged in the open run. content_hash: of what it is made of."""

    info: ModelInfo
    content_hash: str


def write(family: str, detector: FamilyDetector, example: Floats) -> Written:
    """Log the model in the run that is open, and read it back. example: a few rows, (rows, features).

    Raises ModelError: what is read back scores otherwise, or the detector has learned nothing.
    """
    kind = kind_of(detector.kind)
    packed = kind.pack(detector)
    table = _table(example, detector.names)
    info = (_write_pipeline if packed.pipeline is not None else _write_arrays)(family, kind, packed, table)
    with TemporaryDirectory(prefix=FOLDERS) as folder:
        path = mlflow.artifacts.download_artifacts(info.model_uri, dst_path=folder)
        content = content_hash(Path(path))
        back = read_back(Path(path), kind, content)
    if not np.array_equal(back.score(example), detector.score(example), equal_nan=True):
        raise ModelError(f"the model of {family} scores otherwise when it is read back; it was not registered")
    return Written(info, content)


def read_back(folder: Path, kind: Kind, expected: str | None) -> FamilyDetector:
    """The detector that lies in a folder. expected: its hash; None: registered before there were hashes.

    Raises ModelError: another hash or format, or a kind that cannot be used here.
    """
    kind.refuse_missing()
    found = content_hash(folder)
    if expected is not None and found != expected:
        raise ModelUnfit(
            f"the model's files have the hash {found}, not {expected} as they were registered with: they were changed "
            "or damaged. Train it again, or promote another version (`tonewatch models list`)"
        )
    about = Model.load(str(folder)).metadata or {}
    if about.get("format", 1) != kind.format:
        raise ModelUnfit(f"the model is of format {about.get('format')}, {kind.name} is read in {kind.format}")
    if (folder / "artifacts" / STATE).exists():
        state = read(*((folder / "artifacts" / name).read_bytes() for name in (STATE, ARRAYS)))
        return kind.unpack(Packed(state["model"]))
    return kind.unpack(Packed(about["detector"], _pipeline(folder / PIPELINE)))


def sweep() -> None:
    """Remove what killed processes have left of their downloads."""
    for folder in Path(gettempdir()).glob(f"{FOLDERS}*"):
        with suppress(OSError):  # another sweeps, too, or it is another user's
            if SYSTEM.now().timestamp() - folder.stat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(folder)


def content_hash(folder: Path) -> str:
    """A hash over what a detector is made of; MLflow's own notes on it, which it writes anew, are left out."""
    about = Model.load(str(folder)).metadata or {}
    content = hashlib.blake2b(json.dumps(about.get("detector"), sort_keys=True).encode(), digest_size=16)
    for path in sorted(each for pattern in ("*.skops", "artifacts/*") for each in folder.glob(pattern)):
        content.update(path.name.encode())
        content.update(path.read_bytes())
    return content.hexdigest()


def _pipeline(path: Path) -> Any:
    """What skops has kept. Raises ModelUnfit: it holds a type that is not trusted here, or is no such file."""
    import skops.io  # seconds that only a forest pays

    try:
        return skops.io.load(path, trusted=list(TRUSTED))
    except (TypeError, ValueError, KeyError, FileNotFoundError, EOFError, zipfile.BadZipFile) as error:
        raise ModelUnfit(f"the model's files cannot be read: {error}; train it again") from error


def _write_pipeline(family: str, kind: Kind, packed: Packed, example: Any) -> ModelInfo:
    logged: ModelInfo = mlflow.sklearn.log_model(
        packed.pipeline,
        name=model_name(family, kind.name),
        signature=_signature(list(example), np.int64),
        input_example=example,
        serialization_format="skops",
        skops_trusted_types=list(TRUSTED),
        pip_requirements=_pinned(kind),
        metadata={"detector": dict(packed.state), "kind": kind.name, "format": kind.format},
    )
    return logged


def _write_arrays(family: str, kind: Kind, packed: Packed, example: Any) -> ModelInfo:
    with TemporaryDirectory(prefix="tonewatch-model-") as made:
        files = dict(zip((STATE, ARRAYS), written({"kind": kind.name, "model": packed.state}), strict=True))
        for name, content in files.items():
            (Path(made) / name).write_bytes(content)
        logged: ModelInfo = mlflow.pyfunc.log_model(
            python_model=str(_SERVED),
            name=model_name(family, kind.name),
            artifacts={"state": str(Path(made) / STATE), "arrays": str(Path(made) / ARRAYS)},
            signature=_signature(list(example), np.float64),
            input_example=example,
            pip_requirements=["mlflow==" + installed("mlflow"), *_pinned(kind)],
            metadata={"kind": kind.name, "format": kind.format},
        )
    return logged


def _pinned(kind: Kind) -> list[str]:
    # Given, because MLflow would run the model in a new process for 20 s to infer them.
    return [f"{name}=={installed(name)}" for name in kind.packages]


def _signature(names: list[str], out: type[np.generic]) -> ModelSignature:
    return ModelSignature(
        inputs=Schema([ColSpec("double", name) for name in names]),
        outputs=Schema([TensorSpec(np.dtype(out), (-1,))]),
    )


def _table(example: Floats, names: Sequence[str]) -> Any:
    import pandas as pd  # a second of import that only training pays, not every watcher's poll

    return pd.DataFrame(example, columns=list(names))
