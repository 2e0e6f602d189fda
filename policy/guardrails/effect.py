"""What came of it: success is measured, and what failed is taken back once."""

from __future__ import annotations

from typing import ClassVar

from policy.guardrails.attempt import Attempt, Moment
from tonewatch.records import Outcome


class Verification:
    """13: a success is one that was measured: in time, in enough readings, and with no guarded SLI worse for it."""

    number: ClassVar = 13
    name: ClassVar = "verification"
    moments: ClassVar = frozenset({Moment.AFTER})

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        measured, limits = attempt.measured, attempt.limits
        if measured is None or measured.verdict is None:
            return "its effect was not measured"
        if measured.verdict.action != attempt.action.key:
            return "the verdict is about another action"
        if measured.verdict.outcome is not Outcome.WORKED:
            return f"it is {measured.verdict.outcome}: {measured.verdict.reason}"
        if measured.good_readings < limits.good_readings:
            return f"{measured.good_readings} good readings in a row, not {limits.good_readings}"
        if not 0 <= measured.seconds <= limits.verify_seconds:
            return f"it took {measured.seconds:.0f} s to show, longer than {limits.verify_seconds:.0f} s"
        for name, share in sorted(measured.worse.items()):
            if not share <= limits.worse_share:  # so that what is no number refuses
                return f"{name} is {share:.0%} worse for it"
        return None


class UndoOnce:
    """14: what did not work is taken back once, to the state that was stored; then a person is called."""

    number: ClassVar = 14
    name: ClassVar = "undo-once"
    moments: ClassVar = frozenset({Moment.UNDO})

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        if attempt.runbook is None or not attempt.runbook.reversible:
            return f"{attempt.action.runbook} cannot be undone"
        if attempt.undone is None or attempt.undone:
            return "an undo was tried before" if attempt.undone else "it is not known whether an undo was tried before"
        if not attempt.prior:
            return "no state to go back to was stored"
        verdict = attempt.measured.verdict if attempt.measured else None
        if verdict is None or verdict.outcome is Outcome.WORKED:
            return "it worked" if verdict else "what failed is not known: there is no verdict"
        return None
