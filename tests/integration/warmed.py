"""Imported by a nursery that forks watchers: all that a first fetch imports, and skops with it, seconds long."""

from __future__ import annotations

import skops.io

from ml.artefacts import TRUSTED
from ml.kinds import kinds
from tests.integration import swapping
from tests.unit.transcoders import forest

kinds()
skops.io.loads(skops.io.dumps(forest().pipeline), trusted=list(TRUSTED))
__all__ = ["swapping"]
