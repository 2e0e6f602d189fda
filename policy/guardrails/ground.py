"""What it rests on: steady, fresh and sound readings, and a cause that is certain enough for the risk."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

from policy import autonomy
from policy.guardrails.attempt import Attempt, Moment
from policy.guardrails.guard import TO_ACT
from policy.runbooks import Risk
from tonewatch.records import Approval


class SteadyFault:
    """5: the fault has held in so many readings in a row, without a gap and without an impossible value."""

    number: ClassVar = 5
    name: ClassVar = "steady-fault"
    moments: ClassVar = TO_ACT

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        wanted, interval = attempt.limits.steady_readings, attempt.interval_s
        if attempt.readings is None or interval is None:
            return "there are no readings of the fault"
        last = list(attempt.readings)[-wanted:]
        if len(last) < wanted:
            return f"there are {len(last)} readings of the fault, not {wanted}"
        if not all(math.isfinite(each.value) and each.value >= 0 for each in last):
            return "a reading is no number that there can be"
        if not all(each.broken for each in last):
            return f"the fault did not hold in each of the last {wanted} readings"
        gaps = [(after.time - before.time).total_seconds() for before, after in pairwise(last)]
        if not all(0 < gap <= attempt.limits.stale_intervals * interval for gap in gaps):
            return "there is a gap between the readings of the fault"
        return None


class FreshData:
    """6: nothing is done on old data, on missing data, or by a watcher whose own machine is starved."""

    number: ClassVar = 6
    name: ClassVar = "fresh-data"
    moments: ClassVar = TO_ACT

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        if attempt.host_starved is not False:
            return "the watcher's machine is starved" if attempt.host_starved else "whether our machine is starved?"
        if not attempt.ages or attempt.interval_s is None:
            return "it is not known how old the data are"
        most = attempt.limits.stale_intervals * attempt.interval_s
        for name, age in sorted(attempt.ages.items()):
            if not age <= most:  # so that an age that is no number refuses
                return f"{name} is {age:.1f} s old, older than {most:.1f} s"
        return None


class ConfidenceForRisk:
    """7: low risk acts at a confidence of 0.9 or more; below that, and for more risk, people say yes.

    The owner's grant is one yes. Confidence drawn from data that break their contract is none.
    """

    number: ClassVar = 7
    name: ClassVar = "confidence-for-risk"
    moments: ClassVar = TO_ACT

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        confidence, least = attempt.cause.confidence, attempt.limits.least_confidence
        if attempt.runbook is None:
            return "a remedy without a runbook has no known risk"
        if attempt.sound is not True:
            return (
                "the data behind the diagnosis break their contract"
                if attempt.sound is False
                else ("it is not known whether the data behind the diagnosis can be trusted")
            )
        if not 0 <= confidence <= 1:
            return f"a confidence of {confidence} cannot be"
        people = len({approval.approver for approval in attempt.approvals})
        if confidence < least and not people:
            return f"confidence {confidence:.2f} is below {least:g}, and no person has said yes"
        wanted = {Risk.LOW: 0, Risk.MEDIUM: 1, Risk.HIGH: 2}[attempt.runbook.risk]
        if people + (attempt.grant is not None) < wanted:
            return f"the risk of {attempt.runbook.name} is {attempt.runbook.risk}: {wanted} people must say yes"
        return None


class Consent:
    """8: who is not told to act does not. The owner's grant, or a person's yes: used once, soon, never one's own."""

    number: ClassVar = 8
    name: ClassVar = "consent"
    moments: ClassVar = TO_ACT

    def why_not(self, attempt: Attempt, moment: Moment) -> str | None:
        action, grant = attempt.action, attempt.grant
        if attempt.vetoed_by != "":
            return f"{attempt.vetoed_by} said no" if attempt.vetoed_by else "it is not known whether somebody said no"
        if grant is not None and not autonomy.covers(grant, action.runbook, attempt.cause):
            return f"the grant of {grant.granted_by} is about something else"
        if grant is None and not attempt.approvals:
            return f"nobody has granted or approved {action.runbook} of {attempt.cause.name}"
        return next(filter(None, (self._void(approval, attempt) for approval in attempt.approvals)), None)

    @staticmethod
    def _void(approval: Approval, attempt: Attempt) -> str | None:
        """Why the approval does not count, or None."""
        action, who = attempt.action, approval.approver or "nobody"
        lasted = (approval.expires - approval.approved).total_seconds()
        if approval.action != action.key:
            return f"{who} approved another action"
        if not approval.approver or approval.approver in {approval.requester, attempt.requester}:
            return f"{who} asked for it and cannot approve it too"
        if not approval.approved <= attempt.now < approval.expires or lasted > attempt.limits.approval_seconds:
            return f"what {who} approved has expired"
        # Used up in the transaction of this intent it is ours; used earlier it was for something else.
        if approval.used is not None and (action.intended is None or approval.used < action.intended):
            return f"what {who} approved was used before"
        return None
