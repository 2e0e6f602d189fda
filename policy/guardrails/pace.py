"""How much and how often: budgets, rest, and runbooks that have failed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar

from policy.guardrails.attempt import Attempt, Moment, Trial
from policy.guardrails.guard import TO_ACT
from tonewatch.records import Action, ActionState

_QUARTER_HOUR = timedelta(minutes=15)
_DAY = timedelta(days=1)
#: An intent is under way for as long as a lease; then whoever intended it has died and nobody has carried it on.
_INTENT_LASTS = timedelta(seconds=60)
_BEGUN = frozenset({ActionState.STARTED, ActionState.FINISHED, ActionState.FAILED})


def begun(action: Action) -> datetime | None:
    """When the action reached the platform; None: it did not."""
    return (action.started or action.intended) if action.state in _BEGUN else None


def under_way(action: Action, now: datetime) -> bool:
    """Whether the action is being carried out."""
    if action.state is ActionState.INTENDED:
        return action.intended is None or now - action.intended < _INTENT_LASTS
    return action.state is ActionState.STARTED


def others(actions: Sequence[Action], attempt: Attempt) -> list[Action]:
    """The actions without the one that is tried."""
    return [action for action in actions if action.key != attempt.action.key]


class Budget:
    """3: so many actions in a quarter of an hour, in a day, at once on one service, and at once in all."""

    number: ClassVar = 3
    name: ClassVar = "budget"
    moments: ClassVar = TO_ACT

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        if attempt.recent is None or attempt.replicas is None:
            return "it is not known what was done lately"
        limits, recent = attempt.limits, others(attempt.recent, attempt)
        # An intent that is not begun yet will be: of a storm that is decided on at once, each must count.
        times = [begun(a) or a.intended for a in recent if begun(a) or under_way(a, attempt.now)]
        for span, most, words in (
            (_QUARTER_HOUR, limits.actions_per_quarter_hour, "15 minutes"),
            (_DAY, limits.actions_per_day, "a day"),
        ):
            count = sum(time is None or attempt.now - time < span for time in times)
            if count >= most:
                return f"{count} actions in {words}: the budget of {most} is spent"
        return self._at_once(attempt, [action.target for action in recent if under_way(action, attempt.now)])

    @staticmethod
    def _at_once(attempt: Attempt, targets: Sequence[str]) -> str | None:
        service = {replica.entity for replica in attempt.replicas or ()} | {attempt.action.target}
        beside = sum(target in service for target in targets)
        if beside >= attempt.limits.concurrent_per_service:
            return f"{beside} actions are under way on this service"
        if len(targets) >= attempt.limits.concurrent:
            return f"{len(targets)} actions are under way"
        return None


class CoolDown:
    """4: a target rests after a runbook acted on it."""

    number: ClassVar = 4
    name: ClassVar = "cool-down"
    moments: ClassVar = TO_ACT

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        name, target = attempt.action.runbook, attempt.action.target
        seconds = attempt.limits.cool_down_seconds.of(name)
        if attempt.recent is None or seconds is None:
            return f"it is not known how long {target} must rest after {name}"
        for action in others(attempt.recent, attempt):
            time = begun(action)
            if (action.runbook, action.target) == (name, target) and time is not None:
                left = seconds - (attempt.now - (action.finished or time)).total_seconds()
                if left > 0:
                    return f"{target} had a {name} before and rests for another {left:.0f} s"
        return None


class CircuitBreaker:
    """15: a runbook that fails is stopped; after a rest it may try once. Failures of all stop everything."""

    number: ClassVar = 15
    name: ClassVar = "circuit-breaker"
    moments: ClassVar = TO_ACT

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        if attempt.trials is None or attempt.recent is None:
            return "it is not known how earlier acts ended"
        limits, now = attempt.limits, attempt.now
        span = timedelta(seconds=limits.breaker_global_seconds)
        failures = sum(trial.failed and now - trial.ended < span for trial in attempt.trials)
        if failures >= limits.breaker_global_failures:
            return f"{failures} acts failed within {span}: nothing more is tried by itself"
        opened = self._opened(attempt)
        if opened is None:
            return None
        name, rest = attempt.action.runbook, timedelta(seconds=limits.breaker_half_open_seconds)
        if now - opened < rest:
            return f"{name} failed too often of late: stopped until {opened + rest:%H:%M:%S} UTC"
        if any(a.runbook == name and under_way(a, now) for a in others(attempt.recent, attempt)):
            return f"{name} may try once after its failures, and that trial is under way"
        return None

    @staticmethod
    def _opened(attempt: Attempt) -> datetime | None:
        """When the runbook was stopped; None: it is not. A trial after the rest that succeeds sets it free."""
        limits, rest = attempt.limits, timedelta(seconds=attempt.limits.breaker_half_open_seconds)
        mine = [trial for trial in attempt.trials or () if trial.runbook == attempt.action.runbook]
        last: list[Trial] = []
        opened: datetime | None = None
        for trial in sorted(mine, key=lambda trial: trial.ended):
            if opened is not None and not trial.failed and trial.ended - opened >= rest:
                last, opened = [], None
            last = [*last, trial][-limits.breaker_last :]
            if trial.failed and (opened is not None or sum(each.failed for each in last) >= limits.breaker_failures):
                opened = trial.ended
        return opened
