"""Tells people: from an incident's change of state to a message that its channel has taken.

The stages are alertmanager's, in its order, and end in the outbox: a notice is written in the transaction that changes
the incident, and sent by whoever leases it. It may be sent twice (a crash between sending and marking), never not at
all; a repeat carries the same id. What waited while its channel was away goes out as one notice with the newest state.
What nobody answers climbs from L1 to L3 by a clock in the database.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import structlog

from gateway.channels import Channel
from gateway.channels.email import Email, Server
from gateway.channels.slack import Slack, SlackBot
from gateway.links import Links, Signer
from policy.escalation import due_level, higher
from tasks.compose import GOOD_ENDS, HEADLINES, Story, Ways, collected, plain, rich, subject
from tonewatch import secrets
from tonewatch.availability import STARTUP_ALLOWED_MS
from tonewatch.clock import Clock
from tonewatch.errors import ChannelError, ChannelRefused, SettingsError, StateFolderError, WarehouseError
from tonewatch.records import (
    Action,
    Cause,
    CauseKind,
    Change,
    Evidence,
    Incident,
    IncidentState,
    Notice,
    NoticeState,
    Verdict,
)
from tonewatch.settings import LOOPBACK, Escalation, Settings
from tonewatch.topology import Topology
from warehouse import actions as actions_kept
from warehouse import changes, entities, escalations, evidence, incidents, notices, sessions, tenants
from warehouse import verdicts as verdicts_kept
from warehouse.database import Connection, Warehouse
from warehouse.sessions import Audience

#: Notices leased at once, and for how long: so long a notice waits whose sender died with it.
BATCH: Final = 10
LEASE_S: Final = 60
FIRST_WAIT_S: Final = 2.0
LONGEST_WAIT_S: Final = 60.0
_GRAVITY: Final = {"minor": 0, "major": 1, "critical": 2}
_UNDER_WAY: Final = frozenset(
    {IncidentState.OPEN, IncidentState.DIAGNOSED, IncidentState.ACTING, IncidentState.VERIFYING}
)
#: What work on a part can look like. Another fault of that part, a bad release say, is not hidden by it.
_LOOKS_LIKE_WORK: Final = frozenset(
    {
        CauseKind.PLANNED_WORK,
        CauseKind.CRASH,
        CauseKind.HANG,
        CauseKind.OVERLOAD,
        CauseKind.LATENCY,
        CauseKind.LOSS,
        CauseKind.SOURCE_SILENT,
        CauseKind.UNKNOWN,
    }
)
#: After these a further notice calls again: what was approved went wrong, what was mended came back.
_CALLED_AGAIN_AFTER: Final = frozenset({"approve", "mended"})

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
    """What the stages look at besides the drafts: changes and incidents under way, what was `told` of this one, and
    its likeliest `cause`.
    """

    changes: Sequence[Change]
    active: Sequence[Incident]
    told: Sequence[Notice]
    cause: Cause | None = None


Stage = Callable[[list[Draft], Surroundings], list[Draft]]


def silence(drafts: list[Draft], seen: Surroundings) -> list[Draft]:
    """Drop what announced maintenance explains: its parts alone are hit, and the cause is one of them and looks it.

    Where the diagnosis itself names the work, what is felt elsewhere is explained as well.
    """
    silent = {change.entity for change in seen.changes if change.kind == "maintenance"}
    cause = seen.cause
    if cause is not None and (cause.kind not in _LOOKS_LIKE_WORK or cause.entity not in silent):
        return drafts
    if cause is not None and cause.kind is CauseKind.PLANNED_WORK:
        return []
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
    return [draft for draft in drafts if _is_news(draft, [n for n in seen.told if n.channel == draft.channel])]


def _is_news(draft: Draft, told: Sequence[Notice]) -> bool:
    """Whether the draft says something new after `told`, the incident's notices on this channel in their order."""
    if not told:
        return draft.state not in GOOD_ENDS
    if all(higher(draft.level, notice.level) for notice in told):
        return True
    if draft.state == "opened":  # after a deed it tells nothing new; after a good end it is back
        return told[-1].incident_state in GOOD_ENDS
    return told[-1].incident_state != draft.state


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
) -> int:
    """Write the notices of `incident` being `state` into the outbox; returns how many are new.

    `state` is what to tell (opened, proposed, acted, mended, handed-over) or an IncidentState, told as TELLS_OF has
    it. The incident must be kept already. Within the caller's transaction: no notice without its cause, no cause
    without its notice. They go to the highest level that was called, and the first of them starts the clock of
    escalation.
    """
    tells = TELLS_OF[state]
    if tells is None or not settings.alert_channels:
        return 0
    # First of all, since it holds the clock: a step up at the same moment comes wholly before this, or after it.
    clock = await escalations.get(tenant, db, incident.id)
    told = await notices.of_incident(tenant, db, incident.id)
    level = max((notice.level for notice in told), default="L1")
    story = Story(incident, tells, causes, actions, verdicts, now, level=level, ways=ways(settings))
    put = await _put(tenant, db, story, told, settings)
    await _set_clock(tenant, db, story, clock, put)
    return put


