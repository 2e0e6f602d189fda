"""What people are to be asked, the most worth knowing first. An answer is an act on the incident, as every other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text

from tonewatch.records import digest
from warehouse.database import Connection
from warehouse.rows import document, utc

PUT = text("""
    insert into question (tenant, id, subject_kind, subject, title, why, worth, shown, asked)
    values (:tenant, :id, :subject_kind, :subject, :title, :why, :worth, cast(:shown as jsonb), :asked)
    on conflict (tenant, id) do update set title = excluded.title, why = excluded.why, worth = excluded.worth,
        shown = excluded.shown
    where question.answered is null
""")
WAITING = text("""
    select id, subject_kind, subject, title, why, worth, shown, asked from question
    where tenant = :tenant and answered is null order by worth desc, asked, id limit :limit
""")
ANSWERED = text("""
    update question set answered = :at where tenant = :tenant and subject = :subject and answered is null
""")
# What is settled meanwhile is asked no more; so is what nobody has answered for so long, and what two models disagree
# on once their validation has ended.
MOOT = text("""
    update question set answered = :at
    where tenant = :tenant and answered is null
      and (subject_kind = 'incident' and not subject = any(cast(:still as text[])) or asked < :before
          or subject_kind = 'disagreement' and exists (select from disagreement d
              join validation_verdict v on v.tenant = :tenant and v.validation = d.validation and v.final
              where d.tenant = :tenant and d.id = question.subject))
""")


@dataclass(frozen=True, slots=True)
class Question:
    """subject: an incident's id, or a disagreement's. worth: uncertainty, 0 to 1, times
    what the answer would change. shown: what helps to answer it: findings, models, scores; ids and figures only.
    """

    subject_kind: str  # incident, disagreement
    subject: str
    title: str
    why: str
    worth: float
    asked: datetime
    shown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The same subject is asked about once."""
        return digest(self.subject_kind, self.subject)


async def put(tenant: str, db: Connection, question: Question) -> bool:
    """Ask it, or tell anew what it is worth; False: it was answered already. Whoever wants to know something of an
    incident, or of what two models disagree on, puts his question here.
    """
    values = {
        "tenant": tenant,
        "id": question.id,
        "subject_kind": question.subject_kind,
        "subject": question.subject,
        "title": question.title,
        "why": question.why,
        "worth": question.worth,
        "shown": document(question.shown),
        "asked": utc(question.asked),
    }
    return (await db.execute(PUT, values)).rowcount == 1


async def waiting(tenant: str, db: Connection, limit: int = 20) -> list[Question]:
    """What is to be asked, the most worth knowing first."""
    found = (await db.execute(WAITING, {"tenant": tenant, "limit": limit})).mappings()
    return [Question(**{name: value for name, value in each.items() if name != "id"}) for each in found]


async def answered(tenant: str, db: Connection, subject: str, at: datetime) -> None:
    """Somebody has answered what was asked about the subject."""
    await db.execute(ANSWERED, {"tenant": tenant, "subject": subject, "at": utc(at)})


async def moot(tenant: str, db: Connection, still: Sequence[str], before: datetime, at: datetime) -> None:
    """Ask no more about incidents that are not `still` open questions, about what two models disagree on whose
    validation has ended, nor what was asked `before` and stayed so.
    """
    await db.execute(MOOT, {"tenant": tenant, "still": list(still), "before": utc(before), "at": utc(at)})
