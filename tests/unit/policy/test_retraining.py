from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from policy.retraining import ENOUGH_LABELS, OLD, PATIENCE, Asked, Known, Why, labelled, retraining, scheduled

DAY = timedelta(days=1)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_first_drift_asks_and_rests_a_day() -> None:
    decided = retraining(NOW, None, None, DAY)
    assert (decided.ask, decided.rest) == (True, DAY)


def test_nothing_is_asked_while_it_rests() -> None:
    decided = retraining(NOW, Asked(NOW - DAY / 2, DAY), NOW - DAY / 4, DAY)
    assert not decided.ask
    assert "none is asked for before 2026-03-02 00:00" in decided.why


def test_nothing_is_asked_while_the_last_request_waits_to_be_handed_over() -> None:
    decided = retraining(NOW, Asked(NOW - 3 * DAY, DAY, waits=True), NOW - DAY, DAY)
    assert (decided.ask, decided.rest) == (False, DAY)
    assert "2026-02-26 12:00 and is not handed over yet" in decided.why


def test_a_drift_that_went_on_rests_twice_as_long() -> None:
    decided = retraining(NOW, Asked(NOW - 2 * DAY, 2 * DAY), NOW - 30 * DAY, DAY)
    assert (decided.ask, decided.rest) == (True, 4 * DAY)


def test_a_view_that_was_steady_begins_with_the_first_rest() -> None:
    decided = retraining(NOW, Asked(NOW - 9 * DAY, 8 * DAY), NOW - 2 * DAY, DAY)
    assert (decided.ask, decided.rest) == (True, DAY)


def test_nothing_is_asked_while_the_challenger_is_validated() -> None:
    last = Asked(NOW - 3 * DAY, DAY)
    decided = retraining(NOW, last, None, DAY, NOW + DAY)
    assert (decided.ask, decided.rest) == (False, DAY)
    assert "validated, until 2026-03-02 12:00" in decided.why
    assert retraining(NOW, last, None, DAY, NOW).ask


def test_a_drift_that_never_ends_asks_ever_more_rarely() -> None:
    last, asked = None, 0
    for day in range(365):
        now = NOW + day * DAY
        decided = retraining(now, last, None, DAY)
        if decided.ask:
            last, asked = Asked(now, decided.rest), asked + 1
    assert asked == 16
    assert last is not None
    assert last.rest == 32 * DAY


def test_a_drift_waits_a_day_after_a_training_that_something_else_asked_for() -> None:
    held = retraining(NOW, None, None, DAY, other=NOW - DAY / 2)
    assert (held.ask, held.rest) == (False, DAY)
    assert "2026-03-01 00:00, for another reason" in held.why
    assert retraining(NOW, None, None, DAY, other=NOW - DAY).ask


OLD_ONE = Known(NOW - OLD * DAY, {})
ENOUGH = Known(NOW - DAY, {}, ENOUGH_LABELS)


def test_the_schedule_asks_for_old_models_and_for_first_ones() -> None:
    young = scheduled(NOW, replace(OLD_ONE, learned=NOW - OLD * DAY + timedelta(minutes=1)), DAY)
    assert not young.ask
    assert "old after 7 days" in young.why
    assert scheduled(NOW, OLD_ONE, DAY).ask
    assert scheduled(NOW, Known(None, {}), DAY).ask


def test_labels_ask_when_enough_were_settled_since_and_never_before_a_first_training() -> None:
    few = labelled(NOW, replace(ENOUGH, labels=ENOUGH_LABELS - 1), DAY)
    assert not few.ask
    assert "9 incidents were settled since; 10 ask" in few.why
    assert labelled(NOW, ENOUGH, DAY).ask
    assert not labelled(NOW, replace(ENOUGH, learned=None), DAY).ask


@pytest.mark.parametrize(("decide", "known"), [(scheduled, OLD_ONE), (labelled, ENOUGH)])
def test_neither_asks_over_a_challenger_that_is_judged_nor_on_the_heels_of_another(decide, known) -> None:  # type: ignore[no-untyped-def] # two functions
    judged = decide(NOW, replace(known, validating="edge 4"), DAY)
    assert (judged.ask, judged.why) == (False, "edge 4 is held against its champion")
    heels = decide(NOW, replace(known, asked={Why.DRIFT: Asked(NOW - DAY / 2, DAY)}), DAY)
    assert not heels.ask
    assert decide(NOW, replace(known, asked={Why.DRIFT: Asked(NOW - DAY, DAY)}), DAY).ask


@pytest.mark.parametrize(("decide", "known"), [(scheduled, OLD_ONE), (labelled, ENOUGH)])
def test_both_wait_for_calm_and_say_so(decide, known) -> None:  # type: ignore[no-untyped-def] # two functions
    restless = decide(NOW, replace(known, unrest="1 incident, not over"), DAY)
    assert (restless.ask, restless.why) == (False, "it waits for calm: 1 incident, not over")


def test_an_old_model_does_not_wait_for_calm_for_ever() -> None:
    old = replace(OLD_ONE, unrest="1 incident, not over")
    assert not scheduled(NOW + (PATIENCE * DAY - timedelta(minutes=1)), old, DAY).ask
    assert scheduled(NOW + PATIENCE * DAY, old, DAY).ask


def test_a_training_that_fails_is_asked_for_ever_more_rarely_by_the_schedule() -> None:
    last, asked = None, []
    for day in range(70):
        known = Known(NOW - 30 * DAY, {} if last is None else {Why.SCHEDULE: last})
        decided = scheduled(NOW + day * DAY, known, DAY)
        if decided.ask:
            last = Asked(NOW + day * DAY, decided.rest)
            asked.append(day)
    assert asked == [0, 1, 3, 7, 15, 31, 63]


def test_trainings_that_succeed_are_asked_for_once_a_week() -> None:
    learned, last, asked = NOW, None, []
    for day in range(1, 29):
        known = Known(learned, {} if last is None else {Why.SCHEDULE: last})
        decided = scheduled(NOW + day * DAY, known, DAY)
        if decided.ask:
            last, learned = Asked(NOW + day * DAY, decided.rest), NOW + day * DAY + timedelta(minutes=10)
            asked.append(day)
    assert asked == [7, 15, 23]
