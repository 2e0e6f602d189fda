"""What MLflow itself runs to serve a model that is kept as arrays: `mlflow.pyfunc.load_model` finds it in the artefact.

Tonewatch does not: it reads the arrays (ml/artefacts.py), and no code comes out of a registry. Whoever serves a model
so needs this house installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from ml.kinds import kind_of
from ml.kinds.base import Packed, read


class Served(PythonModel):
    """Rows of one part in order of time, a tick apart -> how strange each is, in [0, 1]."""

    def load_context(self, context: Any) -> None:
        """Read the model's files."""
        files = {name: Path(path).read_bytes() for name, path in context.artifacts.items()}
        state = read(files["state"], files["arrays"])
        self.detector = kind_of(state["kind"]).unpack(Packed(state["model"]))

    # MLflow takes hints for a schema of its own, and complains of these.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Scores, (rows,)."""
        return self.detector.score(np.asarray(model_input, dtype=np.float64))


set_model(Served())
