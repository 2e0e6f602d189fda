"""The report on a stretch of time: reads it, puts it into words and a picture, and lays it into the outbox."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from policy.period import Period, bars
from tasks.draw import picture
from tasks.phrase import plain, rich, subject
from tasks.summarise import Read, Summary, summarise
from tonewatch.availability import HANDED_OVER_SINCE
from tonewatch.errors import SettingsError, StateFolderError
from tonewatch.records import Evidence, Notice, NoticeState
from tonewatch.settings import Profile
from warehouse import authors, evidence, notices, questions, tenants, weekly
from warehouse.database import Warehouse

#: What an HTML text writes for an image that its mail carries: cid:<evidence id>@tonewatch.
CONTENT_ID: Final = "cid:{}@tonewatch"
#: So many questions are worth a reader's while.
ASKED: Final = 3


@dataclass(frozen=True, slots=True)
class Report:
    """A finished report: its figures, and what people get to see."""

    summary: Summary
    subject: str
    text: str
    picture: Evidence

    def html(self, picture: str | None = None) -> str:
        """The HTML; `picture`: the image's address, by default the one that the mail itself carries."""
        return rich(self.summary, picture or CONTENT_ID.format(self.picture.id))


@dataclass(frozen=True, slots=True)
class Laid:
    """What became of the report's mail: `notice` is its id in the outbox; `new`: it was written or changed now."""

    notice: str
    new: bool
    told: str


async def make(
    tenant: str, warehouse: Warehouse, period: Period, profile: Profile, now: datetime, state_dir: Path | None = None
) -> Report:
    """Read the tenant's period and make its report; `now` says as of when it was known.

    state_dir: the folder that commands in it must name; None: they find it.

    Raises SettingsError: the period is not over. UnknownTenant; WarehouseAway.
    """
    if period.end > now:
        raise SettingsError(f"the time until {period.end.isoformat()} is not over yet: give an earlier --until")
    read = await _read(tenant, warehouse, period, profile)
    asked, unheard = await _labels(tenant, warehouse)
    summary = summarise(tenant, period, now, read, profile)
    summary = replace(summary, state_dir=str(state_dir or ""), asked=asked, unheard=unheard)
    image = picture(summary)
    kept = Evidence.of("chart", period.end, "image/png", image)
    return Report(summary, subject(summary), plain(summary), kept)


async def _labels(tenant: str, warehouse: Warehouse) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is to be asked next, and whose labels are in quarantine: as it is now, whatever the period."""
    async with warehouse.as_tenant(tenant) as db:
        waiting = await questions.waiting(tenant, db, ASKED)
        unheard = [each.author for each in await authors.weights(tenant, db) if each.quarantined]
    return tuple(f"{each.title} ({each.subject})" for each in waiting), tuple(unheard)


async def _read(tenant: str, warehouse: Warehouse, period: Period, profile: Profile) -> Read:
    """One transaction for each bar: a busy day's reports are many, and a statement may last a minute."""
    listening = []
    for bar in bars(period, profile.day_seconds):
        async with warehouse.as_tenant(tenant) as db:
            found = await weekly.listening(tenant, db, bar.start, bar.end)
        listening.append((bar, found))
    async with warehouse.as_tenant(tenant) as db:
        await tenants.get(tenant, db)
        return Read(
            listening,
            await weekly.opened(tenant, db, period.start, period.end),
            await weekly.deeds(tenant, db, period.start, period.end),
            await weekly.carried(tenant, db, period.start, period.end),
            await weekly.handed_over_seconds(tenant, db, period.end - HANDED_OVER_SINCE, period.end),
        )


async def lay(tenant: str, warehouse: Warehouse, report: Report, now: datetime, *, force: bool = False) -> Laid:
    """Put the report's mail and its picture into the outbox, once for each period.

    A period that is there is left as it is. With `force` a mail that waits is written anew, and one that went out is
    followed by another in the same thread.
    """
    async with warehouse.as_tenant(tenant) as db:
        period = report.summary.period.key
        before = [n for n in await notices.of_incident(tenant, db, period) if n.channel == "email"]
        wanted = _notice(tenant, report, now)
        if before and not force:
            return Laid(before[-1].id, False, f"{period} was reported already ({before[-1].state}); nothing is changed")
        await evidence.put(tenant, db, report.picture)
        if before and before[-1].state is NoticeState.PENDING:
            wanted = replace(wanted, round=before[-1].round)
            await notices.reword(tenant, db, wanted)
            return Laid(wanted.id, True, f"{period} is written anew; it has not gone out yet")
        if before:
            wanted = replace(wanted, round=before[-1].round + 1, subject=f"Re: {wanted.subject}")
        new = await notices.put(tenant, db, [wanted]) == 1
        return Laid(wanted.id, new, f"{period} is in the outbox" if new else f"{period} was reported just now")


def _notice(tenant: str, report: Report, now: datetime) -> Notice:
    return Notice(
        tenant=tenant,
        incident=report.summary.period.key,  # no incident: what keeps one period's mails together
        incident_state="report",
        level="L1",
        channel="email",
        subject=report.subject,
        body=report.text,
        html=report.html(),
        created=now,
        next_attempt=now,
    )


def write(report: Report, folder: Path) -> list[Path]:
    """Write the report as .txt, .html and .png into `folder`; what is there already is replaced.

    Raises StateFolderError: cannot write there.
    """
    name = f"report-{report.summary.tenant}-{report.summary.period.key}"
    page = report.html(f"{name}.png")
    contents = {"txt": report.text.encode(), "html": page.encode(), "png": report.picture.content}
    paths = []
    for suffix, content in contents.items():
        path = folder / f"{name}.{suffix}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise StateFolderError(f"{path} cannot be written: {error.strerror}; give another folder") from error
        paths.append(path)
    return paths
