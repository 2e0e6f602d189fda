"""Tells people: from an incident's change of state to a message that its channel has taken.

The stages are alertmanager's, in its order, and end in the outbox: a notice is written in the transaction that changes
the incident, and sent by whoever leases it. It may be sent twice (a crash between sending and marking), never not at
all; a repeat carries the same id.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.channels import Channel
from gateway.channels.email import Email, Server
from gateway.channels.slack import Slack
from tasks.compose import HEADLINES, Story, plain, rich, subject
from tonewatch.clock import Clock
from tonewatch.errors import ChannelError, ChannelRefused, SettingsError, WarehouseError
from tonewatch.records import Action, Cause, Change, Incident, IncidentState, Notice, NoticeState, Verdict
from tonewatch.settings import Settings
from warehouse import changes, incidents, notices
from warehouse.database import Connection, Warehouse

#: Notices leased at once, and for how long: so long a notice waits whose sender died with it.
BATCH: Final = 10
LEASE_S: Final = 60
FIRST_WAIT_S: Final = 2.0
LONGEST_WAIT_S: Final = 60.0
_GRAVITY: Final = {"minor": 0, "major": 1, "critical": 2}
_UNDER_WAY: Final = frozenset(
    {IncidentState.OPEN, IncidentState.DIAGNOSED, IncidentState.ACTING, IncidentState.VERIFYING}
)

#: What people are told of an incident in each state; the states between are the machine's own.
TELLS_OF: Final[Mapping[str, str | None]] = {
    IncidentState.OPEN: "opened",
    IncidentState.DIAGNOSED: "opened",
    IncidentState.ACTING: "opened",
    IncidentState.VERIFYING: "acted",
    IncidentState.CLOSED: None,
    **{state: state for state in HEADLINES},
}

log = structlog.get_logger("notify")


@dataclass(frozen=True, slots=True)
class Draft:
    """A notice before its text: one incident's state, for one level on one channel."""

    incident: Incident
    state: str
    level: str
    channel: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the stages look at besides the drafts: changes and incidents under way, and what was `told` of this one."""

    changes: Sequence[Change]
    active: Sequence[Incident]
    told: Sequence[Notice]


Stage = Callable[[list[Draft], Surroundings], list[Draft]]


def silence(drafts: list[Draft], seen: Surroundings) -> list[Draft]:
    """Drop what concerns parts under announced maintenance alone."""
    silent = {change.entity for change in seen.changes if change.kind == "maintenance"}
    return [draft for draft in drafts if not draft.incident.entities or not silent.issuperset(draft.incident.entities)]


def inhibit(drafts: list[Draft], seen: Surroundings) -> list[Draft]:
    """Drop what an earlier, at least as grave incident that is under way tells already: it holds all these parts."""
    return [draft for draft in drafts if not any(_covers(other, draft.incident) for other in seen.active)]


def _covers(other: Incident, incident: Incident) -> bool:
    return (
        other.id != incident.id
        and other.state in _UNDER_WAY
        and (other.opened, other.id) < (incident.opened, incident.id)
        and _GRAVITY.get(other.severity, 0) >= _GRAVITY.get(incident.severity, 0)
        and bool(incident.entities)
        and set(other.entities).issuperset(incident.entities)
    )


def group(drafts: list[Draft], seen: Surroundings) -> list[Draft]:
    """Keep one draft for each incident, level and channel: the last state stands for those before it."""
    return list({(draft.incident.id, draft.level, draft.channel): draft for draft in drafts}.values())


def deduplicate(drafts: list[Draft], seen: Surroundings) -> list[Draft]:
    """Drop what was told, and the good end of what was never told (it was silenced or inhibited)."""
    told = {(notice.incident_state, notice.level, notice.channel) for notice in seen.told}
    begun = {(level, channel) for _, level, channel in told}
    return [
        draft
        for draft in drafts
        if (draft.state, draft.level, draft.channel) not in told
        and (draft.state != "mended" or (draft.level, draft.channel) in begun)
    ]


#: alertmanager's order; what is left goes into the outbox.
STAGES: Final[tuple[Stage, ...]] = (silence, inhibit, group, deduplicate)


async def enqueue(
    tenant: str,
    db: Connection,
    incident: Incident,
    causes: Sequence[Cause],
    actions: Sequence[Action],
    verdicts: Sequence[Verdict],
    state: str,
    settings: Settings,
    now: datetime,
    *,
    level: str = "L1",
) -> int:
    """Write the notices of `incident` being `state` into the outbox; returns how many are new.

    `state` is what to tell (opened, acted, mended, handed-over) or an IncidentState, told as TELLS_OF has it.
    Within the caller's transaction: no notice without its cause, no cause without its notice.
    """
    tells = TELLS_OF[state]
    if tells is None:
        return 0
    told = await notices.of_incident(tenant, db, incident.id)
    under_way = await changes.read(tenant, db, now, now + timedelta(microseconds=1))
    seen = Surroundings(under_way, await incidents.active(tenant, db), told)
    drafts = [Draft(incident, tells, level, channel) for channel in settings.alert_channels]
    for stage in STAGES:
        kept = stage(drafts, seen)
        for draft in drafts:
            if draft not in kept:
                log.info(
                    "notice dropped", stage=stage.__name__, incident=incident.id, state=tells, channel=draft.channel
                )
        drafts = kept
    story = Story(incident, tells, causes, actions, verdicts, now)
    written = [_worded(tenant, draft, story, told) for draft in drafts]
    return await notices.put(tenant, db, written) if written else 0


def _worded(tenant: str, draft: Draft, story: Story, told: Sequence[Notice]) -> Notice:
    before = min((notice for notice in told if notice.channel == draft.channel), key=_created, default=None)
    return Notice(
        tenant=tenant,
        incident=draft.incident.id,
        incident_state=draft.state,
        level=draft.level,
        channel=draft.channel,
        subject=f"Re: {before.subject.removeprefix('Re: ')}" if before else subject(story),
        body=plain(story),
        html=rich(story) if draft.channel == "email" else "",
        created=story.now,
        next_attempt=story.now,
    )


def _created(notice: Notice) -> float:
    return notice.created.timestamp() if notice.created else 0.0


async def send_due(warehouse: Warehouse, settings: Settings, clock: Clock, holder: str) -> int:
    """Send what is due in the tenant's outbox; returns how many notices were taken by their channel.

    Raises WarehouseError: nothing could be leased. A channel that fails raises nothing: its notices stay.
    """
    # As the tenant and not as the dispatcher: the receivers in these settings may be told of no other tenant.
    async with warehouse.as_tenant(settings.tenant) as db:
        due = await notices.lease_due(db, clock.now(), holder, LEASE_S, BATCH)
    if not due:
        return 0
    async with AsyncExitStack() as stack:
        return await Sender(warehouse, await _channels(settings, stack), clock).send(due)


async def _channels(settings: Settings, stack: AsyncExitStack) -> dict[str, Channel]:
    """The channels that are switched on and set up; a notice for another waits until its channel is."""
    found: dict[str, Channel] = {}
    if "email" in settings.alert_channels and settings.smtp_url is not None and settings.mail_to:
        try:
            server = Server.from_url(settings.smtp_url.get_secret_value())
            found["email"] = Email(server, settings.mail_from, settings.mail_to)
        except SettingsError as error:
            log.warning("e-mail is not set up", error=str(error))
    if "slack" in settings.alert_channels and settings.slack_webhook_url is not None:
        url = settings.slack_webhook_url.get_secret_value()
        found["slack"] = await stack.enter_async_context(Slack.opened(url))
    return found


class Sender:
    """Takes leased notices to their channels, each channel by itself so that none waits for another."""

    def __init__(self, warehouse: Warehouse, channels: Mapping[str, Channel], clock: Clock) -> None:
        self._warehouse = warehouse
        self._channels = channels
        self._clock = clock

    async def send(self, due: Sequence[tuple[str, str]]) -> int:
        """Send the notices (tenant, id); returns how many were taken."""
        by_channel: dict[str, list[Notice]] = defaultdict(list)
        for tenant, notice_id in due:
            async with self._warehouse.as_tenant(tenant) as db:
                notice = await notices.get(tenant, db, notice_id)
            if notice is not None and notice.state is NoticeState.PENDING:
                by_channel[notice.channel].append(notice)
        return sum(await asyncio.gather(*(self._send_all(name, waiting) for name, waiting in by_channel.items())))

    async def _send_all(self, name: str, waiting: Sequence[Notice]) -> int:
        sent = 0
        away: ChannelError | None = None
        for notice in sorted(waiting, key=_created):
            if away is not None:
                await self._mark_failed(notice, away)
                continue
            try:
                sent += await self._send(name, notice)
            except ChannelError as error:
                # A channel that is away is asked once in a batch: each more would wait for its time-out.
                away = error
                await self._mark_failed(notice, error)
        return sent

    async def _send(self, name: str, notice: Notice) -> bool:
        """Whether the channel took the notice. Raises ChannelError: it may later."""
        channel = self._channels.get(name)
        if channel is None:
            raise ChannelError(f"{name} is not set up: set its settings (docs/gateway.md)")
        try:
            await channel.send(notice)
        except ChannelRefused as error:
            await self._mark(notice, refused=str(error))
            return False
        except ChannelError:
            raise
        except Exception as error:  # noqa: BLE001 - one notice that no channel can digest must not hold up the others
            await self._mark_failed(notice, ChannelError(f"{name} failed with {type(error).__name__}"))
            return False
        await self._mark(notice, refused=None)
        return True

    async def _mark(self, notice: Notice, *, refused: str | None) -> None:
        try:
            async with self._warehouse.as_tenant(notice.tenant) as db:
                if refused is None:
                    await notices.mark_sent(notice.tenant, db, notice.id, self._clock.now())
                else:
                    await notices.mark_refused(notice.tenant, db, notice.id, refused)
        except WarehouseError as error:  # the lease ends, it is sent again, and its receiver sees the same id
            log.warning("notice not marked", notice=notice.id, error=str(error))
            return
        log.info("notice refused" if refused else "notice sent", notice=notice.id, reason=refused)

    async def _mark_failed(self, notice: Notice, problem: ChannelError) -> None:
        again = self._clock.now() + timedelta(seconds=wait_s(notice, problem.retry_after))
        log.warning("notice put off", notice=notice.id, channel=notice.channel, until=str(again), error=str(problem))
        try:
            async with self._warehouse.as_tenant(notice.tenant) as db:
                await notices.mark_failed(notice.tenant, db, notice.id, str(problem), again)
        except WarehouseError as error:  # the lease ends by itself and the notice is due again
            log.warning("notice not marked", notice=notice.id, error=str(error))


def wait_s(notice: Notice, retry_after: float | None = None) -> float:
    """Seconds until the next attempt: doubling from 2 to 60, spread by a fifth (the same for the same attempt)."""
    doubled = min(FIRST_WAIT_S * 2.0 ** min(notice.attempts, 10), LONGEST_WAIT_S)
    spread = random.Random(f"{notice.id}:{notice.attempts}").uniform(0.8, 1.2)  # noqa: S311 - no secret hangs on it
    return max(doubled * spread, retry_after or 0.0)
