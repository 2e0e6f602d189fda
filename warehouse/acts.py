"""What a person does with an incident, in one transaction: the label, the audit line and what follows at once.

The watcher takes the act up with its next tick (tasks/heed.py); an ack stops the escalation here and now.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tonewatch import acts
from tonewatch.errors import ActRefused, SettingsError, UnknownIncident
from tonewatch.records import ENTITY_ID, Action, ActKind, Approval, CauseKind, Incident, Label, digest
from warehouse import actions, approvals, audit, escalations, incidents, labels, questions, tenants, used_links
from warehouse.database import Connection, Warehouse

#: Acts on an action; the others are on the incident.
_OF_ACTIONS = frozenset({ActKind.APPROVE, ActKind.VETO})
_NAME = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]{0,98}[^\s\x00-\x1f\x7f])?")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants to do. `verdict` and `cause` belong to CLOSE; `action`: the key of the only action that a yes
    or a no may be taken for, empty for whichever is proposed.
    """

    kind: ActKind
    incident: str
    who: str
    reason: str = ""
    verdict: str = ""
    cause: str | None = None
    action: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What was done: the labels kept, the approval if it was one, and the lines that tell the person."""

    incident: str
    labels: tuple[Label, ...]
    told: tuple[str, ...]
    approval: Approval | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    """What an act is held against."""

    incident: Incident
    action: Action | None
    labels: Sequence[Label]
    clock: escalations.Escalation | None
    approvals: Sequence[Approval]
    cause: str  # the likeliest, entity:kind; empty: none is named

    def said(self, value: str, subject: str | None = None) -> str:
        """Who has done this act before, or empty."""
        of = subject or self.incident.id
        return next((label.who for label in self.labels if (label.value, label.subject) == (value, of)), "")


@dataclass(frozen=True, slots=True)
class Outlook:
    """What an act would be held against now: the incident, the action that waits for an answer, and why the act would
    be refused; empty: it would be done.
    """

    incident: Incident
    action: Action | None
    refusal: str


async def outlook(tenant: str, warehouse: Warehouse, wish: Wish, now: datetime, link: str = "") -> Outlook:
    """What would become of the act at `now`. Changes nothing. Raises as `do` does, but for ActRefused."""
    check(wish)
    async with warehouse.as_tenant(tenant) as db:
        case = await _case(tenant, db, wish)
        used = bool(link) and await used_links.was_used(tenant, db, link)
        refusal = used_links.USED if used else _by_link(case, wish, link) or _refusal(case, wish, now)
    return Outlook(case.incident, case.action, refusal or "")


async def do(tenant: str, warehouse: Warehouse, wish: Wish, now: datetime, link: str = "") -> Done:
    """Do it at `now`, or raise and leave everything as it was. `link`: the id of the link that it came by, if any.

    Raises UnknownTenant; UnknownIncident; ActRefused: the incident's state does not allow it, or it was done already;
    SettingsError: a name, verdict or cause that is none; WarehouseAway.
    """
    check(wish)
    async with warehouse.as_tenant(tenant) as db:
        case = await _case(tenant, db, wish)
        fresh = not link or await used_links.use(tenant, db, link, now)
        refusal = used_links.USED if not fresh else _by_link(case, wish, link) or _refusal(case, wish, now)
        if refusal:
            raise ActRefused(f"{wish.kind} of incident {wish.incident} is refused: {refusal}")
        guardrails = (await tenants.profile(tenant, db)).guardrails
        done = _done(case, wish, now, timedelta(seconds=guardrails.approval_seconds))
        if await labels.put(tenant, db, done.labels) < len(done.labels):
            raise ActRefused(f"{wish.kind} of incident {wish.incident} was done already")
        await labels.saw(tenant, db, wish.incident, done.labels)
        if any(label.value.startswith("verdict:") for label in done.labels):
            await questions.answered(tenant, db, wish.incident, now)
        if done.approval is not None:
            await approvals.put(tenant, db, done.approval)
        await escalations.stop(tenant, db, wish.incident, wish.kind.value, now)
        await _audit(tenant, db, case, wish, done, now)
    return done


def check_name(who: str) -> None:
    """Raise SettingsError: no name of a person."""
    if not _NAME.fullmatch(who):
        raise SettingsError(f"{who!r} is no name of a person: 1 to 100 characters on one line (--as)")


def check(wish: Wish) -> None:
    """Raise SettingsError: a name, verdict or cause that is none."""
    check_name(wish.who)
    if wish.kind is ActKind.CLOSE and wish.verdict not in acts.VERDICTS:
        raise SettingsError(f"{wish.verdict!r} is no verdict; known are {', '.join(acts.VERDICTS)}")
    if wish.cause is not None:
        entity, _, kind = wish.cause.rpartition(":")
        if kind not in set(CauseKind) or not ENTITY_ID.fullmatch(entity):
            raise SettingsError(
                f"{wish.cause!r} is no cause: write entity:kind, e.g. component:packager:hang; "
                f"kinds are {', '.join(CauseKind)}"
            )


async def _case(tenant: str, db: Connection, wish: Wish) -> _Case:
    """Raises UnknownTenant, UnknownIncident. Acts on one incident wait for one another here."""
    await tenants.get(tenant, db)
    incident = await incidents.hold(tenant, db, wish.incident)
    if incident is None:
        raise UnknownIncident(f"tenant {tenant} has no incident {wish.incident!r}: see `tonewatch incidents list`")
    proposed = acts.proposal(await actions.of_incident(tenant, db, incident.id))
    named = await incidents.causes(tenant, db, incident.id)
    return _Case(
        incident,
        proposed,
        await labels.of_incident(tenant, db, incident.id),
        await escalations.get(tenant, db, incident.id),
        await approvals.of_action(tenant, db, proposed.key) if proposed else [],
        named[0].name if named else "",
    )


def _by_link(case: _Case, wish: Wish, link: str) -> str | None:
    """A link knows an address, no person: whether that is who asked for the action it can not tell."""
    asked = acts.requester(case.action) if case.action else acts.REQUESTER
    if not link or wish.kind is not ActKind.APPROVE or asked == acts.REQUESTER:
        return None
    return f"{asked} asked for it: whoever approves it must do so by name (`tonewatch incidents approve`)"


def _refusal(case: _Case, wish: Wish, now: datetime) -> str | None:
    vetoed_by = case.said(ActKind.VETO, case.action.key) if case.action else ""
    if wish.kind is ActKind.ACK:
        return acts.why_not_ack(case.incident, _answered(case))
    if wish.action and wish.kind in _OF_ACTIONS and (case.action is None or case.action.key != wish.action):
        return "that action does not wait for an answer any more"
    if wish.kind is ActKind.APPROVE:
        return acts.why_not_approve(case.incident, case.action, wish.who, case.approvals, vetoed_by, now)
    if wish.kind is ActKind.VETO:
        return acts.why_not_veto(case.incident, case.action, vetoed_by)
    if wish.kind is ActKind.NOT_THE_CAUSE and not case.cause:
        return "no cause is named: there is none to doubt"
    if judged := _judged(case, wish):
        return acts.why_not_judge(case.labels, wish.who, judged)
    return acts.why_not_close(case.incident, case.said(ActKind.CLOSE))


def _judged(case: _Case, wish: Wish) -> str:
    """What a judging act says, as a label's value; empty: it is another act."""
    if wish.kind is ActKind.NOT_THE_CAUSE:
        return f"not-cause:{case.cause}"
    return acts.JUDGES.get(wish.kind, "")


