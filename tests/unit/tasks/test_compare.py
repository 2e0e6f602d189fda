from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.backtest import PastIncident
from tasks.compare import Outcome, compare, outcome
from tests.unit.platform_parts import START, two_channels
from tonewatch.cases import Expected
from tonewatch.errors import RecordingError

PACKAGER, EDGE = "component:packager", "edge:edge-1"
CRASH = Expected(START, START + timedelta(seconds=60), (PACKAGER,))
OUTCOMES = st.builds(
    Outcome,
    case=st.just("a"),
    calm=st.just(False),
    found_s=st.none() | st.floats(-30, 600),
    besides=st.integers(0, 5),
    findings=st.just(1),
    hash=st.text(max_size=2),
    acts=st.sampled_from(["", "restart"]),
    refusals=st.sets(st.sampled_from(["consent", "budget"])).map(lambda guards: tuple(sorted(guards))),
)


def page(second: float, *entities: str) -> PastIncident:
    opened = START + timedelta(seconds=second)
    return PastIncident(opened, opened, opened + timedelta(seconds=9), "", entities, ())


def told(
    found_s: float | None = 5.0,
    besides: int = 0,
    case: str = "a",
    calm: bool = False,
    acts: str = "",
    refusals: tuple[str, ...] = (),
) -> Outcome:
    return Outcome(case, calm, found_s, besides, 3, f"{found_s} {besides}", acts, refusals)


def test_a_page_on_the_part_or_what_it_feeds_while_it_lasts_is_the_incidents() -> None:
    seen = outcome("a", CRASH, [page(9, PACKAGER), page(7, EDGE)], two_channels(), 4, "h")
    assert (seen.found_s, seen.besides, seen.calm) == (7.0, 0, False)


@pytest.mark.parametrize("second", [-31.0, 91.0])
def test_a_page_before_or_long_after_is_none_of_the_incidents(second: float) -> None:
    seen = outcome("a", CRASH, [page(second, PACKAGER)], two_channels(), 4, "h")
    assert (seen.found_s, seen.besides) == (None, 1)


def test_every_page_of_a_calm_period_is_false() -> None:
    seen = outcome("a", None, [page(3, PACKAGER), page(4, EDGE)], two_channels(), 4, "h")
    assert (seen.found_s, seen.besides, seen.calm) == (None, 2, True)


def test_an_incident_that_is_missed_now_refuses_whatever_is_found_better() -> None:
    before = [told(case="a"), told(None, case="b"), told(None, case="c")]
    after = [told(None, case="a"), told(1.0, case="b"), told(1.0, case="c")]
    found = compare(before, after)
    assert found.refused
    assert found.worse == {"a": "found after 5 s -> missed"}
    assert found.better == dict.fromkeys("bc", "missed -> found after 1 s")


def test_a_false_page_more_in_a_calm_period_refuses() -> None:
    found = compare([told(None, 0, calm=True)], [told(None, 1, calm=True)])
    assert found.worse == {"a": "0 -> 1 false pages"}


def test_a_little_later_is_not_worse_and_much_later_is() -> None:
    assert not compare([told(60.0)], [told(85.0)]).refused
    assert compare([told(60.0)], [told(95.0)]).worse == {"a": "found after 60 s -> found after 95 s"}


def test_what_was_mended_by_itself_and_is_left_to_people_now_refuses() -> None:
    mended, left = told(acts="restart"), told(refusals=("steady-fault", "consent"))
    assert compare([mended], [left]).worse == {"a": "restart by itself -> left to people (steady-fault, consent)"}
    assert compare([mended], [told(None)]).worse == {"a": "found after 5 s -> missed"}


def test_what_a_guardrail_kept_from_being_done_and_is_done_now_refuses_unless_only_a_yes_was_wanting() -> None:
    mended, wanting = told(acts="drain"), told(refusals=("consent",))
    unsafe = told(refusals=("blast-radius", "consent"))
    assert compare([unsafe], [mended]).worse == {"a": "blast-radius said no -> drain by itself"}
    granted = compare([wanting], [mended])
    assert not granted.refused
    assert granted.better == {"a": "left to people (consent) -> drain by itself"}


def test_an_outcome_is_read_as_it_was_written_also_one_that_tells_of_no_decision() -> None:
    mended, old = told(acts="drain", refusals=("consent",)), asdict(told())
    assert Outcome.from_json(json.loads(json.dumps(asdict(mended)))) == mended
    del old["acts"], old["refusals"]
    assert Outcome.from_json(old) == told()


def test_findings_that_differ_without_any_harm_are_counted() -> None:
    found = compare([told(5.0)], [told(6.0)])
    assert (found.refused, found.same, found.changed) == (False, 1, 1)


def test_outcomes_of_other_cases_cannot_be_held_against_each_other() -> None:
    with pytest.raises(RecordingError, match="b only in one"):
        compare([told(case="a")], [told(case="a"), told(case="b")])


@given(before=OUTCOMES, after=OUTCOMES)
def test_what_is_worse_one_way_is_better_the_other_way_or_worse_too(before: Outcome, after: Outcome) -> None:
    there, back = compare([before], [after]), compare([after], [before])
    assert bool(there.better) <= back.refused
    assert not compare([before], [before]).refused
    if not there.refused and not back.refused:
        assert (before.found_s is None) == (after.found_s is None)
        assert before.besides == after.besides


def test_what_is_no_outcome_is_refused() -> None:
    with pytest.raises(RecordingError, match="no outcome of a case"):
        Outcome.from_json({"case": "a"})
