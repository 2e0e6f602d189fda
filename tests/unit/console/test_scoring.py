"""The demo's judgement against truths written by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from console.demo.scoring import Loss, Seen, Truth, attribute, exit_status, is_void, judge, parse_truth
from tonewatch.errors import FaultError
from tonewatch.records import Action, ActionState, Cause, CauseKind, Incident, IncidentState, Outcome, Verdict

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CRASH = Truth(
    id="f1",
    name="transcoder-crash",
    is_fault=True,
    entity="component:transcoder-ch1",
    cause="component:transcoder-ch1:crash",
    injected=NOON,
    right=("restart component:transcoder-ch1",),
    path=("component:transcoder-ch1", "component:packager", "channel:ch1"),
    healed=NOON + timedelta(seconds=60),
)
ENDED = Loss(impact_started_s=7.0, impact_ended_s=31.0, listener_minutes_lost=2.5)


def incident(*entities: str, at: float = 4.0) -> Incident:
    onset = NOON + timedelta(seconds=at)
    opened = onset + timedelta(seconds=2)
    return Incident(f"i{at}", "demo", IncidentState.CLOSED, onset, opened, "no sound", entities)


def mended(*, outcome: Outcome = Outcome.WORKED, target: str = "component:transcoder-ch1") -> Seen:
    one = incident("component:transcoder-ch1")
    action = Action(one.id, "restart", target, 1, ActionState.FINISHED, "act")
    cause = Cause(one.id, 1, "component:transcoder-ch1", CauseKind.CRASH, 0.9)
    verdict = Verdict(action.key, one.id, outcome, controlled=False, decided=NOON + timedelta(seconds=40))
    return Seen(one, (replace(cause, rank=2, kind=CauseKind.HANG), cause), (action,), (verdict,))


def test_mended_fault_passes_and_fills_every_column() -> None:
    result = judge(CRASH, [mended()], ENDED)
    assert result.to_json() == {
        "name": "transcoder-crash",
        "is_fault": True,
        "detected_s": 6.0,
        "cause_named": "component:transcoder-ch1:crash",
        "cause_true": "component:transcoder-ch1:crash",
        "action": "restart component:transcoder-ch1",
        "impact_ended_s": 31.0,
        "verdict": "worked",
        "controlled": False,
        "listener_minutes_lost": 2.5,
        "incident_id": "i4.0",
        "failures": [],
    }
    assert exit_status([result], false_incidents=0) == 0


def test_missed_fault_fails_with_nulls() -> None:
    result = judge(CRASH, [], Loss())
    assert result.failures == ("missed",)
    assert [result.detected_s, result.verdict, result.action, result.impact_ended_s] == [None] * 4
    assert exit_status([result], 0) == 1


def test_wrong_target_fails() -> None:
    assert "not among the right ones" in judge(CRASH, [mended(target="component:packager")], ENDED).failures[0]


@pytest.mark.parametrize("outcome", [Outcome.HARMED, Outcome.INCONCLUSIVE])
def test_verdict_other_than_worked_fails(outcome: Outcome) -> None:
    assert judge(CRASH, [mended(outcome=outcome)], ENDED).failures == (f"verdict {outcome.value}",)


def test_wrong_cause_fails() -> None:
    seen = mended()
    wrong = replace(seen, causes=(replace(seen.causes[1], kind=CauseKind.OVERLOAD),))
    assert judge(CRASH, [wrong], ENDED).failures[0].startswith("cause named component:transcoder-ch1:overload")


def test_impact_that_did_not_end_fails() -> None:
    assert judge(CRASH, [mended()], Loss(impact_started_s=7.0)).failures == ("impact not ended",)


def test_fault_that_nobody_heard_passes() -> None:
    assert judge(CRASH, [mended()], Loss(listener_minutes_lost=0.0)).failures == ()


def test_refused_action_is_no_deed() -> None:
    seen = mended()
    refused = replace(seen, actions=(replace(seen.actions[0], state=ActionState.REFUSED),), verdicts=())
    result = judge(CRASH, [refused], ENDED)
    assert result.action is None
    assert result.failures == ("action none is not among the right ones (restart component:transcoder-ch1)",)


def test_harmless_event_passes_when_left_alone_and_fails_when_acted_on() -> None:
    harmless = replace(CRASH, is_fault=False, right=("none",))
    assert judge(harmless, [], Loss()).failures == ()
    assert "nothing was broken" in judge(harmless, [mended()], Loss()).failures[0]


@pytest.mark.parametrize("right", ["restart", "restart:component:transcoder-ch1", "restart component:transcoder-ch1"])
def test_right_remedy_may_be_written_short(right: str) -> None:
    assert judge(replace(CRASH, right=(right,)), [mended()], ENDED).failures == ()


def test_incident_of_the_calm_is_false() -> None:
    early = Seen(incident("component:transcoder-ch1", at=-30.0))
    late = Seen(incident("component:transcoder-ch1", at=200.0))
    mine, false = attribute([late, mended(), early], [CRASH])
    assert [seen.incident.id for seen in mine["f1"]] == ["i4.0"]
    assert false == [early, late]


def test_incident_whose_window_began_before_the_fault_belongs_to_it() -> None:
    window = replace(incident("channel:ch1", at=-20.0), opened=NOON + timedelta(seconds=5))
    assert attribute([Seen(window)], [CRASH])[1] == []


def test_incident_off_the_path_is_false() -> None:
    elsewhere = Seen(incident("edge:edge-2"))
    assert attribute([elsewhere], [CRASH])[1] == [elsewhere]


def test_rendition_counts_as_its_channel() -> None:
    heard = Seen(incident("rendition:ch1/aac-128"))
    assert attribute([heard], [CRASH]) == ({"f1": [heard]}, [])


def test_incident_belongs_to_the_later_of_two_faults() -> None:
    second = replace(CRASH, id="f2", injected=NOON + timedelta(seconds=50), healed=None)
    after = Seen(incident("channel:ch1", at=55.0))
    assert attribute([after], [CRASH, second])[0] == {"f1": [], "f2": [after]}


def test_incident_set_off_by_something_harmless_is_false() -> None:
    harmless = replace(CRASH, is_fault=False)
    seen = Seen(incident("channel:ch1"))
    assert attribute([seen], [harmless]) == ({"f1": [seen]}, [seen])


def test_truth_is_read_with_iso_or_unix_time() -> None:
    document = {"id": 1, "name": "n", "is_fault": True, "entity": "e:x", "cause": "e:x:crash", "right": ["restart"]}
    assert parse_truth(document | {"injected": NOON.isoformat()}).injected == NOON
    assert parse_truth(document | {"injected": NOON.timestamp()}).injected == NOON


def test_truth_without_an_entity_is_refused() -> None:
    with pytest.raises(FaultError, match="no usable truth"):
        parse_truth({"id": "1", "name": "n"})


def test_run_is_void_above_five_percent_starved() -> None:
    assert not is_void(5.0, 100.0)
    assert is_void(5.1, 100.0)


def test_false_incident_fails_the_demo() -> None:
    assert exit_status([judge(CRASH, [mended()], ENDED)], false_incidents=1) == 1
