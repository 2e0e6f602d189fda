"""Step 7a: choose a remedy for the first cause and ask every guardrail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from gateway.platforms.remedies import Look
from policy import autonomy, guardrails, runbooks
from policy.guardrails import Moment
from tasks.survey import Site, survey, target_state
from tonewatch.records import Action, ActionState, Approval, Cause, GuardAnswer, Incident, Verdict
from tonewatch.settings import Profile
from warehouse.database import Connection

_BEGUN = frozenset({ActionState.STARTED, ActionState.FINISHED, ActionState.FAILED})
#: Refusals that a few more readings may lift; any other is an answer.
PASSING = frozenset({"steady-fault", "fresh-data"})
#: Guards that rest on readings: as long as those are old, their no says that nothing is known, not that it is so.
_BLIND = frozenset({"blast-radius", "dependency-order"})


def draft(cause: Cause, profile: Profile, look: Look | None, earlier: Sequence[Action], now: datetime) -> Action | None:
    """The action that is right for `cause`, intended at `now`; None when no runbook fits.

    It keeps what it was decided on, so that it is seen when somebody else is quicker, and what undo goes back to.
    A proposal that was not begun keeps its attempt, and so its key: what a person approves is what is done.
    """
    runbook = runbooks.for_cause(cause.kind)
    if runbook is None:
        return None
    grant = autonomy.granted(profile, runbook.name, cause)
    state = target_state(look)
    tried = [a for a in earlier if (a.runbook, a.target) == (runbook.name, cause.entity) and a.state in _BEGUN]
    parameters = {"granted_by": grant.granted_by, "grant": grant.reason} if grant else {}
    if look is not None and state is not None:
        parameters |= {"prior": look.prior, "decided_on": state.fingerprint}
        parameters |= {"pid": str(state.pid)} if state.pid else {}
        parameters |= {"wanted": state.previous} if state.previous else {}
    return Action(
        incident=cause.incident,
        runbook=runbook.name,
        target=cause.entity,
        attempt=len(tried) + 1,
        state=ActionState.INTENDED,
        autonomy=autonomy.ACT if grant else autonomy.PROPOSE,
        parameters=parameters,
        intended=now,
        undo=runbook.undo,
    )


async def decide(
    tenant: str,
    db: Connection,
    site: Site,
    incident: Incident,
    cause: Cause,
    action: Action,
    look: Look | None,
    approvals: Sequence[Approval],
    now: datetime,
) -> Action:
    """`action` with every guard's answer: state `intended` if all allow it, `refused` otherwise."""
    grant = autonomy.granted(site.profile, action.runbook, cause)
    attempt = await survey(tenant, db, site, incident, cause, action, grant, look, approvals, now)
    answers = guardrails.ask(attempt, Moment.DECIDE)
    allowed = guardrails.all_allow(answers, Moment.DECIDE)
    return replace(action, state=ActionState.INTENDED if allowed else ActionState.REFUSED, guards=answers)


def may_pass(answers: Sequence[GuardAnswer]) -> bool:
    """Whether something is refused, and all of it may be allowed once there are further readings."""
    refused = {answer.guard for answer in answers if answer.allowed is not True}
    return bool(refused) and refused <= (PASSING | _BLIND if "fresh-data" in refused else PASSING)


def undo_of(action: Action, verdict: Verdict, now: datetime) -> Action:
    """The action that takes back what `action` did, since `verdict` found it harmful or of no use."""
    kept = {name: action.parameters[name] for name in ("prior",) if name in action.parameters}
    kept |= {"decided_on": action.parameters["after"]} if "after" in action.parameters else {}
    return replace(
        action,
        runbook=runbooks.UNDO + action.runbook,
        attempt=1,
        state=ActionState.INTENDED,
        parameters={**kept, "of": action.key, "why": f"{verdict.outcome}: {verdict.reason}"},
        guards=(),
        intended=now,
        started=None,
        finished=None,
        undo="",
        detail="",
    )
