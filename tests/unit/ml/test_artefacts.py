"""What is read of a model's files: what skops trusts here, whatever the files say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import skops.io
import yaml

from ml.artefacts import PIPELINE, read_back
from ml.kinds import DEFAULT, kind_of
from tests.unit.transcoders import forest
from tonewatch.errors import ModelUnfit


class Stranger:
    """No type that is built in, nor one that is trusted by name."""


def kept(folder: Path, pipeline: Any) -> Path:
    """A forest's files as MLflow writes them, which name this module's type as trusted."""
    skops.io.dump(pipeline, folder / PIPELINE)
    known = forest()
    detector = {"names": list(known.names), "floors": list(known.floors), "limits": known.limits.tolist()}
    trusted = [f"{Stranger.__module__}.{Stranger.__name__}", "sklearn.tree._tree.Tree", "numpy.dtype"]
    flavour = {"pickled_model": PIPELINE, "serialization_format": "skops", "skops_trusted_types": trusted}
    notes = {"flavors": {"sklearn": flavour}, "metadata": {"detector": detector, "kind": DEFAULT, "format": 1}}
    (folder / "MLmodel").write_text(yaml.safe_dump(notes))
    return folder


def test_a_forest_without_a_hash_is_read(tmp_path: Path) -> None:
    assert read_back(kept(tmp_path, forest().pipeline), kind_of(DEFAULT), None).names == forest().names


def test_a_type_that_the_artefact_alone_trusts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnfit, match=r"Untrusted types.*Stranger"):
        read_back(kept(tmp_path, Stranger()), kind_of(DEFAULT), None)


def test_a_file_that_skops_did_not_write_is_refused(tmp_path: Path) -> None:
    (kept(tmp_path, Stranger()) / PIPELINE).write_bytes(b"no archive")
    with pytest.raises(ModelUnfit, match="cannot be read"):
        read_back(tmp_path, kind_of(DEFAULT), None)
