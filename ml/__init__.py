"""Models and what surrounds them: detectors, calibration, causes, the registry."""

import os

# MLflow reports home from its import on unless it reads exactly this, and its import is some modules further down.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
