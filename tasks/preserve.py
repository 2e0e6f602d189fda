"""Keeps what the follower knows, and brings it back: a snapshot with how far it has come. Pure; bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from ml.fingerprint import fingerprint, fingerprint_of_course
from ml.lasting import REPORT
from tasks.alongside import Alongside
from tasks.follow import Follower
from tasks.rounds import Rounds
from tasks.tell import Teller
from tonewatch.errors import ModelError
from tonewatch.records import Series, SeriesKind

#: Raised when what a snapshot holds is laid out in another way.
LAYOUT = 2


def snapshot(teller: Teller) -> bytes:
    """All that is known of the series, and of the rounds up to the newest; what was heard for later ones is not.

    How long the ensemble's part is, in one line; that part; the course's.
    """
    follower = teller.follower
    own = follower.state.snapshot(
        {
            "layout": LAYOUT,
            "fingerprint": _today(follower),
            "series": [[s.entity, s.metric, s.labels, s.unit, s.kind] for s in follower.series],
            "begun": sorted(follower.begun),
            "rounds": follower.rounds.document(),
            "run": follower.lasting.run,
            "waiting": follower.lasting.waiting.tolist(),
            "episodes": teller.document(),
        }
    )
    return b"%d\n%b%b" % (len(own), own, follower.alongside.kept().snapshot(follower.alongside.document()))


def restored(kept: bytes, limit: int) -> Teller:
    """The teller of a snapshot. Raises ModelError: it is of other detectors or another layout, or it is broken."""
    teller = Teller(Follower(limit))
    follower, alongside = teller.follower, Alongside()
    length, _, rest = kept.partition(b"\n")
    if not length.isdigit():
        raise ModelError("the snapshot is not laid out as today's are")
    state, cursor = follower.ensemble.restored(rest[: int(length)])
    told = (cursor.get("layout"), cursor.get("fingerprint"))
    if told != (LAYOUT, _today(follower)):
        raise ModelError(f"the snapshot is of layout {told[0]} and detectors {told[1]}, not of today's")
    course, rounds = alongside.course.restored(rest[int(length) :])
    try:
        series = [_series(each) for each in cursor["series"]]
        if not len(series) == len(state) == len(course):
            raise ValueError(f"{len(series)} series, {len(state)} and {len(course)} rows")
        alongside.restore(course, rounds)
        follower.restore(state, alongside, series, map(int, cursor["begun"]))
        follower.rounds = Rounds.restored(cursor["rounds"])
        follower.lasting.run = int(cursor["run"])
        follower.lasting.waiting = np.array([tuple(each) for each in cursor["waiting"]], REPORT)
        teller.restore(cursor["episodes"])
    except (KeyError, TypeError, ValueError, AttributeError) as broken:
        raise ModelError(f"the snapshot of the series does not hold what it should ({broken})") from broken
    return teller


def _today(follower: Follower) -> str:
    return f"{fingerprint(follower.ensemble)} {fingerprint_of_course()}"


def _series(told: list[Any]) -> Series:
    entity, metric, labels, unit, kind = told
    return Series(entity, metric, tuple((name, value) for name, value in labels), unit, SeriesKind(kind))
