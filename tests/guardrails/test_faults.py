"""Each guard stops its faults, and it alone does: switched off, they pass."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import pytest

from policy import guardrails
from policy.guardrails import Attempt, Moment, all_allow, ask
from tests.guardrails.faults import FAULTS, FINE, OPENED, RESTART, UNDO, Fault
from tonewatch.records import GuardAnswer

CASES = [
    pytest.param(fault, id=f"{fault.guard}: {fault.words}", marks=pytest.mark.guard(fault.guard)) for fault in FAULTS
]


@pytest.mark.parametrize("fault", CASES)
def test_a_fault_does_not_pass_its_guard(fault: Fault) -> None:
    assert not all_allow(ask(fault.attempt, fault.moment), fault.moment)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.guard}: {fault.words}")
def test_no_other_guard_stops_the_fault(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = [answer.guard for answer in ask(fault.attempt, fault.moment) if not answer.allowed]
    assert refused in ([fault.guard], [])  # none where the guard is switched off from outside
    monkeypatch.setattr(guardrails, "GUARDS", tuple(g for g in guardrails.GUARDS if g.name != fault.guard))
    assert all_allow(ask(fault.attempt, fault.moment), fault.moment)


@pytest.mark.parametrize(("words", "moment", "attempt"), FINE, ids=[words for words, _, _ in FINE])
def test_what_is_fine_passes_every_guard(words: str, moment: Moment, attempt: Attempt) -> None:
    assert [answer for answer in ask(attempt, moment) if not answer.allowed] == []
    assert all_allow(ask(attempt, moment), moment)


@pytest.mark.parametrize("attempt", OPENED)
def test_the_limits_are_those_of_the_profile(attempt: Attempt) -> None:
    assert all_allow(ask(attempt, Moment.BEFORE))
    assert not all_allow(ask(replace(attempt, limits=RESTART.limits), Moment.BEFORE))


def test_every_guard_has_faults_and_every_number_of_the_sheet_its_guard() -> None:
    assert [guard.number for guard in sorted(guardrails.GUARDS, key=lambda g: g.number)] == [
        *range(1, 9), *range(10, 16), 17, 18, 20,
    ]  # fmt: skip
    counted = Counter(fault.guard for fault in FAULTS)
    assert {guard.name for guard in guardrails.GUARDS} == set(counted)
    assert min(counted.values()) >= 3


def test_a_fact_that_is_not_known_never_helps() -> None:
    """Whatever single fact is taken away from what is fine, no guard says yes that did not before."""
    optional = [each.name for each in fields(Attempt) if each.default is None]
    needed = set()
    for moment, attempt in ((Moment.BEFORE, RESTART), (Moment.AFTER, RESTART), (Moment.UNDO, UNDO)):
        for name in optional:
            without = replace(attempt, **{name: None})  # type: ignore[arg-type]  # each of them may be None
            if not all_allow(ask(without, moment), moment):
                needed.add(name)
    # What may be unknown: whether it was done before, where it was never sent.
    assert set(optional) - needed == {"found_done"}


def test_a_guard_that_fails_itself_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(RESTART, ages={"up": "old"})  # type: ignore[dict-item]  # what a bug could bring
    (answer,) = [each for each in ask(broken, Moment.BEFORE) if not each.allowed]
    assert answer.guard == "fresh-data"
    assert "could not judge" in answer.reason


def test_answers_that_are_missing_or_of_another_moment_are_no_consent() -> None:
    answers = ask(RESTART, Moment.BEFORE)
    assert all_allow(answers, Moment.BEFORE)
    assert not all_allow(())
    assert not all_allow((), Moment.AFTER)
    assert not all_allow(answers[1:])
    assert not all_allow([GuardAnswer("kill-switch", True, "yes")])
    assert not all_allow(ask(RESTART, Moment.DECIDE), Moment.BEFORE)


def test_refusals_are_told_in_a_line() -> None:
    told = guardrails.why_not(ask(replace(RESTART, switch=False, audited=False), Moment.BEFORE))
    assert told == "kill-switch: remediation is switched off; audit-first: its intent is not in the audit"
