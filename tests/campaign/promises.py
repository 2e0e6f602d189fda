"""What holds whoever was killed: held against warehouse and mailbox when the incident is over."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage

from sqlalchemy import text

from tonewatch.records import Action, ActionState, Incident, IncidentState, Notice, NoticeState, Outcome, Verdict
from warehouse import actions, audit, cursors, incidents, notices, verdicts
from warehouse.audit import AuditLine
from warehouse.database import Connection, Warehouse

#: What is scraped while a tick begins is kept with it, though the tick's time is a moment earlier.
TICK = timedelta(seconds=5)
TWICE = text("select finding from incident_finding where tenant = :tenant group by finding having count(*) > 1")
LOOSE = text("""
    select entity || ' ' || symptom from finding f
    where tenant = :tenant and kind = 'rule' and ended >= :since
      and not exists (select from incident_finding i where i.tenant = :tenant and i.finding = f.id)
""")
NEWEST = text("""
    select greatest((select max(ended) from finding where tenant = :tenant),
        (select max(time) from sample where tenant = :tenant and time >= :since))
""")


@dataclass(frozen=True, slots=True)
class Story:
    """One incident as everybody can read it afterwards."""

    incident: Incident
    actions: Sequence[Action]
    verdicts: Sequence[Verdict]
    notices: Sequence[Notice]
    audit: Sequence[AuditLine]

    @property
    def over(self) -> bool:
        """Closed, and told to everybody."""
        told = all(notice.state is not NoticeState.PENDING for notice in self.notices)
        return self.incident.state is IncidentState.CLOSED and told

    @property
    def attempts(self) -> list[int]:
        """The fencing token of each time that the deed was begun."""
        return [line.after["fencing_token"] for line in self.audit if line.after["state"] == "started"]


async def stories(tenant: str, warehouse: Warehouse, since: datetime) -> list[Story]:
    """Every incident opened since then."""
    async with warehouse.as_tenant(tenant) as db:
        return [await _story(tenant, db, each) for each in await incidents.opened_since(tenant, db, since)]


async def _story(tenant: str, db: Connection, incident: Incident) -> Story:
    deeds = await actions.of_incident(tenant, db, incident.id)
    keys = {deed.key for deed in deeds}
    lines = [line for line in await audit.read(tenant, db, 500) if line.what.startswith("action.")]
    return Story(
        incident,
        deeds,
        await verdicts.of_incident(tenant, db, incident.id),
        await notices.of_incident(tenant, db, incident.id),
        [line for line in reversed(lines) if line.after["action"] in keys],
    )


async def broken(
    tenant: str, warehouse: Warehouse, since: datetime, spawned: int, mails: Sequence[EmailMessage]
) -> list[str]:
    """Every promise that does not hold of the one incident since then; empty: all do.

    `spawned`: how often the platform's supervisor started the mended process since then.
    """
    told = await stories(tenant, warehouse, since)
    if len(told) != 1:
        return [f"{len(told)} incidents for one fault: {[each.incident.title for each in told]}"]
    async with warehouse.as_tenant(tenant) as db:
        kept = await _books(tenant, db, since)
    return [*_finished(told[0]), *_once(told[0], spawned), *_paged(told[0], mails), *kept]


def _finished(story: Story) -> list[str]:
    found = []
    if story.incident.state not in {IncidentState.MENDED, IncidentState.CLOSED}:
        found.append(f"the incident is {story.incident.state}")
    if [verdict.outcome for verdict in story.verdicts] != [Outcome.WORKED]:
        found.append(f"the verdicts are {[str(verdict.outcome) for verdict in story.verdicts]}")
    return found


def _once(story: Story, spawned: int) -> list[str]:
    """One deed, done once, written down once each time that it came further."""
    found = [] if spawned == 1 else [f"the process was brought up {spawned} times"]
    if [deed.state for deed in story.actions] != [ActionState.FINISHED]:
        found.append(f"the actions are {[(deed.key, str(deed.state)) for deed in story.actions]}")
    written = Counter(line.after["state"] for line in story.audit)
    if written["intended"] != 1 or written["finished"] != 1:
        found.append(f"the audit tells of {dict(written)}")
    if story.attempts != sorted(story.attempts) or not story.attempts:
        found.append(f"it was begun under the tokens {story.attempts}")
    return found


def _paged(story: Story, mails: Sequence[EmailMessage]) -> list[str]:
    """Every notice reached somebody, or a later one that did tells it; a repeat is the same mail under the same id."""
    arrived: dict[str, set[str]] = defaultdict(set)
    for mail in mails:
        if str(mail["X-Tonewatch-Incident"]) == story.incident.id:
            arrived[_key(mail)].add(_words(mail))
    found = [] if arrived else ["nobody was told"]
    unknown = arrived.keys() - {notice.dedup_key for notice in story.notices}
    found += [f"a mail tells of no notice: {key}" for key in unknown]
    found += [f"two mails that differ have the id {key}" for key, words in arrived.items() if len(words) > 1]
    last_sent = max((i for i, n in enumerate(story.notices) if n.state is NoticeState.SENT), default=-1)
    for index, notice in enumerate(story.notices):
        lost = notice.state is NoticeState.SENT and notice.dedup_key not in arrived
        if lost or notice.state in {NoticeState.PENDING, NoticeState.REFUSED}:
            found.append(f"{notice.incident_state} is {notice.state} and reached nobody")
        if notice.state is NoticeState.SUPERSEDED and index > last_sent:
            found.append(f"{notice.incident_state} is told by no later notice")
    if story.incident.state is IncidentState.CLOSED and "mended" not in {n.incident_state for n in story.notices}:
        found.append("nobody was told that it is mended")
    return found


def _key(mail: EmailMessage) -> str:
    return str(mail["Message-ID"]).strip("<>").partition("@")[0]


def _words(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    return f"{mail['Subject']}\n{body.get_content() if body else ''}"


def repeats(incident: str, mails: Sequence[EmailMessage]) -> int:
    """How many mails of the incident came again under an id that had come."""
    keys = [_key(mail) for mail in mails if str(mail["X-Tonewatch-Incident"]) == incident]
    return len(keys) - len(set(keys))


async def _books(tenant: str, db: Connection, since: datetime) -> list[str]:
    """Cursor and Findings agree: nothing is kept that the cursor has not reached, and every Finding has one place."""
    cursor = datetime.fromisoformat((await cursors.get(tenant, db, "detection") or {})["time"])
    newest: datetime = (await db.execute(NEWEST, {"tenant": tenant, "since": since})).scalar_one()
    found = [] if newest <= cursor + TICK else [f"the cursor is at {cursor}, what is kept goes to {newest}"]
    twice = (await db.execute(TWICE, {"tenant": tenant})).scalars().all()
    loose = (await db.execute(LOOSE, {"tenant": tenant, "since": since})).scalars().all()
    return [*found, *(f"{each} is in two incidents" for each in twice), *(f"{each} is in none" for each in loose)]
