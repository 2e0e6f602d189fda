from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from feature_store.recent import Recent
from tests.unit.platform_parts import at, series

MINUTE = timedelta(seconds=60)


@given(st.permutations(list(range(20))))
def test_late_samples_find_their_place(order: list[int]) -> None:
    line = series("component:x", "up", [float(n) for n in range(20)])
    recent = Recent(MINUTE)
    for position in order:
        recent.add([line[position]])
    assert recent.readings["component:x", "up"] == line


def test_what_is_older_than_the_horizon_is_forgotten() -> None:
    recent = Recent(MINUTE)
    recent.add(series("component:x", "up", [1.0] * 100))
    recent.add(series("component:gone", "up", [1.0]))
    recent.forget(at(100))
    assert recent.readings["component:x", "up"][0].time == at(41)
    assert ("component:gone", "up") not in recent.readings


def test_window_is_open_at_its_beginning_and_closed_at_its_end() -> None:
    recent = Recent(MINUTE)
    recent.add(series("component:x", "up", [1.0] * 10))
    assert [s.time for s in recent.between(at(2), at(4))] == [at(3), at(4)]


def test_one_metric_cannot_eat_all_memory() -> None:
    recent = Recent(MINUTE)
    recent.LARGEST = 10  # type: ignore[misc]  # the bound itself is what is tried
    recent.add(series("component:x", "m", [1.0] * 50))
    recent.forget(at(50))
    assert len(recent.readings["component:x", "m"]) == 10
