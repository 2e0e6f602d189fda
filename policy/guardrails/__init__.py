"""Guardrails: every one must say yes before a remedy acts. Pure, in one visible order, failing closed.

One class each, numbered as in the guardrail sheet (research/security.md 4.2; docs/guardrails.md). What is not known
refuses; so does a guard that fails itself. tests/guardrails/ shows for each the fault that it alone stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from policy.guardrails.attempt import (
    ENDED_STATES,
    Attempt,
    Lease,
    Measured,
    Moment,
    Reading,
    Replica,
    TargetState,
    Trial,
    readings,
)
from policy.guardrails.books import AuditFirst, FencedLease, Idempotency
from policy.guardrails.effect import UndoOnce, Verification
from policy.guardrails.ground import ConfidenceForRisk, Consent, FreshData, SteadyFault
from policy.guardrails.guard import Guard
from policy.guardrails.order import DependencyOrder, KillSwitch
from policy.guardrails.pace import Budget, CircuitBreaker, CoolDown
from policy.guardrails.target import BlastRadius, KnownTarget, Precondition
from tonewatch.records import GuardAnswer
from tonewatch.settings import Guardrails

__all__ = [
    "ENDED_STATES",
    "GUARDS",
    "LEAST_CONFIDENCE",
    "Attempt",
    "Guard",
    "Lease",
    "Measured",
    "Moment",
    "Reading",
    "Replica",
    "TargetState",
    "Trial",
    "all_allow",
    "ask",
    "readings",
    "why_not",
]

LEAST_CONFIDENCE: Final = Guardrails().least_confidence

#: In the order in which they are asked.
GUARDS: tuple[Guard, ...] = (
    KillSwitch(),
    KnownTarget(),
    BlastRadius(),
    Budget(),
    CoolDown(),
    SteadyFault(),
    FreshData(),
    ConfidenceForRisk(),
    Consent(),
    Precondition(),
    CircuitBreaker(),
    DependencyOrder(),
    FencedLease(),
    Idempotency(),
    AuditFirst(),
    Verification(),
    UndoOnce(),
)


def ask(attempt: Attempt, moment: Moment = Moment.DECIDE) -> tuple[GuardAnswer, ...]:
    """The answer of every guard of this moment, in order; all are asked, so that the story shows each."""
    return tuple(_answer(guard, attempt, moment) for guard in GUARDS if moment in guard.moments)


def all_allow(answers: Sequence[GuardAnswer], moment: Moment | None = None) -> bool:
    """Whether every guard of `moment` (None: of one of the moments) was asked and said yes. No answers are no yes."""
    asked = [answer.guard for answer in answers]
    moments = Moment if moment is None else (moment,)
    complete = any(asked == [guard.name for guard in GUARDS if each in guard.moments] for each in moments)
    return complete and bool(answers) and all(answer.allowed is True for answer in answers)


def why_not(answers: Sequence[GuardAnswer]) -> str:
    """The refusals in a line; empty: there are none."""
    return "; ".join(f"{answer.guard}: {answer.reason}" for answer in answers if answer.allowed is not True)


def _answer(guard: Guard, attempt: Attempt, moment: Moment) -> GuardAnswer:
    try:
        refusal = guard.why_not(attempt, moment)
    except Exception as error:  # noqa: BLE001 - a guard that cannot judge refuses, whatever has happened to it
        return GuardAnswer(guard.name, False, f"it could not judge: {type(error).__name__}: {error}")
    return GuardAnswer(guard.name, refusal is None, "yes" if refusal is None else refusal)
