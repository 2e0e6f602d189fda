from __future__ import annotations

from policy.verification import Cohorts, Moments, cohorts, effects, has_control, in_band, judge
from tests.unit.platform_parts import at, readings, series, two_channels
from tonewatch.records import Outcome, Sample
from tonewatch.settings import load_profile

TOPOLOGY = two_channels()
DEMO = load_profile("demo")
TARGET = "component:transcoder-ch1"
OVERDUE = "probe_playlist_overdue_seconds"
STARVED = "sessions_starved_ratio"
Held = dict[tuple[str, str], list[Sample]]


def scene(after: float = 0.0, up_before: float = 0.0, up: float = 1.0, starved: float = 0.0) -> Held:
    """Ten bad seconds, the act at 10, twenty seconds after it; players' reports trail by ten."""
    return readings(
        series(TARGET, "up", [up_before] * 10 + [up] * 20),
        series("rendition:ch1/aac-128", OVERDUE, [float(s) for s in range(10)] + [after] * 20),
        series("rendition:ch2/aac-128", OVERDUE, [0.0] * 30),
        series("channel:ch1", STARVED, [0.0] * 10 + [0.4] * 10 + [starved] * 10),
        series("channel:ch2", STARVED, [0.0] * 30),
        series("channel:ch2", "sessions_playing", [8.0] * 30),
    )


def measured(found: Held) -> tuple[Outcome, str]:
    split = cohorts(TARGET, TOPOLOGY)
    recovered = in_band(found, TARGET, split.touched, TOPOLOGY, DEMO, at(30))
    moments = Moments(at(-1), at(9), at(20), lag=10.0)
    return judge(recovered, effects(found, TARGET, split, TOPOLOGY, moments))


def test_cohorts_part_what_the_target_feeds_from_what_it_cannot_touch() -> None:
    assert cohorts(TARGET, TOPOLOGY) == Cohorts(("channel:ch1",), ("channel:ch2",))
    assert cohorts("component:origin", TOPOLOGY).untouched == ()


def test_recovery_with_an_effect_worked() -> None:
    assert measured(scene())[0] is Outcome.WORKED


def test_no_recovery_is_inconclusive() -> None:
    assert measured(scene(up=0.0))[0] is Outcome.INCONCLUSIVE


def test_worse_than_before_is_harm_when_the_target_was_alive() -> None:
    outcome, reason = measured(scene(after=30.0, up_before=1.0))
    assert outcome is Outcome.HARMED
    assert OVERDUE.removeprefix("probe_") in reason


def test_dead_target_that_stays_dead_gets_no_worse_by_the_act() -> None:
    assert measured(scene(after=18.0, up=0.0, starved=1.0))[0] is Outcome.INCONCLUSIVE


def test_reports_that_trail_the_act_are_no_harm_of_it() -> None:
    found = scene()
    found["channel:ch1", STARVED][:20] = series("channel:ch1", STARVED, [0.0] * 19 + [0.4])
    assert measured(found)[0] is Outcome.WORKED


def test_recovery_of_what_was_never_out_of_band_is_no_success() -> None:
    calm = readings(
        series(TARGET, "up", [1.0] * 20),
        series("rendition:ch1/aac-128", OVERDUE, [0.0] * 20),
        series("channel:ch1", STARVED, [0.0] * 20),
    )
    assert measured(calm)[0] is Outcome.INCONCLUSIVE


def test_improvement_that_the_untouched_channel_shares_is_not_the_acts() -> None:
    both = scene()
    both["rendition:ch2/aac-128", OVERDUE] = series("rendition:ch2/aac-128", OVERDUE, [30.0] * 10 + [0.0] * 20)
    both["channel:ch2", STARVED] = series("channel:ch2", STARVED, [1.0] * 20 + [0.0] * 10)
    assert measured(both)[0] is not Outcome.WORKED


def test_control_needs_listeners_and_a_probe() -> None:
    split = cohorts(TARGET, TOPOLOGY)
    found = scene()
    assert has_control(found, split, TOPOLOGY)
    found["channel:ch2", "sessions_playing"] = series("channel:ch2", "sessions_playing", [2.0])
    assert not has_control(found, split, TOPOLOGY)


def test_target_without_a_scrape_is_not_in_band() -> None:
    found = scene()
    del found[TARGET, "up"]
    assert not in_band(found, TARGET, ("channel:ch1",), TOPOLOGY, DEMO, at(30))


def test_what_a_dead_probe_last_said_is_not_in_band() -> None:
    assert in_band(scene(), TARGET, ("channel:ch1",), TOPOLOGY, DEMO, at(30))
    assert not in_band(scene(), TARGET, ("channel:ch1",), TOPOLOGY, DEMO, at(60))


def test_another_channels_own_trouble_does_not_make_a_remedy_harmful() -> None:
    found = scene()
    found["rendition:ch2/aac-128", OVERDUE] = series("rendition:ch2/aac-128", OVERDUE, [300.0] * 10 + [0.0] * 20)
    assert measured(found)[0] is not Outcome.HARMED


