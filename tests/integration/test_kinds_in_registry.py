"""Every kind of model in a real MLflow: it comes back as it went in, and not at all when its files were changed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from feature_store.definitions import floors, names
from ml import registry
from ml.detectors.family import FamilyDetector, Strands
from ml.kinds import DEFAULT, kind_of, kinds, model_name, parsed
from tests.integration.servers import Mlflow
from tests.integration.test_training import TRAINING
from tonewatch.errors import ModelError

pytestmark = pytest.mark.timeout(300)
ROWS = np.random.default_rng(3).normal(size=(300, len(names("ingest"))))


def taught(kind: str) -> FamilyDetector:
    made = kind_of(kind)
    if made.needs:
        pytest.importorskip(made.needs, reason="the optional group `learning` is not installed")
    return made.make(names("ingest"), floors("ingest"), 1).teach([Strands(ROWS[None], np.ones((1, 300), np.bool_))])


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_a_model_of_any_kind_comes_back_as_it_went_in_and_is_refused_when_it_was_changed(
    mlflow: Mlflow, kind: str
) -> None:
    detector = taught(kind)
    version = registry.register(mlflow.url, "ingest", detector, TRAINING, ROWS[:20])
    assert parsed(version)[0] == kind
    back = registry.fetch(mlflow.url, "ingest", version)
    assert (back.detector.version, back.detector.kind, back.tags["kind"]) == (version, kind, kind)
    np.testing.assert_array_equal(back.detector.score(ROWS), detector.score(ROWS))

    client = registry.MlflowClient(mlflow.url)
    held = client.get_model_version(model_name("ingest", kind), parsed(version)[1])
    about = registry.mlflow.models.Model.load(f"models:/{held.name}/{held.version}")
    assert about.signature.inputs.input_names() == list(names("ingest"))
    assert about.saved_input_example_info is not None
    if kind != DEFAULT:
        served = registry.mlflow.pyfunc.load_model(f"models:/{held.name}/{held.version}")
        rows = pd.DataFrame(ROWS[:20], columns=list(names("ingest")))
        np.testing.assert_array_equal(served.predict(rows), detector.score(ROWS[:20]))

    client.delete_model_version_tag(held.name, held.version, registry.CONTENT)  # as before there were hashes
    assert registry.fetch(mlflow.url, "ingest", version).detector.names == names("ingest")
    client.set_model_version_tag(held.name, held.version, registry.CONTENT, back.tags[registry.CONTENT])
    spoil(mlflow.folder)
    with pytest.raises(ModelError, match=r"were changed or damaged\. Train it again"):
        registry.fetch(mlflow.url, "ingest", version)


class Payload:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, left: Path) -> None:
        self.left = left

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.left,)


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_a_model_whose_notes_name_other_files_and_code_is_read_from_its_own_alone(
    mlflow: Mlflow, tmp_path: Path, kind: str
) -> None:
    """MLflow's own file is in no hash: what it says of files, formats and code is not followed."""
    detector, left = taught(kind), tmp_path / "left"
    version = registry.register(mlflow.url, "ingest", detector, TRAINING, ROWS[:20])
    notes = max(mlflow.folder.rglob("MLmodel"), key=lambda each: each.stat().st_mtime)
    (notes.parent / "evil.pkl").write_bytes(pickle.dumps(Payload(left)))
    (notes.parent / "evil").mkdir()
    module = f"import pathlib\n\ndef _load_pyfunc(*_):\n    pathlib.Path({str(left)!r}).touch()\n"
    (notes.parent / "evil" / "evilly.py").write_text(module)
    told = yaml.safe_load(notes.read_text())
    told["flavors"] = {
        "sklearn": {"pickled_model": "evil.pkl", "serialization_format": "pickle", "code": "evil"},
        "python_function": {"loader_module": "evilly", "python_model": "evil.pkl", "code": "evil"},
    }
    notes.write_text(yaml.safe_dump(told))

    back = registry.fetch(mlflow.url, "ingest", version)
    np.testing.assert_array_equal(back.detector.score(ROWS), detector.score(ROWS))
    assert not left.exists()


def spoil(folder: Path) -> None:
    """Change a bit of the newest model's numbers, where MLflow keeps its files."""
    path = max(
        (each for end in ("*.npz", "*.skops") for each in folder.rglob(end)), key=lambda each: each.stat().st_mtime
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_kind_that_was_promoted_last_judges(mlflow: Mlflow) -> None:
    both = {
        kind: registry.register(mlflow.url, "edge", taught(kind), TRAINING, ROWS[:3])
        for kind in (DEFAULT, "row-ensemble")
    }
    registry.promote(mlflow.url, "edge", both[DEFAULT])
    assert registry.champion_versions(mlflow.url)["edge"] == both[DEFAULT]
    registry.promote(mlflow.url, "edge", both["row-ensemble"])
    assert registry.champion_versions(mlflow.url)["edge"] == both["row-ensemble"]
    registry.promote(mlflow.url, "edge", both[DEFAULT])
    assert registry.champion_versions(mlflow.url)["edge"] == both[DEFAULT]
