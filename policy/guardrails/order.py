"""Whether it is the time and the place: the kill switch, freezes, and the incident's root."""

from __future__ import annotations

from typing import ClassVar

from policy.guardrails.attempt import Attempt, Moment
from policy.guardrails.guard import TO_ACT
from policy.guardrails.pace import begun, others, under_way

_MAINTENANCE = "maintenance"


class KillSwitch:
    """17: read before each step. Off, or not to be read, is stop; so is a freeze, and work of people on the target."""

    number: ClassVar = 17
    name: ClassVar = "kill-switch"
    moments: ClassVar = TO_ACT | {Moment.DURING, Moment.UNDO}

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        now, target = attempt.now, attempt.action.target
        if attempt.enabled is not True:
            return "AUTO_REMEDIATION is off"
        if attempt.switch is not True:
            return "remediation is switched off" if attempt.switch is False else "the kill switch cannot be read"
        for freeze in attempt.limits.freezes:
            if freeze.started <= now < freeze.ended:
                return f"nothing is changed until {freeze.ended:%Y-%m-%d %H:%M} UTC: {freeze.reason}"
        if attempt.changes is None:
            return "it is not known whether people work on the platform"
        for change in attempt.changes:
            lasts = change.started <= now and (change.ended is None or now < change.ended)
            if change.kind == _MAINTENANCE and change.entity == target and lasts:
                return f"{change.author} works on {target}: {change.summary}"
        return None


class DependencyOrder:
    """18: an incident is acted on at its root, once, and never below something that is red itself."""

    number: ClassVar = 18
    name: ClassVar = "dependency-order"
    moments: ClassVar = TO_ACT

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        target = attempt.action.target
        if attempt.root is None or attempt.upstream is None or attempt.of_incident is None:
            return "it is not known where the incident began"
        if not target == attempt.cause.entity == attempt.root:
            return f"{target} is not the root of the incident, {attempt.root} is"
        for entity, red in sorted(attempt.upstream.items()):
            if red is not False:
                return f"{entity}, which feeds {target}, is {'red' if red else 'in an unknown state'}"
        acts = sum(begun(a) is not None or under_way(a, attempt.now) for a in others(attempt.of_incident, attempt))
        if acts >= attempt.limits.acts_per_incident:
            return f"this incident was acted on {acts} times already"
        return None