def test_shared_part_that_came_back_quickly_worked_although_no_listener_noticed() -> None:
    origin = "component:origin"
    found = readings(
        series(origin, "up", [0.0] * 10 + [1.0] * 20),
        series("rendition:ch1/aac-128", "probe_unreachable", [1.0] * 10 + [0.0] * 20),
        series("rendition:ch1/aac-128", OVERDUE, [0.0] * 20, first=10),
        series("rendition:ch2/aac-128", OVERDUE, [0.0] * 20, first=10),
        series("channel:ch1", STARVED, [0.0] * 30),
    )
    split = cohorts(origin, TOPOLOGY)
    assert in_band(found, origin, split.touched, TOPOLOGY, DEMO, at(30))
    outcome, reason = judge(True, effects(found, origin, split, TOPOLOGY, Moments(at(0), at(9), at(20), lag=10.0)))
    assert outcome is Outcome.WORKED
    assert "unreachable" in reason


def silent(after: float = 0.0) -> Held:
    """A silent channel whose silence counts up until the act, and for long after it if it did not help."""
    counted = [float(s) for s in range(10)] + [after * s for s in range(20)]
    return readings(
        series("component:source-ch1-primary", "up", [1.0] * 30),
        series("rendition:ch1/aac-128", OVERDUE, [0.0] * 30),
        series("rendition:ch2/aac-128", OVERDUE, [0.0] * 30),
        series("rendition:ch1/aac-128", "probe_silence_seconds", counted),
        series("rendition:ch2/aac-128", "probe_silence_seconds", [0.0] * 30),
    )


def effect_on(found: Held, target: str, self_healing: float = 0.0) -> tuple[Outcome, str]:
    split = cohorts(target, TOPOLOGY)
    recovered = in_band(found, target, split.touched, TOPOLOGY, DEMO, at(30))
    moments = Moments(at(-1), at(9), at(20), lag=10.0)
    measured = effects(found, target, split, TOPOLOGY, moments, self_healing=self_healing)
    return judge(recovered, measured)


def test_switch_that_ends_a_silence_worked() -> None:
    outcome, reason = effect_on(silent(), "component:source-ch1-primary")
    assert outcome is Outcome.WORKED
    assert "silence" in reason


def test_silence_that_goes_on_is_out_of_band() -> None:
    assert effect_on(silent(after=1.0), "component:source-ch1-primary")[0] is not Outcome.WORKED


def test_fault_that_heals_by_itself_as_a_rule_is_not_credited_to_the_remedy() -> None:
    source = "component:source-ch1-primary"
    assert effect_on(silent(), source, self_healing=0.05)[0] is Outcome.WORKED
    assert effect_on(silent(), source, self_healing=0.99)[0] is Outcome.INCONCLUSIVE


def test_part_behind_the_target_that_dies_after_the_act_is_harm() -> None:
    found = scene(up=1.0)
    found |= readings(series("component:packager", "up", [1.0] * 10 + [0.0] * 20))
    assert measured(found)[0] is Outcome.WORKED, "what only answers late may be waiting for its turn"
    found |= readings(series("component:packager", "scrape_failed", [1.0] * 20, first=10, reason="refused"))
    outcome, reason = measured(found)
    assert outcome is Outcome.HARMED
    assert "parts_behind" in reason


def test_broken_playlist_after_the_act_is_out_of_band() -> None:
    found = scene() | readings(series("rendition:ch1/aac-128", "probe_playlist_broken", [0.0] * 29 + [1.0]))
    assert not in_band(found, TARGET, ["channel:ch1"], TOPOLOGY, DEMO, at(30))


def slow_edge(drained: bool) -> Held:
    """One edge whose way is slow for thirty seconds, half of the listeners on it until it is drained at 10 s."""
    times = range(30)
    left = [0.0 if drained and second > 12 else 8.0 for second in times]
    fetches = [float(2 * second) for second in times]
    return readings(
        series("edge:edge-1", "up", [1.0] * 30),
        series("edge:edge-1", "edge_upstream_seconds_count", fetches),
        series("edge:edge-1", "edge_upstream_seconds_sum", [1.5 * fetch for fetch in fetches]),
        series("edge:edge-1", "sessions_playing", left),
        series("edge:edge-2", "sessions_playing", [8.0] * 30),
        series("rendition:ch1/aac-128", OVERDUE, [0.0] * 30),
        series("rendition:ch2/aac-128", OVERDUE, [0.0] * 30),
    )


def test_drain_that_takes_listeners_off_a_slow_edge_worked() -> None:
    outcome, reason = effect_on(slow_edge(drained=True), "edge:edge-1")
    assert outcome is Outcome.WORKED
    assert "slow_edge" in reason


def test_listeners_who_stay_on_a_slow_edge_are_out_of_band() -> None:
    assert effect_on(slow_edge(drained=False), "edge:edge-1")[0] is not Outcome.WORKED
