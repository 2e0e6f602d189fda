"""Windows of the past, from samples in the warehouse: what training learns from and what is kept are read alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from feature_store.definitions import metrics
from feature_store.windows import FeatureFrame, window_features
from tonewatch.records import Sample
from warehouse import samples
from warehouse.database import Connection

#: Where the watcher tells that its own machine let nobody run.
WATCHER, STARVED = "host:watcher", "host_starved_seconds"


async def judged_windows(
    tenant: str,
    db: Connection,
    family: str,
    entities: Sequence[str],
    ends: Sequence[datetime],
    seconds: float,
    *,
    every: float,
) -> FeatureFrame:
    """The features of the entities in the windows (end - seconds, end]; `ends` in order, at least one.

    Windows in which the watcher's machine was starved have coverage 0: no model judges them live either. `every`:
    seconds between two samples as configured. Raises ModelError: no such family.
    """
    start, until = ends[0] - timedelta(seconds=seconds), ends[-1] + timedelta(microseconds=1)
    read = await samples.read(tenant, db, start, until, entities=entities, metrics=sorted(metrics(family)))
    starved = await samples.read(tenant, db, start, until, entities=[WATCHER], metrics=[STARVED])
    frame = window_features(family, read, ends, seconds, entities=entities, every=every)
    return untainted(frame, starved, seconds)


def untainted(frame: FeatureFrame, starved: Sequence[Sample], seconds: float) -> FeatureFrame:
    """The same frame, with coverage 0 where the watcher's machine was starved; starved: samples of STARVED."""
    times = np.array(sorted(sample.time.timestamp() for sample in starved if sample.value > 0))
    ends = np.array([end.timestamp() for end in frame.ends])
    inside = np.searchsorted(times, ends, "right") - np.searchsorted(times, ends - seconds, "right")
    return replace(frame, coverage=np.where(inside > 0, 0.0, frame.coverage))