def ways(settings: Settings) -> Ways:
    """How who gets a notice of this stack can answer it."""
    address = settings.gateway_url
    here_only = address is not None and urlsplit(address).hostname in LOOPBACK
    return Ways(address is not None, here_only, str(settings.named_state_dir or ""))


async def _put(tenant: str, db: Connection, story: Story, told: Sequence[Notice], settings: Settings) -> int:
    """Send the story's drafts through the stages and put what is left into the outbox; gives how many were new."""
    incident, now = story.incident, story.now
    under_way = await changes.read(tenant, db, now, now + timedelta(microseconds=1))
    cause = min(story.causes, key=lambda each: each.rank, default=None)
    seen = Surroundings(under_way, await incidents.active(tenant, db), told, cause)
    drafts = [Draft(incident, story.state, story.level, channel) for channel in settings.alert_channels]
    for stage in STAGES:
        kept = stage(drafts, seen)
        for draft in drafts:
            if draft not in kept:
                what = {"stage": stage.__name__, "incident": incident.id, "state": story.state}
                log.debug("notice dropped", channel=draft.channel, **what)
        drafts = kept
    if not drafts:
        return 0
    story = replace(story, audience=await _audience(tenant, db, incident, cause, now))
    return await notices.put(tenant, db, [_worded(tenant, draft, story, told) for draft in drafts])


async def _audience(
    tenant: str, db: Connection, incident: Incident, cause: Cause | None, now: datetime
) -> list[Audience]:
    """How many sessions lost sound since the onset, on the channels that feel it (on all, when none is known)."""
    topology = Topology(await entities.load(tenant, db, now))
    parts = [cause.entity] if cause else list(incident.entities)
    felt = {channel for part in parts for channel in topology.felt_by(part)}
    found = await sessions.audience(tenant, db, incident.onset, now, STARTUP_ALLOWED_MS)
    return [each for each in found if not felt or each.channel in felt]


def _worded(tenant: str, draft: Draft, story: Story, told: Sequence[Notice]) -> Notice:
    before = min((notice for notice in told if notice.channel == draft.channel), key=_created, default=None)
    same = [n for n in told if (n.incident_state, n.level, n.channel) == (draft.state, draft.level, draft.channel)]
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
        round=len(same) + 1,
    )


async def _set_clock(tenant: str, db: Connection, story: Story, clock: escalations.Escalation | None, put: int) -> None:
    """Start, stop or restart the incident's clock of escalation, as what was told asks for."""
    incident, now = story.incident.id, story.now
    if story.state in GOOD_ENDS:
        mended = story.state == "mended"
        await escalations.stop(tenant, db, incident, "mended" if mended else "closed", now, anew=mended)
    elif clock is None:
        # Silenced and inhibited incidents have one, too: they are told when what held them back is over.
        try:
            policy = (await tenants.profile(tenant, db)).escalation.model_dump()
        except SettingsError as error:  # settings that no longer fit must not keep anybody from being told
            log.warning("%s: the usual times of escalation are used: %s", tenant, error)
            policy = Escalation().model_dump()
        await escalations.begin(tenant, db, incident, story.level if put else "none", now, policy)
    elif put and (clock.level == "none" or (clock.stopped_by in _CALLED_AGAIN_AFTER and story.state != "acted")):
        await escalations.restart(tenant, db, incident, story.level, now)


