"""What is reckoned of listening: availability against the SLO, spans of repair, minutes saved, pages allowed. Pure.

Times of listening are whole milliseconds, so that sums are exact and the same in any order.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, Final

from tonewatch.settings import PageBudget, Profile

#: What a person takes from onset to the end of the impact, where no handed-over incident tells it.
PERSON_MINUTES: Final = 15.0
MS_PER_MINUTE: Final = 60_000
#: States in which a listener wants sound (CMCD `sta`).
LISTENING: Final = frozenset({"s", "p", "r"})
#: Start-up beyond this counts as sound absent (Krishnan & Sitaraman, IMC 2012: abandonment begins at 2 s).
STARTUP_ALLOWED_MS: Final = 2000
#: A session that reports nothing for longer is not known to listen; CMCD's players report every 30 s at least.
SILENT_AFTER_MS: Final = 60_000
#: From so long before the end of a period it is told how long people take.
HANDED_OVER_SINCE: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Listening:
    """How much listening was due, and how much of it was lost, in milliseconds; lost <= due."""

    due_ms: int = 0
    lost_ms: int = 0

    def __add__(self, other: Listening) -> Listening:
        return Listening(self.due_ms + other.due_ms, self.lost_ms + other.lost_ms)

    @property
    def due_minutes(self) -> float:
        return self.due_ms / MS_PER_MINUTE

    @property
    def lost_minutes(self) -> float:
        return self.lost_ms / MS_PER_MINUTE

    @property
    def availability(self) -> float | None:
        """1 - lost / due, cut (never rounded up) to six digits: a broken promise must not read as one that was kept.

        None: nobody listened, so there is nothing to say.
        """
        return (self.due_ms - self.lost_ms) * 1_000_000 // self.due_ms / 1_000_000 if self.due_ms else None


@dataclass(frozen=True, slots=True)
class Slo:
    """A promise: the share of the listener-minutes due that is to have sound, e.g. 9999/10000."""

    share: Fraction

    @classmethod
    def of(cls, profile: Profile) -> Slo:
        """What the tenant has promised; the decimal as it is written, not as a float rounds it."""
        return cls(Fraction(str(profile.slo)))

    def met(self, found: Listening) -> bool | None:
        """Whether it was kept; None: nobody listened."""
        return found.lost_ms <= found.due_ms * (1 - self.share) if found.due_ms else None

    def allowed_minutes(self, found: Listening) -> float:
        """The error budget: listener-minutes that may be lost."""
        return float(found.due_ms * (1 - self.share)) / MS_PER_MINUTE

    def spent(self, found: Listening) -> float | None:
        """The share of the error budget that is gone (1.0: all of it); None: nobody listened."""
        return float(found.lost_ms / (found.due_ms * (1 - self.share))) if found.due_ms else None

    def figures(self, found: Listening) -> dict[str, Any]:
        """All of it by name, for scripts; None where nobody listened."""
        return {
            "availability": found.availability,
            "met": self.met(found),
            "due_minutes": found.due_minutes,
            "lost_minutes": found.lost_minutes,
            "allowed_minutes": self.allowed_minutes(found),
            "budget_spent": self.spent(found),
        }


@dataclass(frozen=True, slots=True)
class Spread:
    """Of `count` spans in seconds, the median and the worst."""

    count: int
    median_s: float
    worst_s: float


def spread(seconds: Sequence[float]) -> Spread | None:
    """Median and worst of the spans; None: there are none."""
    return Spread(len(seconds), statistics.median(seconds), max(seconds)) if seconds else None


def person_minutes(handed_over: Sequence[float]) -> tuple[float, int]:
    """(minutes, of how many): the median time of handed-over incidents, given in seconds, else 15 minutes (of 0)."""
    found = spread(handed_over)
    return (found.median_s / 60, found.count) if found else (PERSON_MINUTES, 0)


def saved_minutes(
    lost: float, onset: datetime, started: datetime | None, ended: datetime | None, person: float
) -> float | None:
    """Listener-minutes that a worked remedy saved: the mean loss per minute while the impact lasted, carried on until
    a person would have ended it `person` minutes after `onset`, less what was lost. Negative: a person is quicker.

    None: no loss to reckon from.
    """
    if started is None or ended is None or ended <= started or lost <= 0:
        return None
    per_minute = lost / ((ended - started).total_seconds() / 60)
    return per_minute * (person - (ended - onset).total_seconds() / 60)


def pages_allowed(budget: PageBudget, seconds: float) -> float:
    """False pages that the budget allows in `seconds`, which may be less or more than its week."""
    return budget.pages_per_week * seconds / budget.week_seconds
