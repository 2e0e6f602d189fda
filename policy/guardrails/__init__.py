"""Guardrails: every one must say yes before a remedy acts. Pure, in one visible order, failing closed.

The numbers are those of the guardrail sheet (research/security.md 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tonewatch.records import Action, ActionState, Cause, CauseKind, GuardAnswer
from tonewatch.settings import Grant

LEAST_CONFIDENCE = 0.9
#: What the platform's supervisor says of a process that has ended by itself.
ENDED_STATES = frozenset({"EXITED", "FATAL", "BACKOFF"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """Everything that the guardrails may know of a remedy about to be tried; None means that it is not known."""

    action: Action
    cause: Cause
    grant: Grant | None
    remediation_enabled: bool
    target_known: bool
    target_state: str | None
    host_starved: bool
    earlier: Sequence[Action]


Guard = Callable[[Attempt], str | None]


def switched_on(attempt: Attempt) -> str | None:
    """17, the kill switch in its first form: AUTO_REMEDIATION."""
    return None if attempt.remediation_enabled else "AUTO_REMEDIATION is off"


def target_resolves(attempt: Attempt) -> str | None:
    """1: an unknown target is no target."""
    if not attempt.target_known:
        return f"{attempt.action.target} is in no inventory"
    if attempt.target_state is None:
        return f"the platform does not say in which state {attempt.action.target} is"
    return None


def owner_granted(attempt: Attempt) -> str | None:
    """Autonomy is granted in writing or earned; neither is assumed."""
    return None if attempt.grant else f"no grant lets {attempt.action.runbook} act on {attempt.cause.name}"


def cause_is_certain(attempt: Attempt) -> str | None:
    """7: low risk acts at a confidence of 0.9 or more."""
    if attempt.cause.confidence >= LEAST_CONFIDENCE:
        return None
    return f"confidence {attempt.cause.confidence:.2f} is below {LEAST_CONFIDENCE}"


def host_is_awake(attempt: Attempt) -> str | None:
    """6, for ourselves: what a starved watcher measured is no ground to act."""
    return "the watcher's machine is starved" if attempt.host_starved else None


def precondition_holds(attempt: Attempt) -> str | None:
    """10: what is to be mended must still be broken right before the act."""
    if attempt.cause.kind is CauseKind.CRASH and attempt.target_state not in ENDED_STATES:
        return f"{attempt.action.target} is {attempt.target_state}: somebody was quicker"
    return None


def first_attempt(attempt: Attempt) -> str | None:
    """4, within an incident: a remedy that was tried is not tried again."""
    done = {ActionState.STARTED, ActionState.FINISHED, ActionState.FAILED}
    for action in attempt.earlier:
        same = (action.runbook, action.target) == (attempt.action.runbook, attempt.action.target)
        if same and action.state in done and action.key != attempt.action.key:
            return f"{action.runbook} of {action.target} was tried before in this incident"
    return None


GUARDS: tuple[tuple[str, Guard], ...] = (
    ("switched-on", switched_on),
    ("target-resolves", target_resolves),
    ("owner-granted", owner_granted),
    ("cause-is-certain", cause_is_certain),
    ("host-is-awake", host_is_awake),
    ("precondition-holds", precondition_holds),
    ("first-attempt", first_attempt),
)


def ask(attempt: Attempt) -> tuple[GuardAnswer, ...]:
    """Every guard's answer, in order; all are asked, so that the story shows each."""
    answers = []
    for name, guard in GUARDS:
        refusal = guard(attempt)
        answers.append(GuardAnswer(name, refusal is None, refusal or "yes"))
    return tuple(answers)


def all_allow(answers: Sequence[GuardAnswer]) -> bool:
    """Whether every guard was asked and said yes."""
    return len(answers) == len(GUARDS) and all(answer.allowed for answer in answers)
