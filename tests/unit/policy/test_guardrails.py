from __future__ import annotations

from dataclasses import replace

import pytest

from policy import guardrails
from policy.autonomy import granted
from policy.guardrails import GUARDS, Attempt, all_allow, ask
from tonewatch.records import Action, ActionState, Cause, CauseKind, GuardAnswer
from tonewatch.settings import load_profile

CAUSE = Cause("i1", 1, "component:transcoder-ch1", CauseKind.CRASH, 0.97)
ACTION = Action("i1", "restart", CAUSE.entity, 1, ActionState.INTENDED, "act")
GRANT = granted(load_profile("demo"), "restart", CAUSE)
FINE = Attempt(ACTION, CAUSE, GRANT, True, True, "EXITED", False, ())

#: For every guard the attempt that it alone must stop.
STOPPED = {
    "switched-on": replace(FINE, remediation_enabled=False),
    "target-resolves": replace(FINE, target_known=False),
    "owner-granted": replace(FINE, grant=None),
    "cause-is-certain": replace(FINE, cause=replace(CAUSE, confidence=0.89)),
    "host-is-awake": replace(FINE, host_starved=True),
    "precondition-holds": replace(FINE, target_state="RUNNING"),
    "first-attempt": replace(FINE, earlier=(replace(ACTION, attempt=2, state=ActionState.FAILED),)),
}


def test_every_guard_allows_the_fine_attempt() -> None:
    assert all_allow(ask(FINE))


@pytest.mark.parametrize(("name", "guard"), GUARDS)
def test_guard_alone_stops_its_fault(name: str, guard: guardrails.Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = STOPPED[name]
    assert [answer.guard for answer in ask(attempt) if not answer.allowed] == [name]
    # Switched off, the same fault passes: the guard is what stops it.
    others = tuple(pair for pair in GUARDS if pair[0] != name)
    monkeypatch.setattr(guardrails, "GUARDS", others)
    assert all_allow(ask(attempt))


def test_unknown_process_state_stops_the_act() -> None:
    refused = [answer.guard for answer in ask(replace(FINE, target_state=None)) if not answer.allowed]
    assert "target-resolves" in refused


def test_missing_answers_are_no_consent() -> None:
    assert not all_allow(())
    assert not all_allow([GuardAnswer("switched-on", True, "yes")])


def test_grant_covers_only_what_it_names() -> None:
    demo = load_profile("demo")
    assert granted(demo, "restart", replace(CAUSE, kind=CauseKind.OVERLOAD)) is None
    assert granted(demo, "rollback", CAUSE) is None
    assert granted(load_profile("platform"), "restart", CAUSE) is None
    assert granted(demo, "restart", replace(CAUSE, entity="channel:ch1")) is None
