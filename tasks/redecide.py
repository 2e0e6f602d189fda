"""Decides once more what a recorded case tells of: would its cause have been mended, by this profile? Pure.

Only what the profile makes of telemetry is decided: who granted what, how steady and fresh readings must be, how many
parts may be out, freezes, announced work, what is red upstream. A case holds neither what the platform's supervisor
said nor what was done before: taken for granted is that the cause is known and certain, that the target is as such a
cause leaves it, and that nothing was done lately.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from policy import autonomy, guardrails, runbooks
from policy.guardrails import Moment, TargetState
from tasks.decide import draft
from tasks.survey import Sight, sighted
from tonewatch.cases import Expected
from tonewatch.records import Cause, CauseKind, Change

#: Who says no where there is nothing to be done.
NO_RUNBOOK = "no-runbook"
#: As the platform would say that the target is, by runbook.
_LEFT: Final = {
    "restart": TargetState(process="EXITED"),
    "kill-and-restart": TargetState(process="RUNNING"),
    "switch-input": TargetState(input="own", own_input="own", inputs=("own", "other")),
    "rollback": TargetState(running="later", previous="earlier"),
    "drain": TargetState(drained=frozenset()),
}


def cause_of(expected: Expected | None) -> Cause | None:
    """The case's cause; None: it tells none, or none that there is."""
    entity, _, kind = (expected.cause if expected is not None else "").rpartition(":")
    if not entity or kind not in set(CauseKind):
        return None
    return Cause("case", 1, entity, CauseKind(kind), 1.0)


def refusals(cause: Cause, sight: Sight, changes: Sequence[Change], now: datetime) -> tuple[str, ...]:
    """The guardrails that would say no to the remedy of `cause` at `now`; none: it would be carried out by itself.

    changes: all that are recorded.
    """
    action = draft(cause, sight.profile, None, (), now)
    if action is None:
        return (NO_RUNBOOK,)
    grant = autonomy.granted(sight.profile, action.runbook, cause)
    attempt = replace(
        sighted(sight, cause, action, grant, _LEFT[action.runbook], now),
        enabled=True,
        switch=True,
        changes=[each for each in changes if each.started <= now and (each.ended is None or now < each.ended)],
        recent=(),
        trials=(),
        vetoed_by="",
        root=cause.entity,
        of_incident=(),
        undone=(),
    )
    return tuple(answer.guard for answer in guardrails.ask(attempt, Moment.DECIDE) if answer.allowed is not True)


def decision(
    cause: Cause, told: Iterable[tuple[datetime, tuple[str, ...]]], opened: datetime, patience: timedelta
) -> tuple[str, tuple[str, ...]]:
    """The runbook that is carried out by itself, or none, and who said no when it came nearest to it.

    told: time and `refusals`, tick by tick; opened: when the page came, from which on it is decided for so long.
    """
    runbook = runbooks.for_cause(cause.kind)
    asked = [refused for time, refused in told if opened <= time <= opened + patience]
    nearest = min(asked, key=len, default=(NO_RUNBOOK,))
    return ("", nearest) if nearest or runbook is None else (runbook.name, ())
