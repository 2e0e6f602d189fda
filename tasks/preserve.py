"""Keeps what the follower knows, and brings it back: a snapshot with how far it has come. Pure; bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from ml.fingerprint import fingerprint
from ml.lasting import REPORT
from tasks.follow import Follower
from tasks.rounds import Rounds
from tasks.tell import Teller
from tonewatch.errors import ModelError
from tonewatch.records import Series, SeriesKind

#: Raised when what a snapshot holds is laid out in another way.
LAYOUT = 1


def snapshot(teller: Teller) -> bytes:
    """All that is known of the series, and of the rounds up to the newest; what was heard for later ones is not."""
    follower = teller.follower
    return follower.state.snapshot(
        {
            "layout": LAYOUT,
            "fingerprint": fingerprint(follower.ensemble),
            "series": [[s.entity, s.metric, s.labels, s.unit, s.kind] for s in follower.series],
            "begun": sorted(follower.begun),
            "rounds": follower.rounds.document(),
            "run": follower.lasting.run,
            "waiting": follower.lasting.waiting.tolist(),
            "episodes": teller.document(),
        }
    )


def restored(kept: bytes, limit: int) -> Teller:
    """The teller of a snapshot. Raises ModelError: it is of another ensemble or layout, or it is broken."""
    teller = Teller(Follower(limit))
    follower = teller.follower
    state, cursor = follower.ensemble.restored(kept)
    told = (cursor.get("layout"), cursor.get("fingerprint"))
    if told != (LAYOUT, fingerprint(follower.ensemble)):
        raise ModelError(f"the snapshot is of layout {told[0]} and ensemble {told[1]}, not of today's")
    try:
        series = [_series(each) for each in cursor["series"]]
        if len(series) != len(state):
            raise ValueError(f"{len(series)} series, {len(state)} rows")
        follower.restore(state, series, map(int, cursor["begun"]))
        follower.rounds = Rounds.restored(cursor["rounds"])
        follower.lasting.run = int(cursor["run"])
        follower.lasting.waiting = np.array([tuple(each) for each in cursor["waiting"]], REPORT)
        teller.restore(cursor["episodes"])
    except (KeyError, TypeError, ValueError, AttributeError) as broken:
        raise ModelError(f"the snapshot of the series does not hold what it should ({broken})") from broken
    return teller


def _series(told: list[Any]) -> Series:
    entity, metric, labels, unit, kind = told
    return Series(entity, metric, tuple((name, value) for name, value in labels), unit, SeriesKind(kind))
