"""Decides what people are to be asked about: what nobody knows, and what knowing would change most.

What two models disagree on is put into the same queue by whoever compares them (tasks/validate.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ml.hindsight import MOST
from ml.labelling import Opinion
from warehouse import authors, calibrations, questions
from warehouse.authors import Stretch
from warehouse.calibrations import Calibrated, Told
from warehouse.database import Connection
from warehouse.questions import Question

#: People remember no older incident well enough to judge it.
REMEMBERED = timedelta(days=30)
#: An answer is worth something also where it moves no threshold: authors are held against it.
LEAST_CHANGE = 0.2


async def ask(tenant: str, db: Connection, opinion: Opinion, held: Sequence[Calibrated], now: datetime) -> None:
    """Bring the queue up to date: what is open is asked, what is settled or too old is not any more."""
    lasted = await authors.lasting(tenant, db, now - REMEMBERED, now, now)
    unsettled = [each for each in lasted if opinion.settled(each.id) is None]
    told: dict[str, list[Told]] = defaultdict(list)
    for each in await calibrations.told(tenant, db, [one.id for one in unsettled]) if unsettled else []:
        told[each.incident].append(each)
    thresholds = {each.model_version: each.threshold for each in held}
    open_ = [_question(each, opinion, told[each.id], thresholds, now) for each in unsettled if told[each.id]]
    for question in open_:
        await questions.put(tenant, db, question)
    await questions.moot(tenant, db, [each.subject for each in open_], now - REMEMBERED, now)


def worth(posterior: float, scores: Sequence[float], thresholds: Sequence[float]) -> float:
    """How much an answer is worth, 0 to 1: how uncertain it is, times how far it could move a threshold.

    >>> worth(0.5, [0.9], [0.8])
    1.0
    >>> worth(0.95, [0.81], [0.8]) < 0.05
    True
    """
    uncertain = 1.0 - abs(2.0 * posterior - 1.0)
    ways = [
        (min(score, threshold + MOST * (1 - threshold)) - threshold) / max(MOST * (1 - threshold), 1e-9)
        for score, threshold in zip(scores, thresholds, strict=True)
    ]
    change = min(1.0, max([0.0, *ways]))
    return round(uncertain * (LEAST_CHANGE + (1 - LEAST_CHANGE) * change), 6)


def _question(
    incident: Stretch, opinion: Opinion, told: Sequence[Told], thresholds: Mapping[str, float], now: datetime
) -> Question:
    posterior = opinion.posteriors.get(incident.id, 0.5)
    known = [each for each in told if each.model_version in thresholds]
    value = worth(posterior, [each.score for each in known], [thresholds[each.model_version] for each in known])
    said = opinion.behind.get(incident.id, ())
    why = "nobody has judged it" if incident.id not in opinion.posteriors else f"only {', '.join(said)} judged it"
    if incident.id in opinion.posteriors and not said:
        why = "those who judged it disagree, or their word does not count"
    shown = {
        "onset": incident.onset,
        "probably_real": round(posterior, 3),
        "anomalies": [{"model_version": each.model_version, "score": each.score} for each in told],
    }
    return Question("incident", incident.id, incident.title, why, value, now, shown)
