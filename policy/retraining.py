"""When drift asks for a retraining, and when it does not: never in a loop. Pure.

A view that drifts asks once, and then rests. One that was steady in between begins with the first rest again; one that
drifts on asks after its rest, and rests twice as long: a retraining that does not end the drift will not end it a day
later either. While what it brought is still being validated it asks for nothing: each new challenger would begin its
validation anew, and none would ever end. A person's word (`tonewatch drift retrain`) asks at once, whatever rests.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

#: Days of the platform.
FIRST_REST, LONGEST_REST = 1, 32


@dataclass(frozen=True, slots=True)
class Asked:
    """The last request, and how long it rests after it."""

    at: datetime
    rest: timedelta


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to ask now, how long to rest afterwards, and why."""

    ask: bool
    rest: timedelta
    why: str


def retraining(
    now: datetime, last: Asked | None, calm: datetime | None, day: timedelta, validated: datetime | None = None
) -> Decision:
    """What a view that drifts now may do. last: its last request; calm: when it was last found steady; day: the
    platform's; validated: when the validation of what that request brought ends at the latest, None: none goes on.
    """
    first = FIRST_REST * day
    if last is None:
        return Decision(True, first, "it is the first request")
    asked = f"a retraining was asked for at {last.at:%Y-%m-%d %H:%M}"
    if now < last.at + last.rest:
        return Decision(False, last.rest, f"{asked}; none is asked for before {last.at + last.rest:%Y-%m-%d %H:%M}")
    if validated is not None and now < validated:
        return Decision(False, last.rest, f"{asked}; its challenger is validated, until {validated:%Y-%m-%d %H:%M}")
    if calm is not None and calm > last.at:
        return Decision(True, first, f"{asked}, and it was steady since")
    return Decision(True, min(2 * last.rest, LONGEST_REST * day), f"{asked} and did not end it: the rest doubles")
