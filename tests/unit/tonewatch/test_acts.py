from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tonewatch import acts
from tonewatch.records import Action, ActionState, Approval, Incident, IncidentState

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LASTS = timedelta(minutes=15)
INCIDENT = Incident("i1", "t", IncidentState.HANDED_OVER, NOW, NOW, "it is down")
ACTION = Action("i1", "restart", "component:a", 1, ActionState.REFUSED, "propose")
YES = Approval("y", ACTION.key, "tonewatch", "ann", "", NOW, NOW + LASTS)


def approve(
    incident: Incident = INCIDENT,
    action: Action | None = ACTION,
    who: str = "ben",
    given: tuple[Approval, ...] = (),
    vetoed_by: str = "",
    later: timedelta = timedelta(),
) -> str | None:
    return acts.why_not_approve(incident, action, who, given, vetoed_by, NOW + later)


def test_a_proposal_can_be_approved_by_another_than_who_asked() -> None:
    assert approve() is None
    assert "asked for it" in (approve(who="tonewatch") or "")
    asked = replace(ACTION, parameters={"requested_by": "ben"})
    assert "asked for it" in (approve(action=asked) or "")
    assert approve(action=asked, who="tonewatch") is None


def test_an_approval_is_not_given_twice_while_it_holds_nor_after_it_was_used() -> None:
    assert "already" in (approve(who="ann", given=(YES,)) or "")
    assert approve(who="ben", given=(YES,)) is None
    assert approve(who="ann", given=(YES,), later=LASTS) is None
    assert "was used" in (approve(given=(replace(YES, used=NOW),), later=LASTS) or "")


def test_what_somebody_vetoed_cannot_be_approved() -> None:
    assert "ann said no" in (approve(vetoed_by="ann") or "")


@pytest.mark.parametrize("state", [IncidentState.MENDED, IncidentState.CLOSED])
def test_what_is_over_is_neither_acked_nor_approved_nor_vetoed(state: IncidentState) -> None:
    over = replace(INCIDENT, state=state)
    for refusal in (approve(over), acts.why_not_veto(over, ACTION, ""), acts.why_not_ack(over, "")):
        assert state.value in (refusal or "")


@pytest.mark.parametrize(
    ("state", "waits"),
    [
        (ActionState.REFUSED, True),
        (ActionState.INTENDED, True),
        (ActionState.STARTED, False),
        (ActionState.FINISHED, False),
        (ActionState.FAILED, False),
    ],
)
def test_only_the_newest_action_that_has_not_begun_waits_for_a_person(state: ActionState, waits: bool) -> None:
    newest = replace(ACTION, attempt=2, state=state)
    assert acts.proposal([ACTION, newest]) == (newest if waits else None)


def test_without_an_action_there_is_nothing_to_say_yes_or_no_to() -> None:
    assert acts.proposal([]) is None
    assert "nothing is proposed" in (approve(action=None) or "")
    assert "no action" in (acts.why_not_veto(INCIDENT, None, "") or "")


def test_a_second_veto_and_a_second_ack_are_refused() -> None:
    assert acts.why_not_veto(INCIDENT, ACTION, "") is None
    assert "ann" in (acts.why_not_veto(INCIDENT, ACTION, "ann") or "")
    assert acts.why_not_ack(INCIDENT, "") is None
    assert "already" in (acts.why_not_ack(INCIDENT, "ack") or "")


@pytest.mark.parametrize("state", list(IncidentState))
def test_an_incident_in_tonewatchs_hands_is_not_closed_by_a_person(state: IncidentState) -> None:
    may = state in {IncidentState.HANDED_OVER, IncidentState.MENDED, IncidentState.CLOSED}
    assert (acts.why_not_close(replace(INCIDENT, state=state), "") is None) is may


def test_a_second_close_is_refused() -> None:
    assert "ann closed it" in (acts.why_not_close(INCIDENT, "ann") or "")
