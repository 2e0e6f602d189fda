from __future__ import annotations

from flows.correlation import lasting
from flows.ticks import Batch, DetectionState, excused, judge
from ml.champion import Failing
from policy.conditions import Condition
from tests.unit.platform_parts import at
from tonewatch.records import FindingKind
from tonewatch.settings import load_profile
from tonewatch.topology import Topology


def condition(entity: str, symptom: str, kind: FindingKind = FindingKind.RULE, met: float = 0) -> Condition:
    return Condition(entity, symptom, f"rule:{symptom}", kind, at(met - 3), at(met), "s", "e", "a")


STARVED = condition("host:watcher", "host-starved", FindingKind.HOST)
STALE = condition("rendition:ch1/aac-128", "playlist-stale")
REFUSED = condition("component:transcoder-ch1", "scrape-refused")


def found(*conditions: Condition) -> dict[tuple[str, str], Condition]:
    return {each.key: each for each in conditions}


def test_what_begins_while_the_watcher_starves_is_excused() -> None:
    assert STALE.finding("demo").id in excused({}, {}, found(STARVED, STALE), "demo").values()


def test_refused_connection_is_never_excused() -> None:
    assert REFUSED.key not in excused({}, {}, found(STARVED, REFUSED), "demo")


def test_what_held_before_the_starvation_is_not_excused() -> None:
    assert STALE.key not in excused({}, found(STALE), found(STARVED, STALE), "demo")


def test_what_outlasts_the_starvation_was_real() -> None:
    doubted = excused({}, {}, found(STARVED, STALE), "demo")
    assert excused(doubted, found(STARVED, STALE), found(STALE), "demo") == {}


def test_what_ended_with_the_starvation_stays_excused() -> None:
    doubted = excused({}, {}, found(STARVED, STALE), "demo")
    assert excused(doubted, found(STARVED, STALE), found(), "demo") == doubted


def test_anomaly_lasts_when_it_has_held_as_long_as_the_profile_asks() -> None:
    anomaly = condition("component:origin", "anomaly", FindingKind.SIGNAL, met=0)
    state = DetectionState(conditions=found(anomaly, STALE))
    demo = load_profile("demo")
    assert lasting(state, demo, "demo", at(demo.anomaly_seconds - 1)) == set()
    assert lasting(state, demo, "demo", at(demo.anomaly_seconds)) == {anomaly.finding("demo").id}


def test_a_champion_that_cannot_score_is_told_by_every_tick_and_begins_once() -> None:
    state = DetectionState(failing=[Failing("edge", "7", "AttributeError: _fill_dtype")])

    def told(second: float) -> dict[tuple[str, str], Condition]:
        return judge(state, Batch([], (at(second - 5), at(second)), {}), [], Topology([]), load_profile("demo"))

    (first,) = told(5).values()
    assert (first.symptom, first.kind, first.model_version) == (
        "model-fails",
        FindingKind.DATA,
        "edge-isolation-forest/7",
    )
    state.conditions = {first.key: first}
    (later,) = told(10).values()
    assert later.finding("demo").id == first.finding("demo").id
    state.failing = ()
    assert told(15) == {}