async def escalate(tenant: str, db: Connection, settings: Settings, now: datetime) -> int:
    """Tell the next level of what nobody has answered, and L1 of what nothing holds back any more.

    Returns how many notices are new. The step up and its notices are one transaction: a crash loses neither, and
    of two watchers one does it.
    """
    put = 0
    for clock in await escalations.running(tenant, db):
        incident = await incidents.get(tenant, db, clock.incident)
        tells = TELLS_OF[incident.state] if incident else None
        if incident is None or tells in {None, "mended"}:
            await escalations.stop(tenant, db, clock.incident, incident.state if incident else "gone", now)
            continue
        put += await _climb(tenant, db, incident, str(tells), clock, settings, now)
    return put


async def _climb(
    tenant: str,
    db: Connection,
    incident: Incident,
    tells: str,
    clock: escalations.Escalation,
    settings: Settings,
    now: datetime,
) -> int:
    called = clock.level != "none"
    policy = Escalation.model_validate(clock.policy)
    level = due_level(now - clock.since, incident.severity, policy) if called else "L1"
    if not higher(level, clock.level):
        return 0
    story = Story(
        incident,
        tells,
        await incidents.causes(tenant, db, incident.id),
        await actions_kept.of_incident(tenant, db, incident.id),
        await verdicts_kept.of_incident(tenant, db, incident.id),
        now,
        level=level,
        unanswered_since=clock.since if called else None,
        ways=ways(settings),
    )
    put = await _put(tenant, db, story, await notices.of_incident(tenant, db, incident.id), settings)
    if put and called:
        await escalations.climb(tenant, db, incident.id, level)
        log.info("nobody has answered", incident=incident.id, level=level)
    elif put:
        await escalations.restart(tenant, db, incident.id, level, now)
    return put


def _created(notice: Notice) -> float:
    return notice.created.timestamp() if notice.created else 0.0


async def send_due(warehouse: Warehouse, settings: Settings, clock: Clock, holder: str) -> int:
    """Send what is due in the tenant's outbox; returns how many notices were taken by their channel.

    Raises WarehouseError: nothing could be leased. A channel that fails raises nothing: its notices stay.
    """
    tenant = settings.tenant
    # As the tenant and not as the dispatcher: the receivers in these settings may be told of no other tenant.
    async with warehouse.as_tenant(tenant) as db:
        await escalate(tenant, db, settings, clock.now())
        await collapse(tenant, db)
    async with warehouse.as_tenant(tenant) as db:
        due = await notices.lease_due(db, clock.now(), holder, LEASE_S, BATCH)
    if not due:
        return 0
    async with AsyncExitStack() as stack:
        return await Sender(warehouse, await _channels(warehouse, settings, stack), clock).send(due)


async def collapse(tenant: str, db: Connection) -> int:
    """Let the newest notice of an incident stand for those that waited with it for a channel that was away.

    Returns for how many incidents and channels. The thread stays: every notice of an incident has the same one.
    """
    found = await notices.supersede(tenant, db)
    for incident, channel in found:
        told = [n for n in await notices.of_incident(tenant, db, incident) if n.channel == channel]
        newest = told[-1]
        out = [index for index, notice in enumerate(told) if notice.state is NoticeState.SENT]
        waited = [n for n in told[out[-1] + 1 if out else 0 :] if n.state is NoticeState.SUPERSEDED]
        if newest.state is NoticeState.PENDING and waited:
            await notices.reword(tenant, db, collected(newest, waited, first=not out))
        log.info("notices put together", incident=incident, channel=channel, notices=len(waited) + 1)
    return len(found)


