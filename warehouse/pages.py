"""A page of a list, the newest first. It goes on after a row, not a number of rows, so that new ones move no page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from warehouse.rows import utc

#: The time and the id of a row: where a page ends.
Place = tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class Page:
    """At most `limit` rows of since <= time < until that come after the row at `after`; None: no bound."""

    limit: int
    since: datetime | None = None
    until: datetime | None = None
    after: Place | None = None

    def values(self) -> dict[str, str | int]:
        """What `within` asks for. Infinite bounds instead of absent ones, so that an index serves every case."""
        return {
            "since": utc(self.since).isoformat() if self.since else "-infinity",
            "until": utc(self.until).isoformat() if self.until else "infinity",
            "after": utc(self.after[0]).isoformat() if self.after else "infinity",
            "after_id": self.after[1] if self.after else "0",
            "limit": self.limit,
        }


def within(time: str, id_: str, kind: str = "text") -> str:
    """The end of a statement's WHERE, its order and limit; `time` and `id_`: its columns; `kind`: the id's type."""
    return f"""
        {time} >= cast(:since as timestamptz) and {time} < cast(:until as timestamptz)
        and ({time}, {id_}) < (cast(:after as timestamptz), cast(:after_id as {kind}))
        order by {time} desc, {id_} desc limit :limit
    """
