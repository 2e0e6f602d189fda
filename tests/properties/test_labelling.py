"""What no label of anybody can do, whatever he says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ml.hindsight import ALONE, MOST, eased, uncalm
from ml.labelling import Vote, opinion

incident = st.sampled_from([f"i{number}" for number in range(8)])
votes = st.lists(
    st.builds(Vote, incident, st.sampled_from(["ann", "ben", "cleo"]), st.booleans(), st.floats(0, 1e6)), max_size=30
)
score = st.floats(0.01, 0.99)


@settings(max_examples=60, deadline=None)
@given(votes, st.lists(st.tuples(incident, st.booleans(), st.floats(0, 1e6)), max_size=20))
def test_one_author_settles_nothing_that_nobody_else_says(
    others: list[Vote], said: list[tuple[str, bool, float]]
) -> None:
    found = opinion([*others, *(Vote(where, "mallory", real, time) for where, real, time in said)])
    told = {each.incident for each in others}
    assert all(found.settled(where) is None for where, _, _ in said if where not in told)


@settings(max_examples=60, deadline=None)
@given(votes)
def test_weights_keep_to_their_bounds_and_the_order_of_votes_changes_nothing(given_votes: list[Vote]) -> None:
    found = opinion(given_votes)
    assert all(0.0 <= each.weight <= 2.2 for each in found.authors.values())
    assert all(0.0 < each < 1.0 for each in found.posteriors.values())
    # Of one author's words of the same moment either may count: there the order is told by what is said.
    assert opinion(reversed(given_votes)) == found


@settings(max_examples=60, deadline=None)
@given(votes, incident, st.booleans())
def test_an_authors_label_never_turns_what_is_verified(given_votes: list[Vote], where: str, real: bool) -> None:
    found = opinion([*given_votes, Vote(where, "mallory", not real, 2e6)], {where: real})
    assert found.settled(where) in (real, None)


@given(score, st.lists(score), st.lists(score))
def test_what_one_alone_says_moves_a_threshold_by_a_quarter_of_the_way_at_most(
    trained: float, false_alarms: list[float], real: list[float]
) -> None:
    assert eased(trained, trained, false_alarms, real, ALONE) <= trained + ALONE * (1 - trained) + 1e-12
    assert eased(trained, trained, false_alarms, real, MOST) <= trained + MOST * (1 - trained) + 1e-12


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e5)), max_size=6))
def test_no_more_than_half_of_the_calm_is_ever_left_out(spans: list[tuple[float, float]]) -> None:
    times = [60.0 * number for number in range(2000)]
    assert uncalm(times, [(min(each), max(each)) for each in spans]).mean() <= 0.5
