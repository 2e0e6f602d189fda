from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.definitions import floors
from feature_store.windows import Floats
from ml.ab_test import GUARDS, LATENCY
from ml.champion import Champion
from ml.detectors.isolation_forest import ForestDetector
from policy.grouping import REACH
from tasks.shadow import (
    COPIES,
    FOUND_WITHIN,
    Known,
    Pair,
    Seen,
    Stream,
    calm_share,
    found_within,
    length_of,
    piece_of,
    shadow,
)
from tests.unit.transcoders import NOON, PARTS, at, champion, forest, telemetry
from tonewatch.errors import ModelError
from tonewatch.records import Sample, Series
from tonewatch.settings import load_profile

PROFILE = load_profile("demo")
PIECE = piece_of(PROFILE).total_seconds()
ILL = {PARTS[0]: (10, 70)}


@pytest.fixture(scope="module")
def good() -> Champion:
    return champion()


@pytest.fixture(scope="module")
def deaf(good: Champion) -> Champion:
    return replace(good, threshold=0.999)


def stream(samples: Sequence[Sample], incidents: Sequence[Known] = (), starved: Sequence[Sample] = ()) -> Stream:
    return Stream("kiwi", samples, starved, {part: number for number, part in enumerate(PARTS)}, incidents)


def seen(first: Champion, second: Champion, of: Stream) -> Seen:
    return shadow(Pair(first, second), of, NOON, PROFILE)


def calm() -> list[Sample]:
    return telemetry(-360, int(PIECE) + 600)


def test_two_equal_models_find_the_same_and_disagree_on_nothing(good: Champion) -> None:
    told = seen(good, good, stream(calm()))
    assert len(told.outcomes) == COPIES
    assert all(his == its and injected for _, his, its, injected in told.outcomes.values())
    assert any(his for _, his, _, _ in told.outcomes.values())
    assert (told.calm_seconds, told.alone(), told.crash) == (PIECE, [], "")
    assert told.cost is not None
    assert min(told.cost) > 0


def test_the_same_stream_tells_the_same_and_is_not_changed(good: Champion) -> None:
    samples = calm()
    before = list(samples)
    first, second = (seen(good, good, stream(samples)) for _ in range(2))
    assert replace(first, cost=None) == replace(second, cost=None)
    assert all(one is other for one, other in zip(samples, before, strict=True))


def test_a_model_that_hears_finds_more_of_what_is_injected_than_a_deaf_one(good: Champion, deaf: Champion) -> None:
    outcomes = seen(deaf, good, stream(calm())).outcomes.values()
    assert not any(his for _, his, _, _ in outcomes)
    assert any(its for _, _, its, _ in outcomes)


def test_an_incident_that_is_known_is_found_by_one_and_no_page_of_calm(good: Champion, deaf: Champion) -> None:
    known = Known("incident", at(12), frozenset({0}))
    told = seen(deaf, good, stream(telemetry(-360, int(PIECE) + 600, ill=ILL), [known]))
    assert told.outcomes["incident"] == (at(12), False, True, False)
    assert (list(told.challenger_pages), told.alone()) == ([], [])
    taken = min(PIECE, 12 + found_within(PROFILE).total_seconds())  # from its reach before the piece on
    assert told.calm_seconds == pytest.approx(PIECE - taken / len(PARTS))
    assert told.calm_seconds < PIECE


def test_an_incident_that_lasts_leaves_nothing_of_its_chain_calm() -> None:
    everywhere = Known("incident", at(-360), frozenset(range(len(PARTS))), at(PIECE))
    end, patience = at(PIECE), found_within(PROFILE)
    assert calm_share(stream([], [everywhere]), NOON, end, patience) == 0.0
    assert calm_share(stream([], [replace(everywhere, chains=frozenset())]), NOON, end, patience) == 1.0


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(-100, 400), st.integers(0, 300), st.frozensets(st.integers(0, len(PARTS) - 1))),
        max_size=5,
    )
)
def test_calm_time_is_what_a_count_second_by_second_gives(lasting: list[tuple[int, int, frozenset[int]]]) -> None:
    patience, reach = timedelta(seconds=30), int(REACH.total_seconds())
    known = [Known(str(n), at(on), chains, at(on + last)) for n, (on, last, chains) in enumerate(lasting)]
    calm_ones = [
        not any(chain in chains and on - reach <= second < on + max(last, 30) for on, last, chains in lasting)
        for chain in range(len(PARTS))
        for second in range(300)
    ]
    told = calm_share(stream([], known), NOON, at(300), patience)
    assert told == pytest.approx(sum(calm_ones) / len(calm_ones))


def test_what_one_alone_would_have_told_is_a_disagreement(good: Champion, deaf: Champion) -> None:
    told = seen(deaf, good, stream(telemetry(-360, int(PIECE) + 600, ill=ILL)))
    ((who, page),) = told.alone()
    assert (who, page.entity) == ("challenger", PARTS[0])
    assert at(10) <= page.first <= page.met <= at(75)
    assert page.score > good.threshold
    assert all(injected for _, _, _, injected in told.outcomes.values())


def endless(*parts: str) -> Stream:
    """These parts, or the first alone, lag from long before the piece on."""
    until = int(PIECE) + 600
    return stream(telemetry(-360, until, ill=dict.fromkeys(parts or PARTS[:1], (-360, until))))


def test_a_page_that_holds_on_stands_in_every_piece_and_is_asked_about_once(good: Champion, deaf: Champion) -> None:
    told = seen(good, deaf, endless())
    assert (list(told.champion_pages), list(told.champion_standing)) == ([], [PARTS[0]])
    assert (list(told.challenger_pages), list(told.challenger_standing), told.alone()) == ([], [], [])
    assert told.calm_seconds == PIECE


