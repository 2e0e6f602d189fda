"""When models are trained again, and when they are not: never in a loop, and not on one another's heels. Pure.

A view that drifts asks once, and then rests. One that was steady in between begins with the first rest again; one that
drifts on asks after its rest, and rests twice as long: a retraining that does not end the drift will not end it a day
later either. It rests from when the request was handed over, and until then nothing more is asked for. While what it
brought is still being validated it asks for nothing: a newer challenger would wait behind it, and be old by its turn.
The schedule and people's labels ask by the same rule: what was learned since they asked is their steady. Nobody asks
within a day of another. A person's word (`tonewatch drift retrain`, `tonewatch train`) asks at once, whatever rests.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

#: Days of the platform.
FIRST_REST, LONGEST_REST = 1, 32
#: A platform has a week: a model that has not seen the last one is old, in days of the platform.
OLD = 7
#: An old model waits for calm as long again, and is then trained on what there is: the gate stands before it. Single
#: series keep the thresholds that they have (tasks/prove_series.py).
PATIENCE = 7
#: So many incidents must have been settled since: more than people see in a month at two pages a week. At the budget
#: the schedule comes first; where models wake people daily, labels do.
ENOUGH_LABELS = 10
#: A stretch is hardly calm where incidents that nobody has settled as false cover more of it than this.
RESTLESS = 0.25


class Why(StrEnum):
    """What asks for a training. Departure: of a tenant, whose rows a model must not have seen."""

    SCHEDULE = "schedule"
    DRIFT = "drift"
    LABELS = "labels"
    DEPARTURE = "departure"
    HAND = "hand"


@dataclass(frozen=True, slots=True)
class Asked:
    """The last request, and how long it rests after it. at: when it was handed over; waits: it was not yet, and `at` is
    when it was asked for.
    """

    at: datetime
    rest: timedelta
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to ask now, how long to rest afterwards, and why."""

    ask: bool
    rest: timedelta
    why: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a tenant's models. learned: when the family that was trained longest ago was, or had its turn
    beside others that were; None: none was.

    asked: what each has asked for last; labels: incidents that were settled since the labels asked last, and since
    `learned`; validating: a challenger that is still held against its champion, else empty; unrest: why what would be
    learned from is not calm, else empty.
    """

    learned: datetime | None
    asked: dict[Why, Asked]
    labels: int = 0
    validating: str = ""
    unrest: str = ""


def retraining(
    now: datetime,
    last: Asked | None,
    calm: datetime | None,
    day: timedelta,
    validated: datetime | None = None,
    other: datetime | None = None,
) -> Decision:
    """What a view that drifts now may do. last: its last request; calm: when it was last found steady; day: the
    platform's; validated: when the validation of what that request brought (of any challenger, where all families are
    asked for) ends at the latest, None: none goes on; other: when somebody else last asked for a training that the view
    is part of.
    """
    first = FIRST_REST * day
    if other is not None and now < other + first:
        rest = last.rest if last is not None else first
        return Decision(False, rest, f"a training was asked for at {other:%Y-%m-%d %H:%M}, for another reason")
    if last is None:
        if validated is not None and now < validated:
            return Decision(False, first, f"a challenger is validated, until {validated:%Y-%m-%d %H:%M}")
        return Decision(True, first, "it is the first request")
    asked = f"a retraining was asked for at {last.at:%Y-%m-%d %H:%M}"
    if last.waits:
        return Decision(False, last.rest, f"{asked} and is not handed over yet")
    if now < last.at + last.rest:
        return Decision(False, last.rest, f"{asked}; none is asked for before {last.at + last.rest:%Y-%m-%d %H:%M}")
    if validated is not None and now < validated:
        return Decision(False, last.rest, f"{asked}; its challenger is validated, until {validated:%Y-%m-%d %H:%M}")
    if calm is not None and calm >= last.at:  # what is trained is as old as the moment of the handing over
        return Decision(True, first, f"{asked}, and it was steady since")
    return Decision(True, min(2 * last.rest, LONGEST_REST * day), f"{asked} and did not end it: the rest doubles")


def scheduled(now: datetime, of: Known, day: timedelta) -> Decision:
    """Whether the schedule asks for a training of all families: of old models, in calm, and of none that is judged."""
    if of.learned is not None and now < of.learned + OLD * day:
        since = f"all families were learned since {of.learned:%Y-%m-%d %H:%M}"
        return Decision(False, FIRST_REST * day, f"{since}; they are old after {OLD} days")
    waited = of.learned is not None and now >= of.learned + (OLD + PATIENCE) * day
    if of.unrest and not waited:
        return Decision(False, FIRST_REST * day, f"it waits for calm: {of.unrest}")
    return _by(Why.SCHEDULE, now, of, day)


def labelled(now: datetime, of: Known, day: timedelta) -> Decision:
    """Whether people's labels ask for a training of all families: enough that no training has learned from."""
    if of.learned is None:
        return Decision(False, FIRST_REST * day, "no model was learned yet")
    if of.labels < ENOUGH_LABELS:
        return Decision(False, FIRST_REST * day, f"{of.labels} incidents were settled since; {ENOUGH_LABELS} ask")
    if of.unrest:
        return Decision(False, FIRST_REST * day, f"it waits for calm: {of.unrest}")
    return _by(Why.LABELS, now, of, day)


def _by(why: Why, now: datetime, of: Known, day: timedelta) -> Decision:
    """One that asks for all families waits for a challenger's validation: a newer one would wait behind it."""
    if of.validating:
        return Decision(False, FIRST_REST * day, f"{of.validating} is held against its champion")
    other = max((each.at for name, each in of.asked.items() if name is not why), default=None)
    return retraining(now, of.asked.get(why), of.learned, day, other=other)
