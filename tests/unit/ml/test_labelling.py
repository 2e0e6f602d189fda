"""Who is believed how far, and what that makes of incidents."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from ml.agreement import agreement
from ml.labelling import BURST, HONEST_ERROR, MOST_ACCURATE, Opinion, Vote, _tail, opinion, quarantine_reason

PEOPLE = {"ann": 0.95, "ben": 0.9, "cleo": 0.9, "dan": 0.85}


def crowd(incidents: int, seed: int = 1) -> tuple[dict[str, bool], list[Vote]]:
    """The truth, and what honest people who err say of it, an hour apart."""
    chance = random.Random(seed)
    truth = {f"i{number}": chance.random() < 0.6 for number in range(incidents)}
    votes = [
        Vote(incident, who, real == (chance.random() < right), 7200.0 * number + 60 * at)
        for number, (incident, real) in enumerate(truth.items())
        for at, (who, right) in enumerate(PEOPLE.items())
    ]
    return truth, votes


def wrong(found: Opinion, truth: dict[str, bool]) -> list[str]:
    return [each for each, real in truth.items() if found.settled(each) is not None and found.settled(each) != real]


def lies(truth: dict[str, bool], who: str, of: Sequence[str], apart: float = 7200.0) -> list[Vote]:
    return [Vote(each, who, not truth[each], 1e6 + apart * number) for number, each in enumerate(of)]


def test_honest_people_settle_nearly_all_and_the_better_weigh_more() -> None:
    truth, votes = crowd(60)
    found = opinion(votes)
    assert sum(found.settled(each) is not None for each in truth) >= 55
    assert len(wrong(found, truth)) <= 2
    assert found.authors["ann"].weight > found.authors["dan"].weight > 0
    assert not any(each.quarantined for each in found.authors.values())
    assert found.agreement.alpha is not None
    assert 0.4 < found.agreement.alpha < 0.9


def test_who_always_says_the_opposite_is_quarantined_and_counts_nothing() -> None:
    truth, votes = crowd(30)
    found = opinion([*votes, *lies(truth, "mallory", list(truth)[:10])])
    mallory = found.authors["mallory"]
    assert mallory.weight == 0.0
    assert "contradict" in mallory.quarantined
    honest = opinion(votes)
    assert [found.settled(each) for each in truth] == [honest.settled(each) for each in truth]


def test_who_contradicts_what_was_verified_is_quarantined_though_nobody_else_spoke() -> None:
    truth = {f"i{number}": True for number in range(6)}
    found = opinion(lies(truth, "mallory", list(truth)), truth)
    assert found.authors["mallory"].quarantined
    assert all(found.settled(each) for each in truth)


def test_new_names_outvote_nobody_who_is_known_however_many_they_are() -> None:
    truth, votes = crowd(20)
    target = next(each for each, real in truth.items() if real and opinion(votes).settled(each))
    crowd_of_names = [Vote(target, f"name-{number}", False, 1e6 + 60 * number) for number in range(50)]
    assert opinion([*votes, *crowd_of_names]).settled(target) is True


def test_new_names_settle_nothing_alone() -> None:
    _, votes = crowd(20)
    names = [Vote("other", f"name-{number}", False, 1e6 + 60 * number) for number in range(50)]
    assert opinion([*votes, *names]).settled("other") is None


def test_a_sleeper_loses_what_he_had_earned() -> None:
    truth, votes = crowd(60)
    places = list(truth)
    good = [Vote(each, "mallory", truth[each], 7200.0 * number) for number, each in enumerate(places[:40])]
    assert opinion([*votes, *good]).authors["mallory"].accuracy == MOST_ACCURATE
    assert opinion([*votes, *good, *lies(truth, "mallory", places[40:48])]).authors["mallory"].quarantined


def test_one_who_lies_of_one_detector_alone_is_found_out() -> None:
    truth, votes = crowd(60)
    places = list(truth)
    said = [Vote(each, "mallory", truth[each], 1e6 + 7200 * n, "package") for n, each in enumerate(places[:40])]
    said += [Vote(each, "mallory", not truth[each], 2e6 + 7200 * n, "edge") for n, each in enumerate(places[40:46])]
    said += [Vote(each, "mallory", truth[each], 3e6 + 7200 * n, "package") for n, each in enumerate(places[46:])]
    assert opinion([*votes, *said]).authors["mallory"].quarantined


def test_a_single_person_is_heard_where_nobody_else_could_be_asked_and_not_where_one_could() -> None:
    alone = opinion([Vote("i1", "ann", False, 0.0)])
    assert (alone.settled("i1"), alone.said("i1")) == (None, False)
    two = opinion([Vote("i1", "ann", False, 0.0), Vote("i2", "ben", True, 0.0)])
    assert (two.settled("i1"), two.said("i1")) == (None, None)


def test_of_one_author_the_last_word_counts() -> None:
    found = opinion([Vote("i1", "ann", False, 5.0), Vote("i1", "ann", True, 9.0)])
    assert found.said("i1") is True
    assert found.authors["ann"].votes == 1


def test_many_labels_in_an_hour_count_as_a_few() -> None:
    calm = [Vote(f"i{number}", "ann", False, 7200.0 * number) for number in range(40)]
    burst = [Vote(f"i{number}", "ann", False, 10.0 * number) for number in range(4 * BURST)]
    assert opinion(calm).said("i5") is False
    assert opinion(burst).said("i5") is None


def test_an_error_now_and_then_is_no_reason_for_quarantine() -> None:
    assert quarantine_reason(right=1, compared=3) == ""
    assert quarantine_reason(right=20, compared=26) == ""
    assert quarantine_reason(right=1, compared=8) != ""


def test_agreement_is_krippendorffs() -> None:
    # Krippendorff 2011, example B: two observers, ten units, alpha 0.095.
    first, second = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    told = {str(number): [bool(a), bool(b)] for number, (a, b) in enumerate(zip(first, second, strict=True))}
    found = agreement(told)
    assert found.alpha == pytest.approx(0.095, abs=5e-4)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.095 < found.high
    assert agreement(told) == found


def test_agreement_is_not_told_where_nothing_shows_it() -> None:
    assert agreement({}).alpha is None
    assert agreement({"i1": [True], "i2": [False]}).alpha is None
    assert agreement({"i1": [True, True], "i2": [True, True]}).alpha is None


def test_no_votes_are_no_opinion() -> None:
    found = opinion([])
    assert (found.posteriors, found.authors) == ({}, {})


def test_thousands_of_labels_are_counted_out() -> None:
    assert _tail(0, 5_000) == pytest.approx(1.0)
    assert 0.0 <= _tail(3_000, 5_000) < 1e-12
    assert _tail(2, 3) == pytest.approx(3 * HONEST_ERROR**2 * (1 - HONEST_ERROR) + HONEST_ERROR**3)
