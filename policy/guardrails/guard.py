"""What a guard is."""

from __future__ import annotations

from typing import ClassVar, Protocol

from policy.guardrails.attempt import Attempt, Moment


class Guard(Protocol):
    """One guardrail. `number` is the sheet's (research/security.md 4.2); `moments`: when it is asked."""

    number: ClassVar[int]
    name: ClassVar[str]
    moments: ClassVar[frozenset[Moment]]

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        """Why the attempt is refused, in words for a person; None: this guard has nothing against it."""
        ...


#: Asked when it is decided and, since time passes and others act, again right before.
TO_ACT = frozenset({Moment.DECIDE, Moment.BEFORE})
