"""What would have been done about a recorded incident, by its telemetry and a profile."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tasks.redecide import NO_RUNBOOK, cause_of, decision, refusals
from tasks.survey import Sight
from tests.unit.platform_parts import START, at, two_channels
from tonewatch.cases import Expected
from tonewatch.records import Cause, CauseKind, Change, Sample, Series
from tonewatch.settings import changed, load_profile

PLATFORM, DEMO = two_channels(), load_profile("demo")
TRANSCODER = "component:transcoder-ch1"
CRASH = Cause("case", 1, TRANSCODER, CauseKind.CRASH, 1.0)
NOW = at(10)
YES = ("restart", ())


def sight(own: dict[str, Any] | None = None, down: range = range(5, 11), *, starved: bool = False) -> Sight:
    """The transcoder is down in these seconds, all else is up."""
    readings = {
        (entity, "up"): [
            Sample(Series(entity, "up"), at(second), float(entity != TRANSCODER or second not in down))
            for second in range(11)
        ]
        for entity in PLATFORM.entities
    }
    return Sight(changed(DEMO, own or {}), PLATFORM, readings, {}, starved)


def work(entity: str) -> Change:
    return Change("c1", "maintenance", entity, at(0), at(60), "ops", "a new disk")


def test_a_granted_remedy_of_a_steady_fault_would_be_carried_out() -> None:
    assert refusals(CRASH, sight(), [], NOW) == ()


@pytest.mark.parametrize(
    ("own", "down", "guard"),
    [
        ({"grants": []}, range(5, 11), "consent"),
        ({"guardrails": {"steady_readings": 7}}, range(5, 11), "steady-fault"),
        ({}, range(9, 11), "steady-fault"),
        (
            {"guardrails": {"freezes": [{"started": at(0).isoformat(), "ended": at(99).isoformat(), "reason": "cup"}]}},
            range(5, 11),
            "kill-switch",
        ),
    ],
)
def test_what_the_profile_forbids_is_refused_by_its_guardrail(own: dict[str, Any], down: range, guard: str) -> None:
    assert refusals(CRASH, sight(own, down), [], NOW) == (guard,)


def test_a_starved_watcher_or_people_at_work_on_the_target_are_heeded() -> None:
    assert refusals(CRASH, sight(starved=True), [], NOW) == ("fresh-data",)
    assert refusals(CRASH, sight(), [work(TRANSCODER)], NOW) == ("kill-switch",)
    assert refusals(CRASH, sight(), [work("edge:edge-1")], NOW) == ()
    assert "kill-switch" not in refusals(CRASH, sight(), [work(TRANSCODER)], at(61)), "the work is over by then"


def test_a_cause_that_no_runbook_mends_is_left_to_people() -> None:
    leak = Cause("case", 1, TRANSCODER, CauseKind.LEAK, 1.0)
    assert refusals(leak, sight(), [], NOW) == (NO_RUNBOOK,)
    assert decision(leak, [(NOW, (NO_RUNBOOK,))], NOW, timedelta(0)) == ("", (NO_RUNBOOK,))


def test_it_is_decided_from_the_page_on_and_not_for_ever() -> None:
    told = [(at(1), ()), (at(5), ("steady-fault", "consent")), (at(9), ("consent",)), (at(20), ())]
    assert decision(CRASH, told, at(0), timedelta(seconds=60)) == YES
    assert decision(CRASH, told, at(2), timedelta(seconds=60)) == YES
    assert decision(CRASH, told, at(2), timedelta(seconds=10)) == ("", ("consent",)), "who said no when it came nearest"
    assert decision(CRASH, told, at(30), timedelta(seconds=10)) == ("", (NO_RUNBOOK,))


@pytest.mark.parametrize("cause", ["", "crash", "leak-501-3", f"{TRANSCODER}:gremlins"])
def test_a_case_that_tells_no_cause_that_there_is_is_not_decided_on(cause: str) -> None:
    assert cause_of(Expected(START, NOW, (TRANSCODER,), cause)) is None
    assert cause_of(None) is None


def test_a_cause_is_read_from_the_case() -> None:
    assert cause_of(Expected(START, NOW, (TRANSCODER,), f"{TRANSCODER}:crash")) == CRASH