def test_whoever_has_told_of_a_part_for_long_finds_no_anomaly_in_it(good: Champion, deaf: Champion) -> None:
    quiet, ill = stream(calm()), endless(*PARTS)
    his, its = ([found for _, _, found, _ in seen(deaf, good, of).outcomes.values()] for of in (quiet, ill))
    assert any(his)
    assert its == [False] * COPIES


def test_what_is_told_without_the_anomaly_finds_none(good: Champion) -> None:
    """A run that began well before the anomaly, and is long enough only after its beginning."""
    patient = PROFILE.model_copy(update={"anomaly_seconds": 120.0})
    until = int(piece_of(patient).total_seconds()) + 900
    ill = stream(telemetry(-700, until, ill=dict.fromkeys(PARTS, (-85, until))))
    (page, *_) = shadow(Pair(good, good), ill, NOON, patient).champion_pages
    assert page.first < NOON - timedelta(seconds=60) < NOON < page.met
    assert shadow(Pair(good, good), ill, NOON, patient).outcomes == {}


def test_a_run_as_long_as_the_watcher_looks_back_still_stands(good: Champion) -> None:
    patient = PROFILE.model_copy(update={"anomaly_seconds": 360.0})
    until = int(piece_of(patient).total_seconds()) + 1500
    told = shadow(Pair(good, good), stream(telemetry(-1500, until, ill={PARTS[0]: (-1500, until)})), NOON, patient)
    assert (list(told.champion_pages), list(told.champion_standing)) == ([], [PARTS[0]])


def test_a_page_that_holds_on_because_of_a_known_incident_does_not_stand(good: Champion, deaf: Champion) -> None:
    lasting = Known("incident", at(-360), frozenset({0}), at(PIECE))
    told = seen(good, deaf, replace(endless(), incidents=[lasting]))
    assert list(told.champion_standing) == []
    over = replace(lasting, until=at(-200))
    assert list(seen(good, deaf, replace(endless(), incidents=[over])).champion_standing) == []
    later = replace(lasting, onset=at(-100), until=at(PIECE))
    assert list(seen(good, deaf, replace(endless(), incidents=[later])).champion_standing) == [PARTS[0]]


def test_an_anomaly_goes_into_no_copy_in_which_something_is_amiss_already(good: Champion) -> None:
    known = [Known("incident", at(30), frozenset({0, 1}))]
    assert set(seen(good, good, stream(calm(), known)).outcomes) == {"incident"}


def test_a_challenger_that_fails_is_told_and_nothing_else(good: Champion) -> None:
    other = ForestDetector(("lag_mean",), floors("transcode")[:1])
    other.version = "2"
    told = seen(good, replace(good, detector=other), stream(calm()))
    assert "do not fit the model's 1 features" in told.crash
    assert (told.outcomes, told.cost, told.calm_seconds) == ({}, None, 0.0)
    with pytest.raises(ModelError, match="the model 2 of transcode fails"):
        seen(replace(good, detector=other), good, stream(calm()))


class Faint(ForestDetector):
    """It fails where it is asked of one part alone, as of copies with an anomaly, by an error of its library's."""

    def strangeness(self, strands: Floats) -> Floats:
        if len(strands) == 1:
            raise RuntimeError("out of memory")
        return super().strangeness(strands)


def test_who_fails_on_an_injected_copy_is_the_one_that_is_blamed(good: Champion) -> None:
    whole = forest("2")
    assert whole.pipeline is not None
    faint = replace(good, detector=Faint.restored(whole.pipeline, whole.names, whole.floors, whole.limits, "2"))
    assert "RuntimeError: out of memory" in seen(good, faint, stream(calm())).crash
    with pytest.raises(ModelError, match="the model 2 of transcode fails: RuntimeError"):
        seen(faint, good, stream(calm()))


def test_a_challenger_that_is_ten_times_slower_costs_more_than_the_guard_tolerates(good: Champion) -> None:
    class Slow(ForestDetector):
        """It scores everything a dozen times over."""

        def strangeness(self, strands: Floats) -> Floats:
            return [super(Slow, self).strangeness(strands) for _ in range(12)][-1]

    calm_forest = forest("2")
    assert calm_forest.pipeline is not None
    slow = Slow.restored(calm_forest.pipeline, calm_forest.names, calm_forest.floors, calm_forest.limits, "2")
    told = seen(good, replace(good, detector=slow), stream(calm()))
    assert told.cost is not None
    champion_s, challenger_s, *_ = told.cost
    latency = next(guard for guard in GUARDS if guard.name == LATENCY)
    assert challenger_s / champion_s > latency.tolerance


def test_a_watcher_that_was_starved_tells_nothing_of_calm(good: Champion) -> None:
    starved = [
        Sample(Series("host:watcher", "host_starved_seconds"), at(second), 1.0)
        for second in range(-360, int(PIECE) + 600, 5)
    ]
    told = seen(good, good, stream(calm(), starved=starved))
    assert (told.calm_seconds, told.cost) == (0.0, None)


def test_a_tenant_without_the_family_tells_nothing(good: Champion) -> None:
    assert seen(good, good, replace(stream([]), chains={})) == Seen(NOON)


def test_a_piece_is_an_hour_of_the_day_and_holds_an_anomaly() -> None:
    platform = load_profile("platform")
    assert piece_of(platform) == timedelta(hours=1)
    assert length_of(platform) <= piece_of(platform)
    assert length_of(PROFILE) == piece_of(PROFILE)


def test_an_incident_is_found_within_the_same_part_of_every_day_and_never_before_an_anomaly_can_be() -> None:
    assert found_within(load_profile("platform")) == FOUND_WITHIN
    assert found_within(PROFILE) == length_of(PROFILE) < FOUND_WITHIN