def _answered(case: _Case) -> str:
    """What has stopped the escalation; without a clock an ack that was given. Silenced ones can be acked once, too."""
    if case.clock is not None:
        return case.clock.stopped_by
    by = case.said(ActKind.ACK)
    return f"ack by {by}" if by else ""


def _done(case: _Case, wish: Wish, now: datetime, approval_lasts: timedelta) -> Done:
    incident = case.incident
    if wish.kind is ActKind.ACK:
        round_ = case.clock.since.isoformat() if case.clock else ""
        label = _label(wish, "incident", incident.id, now, round_)
        return Done(incident.id, (label,), (f"{wish.who} is at incident {incident.id}: nobody further is called",))
    if wish.kind is ActKind.CLOSE:
        return _closed(incident, wish, now)
    if judged := _judged(case, wish):
        return _said(case, wish, judged, now)
    action = case.action
    assert action is not None  # noqa: S101 - tells mypy what _refusal has made sure of
    label = _label(wish, "action", action.key, now, str(len(case.approvals)))
    what = f"{action.runbook} of {action.target} (attempt {action.attempt})"
    if wish.kind is ActKind.VETO:
        return Done(incident.id, (label,), (f"{wish.who} said no to {what}",))
    expires = now + approval_lasts
    approval = Approval(label.id, action.key, acts.requester(action), wish.who, wish.reason, now, expires)
    others = [f"  {answer.guard} had said no: {answer.reason}" for answer in action.guards if not answer.allowed]
    told = f"{wish.who} said yes to {what}, once, until {expires:%H:%M:%S} UTC; every other guard is asked again"
    return Done(incident.id, (label,), (told, *others), approval)


def _closed(incident: Incident, wish: Wish, now: datetime) -> Done:
    first = _label(wish, "incident", incident.id, now)
    further = [f"verdict:{wish.verdict}", *([f"cause:{wish.cause}"] if wish.cause else [])]
    spoken = [replace(first, id=digest(first.id, value), value=value) for value in further]
    told = f"{wish.who} closed incident {incident.id}: {wish.verdict}{f', {wish.cause}' if wish.cause else ''}"
    return Done(incident.id, (first, *spoken), (told,))


def _said(case: _Case, wish: Wish, value: str, now: datetime) -> Done:
    """Whoever changes his mind, and back again, is heard each time."""
    before = sum(label.who == wish.who for label in case.labels)
    first = _label(wish, "incident", case.incident.id, now, f"{wish.who} {before}")
    told = f"{wish.who} says of incident {case.incident.id}: {value.partition(':')[2]}"
    if wish.kind is ActKind.NOT_THE_CAUSE:
        told = f"{wish.who} says that {case.cause} is not the cause of incident {case.incident.id}"
    return Done(case.incident.id, (first, replace(first, id=digest(first.id, value), value=value)), (told,))


def _label(wish: Wish, subject_kind: str, subject: str, now: datetime, round_: str = "") -> Label:
    """`round_`: the same act may be right again, when an approval has expired or an incident has come back."""
    id_ = digest(subject_kind, subject, wish.kind.value, round_)
    return Label(id_, subject_kind, subject, wish.kind.value, wish.who, wish.reason, now)


async def _audit(tenant: str, db: Connection, case: _Case, wish: Wish, done: Done, now: datetime) -> None:
    after: dict[str, Any] = {"labels": [label.value for label in done.labels]}
    if case.action is not None and wish.kind in _OF_ACTIONS:
        after["action"] = case.action.key
    if done.approval is not None:
        after["expires"] = done.approval.expires
    await audit.write(
        tenant,
        db,
        who=wish.who,
        what=f"incident.{wish.kind}",
        subject=wish.incident,
        before={"state": case.incident.state.value},
        after=after,
        reason=wish.reason,
        at=now,
    )
