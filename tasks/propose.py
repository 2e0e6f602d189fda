"""Proposes a model that is to be champion: a promotion is kept, and people are told with links to answer it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.links import HEADING, MODELS, MODELS_WAIT, place
from tonewatch.records import ActKind, Notice, digest
from warehouse import audit, notices, promotions
from warehouse.database import Connection
from warehouse.promotions import Move, Promotion, Stage
from warehouse.validations import Validation

#: Who promotes what a validation has shown to be better, in the audit.
WHO = "validation"
#: Codes: why one was refused, as others than its tenant read it, in their rows, in MLflow and in Prefect.
NO = "a person said no"
UNANSWERED = "not approved: nobody had answered by then"
RETIRED = "it is retired: it may not score any more"
UNFIT = "it does not fit here any more"
WORSE = "recorded incidents get worse"
AGAIN = "it was champion before and was taken back"
#: States that a notice of a model tells of; "proposed" is loud on every channel.
PROPOSED, OUTCOME = "proposed", "outcome"


def proposal(of: Validation, reasons: Sequence[str], now: datetime, *, ask: bool) -> Promotion:
    """The promotion of a validation's challenger. ask: whether a person must say yes, within MODELS_WAIT."""
    return Promotion(
        id=digest("promotion", of.id),
        family=of.family,
        version=of.challenger,
        before=of.champion,
        what=Move.PROMOTE,
        who=WHO,
        reason="; ".join(reasons),
        state=Stage.WAITING if ask else Stage.APPROVED,
        asked=now,
        validation=of.id,
        expires=now + MODELS_WAIT if ask else None,
    )


def code(told: str) -> str:
    """The code of what a row tells of its refusal."""
    return next((each for each in (UNANSWERED, RETIRED, UNFIT, WORSE, AGAIN) if told.startswith(each)), NO)


async def propose(tenant: str, db: Connection, made: Promotion, channels: Sequence[str]) -> bool:
    """Keep the promotion, and ask people where it waits for them; False: it was kept before."""
    if not await promotions.put(tenant, db, made):
        return False
    if made.state is Stage.WAITING:
        await notices.put(tenant, db, [_asking(tenant, made, channel) for channel in channels])
    return True


async def end(
    tenant: str, db: Connection, of: Promotion, stage: Stage, told: str, channels: Sequence[str], now: datetime
) -> bool:
    """Note how it has ended, in its row and the audit, and tell those who were asked; False: it had ended before."""
    if not await promotions.change(tenant, db, of.id, stage, now, told):
        return False
    await audit.write(
        tenant,
        db,
        who=of.who,
        what=f"model.{stage}",
        subject=of.family,
        before={"champion": of.before},
        after={"promotion": of.id, "version": of.version},
        reason=told,
        at=now,
    )
    if of.expires is not None:
        await tell(tenant, db, of, f"is {stage}", [told], channels, now)
    return True


async def tell(
    tenant: str,
    db: Connection,
    of: Promotion,
    what: str,
    lines: Sequence[str],
    channels: Sequence[str],
    now: datetime,
    *,
    state: str = OUTCOME,
) -> None:
    """Tell on the tenant's channels what has become of a promotion, once per `state`."""
    subject = f"[models] {of.family}: version {of.version} {what}"
    head = f"{of.family} of {tenant}: version {of.version} {what}."
    body = "\n".join([head, *(f"  {each}" for each in lines), "", "tonewatch models list", ""])
    await notices.put(tenant, db, [_notice(tenant, of, channel, state, subject, body, now) for channel in channels])


def _asking(tenant: str, of: Promotion, channel: str) -> Notice:
    assert of.expires is not None  # noqa: S101 - what waits has a time until when
    lines = [
        f"{of.family} of {tenant}: version {of.version} is to take the place of {of.before}, which is champion now:",
        f"  {of.reason}",
        f"It judges once you approve it, until {of.expires:%Y-%m-%d %H:%M} UTC. Without an answer {of.before} stays.",
        "",
        HEADING,
        f"  Promote it: {place(ActKind.APPROVE)}",
        f"  Reject it: {place(ActKind.VETO)}",
        "",
        f"tonewatch models approve {of.family} {of.version} --reason WHY",
        f"tonewatch models reject {of.family} {of.version} --reason WHY",
        "",
    ]
    subject = f"[models] {of.family}: version {of.version} waits for your yes"
    return _notice(tenant, of, channel, PROPOSED, subject, "\n".join(lines), of.asked)


def _notice(tenant: str, of: Promotion, channel: str, state: str, subject: str, body: str, now: datetime) -> Notice:
    return Notice(
        tenant=tenant,
        incident=f"{MODELS}{of.id}",  # no incident: what is told of one promotion is one thread
        incident_state=state,
        level="L1",
        channel=channel,
        subject=subject,
        body=body,
        created=now,
        next_attempt=now,
    )
