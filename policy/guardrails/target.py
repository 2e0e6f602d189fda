"""What is acted on: it exists, it is still broken, and what is left carries the listeners."""

from __future__ import annotations

from typing import ClassVar

from policy.guardrails.attempt import ENDED_STATES, Attempt, Moment, TargetState
from policy.guardrails.guard import TO_ACT
from policy.runbooks import Touches
from tonewatch.records import ENTITY_ID

_EDGE = "edge:"


class KnownTarget:
    """1: an empty or unknown target is no target, and a wildcard none either."""

    number: ClassVar = 1
    name: ClassVar = "known-target"
    moments: ClassVar = TO_ACT | {Moment.UNDO}

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        target = attempt.action.target
        if not ENTITY_ID.fullmatch(target):
            return f"{target!r} is no part: wildcards and empty targets are never acted on"
        if attempt.resolved is None:
            return f"nobody could say what {target} is"
        if tuple(attempt.resolved) != (target,):
            return f"{target} stands for {len(attempt.resolved)} parts of the inventory, not for itself alone"
        if attempt.state is None:
            return f"the platform does not say how {target} is"
        return None


class BlastRadius:
    """2: at most a tenth of a service, at least one part, and never the last that carries listeners.

    The parts of a service are those of the same stage that serve the same channels. A part that is down carries
    nobody: bringing it up again takes nothing away.
    """

    number: ClassVar = 2
    name: ClassVar = "blast-radius"
    moments: ClassVar = TO_ACT

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        target, runbook = attempt.action.target, attempt.runbook
        replicas = {replica.entity: replica for replica in attempt.replicas or ()}
        if target not in replicas or runbook is None:
            return f"it is not known which parts serve beside {target}"
        own = replicas.pop(target)
        if own.healthy is None:
            return f"it is not known whether {target} carries listeners"
        if runbook.touches is Touches.SETTING or (runbook.touches is Touches.PROCESS and not own.healthy):
            return None
        if not any(each.healthy is True and not each.drained for each in replicas.values()):
            return f"{target} would leave no healthy part of its service"
        out = 1 + sum(each.drained or each.healthy is not True for each in replicas.values())
        most = max(1, int(attempt.limits.blast_share * (len(replicas) + 1)))
        if out > most:
            return f"{out} of {len(replicas) + 1} parts would be out, more than {most}"
        return None


class Precondition:
    """10: what is to be mended is still broken, and nobody has touched it since the decision."""

    number: ClassVar = 10
    name: ClassVar = "precondition"
    moments: ClassVar = TO_ACT | {Moment.UNDO}

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        state = attempt.state
        if state is None:
            return "it is not known whether it is still broken"
        if moment is not Moment.UNDO:
            reason = self._mended(attempt, state)
            if reason:
                return reason
        if moment is not Moment.DECIDE and attempt.decided_on != state.fingerprint:
            return f"{attempt.action.target} is not as it was when this was decided: somebody was quicker"
        return None

    @staticmethod
    def _mended(attempt: Attempt, state: TargetState) -> str | None:
        target, name = attempt.action.target, attempt.runbook.name if attempt.runbook else ""
        match name:
            case "restart":
                return None if state.process in ENDED_STATES else f"{target} is {state.process}, it has not ended"
            case "kill-and-restart":
                return None if state.process == "RUNNING" else f"{target} is {state.process}: it does not hang"
            case "switch-input":
                if state.own_input is None or state.input != state.own_input:
                    return f"{target} is not the input that is taken, {state.input} is"
                return None if set(state.inputs) - {state.own_input} else f"there is no other input than {target}"
            case "rollback":
                if state.previous is None or state.running is None or state.previous == state.running:
                    return f"{target} has no earlier version to go back to"
                return None
            case "drain":
                if not target.startswith(_EDGE) or state.drained is None:
                    return f"{target} is nothing from which listeners could be sent elsewhere"
                return f"{target} is drained already" if target in state.drained else None
        return f"it is not known what {name or 'a remedy without a name'} needs"
