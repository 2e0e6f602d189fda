from __future__ import annotations

from datetime import UTC, datetime, timedelta

from policy.retraining import Asked, retraining

DAY = timedelta(days=1)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_first_drift_asks_and_rests_a_day() -> None:
    decided = retraining(NOW, None, None, DAY)
    assert (decided.ask, decided.rest) == (True, DAY)


def test_nothing_is_asked_while_it_rests() -> None:
    decided = retraining(NOW, Asked(NOW - DAY / 2, DAY), NOW - DAY / 4, DAY)
    assert not decided.ask
    assert "none is asked for before 2026-03-02 00:00" in decided.why


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
