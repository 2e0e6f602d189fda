"""What a person may do with an incident, by its state and what was done before. Pure; the default is no."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tonewatch.records import Action, ActionState, ActKind, Approval, Incident, IncidentState, Label

#: Who asks for an action that no person asked for.
REQUESTER = "tonewatch"
#: Ways in which an incident can turn out, as a person tells it.
VERDICTS = ("real", "false-alarm", "planned")
#: What each judging act says of the incident itself.
JUDGES = {ActKind.REAL: "verdict:real", ActKind.FALSE: "verdict:false-alarm"}
_OVER = frozenset({IncidentState.MENDED, IncidentState.CLOSED})


def requester(action: Action) -> str:
    """Who asked for the action: the person named in its parameters, else Tonewatch itself."""
    return action.parameters.get("requested_by", REQUESTER)


def proposal(actions: Sequence[Action]) -> Action | None:
    """The action that a person may say yes or no to: the newest, while it is refused or not begun. None: there is none.

    `actions` in the order in which they were intended.
    """
    if not actions or actions[-1].state not in {ActionState.REFUSED, ActionState.INTENDED}:
        return None
    return actions[-1]


def why_not_ack(incident: Incident, answered: str) -> str | None:
    """Why an ack is refused; `answered`: the act that has stopped the escalation, or empty."""
    if incident.state in _OVER:
        return f"it is {incident.state}: there is nothing left to answer"
    return f"it was answered already ({answered}): the escalation stands still" if answered else None


def why_not_approve(
    incident: Incident,
    action: Action | None,
    approver: str,
    approvals: Sequence[Approval],
    vetoed_by: str,
    now: datetime,
) -> str | None:
    """Why a yes to `action` is refused, or None. A second person may say yes too: high risk wants two."""
    if incident.state in _OVER:
        return f"it is {incident.state}: nothing is to be done any more"
    if action is None:
        return "nothing is proposed: there is no action that waits for a yes"
    if vetoed_by:
        return f"{vetoed_by} said no to this action; a later attempt can be approved"
    if approver == requester(action):
        return f"{approver} asked for it, and who asks cannot approve: let somebody else (--as)"
    for approval in approvals:
        if approval.used is not None:
            return f"{approval.approver} approved it already and the approval was used"
        if approval.approver == approver and approval.expires > now:
            return f"{approver} approved it already; that holds until {approval.expires:%H:%M:%S} UTC"
    return None


def why_not_veto(incident: Incident, action: Action | None, vetoed_by: str) -> str | None:
    """Why a no to `action` is refused, or None."""
    if incident.state in _OVER:
        return f"it is {incident.state}: nothing is to be done any more"
    if action is None:
        return "no action is proposed or about to begin: one that has begun can only be undone"
    return f"{vetoed_by} said no to this action already" if vetoed_by else None


def why_not_judge(before: Sequence[Label], who: str, value: str) -> str | None:
    """Why `who` cannot say `value` of an incident, or None. `before`: what was said of it.

    Everybody may judge it, at any time, and change his mind: the last word counts. The same twice is one word.
    """
    matter = value.partition(":")[0]
    mine = [label.value for label in before if label.who == who and label.value.partition(":")[0] == matter]
    return f"{who} said so already" if mine and mine[-1] == value else None


def why_not_close(incident: Incident, closed_by: str) -> str | None:
    """Why closing is refused, or None. A mended or closed incident may still be told what it was."""
    if closed_by:
        return f"{closed_by} closed it already"
    if incident.state not in _OVER | {IncidentState.HANDED_OVER}:
        return f"it is {incident.state} and in Tonewatch's hands: veto its action, or wait until it is handed over"
    return None