async def _channels(warehouse: Warehouse, settings: Settings, stack: AsyncExitStack) -> dict[str, Channel]:
    """The channels that are switched on and set up; a notice for another waits until its channel is."""
    found: dict[str, Channel] = {}
    links = _links(settings)
    if "email" in settings.alert_channels and settings.smtp_url is not None and settings.mail_to:
        try:
            server = Server.from_url(settings.smtp_url.get_secret_value())
            further = {"L2": settings.mail_to_l2, "L3": settings.mail_to_l3}
            images = partial(_images, warehouse)
            found["email"] = Email(
                server, settings.mail_from, settings.mail_to, further=further, images=images, links=links
            )
        except SettingsError as error:
            log.warning("e-mail is not set up", error=str(error))
    if "slack" in settings.alert_channels:
        slack = await _slack(settings, links, stack)
        found |= {"slack": slack} if slack is not None else {}
    return found


def _links(settings: Settings) -> Links | None:
    """What writes links into notices; None: nobody knows where the gateway is reached, or the stack's key."""
    if settings.gateway_url is None:
        return None
    try:
        return Links(Signer(secrets.load(settings.state_dir).root_key), settings.gateway_url)
    except StateFolderError as error:
        log.warning("notices go out without links", error=str(error))
        return None


async def _images(warehouse: Warehouse, tenant: str, ids: Sequence[str]) -> list[Evidence]:
    """The images that are still kept; a mail without one says in words what it showed."""
    async with warehouse.as_tenant(tenant) as db:
        found = [await evidence.get(tenant, db, id_) for id_ in ids]
    return [each for each in found if each is not None and each.media_type.startswith("image/")]


async def _slack(settings: Settings, links: Links | None, stack: AsyncExitStack) -> Channel | None:
    """The bot, which can update what it wrote, before the webhook, which cannot."""
    if settings.slack_bot_token is not None and settings.slack_channel:
        token = settings.slack_bot_token.get_secret_value()
        return await stack.enter_async_context(SlackBot.opened(token, settings.slack_channel, links))
    if settings.slack_webhook_url is not None:
        return await stack.enter_async_context(Slack.opened(settings.slack_webhook_url.get_secret_value(), links))
    return None


class Sender:
    """Takes leased notices to their channels, each channel by itself so that none waits for another."""

    def __init__(self, warehouse: Warehouse, channels: Mapping[str, Channel], clock: Clock) -> None:
        self._warehouse = warehouse
        self._channels = channels
        self._clock = clock
        #: How each channel knows the message that shows an incident, where it can update it.
        self._shown: dict[tuple[str, str, str], str] = {}

    async def send(self, due: Sequence[tuple[str, str]]) -> int:
        """Send the notices (tenant, id); returns how many were taken."""
        by_channel: dict[str, list[Notice]] = defaultdict(list)
        for tenant, notice_id in due:
            async with self._warehouse.as_tenant(tenant) as db:
                notice = await notices.get(tenant, db, notice_id)
                told = await notices.of_incident(tenant, db, notice.incident) if notice else []
            if notice is not None and notice.state is NoticeState.PENDING:
                by_channel[notice.channel].append(notice)
                self._shown |= {(tenant, n.incident, n.channel): n.receipt for n in told if n.receipt}
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
        thread = (notice.tenant, notice.incident, notice.channel)
        try:
            receipt = await channel.send(replace(notice, receipt=self._shown.get(thread, ""))) or ""
        except ChannelRefused as error:
            await self._mark(notice, "", refused=str(error))
            return False
        except ChannelError:
            raise
        except Exception as error:  # noqa: BLE001 - one notice that no channel can digest must not hold up the others
            await self._mark_failed(notice, ChannelError(f"{name} failed with {type(error).__name__}"))
            return False
        self._shown[thread] = receipt
        await self._mark(notice, receipt, refused=None)
        return True

    async def _mark(self, notice: Notice, receipt: str, *, refused: str | None) -> None:
        try:
            async with self._warehouse.as_tenant(notice.tenant) as db:
                if refused is None:
                    await notices.mark_sent(notice.tenant, db, notice.id, self._clock.now(), receipt)
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
