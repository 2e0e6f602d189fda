"""What must be written down before anything is done."""

from __future__ import annotations

from typing import ClassVar

from policy.guardrails.attempt import Attempt, Moment
from tonewatch.records import ActionState

_OPEN = frozenset({ActionState.INTENDED, ActionState.STARTED})


class FencedLease:
    """11: one acts, the one that holds the newest lease. Who was paused and wakes up finds its token outdated."""

    number: ClassVar = 11
    name: ClassVar = "fenced-lease"
    moments: ClassVar = frozenset({Moment.BEFORE, Moment.DURING, Moment.UNDO})

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        lease = attempt.lease
        if lease is None or lease.token is None or lease.newest is None:
            return "no lease is held"
        if lease.token != lease.newest:
            return f"lease {lease.newest} was given to another since ours, {lease.token}"
        return None


class Idempotency:
    """12: the key is stored before the call; a call that may have been sent is looked up and never repeated blindly."""

    number: ClassVar = 12
    name: ClassVar = "idempotency"
    moments: ClassVar = frozenset({Moment.BEFORE, Moment.UNDO})

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        stored = attempt.stored
        if stored is None or stored.key != attempt.action.key:
            return "its key is not in the warehouse"
        if stored.state not in _OPEN:
            return f"it is {stored.state} already"
        if attempt.sent is None:
            return "it is not known whether it was begun before"
        if attempt.sent and attempt.found_done is None:
            return "it may have been done before: look first"
        return "it was done before" if attempt.sent and attempt.found_done else None


class AuditFirst:
    """20: what is not in the audit is not done, and is no success either."""

    number: ClassVar = 20
    name: ClassVar = "audit-first"
    moments: ClassVar = frozenset({Moment.BEFORE, Moment.AFTER, Moment.UNDO})

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        return None if attempt.audited is True else "its intent is not in the audit"
