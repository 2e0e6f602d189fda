"""Step 7a: choose a remedy for the first cause and ask every guardrail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from policy import autonomy, guardrails
from tonewatch.records import Action, ActionState, Cause, CauseKind
from tonewatch.settings import Profile

#: Which runbook is right for which cause. A cause without one is handed to a person.
RUNBOOKS = {CauseKind.CRASH: "restart", CauseKind.HANG: "restart"}


def decide(
    cause: Cause,
    profile: Profile,
    *,
    remediation_enabled: bool,
    target_state: str | None,
    target_known: bool,
    host_starved: bool,
    earlier: Sequence[Action],
    now: datetime,
) -> Action | None:
    """The action for `cause` with every guard's answer: state `intended` if all allow it, `refused` otherwise.

    None when no runbook fits the cause.
    """
    runbook = RUNBOOKS.get(cause.kind)
    if runbook is None:
        return None
    grant = autonomy.granted(profile, runbook, cause)
    tried = [a for a in earlier if (a.runbook, a.target) == (runbook, cause.entity)]
    action = Action(
        incident=cause.incident,
        runbook=runbook,
        target=cause.entity,
        attempt=len(tried) + 1,
        state=ActionState.INTENDED,
        autonomy=autonomy.ACT if grant else autonomy.PROPOSE,
        parameters={"granted_by": grant.granted_by, "grant": grant.reason} if grant else {},
        intended=now,
        undo="none: a restart has no prior state to go back to",
    )
    answers = guardrails.ask(
        guardrails.Attempt(action, cause, grant, remediation_enabled, target_known, target_state, host_starved, earlier)
    )
    state = ActionState.INTENDED if guardrails.all_allow(answers) else ActionState.REFUSED
    return replace(action, state=state, guards=answers)


def ask_again(
    action: Action,
    cause: Cause,
    profile: Profile,
    *,
    remediation_enabled: bool,
    target_state: str | None,
    target_known: bool,
    host_starved: bool,
) -> Action:
    """An intended action with every guard's answer as of now: time has passed since it was decided on."""
    grant = autonomy.granted(profile, action.runbook, cause)
    return _answered(
        guardrails.Attempt(action, cause, grant, remediation_enabled, target_known, target_state, host_starved, ())
    )


def _answered(attempt: guardrails.Attempt) -> Action:
    answers = guardrails.ask(attempt)
    state = ActionState.INTENDED if guardrails.all_allow(answers) else ActionState.REFUSED
    return replace(attempt.action, state=state, guards=answers)
